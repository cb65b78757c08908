"""The command ``voiceclone verify``: is this sound marked as ours, and which voice spoke?"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from voiceclone.errors import EXIT_FAILURE, DataError, VoiceCloneError


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("verify")(verify)


def verify(
    files: Annotated[list[Path], typer.Argument(help="Sound files in any format.", exists=True, dir_okay=False)],
    voices: Annotated[
        list[Path] | None,
        typer.Option("--voices", help="Folder of bundles or models, to name the voice; repeatable. Default: results."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON per file.")] = False,
) -> None:
    """Look for the watermark, the tags and the signed record of generated speech.

    Needs no network and no model. Exits with 1 if a file cannot be read or its record does not fit it; sound without a
    mark is no failure.
    """
    known = known_voices(voices if voices is not None else [Path("results")])
    failed = False
    for file in files:
        try:
            found = examine(file, known)
            failed |= found["record"] == "altered"
        except VoiceCloneError as error:
            found, failed = {"file": str(file), "error": error.message}, True
        typer.echo(json.dumps(found, ensure_ascii=False, sort_keys=True) if as_json else _line(found))
    if failed:
        raise typer.Exit(EXIT_FAILURE)


@dataclass
class KnownVoice:
    """A voice of this machine.

    Attributes:
        name: in its bundle, else the folder of its models.
        bundles: folders of its bundles.
        consent: sha256 of its speaker's consent; empty: it states none.
    """

    name: str = ""
    bundles: list[str] = field(default_factory=list)
    consent: str = ""


def known_voices(folders: Iterable[Path]) -> dict[str, KnownVoice]:
    """Voices below folders, by the id of their watermark."""
    from voiceclone.backends.bundle import BUNDLE_FILE, voice_number
    from voiceclone.files import read_json
    from voiceclone.lineage.rights import consent_of
    from voiceclone.marks.labels import voice_id
    from voiceclone.marks.watermark import number_of

    known: dict[str, KnownVoice] = {}
    for folder in folders:
        for path in [*sorted(folder.rglob("gpt.json")), *sorted(folder.rglob(BUNDLE_FILE))]:
            with suppress(DataError, KeyError, TypeError, AttributeError, OSError):  # no voice, or a damaged one
                if path.name == BUNDLE_FILE:
                    notes = read_json(path)
                    id, name = voice_id(voice_number(notes)), str(notes["voice"])
                    known[id] = known.get(id, KnownVoice())
                    known[id].name = name
                    known[id].bundles.append(str(path.parent))
                else:
                    notes, other = (read_json(path.with_name(f"{kind}.json")) for kind in ("gpt", "sovits"))
                    id = voice_id(number_of(str(notes["fingerprint"]), str(other["fingerprint"])))
                    known[id] = known.get(id, KnownVoice(str(path.parent)))
                known[id].consent = known[id].consent or consent_of(notes)
    return known


def examine(file: Path, known: Mapping[str, KnownVoice]) -> dict[str, Any]:
    """What a sound file says of itself; ``marks``: each voice with its stretch of sound in seconds, and the bundles and
    the consent by which it is known here.

    Raises:
        DataError: it cannot be decoded.
    """
    from voiceclone.marks.labels import check_record, voice_id
    from voiceclone.marks.manifest import read_manifest
    from voiceclone.marks.watermark import FALSE_ALARM, find_marks
    from voiceclone.sound.io import read_mono

    samples, rate = read_mono(file)
    stretches = list(find_marks(samples, rate))
    marks = [
        {
            "voice": voice_id(mark.voice),
            **asdict(known.get(voice_id(mark.voice), KnownVoice())),
            "start": round(mark.start, 2),
            "end": round(mark.end, 2),
            "false_alarm": mark.false_alarm,
            "chip_errors": round(mark.errors, 3),
            "tempo": mark.tempo,
        }
        for mark in stretches
        if mark.false_alarm * len(stretches) <= FALSE_ALARM  # one of many is a chance more
    ]
    likeliest = min((mark.false_alarm for mark in stretches), default=1.0)
    return {
        "file": str(file),
        "marked": bool(marks),
        "false_alarm": min(1.0, likeliest * max(1, len(stretches))),
        "marks": marks,
        **tags_of(file),
        "manifest": read_manifest(file),
        **check_record(file),
    }


def tags_of(file: Path) -> dict[str, str]:
    """What the tags of a file say: ``tagged``, the id of the voice, and ``tagged_consent``, the first 16 digits of the
    sha256 of the consent; empty: nothing."""
    from voiceclone.sound.io import read_comment

    said = dict(word.partition(" ")[::2] for word in read_comment(file).split("; "))
    return {"tagged": said.get("voice", ""), "tagged_consent": said.get("consent", "")}


def _line(found: Mapping[str, Any]) -> str:
    """What was found, for people."""
    if "error" in found:
        return f"error: {found['error']}"
    more = [f"record {found['record']}"] if found["record"] != "none" else []
    more += [f"C2PA manifest {found['manifest']['state'].lower()}"] if found["manifest"] else []
    more += [f"tags name voice {found['tagged']}"] if found["tagged"] else []
    consents = {mark["consent"] for mark in found["marks"]} | {found["tagged_consent"], found.get("consent_sha256", "")}
    told = sorted({consent[:16] for consent in consents if consent})
    more += [f"consent {', '.join(told)}"] if told else []
    bundles = sorted({bundle for mark in found["marks"] for bundle in mark["bundles"]})
    more += [f"bundle {', '.join(bundles)}"] if bundles else []
    said = {(mark["voice"], mark["name"]) for mark in found["marks"]}
    if not said:
        what = "no mark found"
    else:
        voices = ", ".join(f"{voice} ({name})" if name else f"{voice} (unknown voice)" for voice, name in sorted(said))
        errors = sum(mark["chip_errors"] for mark in found["marks"]) / len(found["marks"])
        spans = sum(mark["end"] - mark["start"] for mark in found["marks"])
        what = f"AI-generated, voice {voices}: {spans:.1f} s marked, {errors:.0%} of the chips wrong"
    return f"{found['file']}: " + "; ".join([what, f"false alarm {found['false_alarm']:.1g}", *more])
