"""gpt-sovits-cpufast beside an exported voice: ``cpufast.py speak PUBLIC``.

Runs in the peers' own environment. The models are loaded as its service does: inference weights only, weight norm of
the vocoder folded; its own loop draws tokens, the end made impossible in the weights that it reads.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import torch
from workload import NEW_TOKENS, REFERENCE_PHONES, REFERENCE_SECONDS, THREADS, measure, phones_and_tokens, report
from workload import Speaker as Engine


def find_package() -> None:
    """Its modules import one another by their names in its folder."""
    spec = importlib.util.find_spec("GPT_SoVITS")
    if spec is None or spec.origin is None:
        sys.exit("gpt-sovits-cpufast is not installed here")
    sys.path.insert(0, str(Path(spec.origin).parent))


def load_gpt(path: Path) -> Any:
    from AR.models.t2s_lightning_module import Text2SemanticLightningModule

    file = torch.load(path, map_location="cpu", weights_only=True)
    weights = {key: value.float() for key, value in file["weight"].items()}
    module = Text2SemanticLightningModule(
        file["config"], "", is_train=False, build_t2s_transformer=False, build_h_module=False
    )
    module.load_inference_only_state_dict(weights)
    module.model.release_inference_only_unused_modules()
    return module.eval().model


def load_sovits(path: Path) -> Any:
    from module.models import SoVITS

    file = torch.load(path, map_location="cpu", weights_only=True)
    data, train, sizes = (file["config"][name] for name in ("data", "train", "model"))
    model = SoVITS(data["filter_length"] // 2 + 1, train["segment_size"] // data["hop_length"], n_speakers=0, **sizes)
    model.load_state_dict({key: value.float() for key, value in file["weight"].items()}, strict=False)
    model.dec.remove_weight_norm()
    return model.eval()


class NoEnd(torch.nn.Module):
    """The last layer with a logit for the end that no draw can take."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self._layer, self.weight = layer, layer.weight
        self.register_buffer("_bias", torch.zeros(layer.weight.shape[0]))
        self._bias[-1] = -1e4
        self.calls: list[float] = []

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        self.calls.append(time.perf_counter())
        return self._layer(states) + self._bias


class Speaker(Engine):
    """One sentence, again and again."""

    def __init__(self, gpt: Any, sovits: Any) -> None:
        self._gpt, self._sovits = gpt, sovits
        self._head = gpt.ar_predict_layer = NoEnd(gpt.ar_predict_layer)
        phones, prompt, codes = phones_and_tokens()
        self._phones, self._prompt = torch.from_numpy(phones)[None], torch.from_numpy(prompt)[None]
        self._text, self._codes = self._phones[:, REFERENCE_PHONES:], torch.from_numpy(codes)[None, None]
        self._bert = torch.zeros(1, 1024, len(phones))
        self._spectrogram = torch.rand(1, 1025, REFERENCE_SECONDS * 50)

    @torch.inference_mode()
    def generate(self) -> int:
        self._head.calls.clear()
        start = time.perf_counter()
        lengths = torch.tensor([self._phones.shape[1]])
        for _ in self._gpt.infer_panel(
            self._phones, lengths, self._prompt, self._bert, top_k=15, top_p=1, early_stop_num=NEW_TOKENS - 1
        ):
            pass
        self.prefill = self._head.calls[0] - start
        return len(self._head.calls)

    @torch.inference_mode()
    def decode(self) -> int:
        return int(self._sovits.decode(self._codes, self._text, [self._spectrogram]).numel())


def speak(public: Path) -> None:
    torch.set_num_threads(THREADS)
    find_package()
    _, figures = measure(
        lambda: (load_gpt(public / "voice.ckpt"), load_sovits(public / "voice.pth")),
        lambda models: Speaker(*models),
        public,
    )
    report(**figures)


if __name__ == "__main__":
    speak(Path(sys.argv[2]).resolve())
