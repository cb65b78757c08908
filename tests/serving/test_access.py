"""Keys, quotas, the log of requests, and addresses that are refused."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.serving.conftest import TEXT, Running
from typer.testing import CliRunner

from voiceclone.backends.bundle import SUMS
from voiceclone.cli import app
from voiceclone.errors import ConfigError, DataError
from voiceclone.files import read_json, sha256_file, write_json
from voiceclone.serving.access import AuditLog, Key, KeyFile, QuotaExceeded, Quotas
from voiceclone.serving.listen import Address
from voiceclone.serving.server import ServerSettings

Serve = Callable[..., Running]


def keys(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["keys", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    token = keys("add", "Ann", "--keys", str(file), "--voice", "anna", "--per-minute", "3").strip()
    assert token.startswith("vc-") and token.split("-")[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = KeyFile(file).find(token)
    assert found is not None and (found.name, found.voices, found.per_minute) == ("Ann", ("anna",), 3)
    shown = keys("list", "--keys", str(file))
    assert "Ann: valid" in shown and token not in shown
    keys("revoke", found.id, "--keys", str(file))
    assert KeyFile(file).find(token) is None and "Ann: revoked" in keys("list", "--keys", str(file))
    assert CliRunner().invoke(app, ["keys", "revoke", "nobody", "--keys", str(file)]).exit_code == 2
    assert CliRunner().invoke(app, ["keys", "add", "Bob", "--keys", str(file), "--format", "aac"]).exit_code == 2


@given(st.text(max_size=80))
def test_nothing_else_is_a_key(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.getbasetemp() / "one.json"
    id = KeyFile(file).add(Key("")).split("-")[1] if not file.is_file() else KeyFile(file).all()[0].id
    for token in (text, f"vc-{id}-{text}", f"vc-{text}-", KeyFile(file).all()[0].sha256):
        assert KeyFile(file).find(token) is None


def test_two_programs_lose_no_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda _: KeyFile(tmp_path / "keys.json").add(Key("")), range(24)))
    file = KeyFile(tmp_path / "keys.json")
    assert len(file.all()) == 24 and all(file.find(token) for token in tokens)


def test_a_damaged_file_lets_nobody_new_in(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "keys.json")
    token = file.add(Key(""))
    assert file.find(token)
    file.path.write_text('{"keys": [{"id"')
    assert file.find(token) and file.find(token + "0") is None
    with pytest.raises(DataError, match="no file of keys"):
        KeyFile(file.path).find(token)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.integers(0, 60), st.booleans()), max_size=40),
    st.integers(0, 4), st.integers(0, 100), st.integers(0, 3),
)  # fmt: skip
def test_quotas_hold_whatever_comes(
    steps: list[tuple[float, int, bool]], per_minute: int, characters: int, at_a_time: int
) -> None:
    now, times, running, said = 86_000.0, [], 0, {}  # midnight lies within
    quotas, key = Quotas(lambda: now), Key("a", per_minute=per_minute, characters_per_day=characters)
    key = Key("a", per_minute=per_minute, characters_per_day=characters, concurrent=at_a_time)
    for wait, length, ends in steps:
        now += wait
        if ends and running:
            quotas.release(key)
            running -= 1
        try:
            quotas.admit(key, length)
        except QuotaExceeded as error:
            assert error.seconds >= 1
            continue
        times, running = [*times, now], running + 1
        said[now // 86_400] = said.get(now // 86_400, 0) + length
        assert not per_minute or sum(now - 60 < past for past in times) <= per_minute
        assert not characters or said[now // 86_400] <= characters
        assert not at_a_time or running <= at_a_time


def test_a_restart_does_not_give_characters_back(tmp_path: Path) -> None:
    log, key = AuditLog(tmp_path / "audit.jsonl"), Key("a", characters_per_day=10)
    log.write(key, "12345678")
    with (tmp_path / "audit.jsonl").open("a") as handle:
        handle.write("{damaged\n[]\n")
    quotas = Quotas()
    quotas.restore(log.records())
    with pytest.raises(QuotaExceeded, match="characters per day"):
        quotas.admit(key, 3)
    quotas.admit(key, 2)


def test_a_log_that_cannot_be_written_stops_nobody() -> None:
    log = AuditLog(Path("/dev/full"))
    log.write(Key("a"), TEXT)
    assert log.failed == 1


def test_scopes_quotas_and_the_log(serve: Serve, made_bundle: Path, tmp_path: Path) -> None:
    file, audit = tmp_path / "keys.json", tmp_path / "audit.jsonl"
    store = KeyFile(file)
    free, mp3 = store.add(Key("")), store.add(Key("", formats=("mp3",), per_minute=2))
    other = store.add(Key("", voices=("bob",)))
    server = serve([made_bundle], ServerSettings(keys=file, audit=audit))
    for path in ("/v1/voices", "/v1/models", "/metrics"):
        assert server.client.get(path).status_code == 401
        assert server.client.get(path, headers=bearer(free)).status_code == 200
    assert server.client.get("/health").status_code == 200
    assert server.speak().status_code == server.speak(headers=bearer("vc-0-0")).status_code == 401
    assert server.speak().headers["www-authenticate"] == "Bearer"
    assert server.client.get("/v1/voices", headers=bearer(other)).json()["data"] == []
    assert server.speak(voice="anna", headers=bearer(other)).status_code == 404
    assert server.speak(headers=bearer(mp3), response_format="wav").status_code == 403
    assert [server.speak(headers=bearer(mp3)).status_code for _ in range(3)] == [200, 200, 429]
    assert 1 <= int(server.speak(headers=bearer(mp3)).headers["retry-after"]) <= 60
    store.revoke(mp3.split("-")[1])
    assert server.speak(headers=bearer(mp3)).status_code == 401
    lines = [json.loads(line) for line in audit.read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["spoken", "spoken"] and stat.S_IMODE(audit.stat().st_mode) == 0o600
    assert set(lines[0]) == {"time", "key", "voice", "characters", "seconds", "mark", "format", "outcome"}
    assert lines[0]["key"] == mp3.split("-")[1] and lines[0]["characters"] == len(TEXT) and lines[0]["seconds"] > 0
    assert TEXT not in audit.read_text() and mp3 not in audit.read_text()


def test_requests_at_a_time_are_given_back(serve: Serve, made_bundle: Path, tmp_path: Path) -> None:
    token = KeyFile(tmp_path / "keys.json").add(Key("", concurrent=1))
    server = serve([made_bundle], ServerSettings(keys=tmp_path / "keys.json", audit=tmp_path / "log", audit_text=True))
    long = "One two three four five six seven eight. " * 2
    with ThreadPoolExecutor(6) as threads:
        codes = list(threads.map(lambda _: server.speak(long, headers=bearer(token)).status_code, range(6)))
    assert sorted(set(codes)) == [200, 429]
    assert server.speak(headers=bearer(token)).status_code == 200
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["text"] == TEXT


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "voice.example.org"])
def test_open_addresses_need_keys_and_a_lock(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no keys"):
        Address(host, behind_proxy=True).check(None)
    with pytest.raises(ConfigError, match="there are no keys"):
        Address(host, behind_proxy=True).check(tmp_path / "keys.json")  # no file, no key
    KeyFile(tmp_path / "keys.json").add(Key(""))
    with pytest.raises(ConfigError, match="unencrypted"):
        Address(host).check(tmp_path / "keys.json")
    Address(host, behind_proxy=True).check(tmp_path / "keys.json")
    Address(host, certificate=tmp_path, private_key=tmp_path).check(tmp_path / "keys.json")


def test_this_machine_needs_none(made_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        Address(host).check(None)
    with pytest.raises(ConfigError, match="both or none"):
        Address(certificate=tmp_path).check(None)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    refused = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--voices", str(made_bundle)])
    assert refused.exit_code == 2 and "there are no keys" in refused.output


def test_pages_of_other_names_do_not_reach_this_machine(server: Running) -> None:
    """DNS rebinding: a page of a stranger whose name leads to 127.0.0.1."""
    assert server.client.get("/v1/voices", headers={"host": "evil.example"}).status_code == 400
    form = {"content-type": "text/plain"}  # what a page may send to other hosts without asking
    answer = server.client.post("/v1/audio/speech", content=json.dumps({"input": TEXT}), headers=form)
    assert answer.status_code in (400, 415)


def test_times_of_the_log_are_utc(tmp_path: Path) -> None:
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    try:
        AuditLog(tmp_path / "log").write(Key("a"), TEXT)
    finally:
        del os.environ["TZ"]
        time.tzset()
    assert json.loads((tmp_path / "log").read_text())["time"].endswith("+00:00")


def test_consent_binds_a_server(bundle: Path, serve: Serve) -> None:
    def agree(**terms: object) -> None:
        file = bundle / "bundle.json"
        before = sha256_file(file)
        write_json(file, read_json(file) | {"consent": terms})
        sums = bundle / SUMS
        sums.write_text(sums.read_text().replace(before, sha256_file(file)))

    agree(scope="private")
    with pytest.raises(DataError, match="the consent is for private, serving needs serve"):
        serve([bundle])
    agree(scope="serve", expires="2020-01-31")
    with pytest.raises(DataError, match="ended with 2020-01-31"):
        serve([bundle])
    agree(scope="serve", languages=["zh"])
    answer = serve([bundle]).speak(TEXT)
    assert answer.status_code == 400 and "not for en" in answer.json()["error"]["message"]
    agree(scope="release", languages=["en"])
    assert serve([bundle]).speak(TEXT).status_code == 200
