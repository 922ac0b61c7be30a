# Everything starts here: `make` lists the targets. The environment is made once, and again when its lists change.
#   make workbook PYTHON=python VENV=      in an environment that is there already (conda)
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
PYTHON := $(shell for python in python3.11 python3.12 python3 python; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; done)
ifeq ($(VENV),)
BIN := $(PYTHON)
READY :=
else
BIN := $(VENV)/bin/python
READY := $(VENV)/.ready
endif

ALLOW_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

workbook: $(READY)  ## every notebook at the demo preset: trains, draws, and writes outputs/index.html
	$(BIN) -m speechlib run --preset demo --jobs 2

smoke: $(READY)  ## the same in a few minutes, with models too small to be any good
	$(BIN) -m speechlib run --preset smoke --jobs 2

test: $(READY)  ## every test: style, oracles, notebooks, a browser
	$(BIN) -m pytest -n 2

bench: $(READY)  ## what is fast and what is not, against its target
	mkdir -p outputs/benchmarks
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN) -m pytest tests/benchmarks --benchmark-enable \
		--benchmark-json=outputs/benchmarks/latest.json

soak: $(READY)  ## fifty kills at random moments, files damaged at random, two processes for every system
	OMP_NUM_THREADS=1 SPEECHLIB_KILLS=50 SPEECHLIB_EXAMPLES=1000 SPEECHLIB_PROCESSES=all \
		$(BIN) -m pytest tests/test_kills.py tests/test_parsers.py tests/test_processes.py

lab: $(READY)  ## the notebooks in JupyterLab, to explore
	$(BIN) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(ALLOW_ROOT)

clean:  ## remove the environment and executed notebooks; corpora and trained models stay
	rm -rf $(or $(VENV),.venv) outputs/batches outputs/index.html .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find speechlib tests -name __pycache__ -prune -exec rm -rf {} +

# torch comes first and alone: pip then takes a CPU wheel where one is at hand, and no CUDA build beside it.
$(VENV)/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed, and neither is on the PATH"; exit 1; }
	@$(BIN) -c '' 2>/dev/null || { echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "installing the pinned packages (a minute or two, about 2 GB)"
	@$(BIN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	@$(BIN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

.PHONY: help workbook smoke test bench soak lab clean
