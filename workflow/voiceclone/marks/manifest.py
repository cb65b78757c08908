"""A C2PA manifest in a sound file: who made it and by what, signed with a certificate that others can check.

The specification (C2PA 2.1, "Technical Specification") and the format are the library's, ``c2pa-python``, which is no
dependency: it is asked for where a certificate is given. WAV, FLAC and MP3 can hold a manifest, Ogg cannot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voiceclone import __version__
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import atomic_path

FORMATS = (".wav", ".flac", ".mp3")
#: The IPTC's term for media that a trained model made.
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@dataclass(frozen=True)
class Certificate:
    """Who signs.

    Attributes:
        chain: PEM file of the certificate and those above it, as an authority issued them.
        key: PEM file of its private key, without a password.
    """

    chain: Path
    key: Path


def open_certificate(chain: Path | None, key: Path | None, output: Path) -> Certificate | None:
    """The certificate of a command's options; None: none is given.

    Raises:
        ConfigError: half of it is given, the library is missing, or the output cannot hold a manifest.
    """
    if chain is None and key is None:
        return None
    if chain is None or key is None:
        raise ConfigError("--certificate and --certificate-key: expected both or none")
    if output.suffix.lower() not in FORMATS:
        raise ConfigError(f"--certificate: {output.suffix} holds no manifest, expected {', '.join(FORMATS)}")
    _library()
    return Certificate(chain, key)


def _library() -> Any:
    try:
        import c2pa
    except (ImportError, OSError) as error:
        raise ConfigError("--certificate: c2pa-python is not installed", "pip install c2pa-python") from error
    return c2pa


def sign_manifest(path: Path, certificate: Certificate, stated: Mapping[str, str]) -> None:
    """Put a manifest into a sound file, atomically.

    Args:
        path: ends in one of :data:`FORMATS`; tags and sound stay as they are.
        certificate: signs it.
        stated: of the voice: its number, its speaker's consent.

    Raises:
        DataError: the certificate or its key cannot be used; the file stays as it was.
    """
    c2pa = _library()
    action = {"action": "c2pa.created", "digitalSourceType": SOURCE}
    manifest = {
        "claim_generator_info": [{"name": "voiceclone", "version": __version__}],
        "title": path.name,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": "org.voiceclone.voice", "data": dict(stated)},
        ],
    }
    try:
        key = certificate.key.read_bytes()
        signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(_algorithm(key), certificate.chain.read_bytes(), key, None))
        with atomic_path(path) as temporary:
            c2pa.Builder(manifest).sign_file(str(path), str(temporary), signer)
    except (c2pa.C2paError, ValueError, TypeError, OSError) as error:
        raise DataError(
            f"{path}: no manifest: {certificate.chain} or {certificate.key} cannot be used ({error})",
            "give the chain of an authority and the key of its first certificate, PEM",
        ) from error


def _algorithm(key: bytes) -> str:
    """Name of the signature that goes with a private key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = load_pem_private_key(key, None)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return {256: "es256", 384: "es384", 521: "es512"}.get(private.curve.key_size, "es256")
    if isinstance(private, rsa.RSAPrivateKey):
        return "ps256"
    raise ValueError("a key of another kind than RSA, EC or Ed25519")


def read_manifest(path: Path) -> dict[str, Any]:
    """What the manifest of a sound file says: ``state`` (Valid, Trusted or Invalid) and ``stated``, see
    :func:`sign_manifest`; empty: there is none, or the library is missing."""
    try:
        import c2pa

        content = json.loads(c2pa.Reader(str(path)).json())
    except Exception:  # the library's errors: no manifest, a format without one, a damaged file
        return {}
    active = content.get("manifests", {}).get(content.get("active_manifest"), {})
    stated = [one["data"] for one in active.get("assertions", []) if one.get("label") == "org.voiceclone.voice"]
    return {"state": content.get("validation_state", ""), "stated": stated[0] if stated else {}}
