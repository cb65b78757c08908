"""Readers of files that come from elsewhere: whatever is in them, only errors that a person can act on come out.

Each reader gets files that are in order, with damage drawn by hypothesis: always the same few here, as many as one
likes by ``make fuzz``. Memory is bounded while they run: a small file that asks for gigabytes fails too.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_safetensors
from safetensors.torch import save as save_packed
from tests.support.mutations import damaged, reshaped

from voiceclone.assets.asset import open_asset
from voiceclone.assets.fetch import unpack
from voiceclone.assets.registry import load_registry
from voiceclone.assets.sources import UnavailableError
from voiceclone.backends.bundle import (
    BUNDLE_FILE,
    read_bundle,
    read_reference,
    read_styles,
    verify_bundle,
    voice_number,
)
from voiceclone.backends.weights import OnnxWeights
from voiceclone.config.load import load_config, load_voice
from voiceclone.corpus.corrections import read_corrections
from voiceclone.corpus.inventory import take_inventory
from voiceclone.corpus.layouts import LAYOUTS, layout_of
from voiceclone.corpus.listfile import read_list
from voiceclone.corpus.review import Saved, save
from voiceclone.corpus.takes import ingest
from voiceclone.errors import VoiceCloneError
from voiceclone.evaluation.sentences import read_sentences
from voiceclone.features.store import open_store
from voiceclone.files import digest, read_json, read_jsonl, read_tsv
from voiceclone.lineage.rights import how_to_consent, in_words, read_rights, record_rights, refusal
from voiceclone.marks.labels import check_record
from voiceclone.models.gpt import GPTConfig, TextToSemantic
from voiceclone.models.packed import read_packed
from voiceclone.models.public_files import CODEBOOK, read_discriminator, read_gpt, read_public, read_sovits
from voiceclone.models.sovits import SoVITSConfig
from voiceclone.report.listening_test import collect
from voiceclone.serving.access import KeyFile
from voiceclone.serving.catalogue import Catalogue
from voiceclone.sound.channels import read_voice
from voiceclone.sound.io import read_audio, read_comment
from voiceclone.speaking.batch import Defaults, read_jobs
from voiceclone.speaking.encoders import EncoderFiles
from voiceclone.stages.takes import TakesSettings
from voiceclone.text.lexicon import read_lexicon

REPOSITORY = Path(__file__).resolve().parents[2]
MEMORY = 3 << 30  # bytes beyond what the test has when it begins


@dataclass(frozen=True)
class Reader:
    """A kind of files.

    Attributes:
        name: of the file.
        read: reads it; all that it may raise is an error of ours.
        seeds: files that are in order.
        values: contents that are in order, written by ``write``; they are damaged as values.
        write: value to bytes.
        more: values to put into them.
        share: of the inputs of the others, where each takes long.
    """

    name: str
    read: Callable[[Path], object]
    seeds: tuple[bytes, ...] = ()
    values: tuple[Any, ...] = ()
    write: Callable[[Any], bytes] = lambda value: json.dumps(value).encode()
    more: tuple[Any, ...] = ()
    share: float = 1.0


# Voices

DESCRIPTION = {
    "format_version": 3, "voice": "anna", "target": "onnx-int8", "half": False, "languages": ["en"],
    "smoke_text": "Hello.", "sample_rate": 32000, "prior_channels": 192, "end_token": 1024, "steps_per_frame": 10,
    "cache": {"layers": 2, "heads": 2, "head_width": 16}, "pointer": {"layer": 1, "dim": 8, "guidance": 0.5},
    "vocoder": {"rates": [10, 8, 2, 2, 2], "dilations": [[1, 3, 5]]}, "prompt": True, "bert": False, "polyphones": "",
    "tokens_per_phone": {"en": 1.5}, "fingerprints": {"gpt": "a", "sovits": "b"}, "watermark": "00000000",
    "consent": {"scope": "release", "purposes": [], "languages": ["en"], "expires": "2099-12-31"},
    "consent_sha256": "0" * 64, "licence": "CC0", "files": {"latent.onnx": {"sha256": "0" * 64, "size": 0}},
    "encoders": {"content": {"name": "a", "file": "a.onnx", "sha256": "0" * 64, "size": 1, "licence": "MIT"}},
}  # fmt: skip


def read_loud(path: Path) -> None:
    read_styles(path.parent, {"styles": {"loud": {}}})


def read_voice_description(path: Path) -> None:
    """All that is done with ``bundle.json`` before its graphs are opened."""
    (path.parent / "latent.onnx").touch()
    description, folder = read_bundle(path)
    voice_number(description), in_words(description), digest({k: v["sha256"] for k, v in description["files"].items()})
    refusal(description, "serve", ["en"])
    files = EncoderFiles(folder, description, [folder])
    for purpose in files.listed:
        with suppress(VoiceCloneError):
            files.find(purpose)
    with suppress(VoiceCloneError):
        Catalogue([path.parent])
    (path.parent / "SHA256SUMS").write_text(f"0  {BUNDLE_FILE}\n")
    verify_bundle(path)


def safetensors(header: Any, data: bytes = bytes(64)) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


ARRAYS = {"tokens": np.arange(4), "phones": np.arange(4), "style": np.zeros((1, 8, 1), np.float32)}
HEADER = {
    "tokens": {"dtype": "I64", "shape": [4], "data_offsets": [0, 32]},
    "style": {"dtype": "F32", "shape": [1, 4, 1], "data_offsets": [32, 48]},
    "phones": {"dtype": "I64", "shape": [2], "data_offsets": [48, 64]},
    "__metadata__": {"kind": "gpt"},
}


def read_store(path: Path) -> None:
    store = open_store(path)
    assert isinstance(store.metadata, dict)
    for key in store:
        assert store.shape(key) == store[key].shape


def graph(raw: bool) -> bytes:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    whole = onnx.helper.make_tensor("b", onnx.TensorProto.INT64, [3], [1, 2, 300])
    half = onnx.numpy_helper.from_array(values.astype(np.float16), "c")
    floats = (
        onnx.numpy_helper.from_array(values, "a")
        if raw
        else onnx.helper.make_tensor("a", onnx.TensorProto.FLOAT, [2, 3], values.ravel().tolist())
    )
    made = onnx.helper.make_graph([], "g", [], [], [floats, whole, half])
    return onnx.helper.make_model(made).SerializeToString()


def read_graph(path: Path) -> None:
    weights = OnnxWeights(path)
    for name in weights:
        with suppress(VoiceCloneError):
            weights[name]


def public(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def public_values() -> tuple[Any, ...]:
    text = {f"model.{key}": value.half() for key, value in TextToSemantic(SMALL).state_dict().items()}
    config = {"model": {"head": 1, "n_layer": 1, "embedding_dim": 16, "EOS": 1024}, "data": {"max_sec": 54}}
    return (
        {"weight": text, "config": config, "info": "GPT-e15"},
        {"state_dict": text, "hyper_parameters": {"config": config}, "epoch": 1},
    )


#: The tensors by which a SoVITS generator and discriminators are told.
SPEECH = {
    "enc_p.text_embedding.weight": torch.zeros(8, 4), "dec.conv_pre.weight": torch.zeros(4, 4, 1),
    "ref_enc.fc.fc.weight": torch.zeros(4, 4), "enc_p.encoder_ssl.ffn_layers.0.conv_1.weight": torch.zeros(4, 4, 1),
    CODEBOOK: torch.zeros(4, 4), "dec.ups.0.weight_v": torch.zeros(4, 4, 4),
    "enc_p.encoder_text.attn_layers.0.x": torch.zeros(1),
    "discriminators.0.conv_post.weight_v": torch.zeros(1, 1, 1),
}  # fmt: skip
OWN = {"model": {"inter_channels": 4, "n_heads": 2, "n_layers": 1, "upsample_rates": [10, 8]}}


def read_speech(path: Path) -> None:
    for read in (read_public, read_sovits, read_discriminator):
        with suppress(VoiceCloneError):
            read(path)


#: Tensors that are small in a file and large in memory, or no weights at all.
TENSORS = (
    torch.zeros(1).half().expand(1 << 40), torch.zeros(0, 1 << 40), torch.zeros(()), torch.zeros(2, 2, 2, 2),
    torch.zeros(3, dtype=torch.complex64), torch.zeros(3, dtype=torch.int64), torch.full((3,), float("nan")),
)  # fmt: skip


SMALL = GPTConfig(dim=16, layers=1, heads=1, feed_forward=16, phones=20, codes=16, bert_dim=8)


def packed_seed() -> bytes:
    state = {key: value.half() for key, value in TextToSemantic(SMALL).state_dict().items()}
    return save_packed(state, {"kind": "gpt", "architecture": json.dumps(SMALL.to_dict())})


def packed_header(values: dict[str, Any]) -> bytes:
    metadata = {"kind": "gpt" if "bert_dim" in values else "sovits", "architecture": json.dumps(values)}
    return save_packed({"x": torch.zeros(1)}, metadata)


# Texts and tables

UTTERANCE = "a-0000490-0003090"
LIST = f"{UTTERANCE}.wav|anna|EN|Good morning.\nb.wav|anna|ZH|早上好。\n".encode()
CORRECTIONS = f"utterance\taction\tvalue\tnote\n{UTTERANCE}\ttext\tGood morning.\t\nb-0000000-0003000\tsplit\t1500\t\n"
SUBTITLES = "1\n00:00:00,000 --> 00:00:01,500\nGood morning.\n\n2\n00:00:02.000 --> 00:00:03.000\n<v Anna>Yes.\n"
TEXTGRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 3\ntiers? <exists>\nsize = 1\nitem []:\n'
    '    item [1]:\n        class = "IntervalTier"\n        name = "utterances"\n        xmin = 0\n        xmax = 3\n'
    '        intervals: size = 2\n            xmin = 0\n            xmax = 1.5\n            text = "Good morning."\n'
    '            xmin = 1.5\n            xmax = 3\n            text = ""\n'
)
LHOTSE = {
    "id": "a-0", "recording_id": "a", "start": 0.0, "duration": 1.5, "text": "Good morning.", "speaker": "anna",
    "language": "en", "supervisions": [{"recording_id": "a", "start": 0, "duration": 1, "text": "Yes."}],
    "recording": {"id": "a", "sources": [{"type": "file", "source": "a.wav"}], "sampling_rate": 16000},
}  # fmt: skip
TEXTS = {
    "a.list": (LIST,),
    "metadata.csv": (b"a|Good morning.|Good morning.\n", b"audio_file,text,start,end\na.wav,Hi,0,1\n"),
    "1-2.trans.txt": (b"1-2-0 GOOD MORNING\n",), "a.srt": (SUBTITLES.encode(), SUBTITLES.encode("utf-16")),
    "a.vtt": (b"WEBVTT\n\n" + SUBTITLES.encode(),), "a.TextGrid": (TEXTGRID.encode(), TEXTGRID.encode("utf-16")),
    "a.txt": (b"Good morning.\n", "早上好。".encode("gb18030")), "a.lab": (b"0 100 sil\n",),
    "supervisions.jsonl": (json.dumps(LHOTSE).encode(),),
    "cuts.jsonl.gz": (gzip.compress(json.dumps(LHOTSE).encode(), mtime=0),),
}  # fmt: skip


def read_layout(path: Path) -> None:
    list(LAYOUTS[layout_of(path)][1](path))


def read_beside_a_recording(path: Path) -> None:
    """The folder of a speaker with this file and a recording that it may speak of."""
    with suppress(VoiceCloneError):
        read_layout(path)
    sound = path.with_name("a.wav")
    if not sound.exists():
        soundfile.write(sound, np.zeros(100), 16000)
    take_inventory(path.parent, path.parent.parent / "inventory.tsv")


CONSENT = {
    "who": "Anna", "scope": "serve", "purposes": ["audiobook"], "languages": ["en"], "expires": "2099-12-31",
    "evidence": "consent.txt", "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}  # fmt: skip


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=False).encode()


def read_consent_beside(path: Path) -> None:
    path.with_name("consent.txt").touch()
    record_rights(path.parent, path.parent.parent / "rights.json")
    how_to_consent(path.parent)
    read_rights(path.parent)


def read_voice_yaml(path: Path) -> None:
    load_voice({"speakers_dir": str(path.parent.parent)}, REPOSITORY, path.parent.name)


CONFIG = {"language": "en", "slice": {"max_seconds": 10}, "clean": {"denoise": "never"}, "seed": 3}
KEY = {
    "id": "00aa", "name": "a", "sha256": "0" * 64, "voices": [], "formats": [], "per_minute": 1,
    "characters_per_day": 5, "concurrent": 1, "created": "", "revoked": "",
}  # fmt: skip
TEST = {
    "format": 1, "kind": "mos", "test": "t", "systems": ["a", "b"],
    "files": {"audio/1.flac": {"system": "a", "item": "x"}, "audio/2.flac": {"system": "b", "item": "x"}},
    "trials": [{"id": "t0", "text": "x", "files": ["audio/1.flac"]},
               {"id": "t1", "text": "x", "files": ["audio/2.flac"]}],
}  # fmt: skip
ANSWERS = {"test": "t", "listener": "anna", "answers": {"t0": {"audio/1.flac": 3}, "t1": {"audio/2.flac": 4}}}


def read_answers(path: Path) -> None:
    key = path.with_name("sound-key.json")
    key.write_text(json.dumps(TEST))
    collect(key, [path])


def read_test_key(path: Path) -> None:
    answers = path.with_name("sound-answers.json")
    answers.write_text(json.dumps(ANSWERS))
    collect(path, [answers])


def read_keys(path: Path) -> None:
    keys = KeyFile(path)
    keys.all()
    keys.find("vc-00aa-x")


def review(path: Path) -> None:
    """What the page sends, as the server checks it; pydantic's refusal is an answer 422 there."""
    try:
        said = Saved.model_validate(read_json(path))
    except ValueError:
        return
    save(path.with_name("anna.tsv"), said)


