"""Training of a base voice on a machine that has a GPU and nothing else: what goes there, what runs, what comes back.

``pack`` puts features, sound as Opus and the newest packed networks into one folder of few megabytes. ``train``, on the
other machine, unpacks them into the product's stores, trains both networks side by side from the packed weights for a
given time, and packs what they have become. The optimisers begin anew; with their moments nothing would fit.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from voiceclone.base.pack import FILES, open_base, pack_running
from voiceclone.features.store import Entry, Store, open_store, write_store
from voiceclone.files import Row, digest, read_json, read_tsv, sha256_file, write_json, write_tsv
from voiceclone.sound.io import resample

REPOSITORY = Path(__file__).resolve().parents[2]
RATE, HOP = 32_000, 640
MEGABYTE = 1_000_000
SOUND_SHARE_OF_REAL = 0.7  # of the bytes for sound
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
OPUS_LEVEL = 0.92  # of libsndfile: about 30 kbit/s
EVERYTHING = {"phones": "int64", "semantic": "int64", "align": "int16"}  # kinds of all utterances: type of the store
SPOKEN = {"speaker": "float32", "pitch": "float32"}  # kinds of those whose sound is carried
INTERRUPTED = 75
Array = npt.NDArray[Any]


# -- pack --------------------------------------------------------------------------------------------------------


def pack(
    results: Path, packed: Path, output: Path, megabytes: float, settings: Path, states: Path | None = None
) -> None:
    """Write what the other machine needs, at most so many megabytes; networks from ``packed``, or from ``states``."""
    from voiceclone.base.gates import teachers_of

    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    if states is not None:
        print(f"newest steps: {pack_running(states, results / 'models' / FILES['base-tokenizer'], output)}", flush=True)
    else:
        opened = open_base(packed, output)
        for name in FILES.values() if opened != output else ():
            shutil.copyfile(packed / name, output / name)
    shutil.copyfile(results / "models" / "alignment.safetensors", output / "alignment.safetensors")
    shutil.copyfile(settings, output / "config.json")
    features = results / "features"
    rows = read_tsv(features / "manifest.tsv")
    stores = {kind: open_store(features / f"{kind}.safetensors") for kind in (*EVERYTHING, *SPOKEN, "audio")}
    rows = [row for row in rows if row["utterance"] in stores["align"]]
    write_columns(output / "features.npz", rows, {kind: stores[kind] for kind in EVERYTHING}, "int16")
    write_tsv(output / "manifest.tsv", tuple(rows[0]), rows)  # its size counts; what sounds is written below
    left = megabytes * MEGABYTE - sum(path.stat().st_size for path in output.iterdir())
    spoken = write_sound(output / "sound.bin", rows, stores["audio"], left * 0.9, teachers_of(results))
    write_columns(output / "spoken.npz", spoken, {kind: stores[kind] for kind in SPOKEN}, "float16")
    names = {row["utterance"] for row in spoken}
    for row in rows:
        row["use"] = row.get("use") or "gpt sovits" if row["utterance"] in names else "gpt"
    write_tsv(output / "manifest.tsv", tuple(rows[0]), rows)
    seconds = sum(float(row["seconds"]) for row in spoken)
    size = sum(path.stat().st_size for path in output.iterdir()) / MEGABYTE
    print(f"{output}: {len(rows)} utterances, {seconds / 3600:.2f} h of sound, {size:.1f} MB")


def write_columns(target: Path, rows: Sequence[Row], stores: dict[str, Store], dtype: str) -> None:
    """Per kind all tensors end to end in a small type, and how long each is."""
    arrays: dict[str, Array] = {}
    for kind, store in stores.items():
        values = [np.asarray(store[row["utterance"]]).astype(dtype) for row in rows]
        arrays[kind] = np.concatenate(values) if values else np.zeros(0, dtype)
        arrays[f"{kind}_lengths"] = np.array([len(value) for value in values], np.int32)
    np.savez_compressed(target, **arrays)  # type: ignore[arg-type]


def write_sound(target: Path, rows: Sequence[Row], audio: Store, budget: float, teachers: Container[str]) -> list[Row]:
    """Opus of as many utterances as fit, real speech first; returns their rows, in the order of the file."""
    sounding = [row for row in rows if row["utterance"] in audio]
    real, synthetic = ([row for row in sounding if (row.get("source", "") in teachers) == is_teacher]
                       for is_teacher in (False, True))  # fmt: skip
    chosen: list[Row] = []
    lengths: list[int] = []
    with target.open("wb") as out:
        for some, limit in ((real, budget * SOUND_SHARE_OF_REAL), (synthetic, budget)):
            for row in sorted(some, key=lambda row: digest(row["utterance"])):
                sound = as_opus(np.asarray(audio[row["utterance"]]), float(row.get("bandwidth") or 0))
                if out.tell() + len(sound) > limit:
                    break
                out.write(sound)
                lengths.append(len(sound))
                chosen.append(row)
    write_json(target.with_suffix(".json"), {"names": [row["utterance"] for row in chosen], "lengths": lengths})
    return chosen


def as_opus(samples: npt.NDArray[np.int16], bandwidth: float) -> bytes:
    """Samples (N,) at 32 kHz as Ogg Opus, at the lowest of its rates that has the bandwidth."""
    import io

    rate = next((rate for rate in OPUS_RATES if bandwidth and rate >= 2 * bandwidth), OPUS_RATES[-1])
    buffer = io.BytesIO()
    sound = resample(samples.astype(np.float32) / np.float32(32768), RATE, rate)
    soundfile.write(buffer, sound, rate, format="OGG", subtype="OPUS", compression_level=OPUS_LEVEL)
    return buffer.getvalue()


def from_opus(data: bytes, frames: int) -> npt.NDArray[np.int16]:
    """Samples (frames * HOP,) at 32 kHz of Ogg Opus."""
    import io

    sound, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    samples = resample(sound, rate, RATE)[: frames * HOP]
    samples = np.pad(samples, (0, frames * HOP - len(samples)))
    return np.round(np.clip(samples, -1, 32767 / 32768) * 32768).astype(np.int16)


# -- unpack ------------------------------------------------------------------------------------------------------


def unpack(carried: Path, work: Path) -> Path:
    """The product's feature stores and assets, in ``work``; returns the folder of the stores."""
    features = work / "features"
    features.mkdir(parents=True)
    shutil.copyfile(carried / "manifest.tsv", features / "manifest.tsv")
    rows = read_tsv(features / "manifest.tsv")
    sound = read_json(carried / "sound.json")
    tokenizer = {"codes": str(read_architecture(carried / "tokenizer.safetensors")["codes"])}
    for name, kinds, names in (
        ("features.npz", EVERYTHING, [row["utterance"] for row in rows]),
        ("spoken.npz", SPOKEN, sound["names"]),
    ):
        with np.load(carried / name) as arrays:
            for kind, dtype in kinds.items():
                pieces = np.split(arrays[kind], np.cumsum(arrays[f"{kind}_lengths"])[:-1])
                _store(features / f"{kind}.safetensors", dtype, dict(zip(names, pieces, strict=True)), tokenizer)
    frames = {row["utterance"]: int(row["frames"]) for row in rows}
    data, starts = (carried / "sound.bin").read_bytes(), np.concatenate([[0], np.cumsum(sound["lengths"])])
    audio = {
        name: from_opus(data[start:end], frames[name])
        for name, start, end in zip(sound["names"], starts[:-1], starts[1:], strict=True)
    }
    _store(features / "audio.safetensors", "int16", audio, {})
    for asset, file in FILES.items():
        _asset(work / "models" / asset, carried / file)
    return features


