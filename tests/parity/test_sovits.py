"""SoVITS against recorded runs of the public v2 and v2Pro."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from voiceclone.models import losses
from voiceclone.models.mel import mel_spectrogram, spectrogram
from voiceclone.models.sovits import SoVITS, SoVITSConfig, TrainingOutput, take_slices
from voiceclone.stages.train_sovits import SoVITSSettings

ACTIVATION = 2e-4
LOSS = 1e-5
GRADIENT = 2e-2
VERSIONS = ["v2", "v2Pro"]


def tsv(shared_golden, name):
    """Rows of a recorded key table: key, shape, dtype."""
    path = shared_golden.parent / "reference" / f"state_dict_{name}.tsv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return [(key, tuple(int(size) for size in shape.split(",")), f"torch.{dtype}") for key, shape, dtype in rows]


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_shapes_dtypes_and_order(shared_golden, public, version):
    ours = [(key, tuple(value.shape), str(value.dtype)) for key, value in public(f"s2G_{version}").state_dict().items()]
    assert ours == tsv(shared_golden, f"s2G_{version}")


def test_configuration_covers_v2proplus(shared_golden):
    """The largest public version differs in the decoder alone; the same classes have its keys."""
    state = SoVITS(SoVITSConfig.v2proplus()).state_dict()
    ours = [(key, tuple(value.shape), str(value.dtype)) for key, value in state.items()]
    assert ours == tsv(shared_golden, "s2G_v2ProPlus")


@pytest.mark.parametrize("version", VERSIONS)
def test_frozen_parts(public, version):
    frozen = {name for name, parameter in public(f"s2G_{version}").named_parameters() if not parameter.requires_grad}
    assert frozen == {"ssl_proj.weight", "ssl_proj.bias"}


@pytest.fixture(scope="module", params=VERSIONS)
def spoken(request, golden, public):
    """Network, recording and the style of each reference."""
    network, recorded = public(f"s2G_{request.param}"), golden.read(f"s2_{request.param}_infer")
    with torch.no_grad():
        styles = [
            network.style(spectrogram(recorded[f"ref_wav{index}"][None]), recorded.get(f"sv_emb{index}"))
            for index in (1, 2)
        ]
    return network, recorded, styles


def test_codes(spoken, close):
    network, recorded, _ = spoken
    with torch.no_grad():
        close(network.ssl_proj(recorded["ssl"]), recorded["ssl_proj"], ACTIVATION)
    codes = network.extract_codes(recorded["ssl"])
    assert codes.dtype == torch.int64
    assert torch.equal(codes, recorded["codes"])


def test_style(spoken, close):
    network, recorded, styles = spoken
    reference = spectrogram(recorded["ref_wav1"][None])
    with torch.no_grad():
        close(network.ref_enc(reference, torch.ones_like(reference[:, :1])), recorded["ref_enc"], ACTIVATION)
        close(styles[0], recorded.get("ge", recorded["ref_enc"]), ACTIVATION)
        if "ge512" in recorded:
            close(network._prior_style(styles[0]), recorded["ge512"], ACTIVATION)


def test_prior_and_flow(spoken, close):
    network, recorded, styles = spoken
    with torch.no_grad():
        hidden, mean, log_deviation, mask = network.prior(recorded["codes"], recorded["text"], styles[0])
        close(hidden, recorded["enc_p_hidden"], ACTIVATION)
        close(mean, recorded["enc_p_m"], ACTIVATION)
        close(log_deviation, recorded["enc_p_logs"], ACTIVATION)
        close(network.flow_reverse(mean, mask, styles[0]), recorded["flow_reverse"], ACTIVATION)


def test_waveforms(spoken, close):
    network, recorded, styles = spoken
    codes, text = recorded["codes"], recorded["text"]
    with torch.no_grad():
        close(network.decode(codes, text, styles[0], noise_scale=0.0), recorded["wav_zero_noise"], ACTIVATION)
        noisy = network.decode(codes, text, styles[0], noise=0.5 * recorded["noise"])
        close(noisy, recorded["wav_noise05"], ACTIVATION)
        both = network.decode(codes, text, (styles[0] + styles[1]) / 2, noise_scale=0.0)
        close(both, recorded["wav_two_refs"], ACTIVATION)
        faster = network.decode(codes, text, styles[0], noise_scale=0.0, speed=recorded["speed"].item())
        close(faster, recorded["wav_speed"], ACTIVATION)


@dataclass
class Step:
    """One training step, forward only, with graphs kept."""

    generator: nn.Module
    discriminator: nn.Module
    recorded: dict[str, Tensor]
    out: TrainingOutput
    terms: dict[str, Tensor]
    real_mel: Tensor
    fake_mel: Tensor


@pytest.fixture(scope="module", params=["v2", pytest.param("v2Pro", marks=pytest.mark.slow)])
def step(request, golden, public):
    version = request.param
    recorded = golden.read(f"s2_{version}_train")
    generator, discriminator = public(f"s2G_{version}"), public(f"s2D_{version}")
    lengths, frames = recorded["spec_lengths"], recorded["ssl"].shape[2]
    magnitudes = torch.zeros(2, 1025, frames)
    for item, length in enumerate(lengths.tolist()):
        magnitudes[item, :, :length] = spectrogram(recorded["wav"][item, :, : length * 640])[0]
    out = generator.forward_train(
        recorded["ssl"], magnitudes, lengths, recorded["text"], recorded["text_lengths"],
        recorded.get("sv_emb"), recorded["slice_ids"], recorded["noise"],
    )  # fmt: skip
    real = take_slices(recorded["wav"], out.slice_starts * 640, 32 * 640)
    # The mel of a real slice is cut from the whole clip's, that of the generated slice is made from the slice alone.
    real_mel = take_slices(losses_mel(magnitudes), out.slice_starts, 32)
    fake_mel = mel_spectrogram(out.audio)
    of_real, of_fake = discriminator(real), discriminator(out.audio.detach())
    judged = discriminator(out.audio)
    terms = {
        "loss_disc": losses.discriminator_loss(of_real, of_fake),
        "loss_gen": losses.generator_loss(judged),
        "loss_fm": losses.feature_matching_loss(of_real, judged),
        "loss_mel": SoVITSSettings().mel_weight * losses.mel_loss(real_mel, fake_mel),
        "loss_kl": SoVITSSettings().kl_weight * losses.kl_loss(out.z_p, out.logs_q, out.m_p, out.logs_p, out.mask),
    }
    terms["loss_gen_total"] = sum(terms[name] for name in ("loss_gen", "loss_fm", "loss_mel", "loss_kl"))
    return Step(generator, discriminator, recorded, out, terms, real_mel, fake_mel)


def losses_mel(magnitudes):
    from voiceclone.models.mel import mel_from_spectrogram

    return mel_from_spectrogram(magnitudes)


def test_training_activations(step, close):
    for name in ("quantized", "m_q", "logs_q", "z", "m_p", "logs_p", "z_p", "mask"):
        close(getattr(step.out, name), step.recorded[name], ACTIVATION, name)
    close(step.out.audio, step.recorded["y_hat"], ACTIVATION, "y_hat")
    close(step.real_mel, step.recorded["mel_real_slice"], ACTIVATION, "real mel")
    close(step.fake_mel, step.recorded["mel_fake_slice"], ACTIVATION, "generated mel")


def test_losses(step, close):
    for name, term in step.terms.items():
        close(term, step.recorded[name], LOSS, name)


def test_discriminator_gradients(step, golden):
    check_gradients(step, golden, step.discriminator, "loss_disc", "d")


def test_generator_gradients(step, golden, close):
    by_name = check_gradients(step, golden, step.generator, "loss_gen_total", "g")
    for name, key in (
        ("dec.conv_post.weight", "grad_dec_conv_post"),
        ("enc_p.proj.bias", "grad_enc_p_proj_bias"),
        ("ref_enc.fc.fc.bias", "grad_ref_enc_fc_bias"),
    ):
        close(by_name[name], step.recorded[key], GRADIENT, name)


def check_gradients(step, golden, network, loss, letter):
    """Compare the norm of every parameter's gradient; -1 was recorded where there is none."""
    version = "v2Pro" if "sv_emb" in step.recorded else "v2"
    names = golden.names(f"s2_{version}_train", f"grad_{letter}_names")
    norms = dict(zip(names, step.recorded[f"grad_{letter}_norms"].tolist(), strict=True))
    parameters = dict(network.named_parameters())
    assert set(parameters) == set(norms)
    trained = [name for name in names if parameters[name].requires_grad]
    assert {name for name, norm in norms.items() if norm < 0} == set(names) - set(trained)
    gradients = torch.autograd.grad(step.terms[loss], [parameters[name] for name in trained], retain_graph=True)
    largest = max(norms.values())
    for name, gradient in zip(trained, gradients, strict=True):
        # A key's bias has no influence through a softmax: its gradient is rounding noise on both sides.
        assert abs(gradient.norm().item() - norms[name]) <= GRADIENT * norms[name] + 1e-6 * largest, name
    return dict(zip(trained, gradients, strict=True))
