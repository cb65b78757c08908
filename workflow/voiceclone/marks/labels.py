"""What generated speech says of itself: tags in the file, a signed record beside it, a notice that is heard first.

The record ``FILE.json`` has the file's sha256, the voice's number and a signature (Ed25519, RFC 8032) by a key that is
made on first use and stays on this machine. It proves that the file is as it was when it was signed, and that two files
come from one place; whose place that is, only who knows the public key can say.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from voiceclone import __version__
from voiceclone.errors import DataError
from voiceclone.files import canonical_json, read_json, sha256_file, write_json
from voiceclone.languages import LANGUAGES, MODES, check_mode
from voiceclone.lineage.rights import GENERATED_NOTICE
from voiceclone.marks.watermark import Floats, marked
from voiceclone.text.segment import split

log = logging.getLogger(__name__)
Notice = Literal["none", "tone", "spoken"]
#: As callers ask for it; ``auto``: by the scope of the voice's consent.
AskedNotice = Literal["auto", "none", "tone", "spoken"]
#: Scopes of consent whose speech others hear.
PUBLIC_SCOPES = ("serve", "release")
#: Endings of sound files with their format and subtype in libsndfile.
FORMATS: dict[str, tuple[str, str | None]] = {
    ".wav": ("WAV", None), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS"),
    ".mp3": ("MP3", None),
}  # fmt: skip
OPUS_RATES, OPUS_RATE = (8000, 12_000, 16_000, 24_000, 48_000), 48_000
MORSE, DOT, PITCH, LEVEL = (1, 3, 0, 1, 1), 0.08, 700.0, 0.1  # "AI": short-long short-short; seconds, Hz, peak


def voice_id(number: int) -> str:
    """A voice's number as people see it: eight hexadecimal digits."""
    return f"{number:08x}"


def tag(number: int, consent: str = "") -> str:
    """The comment of a sound file: the notice, the voice, the start of the digest of its speaker's consent, and the key
    AIGC that GB 45438-2025 asks metadata to have."""
    content = {"Label": "1", "ContentProducer": f"voiceclone {__version__}", "ProduceID": voice_id(number)}
    agreed = f"consent {consent[:16]}; " if consent else ""
    return f"{GENERATED_NOTICE}; voice {voice_id(number)}; {agreed}AIGC={json.dumps(content, separators=(',', ':'))}"


def write_generated(path: Path, samples: Floats, rate: int, number: int, consent: str = "") -> None:
    """Write generated speech with watermark and tags, in a format by the file's ending, atomically.

    Args:
        path: ends in one of :data:`FORMATS`.
        samples: float32 (n,) within ±1, not marked yet.
        rate: in Hz.
        number: of the voice, see :func:`voiceclone.marks.watermark.number_of`.
        consent: sha256 of its speaker's consent.
    """
    from voiceclone.sound.io import resample, write_sound

    sound = marked(samples, rate, number)
    kind, subtype = FORMATS[path.suffix.lower()]
    if subtype == "OPUS" and rate not in OPUS_RATES:
        sound, rate = resample(sound, rate, OPUS_RATE), OPUS_RATE
    write_sound(path, sound, rate, kind, subtype, tag(number, consent))


def record_path(path: Path) -> Path:
    """The record beside a sound file."""
    return path.with_name(path.name + ".json")


def write_record(path: Path, number: int, **more: Any) -> None:
    """Write the signed record of a sound file; without the library ``cryptography`` it has no signature."""
    record = {
        "file": path.name,
        "sha256": sha256_file(path),
        "notice": GENERATED_NOTICE,
        "voice": voice_id(number),
        "made_by": f"voiceclone {__version__}",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        **more,
    }
    write_json(record_path(path), {**record, **_signature(record)})


