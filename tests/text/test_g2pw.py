"""g2pW: its published input format, run on a small random network of the same signature."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.feature_fixture import register
from tests.support.text_agreement import agreement
from tests.support.voice_fixture import make_voice

from voiceclone.assets import Asset
from voiceclone.errors import AssetError
from voiceclone.evaluation.evaluate import item_inputs
from voiceclone.evaluation.sentences import Item
from voiceclone.evaluation.target import Source, target_lexicon
from voiceclone.export.bundle import export_voice
from voiceclone.features.extract import with_polyphones
from voiceclone.files import read_tsv, write_tsv
from voiceclone.listeners.g2pw import G2PW
from voiceclone.speaking.voices import BERT, open_bundle, open_models
from voiceclone.stages.export import ExportSettings
from voiceclone.stages.features import FeaturesSettings
from voiceclone.text.frontend import to_phones
from voiceclone.text.lexicon import Lexicon
from voiceclone.text.mandarin import to_symbols

POLYPHONIC = [
    *(("行", reading) for reading in ("ㄒㄧㄥ2", "ㄏㄤ2")),
    *(("重", reading) for reading in ("ㄓㄨㄥ4", "ㄔㄨㄥ2")),
    *(("長", reading) for reading in ("ㄓㄤ3", "ㄔㄤ2")),
    *(("不", reading) for reading in ("ㄅㄨ4", "ㄈㄡ3")),
]
MONOPHONIC = [("我", "ㄨㄛ3"), ("很", "ㄏㄣ3"), ("似", "ㄙ4"), ("銀", "ㄧㄣ2")]
PINYIN = {"ㄒㄧㄥ": "xing", "ㄏㄤ": "hang", "ㄓㄨㄥ": "zhong", "ㄔㄨㄥ": "chong", "ㄓㄤ": "zhang", "ㄔㄤ": "chang",
          "ㄨㄛ": "wo", "ㄏㄣ": "hen", "ㄧㄣ": "yin"}  # fmt: skip
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"我很行重長銀不,。"]


def tables(labels: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = {"token": len(VOCABULARY), "character": 4, "position": 512}
    return {name: rng.standard_normal((count, labels)).astype(np.float32) for name, count in rows.items()}


def network(path: Path, labels: int) -> None:
    """Probabilities from sums of rows for the tokens, the character and its position, over the allowed readings."""
    shapes = {name: ["B", "T"] for name in ("input_ids", "token_type_ids", "attention_mask")}
    shapes |= {name: ["B"] for name in ("char_ids", "position_ids")}
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in shapes.items()]
    inputs.append(helper.make_tensor_value_info("phoneme_mask", TensorProto.FLOAT, ["B", labels]))
    node = helper.make_node
    nodes = [
        node("Gather", ["token", "input_ids"], ["tokens"]),
        node("Add", ["attention_mask", "token_type_ids"], ["shown"]),
        node("Cast", ["shown"], ["weights"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["weights", "last"], ["weights3"]),
        node("Mul", ["tokens", "weights3"], ["weighted"]),
        node("ReduceSum", ["weighted", "middle"], ["sentence"], keepdims=0),
        node("Gather", ["character", "char_ids"], ["characters"]),
        node("Gather", ["position", "position_ids"], ["positions"]),
        node("Add", ["characters", "positions"], ["both"]),
        node("Add", ["sentence", "both"], ["logits"]),
        node("Exp", ["logits"], ["exp"]),
        node("Mul", ["exp", "phoneme_mask"], ["allowed"]),
        node("ReduceSum", ["allowed", "middle"], ["total"], keepdims=1),
        node("Div", ["allowed", "total"], ["probs"]),
    ]
    constants = {**tables(labels), "last": np.array([2]), "middle": np.array([1])}
    output = helper.make_tensor_value_info("probs", TensorProto.FLOAT, ["B", labels])
    stored = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "g2pw", inputs, [output], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "g2pw" / "G2PWModel"
    model.mkdir(parents=True)
    for name, rows in (("POLYPHONIC_CHARS.txt", POLYPHONIC), ("MONOPHONIC_CHARS.txt", MONOPHONIC)):
        (model / name).write_text("".join(f"{c}\t{reading}\n" for c, reading in rows), encoding="utf-8")
    (model / "bopomofo_to_pinyin_wo_tune_dict.json").write_text(json.dumps(PINYIN), encoding="utf-8")
    (model / "config.py").write_text("import os\nos.abort()\nuse_mask = True\nuse_char_phoneme = False\n")
    network(model / "g2pW.onnx", len({reading for _, reading in POLYPHONIC}))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    return tmp_path


def expected(text: str, at: int) -> str:
    """The reading that the network's formula gives, worked out without it."""
    labels = sorted({reading for _, reading in POLYPHONIC})
    rows = tables(len(labels))
    ids = [2, *(VOCABULARY.index(c) if c in VOCABULARY else 1 for c in text), 3]
    logits = rows["token"][ids].sum(0) + rows["position"][at + 1]
    logits = logits + rows["character"][sorted({c for c, _ in POLYPHONIC}).index(text[at])]
    allowed = [reading for c, reading in POLYPHONIC if c == text[at]]
    best = max(allowed, key=lambda reading: logits[labels.index(reading)])
    return PINYIN[best[:-1]] + best[-1]


