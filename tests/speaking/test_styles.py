"""The utterances that a voice speaks like: ranked, chosen by name, carried by bundles, spoken with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.toy_voice import ToyEncoders, toy_voice
from tests.support.voice_fixture import make_styles, make_voice
from typer.testing import CliRunner

from voiceclone.backends.bundle import BUNDLE_FILE, STYLES, read_bundle, read_styles, verify_bundle
from voiceclone.cli import app
from voiceclone.config.config import Config
from voiceclone.errors import ConfigError, DataError
from voiceclone.export.bundle import export_voice
from voiceclone.files import read_json, read_tsv, table_columns, write_json, write_tsv
from voiceclone.models.voice import load_sovits
from voiceclone.speaking.batch import Defaults, Job, Refused, read_jobs, speak_table
from voiceclone.speaking.options import SpeechOptions
from voiceclone.speaking.reference import ClipReader, choose_reference, make_reference
from voiceclone.speaking.styles import TABLE, check_style, choose_references, own_clip, style_of
from voiceclone.speaking.voices import Voice, open_bundle, open_models
from voiceclone.stages.export import ExportSettings

runner = CliRunner()
FIRST, SECOND, THIRD, HELDOUT = (f"take-{index:07d}-{index + 1:07d}" for index in range(4))


def make_tables(root: Path, clips: list[dict[str, Any]]) -> Path:
    """Features, corpus, takes and judgements of clips whose speaker vectors are (likeness, 1, 0) unless given."""
    (root / "features").mkdir(parents=True)
    (root / "corpus").mkdir()
    names = [clip["name"] for clip in clips]
    save_file(
        {clip["name"]: np.array(clip.get("vector", [clip.get("like", 0.5), 1.0, 0.0]), np.float32) for clip in clips},
        root / "features" / "speaker.safetensors",
    )
    manifest = [
        {"utterance": clip["name"], "split": clip.get("split", "train"), "seconds": clip.get("seconds", 5.0),
         "language": "en", "text": f"Text of {clip['name']}."} for clip in clips
    ]  # fmt: skip
    write_tsv(root / "features" / "manifest.tsv", list(manifest[0]), manifest)
    corpus = [
        {"utterance": clip["name"], "take": f"{clip['name']}-take", "confidence": clip.get("confidence", 0.9),
         "corrected": clip.get("corrected", False), "flags": clip.get("flags", "")} for clip in clips
    ]  # fmt: skip
    write_tsv(root / "corpus" / "corpus.tsv", list(corpus[0]), corpus)
    takes = [
        {"take": f"{name}-take", "file": clip.get("file", f"{name}.wav")}
        for name, clip in zip(names, clips, strict=True)
    ]
    write_tsv(root / "takes.tsv", ["take", "file"], takes)
    columns = ["utterance", "dnsmos", "distillmos", "snr_db", "agreement"]
    judged = [{"utterance": clip["name"], **{name: clip.get(name) for name in columns[1:]}} for clip in clips]
    write_tsv(root / "corpus" / "judgements.tsv", columns, judged)
    return root


def chosen(root: Path, *names: str) -> dict[str, dict[str, str]]:
    output = root / "features" / TABLE
    choose_references(root / "features", root / "corpus" / "corpus.tsv", root / "takes.tsv", output, names)
    return {row["style"]: row for row in read_tsv(output, table_columns("references"))}


CLIPS = [
    {"name": name, "dnsmos": 3.0, "distillmos": 4.0, "snr_db": 30.0, "like": 0.5, "confidence": 0.9}
    for name in "abcdef"
]


@pytest.mark.parametrize(
    "better",
    [{"dnsmos": 3.4}, {"distillmos": 4.4}, {"snr_db": 40.0}, {"agreement": 1.0}, {"confidence": 0.95},
     {"corrected": True}, {"like": 0.6}],
)  # fmt: skip
def test_each_measure_can_decide(tmp_path: Path, better: dict[str, Any]) -> None:
    clips = [dict(clip, **(better if clip["name"] == "d" else {})) for clip in CLIPS]
    assert chosen(make_tables(tmp_path, clips))[""]["utterance"] == "d"


def test_one_measure_does_not_outweigh_the_others(tmp_path: Path) -> None:
    loud = {"name": "a", "dnsmos": 2.0, "distillmos": 3.0, "snr_db": 90.0, "like": 0.2, "confidence": 0.5}
    spread = [dict(clip, snr_db=30.0 + place, dnsmos=3.0 + place / 50) for place, clip in enumerate(CLIPS[1:])]
    assert chosen(make_tables(tmp_path, [loud, *spread]))[""]["utterance"] != "a"


def test_length_and_suspicion_come_first_and_held_out_ones_never(tmp_path: Path, caplog: Any) -> None:
    clips = [dict(clip) for clip in CLIPS]
    clips[0] |= {"dnsmos": 5.0, "seconds": 12.0}
    clips[1] |= {"dnsmos": 4.9, "flags": "given,suspicious"}
    clips[2] |= {"dnsmos": 4.8, "split": "heldout"}
    clips[3] |= {"dnsmos": 4.0}
    with caplog.at_level(logging.INFO):
        row = chosen(make_tables(tmp_path, clips))[""]
    assert (row["utterance"], row["chosen"], row["among"], row["text"]) == ("d", "best", "5", "Text of d.")
    assert "reference, rank 1 of 5: d, 5.0 s, score" in caplog.text and "dnsmos 4.00" in caplog.text


def test_styles_are_the_first_folders_and_each_has_its_own_centre(tmp_path: Path) -> None:
    one, other = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    clips = [
        {"name": "a", "file": "loud/x/1.wav", "vector": one}, {"name": "b", "file": "loud/2.wav", "vector": other},
        {"name": "c", "file": "loud/3.wav", "vector": other}, {"name": "d", "file": "3.wav", "vector": one},
        {"name": "e", "file": "内心\\t/3.wav", "vector": one, "split": "heldout"},
    ]  # fmt: skip
    rows = chosen(make_tables(tmp_path / "several", clips))
    assert {style: row["utterance"] for style, row in rows.items()} == {"": "d", "loud": "b", "内心 ": "e"}
    assert style_of("a.wav") == "" and style_of("e\u0301/b/c.wav") == "é"
    # One folder that holds all is where they lie, and no style.
    rows = chosen(make_tables(tmp_path / "one", [dict(clip, file=f"wavs/{clip['name']}.wav") for clip in clips]))
    assert list(rows) == [""]


def test_without_judgements_and_takes_it_is_the_most_typical_one(tmp_path: Path) -> None:
    root = make_voice(tmp_path)
    (root / "corpus").mkdir()
    rows = [{"utterance": row["utterance"]} for row in read_tsv(root / "features" / "manifest.tsv")]
    write_tsv(root / "corpus" / "corpus.tsv", ["utterance"], rows)
    table = root / "features" / TABLE
    choose_references(root / "features", root / "corpus" / "corpus.tsv", None, table)
    assert (
        own_clip(root / "features", table) == choose_reference(root / "features") == own_clip(root / "features", None)
    )


def test_the_setting_picks_others(tmp_path: Path, caplog: Any) -> None:
    clips = [dict(clip) for clip in CLIPS]
    clips[0] |= {"file": "loud/one.wav", "split": "heldout"}
    clips[1] |= {"file": "loud/two.wav"}
    root = make_tables(tmp_path, clips)
    best = chosen(root)
    picked = chosen(root, "f")[""]
    assert [picked[name] for name in ("utterance", "chosen", "among", "file")] == ["f", "setting", "1", "f.wav"]
    assert chosen(root, "f")["loud"] == best["loud"]
    for name in ("b", "b-take", "loud/two.wav", "two.wav"):
        rows = chosen(root, name)
        assert [rows[style]["utterance"] for style in ("", "loud")] == ["b", "b"]
    rows = chosen(root, "e", "one.wav")
    assert [rows[style]["utterance"] for style in ("", "loud")] == ["e", "a"]
    assert "one.wav: held out" in caplog.text
    with pytest.raises(ConfigError, match="no utterance of the corpus and no recording"):
        chosen(root, "nothing")


def test_the_setting_is_of_one_stage_alone() -> None:
    plain, other = Config(), Config(reference="one.wav")
    from voiceclone.stages import STAGES

    assert [name for name in STAGES if plain.settings(name) != other.settings(name)] == ["choose_references"]
    assert other.settings("choose_references") == Config(reference=["one.wav"]).settings("choose_references")


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A voice with styles, and its bundle."""
    root = make_voice(tmp_path_factory.mktemp("voice"))
    table = make_styles(root)
    settings = ExportSettings()
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", settings, "anna", references=table)
    return root


