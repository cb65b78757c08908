from __future__ import annotations

import pytest

from voiceclone.files import digest
from voiceclone.lineage.fingerprint import Fingerprint, difference
from voiceclone.stages.settings import TrainingSettings
from voiceclone.stages.train_gpt import GPTSettings
from voiceclone.stages.train_sovits import SoVITSSettings

UTTERANCES = {"a": "t1-f1", "b": "t2-f2", "c": "t3-f3"}
COMPONENTS = {"settings": {"learning_rate": 1e-4, "batch_size": 4}, "base": {"gpt": "aa"}, "seed": 1}


def test_the_key_does_not_depend_on_order_and_survives_json() -> None:
    one = Fingerprint(UTTERANCES, COMPONENTS)
    other = Fingerprint(dict(reversed(UTTERANCES.items())), dict(reversed(COMPONENTS.items())))
    assert one.key == other.key == Fingerprint.from_dict(one.as_dict()).key
    assert len(one.key) == 12


@pytest.mark.parametrize(
    ("utterances", "components", "words"),
    [
        (UTTERANCES, COMPONENTS, "nothing"),
        ({**UTTERANCES, "d": "t-f", "e": "t-f"}, COMPONENTS, "2 utterances added"),
        (
            {"a": "t1-f1", "d": "x-y", "c": "t3-f9"},
            COMPONENTS,
            "1 utterance changed sound or features, 1 added, 1 removed",
        ),
        (
            {**UTTERANCES, "a": "t9-f9", "b": "t2-f9"},
            COMPONENTS,
            "1 utterance changed text, 1 changed sound or features",
        ),
        (
            UTTERANCES,
            {**COMPONENTS, "settings": {"learning_rate": 2e-4, "batch_size": 4}, "seed": 2},
            "seed 1 -> 2; settings.learning_rate 0.0001 -> 0.0002",
        ),
        (
            UTTERANCES,
            {**COMPONENTS, "base": {"gpt": "bb", "extra": True}},
            "base.extra none -> True; base.gpt aa -> bb",
        ),
    ],
)
def test_differences_in_words(utterances: dict[str, str], components: dict[str, object], words: str) -> None:
    old, new = Fingerprint(UTTERANCES, COMPONENTS), Fingerprint(utterances, components)
    assert difference(old, new) == words
    assert (old.key == new.key) == (words == "nothing")


@pytest.mark.parametrize(
    ("kind", "expected"), [(GPTSettings, "1a9e93dc946ed209"), (SoVITSSettings, "cc96b6d7a9c82ff0")]
)
def test_default_settings_keep_the_fingerprint_of_trainings_that_exist(
    kind: type[TrainingSettings], expected: str
) -> None:
    """A new setting whose default computes what was computed before must not make every training a new one."""
    assert digest(kind().fingerprint()) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 99}, {"steps": 9}, {"log_every": 3}, {"validate_every": 7}, {"early_stopping": 2},
        {"warm_start": "previous"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [GPTSettings, SoVITSSettings])
def test_length_bookkeeping_and_selection_continue_the_same_training(
    kind: type[TrainingSettings], change: dict[str, object]
) -> None:
    assert kind.model_validate(change).fingerprint() == kind().fingerprint()


@pytest.mark.parametrize("change", [{"seed": 2}, {"learning_rate": 0.5}, {"batch_size": 3}, {"max_skipped": 9}])
def test_what_changes_the_weights_is_another_training(change: dict[str, object]) -> None:
    assert GPTSettings.model_validate(change).fingerprint() != GPTSettings().fingerprint()
