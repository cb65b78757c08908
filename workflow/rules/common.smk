"""Helper functions of all rules: configuration, speakers, assets, targets. No rule stands here, no heavy import.

No text from people becomes part of a rule or of a command. Names of recordings, folders and values of the
configuration reach jobs in files (lineage/handover.py), and speakers, assets and languages are checked names.
"""

import json
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from voiceclone.assets import load_registry
from voiceclone.assets.fetch import forget_replaced
from voiceclone.assets.preflight import gpus_here
from voiceclone.config.load import VOICE_FILE, groups_of, resolve, resolve_student, resolve_voice
from voiceclone.stages import STAGES
from voiceclone.stages.teacher_speech import is_file
from voiceclone.corpus.corrections import record_cuts
from voiceclone.corpus.inventory import find_files, take_inventory
from voiceclone.corpus.gather import index_files
from voiceclone.errors import VoiceCloneError, explain
from voiceclone.files import FOLDERS, STUDENT, check_speaker, pattern_of
from voiceclone.lineage.handover import record_times, restore_times
from voiceclone.lineage.handover import Handover
from voiceclone.lineage.explain import Job, record_graph
from voiceclone.lineage.revisions import revisions
from voiceclone.lineage.rights import record_rights, spoken_evidence
from voiceclone.lineage.withdrawal import withdrawn_from
from voiceclone.lineage.runs import continue_hint, record_start, results_summary, use_this_python

use_this_python()

RUN_CONFIG = "results/config.json"
LANGUAGE = re.compile("[a-z]{2,3}")
# Paths that no shell and no executor takes for anything else, once they are quoted.
PLAIN = re.compile(r"[\w./][\w ./+@,=-]*")
BASELINES = ["recordings", "resynthesis", "torch-fp32"]
UNBUNDLED = [*BASELINES, "torch-fp16", "zero-shot"]
RUNTIME = "results/runtime.json"


def or_stop(function, *arguments):
    """Call a library function; its error is what the user reads, without a traceback."""
    try:
        return function(*arguments)
    except (VoiceCloneError, OSError) as error:
        if (known := explain(error)) is None:
            raise
        raise WorkflowError(str(known))


def find_speakers():
    """Names of the folders in speakers_dir, checked; limited by the configuration's list if it has one."""
    folder = Path(CONFIG.speakers_dir)
    found = sorted(path.name for path in folder.glob("*/") if not path.name.startswith("."))
    names = [name for name in found if not CONFIG.speakers or name in CONFIG.speakers]
    unknown = sorted(set(CONFIG.speakers) - set(found))
    if unknown:
        raise WorkflowError(f"speakers {unknown}: no such folder in {folder}; found {found}")
    if double := sorted(set(names) & set(GATHERED)):
        raise WorkflowError(f"{folder}/{double[0]}: that name is the gathered voice's; set corpora.voice to another")
    return [or_stop(check_speaker, name) for name in names]


def own_configs():
    """Configurations of the voices whose folder has a voice.yaml."""
    files = {name: Path(CONFIG.speakers_dir) / name / VOICE_FILE for name in SPEAKERS}
    presets = Path(workflow.basedir) / "config" / "presets"
    return {name: or_stop(resolve_voice, config, presets, path) for name, path in files.items() if path.is_file()}


def student_configs():
    """Configurations of the students: what a student changes, over its teacher's configuration."""
    presets, folder = Path(workflow.basedir) / "config" / "presets", Path(CONFIG.speakers_dir)
    own = {name: folder / teacher / VOICE_FILE for name, teacher in STUDENTS.items()}
    files = {path if path.is_file() else None for path in own.values()}  # most share one
    found = {path: or_stop(resolve_student, config, presets, path) for path in files}
    return {name: found[path if path.is_file() else None] for name, path in own.items()}


def measured(configuration):
    """What is measured under a configuration: the baselines and its targets."""
    return [*BASELINES, *configuration.evaluate.also, *configuration.export.targets]


def hand_over_config():
    """Give jobs on other machines the configuration as a file: as arguments, quotes in it would reach a shell."""
    if workflow.is_main_process:
        workflow.config_settings.config_args = []
        workflow.config_settings.configfiles = [Path(HANDOVER.settings("config", config))]


def without_recordings(folder):
    """Stop where a group's folder holds what belongs into a member's."""
    if found := next(find_files(folder), None):
        raise WorkflowError(f"{str(found)!r}: a group has no recordings of its own; move it to the folder of a member")


