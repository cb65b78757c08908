"""A made-up voice: all tables and sounds that a report reads, small, made in a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voiceclone.corpus.build import COLUMNS as CORPUS_COLUMNS
from voiceclone.evaluation.evaluate import COLUMNS as METRIC_COLUMNS
from voiceclone.evaluation.summary import summarise_rows
from voiceclone.files import write_json, write_jsonl, write_tsv
from voiceclone.report.page import build_report
from voiceclone.sound.io import Waveform, read_mono, write_flac
from voiceclone.stages.evaluate import EvaluateSettings
from voiceclone.stages.report import ReportSettings

TARGETS = ["recordings", "resynthesis", "torch-fp32", "onnx-fp32", "onnx-int8"]
NASTY = '<script>alert("x")</script>'
TEXTS = [
    "Printing, in the only sense with which we are at present concerned, differs from most arts.",
    "The earliest book printed with movable types was a forty-two line Bible.",
    "It is of the first importance that the letter used should be fine in form.",
    "And it was a matter of course that in the Middle Ages they should be beautiful.",
]
FIXED = ["Could you fetch the other jar of ginger biscuits from the top shelf?", f"No one answered {NASTY}."]
#: Bundles with the level of their noise, time and size against the trained model.
BUNDLES = (("onnx-fp32", 0.6), ("onnx-int8", 0.61))
PACES = {"onnx-fp32": 0.7, "onnx-int8": 0.35}
SIZES = {"onnx-int8": 0.31}
GAIN = {"tokens": 32, "positions": 265, "with_ms": 1180.2, "without_ms": 12030.0, "ratio": 10.193, "same_tokens": True}
SUSPECT = {"utterance": "take-1-0001", "loss": 3.2, "score": 6.1, "language": "en", "text": f"Not said {NASTY}"}


def voice_like(seconds: float, seed: int, rate: int = 32_000) -> Waveform:
    """Harmonics with a moving pitch and syllable-like loudness."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 180 + 40 * np.sin(2 * np.pi * (0.4 + 0.2 * rng.random()) * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    sound = sum(np.sin(n * phase) / n for n in range(1, 24))
    loudness = np.clip(np.sin(2 * np.pi * 2.3 * time + seed), 0, None) ** 0.5
    return (0.12 * sound * loudness + 0.002 * rng.standard_normal(len(time))).astype(np.float32)


def _sound(speech: Path | None, seconds: float, seed: int) -> Waveform:
    if speech is None:
        return voice_like(seconds, seed)
    samples, _ = read_mono(speech, 32_000)
    start = int(seed * 3.1 * 32_000) % max(1, len(samples) - int(seconds * 32_000))
    return samples[start : start + int(seconds * 32_000)]


