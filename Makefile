# Targets that train or measure do the set-up they need: on a fresh machine `make bench` alone works. Targets that only
# read, such as report and list, need an environment that exists.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
# PY=/path/to/python uses that interpreter as it is: nothing is created or installed.
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VARIANTS ?= all
DATASETS ?= mnist
SEEDS ?= 0
PROFILE ?=
JOBS ?=
RESULTS ?= results
REPORTS ?= reports
DATA_ROOT ?=
# Hydra overrides for every run, separated by spaces: OVERRIDES="network.hidden=[64, 32] training.epochs=3"
OVERRIDES ?=
# RETRY=1 repeats runs that failed or diverged; RETRY=0 is as if it were not given, as are DRY=0 and HTML=0.
RETRY ?=
# DRY=1 prints the plan; TIMEOUT=600 stops a run after 600 seconds; TRACKER=tensorboard writes its events.
DRY ?=
TIMEOUT ?=
TRACKER ?=
# LAUNCHER=processes, slurm, slurm_local or ray_cluster: what executes the runs, in place of JOBS.
LAUNCHER ?=
# make report HTML=1 writes every page as HTML, too; BASELINE=folder marks what changed against earlier results.
HTML ?=
BASELINE ?=
TABLE ?= -
# make reproduce TARGETS=quick, or burda-vae-1,jang-gumbel BUDGET=full; make verify RUN=<run-id>
TARGETS ?= all
BUDGET ?=
RUN ?=
# make tune VARIANTS=vq_vae TRIALS=8 CRITERION=validation_elbo
TRIALS ?=
CRITERION ?=
PEERS ?= .venv-peers/bin/python

export VAE_DATA_ROOT := $(or $(DATA_ROOT),$(VAE_DATA_ROOT))

# $(call flag,jobs,JOBS) is --jobs='2' where JOBS is set, else nothing. In single quotes the shell leaves spaces,
# brackets and quotes alone.
quoted = '$(subst ','\'',$(1))'
flag = $(if $(strip $($(2))),--$(1)=$(call quoted,$($(2))))
# $(call switch,retry,RETRY) is --retry where RETRY is 1. Other values than 0 and 1 are refused.
switch = $(if $(filter-out 0 1,$($(2))),$(error $(2) must be 0 or 1, got $($(2))))$(if $(filter 1,$($(2))),--$(1))

# The settings that each target takes, beside those of make and DATA_ROOT, which is passed to every target.
SETTINGS_data := DATASETS
SETTINGS_bench := VARIANTS DATASETS SEEDS PROFILE JOBS RESULTS REPORTS OVERRIDES RETRY DRY TIMEOUT TRACKER LAUNCHER
SETTINGS_report := RESULTS REPORTS BASELINE HTML
SETTINGS_results := RESULTS TABLE
SETTINGS_reproduce := TARGETS BUDGET JOBS RESULTS REPORTS RETRY DRY TIMEOUT
SETTINGS_tune := VARIANTS DATASETS PROFILE TRIALS CRITERION RESULTS RETRY OVERRIDES
SETTINGS_verify := RUN RESULTS
SETTINGS_publish := RESULTS
SETTINGS_speed := REPORTS PEERS
SETTINGS_judges := DATASETS
SETTINGS_api := REPORTS

# Settings that may stand on the command line of make. Another one, and one that none of the targets takes, is refused,
# because make itself would ignore it.
SETTINGS := $(sort DATA_ROOT $(foreach target,$(filter SETTINGS_%,$(.VARIABLES)),$($(target))))
OF_MAKE := VENV PYTHON PY SHELL MAKE MAKEFLAGS GNUMAKEFLAGS MAKEFILES
given = $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
refused := $(firstword $(sort $(filter-out $(SETTINGS) $(OF_MAKE) MAKEOVERRIDES -%,$(given))))
ifneq ($(refused),)
nearest := $(shell $(PYTHON) -c "import difflib, sys; name, *known = sys.argv[1:]; \
	print(*difflib.get_close_matches(name.upper(), known, 1, 0.7))" $(call quoted,$(refused)) $(SETTINGS))
$(error unknown setting $(refused)$(if $(nearest),; did you mean $(nearest)?,: options of a variant, network or \
	training go into OVERRIDES="training.epochs=3") (allowed: $(SETTINGS)))
endif

.DEFAULT_GOAL := help
goals := $(or $(MAKECMDGOALS),help)
taken := $(sort $(foreach goal,$(goals),$(SETTINGS_$(goal))))
refused := $(firstword $(sort $(filter-out $(taken) DATA_ROOT,$(filter $(SETTINGS),$(given)))))
ifneq ($(refused),)
$(error setting $(refused) has no effect on make $(goals) (allowed: $(strip $(taken) DATA_ROOT)))
endif
.PHONY: help no-environment setup data bench report results reproduce tune verify publish speed peers judges api list test test-slow lint format clean

help:            ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

# setuptools advises developers of every editable installation; a user can do nothing about it.
EDITABLE := PYTHONWARNINGS="ignore:Editable installation" $(PY) -m pip install --quiet --constraint constraints.txt --editable

# The stamp stands for "this virtual environment holds what pyproject.toml and constraints.txt say". The file .checkout
# names the checkout that the environment was made for: installing from another one would point it there.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(PY) || { $(PYTHON) -m venv $(VENV) && echo $(call quoted,$(CURDIR)) > $(VENV)/.checkout; }
	$(PY) -m pip install --quiet --upgrade pip
	$(EDITABLE) ".[dev]"
	@touch $@

# What the tests need beyond that: the optional launchers, trackers and formats.
$(VENV)/.tested: $(VENV)/.installed
	$(EDITABLE) ".[dev,joblib,slurm,tensorboard,parquet,tune]"
	@touch $@

