"""Graphs that listen to a clip, and spectra in numpy, against recorded runs of the public v2 and v2Pro."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from voiceclone.export.encoder_graphs import EXPORTERS, voice_graphs
from voiceclone.graphs.quantize import store_exact_halves
from voiceclone.listeners.eres2netv2 import WEIGHTS, ERes2NetV2
from voiceclone.sound.spectra import filter_bank, magnitudes
from voiceclone.speaking.encoders import Graph, GraphSpeaker

ACTIVATION, SPEAKER = 2e-4, 1e-3


@pytest.mark.parametrize("version", ["v2", "v2Pro"])
def test_quantiser_and_style(golden, public, close, tmp_path, version):
    recorded = golden.read(f"s2_{version}_infer")
    for name, model in voice_graphs(public(f"s2G_{version}"), 17, "fp32").items():
        onnx.save(model, tmp_path / f"{name}.onnx")
    codes = Graph(tmp_path / "quantiser.onnx")(content=recorded["ssl"].numpy())
    np.testing.assert_array_equal(codes, recorded["codes"].numpy())
    inputs = {"spectrogram": magnitudes(recorded["ref_wav1"].numpy())[None]}
    if version == "v2Pro":
        inputs["vector"] = recorded["sv_emb1"].numpy()
    style = Graph(tmp_path / "style.onnx")(**inputs)
    close(torch.from_numpy(style), recorded.get("ge", recorded["ref_enc"]), ACTIVATION)


@pytest.mark.slow
def test_speaker_vector_from_sound(golden, close, tmp_path):
    from voiceclone.assets.asset import Asset, content_digest
    from voiceclone.files import sha256_file

    network = ERes2NetV2()
    golden.load(network, "eres2netv2")
    path = tmp_path / WEIGHTS
    torch.save(network.state_dict(), path)
    files = {WEIGHTS: {"sha256": sha256_file(path), "size": path.stat().st_size}}
    graph, _ = EXPORTERS["eres2netv2"](Asset("eres2netv2", "test", "MIT", tmp_path, content_digest(files), files))
    store_exact_halves(graph)
    onnx.save(graph, tmp_path / "eres2netv2.onnx")
    recorded = golden.read("speaker_embedding")
    vector = GraphSpeaker(Graph(tmp_path / "eres2netv2.onnx")).embed(recorded["wav16k"].numpy())
    close(torch.from_numpy(vector)[None], recorded["embedding"], SPEAKER)
    close(torch.from_numpy(filter_bank(recorded["wav16k"].numpy())), recorded["fbank"], SPEAKER)