def prepare_plan():
    """What is done before each plan, in the process that makes it: look what is there, let times follow content."""
    if not workflow.is_main_process:
        return
    for name in SPEAKERS:
        lexicons_of(VOICES.get(name, CONFIG))  # a wrong folder stops here, not in an input function's traceback
        folder, results = Path(CONFIG.speakers_dir) / name, Path("results") / name
        if name in GROUPS:
            without_recordings(folder)
            continue
        withdrawn = or_stop(withdrawn_from, Path.cwd(), name)
        or_stop(take_inventory, folder, results / "inventory.tsv", withdrawn)
        or_stop(record_rights, folder, results / "rights.json", withdrawn)
        or_stop(record_cuts, Path("config/corrections") / f"{name}.tsv", results / "cuts.tsv")
    or_stop(forget_replaced, REGISTRY, Path("resources/models"))
    restore_times(Path.cwd())


CONFIG = or_stop(resolve, config, Path(workflow.basedir) / "config" / "presets")
HANDOVER = Handover(Path.cwd(), write=workflow.is_main_process)
REGISTRY = or_stop(load_registry, Path(workflow.basedir) / "config" / "assets.yaml")
ASSETS = REGISTRY.names()
GATHERED = [CONFIG.corpora.voice] if CONFIG.corpora.sources else []
SPEAKERS = find_speakers()
# A student is made where it is asked for; a speaker of that name has a voice of its own.
STUDENTS = {f"{name}{STUDENT}": name for name in SPEAKERS if f"{name}{STUDENT}" not in SPEAKERS}
VOICES = own_configs() | student_configs()
GROUPS = or_stop(groups_of, CONFIG, {name: VOICES[name] for name in SPEAKERS if name in VOICES}, SPEAKERS)
RECORDED = [name for name in SPEAKERS if name not in GROUPS]
EVALUATED = list(dict.fromkeys(name for one in [CONFIG, *VOICES.values()] for name in measured(one)))
GPUS = len(gpus_here())
TEACHERS = {teacher.name: teacher for teacher in CONFIG.teachers}


def config_of(wildcards):
    """The configuration of a voice: its own, or the common one."""
    return VOICES.get(getattr(wildcards, "speaker", ""), CONFIG)


def config_file(wildcards):
    """The file with the configuration of a voice, for the report."""
    return f"results/{wildcards.speaker}/config.json" if wildcards.speaker in VOICES else RUN_CONFIG


def evaluated(wildcards):
    """What is measured of a voice, in the order of the report's columns."""
    return measured(config_of(wildcards))


def candidates(wildcards):
    """How many checkpoints of each training are kept to choose from by ear."""
    select = config_of(wildcards).select
    return select.candidates if select.by == "ear" else 0


def alternatives(names):
    """Regular expression that matches these names and no other of the workflow."""
    return pattern_of(list(names), [*SPEAKERS, *GATHERED, *STUDENTS])


def settings(stage):
    """Input function: the file of the stage's settings for a voice, named by revision and content.

    As an input, so that a change reruns this stage alone; all are written here, so that none counts as left from
    before.
    """
    files = {
        id(one): HANDOVER.settings(f"{stage}-{revision(stage)}", json.loads(one.settings(stage)))
        for one in {id(one): one for one in [CONFIG, *VOICES.values()]}.values()  # most students share one
    }
    return lambda wildcards: files[id(config_of(wildcards))]


def revision(stage):
    """The stage's revision: a parameter, because the workflow engine does not see edits of library code."""
    return revisions()[stage]


def asset(*names):
    """Paths of the asset.json of these models; names that are empty are left out."""
    return [f"resources/models/{name}/asset.json" for name in names if name]


def stage_assets(stage):
    """Input function: paths of the asset.json of every model that the stage needs for a voice."""
    return lambda wildcards: asset(*config_of(wildcards).assets(stage))


def encoders(wildcards):
    """The exported encoders that go with a voice's bundles."""
    return [f"resources/encoders/{name}.json" for name in config_of(wildcards).encoders()]


def teacher_settings(wildcards):
    """File of one teacher's settings: after a change only the speech that depends on it is made again."""
    name = f"teacher_speech-{revision('teacher_speech')}-{wildcards.teacher}"
    return HANDOVER.settings(name, TEACHERS[wildcards.teacher].model_dump(mode="json"))