def read_architecture(path: Path) -> dict[str, Any]:
    """Sizes in the metadata of a packed file."""
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        return dict(json.loads(file.metadata()["architecture"]))


def _store(target: Path, dtype: str, arrays: dict[str, Array], metadata: dict[str, str]) -> None:
    entries = {name: Entry(value.shape, lambda value=value: value) for name, value in arrays.items()}  # type: ignore[misc]
    write_store(target, dtype, entries, metadata)


def _asset(folder: Path, file: Path) -> None:
    folder.mkdir(parents=True)
    shutil.copyfile(file, folder / file.name)
    files = {file.name: {"sha256": sha256_file(file), "size": file.stat().st_size}}
    manifest = {"name": folder.name, "kind": "base", "licence": "", "files": files, "digest": digest(files)}
    write_json(folder / "asset.json", manifest)


# -- train -------------------------------------------------------------------------------------------------------


@dataclass
class Training:
    """One of the two networks on its way."""

    kind: str
    settings: dict[str, Any]
    assets: Sequence[str]
    more: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    steps: int = 0

    def start(self, work: Path, steps: int, seconds: float, threads: int) -> None:
        """Run the stage's script until it has so many steps or the time is over."""
        self.steps, folder = steps, work / self.kind
        folder.mkdir(exist_ok=True)
        runtime = {
            "max_seconds": seconds,
            "save_every_steps": 100_000,
            "save_every_minutes": 2.0,
            "keep_checkpoints": 2,
        }
        write_json(folder / "runtime.json", runtime)
        named = {
            "features-dir": work / "features", "state-dir": folder / "state", "output": folder / "out.safetensors",
            "report": folder / "out.json", "history": folder / "out.jsonl", "runtime": folder / "runtime.json",
            "threads": threads, "settings": json.dumps({**self.settings, "steps": steps}),
        }  # fmt: skip
        command: list[Any] = [sys.executable, REPOSITORY / "scripts" / f"train_{self.kind}.py"]
        command += [part for name, value in named.items() for part in (f"--{name}", value)]
        command += ["--assets", *(work / "models" / asset / "asset.json" for asset in self.assets), *self.more]
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen([str(part) for part in command], stderr=log)

    def wait(self, work: Path) -> None:
        """Until it ends; if by an error, print what its log says."""
        assert self.process is not None
        if self.process.wait() not in (0, INTERRUPTED):
            print((work / self.kind / "log").read_text()[-3000:], flush=True)

    def checkpoint(self, work: Path) -> Any:
        """The newest checkpoint, None if there is none."""
        from voiceclone.training.checkpoints import CheckpointStore

        found = [folder for folder in (work / self.kind / "state").glob("*") if (folder / "fingerprint.json").is_file()]
        return CheckpointStore(found[0], found[0].name).newest() if found else None