def _history(folder: Path, kind: str, curves: dict[str, tuple[float, float]]) -> None:
    rng = np.random.default_rng(len(kind))
    rows: list[dict[str, Any]] = [{"event": "started", "step": 0, "reason": "nothing saved yet"}]
    for step in range(10, 401, 10):
        if step == 130:
            rows.append({"event": "resumed", "step": 120, "reason": "saved state found"})
        for split in ["train"] + ["heldout"] * (step % 100 == 0):
            values = {
                name: round(end + (start - end) * float(np.exp(-step / 90)) * (1 + 0.05 * rng.standard_normal()), 4)
                + (0.1 * end if split == "heldout" else 0)
                for name, (start, end) in curves.items()
            }
            rows.append({"step": step, "epoch": step // 40 + 1, "seconds": step * 0.2, "split": split, **values})
    write_jsonl(folder / f"{kind}.history.jsonl", rows)
    write_json(
        folder / f"{kind}.json",
        {
            "fingerprint": f"{kind}-0123456789abcdef",
            "architecture": {"layers": 4},
            "step": 400,
            "epochs": 10.0,
            "best": {},
            "final": {},
            "seconds": 81.5,
            "versions": {"torch": "2.11.0"},
            "components": {"base": ""},
            "selected": "best",
            "steps": 400,
            "started": "new training 0123; changed since 4567: 2 utterances changed text, 1 added",
            "suspects": {
                "metric": "cross_entropy",
                "judged": 40,
                "utterances": [SUSPECT] if kind == "gpt" else [],
            },
            "resumes": [{"event": "resumed", "step": 120, "reason": "saved state found"}],
        },
    )
    (folder / f"{kind}.safetensors").write_bytes(bytes(9_400_000 if kind == "sovits" else 13_100_000))


def _recordings(results: Path) -> None:
    takes = [
        ("take-1-aaaaaaaa", "take 1.flac", 38.2, 48000, 2, "FLAC", -3.1, -21.4, 18000, "stereo"),
        ("take-2-bbbbbbbb", "take 2.wav", 41.9, 16000, 1, "WAV", -1.0, -26.8, 7300, "narrowband"),
        ("take-3-cccccccc", f"take {NASTY}.mp3", 35.0, 44100, 1, "MP3", -0.1, -14.2, 15500, "clipped"),
    ]
    names = (
        "take",
        "file",
        "seconds",
        "sample_rate",
        "channels",
        "codec",
        "peak_dbfs",
        "loudness_lufs",
        "bandwidth_hz",
        "flags",
    )
    columns = (*names, "sha256", "clipping", "dc_offset")
    write_tsv(
        results / "takes.tsv",
        columns,
        [dict(zip(names, row, strict=True)) | {"sha256": f"{n:064x}"} for n, row in enumerate(takes, 1)],
    )
    write_tsv(
        results / "rejected.tsv",
        ("file", "sha256", "stage", "reason", "detail"),
        [
            {
                "file": "beep.wav",
                "sha256": "0" * 64,
                "stage": "takes",
                "reason": "too_short",
                "detail": "10 ms long; a recording needs at least 0.5 s.",
            },
            {
                "file": "notes.wav",
                "sha256": "f" * 64,
                "stage": "takes",
                "reason": "unreadable",
                "detail": "Not audio: neither libsndfile nor ffmpeg reads it.",
            },
        ],
    )
    separated = [
        {
            "take": take[0],
            "mode": "auto",
            "separated": number == 2,
            "accompaniment_db": [31.2, 28.4, 4.9][number],
            "chain": "spleeter-2stems" if number == 2 else "",
            "note": "",
        }
        for number, take in enumerate(takes)
    ]
    write_tsv(
        results / "separated" / "manifest.tsv",
        ("take", "mode", "separated", "accompaniment_db", "chain", "note"),
        separated,
    )
    clean = [
        {
            "take": take[0],
            "lufs_before": take[7],
            "lufs_after": -23.0,
            "true_peak_dbtp": -2.1,
            "snr_before": 21.5 + number,
            "snr_after": 33.0 + number,
            "dnsmos_before": 2.81,
            "dnsmos_after": 3.12,
            "similarity": 0.97,
            "denoised": number != 1,
            "note": "denoising lowered DNSMOS from 3.20 to 3.05 and was undone" if number == 1 else "",
        }
        for number, take in enumerate(takes)
    ]
    write_tsv(results / "clean" / "manifest.tsv", list(clean[0]), clean)


def _corpus(results: Path, heldout: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(1)
    corpus, dropped, spans = [], [], []
    for number, (take, seconds) in enumerate(
        [("take-1-aaaaaaaa", 38.2), ("take-2-bbbbbbbb", 41.9), ("take-3-cccccccc", 35.0)]
    ):
        clock = 0
        while clock < seconds * 1000 - 9000:
            pause, long = int(rng.integers(300, 900)), int(rng.integers(1800, 8000))
            spans.append(
                {
                    "take": take,
                    "start_ms": clock,
                    "end_ms": clock + pause,
                    "state": "silence",
                    "utterance": "",
                    "reason": "",
                }
            )
            start, end = clock + pause, clock + pause + long
            name = f"{take}-{start:07d}-{end:07d}"
            spans.append(
                {"take": take, "start_ms": start, "end_ms": end, "state": "slice", "utterance": name, "reason": ""}
            )
            text = TEXTS[len(corpus) % len(TEXTS)]
            if len(corpus) % 6 == 5 and not (dropped and dropped[-1]["take"] == take):
                dropped.append(
                    {
                        "utterance": name,
                        "take": take,
                        "seconds": long / 1000,
                        "reason": "low_confidence",
                        "detail": "mean word probability 0.41, expected at least 0.5",
                        "text": NASTY,
                    }
                )
            else:
                corpus.append(
                    {
                        "utterance": name,
                        "take": take,
                        "path": f"slices/{take}/{name}.flac",
                        "sha256": f"{len(corpus):064x}",
                        "start_ms": start,
                        "end_ms": end,
                        "seconds": long / 1000,
                        "language": "en",
                        "text": text,
                        "text_asr": text,
                        "confidence": 0.9,
                        "split": "heldout" if len(corpus) % 4 == 1 and heldout else "train",
                        "flags": "",
                        "corrected": len(corpus) == 2,
                    }
                )
            clock = end
        rest = int(seconds * 1000)
        state = {"state": "rejected", "reason": "too_long"} if number == 2 else {"state": "silence", "reason": ""}
        spans.append({"take": take, "start_ms": clock, "end_ms": rest, "utterance": "", **state})
    write_tsv(
        results / "slices" / "timeline.tsv",
        ("take", "start_ms", "end_ms", "state", "utterance", "reason"),
        spans,
        sort_by=["take"],
    )
    write_tsv(results / "corpus" / "corpus.tsv", CORPUS_COLUMNS, corpus)
    write_tsv(
        results / "corpus" / "rejected.tsv", ("utterance", "take", "seconds", "reason", "detail", "text"), dropped
    )
    return corpus


def _evaluation(results: Path, target: str, corpus: list[dict[str, Any]], speech: Path | None, level: float) -> None:
    rng = np.random.default_rng(abs(int(level * 1000)))
    folder = results / "eval" / target
    (folder / "samples").mkdir(parents=True)
    items = [(row["utterance"], "heldout", row["text"]) for row in corpus if row["split"] == "heldout"]
    if target not in ("recordings", "resynthesis"):
        items += [(f"en-{number:02d}", "fixed", text) for number, text in enumerate(FIXED, 1)]
    rows: list[dict[str, Any]] = []
    for number, (name, kind, text) in enumerate(items):
        words, seconds = len(text.split()), 2.5 + 1.5 * rng.random()
        row: dict[str, Any] = dict.fromkeys(METRIC_COLUMNS) | {
            "item": name,
            "kind": kind,
            "language": "en",
            "text": text,
            "words": words,
            "characters": len(text),
        }
        if target == "onnx-fp32" and number == len(items) - 1:
            rows.append(
                row
                | {
                    "hypothesis": "",
                    "failure": f"DataError: nothing was spoken {NASTY}",
                    "word_errors": words,
                    "character_errors": len(text),
                    "wer": 1.0,
                    "cer": 1.0,
                }
            )
            continue
        wrong = min(words, int(rng.poisson(words * level)))
        noise = float(rng.normal(0, 0.04))
        write_flac(folder / "samples" / f"{name}.flac", _sound(speech, seconds, number), 32_000)
        pace = PACES.get(target, 1.0) * float(rng.normal(1, 0.03))
        gpt, decoder = (0.0, 210 * seconds) if target == "resynthesis" else (330 * seconds * pace, 215 * seconds * pace)
        timings = (
            {} if target == "recordings" else {"text_ms": 2.0, "gpt_ms": gpt, "decoder_ms": decoder, "post_ms": 0.4}
        )
        speaks = {"tokens_per_second": 25_000 * seconds / gpt, "first_audio_ms": 420 * pace} if gpt else {}
        rows.append(
            row
            | timings
            | speaks
            | {
                "hypothesis": " ".join(text.split()[wrong:]),
                "seconds": seconds,
                "word_errors": wrong,
                "wer": wrong / words,
                "character_errors": wrong * 4,
                "cer": wrong * 4 / len(text),
                "similarity_campplus": 0.86 - level / 3 + noise,
                "similarity_ge2e": 0.91 - level / 5 + noise,
                "dnsmos_ovrl": 3.2 - level + noise,
                "dnsmos_sig": 3.5 - level,
                "dnsmos_bak": 3.9 - level / 2,
                "distillmos": 4.2 - 2 * level + noise,
                "characters_per_second": 14 + 20 * noise,
                "f0_median_hz": 205 + 100 * noise,
                "f0_spread_semitones": 8 + 20 * noise,
                "voiced_share": 0.5,
                "rtf": sum(timings.values()) / 1000 / seconds if timings else None,
                "truncated": 0,
                "audio": f"samples/{name}.flac",
            }
        )
    write_tsv(folder / "metrics.tsv", METRIC_COLUMNS, rows)
    settings = EvaluateSettings(bootstrap=200)
    failures = [{"item": row["item"], "reason": row["failure"]} for row in rows if row["failure"]]
    write_json(
        folder / "summary.json",
        {
            "target": target,
            **summarise_rows(rows, settings),
            "failures": failures,
            "truncated": 0,
            "by_kind": {
                kind: summarise_rows([r for r in rows if r["kind"] == kind], settings)
                for kind in sorted({r["kind"] for r in rows})
            },
            "size_bytes": None if target == "recordings" else round(22_500_000 * SIZES.get(target, 1.0)),
            "peak_memory_mb": None if target == "recordings" else 640.0 * SIZES.get(target, 1.0),
            **({"cache": GAIN} if target == "torch-fp32" else {}),
            "assets": {},
            "settings": {},
            "threads": 2,
        },
    )


def make_results(results: Path, speech: Path | None = None, heldout: int = 1, preset: str = "demo") -> Path:
    """Fill ``results`` (``results/NAME``) and its surroundings; returns it. ``speech``: where samples are cut from."""
    _recordings(results)
    corpus = _corpus(results, heldout)
    (results / "models").mkdir(parents=True)
    _history(results / "models", "gpt", {"cross_entropy": (5.6, 3.4), "top3_accuracy": (0.05, 0.42)})
    _history(
        results / "models",
        "sovits",
        {
            "mel_l1": (2.4, 0.9),
            "loss_mel": (110.0, 38.0),
            "loss_kl": (4.0, 1.4),
            "loss_fm": (0.1, 4.2),
            "loss_gen": (6.0, 2.6),
            "loss_disc": (6.0, 2.4),
        },
    )
    write_json(results / "models" / "tokenizer.json", {"source": "fitted", "codes": 180})
    for bundle, _ in BUNDLES:
        export = results / "export" / bundle
        write_json(
            export / "bundle.json",
            {
                "files": {"decoder.onnx": {"size": 9_500_000, "sha256": "0" * 64}},
                "format_version": 1,
                "licence": f"CC-BY-4.0 {NASTY}",
            },
        )
        write_json(
            export / "parity.json",
            {"max_error": {"logits": 2.1e-6, "waveform": 5.3e-6}, "greedy_equal": True, "utterances": []},
        )
    for target, level in (("recordings", 0.05), ("resynthesis", 0.22), ("torch-fp32", 0.6), *BUNDLES):
        _evaluation(results, target, corpus, speech, level)
    for rule, seconds in (("clean", 14.2), ("train_gpt", 121.0), ("evaluate.onnx-fp32", 95.1)):
        write_tsv(
            results / "benchmarks" / f"{rule}.tsv",
            ("s", "max_rss", "cpu_time"),
            [{"s": seconds, "max_rss": 910.5, "cpu_time": "NA"}],
        )
    write_json(
        results.parent / "config.json",
        {"preset": preset, "speakers_dir": "resources/speakers", "gpt": {"base": ""}, "note": NASTY},
    )
    models = results.parent.parent / "resources" / "models"
    for name, licence in (("dnsmos", "MIT"), ("nsnet", "CC-BY-4.0")):
        write_json(
            models / name / "asset.json",
            {"name": name, "kind": "quality", "licence": licence, "digest": "ab" * 16, "files": {}},
        )
    return results


def build(results: Path, targets: Sequence[str] = TARGETS, teacher: Path | None = None, **settings: object) -> str:
    """Make the page of a voice of :func:`make_results` and return it."""
    root = results.parent
    assets = sorted((root.parent / "resources" / "models").glob("*/asset.json"))
    build_report(
        results,
        results / "report.html",
        results / "provenance.json",
        root / "config.json",
        targets,
        assets,
        ReportSettings.model_validate(settings),
        Path(__file__).parents[2],
        teacher,
    )
    return (results / "report.html").read_text(encoding="utf-8")