def teacher_inputs(wildcards):
    """A teacher's model, its text lists, and the sentences that it must not speak."""
    teacher = TEACHERS[wildcards.teacher]
    key = f"teachers {teacher.name!r}: texts"
    texts = [*named_files(key, filter(is_file, teacher.texts)), *asset(*teacher.text_assets())]
    spoken = [*sentences(wildcards), *selection_sentences(wildcards)]
    held_out = [*spoken, *(path for path in held_out_texts() if path not in texts)]
    return {"voice": asset(teacher.model), "texts": texts, "held_out": held_out}


def of_teacher(file):
    """Input function: a file of a student's teacher."""
    return lambda wildcards: f"results/{STUDENTS[wildcards.speaker]}/{file}"


def heard(file):
    """Input function: a table about recordings; students and groups have none of their own."""
    return lambda wildcards: (
        [] if wildcards.speaker in {*STUDENTS, *GROUPS} else [f"results/{wildcards.speaker}/{file}"]
    )


def evaluations_of_teacher(wildcards):
    """What a student is held against: the figures of its teacher's bundles."""
    teacher = STUDENTS.get(wildcards.speaker)
    return [f"results/{teacher}/eval/{target}/summary.json" for target in compared_with_teacher(teacher)]


def compared_with_teacher(teacher):
    """Bundles that both a voice and its student have."""
    own = VOICES.get(teacher, CONFIG).export.targets if teacher else []
    return [target for target in own if target in VOICES[f"{teacher}-student"].export.targets]


def own_corpus(wildcards):
    """The corpus of the speaker's recordings; a student's own also has what its teacher spoke."""
    return f"results/{STUDENTS.get(wildcards.speaker, wildcards.speaker)}/corpus/corpus.tsv"


def of_members(file):
    """Input function: a file of each member of a group."""
    return lambda wildcards: [f"results/{name}/{file}" for name in GROUPS[wildcards.speaker]]


def own_takes(wildcards):
    """The table of the speaker's recordings; the people of a gathered voice have none."""
    return [] if wildcards.speaker in GATHERED else [f"results/{wildcards.speaker}/takes.tsv"]


def student_texts(wildcards):
    """Lists of sentences that a teacher speaks for its student."""
    return named_files("student.speech.texts", config_of_student(wildcards).student.speech.texts)


def config_of_student(wildcards):
    """The configuration of a teacher's student."""
    return VOICES[f"{wildcards.voice}-student"]


def student_lexicons(wildcards):
    """The user's pronunciation tables for a teacher's student."""
    return lexicons_of(config_of_student(wildcards))


def student_assets(wildcards):
    """Paths of the asset.json of what a teacher speaks and is heard with."""
    return asset(*config_of_student(wildcards).assets("distill_texts"))


def student_speech(wildcards):
    """File of the settings of what a teacher speaks."""
    values = json.loads(config_of_student(wildcards).settings("distill_texts"))
    return HANDOVER.settings(f"distill_texts-{revision('distill_texts')}", values)


def held_out_texts():
    """Lists of sentences that no teacher speaks."""
    return plain("resources/texts", sorted(Path("resources/texts").glob("held-out-*.txt")))


def corrections(wildcards):
    """The speaker's table of corrections, where there is one."""
    return [str(path) for path in [Path("config/corrections") / f"{wildcards.speaker}.tsv"] if path.is_file()]


def consent(wildcards):
    """What the speaker has agreed to; the people of a gathered voice are covered by the licences of its sources."""
    return [] if wildcards.speaker in GATHERED else [f"results/{wildcards.speaker}/consent.json"]


def spoken_consent(wildcards):
    """Where the consent is spoken: what its speaker is compared with, how it is transcribed, the models of both."""
    if spoken_evidence(Path(CONFIG.speakers_dir) / wildcards.speaker) is None:
        return []
    models = asset("campplus", config_of(wildcards).models.asr)
    return [f"results/{wildcards.speaker}/corpus/corpus.tsv", settings("transcribe")(wildcards), *models]


def consent_is_given(wildcards):
    """The same for stages that other terms do not change: that it is there, whenever it was written."""
    return [ancient(path) for path in consent(wildcards)]


def given_texts(wildcards):
    """The table of texts that lie beside the speaker's recordings, where there are some."""
    return [str(path) for path in [Path("results") / wildcards.speaker / "given.tsv"] if path.is_file()]


def cuts(wildcards):
    """The corrections that split and merge utterances, where there are some."""
    return [str(path) for path in [Path("results") / wildcards.speaker / "cuts.tsv"] if path.is_file()]


