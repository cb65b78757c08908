"""From a folder of recordings to a measured, exported voice: the stages in the order of the DAG."""

from snakemake.utils import min_version

from voiceclone.config.load import as_utf8

min_version("9.27")


configfile: as_utf8("config/config.yaml", copy="results/config.utf-8.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


wildcard_constraints:
    speaker=alternatives([*SPEAKERS, *GATHERED, *STUDENTS]),
    target=alternatives(EVALUATED),
    asset=alternatives(ASSETS),
    teacher=alternatives(list(TEACHERS)),


localrules:
    all,
    fetch_asset,
    consent,
    base_voice,
    teachers,
    report,
    collect_report,
    evaluate_all,


rule all:
    default_target: True
    input:
        "results/report/index.html",


include: "workflow/rules/assets.smk"
include: "workflow/rules/demo.smk"
include: "workflow/rules/teachers.smk"
include: "workflow/rules/takes.smk"
include: "workflow/rules/separate.smk"
include: "workflow/rules/clean.smk"
include: "workflow/rules/slice.smk"
include: "workflow/rules/transcribe.smk"
include: "workflow/rules/corpus.smk"
include: "workflow/rules/gather.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/align.smk"
include: "workflow/rules/train_sovits.smk"
include: "workflow/rules/train_gpt.smk"
include: "workflow/rules/student.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/export.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/base.smk"


onstart:
    record_run()


onsuccess:
    print_results()


onerror:
    print_how_to_continue()
