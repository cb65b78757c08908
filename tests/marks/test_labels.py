"""Tags, signed records, notices, and the command that reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from tests.support.recordings import voice_like
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import read_json, write_json
from voiceclone.languages import LANGUAGES
from voiceclone.marks import manifest
from voiceclone.marks.labels import (
    FORMATS,
    check_record,
    key_path,
    notice_of,
    record_path,
    tone,
    voice_id,
    with_notice,
    write_generated,
    write_record,
)
from voiceclone.marks.manifest import Certificate, open_certificate, sign_manifest
from voiceclone.marks.watermark import number_of
from voiceclone.sound.io import read_comment, read_mono
from voiceclone.text.frontend import to_phones

NUMBER = number_of("gpt", "sovits")


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    path = tmp_path / "spoken.flac"
    write_generated(path, voice_like(5.0, 32_000).astype(np.float32), 32_000, NUMBER)
    write_record(path, NUMBER)
    return path


def verified(*words: str, code: int = 0) -> list[dict[str, object]]:
    done = CliRunner().invoke(app, ["verify", "--json", *words])
    assert done.exit_code == code, done.output
    return [json.loads(line) for line in done.output.splitlines()]


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_keeps_mark_and_tags(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"sound{ending}"
    write_generated(path, voice_like(4.0, 32_000).astype(np.float32), 32_000, NUMBER)
    comment = read_comment(path)
    assert comment.startswith("AI-generated speech; ") and f'"ProduceID":"{voice_id(NUMBER)}"' in comment
    (found,) = verified(str(path), "--voices", str(tmp_path))
    assert found["marked"] and found["tagged"] == found["marks"][0]["voice"] == voice_id(NUMBER)  # type: ignore[index]
    assert found["false_alarm"] < 1e-3 and found["record"] == "none"  # type: ignore[operator]


def test_the_voice_is_named_by_its_bundle_or_models(tmp_path: Path, spoken: Path) -> None:
    description = {"voice": "anna", "fingerprints": {"sovits": "sovits", "gpt": "gpt"}, "consent_sha256": "c" * 64}
    write_json(tmp_path / "a/bundle.json", description)
    for kind in ("gpt", "sovits"):
        write_json(tmp_path / f"b/models/{kind}.json", {"fingerprint": kind})
    for name, content in {"empty": {}, "list": []}.items():  # these stop nothing
        write_json(tmp_path / f"a/{name}/bundle.json", content)
        write_json(tmp_path / f"b/{name}/gpt.json", content)
    names = {"a": "anna", "b": str(tmp_path / "b/models")}
    for folder, name in names.items():
        (found,) = verified(str(spoken), "--voices", str(tmp_path / folder))
        (mark,) = {json.dumps(mark, sort_keys=True) for mark in found["marks"]}  # type: ignore[attr-defined]
        mark = json.loads(mark)
        assert mark["name"] == name
        assert mark["bundles"] == ([str(tmp_path / "a")] if folder == "a" else [])
        assert mark["consent"] == ("c" * 64 if folder == "a" else "")


def test_consent_is_read_from_tags_and_record(tmp_path: Path) -> None:
    path, consent = tmp_path / "a.opus", "0123456789abcdef" * 4
    write_generated(path, voice_like(3.0, 32_000).astype(np.float32), 32_000, NUMBER, consent)
    write_record(path, NUMBER, consent_sha256=consent)
    (found,) = verified(str(path), "--voices", str(tmp_path))
    assert found["tagged_consent"] == consent[:16] and found["consent_sha256"] == consent
    done = CliRunner().invoke(app, ["verify", str(path), "--voices", str(tmp_path)])
    assert f"consent {consent[:16]}" in done.output


@pytest.mark.parametrize(
    ("scope", "heard"),
    [("evaluation", "none"), ("private", "none"), ("serve", "tone"), ("release", "tone"), ("", "none")],
)
def test_the_notice_goes_by_the_scope_unless_it_is_asked_for(scope: str, heard: str) -> None:
    rights = {"consent": {"scope": scope}} if scope else {}
    assert notice_of("auto", rights) == heard
    assert notice_of("spoken", rights) == "spoken" and notice_of("none", rights) == "none"


def test_sound_of_a_person_has_no_mark(tmp_path: Path, shared_data: Path) -> None:
    recordings = sorted(map(str, shared_data.glob("verification/*/1688/*.flac")))
    found = verified(*recordings, "--voices", str(tmp_path))
    assert len(found) == len(recordings) > 1 and not any(row["marked"] or row["tagged"] for row in found)


def test_what_is_no_sound_stops_no_other_file(tmp_path: Path, spoken: Path) -> None:
    (tmp_path / "noise.txt").write_text("not sound")
    bad, good = verified(str(tmp_path / "noise.txt"), str(spoken), "--voices", str(tmp_path), code=1)
    assert "cannot be decoded" in str(bad["error"]) and good["marked"]


def test_a_record_holds_for_its_file_alone(spoken: Path) -> None:
    pytest.importorskip("cryptography", reason="records are not signed without it")
    assert check_record(spoken)["record"] == "signed"
    assert key_path().stat().st_mode & 0o777 == 0o600
    record = read_json(record_path(spoken))
    for changed in ({"voice": "00000000"}, {"signature": record["signature"][:-8] + "AAAAAA=="}, {"public_key": "?"}):
        write_json(record_path(spoken), record | changed)
        assert check_record(spoken)["record"] == "altered", changed
    write_json(record_path(spoken), record)
    spoken.write_bytes(spoken.read_bytes() + b"\0")
    assert check_record(spoken)["record"] == "altered"
    (found,) = verified(str(spoken), "--voices", str(spoken.parent), code=1)
    assert found["record"] == "altered"


def test_one_key_signs_all_files(tmp_path: Path, spoken: Path) -> None:
    pytest.importorskip("cryptography", reason="records are not signed without it")
    first = check_record(spoken)["signed_by"]
    write_record(spoken, NUMBER)
    assert check_record(spoken)["signed_by"] == first


def test_a_damaged_record_is_altered(spoken: Path) -> None:
    for text in ("", "[]", "{}", '{"sha256": 1, "signature": 2}'):
        record_path(spoken).write_text(text)
        assert check_record(spoken)["record"] == "altered", text


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("Good morning.", "en", "en"), ("Good morning.", "auto", "en"), ("早上好，朋友。", "zh", "zh"),
        ("早上好，朋友。", "auto", "zh"), ("今日はいい天気です。", "auto", "ja"), ("안녕하세요.", "ko", "ko"),
        ("你哋好。", "yue", "yue"),
    ],
)  # fmt: skip
def test_the_notice_has_the_language_of_the_text(text: str, language: str, said: str) -> None:
    assert with_notice(text, "spoken", language) == f"{LANGUAGES[said].notice}\n{text}"
    assert with_notice(text, "none", language) == with_notice(text, "tone", language) == text


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_notice_can_be_read(code: str) -> None:
    assert len(to_phones(LANGUAGES[code].notice, code).ids) > 8


def test_a_notice_in_no_language_is_refused() -> None:
    with pytest.raises(DataError, match="has no phones"):
        with_notice("Hello.", "spoken", "xx")


def test_the_tone_is_the_rhythm_of_ai() -> None:
    sound = tone("tone", 32_000)
    loud = np.abs(sound).reshape(-1, 640).max(1) > 0.05
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud.astype(int), [0]])))
    lengths = (edges[1::2] - edges[0::2]) * 0.02
    assert np.allclose(lengths, [0.08, 0.24, 0.08, 0.08], atol=0.021)
    assert not len(tone("spoken", 32_000)) and not len(tone("none", 32_000))


def certificate(folder: Path) -> Certificate:
    """A key with a certificate for signing documents, and the one of the authority that issued it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    authority, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now, parts = datetime.now(UTC), []
    for name, key in (("studio", own), ("authority", authority)):
        top = key is authority
        subject, issuer = (
            x509.Name(
                [x509.NameAttribute(NameOID.COMMON_NAME, word), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "x")]
            )
            for word in (name, "authority")
        )
        made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(top, None), True)
        made = made.add_extension(x509.KeyUsage(True, False, False, False, False, top, top, False, False), True)
        made = made.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), False)
        if not top:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        parts.append(made.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    secret = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "chain.pem").write_bytes(b"".join(parts))
    (folder / "key.pem").write_bytes(secret)
    return Certificate(folder / "chain.pem", folder / "key.pem")


