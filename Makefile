# Everything lives in .venv; a stamp file per set of packages makes the second call instant.
#   make demo     raw text -> tokenizer -> pretraining -> fine-tuning -> report, about five minutes on two cores
#   make test     all tests        make lint     ruff and mypy        make bench    the short benchmarks
PYTHON ?= python3
# e.g. make install PIP_ARGS="--index-url ..." for a mirror, or for another build of torch
PIP_ARGS ?=
# worker processes: one a core; each takes about 1 GB
PYTEST_ARGS ?= -n 2 --dist worksteal
# threads of each worker; the tests hold for any number
THREADS ?= 1

BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)
STAMP := .venv/.installed
# torch first and alone: where a CPU build of the pinned version is at hand, pip takes it and the rest then keeps it.
TORCH := $(shell grep '^torch==' constraints.txt)

.DELETE_ON_ERROR:
.PHONY: install demo test coverage lint bench clean

install: $(STAMP)-runtime

demo: $(STAMP)-runtime
	$(BIN)/groundup pipeline experiment=demo

test: $(STAMP)-dev
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS)

coverage: $(STAMP)-dev           # the tests again, two thirds slower: every line is counted, in child processes too
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term

lint: $(STAMP)-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)-bench            # the long ones are listed, with their commands and results, in benchmarks/README.md
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/step_time.py
	$(BIN)/python benchmarks/resume.py
	$(BIN)/python benchmarks/padding.py $(if $(GROUNDUP_DATA_ROOT),--root $(GROUNDUP_DATA_ROOT))

clean:                           # keeps logs/: they are results
	rm -rf .venv build dist .pytest_cache .ruff_cache .mypy_cache .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("groundup needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

# Each line runs twice at most: one dropped connection must not cost the whole install.
$(STAMP)-runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo 'installing torch, lightning, hydra and the rest into .venv (once, some minutes)'
	$(PIP) $(TORCH) || $(PIP) $(TORCH)
	$(PIP) --editable . || $(PIP) --editable .
	@touch $@

$(STAMP)-dev: $(STAMP)-runtime
	$(PIP) --editable '.[dev,sweep,dashboard,export,serve]' || $(PIP) --editable '.[dev,sweep,dashboard,export,serve]'
	@touch $@

$(STAMP)-bench: $(STAMP)-runtime
	$(PIP) --editable '.[bench]' || $(PIP) --editable '.[bench]'
	@touch $@
