"""A folder of random features with the shapes of real ones, for tests of the trainings."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from voiceclone.files import digest, write_tsv
from voiceclone.models.mel import spectrogram

HOP = 640


def make_features(
    folder: Path,
    tokenizer: Path,
    utterances: int = 10,
    heldout: int = 2,
    frames: tuple[int, int] = (34, 60),
    content_size: int = 16,
    codes: int = 32,
    speaker_size: int = 192,
    changed: frozenset[str] = frozenset(),
) -> None:
    """Write manifest, stores and tokenizer; utterances named in ``changed`` get other text and phones."""
    random = torch.Generator().manual_seed(0)
    stores: dict[str, dict[str, torch.Tensor]] = {
        name: {} for name in ("phones", "content", "speaker", "spectrogram", "audio", "semantic", "align")
    }
    rows = []
    for index in range(utterances):
        name = f"take-{index:02d}"
        length = 2 * int(torch.randint(frames[0] // 2, frames[1] // 2 + 1, (1,), generator=random))
        phones = torch.randint(1, 732, (max(4, length // 5),), generator=random)
        audio = 0.1 * torch.randn(length * HOP, generator=random)
        stores["content"][name] = torch.randn(content_size, length, generator=random)
        stores["speaker"][name] = torch.nn.functional.normalize(torch.randn(speaker_size, generator=random), dim=0)
        stores["semantic"][name] = torch.randint(0, codes, (length // 2,), generator=random)
        stores["audio"][name] = (audio * 32768).to(torch.int16)
        stores["spectrogram"][name] = spectrogram(audio[None])[0].to(torch.float16).contiguous()
        stores["phones"][name] = phones + 0 if name not in changed else phones.flip(0)
        stores["align"][name] = (torch.arange(length // 2) * len(phones) // (length // 2)).to(torch.int16)
        text = f"text {index}" + (" corrected" if name in changed else "")
        rows.append(
            {
                "utterance": name,
                "split": "heldout" if index < heldout else "train",
                "seconds": length / 50,
                "language": "en",
                "text": text,
                "phones": "AH0",
                "frames": length,
                "key_phones": digest(text),
                "key_content": digest(index),
                "key_speaker": digest(index),
                "key_spectrogram": digest(index),
                "audio_sha256": digest(index, 64),
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensors in stores.items():
        save_file(tensors, folder / f"{name}.safetensors", {"codes": str(codes)})
    write_tsv(folder / "manifest.tsv", list(rows[0]), rows)
    book = "quantizer.vq.layers.0._codebook"
    save_file(
        {
            "ssl_proj.weight": torch.randn(content_size, content_size, 2, generator=random) / content_size,
            "ssl_proj.bias": torch.zeros(content_size),
            f"{book}.inited": torch.ones(1),
            f"{book}.cluster_size": torch.ones(codes),
            f"{book}.embed": torch.randn(codes, content_size, generator=random),
            f"{book}.embed_avg": torch.zeros(codes, content_size),
        },
        tokenizer,
    )