@pytest.mark.parametrize("ending", manifest.FORMATS)
def test_a_manifest_is_signed_by_the_users_certificate(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("c2pa", reason="c2pa-python is not installed")
    path, stated = tmp_path / f"a{ending}", {"voice": voice_id(NUMBER)}
    write_generated(path, voice_like(3.0, 32_000).astype(np.float32), 32_000, NUMBER)
    before, comment = read_mono(path)[0], read_comment(path)
    sign_manifest(path, certificate(tmp_path), stated)
    assert np.array_equal(read_mono(path)[0], before) and read_comment(path) == comment
    (found,) = verified(str(path), "--voices", str(tmp_path))
    assert found["manifest"] == {"state": "Valid", "stated": stated}
    (tmp_path / "key.pem").write_text("none")
    signed = path.read_bytes()
    with pytest.raises(DataError, match="cannot be used"):
        sign_manifest(path, Certificate(tmp_path / "chain.pem", tmp_path / "key.pem"), stated)
    assert path.read_bytes() == signed


def test_half_a_certificate_and_a_format_without_manifest_are_refused(tmp_path: Path) -> None:
    assert open_certificate(None, None, Path("a.opus")) is None
    for chain, key, output in ((tmp_path, None, "a.wav"), (None, tmp_path, "a.wav"), (tmp_path, tmp_path, "a.opus")):
        with pytest.raises(ConfigError, match="--certificate"):
            open_certificate(chain, key, Path(output))
