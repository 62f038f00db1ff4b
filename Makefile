# Every target sets up what it needs; `make` alone lists them.
SHELL := bash
PYTHON ?= python3
BIN := .venv/bin
CORES ?= all
# Several processes of one thread each are far faster on small models than one process of several threads.
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false
# The rules call `reinduce`: this environment's own, also where another one is active.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Progress only: the reasons would list every file of a job.
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES) --scheduler greedy --quiet host reason

.DEFAULT_GOAL := help
.PHONY: help env reproduce smoke test test-slurm bench report lint clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

env: .venv/complete  ## build .venv from envs/lock.txt

.venv/complete: envs/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"reinduce needs Python 3.11 or newer, {sys.executable} is {v[0]}.{v[1]}; try: make env PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

reproduce: env  ## everything at the configured scale, then the ledger (about an hour on two cores)
	@$(BIN)/reinduce check
	$(SNAKEMAKE)
	@$(BIN)/reinduce show
	@$(BIN)/reinduce compare || echo "This run and results/reference differ, or cannot be compared; the differences are listed above."

smoke: env  ## every rule at smoke scale, into results/smoke (minutes)
	$(SNAKEMAKE) --config scale=smoke
	@$(BIN)/reinduce show --results results/smoke

test: env  ## the whole test suite, the smoke-scale workflow included
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slurm"

test-slurm: env  ## the same workflow, and failures of jobs and nodes, on a SLURM cluster on this machine (needs SLURM)
	$(BIN)/python -m pytest -n 3 --dist loadfile tests/slurm

# All weights are random, so nothing is downloaded. Warnings of the peers' own code do not stop the comparison.
bench: export HF_HUB_OFFLINE := 1
bench: .venv-bench/complete  ## this project compared with its peers: a table, and results/benchmarks.json (minutes)
	.venv-bench/bin/python -m pytest -q -W default tests/peers
	.venv-bench/bin/python -m benchmarks.run

.venv-bench/complete: envs/bench.txt pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r envs/bench.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

report: env  ## results/report.html: Snakemake's own report, with captions, rules and timings
	$(SNAKEMAKE)
	$(SNAKEMAKE) --report results/report.html

lint: env  ## ruff, snakefmt, codespell, import-linter (and the imports of studies), mypy, snakemake --lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/codespell
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q --noconftest tests/test_study_imports.py
	$(BIN)/mypy
	$(BIN)/python .ci/lint_workflow.py

clean:  ## remove results and Snakemake's records of them; keep the environment and results/reference
	find results -mindepth 1 -maxdepth 1 ! -name reference -exec rm -rf {} +
	rm -rf .snakemake
