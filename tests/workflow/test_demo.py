"""The whole workflow on the demo speaker: made once, then looked at, repeated, edited, interrupted."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import wave
from pathlib import Path

import pytest
from tests.support.tables import faults

from project import planned, scrambled
from voiceclone.backends.bundle import verify_bundle
from voiceclone.files import read_json, read_tsv, sha256_file
from voiceclone.training.state import holder

pytestmark = pytest.mark.timeout(1800)
SPOKEN = Path(__file__).resolve().parents[2] / "resources" / "sentences" / "demo_speaker.txt"
STAGES = (
    "takes separate clean slice transcribe corpus features fit_tokenizer tokenize train_gpt train_sovits export"
    " evaluate report"
)


def test_every_contracted_file_is_there(demo) -> None:
    voice = demo.results / "demo"
    for name in (
        "takes.tsv", "rejected.tsv", "separated/manifest.tsv", "clean/manifest.tsv", "slices/manifest.tsv",
        "slices/timeline.tsv", "transcripts/manifest.tsv", "corpus/corpus.tsv", "corpus/demo.list",
        "corpus/rejected.tsv",
        "corpus/proofread.html", "features/manifest.tsv", "features/semantic.safetensors", "models/gpt.safetensors",
        "models/sovits.safetensors", "export/onnx-fp32/bundle.json", "report.html", "provenance.json",
    ):  # fmt: skip
        assert (voice / name).stat().st_size > 0, name
    assert (demo.results / "report" / "index.html").is_file()


def test_every_table_of_the_run_fits_its_schema(demo) -> None:
    tables = [path for path in demo.results.rglob("*.tsv") if "benchmarks" not in path.parts]  # those are Snakemake's
    found = {str(path): faults(path.read_text(encoding="utf-8")) for path in tables}
    assert len(tables) >= 13 and not {name: what for name, what in found.items() if what}


def test_transcripts_come_close_to_what_was_spoken(demo) -> None:
    from voiceclone.text.wer import word_errors

    spoken = " ".join(line for line in SPOKEN.read_text(encoding="utf-8").splitlines() if line)
    voice = demo.results / "demo"
    heard: list[str] = []
    takes = {row["take"]: row["file"] for row in read_tsv(voice / "takes.tsv")}
    for take in sorted(takes, key=lambda name: takes[name]):
        lines = (voice / "transcripts" / f"{take}.jsonl").read_text(encoding="utf-8").splitlines()
        heard += [json.loads(line)["text"] for line in lines]
    counts = word_errors(spoken, " ".join(heard), "en")
    assert counts.errors / counts.words < 0.25


def test_the_take_with_music_was_separated_and_no_clean_one(demo) -> None:
    rows = {row["take"]: row["separated"] for row in read_tsv(demo.results / "demo" / "separated" / "manifest.tsv")}
    music = [take for take in rows if "music" in take]
    assert music
    assert {take for take, separated in rows.items() if separated == "true"} == set(music)


def test_bundle_is_whole_and_speaks(demo, tmp_path) -> None:
    from typer.testing import CliRunner

    from voiceclone.cli import app

    folder = demo.results / "demo" / "export" / "onnx-fp32"
    verify_bundle(folder)
    target = tmp_path / "out.wav"
    done = CliRunner().invoke(app, ["say", "--bundle", str(folder), "--text", "Hello there.", "-o", str(target)])
    assert done.exit_code == 0, done.output
    with wave.open(str(target)) as sound:
        assert sound.getframerate() == 32000
        assert sound.getnframes() > 8000


def test_second_run_does_nothing(demo) -> None:
    done = demo.run()
    assert "Nothing to be done" in done.stderr + done.stdout


def test_touching_a_small_input_reruns_nothing(demo) -> None:
    (demo.results / "demo" / "corpus" / "corpus.tsv").touch()
    assert "Nothing to be done" in (done := demo.run("-n")).stdout + done.stderr


def test_checkpoints_are_chosen_by_ear_and_handed_on(demo) -> None:
    voice = demo.results / "demo"
    selection = read_json(voice / "selection" / "selection.json")
    assert selection["by"] == "ear" and selection["sentences"] == 1
    assert {row["gpt_step"] for row in selection["grid"]} > {24} and len(selection["grid"]) >= 4
    for kind in ("gpt", "sovits"):
        chosen, report = selection["chosen"][kind], read_json(voice / "models" / f"{kind}.json")
        assert (report["step"], report["selected"], report["by"]) == (chosen["step"], chosen["name"], "ear")
        source = voice / "trained" / (chosen["file"] or f"{kind}.safetensors")
        assert sha256_file(source) == sha256_file(voice / "models" / f"{kind}.safetensors")


def test_one_corrected_text_recomputes_one_utterance(demo, tmp_path) -> None:
    project = demo.copy(tmp_path / "project")
    voice = project.results / "demo"
    before = {row["utterance"]: row for row in read_tsv(voice / "features" / "manifest.tsv")}
    utterance = sorted(name for name, row in before.items() if row["split"] == "train")[0]
    (project.root / "config" / "corrections" / "demo.tsv").write_text(
        f"utterance\taction\tvalue\tnote\n{utterance}\ttext\tThe corrected words of this sentence.\tproofread\n"
    )
    project.run("results/demo/trained/gpt.safetensors")
    after = {row["utterance"]: row for row in read_tsv(voice / "features" / "manifest.tsv")}
    changed = [name for name in after if after[name] != before[name]]
    assert changed == [utterance]
    log = project.log("demo", "features")
    total = len(after)
    assert re.search(rf"phones:? 1 made, {total - 1} from cache", log), log[-2000:]
    assert re.search(rf"content:? 0 made, {total} from cache", log), log[-2000:]
    assert "1 utterance changed text" in project.log("demo", "train_gpt")
    states = [path for path in (voice / "state" / "gpt").iterdir() if (path / "fingerprint.json").is_file()]
    assert len(states) == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill-9"])
@pytest.mark.parametrize("kind", ["gpt", "sovits"])
def test_interrupted_training_continues_to_the_same_model(demo, tmp_path, kind, how) -> None:
    project = demo.copy(tmp_path / "project")
    voice = project.results / "demo"
    model, state = voice / "trained" / f"{kind}.safetensors", voice / "state" / kind
    expected = sha256_file(model)
    for path in [model, voice / "trained" / f"{kind}.json", voice / "trained" / f"{kind}.history.jsonl"]:
        path.unlink()
    shutil.rmtree(state)
    target = f"results/demo/trained/{kind}.safetensors"
    project.interrupt(lambda: any(state.glob("*/step-*")), target, how=how)
    assert not model.exists()
    assert not any(holder(path) for path in state.glob("*/lock")), "a trainer outlived the run that started it"
    project.run(target)
    assert "resum" in project.log("demo", f"train_{kind}").lower()
    assert sha256_file(model) == expected


def test_asr_killed_in_the_middle_keeps_what_was_heard(demo, tmp_path) -> None:
    project = demo.copy(tmp_path / "project")
    transcripts = project.results / "demo" / "transcripts"
    manifest = transcripts / "manifest.tsv"
    expected = manifest.read_bytes()
    for path in sorted(transcripts.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    target = "results/demo/transcripts/manifest.tsv"
    project.interrupt(lambda: len(list((transcripts / "cache").glob("*/*-*.json"))) > 3, target, how=signal.SIGKILL)
    assert not manifest.exists()
    project.run(target)
    made, kept = map(
        int, re.findall(r"transcribe: (\d+) made, (\d+) from cache", project.log("demo", "transcribe"))[-1]
    )
    assert made > 0
    assert kept > 3
    assert manifest.read_bytes() == expected


@pytest.mark.parametrize("records", [True, False], ids=["whole", "without .snakemake"])
def test_a_copy_of_a_finished_voice_plans_nothing(demo, tmp_path, records) -> None:
    worked = {path.stem for path in (demo.results / "demo" / "logs").glob("*.log")}
    assert not [stage for stage in STAGES.split() if not any(name.startswith(stage) for name in worked)], worked
    twin = scrambled(demo, tmp_path / "copy", records)
    assert planned(twin) == []
    for path in (twin.root / "results").rglob("*"):  # as a checkout leaves them: all of one moment
        if path.is_file() and not path.is_symlink():
            os.utime(path, (0, 0))
    assert planned(twin) == []


def test_a_correction_in_a_copied_voice_plans_what_it_touches(demo, tmp_path) -> None:
    twin = scrambled(demo, tmp_path / "copy", keep_records=False)
    assert planned(twin) == []
    (twin.results / "demo" / "features" / "audio.safetensors").touch()
    assert planned(twin) == []
    first = (twin.results / "demo" / "corpus" / "corpus.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[0]
    table = twin.root / "config" / "corrections" / "demo.tsv"
    table.write_text(f"utterance\taction\tvalue\n{first}\ttext\tOther words.\n", encoding="utf-8")
    stages = planned(twin)
    assert "corpus" in stages and "features" in stages
    assert not {"takes", "separate", "clean", "slice", "transcribe"} & set(stages)
    table.unlink()
    assert planned(twin) == []
