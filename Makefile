# The user's door. Every target does the set-up it needs: on a fresh machine `make bench` alone works.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python

VARIANTS ?= all
DATASETS ?= mnist
SEEDS ?= 0
PROFILE ?=
JOBS ?=
RESULTS ?= results
REPORTS ?= reports
DATA_ROOT ?=
# Hydra overrides for every cell, e.g. OVERRIDES="network.latent_size=8 training.epochs=3"
OVERRIDES ?=
# RETRY=1 runs failed and diverged cells again.
RETRY ?=
# DRY=1 prints the plan; TIMEOUT=600 stops a cell after so many seconds; TRACKER=tensorboard writes its events.
DRY ?=
TIMEOUT ?=
TRACKER ?=
# LAUNCHER=processes, slurm, slurm_local or ray_cluster: who runs the cells, in place of JOBS.
LAUNCHER ?=
# make report HTML=1 writes one self-contained page, too; BASELINE=folder marks what changed against earlier results.
HTML ?=
BASELINE ?=
TABLE ?= -
# make reproduce TARGETS=burda-vae-1,jang-gumbel BUDGET=full; make verify RUN=<run-id>
TARGETS ?= all
BUDGET ?= reduced
RUN ?=
PEERS ?= .venv-peers/bin/python

export VAE_DATA_ROOT := $(or $(DATA_ROOT),$(VAE_DATA_ROOT))

.DEFAULT_GOAL := help
.PHONY: help setup data bench report results reproduce verify publish speed peers list test test-slow lint format clean

help:            ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

# The stamp stands for "this virtual environment holds what pyproject.toml and constraints.txt say".
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

# What the tests need beyond that: the optional launchers, trackers and formats.
$(VENV)/.tested: $(VENV)/.installed
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[dev,joblib,slurm,tensorboard,parquet]"
	@touch $@

setup: $(VENV)/.installed  ## create .venv with the pinned dependencies

data: setup      ## fetch and verify DATASETS
	@$(PY) -m benchmarks data --datasets "$(DATASETS)"

bench: setup     ## train, evaluate, record and report VARIANTS on DATASETS for SEEDS
	@$(PY) -m benchmarks bench --variants "$(VARIANTS)" --datasets "$(DATASETS)" --seeds "$(SEEDS)" \
		--profile "$(PROFILE)" --jobs "$(JOBS)" --results "$(RESULTS)" --reports "$(REPORTS)" \
		--timeout "$(TIMEOUT)" --tracker "$(TRACKER)" --launcher "$(LAUNCHER)" \
		$(if $(RETRY),--retry) $(if $(DRY),--dry) $(OVERRIDES)

report: setup    ## regenerate REPORTS from RESULTS
	@$(PY) -m benchmarks report --results "$(RESULTS)" --reports "$(REPORTS)" \
		$(if $(BASELINE),--baseline "$(BASELINE)") $(if $(HTML),--html)

results: setup   ## all records as one table, into TABLE (.csv or .parquet)
	@$(PY) -m benchmarks results --results "$(RESULTS)" $(if $(filter %.parquet,$(TABLE)),--parquet,--csv) "$(TABLE)"

reproduce: setup ## run the recipes of paper TARGETS with BUDGET full, reduced or ablation
	@$(PY) -m benchmarks reproduce --targets "$(TARGETS)" --budget "$(BUDGET)" --jobs "$(JOBS)" \
		--results "$(RESULTS)" --reports "$(REPORTS)" --timeout "$(TIMEOUT)" $(if $(RETRY),--retry) $(if $(DRY),--dry)

verify: setup    ## train and evaluate the record RUN again and compare
	@$(PY) -m benchmarks verify "$(or $(RUN),$(error which record? make verify RUN=<run-id>))" --results "$(RESULTS)"

publish: setup   ## copy your records that ended well to RESULTS/reference
	@$(PY) -m benchmarks publish --results "$(RESULTS)"

speed: setup     ## measure the loop beside a hand-written one and pythae, into REPORTS/speed.md
	@$(PY) -m benchmarks speed --reports "$(REPORTS)" $(if $(wildcard $(PEERS)),--peers $(PEERS))

# pythae in an environment of its own; the torch that it runs on is the suite's.
peers: setup     ## make the environment of the peers that `make speed` measures
	@$(PYTHON) -m venv .venv-peers
	@$(PY) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		"$$(.venv-peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/suite.pth"
	@.venv-peers/bin/python -m pip install --quiet pythae==0.1.2

list: setup      ## show registered variants, data sets and profiles
	@$(PY) -m benchmarks list

# A process a core (tests/conftest.py says how many). Work is stolen, because a few tests take as long as hundreds of
# others: by file, one process would end long after the rest. A single file is quicker without: pytest tests/FILE.
PARALLEL := -n auto --dist worksteal

test: setup $(VENV)/.tested  ## the fast tests
	@$(PY) -m pytest $(PARALLEL)

test-slow: setup $(VENV)/.tested  ## every test, the long ones too
	@$(PY) -m pytest $(PARALLEL) -m "slow or not slow"

lint: setup      ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: setup    ## let ruff rewrite the files
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:           ## remove caches, never data or results
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
