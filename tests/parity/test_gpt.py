"""Text-to-semantic network against recorded runs of the public one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voiceclone.models.gpt import attention_mask
from voiceclone.models.losses import token_loss
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.tokens import categorical, penalise, restricted_probabilities

LOGITS = 2e-4
LOSS = 1e-5
GRADIENT = 2e-2
FIRST_END_STEP = 11


@pytest.fixture(scope="module")
def gpt(public):
    return public("s1_v2")


def test_keys_shapes_and_order(golden, gpt):
    ours = {key: tuple(value.shape) for key, value in gpt.state_dict().items()}
    assert list(ours.items()) == list(golden.shapes("s1_v2").items())
    assert {value.dtype for value in gpt.state_dict().values()} == {torch.float32}


def test_each_item_alone(golden, gpt, close):
    recorded = golden.read("s1_forward")
    for item in range(2):
        width, count = recorded["x_lens"][item], recorded["y_lens"][item]
        tokens = recorded["y"][item : item + 1, :count]
        with torch.no_grad():
            logits = gpt(
                recorded["x"][item : item + 1, :width], width[None], tokens, count[None],
                recorded["bert"][item : item + 1, :, :width],
            )  # fmt: skip
        close(logits, recorded[f"single{item}_logits"], LOGITS)
        close(token_loss(logits, tokens, count[None], "sum"), recorded[f"single{item}_loss"], LOSS)


def test_padded_batch_equals_items_alone(golden, gpt, close):
    """What the public network gets wrong: padding must not change an item."""
    recorded = golden.read("s1_forward")
    tokens, lengths = recorded["y"], recorded["y_lens"]
    with torch.no_grad():
        logits = gpt(recorded["x"], recorded["x_lens"], tokens, lengths, recorded["bert"])
    for item in range(2):
        close(logits[item : item + 1, : lengths[item] + 1], recorded[f"single{item}_logits"], LOGITS)
    total = recorded["single0_loss"] + recorded["single1_loss"]
    close(token_loss(logits, tokens, lengths, "sum"), total, LOSS)
    close(token_loss(logits, tokens, lengths), total / (lengths + 1).sum(), LOSS)


def test_second_item_without_bert(golden, gpt, close):
    recorded = golden.read("s1_forward")
    width, count = recorded["x_lens"][1], recorded["y_lens"][1]
    with torch.no_grad():
        logits = gpt(recorded["x"][1:, :width], width[None], recorded["y"][1:, :count], count[None])
    close(logits, recorded["single1_logits"], LOGITS)


@pytest.fixture(scope="module")
def left_masked(golden, gpt):
    """The recorded batch as the public code computes it: padded on the right, phones masked on the left."""
    recorded = golden.read("s1_forward")
    width, count = recorded["x"].shape[1], recorded["y"].shape[1]
    seen = torch.arange(width)[None] >= width - recorded["x_lens"][:, None]
    spoken = torch.arange(count)[None] < recorded["y_lens"][:, None]
    allowed = attention_mask(width, count) & torch.cat([seen, spoken], dim=1)[:, None, None]
    embedded = torch.cat([gpt.embed_text(recorded["x"], recorded["bert"]), gpt.embed_audio(recorded["y"])], dim=1)
    hidden, _ = gpt.h(embedded, allowed)
    logits = gpt.ar_predict_layer(hidden[:, width - 1 :])
    targets = F.pad(recorded["y"], (0, 1), value=gpt.config.end_token)
    return recorded, logits, F.cross_entropy(logits.transpose(1, 2), targets, reduction="sum")


def test_public_batch(left_masked, close):
    recorded, logits, loss = left_masked
    close(logits, recorded["logits"], LOGITS)
    close(loss, recorded["loss"], LOSS)


def test_gradients(golden, gpt, left_masked, close):
    recorded, _, loss = left_masked
    names = [name.removeprefix("model.") for name in golden.names("s1_forward", "grad_names")]
    parameters = dict(gpt.named_parameters())
    assert set(names) == set(parameters)
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names], retain_graph=True)
    for name, gradient, norm in zip(names, gradients, recorded["grad_norms"], strict=True):
        if not name.endswith("alpha"):  # a sum with heavy cancellation
            assert abs(gradient.norm() - norm) <= GRADIENT * norm, name
    by_name = dict(zip(names, gradients, strict=True))
    close(by_name["bert_proj.bias"], recorded["grad_bert_proj_bias"], GRADIENT)
    close(by_name["h.layers.11.norm2.weight"], recorded["grad_layer11_norm2_weight"], GRADIENT)


@pytest.mark.parametrize(("run", "penalty"), [("greedy", 1.0), ("penalty", 1.35), ("noprompt", 1.35)])
def test_greedy_decoding(golden, gpt, close, run, penalty):
    recorded = golden.read("s1_infer")
    prompt = recorded["prompt"] if run != "noprompt" else recorded["prompt"][:, :0]
    tokens = prompt[0].tolist()
    with torch.inference_mode():
        logits, cache = gpt.prefill(recorded["x"], prompt, recorded["bert"])
        for step in range(40):
            scores = logits[0].numpy().copy()
            if step < FIRST_END_STEP:
                scores = scores[:-1]
            if f"{run}_logits_{step}" in recorded:
                close(torch.from_numpy(scores), recorded[f"{run}_logits_{step}"], LOGITS, f"step {step}")
            tokens.append(int(penalise(scores, np.asarray(tokens), penalty).argmax()))
            logits, cache = gpt.decode(torch.tensor([[tokens[-1]]]), len(tokens) - 1, cache)
    assert tokens[prompt.shape[1] :] == recorded[f"{run}_tokens"].tolist()
    assert cache.shape == (24, 2, 1, 16, recorded["x"].shape[1] + len(tokens), 32)


def test_sampling(golden):
    recorded = {key: value.numpy() for key, value in golden.read("s1_sampling").items()}
    for row, (penalty, top_k, top_p, temperature) in enumerate(recorded["settings"].tolist()):
        options = SpeechOptions(top_k=max(int(top_k), 0), top_p=top_p, temperature=temperature).filled(False)
        for item in range(3):
            penalised = penalise(recorded["logits"][item], recorded["previous"][item], penalty)
            weights = restricted_probabilities(penalised, options)
            np.testing.assert_allclose(weights, recorded[f"probs_{row}"][item], rtol=1e-5, atol=1e-8)
            assert ((weights > 0) == (recorded[f"probs_{row}"][item] > 0)).all()
            assert categorical(weights, recorded["exponential"][item]) == recorded[f"token_{row}"][item]