# An environment is ours to install into if it does not exist yet, lies in this checkout, or was made for it. Any other
# one is used as it is.
OURS := $(or $(if $(wildcard $(PY)),,new),$(filter $(CURDIR)/%,$(realpath $(VENV))),\
	$(filter $(CURDIR),$(shell cat $(VENV)/.checkout 2>/dev/null)))
INSTALLED := $(if $(filter command,$(firstword $(origin PY))),,$(if $(OURS),$(VENV)/.installed))
TESTED := $(if $(INSTALLED),$(VENV)/.tested)
# Targets that only read install nothing.
READY := $(if $(INSTALLED),$(if $(wildcard $(PY)),,no-environment))

no-environment:
	@echo "error: no virtual environment in $(VENV): run \`make setup\`, or use another interpreter with PY=/path/to/python" >&2
	@exit 2

setup: $(INSTALLED)  ## create .venv and install the pinned dependencies
ifeq ($(INSTALLED),)
	@$(if $(filter setup,$(MAKECMDGOALS)),echo "using $(PY) without installing anything",:)
endif

data: setup      ## download DATASETS and check their SHA-256
	@$(PY) -m benchmarks data $(call flag,datasets,DATASETS)

bench: setup     ## train and evaluate VARIANTS on DATASETS with SEEDS, and write the reports
	@$(PY) -m benchmarks bench $(call flag,variants,VARIANTS) $(call flag,datasets,DATASETS) $(call flag,seeds,SEEDS) \
		$(call flag,profile,PROFILE) $(call flag,jobs,JOBS) $(call flag,results,RESULTS) $(call flag,reports,REPORTS) \
		$(call flag,timeout,TIMEOUT) $(call flag,tracker,TRACKER) $(call flag,launcher,LAUNCHER) \
		$(call switch,retry,RETRY) $(call switch,dry,DRY) $(call flag,overrides,OVERRIDES)

report: $(READY) ## write the reports again from the records in RESULTS
	@$(PY) -m benchmarks report $(call flag,results,RESULTS) $(call flag,reports,REPORTS) \
		$(call flag,baseline,BASELINE) $(call switch,html,HTML)

results: $(READY) ## export all records to TABLE (.csv or .parquet)
	@$(PY) -m benchmarks results $(call flag,results,RESULTS) \
		$(call flag,$(if $(filter %.parquet,$(TABLE)),parquet,csv),TABLE)

reproduce: setup ## run the recipes of published results (TARGETS, BUDGET) and compare the numbers
	@$(PY) -m benchmarks reproduce $(call flag,targets,TARGETS) $(call flag,budget,BUDGET) $(call flag,jobs,JOBS) \
		$(call flag,results,RESULTS) $(call flag,reports,REPORTS) $(call flag,timeout,TIMEOUT) \
		$(call switch,retry,RETRY) $(call switch,dry,DRY)

tune: setup      ## search the options that the pages of VARIANTS list under make tune, with at most TRIALS runs each
	@$(PY) -c "import optuna" 2>/dev/null || $(if $(INSTALLED),$(EDITABLE) ".[tune]",:)
	@$(PY) -m benchmarks tune $(call flag,variants,VARIANTS) $(call flag,datasets,DATASETS) $(call flag,profile,PROFILE) \
		$(call flag,trials,TRIALS) $(call flag,criterion,CRITERION) $(call flag,results,RESULTS) \
		$(call switch,retry,RETRY) $(call flag,overrides,OVERRIDES)

verify: setup    ## repeat the recorded run RUN and compare the metrics
	@$(PY) -m benchmarks verify $(call quoted,$(or $(RUN),$(error no run id given: make verify RUN=<run id>))) \
		$(call flag,results,RESULTS)

publish: setup   ## copy successful records to RESULTS/reference
	@$(PY) -m benchmarks publish $(call flag,results,RESULTS)

speed: setup     ## measure training speed and write REPORTS/speed.md (on a GPU: speed-gpu.md)
	@$(PY) -m benchmarks speed $(call flag,reports,REPORTS) \
		$(if $(or $(wildcard $(PEERS)),$(filter-out file,$(origin PEERS))),$(call flag,peers,PEERS))

# pythae in an environment of its own; the torch that it runs on is the suite's.
peers: setup     ## create the environment with pythae, which `make speed` compares with
	@$(PYTHON) -m venv .venv-peers
	@$(PY) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > \
		"$$(.venv-peers/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/suite.pth"
	@.venv-peers/bin/python -m pip install --quiet pythae==0.1.2

judges: DATASETS = all
judges: setup    ## train the shipped classifiers (for FID and feature losses) again
	@$(PY) -m benchmarks judges $(call flag,datasets,DATASETS)

api: $(READY)    ## write REPORTS/api.md, the library reference, from docstrings
	@$(PY) -m benchmarks api $(call flag,reports,REPORTS)

list: $(READY)   ## list variants, data sets, networks, profiles and paper targets
	@$(PY) -m benchmarks list

# A process a core (tests/conftest.py says how many). Work is stolen, because a few tests take as long as hundreds of
# others: by file, one process would end long after the rest. A single file is quicker without: pytest tests/FILE.
PARALLEL := -n auto --dist worksteal

test: $(TESTED)  ## run the fast tests
	@$(PY) -m pytest $(PARALLEL)

test-slow: $(TESTED)  ## run all tests, including the slow ones
	@$(PY) -m pytest $(PARALLEL) -m "slow or not slow"

lint: setup      ## check the code with ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: setup    ## fix and format the code with ruff
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:           ## remove caches, never data or results
	rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