def corpora_tables(wildcards):
    """The tables of the data sets and teachers that the gathered voice is made of."""
    sources = CONFIG.corpora.all_sources()
    return [file for one in sources for file in plain(f"corpora.sources {one.name!r}", or_stop(index_files, one))]


def named_files(key, paths):
    """Files that the configuration names under a key, once they are there."""
    found = plain(key, paths)
    for path in found:
        if not Path(path).is_file():
            raise WorkflowError(f"{key}: no file {path!r}; give paths as seen from {Path.cwd()}")
    return found


def plain(key, paths):
    """Paths that rules may name: executors put them on command lines, and not every one of them quotes."""
    found = [str(path) for path in paths]
    for path in found:
        if not PLAIN.fullmatch(path):
            raise WorkflowError(
                f"{key}: {path!r}: expected a path of letters, digits, blanks and . / _ - + @ , = that begins with no "
                "'-'; rename or move it"
            )
    return found


def languages_in(folder, ending):
    """The user's tables or texts of a folder, named after their language; another name is refused."""
    found = sorted(Path(folder).glob(f"*{ending}"))
    for path in found:
        if not LANGUAGE.fullmatch(path.stem):
            raise WorkflowError(f"{str(path)!r}: expected the name of a language, for example en{ending}; rename it")
    return plain("lexicon", found)


def lexicons(wildcards):
    """The user's pronunciation tables: for all voices, then those of this one."""
    return lexicons_of(config_of(wildcards))


def lexicons_of(configuration):
    """Those of a configuration."""
    folder = configuration.lexicon
    if folder and not Path(folder).is_dir():
        raise WorkflowError(f"lexicon: no folder {folder!r}; give a path as seen from {Path.cwd()}")
    return [*languages_in("config/lexicon", ".tsv"), *(languages_in(folder, ".tsv") if folder else [])]


def sentences(wildcards):
    """The fixed evaluation sentences, one file a language, and those of two languages."""
    found = sorted(Path("resources/sentences").glob("*.txt"))
    return [path.as_posix() for path in found if LANGUAGE.fullmatch(path.stem) or path.stem == "mixed"]


def selection_sentences(wildcards):
    """Sentences that are spoken for the choice of checkpoints alone."""
    return plain("resources/sentences", sorted(Path("resources/sentences/selection").glob("*.txt")))


def own_sentences(wildcards):
    """The user's lists of sentences to evaluate."""
    return named_files("evaluate.sentences", config_of(wildcards).evaluate.sentences)


def bundle(wildcards):
    """The exported bundle of a target; a baseline has none."""
    return (
        [] if wildcards.target in UNBUNDLED else [f"results/{wildcards.speaker}/export/{wildcards.target}/bundle.json"]
    )


def baseline(wildcards):
    """What a bundle is held against: the figures of the trained model."""
    return [] if wildcards.target in UNBUNDLED else [f"results/{wildcards.speaker}/eval/torch-fp32/metrics.tsv"]


def recorded(wildcards):
    """The figures of the speaker's recordings, beside which a bundle stands; the baselines need not wait for them."""
    return [] if wildcards.target in UNBUNDLED else [f"results/{wildcards.speaker}/eval/recordings/metrics.tsv"]


def all_voices(wildcards):
    """What the overview is made of; without any speaker it says where to put one."""
    if not SPEAKERS:
        raise WorkflowError(
            f"{CONFIG.speakers_dir}: no speaker there; make a folder {CONFIG.speakers_dir}/NAME with recordings of one "
            "person, or type 'make demo'"
        )
    return [f"results/{speaker}/provenance.json" for speaker in SPEAKERS]


def tokens_of_small(wildcards):
    """The semantic tokens, where SoVITS is trained on them and not on what they are made of."""
    small = config_of(wildcards).sovits.architecture == "small"
    return [f"results/{wildcards.speaker}/features/semantic.safetensors"] if small else []


def alignment(wildcards):
    """The phone of each token, where a training reads it."""
    return [f"results/{wildcards.speaker}/features/align.safetensors"] if config_of(wildcards).needs_alignment else []


def alignment_table(wildcards):
    """The tokens of each phone, where a training reads them."""
    return [f"results/{wildcards.speaker}/models/alignment.safetensors"] if config_of(wildcards).needs_alignment else []


