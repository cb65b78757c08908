"""Each member of a group is spoken like its own clip, held against its own recordings, and stands in the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.evaluation_fixture import make_voice as make_recordings
from tests.support.report_fixture import build, make_results
from tests.support.voice_fixture import make_styles, make_voice

from voiceclone.assets import open_asset
from voiceclone.errors import DataError
from voiceclone.evaluation.evaluate import evaluate_target, item_inputs, make_plan
from voiceclone.evaluation.measure import meter_assets
from voiceclone.evaluation.sentences import Item, evaluation_items
from voiceclone.evaluation.target import Source, open_voice
from voiceclone.features.store import Entry, open_store, write_store
from voiceclone.files import read_json, read_tsv, write_json, write_tsv
from voiceclone.stages.evaluate import EvaluateSettings

FIXED = Path(__file__).parents[2] / "resources" / "sentences" / "en.txt"


def row(name: str, speaker: str, split: str = "heldout", source: str = "group") -> dict[str, str]:
    return {
        "utterance": name, "split": split, "language": "en", "text": f"This is {name}.", "speaker": speaker,
        "source": source,
    }  # fmt: skip


def test_each_member_has_its_share_of_held_out_utterances() -> None:
    corpus = [row(f"a{place}", "anna") for place in range(9)] + [row(f"b{place}", "ben") for place in range(2)]
    settings = EvaluateSettings(heldout=3, fixed=2)
    items, _ = evaluation_items(corpus, [FIXED], "torch-fp32", settings)
    assert [item.member for item in items] == ["anna"] * 3 + ["ben"] * 2 + [""] * 2
    gathered = [entry | {"source": "libri"} for entry in corpus]  # of a voice whose people are no members
    assert {item.member for item in evaluation_items(gathered, [], "torch-fp32", settings)[0]} == {""}
    alone = [item.id for item in items if item.member == "anna"]
    assert alone == [item.id for item in evaluation_items(gathered[:9], [], "recordings", settings)[0]]


def test_a_member_is_spoken_like_its_own_clip(tmp_path: Path) -> None:
    root = make_voice(tmp_path)
    table = make_styles(root)
    source = Source("torch-fp32", root / "features", root / "models", references=table)
    item, settings = Item("a", "fixed", "en", "Yes.", turn=1), EvaluateSettings(attempts=1)
    voice, say = source.synthesizer(), open_voice(source, settings)
    said = {name: say(replace(item, member=name)).samples for name in ("", "calm", "loud", "eve")}
    for name in ("calm", "loud"):
        alone = voice.say(item.text, "en", seed=1, attempts=1, reference=voice.styles[name]).samples
        np.testing.assert_array_equal(said[name], alone)
    assert said["calm"].tobytes() != said["loud"].tobytes()
    np.testing.assert_array_equal(said["eve"], said[""])  # whoever has no clip has the voice's own
    inputs = item_inputs(
        [replace(item, id=name, member=name, turn=0) for name in ("calm", "loud", "eve")], source, {}, None
    )
    assert len({*inputs.values()}) == 3 and inputs["eve"] == item_inputs([replace(item, turn=0)], source, {}, None)["a"]
    resynthesis = replace(source, target="resynthesis")
    heldout = read_tsv(root / "features" / "manifest.tsv")[3]["utterance"]
    spoken = [open_voice(resynthesis, settings)(Item(heldout, "heldout", "en", "", member=m)) for m in ("calm", "loud")]
    assert not np.array_equal(spoken[0].samples, spoken[1].samples)


def make_group(root: Path, **members: Path) -> Source:
    """Recordings of several people as one voice: corpus, audio features with their manifest, references."""
    rows: list[dict[str, Any]] = []
    sounds: dict[str, Any] = {}
    for name, speaker in members.items():
        corpus, features = make_recordings(root / name, speaker)
        audio = open_store(features / "audio.safetensors")
        for entry in read_tsv(corpus):
            rows.append(entry | {"utterance": f"{name}-{entry['utterance']}", "speaker": name, "source": "group"})
            sounds[rows[-1]["utterance"]] = np.asarray(audio[entry["utterance"]])
    write_tsv(root / "corpus.tsv", list(rows[0]), rows)
    entries = {name: Entry(sound.shape, lambda sound=sound: sound) for name, sound in sounds.items()}
    write_store(root / "features" / "audio.safetensors", "int16", entries, {})
    write_tsv(root / "features" / "manifest.tsv", list(rows[0]), rows)
    clips = [{"style": name, "utterance": f"{name}-take-00"} for name in members]
    write_tsv(root / "references.tsv", ["style", "utterance"], [{**clips[-1], "style": ""}, *clips])
    write_json(root / "models" / "gpt.json", {})
    return Source("recordings", root / "features", root / "models", references=root / "references.tsv")


def test_each_member_is_held_against_its_own_recordings(tmp_path: Path, shared_data: Path) -> None:
    speakers = shared_data / "speakers"
    source = make_group(tmp_path, anna=speakers / "kerstin", eve=speakers / "ljspeech")
    corpus = tmp_path / "corpus.tsv"
    training = make_plan(source, corpus, [], EvaluateSettings(centroid_utterances=2)).training
    assert {name: len(found) for name, found in training.items()} == {"": 2, "anna": 2, "eve": 2}
    assert all(utterance.startswith("eve-") for utterance in training[""])  # hers is the voice's own clip
    rows = [entry | ({"split": "heldout"} if entry["speaker"] == "anna" else {}) for entry in read_tsv(corpus)]
    write_tsv(corpus, list(rows[0]), rows)
    with pytest.raises(DataError, match="no training utterance with features, so nothing represents anna"):
        make_plan(source, corpus, [], EvaluateSettings())


@pytest.mark.slow
def test_recordings_of_two_real_people(tmp_path: Path, asset: Callable[[str], Path], shared_data: Path) -> None:
    speakers = shared_data / "speakers"
    source = make_group(tmp_path, anna=speakers / "kerstin", eve=speakers / "ljspeech")
    names = ("whisper-base", "campplus", "ge2e", "dnsmos", "distillmos")
    assets, output = meter_assets([open_asset(asset(name)) for name in names]), tmp_path / "eval" / "recordings"
    evaluate_target(source, tmp_path / "corpus.tsv", [], assets, output, EvaluateSettings())
    members = read_json(output / "summary.json")["by_member"]
    assert {name: part["sentences"] for name, part in members.items()} == {"anna": 2, "eve": 2}
    for part in members.values():  # 0.2 and less against the other's recordings
        assert part["metrics"]["similarity_campplus"]["value"] > 0.6 and part["wer"]["value"] < 0.3
    assert [entry["member"] for entry in read_tsv(output / "metrics.tsv")] == ["anna", "anna", "eve", "eve"]


def test_the_report_has_a_row_for_each_member_and_target(tmp_path: Path) -> None:
    results = make_results(tmp_path / "results" / "duo")
    assert "Each person of this voice" not in build(results)
    for target, wrong in (("torch-fp32", 0.125), ("onnx-fp32", 0.375)):
        path = results / "eval" / target / "summary.json"
        summary = read_json(path)
        part = summary["by_kind"]["fixed"]
        rate = part["wer"] | {"value": wrong}
        write_json(path, summary | {"by_member": {"ben": part | {"wer": rate}, "anna": part}})
    html = build(results).split("Each person of this voice")[1].split("</table>")[0]
    order = [
        html.index(f"{name}<small>{title}") for name in ("anna", "ben") for title in ("Trained model", "onnx-fp32")
    ]
    assert order == sorted(order) and "12.5 %" in html and "37.5 %" in html
