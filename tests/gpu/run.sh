#!/usr/bin/env bash
# Correctness and speed on a GPU, at most 8 minutes, one JSON: tests/gpu/check.py says what.
#
#   tests/gpu/run.sh pack              here: make .gpu/wheels for a bare machine with python3, torch and no network
#   tests/gpu/run.sh there OUT [...]   there: the checks; the result is OUT/gpu.json
#   tests/gpu/run.sh here OUT [...]    here: the same with .venv, on the GPU if there is one, else tiny on the CPU
#
# Further options are those of tests/gpu/check.py. Keep what an H100 said as docs/benchmarks/gpu-DEVICE.json.
set -euo pipefail
cd "$(dirname "$0")/../.."
case ${1:-} in
pack)
    mkdir -p .gpu/wheels
    # What is imported beside torch, numpy, safetensors, yaml, filelock and tqdm; for the other machine's Python.
    .venv/bootstrap/bin/python -m pip download --quiet --no-deps --only-binary=:all: --dest .gpu/wheels \
        --python-version "${PYTHON_THERE:-3.12}" --implementation cp --platform manylinux_2_28_x86_64 \
        --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
        $(sed -nE 's/^((pydantic|pydantic-core|annotated-types|typing-inspection|typing-extensions|soundfile|cffi|pycparser|soxr|pytest|pluggy|iniconfig|packaging|pygments)==[^ ]+).*/\1/p' requirements.lock.txt)
    du -sh .gpu/wheels
    ;;
there)
    out=$2
    shift 2
    site=$(mktemp -d)
    python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" .gpu/wheels/*.whl
    PYTHONPATH="$site:$PWD:$PWD/workflow" exec python3 tests/gpu/check.py --output "$out/gpu.json" "$@"
    ;;
here)
    out=$2
    shift 2
    PYTHONPATH="$PWD:$PWD/workflow" exec .venv/bin/python tests/gpu/check.py --output "$out/gpu.json" "$@"
    ;;
*)
    sed -n '2,8s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
