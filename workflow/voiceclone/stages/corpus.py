"""The corpus: which utterances are kept, and how they are split."""

from __future__ import annotations

import logging
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from voiceclone.stage import Stage, speaker_folder
from voiceclone.stages.settings import Block, RuntimeSettings

log = logging.getLogger(__name__)


class CorpusSettings(Block):
    """Limits for training utterances. Every limit can be overruled for one utterance by a correction."""

    tier: Literal["", "small", "zero-shot-small", "zero-shot", "few-shot", "full", "nano"] = Field(
        "",
        description="Preset whose amount of speech the other settings are made for: a warning appears when another one "
        "fits better, and zero-shot needs a clip of 3 to 10 s. Empty: not looked at.",
    )
    min_utterances: int = Field(10, ge=1, description="Fewer utterances left than this stop the run.")
    min_seconds: float = Field(30.0, ge=1, description="Less speech left than this, in seconds, stops the run.")
    min_utterance_seconds: float = Field(0.6, ge=0.1, le=10, description="Shorter utterances are left out, in seconds.")
    max_utterance_seconds: float = Field(20.0, ge=2, le=60, description="Longer utterances are left out, in seconds.")
    min_confidence: float = Field(
        0.5, ge=0, le=1, description="Utterances whose words have a lower mean probability are left out."
    )
    min_log_probability: float = Field(
        -1.0, ge=-10, le=0, description="Utterances with a lower mean log-probability per token are left out."
    )
    max_no_speech: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Utterances that the recogniser takes for no speech with a higher probability than this are left "
        "out, unless it was sure of the words (mean log-probability above -0.5).",
    )
    max_compression_ratio: float = Field(
        2.4, ge=1, le=10, description="Texts that compress better than this repeat themselves and are left out."
    )
    max_other_language: float = Field(
        0.8, ge=0, le=1, description="Utterances that sound like another language with this probability are left out."
    )
    min_letters_per_second: float = Field(
        3.0, ge=0, le=50, description="Slowest speaking rate of alphabetic languages, in letters and digits per second."
    )
    max_letters_per_second: float = Field(
        25.0,
        ge=1,
        le=100,
        description="Fastest speaking rate of alphabetic languages, in letters and digits per second.",
    )
    min_characters_per_second: float = Field(
        1.0, ge=0, le=50, description="Slowest speaking rate of Chinese, Japanese and Korean, in characters per second."
    )
    max_characters_per_second: float = Field(
        10.0,
        ge=1,
        le=100,
        description="Fastest speaking rate of Chinese, Japanese and Korean, in characters per second.",
    )
    judge: bool = Field(
        True,
        description="Noise, room, quality, voice, text and more are measured of every utterance and compared with the "
        "speaker's others: corpus/judgements.tsv. false: they are not.",
    )
    max_suspicion: float = Field(
        3.0,
        ge=1,
        le=100,
        description="Utterances that are more unlike the speaker's others than this are left out. From 1 on they are "
        "flagged as suspicious, and the proof-reading page begins with them.",
    )
    simplified_chinese: bool = Field(True, description="Write Chinese in simplified characters, as the phones need it.")
    heldout_share: float = Field(
        0.1, ge=0, le=0.5, description="Share of utterances that training never sees; they measure the voice."
    )
    min_heldout: int = Field(2, ge=0, le=100, description="Least utterances held out, however small the corpus is.")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--takes", type=Path, required=True, help="takes.tsv")
    parser.add_argument("--slices", type=Path, required=True, help="slices/manifest.tsv")
    parser.add_argument("--transcripts", type=Path, required=True, help="transcripts/manifest.tsv")
    parser.add_argument("--corrections", type=Path, nargs="?", help="config/corrections/SPEAKER.tsv, if there is one")
    parser.add_argument("--rejected-takes", type=Path, help="rejected.tsv of the intake")
    parser.add_argument(
        "--given", type=Path, nargs="?", help="given.tsv, texts beside the recordings, if there are any"
    )
    parser.add_argument("--assets", type=Path, nargs="*", default=[], help="asset.json of each model that judges")
    parser.add_argument("--texts", type=Path, help="folder of reading lists, whose phones are those of a language")
    parser.add_argument("--output-dir", type=Path, required=True, help="results/SPEAKER/corpus")


def run(args: Namespace, settings: CorpusSettings, runtime: RuntimeSettings) -> None:
    from voiceclone.assets import open_assets
    from voiceclone.corpus.build import build_corpus
    from voiceclone.corpus.judge import ClipJudge

    assets = open_assets(args.assets)
    judge = ClipJudge(assets, args.output_dir / "judged", runtime, args.threads) if settings.judge and assets else None
    build_corpus(
        args.takes,
        args.slices,
        args.transcripts,
        args.output_dir,
        settings,
        speaker=args.speaker,
        corrections=args.corrections,
        rejected_takes=args.rejected_takes,
        given=args.given,
        judge=judge,
        texts=args.texts,
    )


def models(config: Any) -> list[str]:
    return ["campplus", "dnsmos", "distillmos", config.models.asr] if config.corpus.judge else []


STAGE = Stage(
    "corpus", arguments, run, block="corpus", settings=CorpusSettings,
    about="What is kept, and how it is split.", models=models,
)  # fmt: skip


def consent_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="the speaker's folder; left out: --config says where it is")
    parser.add_argument("--rights", type=Path, required=True, help="rights.json: what the folder states")
    parser.add_argument("--config", type=Path, help="configuration of the run, results/config.json")
    parser.add_argument(
        "--spoken", type=Path, nargs="*", default=[], help="where the consent is spoken: corpus.tsv, settings of the "
        "transcribe stage, asset.json of campplus and of the recogniser",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="consent.json to write")


def check_consent(args: Namespace, settings: Block, runtime: RuntimeSettings) -> None:
    from voiceclone.files import write_json
    from voiceclone.lineage.rights import load_rights, require_consent, spoken_evidence

    rights, folder = load_rights(args.rights), speaker_folder(args)
    require_consent(rights, folder)
    notes, evidence = rights.as_notes(), spoken_evidence(folder)
    if evidence is not None:
        notes |= {"spoken": _heard(evidence, args, runtime)}
    write_json(args.output, notes)


def _heard(evidence: Path, args: Namespace, runtime: RuntimeSettings) -> dict[str, Any]:
    """What is said in a spoken consent, and by whom."""
    from voiceclone.assets import open_assets
    from voiceclone.corpus.spoken_consent import hear_consent
    from voiceclone.errors import ConfigError
    from voiceclone.listeners.campplus import SpeakerEncoder
    from voiceclone.listeners.recogniser import Recogniser
    from voiceclone.stage import parse_settings
    from voiceclone.stages.transcribe import TranscribeSettings

    if len(args.spoken) != 4:
        raise ConfigError(f"{evidence}: this consent is spoken, which needs --spoken", "run the workflow again")
    corpus, settings, *models = args.spoken
    encoder, recogniser = open_assets(models).values()
    listener = Recogniser(
        recogniser.folder, parse_settings(TranscribeSettings, str(settings)), runtime.device, args.threads
    )
    heard = hear_consent(evidence, corpus, listener, SpeakerEncoder(encoder))
    log.info("the consent says, in %s (similarity %.2f): %s", heard.language, heard.similarity, heard.text)
    return heard.as_notes()


CONSENT = Stage("consent", consent_arguments, check_consent)