def check_record(path: Path) -> dict[str, Any]:
    """What the record beside a sound file is worth: ``record``; if it is signed, the public key ``signed_by``; if it is
    not altered and states one, ``consent_sha256``.

    ``record`` is none, unsigned, signed, altered, or unchecked (signed, but the library ``cryptography`` is missing).
    """
    place = record_path(path)
    if not place.is_file():
        return {"record": "none"}
    try:
        record = read_json(place)
        signature, key = (base64.b64decode(record.pop(name, "")) for name in ("signature", "public_key"))
        if record["sha256"] != sha256_file(path):
            return {"record": "altered"}
        stated = {"consent_sha256": str(record["consent_sha256"])} if "consent_sha256" in record else {}
        if not signature:
            return {"record": "unsigned", **stated}
        valid = _is_signed(record, signature, key)
    except ImportError:
        return {"record": "unchecked", **stated}
    except (DataError, KeyError, ValueError, TypeError, AttributeError):
        return {"record": "altered"}
    signed_by = base64.b64encode(key).decode()
    return {"record": "signed", "signed_by": signed_by, **stated} if valid else {"record": "altered"}


def key_path() -> Path:
    """The signing key of this user on this machine."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "voiceclone" / "signing-key.pem"


def _signature(record: Mapping[str, Any]) -> dict[str, str]:
    try:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    except ImportError:
        _warn_once()
        return {}
    key = _key()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    signed = key.sign(canonical_json(record).encode())
    return {name: base64.b64encode(value).decode() for name, value in (("public_key", public), ("signature", signed))}


@cache
def _warn_once() -> None:
    log.warning("the library cryptography is not installed: records of sound files are not signed")


def _key() -> Any:
    """The key, made where there is none; readable by its user alone."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

    place = key_path()
    if not place.is_file():
        made = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = place.with_name(f".{place.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
            handle.write(made)
        try:
            os.link(temporary, place)  # the first of two that begin together keeps its key
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    key = load_pem_private_key(place.read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise DataError(f"{place}: not an Ed25519 key", "move it away, a new one is made")
    return key


def _is_signed(record: Mapping[str, Any], signature: bytes, key: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, canonical_json(record).encode())
    except InvalidSignature:
        return False
    return True


def notice_of(asked: AskedNotice, rights: Mapping[str, Any] | None) -> Notice:
    """What is heard first: what is asked for; else a tone where the consent lets others hear the voice, and nothing
    where it is for oneself, or where a voice states no terms.

    Args:
        asked: the option.
        rights: description of a bundle or report of a training, which may hold the terms of consent.
    """
    if asked != "auto":
        return asked
    return "tone" if ((rights or {}).get("consent") or {}).get("scope") in PUBLIC_SCOPES else "none"


def with_notice(text: str, notice: Notice, language: str) -> str:
    """The text after the spoken notice, if that is asked for; raises as :func:`spoken_notice`."""
    return f"{spoken_notice(text, language)}\n{text}" if notice == "spoken" else text


def spoken_notice(text: str, language: str) -> str:
    """The words of the notice, in the language of most of a text.

    Raises:
        DataError: there is no such language.
    """
    runs = split(text, check_mode(language)) or [(MODES[language], "")]
    said = max(LANGUAGES, key=lambda code: sum(len(part) for found, part in runs if found == code))
    return LANGUAGES[said].notice


def tone(notice: Notice, rate: int) -> Floats:
    """The tone notice, "AI" in Morse code with a pause, float32 (n,); nothing where another or none is asked for."""
    if notice != "tone":
        return np.zeros(0, np.float32)
    unit, parts = round(DOT * rate), []
    for length in MORSE:
        place = np.arange(max(1, length) * unit)
        edge = np.clip(np.minimum(place, place[::-1]) / (0.005 * rate), 0, 1)  # no click
        parts += [LEVEL * (length > 0) * edge * np.sin(2 * np.pi * PITCH * place / rate), np.zeros(unit)]
    return np.concatenate([*parts, np.zeros(4 * unit)]).astype(np.float32)
