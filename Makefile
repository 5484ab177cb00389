# The project's commands. A fresh Debian with Python 3.11 and make needs nothing else:
#   make reproduce   builds the environment, trains what is missing, renders the report
#   make test        builds the environment, runs the whole suite
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
CORES ?= $(shell env -u OMP_NUM_THREADS nproc)
SCALE ?= tiny
TARGET ?= headline
CONFIG ?=# more --config entries, e.g. CONFIG='gpus=0 set={"schedule.lr":1e-3}'
UV_VERSION := 0.13.8

VENV := .venv
BIN := $(VENV)/bin
# CARD=none leaves requirements.card's packages out. Never guessed from the machine: a login node or a container
# being built sees no card. An environment keeps its kind until CARD says otherwise.
CARD ?= $(if $(wildcard $(VENV)/installed-without-card),none,any)
ifeq ($(filter any none,$(CARD)),)
$(error CARD is any (the complete environment) or none (without what only a graphics card needs), not "$(CARD)")
endif
STAMP := $(VENV)/installed$(if $(filter none,$(CARD)),-without-card)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The certificates that the machine trusts, as pip does, also behind a company's proxy.
export UV_SYSTEM_CERTS ?= 1
# Recipes read it from the environment, where the shell leaves its quotes and braces alone.
export CONFIG
# One thread a process: the workflow runs as many processes as there are cores.
export OMP_NUM_THREADS := 1
# uv installs sources alone. Without bytecode beside them every process compiles what it imports: five seconds
# for a training.
unexport PYTHONDONTWRITEBYTECODE

SOURCE ?=
OLD := 'setuptools<81'# which detectron2's model zoo needs; a change of the lock would bring a newer one back
.PHONY: help env lock test fast fuzz faults gpu-check lint docs detectron2 reproduce smoke report reference-page clean

help:
	@echo "make reproduce   headline tables at SCALE=$(SCALE) on CORES=$(CORES) cores; prints where the report is"
	@echo "                 (TARGET=all, TARGET=boxinst_1a, SCALE=mini CONFIG=data_root=..., see docs/running.md)"
	@echo "make test        the whole test suite"
	@echo "make fuzz        EACH=1000 bad inputs of each kind, from SEED=1; a table of how they ended"
	@echo "make faults      kills processes and damages files N=100 times, from SEED=1, and N/10 times in a live workflow;"
	@echo "                 the results must stay the same"
	@echo "make gpu-check   at most ten minutes on a graphics card (DATA=path: also real images; DRY=1: without a card)"
	@echo "make fast        what does not train: two minutes"
	@echo "make smoke       every rule and recipe for a few steps"
	@echo "make report      render what there is at SCALE"
	@echo "make reference-page   reports/reference/tiny from results/reference/tiny: no training"
	@echo "make env         the environment alone, in $(VENV) (CARD=none: smaller, for a machine without a graphics card;"
	@echo "                 CARD=any completes it again; now $(CARD))"
	@echo "make lint        ruff, snakefmt, snakemake --lint, lint-imports, mypy"
	@echo "make docs        what docs/ takes from the code: commands.md, picture.png"
	@echo "make lock        resolve requirements.lock anew (UPGRADE=: only what is missing)"
	@echo "make detectron2  builds it into the environment from SOURCE=path of a checkout (docs/detectron2.md)"
	@echo "make clean       remove results, reports and caches of this checkout (not $(VENV))"

env: $(STAMP)

# Python's own venv module, which Debian packages apart.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no python3 found; install Python 3.11 or newer, or: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: $(PYTHON) is $$("$(PYTHON)" -V); wsis needs Python 3.11 or newer: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; \
	  else \
	    echo "error: $(PYTHON) has no venv module; install it first: sudo apt-get install python3-venv" >&2; exit 1; \
	  fi; }
	"$(PYTHON)" -m venv $(VENV)

