#!/usr/bin/env bash
# Continue the training of the base voice on a bare machine with a GPU, python3 with torch, and no network.
#
#   tests/gpu/base.sh pack [OPTIONS]        here: make .gpu/base (features, Opus, networks) and .gpu/wheels; networks are
#                                           resources/base, or with '--states results/base/state' the newest of trainings
#                                           that go on
#   tests/gpu/base.sh train OUT [OPTIONS]   there: train, put packed networks, histories and logs into OUT (eight files)
#   tests/gpu/base.sh rehearse OUT          here: the same as there, 20 steps on the CPU
#
# Options are those of tests/gpu/base.py. OUT then goes to 'voiceclone base gates OUT' and 'voiceclone base install OUT'.
set -euo pipefail
cd "$(dirname "$0")/../.."
carried=.gpu/base
case ${1:-} in
pack)
    shift
    mkdir -p .gpu/wheels
    # What the trainings import beside torch, numpy, safetensors, yaml, filelock and tqdm; for the other machine's Python.
    python_there=${PYTHON_THERE:-3.12}
    .venv/bootstrap/bin/python -m pip download --quiet --no-deps --only-binary=:all: --dest .gpu/wheels \
        --python-version "$python_there" --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        $(sed -nE 's/^((pydantic|pydantic-core|annotated-types|typing-inspection|typing-extensions|soundfile|cffi|pycparser|soxr)==[^ ]+).*/\1/p' requirements.lock.txt)
    .venv/bin/python tests/gpu/base.py pack --output "$carried" "$@"
    du -sh .gpu
    ;;
train)
    out=$2
    shift 2
    site=$(mktemp -d)
    python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" .gpu/wheels/*.whl
    PYTHONPATH="$site:workflow" python3 tests/gpu/base.py train --carried "$carried" --output "$out" "$@"
    ls -l "$out"
    ;;
rehearse)
    OMP_NUM_THREADS=1 .venv/bin/python tests/gpu/base.py train --carried "$carried" --output "$2" --steps 20 \
        --seconds 330 --gpt-batch 1500 --sovits-batch 2 --threads 1
    ls -l "$2"
    ;;
*)
    sed -n '2,11s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