def train(
    carried: Path, output: Path, seconds: float, steps: int, gpt_batch: int, sovits_batch: int, threads: int
) -> None:
    """Train for so many seconds in all (or so many steps), then pack what the networks have become into ``output``."""
    began, work = time.monotonic(), output.parent / "base-work"
    shutil.rmtree(work, ignore_errors=True)
    features = unpack(carried, work)
    print(f"unpacked in {time.monotonic() - began:.0f} s", flush=True)
    trainings = plan(carried, gpt_batch, sovits_batch)
    left = seconds - (time.monotonic() - began)
    if not steps:
        # A first stretch tells the speed; the steps of the whole, which shape the learning rate, follow from it.
        for training in trainings:
            training.start(work, 1_000_000, 0.2 * left, threads)
        for training in trainings:
            training.wait(work)
    for training in trainings:
        left = seconds - (time.monotonic() - began) - 15
        training.start(work, steps or expected_steps(training, work, left), max(left, 1), threads)
    for training in trainings:
        training.wait(work)
    for training in trainings:
        hand_back(training, carried, work, output)
    shutil.copyfile(features.parent / "gpt" / "log", output / "gpt.log")
    shutil.copyfile(features.parent / "sovits" / "log", output / "sovits.log")
    print(f"done in {time.monotonic() - began:.0f} s", flush=True)


