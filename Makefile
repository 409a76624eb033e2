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

export VAE_DATA_ROOT := $(or $(DATA_ROOT),$(VAE_DATA_ROOT))

.DEFAULT_GOAL := help
.PHONY: help setup data bench report publish speed list test test-slow lint format clean

help:            ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

# The stamp stands for "this virtual environment holds what pyproject.toml and constraints.txt say".
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

setup: $(VENV)/.installed  ## create .venv with the pinned dependencies

data: setup      ## fetch and verify DATASETS
	@$(PY) -m benchmarks data --datasets "$(DATASETS)"

bench: setup     ## train, evaluate, record and report VARIANTS on DATASETS for SEEDS
	@$(PY) -m benchmarks bench --variants "$(VARIANTS)" --datasets "$(DATASETS)" --seeds "$(SEEDS)" \
		--profile "$(PROFILE)" --jobs "$(JOBS)" --results "$(RESULTS)" --reports "$(REPORTS)" \
		$(if $(RETRY),--retry) $(OVERRIDES)

report: setup    ## regenerate REPORTS from RESULTS
	@$(PY) -m benchmarks report --results "$(RESULTS)" --reports "$(REPORTS)"

publish: setup   ## copy your records that ended well to RESULTS/reference
	@$(PY) -m benchmarks publish --results "$(RESULTS)"

speed: setup     ## measure the loop beside a hand-written one, into REPORTS/speed.md
	@$(PY) -m benchmarks speed --reports "$(REPORTS)"

list: setup      ## show registered variants, data sets and profiles
	@$(PY) -m benchmarks list

test: setup      ## the fast tests
	@$(PY) -m pytest

test-slow: setup ## every test, the long ones too
	@$(PY) -m pytest -m "slow or not slow"

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