# Without a card, what a complete environment had goes as well, and torch must load without it.
$(VENV)/installed-without-card: LEAVE := --excludes requirements.card
$(VENV)/installed-without-card: requirements.card
$(VENV)/installed $(VENV)/installed-without-card: requirements.lock pyproject.toml | $(BIN)/python
	@rm -f $(filter-out $@,$(VENV)/installed $(VENV)/installed-without-card)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip install --python $(BIN)/python --require-hashes $(LEAVE) -r requirements.lock
	$(if $(LEAVE),$(BIN)/uv pip uninstall --quiet --python $(BIN)/python -r requirements.card)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(if $(wildcard $(VENV)/lib/python*/site-packages/detectron2),$(BIN)/uv pip install --python $(BIN)/python $(OLD))
	$(if $(LEAVE),$(BIN)/python -c 'import torchvision')
	@touch $@

# detectron2 is in no registry of Python packages. Its source is built against the environment's torch, for the CPU
# unless torch finds a card's compiler; its model zoo imports pkg_resources, which setuptools 81 removes.
detectron2: $(STAMP)
	@test -f "$(SOURCE)/detectron2/__init__.py" \
	  || { echo "error: SOURCE=$(SOURCE) is no checkout of detectron2: make detectron2 SOURCE=path" >&2; exit 1; }
	$(BIN)/uv pip install --python $(BIN)/python $(OLD) wheel ninja
	MAX_JOBS=$(CORES) $(BIN)/python -m pip install --no-build-isolation "$(SOURCE)"
	@$(BIN)/python -W ignore -c 'import detectron2.model_zoo; from detectron2 import _C'
	@echo "detectron2 is built into $(VENV); its tests: make test PYTEST=tests/detectron2"

# UPGRADE= keeps every version that is locked and adds what is missing.
lock: UPGRADE ?= --upgrade
lock: | $(BIN)/python
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra small $(UPGRADE) --generate-hashes --quiet \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --no-emit-index-url --no-emit-find-links --no-header -o requirements.lock
	sed -i '1i # Exact versions for Python 3.11 on Linux x86-64, development tools included. Made by: make lock' requirements.lock

# A file's tests stay in one process, which takes up to 2 GB; WORKERS=0 leaves all to the one that a debugger sees.
WORKERS ?= $(shell echo $$(($(CORES) < 8 ? $(CORES) : 8)))
PARALLEL = --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
test: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST)

fast: $(STAMP)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not trains" $(PYTEST)

fuzz: EACH ?= 1000
fuzz: SEED ?= 1
fuzz: $(STAMP)
	$(BIN)/python -W ignore -m tests.fuzz.table --seed $(SEED) --each $(EACH)

faults: N ?= 100
faults: SEED ?= 1
faults: $(STAMP)
	$(BIN)/python -W ignore -m tests.faults --seed $(SEED) --count $(N)
	$(BIN)/python -W ignore -m tests.faults.live --seed $(SEED) --count $$(( ($(N) + 9) / 10 ))

gpu-check: DATA ?=
gpu-check: $(STAMP)
	@$(BIN)/wsis bench gpu $(if $(DRY),--dry-run) $(if $(DATA),--data-root "$(DATA)")

docs: $(STAMP)
	$(BIN)/python docs/make.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports
	$(BIN)/mypy

# A failed job does not lose the others' results: the report then shows what there is.
reproduce: $(STAMP)
	@$(BIN)/wsis reproduce --scale $(SCALE) --cores $(CORES) --config "$$CONFIG" $(TARGET)

smoke: $(STAMP)
	$(BIN)/snakemake --cores $(CORES) -- smoke

report: $(STAMP)
	@set -f; $(BIN)/snakemake --quiet all --cores 1 --config scale=$(SCALE) $$CONFIG -- report

# The page of the committed reference; .ci/run makes it again and compares.
reference-page: $(STAMP)
	$(BIN)/wsis report --scale tiny --recorded

clean:
	find results reports -mindepth 1 -maxdepth 1 ! -name reference ! -name gpu-check -exec rm -rf {} + 2>/dev/null || true
	rm -rf .snakemake .pytest_cache .ruff_cache .mypy_cache .import_linter_cache build
