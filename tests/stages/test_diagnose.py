"""The archive of a problem report holds nothing of what was planted."""

from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path
from zipfile import ZipFile

import pytest
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.files import table_columns, write_json, write_tsv

TEXT = "My mother's maiden name is Wintergreen, and nobody knows."
SECRETS = [
    "zaphod", "beeblebrox", "Zaphod Beeblebrox", "Geheimes Gespräch", "geheimes-gespr-ch", "Wintergreen", "maiden name",
    "tricia@example.org", "hf_abcdefghijklmnopqrst", "hunter2", "192.168.17.4", "/srv/private", "vault-13",
    "Ford Prefect",
]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root, take = tmp_path / "vault-13 of mine", "geheimes-gespr-ch-0a1b2c3d"
    voice, folder = root / "results/zaphod", root / "resources/speakers/zaphod"
    folder.mkdir(parents=True)
    (folder / "consent.yaml").write_text("myself: true\nwho: Ford Prefect\n")
    write_json(
        root / "results/config.json", {"speakers_dir": "resources/speakers", "models_dir": "/srv/private/models"}
    )
    (root / "results/runs.jsonl").write_text(
        json.dumps({"command": [f"{root}/.venv/bin/snakemake", "zaphod", "-d", "/srv/private/x"]}) + "\n"
    )
    columns = table_columns("takes")
    row = {
        **dict.fromkeys(columns, ""),
        "take": take,
        "file": "Geheimes Gespräch.wav",
        "sha256": "0" * 64,
        "seconds": 1,
    }
    write_tsv(voice / "takes.tsv", columns, [{**row, **dict.fromkeys(["sample_rate", "channels"], 1), "codec": "pcm",
                                              "bandwidth_hz": 1, "clipping": 0, "dc_offset": 0}])  # fmt: skip
    (voice / "corpus").mkdir()
    (voice / "corpus/corpus.tsv").write_text(f"utterance\ttext\n{take}-0000000-0001000\t{TEXT}\n", encoding="utf-8")
    (voice / "transcripts").mkdir()
    (voice / "transcripts/x.jsonl").write_text(json.dumps({"text": TEXT}) + "\n")
    (voice / "slices").mkdir()
    (voice / "slices/x.flac").write_bytes(b"fLaC" + TEXT.encode())
    (voice / "logs").mkdir()
    (voice / "logs/export.onnx-fp32.log").write_text(
        f"2026-01-01 ERROR voiceclone.stage: {root}/results/zaphod/models: zaphod: text {TEXT[:44]!r} of {take}\n"
        f"cannot read {Path.home()}/Music/Geheimes Gespräch.wav on {socket.gethostname()} as {getpass.getuser()}\n"
        "token=hunter2 hf_abcdefghijklmnopqrst tricia@example.org http://tricia:hunter2@host/x 192.168.17.4\n"
        '  File "/opt/python/site-packages/torch/nn.py", line 7, in forward: step 250, loss 1.25\n',
        encoding="utf-8",
    )
    return root


def members(root: Path, *options: str) -> dict[str, str]:
    target = root.parent / "problem.zip"
    done = CliRunner().invoke(app, ["diagnose", "zaphod", "--root", str(root), "-o", str(target), *options])
    assert done.exit_code == 0, done.output
    with ZipFile(target) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_no_secret_is_left(root: Path) -> None:
    found = members(root)
    users = [getpass.getuser(), socket.gethostname(), str(Path.home()), str(root)]
    for secret in [*SECRETS, *users]:
        holders = [name for name, text in found.items() if secret in text or secret in name]
        assert not holders, (secret, [found[name] for name in holders])
    assert not [name for name in found if name.endswith((".flac", ".wav", ".jsonl")) and name != "runs.jsonl"]


def test_what_helps_is_there(root: Path) -> None:
    found = members(root)
    log = next(text for name, text in found.items() if name.endswith("export.onnx-fp32.log"))
    assert "ERROR voiceclone.stage" in log and "site-packages/torch/nn.py" in log and "step 250, loss 1.25" in log
    assert json.loads(found["machine.json"])["packages"]["numpy"]
    table = next(text for name, text in found.items() if name.endswith("corpus.tsv"))
    assert table.splitlines()[0] == "utterance" and table.count("[recording-") == 1


def test_words_go_along_on_request_alone(root: Path) -> None:
    assert not any("Wintergreen" in text for text in members(root).values())
    found = members(root, "--transcripts")
    assert any("Wintergreen" in text for text in found.values())
    assert not any("zaphod" in text or "Geheimes" in text for text in found.values())
