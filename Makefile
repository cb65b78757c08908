# make demo: the whole workflow on an embedded demo speaker.   make test: the tests.   make help: the rest.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
LOCK_HASH := $(shell sha256sum requirements.lock.txt pyproject.toml | sha256sum | cut -c1-16)
STAMP := $(VENV)/.installed-$(LOCK_HASH)
CORES ?= all

.DEFAULT_GOAL := help
.PHONY: help setup ffmpeg demo test test-slow fuzz test-kill test-slurm benchmark benchmark-peers bench-voice base-gates student lint format generate preflight lock clean-venv

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(STAMP) ## create or refresh .venv from the lock file

$(STAMP): requirements.lock.txt pyproject.toml
	@test "$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = 3.11 || { echo "Python 3.11 is needed and was not found (looked at '$(PYTHON)'): install it, for example 'apt install python3.11 python3.11-venv', or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	@echo "Setting up .venv from the lock file (about 6 GB, one to a few minutes) ..."
	@rm -f $(VENV)/.installed-*
	@test -x $(VENV)/bootstrap/bin/uv || { $(PYTHON) -m venv $(VENV)/bootstrap && $(VENV)/bootstrap/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); }
	@test -x $(BIN)/python || $(VENV)/bootstrap/bin/uv venv --quiet --allow-existing --python $(PYTHON) $(VENV)
	@$(VENV)/bootstrap/bin/uv pip sync --quiet --python $(BIN)/python requirements.lock.txt
	@$(VENV)/bootstrap/bin/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

clean-venv: ## remove .venv, so that setup installs it again
	rm -rf $(VENV)

ffmpeg:
	@command -v ffmpeg >/dev/null || { echo "ffmpeg is needed and was not found. Debian, Ubuntu: apt install ffmpeg; macOS: brew install ffmpeg; conda: conda install -c conda-forge ffmpeg"; exit 2; }

demo: ffmpeg setup ## make the demo speaker and run the whole workflow for it (about 8 minutes on 2 cores)
	$(BIN)/snakemake --cores $(CORES) --quiet host reason rules --config preset=demo -- demo_speaker
	$(BIN)/snakemake --cores $(CORES) --quiet host reason rules --config preset=demo

student: ffmpeg setup ## a small, fast student of a voice: make student NAME=anna
	$(BIN)/snakemake --cores $(CORES) --quiet host reason rules -- $(NAME)-student

test: ffmpeg setup ## all tests that every change must pass, two at a time (under an hour on 2 cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: ffmpeg setup ## full-size and long checks
	$(BIN)/python -m pytest -m slow

fuzz: ffmpeg setup ## 10,000 damaged files for each reader of files from elsewhere, others each time (hours)
	$(BIN)/python -m pytest --hypothesis-profile=fuzz tests/stages/test_foreign_files.py

test-kill: ffmpeg setup ## killed, or out of space, at every operation on files, and 1,000 kills of whole runs (many hours)
	$(BIN)/python -m pytest -m kill -s

ROUNDS ?= 1
test-slurm: setup ## what ends jobs on a cluster, on a throw-away SLURM (needs root and slurmctld, slurmd, munge); ROUNDS=6: 54 ends
	SLURM_TEST_ROUNDS=$(ROUNDS) tests/slurm/cluster.sh $(BIN)/python -m pytest -m slurm; status=$$?; [ $$status -eq 77 ] || exit $$status

benchmark: ffmpeg setup ## throughput and peak memory of every stage; speed of exported voices
	$(BIN)/python -m pytest -m benchmark -s

benchmark-peers: setup ## .venv-peers with other engines, and exported voices beside them
	@test -x .venv-peers/bin/python || $(VENV)/bootstrap/bin/uv venv --quiet --python $(PYTHON) .venv-peers
	@$(VENV)/bootstrap/bin/uv pip install --quiet --python .venv-peers/bin/python -r tests/benchmarks/peers/requirements.txt
	@$(VENV)/bootstrap/bin/uv pip install --quiet --python .venv-peers/bin/python --no-deps -r tests/benchmarks/peers/requirements-no-deps.txt
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks/test_inference_speed.py

bench-voice: ffmpeg setup ## what a minute, and a clip, of people whom the base voice has never heard gives (hours)
	$(BIN)/python -m pytest -m benchmark -s tests/benchmarks/test_bench_voice.py

PEOPLE ?=
comma := ,
empty :=
space := $(empty) $(empty)
base-gates: ffmpeg setup ## figures of the committed base voice on what it was not trained on; PEOPLE='FOLDER FOLDER' too
	$(BIN)/snakemake --cores $(CORES) --quiet host reason rules --configfile config/base-gates.yaml --config 'corpora={people: [$(subst $(space),$(comma)$(space),$(strip $(PEOPLE)))]}' -- results/base-gates/features/align.safetensors
	$(BIN)/voiceclone base gates --results results/base-gates --configfile config/base-gates.yaml

lint: setup ## ruff, mypy, snakefmt, snakemake --lint, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/python -m voiceclone.config.generate --check
	$(BIN)/snakemake --lint --config preset=demo

format: setup ## put the sources in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow/rules

generate: setup ## default.yaml, schema and manual from the configuration models
	$(BIN)/python -m voiceclone.config.generate

preflight: setup ## what is present and what is missing on this machine
	$(BIN)/voiceclone preflight

lock: ## compile requirements.lock.txt again from the extras of pyproject.toml
	$(VENV)/bootstrap/bin/uv pip compile --quiet --no-header --no-annotate --python-version 3.11 --override overrides.txt --extra dev -o requirements.lock.txt pyproject.toml