def test_reads_as_the_network_says(folder: Path) -> None:
    reader = G2PW(folder / "g2pw", folder)
    read = reader.read(["我很行,", "银行重长。", "我", ""])
    assert read[0] == ["wo3", "hen3", expected("我很行,", 2), None]
    written = "銀行重長。"  # as Taiwan writes it, which is what the network reads
    assert read[1] == ["yin2", *(expected(written, at) for at in (1, 2, 3)), None]
    assert read[2:] == [["wo3"], []]


def test_features_stage_says_what_decided(folder: Path) -> None:
    files = {path.name: {"size": 0, "sha256": ""} for path in (folder / "g2pw").rglob("*.*")}
    assets = {
        "g2pw": Asset("g2pw", "g2p", "Apache-2.0", folder / "g2pw", "abc", files),
        "chinese-roberta-wwm-ext-large": Asset("bert", "bert", "Apache-2.0", folder, "def", {}),
    }
    settings = FeaturesSettings(bert="chinese-roberta-wwm-ext-large", polyphones="g2pw")
    lexicon = with_polyphones(Lexicon(), settings, assets)
    assert lexicon.used_in("重") == {"polyphones": "g2pw abc"}
    assert with_polyphones(Lexicon(), FeaturesSettings(), assets).polyphones is None
    with pytest.raises(AssetError, match=r"features\.polyphones"):
        with_polyphones(Lexicon(), settings, {})
    with pytest.raises(ValueError, match="set bert"):
        FeaturesSettings(polyphones="g2pw")


def test_batches_do_not_change_the_answer(folder: Path) -> None:
    reader = G2PW(folder / "g2pw", folder)
    sentences = ["行" * 3, "我很重", "长我" * 30, "行我不行,"]
    assert reader.read(sentences) == [reader.read([sentence])[0] for sentence in sentences]


def test_context_is_bounded(folder: Path) -> None:
    reader = G2PW(folder / "g2pw", folder)
    filler = "我" * 40
    middle = "我" * 16
    assert reader.read([f"{filler}行{filler}"])[0][40] == expected(f"{middle}行{middle}", 16)
    assert len(reader.read(["行" * 1200])[0]) == 1200


def test_characters_left_to_the_dictionary(folder: Path) -> None:
    assert G2PW(folder / "g2pw", folder).read(["不似"]) == [[None, None]]


def test_front_end_asks_it_and_the_lexicon_wins(folder: Path) -> None:
    reader = G2PW(folder / "g2pw", folder, "abc")
    lexicon = Lexicon(polyphones=reader)
    pinyin = reader.read(["我很重。"])[0][2]
    assert "".join(to_phones("我很重。", "zh", lexicon).symbols[4:6]) == pinyin
    assert to_phones("重好", "zh", Lexicon({"zh": {"重好": ("chong3", "hao3")}}, reader)).symbols[:2] == ("ch", "ong2")
    assert lexicon.used_in("重") == {"polyphones": "g2pw abc"} and lexicon.used_in("heavy") == {}


class Recorded:
    """Gives the readings that were recorded for each segment."""

    name, digest = "recorded", ""

    def __init__(self, rows: list[tuple[str, list[str]]]) -> None:
        self.rows = dict(rows)
        self.missed: list[str] = []

    def read(self, sentences: list[str]) -> list[list[str | None]]:
        self.missed += [sentence for sentence in sentences if sentence not in self.rows]
        found = [self.rows.get(sentence, [None] * len(sentence)) for sentence in sentences]
        return [[reading if reading and reading[0].isalpha() else None for reading in row] for row in found]