def test_a_bundle_carries_a_reference_for_each_style(voice: Path) -> None:
    description, folder = read_bundle(voice / "bundle")
    assert set(description["styles"]) == {"calm", "loud"} and description["reference_utterance"] != HELDOUT
    styles = read_styles(folder, description)
    rows = {row["utterance"]: row for row in read_tsv(voice / "features" / "manifest.tsv")}
    sovits = load_sovits(voice / "models")
    for style, reference in styles.items():
        told = description["styles"][style]
        made = make_reference(sovits, voice / "features", rows[told["utterance"]], prompt=True)
        np.testing.assert_array_equal(reference.tokens, made.tokens)
        np.testing.assert_allclose(reference.style, made.style, atol=1e-6)
    assert description["styles"]["loud"]["utterance"] == SECOND


def test_bundle_and_models_speak_in_a_style(voice: Path) -> None:
    options = {"top_k": 1, "attempts": 1, "seed": 3}
    for opened in (open_bundle, open_models):
        place = voice / ("bundle" if opened is open_bundle else "models")
        voices = [opened(place, style=style).synthesizer for style in ("calm", "loud", "")]
        said = [one.say("Good day.", "en", **options).samples for one in voices[:2]]
        assert len({one.fingerprint for one in voices}) == (3 if opened is open_bundle else 2)
        assert len(said[0]) != len(said[1]) or np.abs(said[0] - said[1]).max() > 1e-3
        again = opened(place)
        samples = again.synthesizer.say("Good day.", "en", reference=again.style("loud"), **options).samples
        np.testing.assert_array_equal(samples, said[1])
        with pytest.raises(ConfigError, match="style 'sad': not there; this voice has calm, loud"):
            opened(place, style="sad")


