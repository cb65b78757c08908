import html
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.corpus_fixture import SENTENCES, TAKE, Results, record, summary, utterance_id

from voiceclone.corpus.filters import repeated_phrase
from voiceclone.corpus.listfile import read_list
from voiceclone.corpus.normalise import normalise_text
from voiceclone.errors import DataError
from voiceclone.files import read_tsv, sha256_file
from voiceclone.stages.corpus import CorpusSettings


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path)


def reasons(corpus: Path) -> dict[str, str]:
    return {row["utterance"]: row["reason"] for row in read_tsv(corpus / "rejected.tsv")}


def test_all_good_utterances_are_kept_with_every_output(results: Results) -> None:
    results.flags = "narrowband,stereo"
    corpus = results.build(CorpusSettings())
    rows = read_tsv(corpus / "corpus.tsv")
    assert [row["text"] for row in rows] == list(SENTENCES)
    assert {row["flags"] for row in rows} == {"narrowband,stereo"}
    assert sum(row["split"] == "heldout" for row in rows) >= 2
    assert rows[0]["path"] == f"slices/{TAKE}/{utterance_id(0)}.flac"
    entries = read_list(corpus / "anna.list")
    assert [(entry.language, entry.speaker, entry.text) for entry in entries] == [("en", "anna", t) for t in SENTENCES]
    assert sorted(path.name for path in corpus.iterdir()) == [
        "anna.list", "corpus.tsv", "proofread.html", "rejected.tsv", "summary.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": "", "words": []}, "empty"),
        ({"text": "[Music]"}, "empty"),
        ({"language": "de", "heard": "de"}, "language"),
        ({"heard": "zh", "heard_probability": 0.95}, "other_language"),
        ({"no_speech_prob": 0.9, "avg_logprob": -0.8}, "no_speech"),
        ({"avg_logprob": -1.4}, "low_confidence"),
        ({"compression_ratio": 3.0}, "looping"),
        ({"text": "and so on and so on and so on and so on and so on"}, "looping"),
        ({"text": "Oh."}, "speaking_rate"),
        ({"text": "words " + " ".join(f"number{n} follows" for n in range(20))}, "speaking_rate"),
    ],
)
def test_each_filter_rejects_with_its_reason(results: Results, change: dict[str, object], reason: str) -> None:
    results.records[3] |= change
    corpus = results.build(CorpusSettings())
    assert reasons(corpus) == {utterance_id(3): reason}
    assert summary(corpus)["reasons"] == {reason: {"utterances": 1, "seconds": 4.0}}


def test_sure_words_outvote_a_high_no_speech_probability(results: Results) -> None:
    results.records[3] |= {"no_speech_prob": 0.9, "avg_logprob": -0.2}
    assert reasons(results.build(CorpusSettings())) == {}


def test_low_word_probabilities_and_length_are_rejected(results: Results) -> None:
    results.records[2] = record(2, SENTENCES[2], probability=0.3)
    corpus = results.build(CorpusSettings(max_utterance_seconds=20))
    assert reasons(corpus) == {utterance_id(2): "low_confidence"}
    with pytest.raises(DataError, match="length"):
        results.build(CorpusSettings(max_utterance_seconds=3))


def test_seconds_of_kept_and_rejected_add_up(results: Results) -> None:
    results.records[1]["text"] = ""
    results.records[4]["language"] = "fr"
    figures = summary(results.build(CorpusSettings()))
    for unit in ("utterances", "seconds"):
        counts = figures[unit]
        assert counts["kept"] + counts["rejected"] == counts["sliced"]
        assert counts["train"] + counts["heldout"] == counts["kept"]
    assert figures["seconds"]["sliced"] == 48
    assert sum(figures["lengths"].values()) == figures["utterances"]["kept"] == 10


def test_too_little_left_stops_with_a_table(results: Results) -> None:
    for index in range(12):
        results.records[index] |= {"text": "", "words": []} if index % 2 else {"language": "de"}
    with pytest.raises(DataError) as caught:
        results.build(CorpusSettings())
    message = caught.value.message
    assert "speaker anna: 0 utterances with 0.0 s are left, expected at least 10 with 30 s" in message
    assert re.search(r"- empty +6 +24\.0", message)
    assert re.search(r"- language de +6 +24\.0", message)
    assert re.search(r"= left +0 +0\.0", message)
    assert sorted(path.name for path in (results.folder / "corpus").iterdir()) == ["proofread-failed.html"]


def test_no_slices_at_all_stop_with_the_same_table(results: Results) -> None:
    results.records.clear()
    with pytest.raises(DataError, match=r"sliced from the takes +0 +0\.0"):
        results.build(CorpusSettings())


