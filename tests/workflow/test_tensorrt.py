"""The rules of a TensorRT target where there is no TensorRT: the bundle is written, the evaluation says why not."""

from __future__ import annotations

import shutil

import pytest
from tests.support.voice_fixture import make_styles, make_voice

from voiceclone.evaluation.evaluate import COLUMNS
from voiceclone.files import read_json, write_tsv
from voiceclone.tensorrt.engines import why_not

MEASURES = ("whisper-base", "campplus", "ge2e", "dnsmos", "distillmos")


@pytest.mark.skipif(not why_not(), reason="TensorRT and a GPU are here")
def test_export_and_evaluation_without_tensorrt(new_project, asset, tmp_path) -> None:
    for name in MEASURES:
        asset(name)
    configuration = tmp_path / "config.yaml"
    configuration.write_text("export: {targets: [trt-fp16], encoders: false}\n", encoding="utf-8")
    project = new_project("trt", "--configfile", str(configuration))
    (project.root / "resources" / "speakers" / "anna").mkdir()
    voice = project.results / "anna"
    voice.mkdir(parents=True)
    make_voice(voice)
    shutil.copy(voice / "models" / "sovits.safetensors", voice / "models" / "tokenizer.safetensors")
    make_styles(voice)
    wanted = ("results/anna/eval/trt-fp16/summary.json", "--allowed-rules", "consent", "export", "evaluate")
    project.run("-n", *wanted, check=False)  # writes the settings, so that what follows counts as made with them
    for baseline in ("torch-fp32", "recordings"):
        write_tsv(voice / "eval" / baseline / "metrics.tsv", COLUMNS, [])
    done = project.run(*wanted)
    line = read_json(voice / "eval" / "trt-fp16" / "summary.json")["not_measured"]
    assert line.startswith(f"trt-fp16: not measured: {why_not()}; build with")
    assert (done.stdout + done.stderr).count(line) == 1
    bundle = voice / "export" / "trt-fp16"
    assert read_json(bundle / "bundle.json")["engines"] == {"not_built": why_not()}
    assert read_json(bundle / "parity.json")["greedy_equal"] and (bundle / "build_engines.sh").is_file()