def plan(carried: Path, gpt_batch: int, sovits_batch: int) -> list[Training]:
    """Both trainings, with the settings of the configuration that was carried, large batches and bf16."""
    config = read_json(carried / "config.json")
    gpt = {
        **config["gpt"],
        "base": "base-gpt",
        "precision": "auto",
        "validate_every": 1_000_000,
        "judged_utterances": 0,
    }
    gpt["small"] = {**gpt["small"], "batch_tokens": gpt_batch}
    sovits = {
        **config["sovits"], "base": "base-sovits-g", "base_discriminator": "base-sovits-d", "precision": "auto",
        "batch_size": sovits_batch, "validate_every": 1_000_000, "judged_utterances": 0,
    }  # fmt: skip
    alignment, tokenizer = (str(carried / name) for name in ("alignment.safetensors", FILES["base-tokenizer"]))
    return [
        Training("gpt", gpt, ["base-gpt"], ["--alignment", alignment]),
        Training("sovits", sovits, ["base-sovits-g", "base-sovits-d"], ["--tokenizer", tokenizer]),
    ]


def expected_steps(training: Training, work: Path, seconds: float) -> int:
    """Steps that a training will have after so many more seconds."""
    found = training.checkpoint(work)
    if found is None:
        return 1
    done = found.record.step
    spent = [row for row in found.history if "seconds" in row]
    rate = done / max(1.0, spent[-1]["seconds"]) if spent else 0.0
    print(f"{training.kind}: {done} steps, {rate:.2f} a second", flush=True)
    return done + max(1, int(rate * seconds * 0.95))


def hand_back(training: Training, carried: Path, work: Path, output: Path) -> None:
    """Pack the newest checkpoint, its averaged weights where there are any."""
    from voiceclone.models.packed import write_packed
    from voiceclone.models.public_files import read_discriminator, read_gpt, read_sovits

    found = training.checkpoint(work)
    if found is None:
        print(f"{training.kind}: no checkpoint; see its log", flush=True)
        return
    weights = {**found.parts["model"], **found.parts.get("average", {}).get("average", {})}
    notes = {"step": str(found.record.step), "base": sha256_file(carried / f"{training.kind}.safetensors")}
    read = {"gpt": read_gpt, "sovits": read_sovits}[training.kind]
    path = output / f"{training.kind}.safetensors"
    write_packed(path, training.kind, read(carried / path.name)[0], weights, notes)
    if training.kind == "sovits":
        config = read_discriminator(carried / FILES["base-sovits-d"])[0]
        write_packed(output / FILES["base-sovits-d"], "discriminator", config, found.parts["discriminator"], notes)
        shutil.copyfile(carried / FILES["base-tokenizer"], output / FILES["base-tokenizer"])
    (output / f"{training.kind}.history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found.history))
    print(f"{training.kind}: step {found.record.step}, {path.stat().st_size / MEGABYTE:.1f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("--results", type=Path, default=Path("results/base"))
    packing.add_argument("--packed", type=Path, default=Path("resources/base"))
    packing.add_argument("--states", type=Path, help="results/base/state of trainings that go on, in place of --packed")
    packing.add_argument("--config", type=Path, default=Path("results/config.json"), help="effective configuration")
    packing.add_argument("--output", type=Path, required=True)
    packing.add_argument("--megabytes", type=float, default=52.0, help="of all files")
    training = commands.add_parser("train")
    training.add_argument("--carried", type=Path, required=True)
    training.add_argument("--output", type=Path, required=True)
    training.add_argument("--seconds", type=float, default=440)
    training.add_argument("--steps", type=int, default=0, help="of each training; 0: as many as the time allows")
    training.add_argument("--gpt-batch", type=int, default=60_000, help="phones and tokens in a batch")
    training.add_argument("--sovits-batch", type=int, default=64)
    training.add_argument("--threads", type=int, default=6)
    args = parser.parse_args()
    if args.command == "pack":
        pack(args.results, args.packed, args.output, args.megabytes, args.config, args.states)
    else:
        args.output.mkdir(parents=True, exist_ok=True)
        train(args.carried, args.output, args.seconds, args.steps, args.gpt_batch, args.sovits_batch, args.threads)


if __name__ == "__main__":
    main()