def read_spoken_record(path: Path) -> None:
    path.with_suffix("").touch()
    check_record(path.with_suffix(""))


RECORD = {"file": "a.wav", "sha256": CONSENT["sha256"], "voice": "0", "signature": "AAAA", "public_key": "AAAA"}
MANIFEST = {
    "name": "x", "kind": "y", "licence": "z", "digest": "0",
    "files": {"a.bin": {"size": 0, "sha256": CONSENT["sha256"]}},
}  # fmt: skip
REGISTRY = {
    "assets": {"x": {"kind": "spleeter", "licence": "MIT", "files": {"a": {"size": 1}}, "sources": [{"local": "a"}]}}
}


def read_asset(path: Path) -> None:
    path.with_name("a.bin").touch()
    open_asset(path)


# Sound


def sound(kind: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    wave = 0.1 * np.sin(np.arange(1600) / 5)
    soundfile.write(buffer, np.stack([wave, wave], 1), 16000, format=kind, subtype=subtype)
    return buffer.getvalue()


def read_sound(path: Path) -> None:
    with suppress(VoiceCloneError):
        read_audio(path)
    with suppress(VoiceCloneError):
        read_voice(path, 16000)


def intake(path: Path) -> None:
    """The whole first stage: nothing at all may come out of it."""
    results = path.parent.parent
    take_inventory(path.parent, results / "inventory.tsv")
    with suppress(VoiceCloneError):  # no recording at all
        ingest(
            path.parent, results / "takes.tsv", results / "rejected.tsv", TakesSettings(),
            inventory=results / "inventory.tsv",
        )  # fmt: skip


def zipped() -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.txt", "x" * 100)
        archive.writestr("c.txt", "y")
    return buffer.getvalue()


def tarred() -> bytes:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("a/b.txt")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    return buffer.getvalue()


def unpacked(path: Path) -> None:
    folder = path.with_name("unpacked")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with suppress(UnavailableError):  # the next source is asked
        unpack(path, folder)


def readers() -> Iterator[Reader]:
    yield Reader(BUNDLE_FILE, read_voice_description, (json.dumps(DESCRIPTION).encode(),), (DESCRIPTION,))
    yield Reader("reference.safetensors", read_reference, (save_safetensors(ARRAYS),), (HEADER,), safetensors)
    arrays, header = ({name if name[0] == "_" else f"loud/{name}": of[name] for name in of} for of in (ARRAYS, HEADER))
    yield Reader("styles.safetensors", read_loud, (save_safetensors(arrays),), (header,), safetensors)
    yield Reader("store.safetensors", read_store, (save_safetensors(ARRAYS),), (HEADER,), safetensors)
    sizes = SMALL.to_dict()
    yield Reader("gpt.safetensors", lambda path: read_packed(path, "gpt"), (packed_seed(),), (sizes,), packed_header)
    sizes = SoVITSConfig.nano(32, 16).to_dict()
    yield Reader("sovits.safetensors", lambda path: read_packed(path, "sovits"), (), (sizes,), packed_header, share=0.1)
    yield Reader("latent.onnx", read_graph, (graph(True), graph(False)))
    values = public_values()
    yield Reader("a.ckpt", read_gpt, (public(values[0]),), values, public, TENSORS, share=0.5)
    values = ({"weight": SPEECH, "config": OWN, "info": "8epoch"}, {"model": SPEECH, "iteration": 1})
    yield Reader("a.pth", read_speech, (public(values[0]),), values, public, TENSORS, share=0.3)
    yield Reader("a.list", read_list, (LIST,))
    for name, seeds in TEXTS.items():
        values = (LHOTSE,) if name.endswith("jsonl") else ()
        yield Reader(name, read_beside_a_recording, seeds, values)
    yield Reader("table.tsv", read_tsv, (b"a\tb\n1\t2\n",))
    yield Reader("anna.tsv", read_corrections, (CORRECTIONS.encode(),))
    yield Reader("en.tsv", lambda path: read_lexicon([path]), (b"word\tphones\nGIF\tJH IH1 F\n",))
    jobs = b"name\ttext\tseed\tspeed\treference\na\tHi.\t1\t1.0\ta.wav\n"
    yield Reader("jobs.tsv", lambda path: read_jobs(path, Defaults()), (jobs,))
    yield Reader("en.txt", read_sentences, (b"a\tGood morning.\n",))
    yield Reader("consent.yaml", read_consent_beside, (as_yaml(CONSENT), b"myself: true\n"), (CONSENT,), as_yaml)
    yield Reader("voice.yaml", read_voice_yaml, (as_yaml(CONFIG),), (CONFIG,), as_yaml, share=0.5)
    yield Reader("config.yaml", lambda path: load_config(file=path, root=REPOSITORY), (), (CONFIG,), as_yaml, share=0.5)
    yield Reader("assets.yaml", load_registry, (as_yaml(REGISTRY),), (REGISTRY,), as_yaml)
    yield Reader("asset.json", read_asset, (), (MANIFEST,))
    yield Reader("keys.json", read_keys, (json.dumps({"keys": [KEY]}).encode(),), ({"keys": [KEY]},))
    saved = {"utterance": UTTERANCE, "old": [], "rows": [{"utterance": UTTERANCE, "action": "text", "value": "Hi."}]}
    yield Reader("review.json", review, (), (saved,))
    yield Reader("answers.json", read_answers, (), (ANSWERS,))
    yield Reader("key.json", read_test_key, (), (TEST,))
    yield Reader("a.wav.json", read_spoken_record, (json.dumps(RECORD).encode(),), (RECORD,))
    yield Reader("runs.jsonl", read_jsonl, (b'{"a": 1}\n{"b": [2]}\n',))
    yield Reader("a.zip", unpacked, (zipped(),))
    yield Reader("a.tar.gz", unpacked, (tarred(),))
    seeds = (sound("WAV", "PCM_16"), sound("WAV", "FLOAT"), sound("AIFF"), sound("FLAC"), sound("OGG"), sound("MP3"))
    yield Reader("a.wav", read_sound, seeds, share=0.25)
    yield Reader("b.wav", read_comment, seeds, share=0.05)
    yield Reader("c.mp3", intake, seeds, share=0.04)


READERS = list(readers())


@pytest.fixture(scope="module", autouse=True)
def little_memory() -> Iterator[None]:
    """An address space not much larger than what is in use."""
    torch.zeros(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: f"{reader.name}-{READERS.index(reader)}")
def test_whatever_is_in_a_file_only_our_errors_come_out(reader: Reader, tmp_path: Path) -> None:
    folder = tmp_path / "anna"
    strategies = [damaged(seed) for seed in reader.seeds]
    strategies += [reshaped(value, reader.more) for value in reader.values]
    count = max(1, int(settings().max_examples * reader.share))

    @settings(max_examples=count, suppress_health_check=list(HealthCheck))
    @given(st.one_of(strategies))
    def check(content: Any) -> None:
        if not isinstance(content, bytes):
            with suppress(UnicodeEncodeError, TypeError, yaml.YAMLError):  # nobody can write it
                content = reader.write(content)
        if not isinstance(content, bytes):
            return
        folder.mkdir(exist_ok=True)
        path = folder / reader.name
        path.write_bytes(content)
        with suppress(VoiceCloneError):
            reader.read(path)

    check()


def test_the_files_are_in_order_before_they_are_damaged(tmp_path: Path) -> None:
    """Else the readers would stop at the same first check whatever is in them."""
    refused = []
    for number, reader in enumerate(READERS):
        for seed in (*reader.seeds, *map(reader.write, reader.values)):
            path = tmp_path / str(number) / "anna" / reader.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(seed)
            try:
                reader.read(path)
            except VoiceCloneError as error:
                refused.append(f"{reader.name}: {error.message}")
    expected = ("damaged files", "not the whole of", "")
    assert not [line for line in refused if not any(part in line for part in expected[:2])], refused
