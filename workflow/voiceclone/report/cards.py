"""What goes with a voice: a card per bundle, a datasheet of the corpus, and an RO-Crate of the whole.

Cards follow Mitchell et al. (2019), the datasheet Gebru et al. (2021). The crate is a Process Run Crate 0.5: files of
``results/NAME``, and an action for each job that made some of them.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from voiceclone import __version__
from voiceclone.evaluation.metrics import METRICS
from voiceclone.files import markdown_table, read_json, sha256_file, write_json, write_text
from voiceclone.lineage.explain import Job, read_graph
from voiceclone.lineage.rights import GENERATED_NOTICE, NONE_GIVEN, in_words
from voiceclone.report.trends import figures_of, main_part

CRATE = "ro-crate-metadata.json"
CARD = "README.md"
DATASHEET = "datasheet.md"
PROCESS_RUN = "https://w3id.org/ro/wfrun/process/0.5"
_COMPARED = ("recordings", "torch-fp32")
_TITLES = {metric.name: metric.title for metric in METRICS}
LIMITS = (
    "Figures are from few sentences, read alone; intervals say how sure they are. Numbers, names and abbreviations "
    "that a language's rules do not cover, languages that it was not trained on, shouting, whispering and singing were "
    "not measured. The watermark survives common conversions and is no hindrance to who wants it gone."
)


def write_cards(results: Path, provenance: Mapping[str, Any]) -> None:
    """Write ``export/TARGET/README.md``, ``datasheet.md`` and ``ro-crate-metadata.json`` of a voice.

    Args:
        results: ``results/NAME``.
        provenance: its ``provenance.json``.
    """
    for target in provenance["exports"]:
        write_text(results / "export" / target / CARD, model_card(target, provenance))
    write_text(results / DATASHEET, datasheet(provenance))
    write_json(results / CRATE, crate(results, provenance))


def model_card(target: str, provenance: Mapping[str, Any]) -> str:
    """The card of a bundle, Markdown."""
    trainings = [_training(kind, model) for kind, model in provenance["models"].items() if model.get("fingerprint")]
    bundle, corpus = provenance["exports"][target]["bundle"], provenance["corpus"]
    trained, heldout = (corpus["splits"][name] for name in ("train", "heldout"))
    languages = [code for code, _ in corpus["languages"]]
    lines = [
        f"# {provenance['speaker']}, {target}", "",
        f"{GENERATED_NOTICE}. {provenance['notice']}", "",
        "## Who agreed to what", "",
        f"Consent: {in_words(bundle)}; sha256 of the file `{bundle.get('consent_sha256', NONE_GIVEN)}`. "
        f"Licence of the recordings: {_plain(bundle.get('licence', NONE_GIVEN))}.",
        f"Watermark: voice `{bundle.get('watermark', 'none')}`; `voiceclone verify FILE` finds it.", "",
        "## Data", "",
        f"{trained['seconds'] / 60:.1f} minutes in {trained['utterances']} utterances "
        f"of {', '.join(languages) or 'no language'}, of {len(provenance['inputs'])} recordings; "
        f"{heldout['utterances']} utterances were held out. See `../../{DATASHEET}`.", "",
        "## Measured", "", *_measured(target, provenance["evaluations"]), "",
        "## Limits", "", LIMITS, "",
        "## Made with", "", *_made_with(provenance["assets"]), "",
        f"Trainings: {', '.join(trainings) or 'none'}. "
        f"Code: version {provenance['code']['version']}, commit {provenance['code'].get('commit')}. "
        f"sha256 of bundle.json: `{provenance['exports'][target]['sha256']}`.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def datasheet(provenance: Mapping[str, Any]) -> str:
    """The datasheet of the corpus, Markdown; recordings by their digest, their names stay in ``takes.tsv``."""
    corpus, rights = provenance["corpus"], provenance["rights"]
    seconds = sum(take["seconds"] or 0 for take in provenance["inputs"])
    splits = [(name, one["utterances"], f"{one['seconds'] / 60:.1f}") for name, one in corpus["splits"].items()]
    people = "several people" if provenance.get("config", {}).get("group") else "one person"
    lines = [
        f"# Corpus of {provenance['speaker']}", "",
        "## Why and from whom", "",
        f"Recordings of {people}, from whom a voice was made. Consent: {in_words(rights)}; sha256 "
        f"`{rights.get('consent_sha256', NONE_GIVEN)}`. Licence: {_plain(rights.get('licence', NONE_GIVEN))}.", "",
        "## What it is made of", "",
        f"{len(provenance['inputs'])} recordings of {seconds / 60:.1f} minutes; {corpus['utterances']} utterances of "
        f"{corpus['shortest']:.1f} to {corpus['longest']:.1f} s, {corpus['seconds'] / 60:.1f} minutes.", "",
        *markdown_table(("language", "utterances"), corpus["languages"]), "",
        *markdown_table(("split", "utterances", "minutes"), splits), "",
        "## How it was made", "",
        "Separated from music, cleaned, brought to one loudness, sliced and transcribed by networks (below); texts "
        f"that a person corrected: {corpus['corrected']}. What was left out stands in `rejected.tsv` and "
        "`corpus/rejected.tsv`, each with its reason. Transcripts have errors of the recogniser; its median "
        f"probability of a word is {corpus['confidence'] if corpus['confidence'] is not None else 'not known'}.", "",
        *_made_with(provenance["assets"]), "",
        "## To whom it may go", "",
        "To nobody beyond the consent above. `voiceclone withdraw` removes a recording with all that was made of it.",
        "",
        "## Recordings", "",
        *markdown_table(("sha256", "seconds"), [(take["sha256"], take["seconds"]) for take in provenance["inputs"]]),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """A user's words inside Markdown: no markup of theirs counts."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>()#+!|&" else letter for letter in " ".join(text.split()))