def test_text_correction_changes_one_row_only(results: Results) -> None:
    corpus = results.build(CorpusSettings())
    before = (corpus / "corpus.tsv").read_bytes().splitlines()
    results.correct(f"{utterance_id(5)}\ttext\tHis letter arrived on the first day of September.\twrong day")
    after = (results.build(CorpusSettings()) / "corpus.tsv").read_bytes().splitlines()
    changed = [index for index, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    assert changed == [6]
    assert after[6].split(b"\t")[8] == b"His letter arrived on the first day of September."
    assert after[6].split(b"\t")[9] == before[6].split(b"\t")[9]
    assert after[6].endswith(b"\ttrue")


def test_building_twice_gives_the_same_bytes(results: Results) -> None:
    def digests() -> dict[str, str]:
        return {path.name: sha256_file(path) for path in results.build(CorpusSettings()).iterdir()}

    assert digests() == digests()


def test_drop_keep_and_language_corrections(results: Results) -> None:
    results.records[1] |= {"avg_logprob": -3.0}
    results.records[2] |= {"language": "de"}
    results.records[3] |= {"text": "", "words": []}
    results.correct(
        f"{utterance_id(0)}\tdrop\t\tdoor slams",
        f"{utterance_id(1)}\tkeep",
        f"{utterance_id(2)}\tlanguage\ten",
        f"{utterance_id(3)}\tkeep",
    )
    corpus = results.build(CorpusSettings())
    assert reasons(corpus) == {utterance_id(0): "dropped", utterance_id(3): "empty"}
    assert "door slams" in read_tsv(corpus / "rejected.tsv")[0]["detail"]
    rows = {row["utterance"]: row for row in read_tsv(corpus / "corpus.tsv")}
    assert rows[utterance_id(1)]["flags"] == "kept"
    assert rows[utterance_id(2)]["language"] == "en"


def test_a_changed_transcript_file_is_refused(results: Results) -> None:
    results.build(CorpusSettings())
    transcript = results.folder / "transcripts" / f"{TAKE}.jsonl"
    manifest = transcript.parent / "manifest.tsv"
    text = manifest.read_text().replace(sha256_file(transcript), "0" * 64)
    results.write = lambda: manifest.write_text(text)  # type: ignore[method-assign]
    with pytest.raises(DataError, match="changed since it was transcribed"):
        results.build(CorpusSettings())


def test_proofread_page_escapes_and_orders_by_confidence(results: Results) -> None:
    nasty = 'She said "one < two & three" </textarea><script>alert(1)</script> again and again here.'
    results.records[7] = record(7, nasty, probability=0.55)
    results.records[8] = record(8, SENTENCES[8], probability=0.25)
    page = (results.build(CorpusSettings()) / "proofread.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert html.escape(normalise_text(nasty, "en")) in page
    ids = re.findall(r'<article id="([^"]+)"', page)
    assert ids[:2] == [utterance_id(8), utterance_id(7)]
    assert len(ids) == 12
    assert f'src="../slices/{TAKE}/{utterance_id(8)}.flac"' in page
    assert 'class="verylow" title="25%"> Rain</span>' in page
    assert "http:" not in page and "https:" not in page


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("  Hello \u00a0 there\u200b,\tfriend \n", "en", "Hello there, friend"),
        ("“It’s ‘fine’,” he said…", "en", "\"It's 'fine',\" he said..."),
        ("[Music] >> So it begins ♪ la la ♪", "en", "So it begins"),
        ("(laughs) that was (I think) good", "en", "that was (I think) good"),
        ("Wait — what?!?!  No!!", "en", "Wait - what?!?! No!"),
        ("ＡＢＣ １２３，ｏｋ", "en", "ABC 123, ok"),
        ("well|known", "en", "well known"),
        ("in <Reading|R EH1 D IH0 NG> ,,", "en", "in <Reading|R EH1 D IH0 NG>,"),
        ("... , and then", "en", "and then"),
        ("A twenty-one‑gun salute", "en", "A twenty-one-gun salute"),
        ("因此,直接派發 目前.", "zh", "因此，直接派发目前。"),
        ("他说OK , 好的?", "zh", "他说OK , 好的？"),
        ("東京 です ,はい.", "ja", "東京です，はい。"),
        ("價 3.5 元", "zh", "价 3.5 元"),
        ("♪♪♪", "en", ""),
        ("?!", "en", ""),
        ("\ufffdnaïve café", "en", "naïve café"),
    ],
)
def test_text_is_normalised_for_reading(text: str, language: str, expected: str) -> None:
    assert normalise_text(text, language) == expected


@given(st.text(max_size=60), st.sampled_from(["en", "zh", "ja", "de"]))
def test_normalised_text_is_clean_and_stable(text: str, language: str) -> None:
    once = normalise_text(text, language)
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} or char in "|\n\t" for char in once)
    assert once == once.strip()
    assert normalise_text(once, language) == once


def test_repeated_phrases() -> None:
    assert repeated_phrase("no no no no no no no", "en") == "no"
    assert repeated_phrase("no, no, no, he said", "en") == ""
    assert repeated_phrase("Thank you. Thank you. Thank you. Thank you.", "en") == "thank you"
    assert repeated_phrase("好的好的好的好的", "zh") in {"好的", "的好"}
    assert repeated_phrase("谢谢谢谢", "zh") == ""
    assert repeated_phrase("", "en") == ""
    assert repeated_phrase("我们 走 了", "zh") == ""


def test_summary_is_plain_json(results: Results) -> None:
    figures = summary(results.build(CorpusSettings()))
    assert json.loads(json.dumps(figures)) == figures
    assert figures["languages"] == {"en": {"utterances": 12, "seconds": 48.0}}
