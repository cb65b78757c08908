"""Several people in one voice: what they have agreed to in common, their corpus, balanced batches, withdrawal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from voiceclone.config.config import Config
from voiceclone.config.load import groups_of
from voiceclone.corpus.group import join_members
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import digest, read_json, read_tsv, sha256_file, table_columns, write_json, write_tsv
from voiceclone.lineage.rights import NONE_GIVEN, Rights, load_rights, narrowest
from voiceclone.lineage.withdrawal import affected_voices, derived_files, withdrawal_of
from voiceclone.speaking.styles import style_of
from voiceclone.training.data import BatchOrder, Utterance, WeightedOrder, epochs


def rights(scope: str = "release", licence: str = "mine", **terms: Any) -> Rights:
    return Rights(licence, digest([scope, terms], 64), {"scope": scope, **terms})


def test_the_narrowest_consent_holds() -> None:
    anna = rights("serve", purposes=["audiobook", "games"], languages=[], expires="2030-01-31")
    ben = rights("private", "CC0", purposes=["games"], languages=["en", "de"], expires="2029-06-30")
    found = narrowest({"anna": anna, "ben": ben, "eve": rights()})
    assert found.consent == {
        "scope": "private",
        "purposes": ["games"],
        "languages": ["de", "en"],
        "expires": "2029-06-30",
    }
    assert found.licence == "CC0; mine"
    assert found == narrowest({"eve": rights(), "ben": ben, "anna": anna})
    assert (
        len(found.consent_sha256) == 64
        and found.consent_sha256 != narrowest({"anna": anna, "ben": rights()}).consent_sha256
    )
    with pytest.raises(DataError, match=r"no purposes in common \(anna: games; ben: ads\)"):
        narrowest({"anna": rights(purposes=["games"]), "ben": rights(purposes=["ads"])})
    with pytest.raises(DataError, match="no languages in common"):
        narrowest({"anna": rights(languages=["en"]), "ben": rights(languages=["zh"])})
    with pytest.raises(DataError, match="ben: no consent"):
        narrowest({"anna": anna, "ben": Rights()})


def configs(**groups: list[str]) -> dict[str, Config]:
    return {name: Config(group=members) for name, members in groups.items()}


def test_who_is_in_a_group() -> None:
    speakers = ["anna", "ben", "duo", "trio"]
    assert groups_of(Config(), configs(duo=["anna", "ben"]) | {"anna": Config()}, speakers) == {"duo": ("anna", "ben")}
    for members, told in (
        (["anna", "eve"], "'eve': no speakers of this run"), (["anna", "anna"], "'anna': named twice"),
        (["anna", "duo"], "'duo': the group itself"), (["anna"], "one member"),
        (["anna", "trio"], "'trio': groups too"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            groups_of(Config(), configs(duo=members, trio=["anna", "ben"]), speakers)
    with pytest.raises(ConfigError, match=r"in its voice\.yaml"):
        groups_of(Config(group=["anna", "ben"]), {}, speakers)


def make_member(root: Path, name: str, utterances: int, content: str = "") -> Path:
    folder = root / "results" / name
    sha256 = digest(content or name, 64)
    take = f"talk-{sha256[:8]}"
    takes = dict.fromkeys(table_columns("takes"), "") | {
        "take": take, "file": f"day/{name}.wav", "sha256": sha256, "seconds": 60.0, "sample_rate": 48000, "channels": 1,
        "codec": "pcm", "clipping": 0.0, "dc_offset": 0.0,
    }  # fmt: skip
    rows = []
    for place in range(utterances):
        utterance = f"{take}-{1000 * place:07d}-{1000 * place + 900:07d}"
        sound = folder / "slices" / take / f"{utterance}.flac"
        sound.parent.mkdir(parents=True, exist_ok=True)
        sound.write_bytes(utterance.encode())
        rows.append({
            "utterance": utterance, "take": take, "path": f"slices/{take}/{sound.name}", "sha256": sha256_file(sound),
            "seconds": 0.9, "language": "en", "text": f"Text {place}.", "split": "heldout" if place == 0 else "train",
        })  # fmt: skip
    (folder / "corpus").mkdir()
    write_tsv(folder / "takes.tsv", list(takes), [takes])
    write_tsv(folder / "corpus" / "corpus.tsv", list(rows[0]), rows)
    write_json(folder / "consent.json", rights("serve").as_notes())
    return folder


def test_the_corpus_of_a_group_is_that_of_its_members(tmp_path: Path) -> None:
    members = [make_member(tmp_path, "anna", 11), make_member(tmp_path, "ben", 3)]
    duo = tmp_path / "results" / "duo"
    join_members(members, duo, "duo · group")
    rows = read_tsv(duo / "corpus" / "corpus.tsv", table_columns("gathered"))
    own = {row["utterance"]: row for folder in members for row in read_tsv(folder / "corpus" / "corpus.tsv")}
    assert len(rows) == 14 and Counter(row["speaker"] for row in rows) == {"anna": 11, "ben": 3}
    for row in rows:
        assert row["split"] == own[row["utterance"]]["split"] and row["text"] == own[row["utterance"]]["text"]
        assert sha256_file(duo / row["path"]) == row["sha256"]
    drawn = Counter[str]()
    for row in rows:
        drawn[row["speaker"]] += float(row["weight"]) if row["split"] == "train" else 0  # type: ignore[assignment]
    assert drawn["anna"] == pytest.approx(drawn["ben"])
    assert {style_of(row["file"]) for row in read_tsv(duo / "takes.tsv")} == {"anna", "ben"}
    assert load_rights(duo / "consent.json").consent["scope"] == "serve"
    # Who withdraws, as a whole or a recording, finds the voice.
    for recording in ("", "day/ben.wav"):
        assert affected_voices(withdrawal_of(tmp_path, "ben", recording))["duo"] == "made with the recording"
    assert "duo" in affected_voices(withdrawal_of(tmp_path, "anna"))
    gone = {path.relative_to(duo).as_posix() for path in derived_files(duo, withdrawal_of(tmp_path, "ben"))}
    takes = {style_of(row["file"]): f"slices/{row['take']}" for row in read_tsv(duo / "takes.tsv")}
    assert takes["ben"] in gone and not any(path.startswith(takes["anna"]) for path in gone)


def test_members_that_cannot_be_joined(tmp_path: Path) -> None:
    anna, ben = make_member(tmp_path, "anna", 3), make_member(tmp_path, "ben", 3, content="anna")
    with pytest.raises(DataError, match=r"anna/day/anna\.wav, ben/day/ben\.wav: the same recording"):
        join_members([anna, ben], tmp_path / "duo", "duo")
    eve = make_member(tmp_path, "eve", 1)  # held out
    with pytest.raises(DataError, match=r"eve/corpus/corpus\.tsv: no training utterance"):
        join_members([anna, eve], tmp_path / "duo", "duo")
    assert not (tmp_path / "duo" / "consent.json").exists()
    write_json(anna / "consent.json", read_json(anna / "consent.json") | {"consent_sha256": NONE_GIVEN, "consent": {}})
    with pytest.raises(DataError, match="anna: no consent"):
        join_members([anna, eve], tmp_path / "duo", "duo")


def utterance(name: str, speaker: str, source: str, weight: float = 1.0) -> Utterance:
    return Utterance(name, "train", 1.0, "en", "", 50, {}, speaker, source, 0.0, weight)


def test_each_batch_has_every_member_alike() -> None:
    rows = [utterance(f"a{place}", "anna", "group", 100 / 30) for place in range(30)]
    rows += [utterance(f"b{place}", "ben", "group", 100 / 5) for place in range(5)]
    rows += [utterance(f"c{place}", "eve", "group", 100 / 3) for place in range(3)]
    lengths = [10 + 7 * place % 13 for place in range(len(rows))]
    order = epochs(rows, lengths, 6, 1)
    assert isinstance(order, WeightedOrder)
    drawn = Counter[str]()
    for step in range(64):
        batch = Counter(rows[index].speaker for index in order.batch(step))
        assert all(1 <= batch[name] <= 3 for name in ("anna", "ben", "eve")), batch
        drawn += batch
    assert max(drawn.values()) - min(drawn.values()) <= 0.02 * sum(drawn.values())


def test_one_person_is_read_as_before() -> None:
    for source in ("recordings", "spoken", "group"):
        rows = [utterance(f"a{place}", "anna", source, 1.0 + place) for place in range(9)]
        order, lengths = epochs(rows, list(range(1, 10)), 4, 3), list(range(1, 10))
        assert isinstance(order, BatchOrder)
        assert [order.batch(step) for step in range(6)] == [BatchOrder(lengths, 4, 3).batch(step) for step in range(6)]
