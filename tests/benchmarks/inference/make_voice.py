"""Write a voice of the full public size with random weights: ``python make_voice.py FOLDER FORM ...``.

FOLDER gets a bundle per FORM, ``public/`` with the same models as public files, and ``greedy.json``: the tokens that
the modules in torch find most likely. ``student`` is a form too: an int8 bundle of the student of this voice, of the
default sizes, with the graphs that take new clips. Speed does not depend on what the weights are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from workload import CODES, PHONES, phones_and_tokens

from voiceclone.export.encoder_graphs import voice_graphs
from voiceclone.export.graphs import Calibration, build_graphs
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.public_files import write_gpt, write_sovits
from voiceclone.models.sovits import SoVITS, SoVITSConfig
from voiceclone.speaking.torch_backend import TorchBackend
from voiceclone.stages.distill import StudentGPTSettings, StudentSoVITSSettings
from voiceclone.training.distill import student_gpt, student_sovits

GREEDY_TOKENS = 40
OPSET = 17


def calibration_sentences(config: SoVITSConfig) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [
        {
            "codes": rng.integers(0, CODES, (1, 1, 50)),
            "phones": rng.integers(0, PHONES, (1, 30)),
            "style": rng.standard_normal((1, config.gin_channels, 1)).astype(np.float32),
            "noise": rng.standard_normal((1, config.inter_channels, 100)).astype(np.float32) / 2,
        }
        for _ in range(2)
    ]


def write_public(folder: Path, gpt: TextToSemantic, sovits: SoVITS) -> None:
    folder.mkdir()
    write_gpt(folder / "voice.ckpt", gpt.config, gpt.state_dict(), "GPT-e1")
    write_sovits(folder / "voice.pth", sovits.config, sovits.state_dict(), "1epoch_1iteration")


def write_bundle(folder: Path, form: str, gpt: TextToSemantic, sovits: SoVITS) -> None:
    """What a backend needs of a bundle: the graphs and their sizes."""
    folder.mkdir()
    calibration = Calibration(calibration_sentences(sovits.config), folder.parent / "calibration")
    for name, model in build_graphs(gpt, sovits, form, OPSET, calibration).items():
        onnx.save(model, folder / f"{name}.onnx")
    config, sizes = gpt.config, sovits.config
    description = {
        "target": f"onnx-{form}",
        "half": form == "fp16",
        "end_token": config.codes,
        "steps_per_frame": sizes.upsample_rates[0],
        "vocoder": {"rates": sizes.upsample_rates, "dilations": sizes.resblock_dilations},
        "decoder": sizes.decoder,
        "sample_rate": sizes.sample_rate,
        "prior_channels": sizes.inter_channels,
        "style_channels": sizes.gin_channels,
        "cache": {"layers": config.layers, "heads": config.heads, "head_width": config.dim // config.heads},
    }
    (folder / "bundle.json").write_text(json.dumps(description))


def write_student(folder: Path, gpt: TextToSemantic, sovits: SoVITS) -> None:
    """An int8 bundle of a student with random weights."""
    own_gpt = TextToSemantic(student_gpt(gpt.config, StudentGPTSettings())[0]).eval()
    own = SoVITS(student_sovits(sovits.config, StudentSoVITSSettings(), 192)).eval()
    own.remove_weight_norm()
    for tensor in [*own.ssl_proj.parameters(), *own.quantizer.buffers()]:  # as the public ones are
        tensor.data.copy_(tensor.half().float())
    write_bundle(folder, "int8", own_gpt, own)
    for name, model in voice_graphs(own, OPSET, "int8").items():
        onnx.save(model, folder / f"{name}.onnx")


def greedy_tokens(gpt: TextToSemantic) -> list[int]:
    phones, prompt, _ = phones_and_tokens()
    backend, tokens = TorchBackend(gpt, None), []
    logits, cache = backend.start(phones, None, prompt)
    for index in range(GREEDY_TOKENS):
        tokens.append(int(logits[:CODES].argmax()))
        logits, cache = backend.step(tokens[-1], len(prompt) + index, cache)
    return tokens


def main(folder: Path, forms: list[str]) -> None:
    torch.manual_seed(0)
    gpt, sovits = TextToSemantic(GPTConfig()).eval(), SoVITS(SoVITSConfig.v2()).eval()
    folder.mkdir(parents=True, exist_ok=True)
    write_public(folder / "public", gpt, sovits)
    (folder / "greedy.json").write_text(json.dumps(greedy_tokens(gpt)))
    sovits.remove_weight_norm()
    for form in forms:
        if form == "student":
            write_student(folder / form, gpt, sovits)
        else:
            write_bundle(folder / form, form, gpt, sovits)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