def base_cards(wildcards):
    """The card of the gathered voice; without sources it says where to name some."""
    if not GATHERED:
        raise WorkflowError("corpora.sources: none are named; take --config preset=base, or name your own")
    return [f"results/{voice}/base_voice/card.md" for voice in GATHERED]


def per_speaker(pattern):
    """Input function: the pattern for each evaluated target of one speaker."""
    return lambda wildcards: [pattern.format(speaker=wildcards.speaker, target=name) for name in evaluated(wildcards)]


def parities(wildcards):
    """How far each bundle of a voice is from its trained model."""
    return [f"results/{wildcards.speaker}/export/{name}/parity.json" for name in config_of(wildcards).export.targets]


def growing(amount):
    """Resource function: so much, and as much again for each attempt that it was too little for; at most four times."""
    return lambda wildcards, attempt: amount * min(max(attempt, 1), 4)


def gpus(wildcards):
    """GPUs of a stage that can use one; a cluster's login node may have none: there runtime.device: cuda asks for one."""
    return 1 if CONFIG.runtime.device == "cuda" or (CONFIG.runtime.device == "auto" and GPUS) else 0


def gpus_of_training(wildcards):
    """GPUs of a training: one for each of its processes."""
    return gpus(wildcards) and (CONFIG.runtime.processes or max(1, GPUS))


def share_gpus():
    """On this machine no more stages use GPUs at a time than it has; --resources gpu=N says otherwise."""
    if workflow.is_main_process and workflow.local_exec and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", max(1, GPUS))


def half_of_the_cores(wildcards):
    """Threads of one training: the two of a voice are independent and run side by side."""
    return max(1, min(8, (workflow.cores or 2) // 2))


def several_cores(wildcards):
    """Threads of work that falls apart into processes: as many as there are, up to eight."""
    return min(8, workflow.cores or 2)


def untaken(names):
    """The speakers; stops where one is called like a stage or a folder, where 'snakemake NAME' could mean either."""
    taken = {*FOLDERS, *(stage.name for stage in workflow.rules)}
    for name in names:
        if name in taken:
            raise WorkflowError(
                f"speaker folder {name!r}: the workflow has a stage or a folder of this name; rename the folder, for "
                f"example to {name}-voice"
            )
    return names


def files_of_rules():
    """Every file that stages read or write, as far as it is there; no logs."""
    # The engine takes the time of a stage's benchmark for one of its outputs'.
    written = [path for stage in workflow.rules for path in [*stage.output, stage.benchmark] if path]
    patterns = {re.sub(r"(\{[^{}]*\})+", "*", str(path)) for path in written}
    own = ["config/corrections/*.tsv", "config/lexicon/*.tsv", "resources/sentences/**/*.txt"]
    taken = ["results/*/inventory.tsv", "results/*/given.tsv", "results/*/cuts.tsv", "results/*/rights.json"]
    found = {path.as_posix() for pattern in [*patterns, *own, *taken] for path in Path().glob(pattern)}
    named = {str(path) for planned in workflow.dag.jobs for path in planned.input}  # also what lies elsewhere
    return [*found, *named, *HANDOVER.files]


def job_of(planned):
    """What is recorded of a job: the files that it reads and writes."""
    inputs, outputs = (sorted(map(str, files)) for files in (planned.input, planned.output))
    revision = str(planned.params.get("revision", ""))
    return Job(planned.rule.name, inputs, outputs, str(planned.benchmark or ""), revision)


def record_run():
    """At the start of a run: what is present and missing, the effective configuration, one line of history."""
    asked = [name for name in STUDENTS if any(job.wildcards.get("speaker") == name for job in workflow.dag.jobs)]
    own = {name: one for name, one in VOICES.items() if name in [*SPEAKERS, *asked]}
    or_stop(record_start, CONFIG, Path.cwd(), [*SPEAKERS, *asked], own, workflow.local_exec)
    or_stop(record_graph, Path.cwd(), map(job_of, workflow.dag.jobs))
    record_times(Path.cwd(), files_of_rules())


def print_results():
    """At the end of a run: where the reports and samples lie."""
    HANDOVER.forget_others()
    record_times(Path.cwd(), files_of_rules())
    students = [name for name in STUDENTS if Path("results", name, "report.html").is_file()]
    print(results_summary(Path("results"), [*SPEAKERS, *students]))


def print_how_to_continue():
    """After a failure: which log to read and what to type."""
    record_times(Path.cwd(), files_of_rules())
    print(continue_hint(Path("results")))


hand_over_config()
prepare_plan()
share_gpus()
