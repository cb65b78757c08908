"""Listening tests: what listeners get says nothing of the systems, the page works, answers become results."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import read_json, write_json, write_tsv
from voiceclone.report.listening_test import collect, krippendorff_alpha, make_test
from voiceclone.sound.io import read_mono, write_flac

BROWSERS = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
CHROMIUM = next((path for path in BROWSERS if path), None)
#: Clicks through the whole test as a listener who always gives the best answer that there is.
LISTENER = """
<script>
$("listener").value = "Ann 1"; $("begin").click();
while ($("trial").hidden === false) {
  const radios = document.querySelectorAll("#sounds input[type=radio]");
  if (radios.length) radios[radios.length - 1].click();
  for (const slider of document.querySelectorAll("#sounds input[type=range]")) {
    slider.value = 80; slider.dispatchEvent(new Event("input"));
  }
  if ($("next").disabled) throw new Error("no answer was taken");
  $("next").click();
}
fetch($("download").href).then((answer) => answer.text()).then((text) => { document.title = text; });
</script>
"""


@pytest.fixture
def systems(tmp_path: Path) -> list[Path]:
    """Three evaluations of four sentences; noise, each of its own level."""
    folders = []
    for number, name in enumerate(("recordings", "torch-fp32", "onnx-int8")):
        folder = tmp_path / "results" / "anna" / "eval" / name
        rows = []
        for item in range(4):
            samples = np.random.default_rng(10 * number + item).normal(size=16000).astype(np.float32) * 0.1
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            write_flac(folder / "samples" / f"s{item}.flac", samples, 16000)
            rows.append({"item": f"s{item}", "text": f"Sentence <{item}>.", "audio": f"samples/s{item}.flac"})
        write_tsv(folder / "metrics.tsv", ("item", "text", "audio"), rows)
        folders.append(folder)
    return folders


def answer(key: Path, folder: Path, listener: str, choose) -> Path:
    test = read_json(key)
    record = {"test": test["test"], "listener": listener, "answers": {t["id"]: choose(t, test) for t in test["trials"]}}
    write_json(folder / f"answers-{listener}.json", record)
    return folder / f"answers-{listener}.json"


def rated(values: dict[str, int]):
    return lambda trial, test: {name: values[test["files"][name]["system"]] for name in trial["files"]}


def test_listeners_cannot_see_who_speaks(systems: list[Path], tmp_path: Path) -> None:
    folder, key = tmp_path / "test", tmp_path / "key.json"
    assert make_test("mos", systems, folder, key, "torch-fp32", sentences=3, seed=1) == 9
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert not any(name in page for name in ("recordings", "torch-fp32", "int8", "anna", "s0"))
    assert {path.name for path in folder.iterdir()} == {"index.html", "audio"}
    files = read_json(key)["files"]
    assert sorted(files) == sorted(f"audio/{path.name}" for path in (folder / "audio").iterdir()) and len(files) == 9
    with pytest.raises(ConfigError, match="folder that listeners get"):
        make_test("mos", systems, folder, folder / "key.json", "torch-fp32")


def test_mean_opinions_and_agreement(systems: list[Path], tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    make_test("mos", systems, tmp_path / "test", key, "torch-fp32")
    given = {"recordings": 5, "torch-fp32": 4, "onnx-int8": 2}
    found = collect(key, [answer(key, tmp_path, name, rated(given)) for name in ("ann", "bob")])
    assert [(row["name"], row["value"], row["answers"]) for row in found["rows"]] == [
        ("recordings", 5.0, 8), ("torch-fp32", 4.0, 8), ("onnx-int8", 2.0, 8)
    ]  # fmt: skip
    assert found["listeners"] == 2 and found["agreement"] == pytest.approx(1.0)


def test_preferences_have_a_direction_whichever_came_first(systems: list[Path], tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    make_test("cmos", systems[1:], tmp_path / "test", key, "torch-fp32")

    def prefer_int8(trial, test):
        return 2 if test["files"][trial["files"][1]]["system"] == "onnx-int8" else -2

    found = collect(key, [answer(key, tmp_path, "ann", prefer_int8)])
    assert [(row["name"], row["value"]) for row in found["rows"]] == [("onnx-int8 against torch-fp32", 2.0)]
    assert 0 < found["rows"][0]["p"] <= 1


def test_abx_counts_right_answers(systems: list[Path], tmp_path: Path) -> None:
    key = tmp_path / "key.json"
    make_test("abx", systems[:2], tmp_path / "test", key, "torch-fp32")

    def right(trial, test):
        return [test["files"][name]["system"] for name in trial["files"]].index(test["files"][trial["x"]]["system"])

    found = collect(key, [answer(key, tmp_path, "ann", right)])
    assert found["rows"][0]["value"] == 1.0 and found["rows"][0]["p"] == pytest.approx(0.5**4)
    wrong = collect(key, [answer(key, tmp_path, "bob", lambda trial, test: 1 - right(trial, test))])
    assert wrong["rows"][0]["value"] == 0.0 and wrong["rows"][0]["p"] == pytest.approx(1.0)


def test_mushra_hides_its_reference_and_an_anchor_without_high_tones(systems: list[Path], tmp_path: Path) -> None:
    folder, key = tmp_path / "test", tmp_path / "key.json"
    assert make_test("mushra", systems[:2], folder, key, "torch-fp32", sentences=1) == 1
    trial, files = read_json(key)["trials"][0], read_json(key)["files"]
    spoke = [files[name]["system"] for name in trial["files"]]
    assert sorted(spoke) == ["anchor", "recordings", "torch-fp32"] and trial["reference"] not in trial["files"]
    samples, rate = read_mono(folder / trial["files"][spoke.index("anchor")])
    spectrum = np.abs(np.fft.rfft(samples))
    high = np.fft.rfftfreq(len(samples), 1 / rate) > 4500
    assert (spectrum[high] ** 2).sum() < 0.01 * (spectrum**2).sum()


def test_agreement_is_that_of_the_literature() -> None:
    # Example of Krippendorff (2011), "Computing Krippendorff's alpha-reliability", interval data.
    table = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    ratings: dict[str, dict[str, float]] = {}
    for listener, row in enumerate(table):
        for unit, value in enumerate(row.split()):
            if value != ".":
                ratings.setdefault(str(unit), {})[str(listener)] = float(value)
    assert krippendorff_alpha(ratings) == pytest.approx(0.849, abs=5e-4)
    assert krippendorff_alpha({"a": {"x": 1.0}}) is None


def test_answers_that_do_not_belong_are_refused(systems: list[Path], tmp_path: Path) -> None:
    key, other = tmp_path / "key.json", tmp_path / "other.json"
    make_test("mos", systems, tmp_path / "test", key, "torch-fp32")
    make_test("mos", systems[:2], tmp_path / "test2", other, "torch-fp32")
    mine = answer(key, tmp_path, "ann", rated({"recordings": 5, "torch-fp32": 4, "onnx-int8": 2}))
    with pytest.raises(DataError, match="another test"):
        collect(other, [mine])
    with pytest.raises(DataError, match="'ann'"):
        collect(key, [mine, mine])


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
@pytest.mark.parametrize("kind", ["mos", "cmos", "abx", "mushra"])
def test_a_listener_goes_through_it_in_a_browser(systems: list[Path], tmp_path: Path, kind: str) -> None:
    folder, key = tmp_path / "test", tmp_path / "key.json"
    make_test(kind, systems, folder, key, "torch-fp32", sentences=2)
    page = folder / "index.html"
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", LISTENER + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=20000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    title = done.stdout.partition("<title>")[2].partition("</title>")[0]
    (tmp_path / "answers-Ann_1.json").write_text(title.replace("&amp;", "&"))
    result = CliRunner().invoke(
        app, ["listening-test", str(tmp_path / "answers-Ann_1.json"), "--collect", "--key", str(key)]
    )
    assert result.exit_code == 0 and result.output.startswith(f"{kind}: 1 listeners"), done.stderr[-2000:]
    answers = json.loads(title)["answers"]
    assert len(answers) == len(read_json(key)["trials"])
