"""What a speaker's folder states: the licence of the recordings, and what their speaker has agreed to.

``consent.yaml`` is the input without which nothing beyond the corpus is made. Its digest and its terms go with the
voice into models, bundles, reports and sound files, so that whoever speaks with a bundle elsewhere meets the same
terms; the person's name stays in the file.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from voiceclone.errors import DataError
from voiceclone.files import atomic_path, contained_path, digest, read_json, sha256_file, write_changed, write_text
from voiceclone.languages import LANGUAGES
from voiceclone.lineage.withdrawal import EVERYTHING, TOMBSTONES
from voiceclone.stages.settings import Block
from voiceclone.usertext import read_user_text

#: Comment of every sound file that a model spoke.
GENERATED_NOTICE = "AI-generated speech"
NONE_GIVEN = "none given"
LONGEST_LICENCE = 200
CONSENT_FILE = "consent.yaml"
LARGEST_CONSENT = 65_536  # bytes
#: Endings of evidence that is heard and not read.
SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".wma", ".aiff", ".amr", ".mp4", ".mov", ".webm")
_LICENCE = re.compile(r"licen[cs]e(\.(txt|md))?", re.IGNORECASE)
_EVIDENCE = re.compile(r"consent(\.\w+)?", re.IGNORECASE)

#: How far a consent goes; each includes those before it.
Scope = Literal["evaluation", "private", "serve", "release"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
#: What a use is called where it is refused, by the least scope that permits it.
USES: dict[Scope, str] = {
    "evaluation": "training and measuring", "private": "speaking", "serve": "serving", "release": "handing on",
}  # fmt: skip
Words = Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value or ())]
Text = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Terms(Block):
    """What a speaker has agreed to, as voices carry it."""

    scope: Scope = Field(
        "private",
        description="evaluation: train and measure; private: speak with it oneself; serve: let others speak with it "
        "through a server; release: give the voice away. Each includes those before it.",
    )
    purposes: Words = Field((), description="What the voice may be used for, in words, as [audiobook].")
    languages: Words = Field((), description="ISO codes of the languages that it may speak; none: all.")
    expires: date | None = Field(None, description="Last day, as 2027-12-31; none: until it is withdrawn.")


class Consent(Terms):
    """``consent.yaml``."""

    myself: bool = Field(False, description="The recordings are of whoever writes the file; the rest may be left out.")
    who: Text = Field("", description="Whose voice it is.")
    evidence: Text = Field("", description="What the person signed or said: a file consent.* or LICENCE.txt beside it.")
    sha256: Text = Field("", description="Of the evidence.")

    def terms(self) -> dict[str, Any]:
        """Plain values of the terms, without the person."""
        terms = {name: getattr(self, name) for name in Terms.model_fields}
        if self.myself and "scope" not in self.model_fields_set:
            terms["scope"] = SCOPES[-1]  # one's own voice is one's own
        return Terms(**terms).model_dump(mode="json")


@dataclass(frozen=True)
class Rights:
    """Rights of a voice, as its bundles and reports state them.

    Attributes:
        licence: of the recordings, in the words of the user: the first line of ``LICENCE.txt``.
        consent_sha256: of ``consent.yaml``, by which that file can be told from any other.
        consent: its :class:`Terms` as plain values; empty: there is no such file.
    """

    licence: str = NONE_GIVEN
    consent_sha256: str = NONE_GIVEN
    consent: Mapping[str, Any] = field(default_factory=dict)

    def as_notes(self) -> dict[str, Any]:
        """Plain values for ``bundle.json`` and for the metadata of graphs."""
        return asdict(self)


def rights_files(folder: Path) -> list[Path]:
    """The files of a speaker's folder, and none below it, that state its rights."""
    return _named(folder, _LICENCE) + _named(folder, _EVIDENCE)


def read_rights(folder: Path) -> Rights:
    """The rights that a speaker's folder states.

    Raises:
        DataError: several licences, a licence that is no text, or see :func:`read_consent`.
    """
    licences, file = _named(folder, _LICENCE), folder / CONSENT_FILE
    if len(licences) > 1:
        raise DataError(f"{folder}: {', '.join(path.name for path in licences)}: expected one of them", "keep one")
    licence = _first_line(licences[0]) if licences else NONE_GIVEN
    if not file.is_file():
        return Rights(licence)
    return Rights(licence, sha256_file(file), read_consent(file).terms())


def read_consent(file: Path) -> Consent:
    """Read ``consent.yaml`` and compare the evidence beside it with its digest.

    Raises:
        DataError: what is wrong with the file, with the whole file as it should be.
    """

    if file.stat().st_size > LARGEST_CONSENT:
        problem = f"larger than {LARGEST_CONSENT} bytes"
    else:
        try:
            return parse_consent(read_user_text(file), file.parent)
        except DataError as error:
            problem = error.message.removeprefix(f"{file}: ")
    raise DataError(f"{file}: {problem}", how_to_consent(file.parent))


