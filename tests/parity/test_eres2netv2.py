"""The speaker network of v2Pro against the recorded public one."""

from __future__ import annotations

import torch

from voiceclone.listeners.eres2netv2 import ERes2NetV2

LIMIT = 1e-3


def test_keys_and_outputs(golden, close):
    network = ERes2NetV2()
    ours = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert ours == golden.shapes("eres2netv2")
    golden.load(network, "eres2netv2")
    recorded = golden.read("speaker_embedding")
    with torch.no_grad():
        close(network(recorded["fbank"][None]), recorded["embedding"], LIMIT)
        close(network.speaker_vector(recorded["fbank"][None]), recorded["embedding_192"], LIMIT)


def test_filter_bank(golden, close):
    from voiceclone.listeners.campplus import kaldi_fbank

    recorded = golden.read("speaker_embedding")
    close(kaldi_fbank(recorded["wav16k"]), recorded["fbank"], LIMIT)
