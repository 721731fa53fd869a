.DEFAULT_GOAL := help
.PHONY: help install up test check lock bench soak clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

help: ## Show these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/xray: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(BIN)/xray
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

install: $(BIN)/xray ## Build .venv with the program at .venv/bin/xray

up: install ## Start X-Ray on this machine (OTLP, REST, reasoning, its own Postgres)
	$(BIN)/xray up

test: check ## Check everything, then run every test
	$(BIN)/python -m pytest -q

check: $(VENV)/.dev ## Format, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: $(VENV)/.dev ## Lock the dependencies again, with hashes and without index addresses
	$(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements.txt
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements-dev.txt

bench: $(VENV)/.dev ## Measure: floors and ours interleaved, ratios printed
	$(BIN)/python -m tests.bench

soak: $(VENV)/.dev ## The long crash and leak runs (about two hours)
	$(BIN)/python -m pytest -q -m soak tests

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