def parse_consent(text: str, folder: Path) -> Consent:
    """The consent of a text whose evidence lies in ``folder``.

    Raises:
        DataError: what is wrong with it.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise DataError("not valid YAML" + (f" in line {line + 1}" if line is not None else "")) from error
    if not isinstance(values, dict):
        raise DataError("expected keys with values")
    try:
        consent = Consent.model_validate(values)
    except (ValidationError, RecursionError) as error:
        # Without the values: an alias of an alias of an alias would fill the screen.
        told = error.errors(include_input=False)[:5] if isinstance(error, ValidationError) else []
        problems = [f"{'.'.join(map(str, one['loc'][:2]))[:80]}: {one['msg']}" for one in told]
        raise DataError("; ".join(problems) or "nested too deeply") from error
    if unknown := [name for name in consent.languages if name not in LANGUAGES]:
        raise DataError(f"languages: {', '.join(unknown)[:80]}: expected some of {', '.join(LANGUAGES)}")
    missing = [name for name in ("who", "purposes", "evidence") if not getattr(consent, name)]
    if missing and not consent.myself:
        raise DataError(f"{', '.join(missing)}: missing, which somebody else's consent needs")
    if consent.evidence:
        _check_evidence(folder, consent)
    return consent


def _check_evidence(folder: Path, consent: Consent) -> None:
    place = contained_path(folder, consent.evidence)
    if place not in [path.resolve() for path in rights_files(folder) if path.name != CONSENT_FILE]:
        raise DataError(f"evidence: no file {consent.evidence[:80]!r} beside it that is called consent.* or LICENCE.*")
    if sha256_file(place) != consent.sha256:
        raise DataError(f"sha256: not that of {consent.evidence}, which is {sha256_file(place)}")


def write_consent(folder: Path, values: Mapping[str, Any], evidence: Path | None = None) -> Path:
    """Write ``consent.yaml`` into a speaker's folder, and a copy of the evidence beside it; returns its path.

    Raises:
        DataError: it would not be one that the workflow accepts.
    """
    if evidence is not None:
        place = folder / (evidence.name if evidence.resolve() in rights_files(folder.resolve()) else "")
        if place == folder:
            place = folder / f"consent{evidence.suffix.lower() or '.txt'}"
            with atomic_path(place) as temporary:
                shutil.copyfile(evidence, temporary)
        values = {**values, "evidence": place.name}
    text = consent_text(folder, **values)
    parse_consent(text, folder)
    write_text(folder / CONSENT_FILE, text)
    return folder / CONSENT_FILE


def how_to_consent(folder: Path, **values: Any) -> str:
    """What to write into ``consent.yaml``, with what is known; the hint of every error about it."""
    return (
        f"for your own voice write this one line into {folder / CONSENT_FILE}:\n\n  myself: true\n\n"
        f"for somebody else's run 'voiceclone consent {folder.name}', or write:\n\n"
        + "".join(f"  {line}\n" for line in consent_text(folder, **values).splitlines())
    )


def consent_text(folder: Path, **values: Any) -> str:
    """The text of a ``consent.yaml``: these values; in somebody else's also what can be told from the folder, and what
    is to fill in."""
    if not values.get("myself"):
        found = [path.name for path in rights_files(folder) if path.name != CONSENT_FILE]
        values = {
            "who": "Name of the person",
            "scope": "private",
            "purposes": ["audiobook"],
            "evidence": found[-1] if found else "consent.pdf",
        } | values
    if evidence := values.get("evidence"):
        place = folder / evidence
        values["sha256"] = sha256_file(place) if place.is_file() else f"as 'sha256sum {evidence}' prints it"
    texts = {name: yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
             for name, value in values.items()}  # fmt: skip
    notes = {"scope": f"  # {' | '.join(SCOPES)}"}
    lines = [
        f"{name}: {text.removesuffix('...' + chr(10)).strip()}{notes.get(name, '')}" for name, text in texts.items()
    ]
    return "\n".join(lines) + "\n"


def narrowest(members: Mapping[str, Rights]) -> Rights:
    """What several people have agreed to in common, by their names: a voice that is made of all of them has it.

    Raises:
        DataError: one has not agreed, or they have no purpose or no language in common.
    """
    terms = {name: Terms.model_validate(rights.consent) for name, rights in members.items() if rights.consent}
    if without := sorted(members.keys() - terms.keys()):
        raise DataError(f"{', '.join(without)}: no consent", how_to_consent(Path(without[0])))
    common: dict[str, Any] = {"scope": min((one.scope for one in terms.values()), key=SCOPES.index)}
    for key in ("purposes", "languages"):  # who names none has agreed to all
        named = {name: set(getattr(one, key)) for name, one in terms.items() if getattr(one, key)}
        shared = sorted(set.intersection(*named.values())) if named else []
        if named and not shared:
            stated = "; ".join(f"{name}: {', '.join(sorted(values))}" for name, values in named.items())
            raise DataError(f"the consents have no {key} in common ({stated})", "leave a member out, or ask the people")
        common[key] = tuple(shared)
    common["expires"] = min((one.expires for one in terms.values() if one.expires), default=None)
    licences = sorted({rights.licence for rights in members.values()})
    digests = {name: rights.consent_sha256 for name, rights in members.items()}
    return Rights("; ".join(licences), digest(digests, length=64), Terms(**common).model_dump(mode="json"))


def require_consent(rights: Rights, folder: Path) -> None:
    """Stop where the owner of a voice has not agreed to anything, or no longer does.

    Raises:
        DataError: with the file to write.
    """
    if not rights.consent:
        raise DataError(
            f"{folder / CONSENT_FILE}: missing; beyond the corpus nothing is made without the owner's consent",
            how_to_consent(folder),
        )
    check_use(rights.as_notes(), "evaluation", where=str(folder / CONSENT_FILE))


def refusal(notes: Mapping[str, Any], use: Scope, languages: Iterable[str] = (), today: date | None = None) -> str:
    """Why a voice may not be put to a use; empty: it may.

    Args:
        notes: description of a bundle, or report of a training. Voices from before there were terms, imported and
            public ones have none: nothing is refused.
        use: the scope that it needs.
        languages: ISO codes to be spoken.
        today: left out: today.
    """
    if not notes.get("consent"):
        return ""
    try:
        terms = Terms.model_validate(notes["consent"])
    except ValidationError:
        return "its terms of consent are damaged"
    if terms.expires is not None and terms.expires < (today or date.today()):
        return f"the consent ended with {terms.expires}"
    if SCOPES.index(use) > SCOPES.index(terms.scope):
        return f"the consent is for {terms.scope}, {USES[use]} needs {use}"
    others = sorted({*languages} - {*terms.languages}) if terms.languages else []
    return f"the consent is for {', '.join(terms.languages)}, not for {', '.join(others)}" if others else ""


def consent_of(notes: Mapping[str, Any]) -> str:
    """The sha256 of the consent that a voice states; empty: none."""
    stated = str(notes.get("consent_sha256", NONE_GIVEN))
    return "" if stated == NONE_GIVEN else stated


def in_words(notes: Mapping[str, Any]) -> str:
    """The terms that a voice states in a line: scope, purposes, languages, last day."""
    terms = notes.get("consent") or {}
    named = {name: terms.get(name) for name in ("scope", "purposes", "languages", "expires")}
    told = [f"{name} {', '.join(map(str, it)) if isinstance(it, list) else it}" for name, it in named.items() if it]
    return "; ".join(told) or NONE_GIVEN


def may_serve(notes: Mapping[str, Any]) -> str:
    """Why a server may not offer a voice; empty: it may. ``notes``: see :func:`refusal`."""
    return refusal(notes, "serve")


def check_use(notes: Mapping[str, Any], use: Scope, languages: Iterable[str] = (), where: str = "this voice") -> None:
    """Stop where :func:`refusal` has a reason.

    Raises:
        DataError: the reason.
    """
    if reason := refusal(notes, use, languages):
        raise DataError(
            f"{where}: {reason}", f"ask the person, write the answer into {CONSENT_FILE}, and run the workflow again"
        )


def record_rights(folder: Path, target: Path, withdrawn: Collection[str] = ()) -> bool:
    """Write what a speaker's folder states, or why it cannot be told, where the file says something else.

    ``withdrawn``: see :func:`voiceclone.lineage.withdrawal.withdrawn_from`.

    Returns:
        whether it was written.
    """
    try:
        if EVERYTHING in withdrawn:
            raise DataError(f"{folder.name}: this voice is withdrawn, see {TOMBSTONES}", "nothing is made of it again")
        rights = read_rights(folder)
        check_use(rights.as_notes(), "evaluation", where=str(folder / CONSENT_FILE))  # what has ended is no consent
        stated = rights.as_notes()
    except DataError as error:  # one speaker's mistake stops no other: whoever reads the file raises it
        stated = {"problem": error.message, "hint": error.hint}
    return write_changed(target, json.dumps(stated, sort_keys=True, ensure_ascii=False, indent=2) + "\n")


def load_rights(path: Path) -> Rights:
    """What :func:`record_rights` wrote.

    Raises:
        DataError: the folder's statements were in no order.
    """
    stated = read_json(path)
    if "problem" in stated:
        raise DataError(stated["problem"], stated["hint"])
    return Rights(**{name: stated[name] for name in Rights.__dataclass_fields__ if name in stated})


def spoken_evidence(folder: Path) -> Path | None:
    """The evidence of a speaker's consent where it is a sound; None: it is none, or there is no valid consent."""
    try:
        evidence = read_consent(folder / CONSENT_FILE).evidence
    except (DataError, OSError):
        return None
    return folder / evidence if Path(evidence).suffix.lower() in SOUNDS else None


def _named(folder: Path, name: re.Pattern[str]) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if name.fullmatch(path.name) and path.is_file())


def _first_line(path: Path) -> str:
    try:
        lines = [" ".join(line.split()) for line in read_user_text(path).split("\n")]
    except DataError as error:
        raise DataError(f"{error.message}; its first line names the licence, as CC-BY-4.0", error.hint) from error
    return next((line[:LONGEST_LICENCE] for line in lines if line), NONE_GIVEN)
