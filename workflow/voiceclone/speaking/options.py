"""The options of speech, declared once.

The metadata of a field hold its limits and, if a caller may set it, its help. The check of the values, the options of
the command line (:mod:`voiceclone.commands.options`), the columns of a table of texts
(:mod:`voiceclone.speaking.batch`) and the fields of a server's requests (:mod:`voiceclone.serving.server`) are derived
from the fields of :class:`SpeechOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, TypeVar, get_args, get_type_hints

from voiceclone.errors import ConfigError
from voiceclone.speaking.splitting import AUTO, check_method


def option(default: Any, help: str, limits: tuple[float, float] | None = None) -> Any:
    """A field that callers may set.

    Args:
        default: its value where none is given.
        help: one sentence for a person.
        limits: smallest and largest value of a number.
    """
    return field(default=default, metadata={"help": help, "limits": limits})


@dataclass(frozen=True, kw_only=True)
class Options:
    """Values within the limits of their fields.

    Raises:
        ConfigError: a value is out of range.
    """

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, limits = getattr(self, entry.name), entry.metadata.get("limits")
            if value is not None and limits and not limits[0] <= value <= limits[1]:
                raise ConfigError(f"{entry.name} {value:g}: out of range, expected {limits[0]:g} to {limits[1]:g}")


@dataclass(frozen=True, kw_only=True)
class DetectorSettings(Options):
    """Limits of :mod:`voiceclone.speaking.detector`. A unit is a run of equal tokens; speech has about 14 a second."""

    stuck_tokens: int = option(30, "Steps (25 a second) that one token may last, silence included.", (2, 10_000))
    loop_units: int = option(16, "Units from which a stretch may count as repeated.", (4, 10_000))
    loop_share: float = option(
        0.8, "Share of units equal to those some units before, from which it is a repeat.", (0.001, 1.0)
    )
    longest_loop: int = option(75, "Longest period of a repeat, in units.", (2, 10_000))
    leak_units: int = option(18, "Units from which a stretch of the prompt counts as spoken again.", (4, 10_000))
    least_share: float = option(0.5, "Minimum tokens per phone, as a share of the voice's usual number.", (0.0, 1.0))
    most_share: float = option(2.0, "Maximum tokens per phone, as a multiple of the voice's usual number.", (1.0, 1e6))
    least_rate: float = option(1.0, "Minimum tokens per phone where the voice's number is unknown.", (0.0, 1e6))
    most_rate: float = option(7.0, "Maximum tokens per phone where the voice's number is unknown.", (0.001, 1e6))
    unclear_nats: float = option(
        3.5,
        "Mean surprise of the tokens given their phones, where the voice has a pointer; its own language: 2.3 to 3.",
        (0.0, 100.0),
    )
    most_errors: float = option(
        0.3, "Word errors (characters in Chinese, Japanese, Korean) per word that ASR may find.", (0.0, 1e6)
    )


#: Sampling where none is asked for: that of GPT-SoVITS, and that of networks trained with a pointer, whose word errors
#: were measured (docs/base_voice.md).
PUBLIC = {"top_k": 15, "temperature": 1.0, "repetition_penalty": 1.35, "noise_scale": 0.5}
POINTING = {"top_k": 5, "temperature": 0.3, "repetition_penalty": 1.0, "noise_scale": 0.4}


@dataclass(frozen=True, kw_only=True)
class SpeechOptions(Options):
    """How a text is spoken. Those of :data:`PUBLIC` are None where not given, until :meth:`filled` for a voice."""

    top_k: int = option(None, "Sampling: keep this many of the most likely tokens; 0: all.", (0, 100_000))
    top_p: float = option(1.0, "Sampling: keep the most likely tokens up to this share of probability.", (0.01, 1.0))
    temperature: float = option(
        None, "Sampling: above 1 livelier, below 1 calmer, 0 always the most likely token.", (0.0, 5.0)
    )
    repetition_penalty: float = option(None, "Sampling: makes used tokens less likely; 1: off.", (1.0, 5.0))
    guidance: float | None = option(
        None, "Weight of the tokens that each phone usually has, where the voice has a pointer; 0: off.", (0.0, 10.0)
    )
    speed: float = option(1.0, "Above 1 faster.", (0.25, 4.0))
    noise_scale: float = option(None, "Liveliness of the sound.", (0.0, 2.0))
    pitch: float = option(0.0, "Semitones higher.", (-24.0, 24.0))
    pitch_range: float = option(1.0, "Above 1 more melody, 0 none.", (0.0, 4.0))
    pause_seconds: float = option(0.3, "Silence between sentences.", (0.0, 60.0))
    split: str = option(
        AUTO,
        "How the text is cut: auto (sentences), or as GPT-SoVITS does: none, four-sentences, fifty-characters, "
        "chinese-period, english-period, punctuation (cut0 to cut5).",
    )
    attempts: int = option(
        3, "Attempts at a suspicious sentence, each with another seed; the best one is kept.", (1, 100)
    )
    #: Length limit of a sentence, which is cut there.
    max_tokens_per_phone: float = field(default=5.0, metadata={"limits": (0.0, 1000.0)})
    detector: DetectorSettings = field(default_factory=DetectorSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_method(self.split)

    def filled(self, pointing: bool) -> SpeechOptions:
        """The same with the sampling of the voice where none is given.

        Args:
            pointing: its network was trained with a pointer from the start.
        """
        defaults = POINTING if pointing else PUBLIC
        missing: dict[str, Any] = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        return replace(self, **missing) if missing else self

    @property
    def moves_pitch(self) -> bool:
        """True: F0 differs from what the voice predicts."""
        return self.pitch != 0.0 or self.pitch_range != 1.0


Kind = TypeVar("Kind", bound=Options)


def callers_options(kind: type[Options]) -> dict[str, tuple[Field[Any], tuple[type, ...]]]:
    """The fields that a caller may set, by name, each with the types of its values."""
    hints = get_type_hints(kind)
    shown = (entry for entry in fields(kind) if "help" in entry.metadata)
    return {entry.name: (entry, get_args(hints[entry.name]) or (hints[entry.name],)) for entry in shown}


def with_texts(options: Kind, texts: Mapping[str, str]) -> Kind:
    """Options with some values replaced, which are given as text.

    Raises:
        ConfigError: no such option, not a number, or out of range.
    """
    possible, values = callers_options(type(options)), {}
    for name, text in texts.items():
        if name not in possible:
            raise ConfigError(f"{name}: no such option; possible: {', '.join(possible)}")
        kind = possible[name][1][0]
        try:
            values[name] = kind(text)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{name} {text!r}: expected {expected}") from None
    return replace(options, **values)