def _measured(target: str, evaluations: Mapping[str, Mapping[str, Any]]) -> list[str]:
    shown = [name for name in (target, *_COMPARED) if name in evaluations and "by_kind" in evaluations[name]]
    if target not in shown:
        return ["Not measured."]
    parts = {name: main_part(evaluations[name]) for name in shown}
    figures = {name: figures_of(part) for name, part in parts.items()}
    rows = [
        (_TITLES.get(metric, metric), *(_cell(figures[name][metric]) for name in shown)) for metric in figures[target]
    ]
    sentences = parts[target].get("sentences")
    return [*markdown_table(("", *shown), rows), "", f"{sentences} sentences; intervals of 95 %."]


def _cell(value: Mapping[str, float] | None) -> str:
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})" if value else ""


def _made_with(assets: Iterable[Mapping[str, Any]]) -> list[str]:
    """The models that touched it, with their licences; those that want care before publishing are marked."""
    rows = []
    for asset in assets:
        licence = str(asset["licence"])
        care = " **(clear before you publish)**" if "none stated" in licence or "GPL" in licence else ""
        rows.append((asset["name"], asset["kind"], licence + care, asset["revision"] or asset["digest"]))
    return markdown_table(("model", "kind", "licence", "revision or digest"), rows)


def _training(kind: str, model: Mapping[str, Any]) -> str:
    return f"{kind} `{model.get('fingerprint')}` step {model.get('step')}, resumed {len(model['resume_points'])} times"


