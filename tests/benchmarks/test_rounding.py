"""What is lost of the base voice's tokens by weights of 8 and 4 bits, rounded as they are and for what it reads.

The network speaks the sentences for the choice of checkpoints, for which it is then rounded, and the fixed ones, on
which its distributions of the next token are compared with those of the whole weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.aims import Aims
from torch import Tensor

from voiceclone.assets import open_asset
from voiceclone.evaluation.sentences import read_set
from voiceclone.export.graphs import input_moments
from voiceclone.graphs.quantize import blockwise, columnwise, restore
from voiceclone.models.gpt import TextToSemantic
from voiceclone.models.public_files import read_gpt
from voiceclone.text.frontend import to_phones
from voiceclone.text_to_semantic.graph import BLOCK

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(1800)]

SENTENCES = Path(__file__).resolve().parents[2] / "resources" / "sentences"
LONGEST = 400  # tokens, 16 s


def spoken(gpt: TextToSemantic, folder: Path) -> Iterator[dict[str, Any]]:
    """Phones and sampled tokens of the sentences of a set."""
    for number, item in enumerate(read_set(folder / "en.txt")):
        generator = torch.Generator().manual_seed(number)
        phones = torch.tensor(to_phones(item.text, "en").ids)[None]
        logits, cache = gpt.prefill(phones, torch.zeros(1, 0, dtype=torch.int64))
        codes: list[int] = []
        while len(codes) < LONGEST:
            token = int(torch.multinomial((logits[0] / 0.6).softmax(-1), 1, generator=generator))
            if token == gpt.config.end_token:
                break
            codes.append(token)
            logits, cache = gpt.decode(torch.tensor([[token]]), len(codes) - 1, cache)
        yield {"phones": phones.numpy(), "codes": np.array([[codes]])}


def predicted(gpt: TextToSemantic, utterances: list[dict[str, Any]]) -> Tensor:
    """Log probabilities (tokens, codes + 1) of all utterances."""
    found = []
    for item in utterances:
        phones, codes = torch.from_numpy(item["phones"]), torch.from_numpy(item["codes"])[0]
        logits = gpt(phones, torch.tensor([phones.shape[1]]), codes, torch.tensor([codes.shape[1]]))
        found.append(logits[0].log_softmax(-1))
    return torch.cat(found)


def eight(weight: Any, moments: Any) -> Any:
    numbers, scales = columnwise(weight, moments)
    return numbers.T * scales[:, None]


def four(weight: Any, moments: Any) -> Any:
    return restore(*blockwise(weight, 4, BLOCK, moments), 4)


def four_by_the_largest(weight: Any, moments: Any) -> Any:
    blocks = weight.reshape(len(weight), -1, BLOCK)
    scales = np.abs(blocks).max(-1, keepdims=True) / 7
    return (np.rint(blocks / scales) * scales).reshape(weight.shape).astype(np.float32)


@torch.inference_mode()
def test_weights_rounded_for_what_is_read_lose_less(asset: Callable[[str], Path]) -> None:
    packed = open_asset(asset("base-gpt"))
    config, state = read_gpt(next(packed.folder.glob("*.safetensors")))
    gpt = TextToSemantic(config).eval()
    gpt.load_state_dict(state)
    moments = input_moments(gpt, list(spoken(gpt, SENTENCES / "selection")))
    utterances = list(spoken(gpt, SENTENCES))
    whole = predicted(gpt, utterances)
    lost = {}
    print(f"\n{len(whole)} tokens\n{'weights':<36}{'KL':>9}{'same next token':>18}")
    for name, rounded, known in (
        ("8 bits", eight, False),
        ("8 bits, for what is read", eight, True),
        ("4 bits, by the largest number", four_by_the_largest, False),
        ("4 bits", four, False),
        ("4 bits, for what is read", four, True),
    ):
        for key in moments.keys() & state.keys():
            matrix = rounded(state[key].numpy(), moments[key] if known else None)
            gpt.state_dict()[key].copy_(torch.from_numpy(matrix))
        found = predicted(gpt, utterances)
        lost[name] = float((whole.exp() * (whole - found)).sum(-1).mean())
        same = float((whole.argmax(-1) == found.argmax(-1)).float().mean())
        print(f"{name:<36}{lost[name]:>9.5f}{same:>18.1%}", flush=True)
    aims = Aims()
    aims.add("8 bits: KL over that of plain rounding", lost["8 bits, for what is read"] / lost["8 bits"], at_most=0.8)
    plain = lost["4 bits, by the largest number"]
    aims.add("4 bits: KL over that of plain rounding", lost["4 bits, for what is read"] / plain, at_most=0.6)
    aims.check()
