# linreg_pl: what can be done here. `make` alone lists it.
# ARGS goes on to the command: make train ARGS="--model.learning_rate 1e-9"

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
ARGS ?=

.PHONY: help
help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# ---- use ----

.PHONY: train
train: .venv/installed ## the tutorial's job, into lightning_logs/version_N
	@$(BIN)/linreg fit $(ARGS)

.PHONY: resume
resume: .venv/installed ## go on with the newest interrupted run, with its own settings
	@$(BIN)/linreg fit --resume auto $(ARGS)

.PHONY: runs
runs: .venv/installed ## list the runs: state, step, loss, and how to go on
	@$(BIN)/linreg runs

.PHONY: tensorboard
tensorboard: .venv/installed ## the curves of all runs, on http://127.0.0.1:6006
	@$(BIN)/tensorboard --logdir lightning_logs --host 127.0.0.1 $(ARGS)

.PHONY: examples
examples: .venv/installed-dev ## write the tables of examples/, from packages that ship them
	@$(BIN)/python -m examples.make_tables

# ---- develop ----

.PHONY: test
test: .venv/installed-dev ## the tests
	@$(BIN)/pytest -n 4 $(ARGS)

.PHONY: torture
torture: .venv/installed-dev ## the reliability tests in their full form: over a thousand kills, about an hour
	@$(BIN)/pytest tests/test_reliability.py --torture $(ARGS)

.PHONY: check
check: format-check lint types test ## what CI runs, in CI's order: format, lint, types, tests

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
bench: .venv/installed-dev ## speed beside named peers, all pages into benchmarks/results; a trial: ARGS=--quick
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-peers
bench-peers: .venv-peers/installed ## install TensorFlow and Vowpal Wabbit into .venv-peers, for make bench

.PHONY: accuracy
accuracy: .venv/installed-dev ## digits of the exact solution beside NumPy's and scikit-learn's: the table of docs/accuracy.md
	@$(BIN)/python -m benchmarks.accuracy

.PHONY: real-tables
real-tables: examples ## three real tables beside statsmodels and scikit-learn: the figures of docs/real-tables.md
	@$(BIN)/python -m benchmarks.real_tables

.PHONY: screenshot
screenshot: .venv/installed ## train, open TensorBoard in headless Chromium, and redraw the README's picture
	@$(BIN)/python docs/screenshot.py $(ARGS)

.PHONY: figures
figures: .venv/installed ## train the runs of docs/why-the-bias-hardly-moves.md, and redraw its pictures
	@$(BIN)/python docs/figures.py

.PHONY: lock
lock: ## resolve pyproject.toml anew into requirements.lock and requirements-dev.lock
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/pip install --quiet torch==2.13.0 && .venv-lock/bin/pip install --quiet .
	@.venv-lock/bin/pip freeze --exclude linreg_pl | sed 's/+cpu$$//' > requirements.lock
	@.venv-lock/bin/pip install --quiet '.[dev]'
	@(echo '-r requirements.lock'; .venv-lock/bin/pip freeze --exclude linreg_pl | sed 's/+cpu$$//' \
		| grep -vxFf requirements.lock) > requirements-dev.lock
	@rm -rf .venv-lock build

.PHONY: clean
clean: ## remove the environments and caches; runs stay
	@rm -rf .venv .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info

# ---- environments: installed once, again only when a lock changes ----

.venv/installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (once) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --editable .
	@touch $@

.venv/installed-dev: .venv/installed requirements-dev.lock
	@echo "installing the development tools into .venv (once) ..."
	@$(BIN)/pip install -qq --disable-pip-version-check -r requirements-dev.lock
	@touch $@

.venv-peers/installed: benchmarks/requirements-peers.lock
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@echo "installing TensorFlow and Vowpal Wabbit into .venv-peers (once) ..."
	@.venv-peers/bin/pip install -qq --disable-pip-version-check -r benchmarks/requirements-peers.lock
	@touch $@