def crate(results: Path, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The RO-Crate of ``results/NAME``, JSON-LD; recordings and models outside of it are named by digest."""
    from rocrate.model import ContextEntity, SoftwareApplication
    from rocrate.rocrate import ROCrate

    made = ROCrate()
    made.name = f"Voice {provenance['speaker']}"
    made.description = provenance["notice"]
    made.license = provenance["rights"].get("licence", NONE_GIVEN)
    made.datePublished = datetime.fromisoformat(provenance["created"])
    profile = made.add(
        ContextEntity(made, PROCESS_RUN, {"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"})
    )
    made.root_dataset["conformsTo"] = [profile]
    program = made.add(
        SoftwareApplication(
            made,
            "#voiceclone",
            {
                "name": "voiceclone",
                "softwareVersion": __version__,
                "version": f"commit {provenance['code'].get('commit')}, code {provenance['code']['digest']}",
            },
        )
    )
    files = _Files(made, results)
    for take in provenance["inputs"]:
        files.name_recording(take["take"], take["sha256"])
    actions = []
    for job in read_graph(files.root):
        outputs = [file for file in job.outputs if _is_here(results, file)]
        if not outputs:
            continue
        objects = [files.entity(file, _about(results, file)) for file in job.inputs if (files.root / file).is_file()]
        if job.stage == "takes":
            objects += [files.known[take["take"]] for take in provenance["inputs"]]
        action = made.add_action(
            program,
            identifier=f"#{job.stage}-{outputs[0].replace('/', '-')}",
            object=objects,
            result=[files.entity(file, {}) for file in outputs],
            properties={
                "name": job.stage,
                **_times(results, job, outputs),
                "description": f"revision {job.revision or '-'}",
            },
        )
        actions.append(action)
    made.root_dataset["mentions"] = actions
    for path in sorted(results.glob("export/*/bundle.json")):
        files.entity(path.relative_to(files.root).as_posix(), {})
    return dict(made.metadata.generate())


class _Files:
    """Entities of the files of a crate.

    Args:
        crate: an ``ROCrate``.
        results: ``results/NAME``, whose files go into it.

    Attributes:
        root: the working folder, from which files are named.
        known: file or take -> its entity.
    """

    def __init__(self, crate: Any, results: Path) -> None:
        self._crate, self._results, self.root = crate, results, results.parent.parent
        self.known: dict[str, Any] = {}

    def name_recording(self, take: str, sha256: str) -> None:
        """A recording, by its digest alone."""
        self.known[take] = self._outside(f"recording-{sha256}", {"name": "recording", "sha256": sha256})

    def entity(self, file: str, properties: Mapping[str, Any]) -> Any:
        """The entity of a file below the results, or of one outside that is only named."""
        path = self.root / file
        if file not in self.known and path.is_relative_to(self._results):
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            about = {"sha256": sha256_file(path), "contentSize": str(path.stat().st_size), "encodingFormat": kind}
            place = path.relative_to(self._results).as_posix()
            self.known[file] = self._crate.add_file(path, place, properties={**about, **properties})
        elif file not in self.known:
            self.known[file] = self._outside(file.replace("/", "-"), {"name": path.name, **properties})
        return self.known[file]

    def _outside(self, name: str, about: Mapping[str, Any]) -> Any:
        from rocrate.model import ContextEntity

        return self._crate.add(ContextEntity(self._crate, f"#{name}", {"@type": "CreativeWork", **about}))


def _is_here(results: Path, file: str) -> bool:
    path = results.parent.parent / file
    return path.is_relative_to(results) and path.is_file()


def _about(results: Path, file: str) -> dict[str, Any]:
    """Licence and version of a pretrained model; the digest of any other file outside."""
    path = results.parent.parent / file
    if path.is_relative_to(results):
        return {}
    if path.name != "asset.json":
        return {"sha256": sha256_file(path)}
    asset = read_json(path)
    version = str(asset.get("revision") or asset["digest"])
    return {"name": asset["name"], "license": asset["licence"], "version": version}


def _times(results: Path, job: Job, outputs: Iterable[str]) -> dict[str, str]:
    root = results.parent.parent
    end = max((root / file).stat().st_mtime for file in outputs)
    seconds = job.seconds(root)
    times = {"endTime": end} | ({"startTime": end - seconds} if seconds is not None else {})
    return {name: datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for name, at in times.items()}
