"""What would run and why, and what a file was made from: read from files, in a second, without the workflow engine.

At its start each run writes ``results/graph.json``: every job with its inputs and outputs. Held against the contents
that were recorded at the end of the run (``results/contents.tsv``) and against the settings and revisions of now, it
says which stages the same command would run again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from voiceclone.config.config import Config
from voiceclone.errors import DataError
from voiceclone.files import Row, read_json, read_tsv, sha256_file, write_json
from voiceclone.lineage.fingerprint import flatten
from voiceclone.lineage.handover import FOLDER, recorded, settings_file
from voiceclone.lineage.provenance import assets_used
from voiceclone.lineage.revisions import revisions

GRAPH = Path("results/graph.json")


@dataclass(frozen=True)
class Job:
    """A job of the workflow.

    Attributes:
        stage: name of its rule.
        inputs: files, from the working folder.
        outputs: the same.
        benchmark: table of the time that it took; empty: none.
        revision: of the stage when it was planned; empty: it has none.
    """

    stage: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    benchmark: str = ""
    revision: str = ""

    def seconds(self, root: Path) -> float | None:
        """How long it took last time."""
        path = root / self.benchmark
        rows = read_tsv(path) if self.benchmark and path.is_file() else []
        try:
            return float(rows[-1]["s"]) if rows else None
        except (KeyError, ValueError):
            return None


def record_graph(root: Path, jobs: Iterable[Job]) -> None:
    """Add the jobs of a run to those that are known; a job takes the place of those that wrote one of its files."""
    now = [job for job in jobs if job.outputs]
    written = {file for job in now for file in job.outputs}
    before = [job for job in read_graph(root) if written.isdisjoint(job.outputs)]
    write_json(root / GRAPH, [asdict(job) for job in [*before, *now]])


def read_graph(root: Path) -> list[Job]:
    """The jobs of all runs; none before the first, or where the file is damaged."""
    try:
        return [Job(**job) for job in read_json(root / GRAPH)] if (root / GRAPH).is_file() else []
    except (DataError, TypeError):
        return []


def explain_voice(root: Path, name: str, config: Config, changed: Mapping[str, str]) -> list[dict[str, Any]]:
    """The jobs of a voice in their order, with the reasons why each would run; none: it is up to date.

    Args:
        root: the working folder.
        name: of the voice.
        config: of the voice, now.
        changed: inputs that are not what the last run saw, with the reason: those that a run writes before it plans.
    """
    place = f"results/{name}/"
    jobs = _in_order([job for job in read_graph(root) if any(file.startswith(place) for file in job.outputs)])
    contents, made = recorded(root), dict[str, str]()
    found = list[dict[str, Any]]()
    for job in jobs:
        read = [file for file in job.inputs if file not in made]
        reasons = [*_outputs(root, job), *_inputs(root, read, contents, changed), *_settings(root, job, config)]
        reasons += [f"new: {file}" for file in _new_files(root, name, job)]
        after = sorted({made[file] for file in job.inputs if file in made})
        reasons += [f"after {stage}" for stage in after]
        if reasons:
            made |= dict.fromkeys(job.outputs, job.stage)
        found.append({"stage": job.stage, "output": job.outputs[0], "reasons": reasons, "seconds": job.seconds(root)})
    return found


def _in_order(jobs: Sequence[Job]) -> list[Job]:
    """Jobs after those whose outputs they read."""
    maker = {file: job for job in jobs for file in job.outputs}
    done: dict[str, Job] = {}

    def visit(job: Job) -> None:
        if job.outputs[0] in done:
            return
        for file in job.inputs:
            if file in maker and maker[file] is not job:
                visit(maker[file])
        done[job.outputs[0]] = job

    for job in jobs:
        visit(job)
    return list(done.values())


def _outputs(root: Path, job: Job) -> Iterator[str]:
    missing = [file for file in job.outputs if not (root / file).is_file()]
    if missing:
        yield f"missing: {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")


def _inputs(root: Path, files: Iterable[str], contents: Mapping[str, Row], changed: Mapping[str, str]) -> Iterator[str]:
    for file in files:
        if file.startswith(FOLDER):
            continue
        if file in changed:
            yield changed[file]
        elif not (root / file).is_file():
            yield f"missing: {file}"
        elif file in contents and not _same(root / file, contents[file]):
            yield f"changed: {file}"


def _same(path: Path, row: Row) -> bool:
    status = path.stat()
    if status.st_size != int(row["size"]):
        return False
    return status.st_mtime_ns == int(row["time_ns"]) or sha256_file(path) == row["sha256"]


def _settings(root: Path, job: Job, config: Config) -> Iterator[str]:
    """Other settings, key by key, and another revision."""
    now = str(revisions().get(job.stage, job.revision))
    if job.revision and now != job.revision:
        yield f"the code of the stage changed: revision {job.revision} to {now}"
    own = next((file for file in job.inputs if file.startswith(f"{FOLDER}/{job.stage}-")), None)
    if own is None or job.stage not in revisions():
        return
    settings = json.loads(config.settings(job.stage))
    if own == settings_file(f"{job.stage}-{now}", settings):
        return
    before = dict(flatten(read_json(root / own))) if (root / own).is_file() else None
    after = dict(flatten(settings))
    if before is None:
        yield "settings changed"
    for key in sorted(after if before is not None else ()):
        if before is not None and before.get(key) != after[key]:
            yield f"setting {key}: {before.get(key)} to {after[key]}"


def _new_files(root: Path, name: str, job: Job) -> Iterator[str]:
    """Files of the user that were not there when the job was planned."""
    patterns = {"corpus": f"config/corrections/{name}.tsv", "features": "config/lexicon/*.tsv"}
    for path in sorted(root.glob(patterns.get(job.stage, ".none"))):
        if (file := path.relative_to(root).as_posix()) not in job.inputs:
            yield file


def explain_file(root: Path, path: Path) -> dict[str, Any]:
    """What made a file below ``results``: the stage, when, how long, its inputs, and the stages and models before.

    Raises:
        DataError: no run that is recorded made it.
    """
    try:
        file = path.resolve().relative_to(root.resolve()).as_posix()
    except (ValueError, RuntimeError, OSError) as error:  # outside, or a link to itself
        raise DataError(f"{path}: lies outside {root.resolve()}", "give a file below results") from error
    jobs = read_graph(root)
    job = _maker(jobs, file)
    if job is None or not (root / file).exists():
        raise DataError(f"{path}: no recorded run made it", "give a file below results that a stage wrote")
    before = _ancestors(jobs, job)
    inputs = {name for one in [job, *before] for name in one.inputs}
    assets = sorted(root / name for name in inputs if name.endswith("/asset.json") and (root / name).is_file())
    stamp = datetime.fromtimestamp((root / file).stat().st_mtime, UTC).isoformat(timespec="seconds")
    return {
        "file": file,
        "stage": job.stage,
        "made": stamp,
        "seconds": job.seconds(root),
        "revision": job.revision,
        "inputs": list(job.inputs),
        "before": [one.stage for one in before],
        "recordings": _recordings(root, file),
        "models": assets_used(assets),
        "trained": _trained(root, file, {one.stage for one in before}),
    }


def _maker(jobs: Iterable[Job], file: str) -> Job | None:
    """The job that wrote a file: as an output, or beside one, in the deepest of the folders of outputs."""
    folders: dict[str, Job] = {}
    for job in jobs:
        if file in job.outputs:
            return job
        folders |= {Path(output).parent.as_posix() + "/": job for output in job.outputs}
        folders |= {f"results/{Path(output).parts[1]}/state/{job.stage.removeprefix('train_')}/": job
                    for output in job.outputs if job.stage.startswith("train_")}  # fmt: skip
    inside = [folder for folder in folders if file.startswith(folder) and folder.count("/") > 2]
    return folders[max(inside, key=len)] if inside else None


def _ancestors(jobs: Iterable[Job], job: Job) -> list[Job]:
    """The jobs that a job waits for, the first ones first."""
    order = _in_order(list(jobs))
    wanted, found = {*job.inputs}, []
    for one in reversed(order):
        if one is not job and wanted & {*one.outputs}:
            wanted |= {*one.inputs}
            found.append(one)
    return found[::-1]


def _recordings(root: Path, file: str) -> list[dict[str, str]]:
    """The recordings that a file was made of: the one in its name, else all of the voice."""
    table = root / "results" / Path(file).parts[1] / "takes.tsv"
    takes = read_tsv(table) if table.is_file() else []
    named = [take for take in takes if take["take"] in file]
    return [{key: take[key] for key in ("take", "file", "sha256")} for take in named or takes]


def _trained(root: Path, file: str, before: set[str]) -> dict[str, dict[str, Any]]:
    """The trainings that a file comes from."""
    voice = root / "results" / Path(file).parts[1]
    reports = {kind: voice / "trained" / f"{kind}.json" for kind in ("gpt", "sovits")}
    kept = ("fingerprint", "step", "started", "consent_sha256")
    return {
        kind: {key: value for key, value in read_json(path).items() if key in kept}
        for kind, path in reports.items()
        if path.is_file() and (f"train_{kind}" in before or f"/{kind}" in file)
    }