def test_given_readings_become_the_recorded_phones(shared_golden: Path) -> None:
    """The public default path: the model's readings, our words, tone sandhi and erhua."""
    rows = json.loads((shared_golden / "text_zh_given_pinyin.json").read_text())["rows"]
    rows = [row for row in rows if row["phones"] and "￥" not in row["text"]]
    pairs = []
    for row in rows:
        reader = Recorded([tuple(entry) for entry in row["character_pinyin"]])
        phones, _ = to_symbols(row["normalized"], {}, reader)
        pairs.append((phones, row["phones_without_corrections"]))
    print(f"\ngiven readings: {agreement(pairs):.2%} of phones as recorded")
    assert agreement(pairs) > 0.98


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("g2pw/G2PWModel/g2pW.onnx", None, "has no g2pW.onnx"),
        ("g2pw/G2PWModel/g2pW.onnx", "no network", "not a network"),
        ("g2pw/G2PWModel/POLYPHONIC_CHARS.txt", None, "cannot be read"),
        ("g2pw/G2PWModel/MONOPHONIC_CHARS.txt", "a b\n", "not a table"),
        ("g2pw/G2PWModel/bopomofo_to_pinyin_wo_tune_dict.json", "{", "not JSON"),
        ("g2pw/G2PWModel/config.py", "use_mask = = 1", "not a configuration"),
        ("vocab.txt", None, "neither vocab.txt nor tokenizer.json"),
        ("vocab.txt", "a\nb", "not the vocabulary"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, file: str, content: str | None, message: str) -> None:
    path = folder / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(AssetError, match=message):
        G2PW(folder / "g2pw", folder).read(["行"])


def test_vocabulary_of_a_tokenizer_file(folder: Path) -> None:
    before = G2PW(folder / "g2pw", folder).read(["我很行,"])
    (folder / "vocab.txt").unlink()
    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}), encoding="utf-8")
    assert G2PW(folder / "g2pw", folder).read(["我很行,"]) == before


def test_say_and_the_evaluation_read_with_it_where_it_is(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = make_voice(tmp_path / "voice")
    manifest = root / "features" / "manifest.tsv"
    rows = [{**row, "polyphones": "g2pw"} for row in read_tsv(manifest)]
    write_tsv(manifest, [*rows[0]], rows)
    export_voice(root / "models", root / "features", "onnx-fp32", root / "bundle", ExportSettings(), "anna")
    lexicon = open_bundle(root / "bundle", root).synthesizer.lexicon
    assert lexicon is not None and lexicon.polyphones is None and "readings by g2pw" in caplog.text
    models = root / "resources" / "models"
    shutil.copytree(folder / "g2pw", models / "g2pw")
    (models / BERT).mkdir()
    shutil.copy(folder / "vocab.txt", models / BERT)
    assets = {name: register(models / name, name) for name in ("g2pw", BERT)}
    wanted = to_phones("我很行。", "zh", Lexicon(polyphones=G2PW(folder / "g2pw", folder))).ids.tolist()
    assert wanted != to_phones("我很行。", "zh").ids.tolist()
    features, bundle = root / "features", root / "bundle" / "bundle.json"
    for target, opened in (
        ("torch-fp32", open_models(root / "models", root)),
        ("onnx-fp32", open_bundle(bundle, root)),
    ):
        at = bundle if target == "onnx-fp32" else None
        lexicon = target_lexicon(target, features, at, [], assets)
        source = Source(target, features, root / "models", at, lexicon=lexicon)
        evaluated = source.synthesizer()
        for synthesizer in (opened.synthesizer, evaluated):
            assert synthesizer.sentence("我很行。", "zh").phones.tolist() == wanted
        without = target_lexicon(target, features, at, [], {})
        inputs = [
            item_inputs([Item("a", "fixed", "zh", "我很行。"), Item("b", "fixed", "en", "Yes.")], source, {}, each)
            for each in (lexicon, without)
        ]
        assert inputs[0]["a"] != inputs[1]["a"] and inputs[0]["b"] == inputs[1]["b"]
