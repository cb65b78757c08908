"""What the workflow says before it works: configuration errors, lint, dry runs."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from voiceclone.files import read_json


def speaker(project, name: str = "anna") -> None:
    """A speaker with one recording; dry runs do not listen to it."""
    folder = project.root / "resources" / "speakers" / name
    folder.mkdir()
    soundfile.write(folder / "take.wav", np.zeros(16000, np.float32), 16000)


def test_lint_is_clean(new_project) -> None:
    project = new_project("lint")
    speaker(project)
    done = project.run("--lint", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("preset", ["nano", "zero-shot", "few-shot", "full"])
def test_dry_run_plans_every_stage(new_project, preset) -> None:
    project = new_project("dry")
    speaker(project)
    done = project.run("-n", "--config", f"preset={preset}")
    for rule in ("takes", "separate", "clean", "slice", "transcribe", "corpus", "features", "fit_tokenizer", "tokenize",
                 "train_sovits", "train_gpt", "choose_references", "export_encoder", "export", "evaluate", "report",
                 "collect_report"):  # fmt: skip
        assert f"rule {rule}:" in done.stdout + done.stderr, rule


def test_one_speaker_can_be_named(new_project) -> None:
    project = new_project("named")
    speaker(project, "anna")
    speaker(project, "bert-2")
    done = project.run("-n", "bert-2")
    assert "results/bert-2/report.html" in done.stdout
    assert "results/anna" not in done.stdout


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("slize={max_seconds: 10}", ["slize", "slice"]),
        ("slice={max_seconds: banana}", ["slice.max_seconds", "banana"]),
        ("slice={max_seconds: -3}", ["slice.max_seconds", "-3"]),
        ("preset=huge", ["huge", "nano"]),
    ],
)
def test_a_wrong_key_stops_before_any_work(new_project, override, words) -> None:
    project = new_project("wrong")
    speaker(project)
    done = project.run("--config", override, check=False)
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    assert not (project.results / "anna").exists()


def test_lists_of_the_user_are_inputs_of_the_evaluation(new_project) -> None:
    project = new_project("lists")
    speaker(project)
    (project.root / "my list.en.txt").write_text("A sentence.\n")
    done = project.run("-n", "--config", "evaluate={sentences: [my list.en.txt]}")
    rule = done.stdout.split("rule evaluate:")[1].split("output:")[0]
    assert "my list.en.txt" in rule and "resources/sentences/mixed.txt" in rule
    done = project.run("-n", "--config", "evaluate={sentences: [gone.en.txt]}", check=False)
    assert done.returncode != 0 and "evaluate.sentences: no file 'gone.en.txt'" in done.stdout + done.stderr


def test_a_bad_speaker_name_is_refused(new_project) -> None:
    project = new_project("name")
    speaker(project, "Anna Müller")
    done = project.run("-n", check=False)
    assert done.returncode != 0
    assert "Anna Müller" in done.stdout + done.stderr
    assert "rename" in done.stdout + done.stderr


def test_no_speaker_says_where_to_put_one(new_project) -> None:
    done = new_project("nobody").run(check=False)
    assert done.returncode != 0
    assert "resources/speakers" in done.stderr


def test_a_student_is_planned_where_it_is_asked_for_and_learns_from_its_teacher(new_project) -> None:
    project = new_project("student")
    speaker(project, "anna")
    assert "anna-student" not in project.run("-n").stdout
    jobs = {part.split(":")[0]: part for part in project.run("-n", "anna-student").stdout.split("\nrule ")}
    assert "results/anna/models/gpt.safetensors" in jobs["distill_gpt"]
    assert "results/anna-student/trained/sovits.safetensors" in jobs["joint_finetune"]
    assert "results/anna/eval/onnx-int8/summary.json" in jobs["report"]  # beside which it stands
    assert "results/anna-student/takes.tsv" in jobs["distill_texts"].split("output:")[1]
    assert "results/anna-student" not in jobs["train_gpt"] + jobs["takes"] + jobs["fit_tokenizer"]


def test_an_encoder_is_exported_once_for_all_voices(new_project, asset) -> None:
    asset("campplus")
    project = new_project("encoders")
    for name in ("anna", "otto"):
        speaker(project, name)
    planned = project.run("-n").stdout
    assert planned.count("rule export_encoder:") == 1
    assert "campplus-int8.onnx" in project.run("-n", "--config", "export={encoders: int8}").stdout
    project.run("--cores", "1", "resources/encoders/campplus.json")
    described = read_json(project.root / "resources" / "encoders" / "campplus.json")
    assert described["file"] == "campplus.onnx" and described["max_error"] < 1e-4


def test_a_voice_may_have_settings_of_its_own(new_project) -> None:
    project = new_project("own-settings")
    speaker(project, "anna")
    speaker(project, "bert")
    own = project.root / "resources/speakers/bert/voice.yaml"
    own.write_text("preset: few-shot\nlanguage: ja\nexport: {targets: [onnx-fp16]}\n", encoding="utf-8")
    said = project.run("-n", "--config", "preset=nano").stdout
    jobs = {
        rule: [part.split("wildcards:")[0] for part in said.split(f"rule {rule}:")[1:]]
        for rule in ("train_gpt", "export")
    }
    of = {name: [job for job in jobs["train_gpt"] if f"results/{name}/" in job] for name in ("anna", "bert")}
    assert len(of["anna"]) == len(of["bert"]) == 1
    model = "resources/models/gpt-sovits-v2pro-gpt/asset.json"
    assert model in of["bert"][0] and model not in of["anna"][0]
    assert ["results/bert/export/onnx-fp16/" in job for job in jobs["export"] if "results/bert" in job] == [True]
    assert not any("results/anna/export/onnx-fp16/" in job for job in jobs["export"])


def test_a_group_is_made_of_its_members(new_project) -> None:
    project = new_project("group")
    for name in ("anna", "bert"):
        speaker(project, name)
    duo = project.root / "resources/speakers/duo"
    duo.mkdir()
    (duo / "voice.yaml").write_text("group: [anna, bert]\n", encoding="utf-8")
    said = project.run("-n", "duo", "--config", "preset=nano").stdout
    jobs = [part.split("wildcards:")[0] for part in said.split("rule ")]
    asked = {rule: [job for job in jobs if job.startswith(f"{rule}:")] for rule in ("takes", "corpus", "train_gpt")}
    assert [len(asked[rule]) for rule in ("takes", "corpus", "train_gpt")] == [2, 2, 1]
    assert "results/duo/features" in asked["train_gpt"][0]
    (joined,) = [job for job in jobs if job.startswith("join_group:")]
    for name in ("anna", "bert"):
        assert all(f"results/{name}/{file}" in joined for file in ("corpus/corpus.tsv", "takes.tsv", "consent.json"))
    speaker(project, "eve")
    (project.root / "resources/speakers/eve/take.wav").rename(duo / "take.wav")
    done = project.run("-n", "duo", check=False)
    assert done.returncode and "a group has no recordings of its own" in done.stdout + done.stderr
    (duo / "voice.yaml").write_text("group: [anna, duo]\n", encoding="utf-8")
    done = project.run("-n", "duo", check=False)
    assert done.returncode and "'duo': the group itself" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slize: {max_seconds: 3}\n", ["slize", "did you mean slice"]),
        ("corpus: {min_seconds: banana}\n", ["corpus.min_seconds", "banana", "expected number"]),
        ("runtime: {device: cpu}\n", ["runtime", "holds for all voices", "allowed here: preset, language"]),
        ("lexicon: nowhere\n", ["no folder 'nowhere'"]),
    ],
)
def test_a_wrong_key_of_a_voice_names_its_file(new_project, text, words) -> None:
    project = new_project("wrong-voice")
    speaker(project)
    (project.root / "resources/speakers/anna/voice.yaml").write_text(text, encoding="utf-8")
    done = project.run("-n", check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    for word in words if "nowhere" in text else [*words, "resources/speakers/anna/voice.yaml"]:
        assert word in said, said
    assert "Traceback" not in said


def test_stages_that_use_a_gpu_ask_for_it(new_project) -> None:
    project = new_project("gpus")
    speaker(project)
    done = project.run("-n", "--config", "runtime={device: cuda, processes: 2}", "--resources", "gpu=2")
    asked = {}
    for block in done.stdout.split("\nrule ")[1:]:
        found = [part for part in block.split("resources:")[-1].split("\n")[0].split(", ") if part.startswith("gpu=")]
        if found and found != ["gpu=0"]:
            asked[block.split(":")[0]] = found[0]
    assert asked == {
        "separate": "gpu=1", "transcribe": "gpu=1", "features": "gpu=1", "train_gpt": "gpu=2", "train_sovits": "gpu=2"
    }  # fmt: skip
