"""Networks in the small size: shapes, masks, freezing, weight norm, exported graphs, file formats."""

from __future__ import annotations

import copy
import json
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from voiceclone.errors import AssetError, ConfigError
from voiceclone.models import losses, public_files
from voiceclone.models.conditioning import Quantizer, from_band, to_band
from voiceclone.models.discriminators import DiscriminatorConfig, MultiPeriodDiscriminator
from voiceclone.models.gpt import GPTConfig, TextToSemantic, attention_mask
from voiceclone.models.mel import mel_spectrogram, spectrogram
from voiceclone.models.sovits import SoVITS, SoVITSConfig, random_starts, take_slices
from voiceclone.stages.train_sovits import SoVITSSettings


@pytest.fixture(scope="module")
def gpt():
    torch.manual_seed(0)
    return TextToSemantic(GPTConfig.nano()).eval()


@pytest.fixture(scope="module")
def sovits():
    torch.manual_seed(0)
    network = SoVITS(SoVITSConfig.nano()).eval()
    for coupling in network.flow.flows[::2]:  # fresh couplings are the identity
        torch.nn.init.normal_(coupling.post.weight, 0, 0.1)
    return network


@pytest.fixture
def recording():
    """A batch of two with padding, and its waveform."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([60, 44])
    audio = torch.rand(2, 1, 60 * 640, generator=generator) - 0.5
    return {
        "content": torch.randn(2, 512, 60, generator=generator),
        "spectrogram": spectrogram(audio),
        "lengths": lengths,
        "phones": torch.randint(0, 732, (2, 12), generator=generator),
        "phone_lengths": torch.tensor([12, 9]),
        "speaker_vector": torch.randn(2, 192, generator=generator),
    }, audio


@pytest.mark.parametrize(
    "config",
    [GPTConfig(), GPTConfig.nano(), GPTConfig.small(), SoVITSConfig.v2(), SoVITSConfig.v2pro(),
     SoVITSConfig.v2proplus(), SoVITSConfig.nano(), DiscriminatorConfig.v2pro()],
)  # fmt: skip
def test_configuration_survives_json(config):
    assert type(config).from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_networks_without_a_pointer_are_written_as_before_there_was_one():
    assert not [name for name in GPTConfig.nano().to_dict() if "pointer" in name]
    assert "pointer" not in " ".join(TextToSemantic(GPTConfig.nano()).state_dict())


def test_pointer_scores_are_those_of_each_item_alone_and_leave_the_logits_as_they_are():
    torch.manual_seed(3)
    network = TextToSemantic(GPTConfig(dim=32, layers=3, heads=2, feed_forward=48, codes=20, dropout=0.0,
                                       pointer_layer=2, pointer_dim=8)).eval()  # fmt: skip
    phones, tokens = torch.randint(0, 732, (2, 9)), torch.randint(0, 20, (2, 14))
    lengths, counts = torch.tensor([9, 6]), torch.tensor([11, 14])
    with torch.no_grad():
        logits, scores = network.forward_aligned(phones, lengths, tokens, counts)
        assert torch.equal(logits, network(phones, lengths, tokens, counts))
        assert scores.shape == (2, 14, 9) and bool((scores[1, :, 6:] == -torch.inf).all())
        for item in range(2):
            width, count = lengths[item : item + 1], counts[item : item + 1]
            _, alone = network.forward_aligned(
                phones[item : item + 1, :width], width, tokens[item : item + 1, :count], count
            )
            torch.testing.assert_close(alone[0], scores[item, :count, :width], rtol=1e-4, atol=1e-5)


def test_the_prototypes_state_is_that_of_a_small_network(shared_base):
    weights = load_file(shared_base / "states" / "gpt_fp16.safetensors")
    names = {"qa.weight": "pointer.query.weight", "qb.weight": "pointer.key.weight"}
    emission = torch.from_numpy(np.load(shared_base / "states" / "emission.npy"))
    state = {names.get(name, name): value.float() for name, value in weights.items()} | {"pointer.emission": emission}
    network = TextToSemantic(GPTConfig.small())
    network.load_state_dict(state)
    row_sums = network.pointer.emission.sum(1)
    torch.testing.assert_close(row_sums, torch.ones_like(row_sums), rtol=1e-3, atol=1e-3)


def test_configuration_names_unknown_fields():
    with pytest.raises(ConfigError, match="depth"):
        GPTConfig.from_dict({"depth": 3})


def test_style_sizes_must_agree():
    with pytest.raises(ConfigError, match="mrte_channels"):
        SoVITSConfig(gin_channels=1024)


@pytest.mark.parametrize(
    ("network", "least", "most"),
    [(lambda: TextToSemantic(GPTConfig.nano()), 2e6, 4e6), (lambda: SoVITS(SoVITSConfig.nano()), 2e6, 4e6)],
)
def test_nano_sizes(network, least, most):
    assert least < sum(p.numel() for p in network().parameters() if p.requires_grad) < most


def test_attention_mask_by_hand():
    expected = [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    assert attention_mask(2, 2).int().tolist() == expected
    assert attention_mask(0, 2, past=3).int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_bands_are_inverse():
    values = torch.randn(2, 3, 7, 9)
    spread = to_band(values)
    for row in range(7):
        for column in range(7):
            distance = column - row
            expected = values[:, :, row, distance + 4] if abs(distance) <= 4 else torch.zeros(2, 3)
            assert torch.equal(spread[:, :, row, column], expected)
    inside = to_band(torch.ones_like(values)) @ torch.ones(7, 1)  # how many distances exist in each row
    collected = from_band(spread, 9)
    assert torch.equal(to_band(collected), spread)
    assert torch.equal((collected != 0).sum(-1, keepdim=True).float(), inside)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_bands_of_short_sequences(size):
    matrix = torch.randn(1, 1, size, size)
    assert torch.equal(to_band(from_band(matrix, 9)), matrix)


def test_training_and_cached_passes_agree(gpt):
    phones, tokens = torch.randint(0, 732, (1, 9)), torch.randint(0, 256, (1, 6))
    bert = torch.randn(1, 1024, 9)
    with torch.no_grad():
        expected = gpt(phones, torch.tensor([9]), tokens, torch.tensor([6]), bert)
        logits, cache = gpt.prefill(phones, tokens[:, :0], bert)
        steps = [logits]
        for index in range(6):
            logits, cache = gpt.decode(tokens[:, index : index + 1], index, cache)
            steps.append(logits)
        whole, whole_cache = gpt.prefill(phones, tokens, bert)
    torch.testing.assert_close(torch.stack(steps, 1), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole, expected[:, -1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(whole_cache, cache, atol=1e-5, rtol=1e-4)


def test_padding_content_does_not_matter(gpt):
    phones, tokens = torch.randint(0, 732, (2, 9)), torch.randint(0, 256, (2, 6))
    phone_lengths, token_lengths = torch.tensor([9, 5]), torch.tensor([6, 3])
    other_phones, other_tokens = phones.clone(), tokens.clone()
    other_phones[1, 5:], other_tokens[1, 3:] = 7, 256
    with torch.no_grad():
        first = gpt(phones, phone_lengths, tokens, token_lengths)
        second = gpt(other_phones, phone_lengths, other_tokens, token_lengths)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1, :4], second[1, :4])
    assert torch.equal(
        losses.token_loss(first, tokens, token_lengths), losses.token_loss(second, other_tokens, token_lengths)
    )


def test_token_loss_and_accuracy_by_hand():
    logits = torch.full((2, 3, 5), -10.0)
    logits[0, 0, 1] = logits[0, 1, 2] = logits[0, 2, 4] = 10.0  # right: 1, 2, end
    logits[1, 0, 0] = 10.0  # wrong: should be 3
    tokens, lengths = torch.tensor([[1, 2], [3, 0]]), torch.tensor([2, 1])
    logits[1, 1, 4] = 10.0
    assert losses.token_loss(logits, tokens, lengths).item() == pytest.approx(20 / 5, rel=1e-4)
    assert losses.token_loss(logits, tokens, lengths, "sum").item() == pytest.approx(20, rel=1e-4)
    assert losses.top_k_accuracy(logits, tokens, lengths, k=1).item() == pytest.approx(2 / 3)


def test_gradients_reach_every_trained_parameter(sovits, recording):
    batch, audio = recording
    network = SoVITS(sovits.config)
    network.load_state_dict(sovits.state_dict())
    discriminator = MultiPeriodDiscriminator(DiscriminatorConfig.nano())
    out = network(**batch)
    real = take_slices(audio, out.slice_starts * 640, 32 * 640)
    assert out.audio.shape == real.shape
    judged, of_real = discriminator(out.audio), discriminator(real)
    total = (
        losses.generator_loss(judged)
        + losses.feature_matching_loss(of_real, judged)
        + SoVITSSettings().mel_weight * losses.mel_loss(mel_spectrogram(real), mel_spectrogram(out.audio))
        + losses.kl_loss(out.z_p, out.logs_q, out.m_p, out.logs_p, out.mask)
    )
    total.backward()
    without = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert {name for name in without if not name.endswith("conv_k.bias")} == {"ssl_proj.weight", "ssl_proj.bias"}
    losses.discriminator_loss(discriminator(real), discriminator(out.audio.detach())).backward()
    assert all(p.grad is not None for p in discriminator.parameters())


def test_all_draws_can_be_given(sovits, recording):
    batch, _ = recording
    fixed = {"slice_starts": torch.tensor([3, 9]), "noise": torch.randn(2, 96, 60)}
    with torch.no_grad():
        first, second = sovits.forward_train(**batch, **fixed), sovits.forward_train(**batch, **fixed)
    assert torch.equal(first.audio, second.audio)
    assert torch.equal(first.slice_starts, fixed["slice_starts"])


def test_prior_is_independent_of_padding(sovits, recording):
    batch, _ = recording
    with torch.no_grad():
        codes = sovits.extract_codes(batch["content"])
        style = torch.randn(2, 128, 1)
        padded = sovits.enc_p(
            sovits.quantized(codes), batch["lengths"], batch["phones"], batch["phone_lengths"],
            sovits._prior_style(style),
        )  # fmt: skip
        alone = sovits.prior(codes[1:, :, :22], batch["phones"][1:, :9], style[1:])
    for whole, single in zip(padded, alone, strict=True):
        torch.testing.assert_close(whole[1:, :, :44], single, atol=1e-5, rtol=1e-4)
        assert not whole[1, :, 44:].any()


def test_flow_is_invertible(sovits):
    z, mask, style = torch.randn(1, 96, 20), torch.ones(1, 1, 20), torch.randn(1, 128, 1)
    with torch.no_grad():
        there = sovits.flow(z, mask, style)
        assert (there - z).abs().max() > 0.1
        torch.testing.assert_close(sovits.flow_reverse(there, mask, style), z, atol=1e-5, rtol=1e-4)


def test_missing_speaker_vector_is_named(sovits):
    with pytest.raises(ConfigError, match="192"):
        sovits.style(torch.rand(1, 1025, 40))


def test_removing_weight_norm_keeps_the_output(sovits):
    plain = SoVITS(sovits.config).eval()
    plain.load_state_dict(sovits.state_dict())
    plain.remove_weight_norm()
    assert not [key for key in plain.state_dict() if key.endswith(("weight_g", "weight_v"))]
    inputs = torch.randint(0, 256, (1, 1, 8)), torch.randint(0, 732, (1, 7)), torch.randn(1, 128, 1)
    with torch.no_grad():
        expected = sovits.decode(*inputs, noise_scale=0.0)
        assert expected.shape == (1, 1, 8 * 1280)
        torch.testing.assert_close(plain.decode(*inputs, noise_scale=0.0), expected, atol=1e-6, rtol=1e-4)
    copy.deepcopy(plain)


def test_quantizer_finds_the_nearest():
    quantizer = Quantizer(32, 6)
    vectors = torch.randn(2, 6, 10)
    codes = quantizer.encode(vectors)
    distances = torch.cdist(vectors.transpose(1, 2), quantizer.table.expand(2, -1, -1))
    assert torch.equal(codes[:, 0], distances.argmin(-1))
    assert torch.equal(quantizer.encode(quantizer.decode(codes)), codes)
    assert not list(quantizer.parameters())


def test_random_starts_stay_inside():
    starts = random_starts(torch.tensor([32, 33, 500]).repeat(200), 32).view(-1, 3)
    assert starts[:, 0].eq(0).all()
    assert set(starts[:, 1].tolist()) == {0, 1}
    assert starts[:, 2].min() >= 0 and starts[:, 2].max() <= 468


class Step(torch.nn.Module):
    """What is exported of the text-to-semantic network."""

    def __init__(self, gpt):
        super().__init__()
        self.gpt = gpt

    def forward(self, phones, bert, tokens, position, past):
        return self.gpt.forward_cached(phones, bert, tokens, past, position)


def test_one_graph_serves_both_passes(gpt, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    config = gpt.config
    names = ["phones", "bert", "tokens", "position", "past"]
    path = tmp_path / "gpt.onnx"

    def past(size):
        return torch.randn(config.layers, 2, 1, config.heads, size, config.dim // config.heads)

    example = (torch.zeros(1, 5).long(), torch.zeros(1, 1024, 5), torch.zeros(1, 3).long(), torch.tensor(2), past(4))
    axes = {"phones": {1: "X"}, "bert": {2: "X"}, "tokens": {1: "N"}, "past": {4: "S"}, "present": {4: "P"}}
    with torch.no_grad():
        torch.onnx.export(
            Step(gpt).eval(), example, str(path), input_names=names, output_names=["logits", "present"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for phones, tokens, cached in [(11, 6, 0), (11, 0, 0), (0, 1, 17), (0, 3, 17), (4, 2, 5)]:
        inputs = (
            torch.randint(0, 732, (1, phones)), torch.randn(1, 1024, phones), torch.randint(0, 256, (1, tokens)),
            torch.tensor(0 if phones else 6), past(cached),
        )  # fmt: skip
        feeds = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        with torch.no_grad():
            expected = gpt.forward_cached(*inputs[:3], inputs[4], inputs[3])
        for ours, theirs in zip(session.run(None, feeds), expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=2e-5, rtol=1e-4)


class Decode(torch.nn.Module):
    """What is exported of SoVITS."""

    def __init__(self, sovits):
        super().__init__()
        self.sovits = sovits

    def forward(self, codes, phones, style, noise):
        return self.sovits.decode(codes, phones, style, noise=noise)


def test_decoder_graph_follows_any_length(sovits, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    plain = SoVITS(sovits.config).eval()
    plain.load_state_dict(sovits.state_dict())
    plain.remove_weight_norm()
    names = ["codes", "phones", "style", "noise"]
    path = tmp_path / "decoder.onnx"

    def inputs(codes, phones):
        return (
            torch.randint(0, 256, (1, 1, codes)), torch.randint(0, 732, (1, phones)), torch.randn(1, 128, 1),
            0.5 * torch.randn(1, 96, 2 * codes),
        )  # fmt: skip

    with torch.no_grad():
        torch.onnx.export(
            Decode(plain).eval(), inputs(12, 9), str(path), input_names=names, output_names=["audio"],
            dynamic_axes={"codes": {2: "T"}, "phones": {1: "L"}, "noise": {2: "F"}, "audio": {2: "N"}},
            opset_version=17, dynamo=False,
        )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for codes, phones in [(12, 9), (30, 21), (3, 2), (1, 1)]:
        given = inputs(codes, phones)
        with torch.no_grad():
            expected = sovits.decode(*given[:3], noise=given[3])
        (audio,) = session.run(None, {name: value.numpy() for name, value in zip(names, given, strict=True)})
        np.testing.assert_allclose(audio, expected.numpy(), atol=1e-5, rtol=1e-4)


def test_gpt_file_round_trip(gpt, tmp_path):
    path = tmp_path / "voice.ckpt"
    public_files.write_gpt(path, gpt.config, gpt.state_dict(), "GPT-e15")
    config, state = public_files.read_gpt(path)
    assert config == gpt.config
    assert list(state) == list(gpt.state_dict())
    for key, value in gpt.state_dict().items():
        assert torch.equal(state[key], value.half().float())
    assert all(key.startswith("model.") for key in torch.load(path, weights_only=True)["weight"])


def test_sovits_file_round_trip(tmp_path):
    config = SoVITSConfig.from_dict(
        SoVITSConfig.v2pro().to_dict() | {"decoder_channels": 32, "filter_channels": 64, "speaker_vector_size": 16}
    )
    network = SoVITS(config)
    path = tmp_path / "voice.pth"
    public_files.write_sovits(path, config, network.state_dict(), "8epoch_400iteration")
    assert path.read_bytes()[:4] == b"05\x03\x04"
    read, state = public_files.read_sovits(path)
    assert read == config
    missing, unexpected = SoVITS(read).load_state_dict(state, strict=False)
    assert not unexpected
    assert missing and all(key.startswith("enc_q.") for key in missing)


def test_public_settings_object_is_read_as_data(tmp_path, monkeypatch):
    """Public files pickle their configuration as ``utils.HParams``; it is read without that class or its code."""
    module = types.ModuleType("utils")
    bag = type("HParams", (), {"__module__": "utils"})
    module.HParams = bag
    monkeypatch.setitem(sys.modules, "utils", module)
    settings, model = bag(), bag()
    settings.model, model.p_dropout = model, 0.25
    network = SoVITS(SoVITSConfig(decoder_channels=32, filter_channels=64))
    torch.save({"weight": network.state_dict(), "config": settings}, tmp_path / "public.pth")
    monkeypatch.delitem(sys.modules, "utils")
    config, state = public_files.read_sovits(tmp_path / "public.pth")
    assert config.dropout == 0.25
    assert config.decoder_channels == 32
    assert set(state) == set(network.state_dict())


def test_discriminator_file(tmp_path):
    network = MultiPeriodDiscriminator(DiscriminatorConfig(periods=(2, 3, 5, 7, 11), channel_divisor=4))
    torch.save({"weight": network.state_dict()}, tmp_path / "d.pth")
    config, state = public_files.read_discriminator(tmp_path / "d.pth")
    assert config.periods == (2, 3, 5, 7, 11)
    assert set(state) == set(network.state_dict())


class Evil:
    """Would print when unpickled."""

    def __reduce__(self):
        return print, ("code ran",)


def test_code_in_a_file_is_refused(tmp_path, capsys):
    torch.save({"weight": {}, "config": Evil()}, tmp_path / "evil.pth")
    for read in (public_files.read_gpt, public_files.read_sovits, public_files.read_discriminator):
        with pytest.raises(AssetError, match=r"evil\.pth"):
            read(tmp_path / "evil.pth")
    assert "code ran" not in capsys.readouterr().out


def test_wrong_files_are_named(tmp_path, gpt):
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(AssetError, match=r"text\.pth"):
        public_files.read_sovits(tmp_path / "text.pth")
    public_files.write_gpt(tmp_path / "gpt.ckpt", gpt.config, gpt.state_dict(), "x")
    with pytest.raises(AssetError, match="another kind of model"):
        public_files.read_sovits(tmp_path / "gpt.ckpt")