def test_a_voice_without_styles_says_so(tmp_path: Path) -> None:
    root = make_voice(tmp_path)
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna")
    assert "styles" not in read_json(root / "bundle" / BUNDLE_FILE) and not (root / "bundle" / STYLES).exists()
    for opened, place in ((open_bundle, "bundle"), (open_models, "models")):
        with pytest.raises(ConfigError, match="this voice has none"):
            opened(root / place, style="loud")
    assert check_style("e\u0301", ["é"]) == "é"


def test_say_takes_a_style_and_refuses_one_beside_a_clip(voice: Path, tmp_path: Path) -> None:
    command = ["say", "--bundle", str(voice / "bundle"), "--text", "Hello.", "-o", str(tmp_path / "out.wav")]
    done = runner.invoke(app, [*command, "--style", "loud"])
    assert done.exit_code == 0, done.output
    done = runner.invoke(app, [*command, "--style", "sad"])
    assert done.exit_code == 2 and "this voice has calm, loud" in done.output
    done = runner.invoke(app, [*command, "--style", "loud", "--reference", "clip.wav"])
    assert done.exit_code == 2 and "--reference and --style" in done.output


def test_verify_covers_styles(voice: Path, tmp_path: Path) -> None:
    done = runner.invoke(app, ["bundle", "verify", str(voice / "bundle")])
    assert done.exit_code == 0 and "styles: calm, loud" in done.output, done.output
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in (voice / "bundle").iterdir():
        if path.is_file():
            (bundle / path.name).write_bytes(path.read_bytes())
    data = bytearray((bundle / STYLES).read_bytes())
    data[-1] ^= 1
    (bundle / STYLES).write_bytes(data)
    with pytest.raises(DataError, match="damaged files"):
        verify_bundle(bundle)
    description = read_json(bundle / BUNDLE_FILE)
    with pytest.raises(DataError, match="of other styles"):
        read_styles(bundle, description | {"styles": {"loud": {}}})
    del description["files"][STYLES]
    write_json(bundle / BUNDLE_FILE, description)
    with pytest.raises(DataError, match=f"styles without {STYLES}"):
        read_bundle(bundle)


def test_a_batch_has_styles_of_its_rows(tmp_path: Path) -> None:
    table = tmp_path / "lines.tsv"
    table.write_text(
        "name\ttext\tstyle\treference\na\tHello.\t\t\nb\tHello.\tloud\t\nc\tHello.\tsad\t\nd\tHello.\tloud\tlines.tsv\n"
    )
    jobs = read_jobs(table, Defaults(options=SpeechOptions(attempts=1)))
    assert isinstance(jobs[3], Refused) and "reference, style: expected one of them" in jobs[3].error
    plain, styled = jobs[:2]
    assert isinstance(plain, Job) and isinstance(styled, Job) and plain.key("voice") != styled.key("voice")
    reference = toy_voice().reference
    voice = Voice(toy_voice(), ClipReader(ToyEncoders()), styles={"loud": reference})
    assert speak_table(voice, jobs, tmp_path / "out", ".flac") == {"ok": 2, "kept": 0, "failed": 2}
    told = {row["name"]: row["error"] for row in read_tsv(tmp_path / "out" / "results.tsv")}
    assert "this voice has loud" in told["c"]
