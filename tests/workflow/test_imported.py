"""A small voice of GPT-SoVITS through the rules: imported, not trained, exported with its styles."""

from __future__ import annotations

import torch
from safetensors.torch import load_file
from tests.support.synthetic_features import make_features
from typer.testing import CliRunner

from voiceclone.cli import app
from voiceclone.files import read_json, read_tsv, write_tsv
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.public_files import read_gpt, write_gpt, write_sovits
from voiceclone.models.sovits import SoVITS, SoVITSConfig

SMALL = {"inter_channels": 32, "hidden_channels": 32, "filter_channels": 32, "layers": 2, "decoder_channels": 32}
RULES = (
    "fetch_asset", "fit_tokenizer", "tokenize", "train_gpt", "train_sovits", "select", "consent",
    "choose_references", "export",
)  # fmt: skip


def test_an_imported_voice_is_exported_by_the_rules(new_project) -> None:
    project = new_project("imported")
    models = project.root / "resources" / "models"
    models.unlink()  # the imported ones must not come among the fetched ones
    models.mkdir()
    torch.manual_seed(0)
    gpt, sovits = GPTConfig(dim=32, layers=2, heads=2, feed_forward=48), SoVITSConfig(**SMALL)
    files = project.root / "x.ckpt", project.root / "x.pth"
    write_gpt(files[0], gpt, TextToSemantic(gpt).state_dict(), "GPT-e15")
    write_sovits(files[1], sovits, SoVITS(sovits).state_dict(), "8epoch")
    done = CliRunner().invoke(app, ["import", "--gpt", str(files[0]), "--sovits", str(files[1]),
                                    "--speaker", "anna", "--root", str(project.root)])  # fmt: skip
    assert done.exit_code == 0, done.output
    own = project.root / "resources" / "speakers" / "anna" / "voice.yaml"
    own.write_text(own.read_text() + "reference: take-05\nexport: {encoders: false}\nselect: {by: last}\n")
    results = project.results / "anna"
    (results / "models").mkdir(parents=True)
    make_features(results / "features", results / "models" / "unused.safetensors", content_size=768, codes=1024)
    rows = read_tsv(results / "features" / "manifest.tsv")
    (results / "corpus").mkdir()
    named = ("utterance", "split", "language", "text")
    corpus = [{**{name: row[name] for name in named}, "take": row["utterance"], "sha256": ""} for row in rows]
    write_tsv(results / "corpus" / "corpus.tsv", list(corpus[0]), corpus)
    takes = [
        {"take": row["utterance"], "file": f"{'angry/' * (place % 2)}{place}.wav"} for place, row in enumerate(rows)
    ]
    write_tsv(results / "takes.tsv", ["take", "file"], takes)
    bundle = "results/anna/export/onnx-fp32/bundle.json"
    project.run(bundle, "--allowed-rules", *RULES)
    described = read_json(project.root / bundle)
    assert described["reference_utterance"] == "take-05" and list(described["styles"]) == ["angry"]
    weights, read = load_file(results / "models" / "gpt.safetensors"), read_gpt(files[0])[1]
    assert all(torch.equal(weights[key], read[key]) for key in read) and not (results / "state").exists()
    # Another reference exports again, and nothing else.
    own.write_text(own.read_text().replace("take-05", "take-06"))
    said = project.run("-n", bundle, "--allowed-rules", *RULES).stdout
    assert "rule choose_references:" in said and "rule export:" in said
    assert not any(f"rule {rule}:" in said for rule in RULES[:-2]), said
