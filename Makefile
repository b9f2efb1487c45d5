# Daily work with the project; `make help` lists the targets. Everything happens inside .venv and this folder.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test setup repro long sweep references serve image retrain promote rollback champions monitor feedback \
	review mlflow report docs lint format lock clean benchmark-serving

HOST ?= 127.0.0.1
PORT ?= 3000
MLFLOW_PORT ?= 5000
BASE_IMAGE ?= python:3.11-slim
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)
UV_VERSION := 0.13.8
PYTEST ?=

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

run: setup ## set up, build the pipeline, serve the page (HOST=, PORT=)
	@python -m pipeline.data.fallback
	@dvc repro
	@python -m pipeline.deployment.check || dvc repro --single-item --force register package
	@DIGITS_LOG_PREDICTIONS=$${DIGITS_LOG_PREDICTIONS:-true} python -m pipeline.deployment.serve --host $(HOST) --port $(PORT)

test: .venv/.dev ## set up what tests need, then run all tests (PYTEST="-k name" for some)
	@python -m pytest $(PYTEST)

setup: .venv/.run ## make .venv and install the pinned packages

repro: setup ## run every stage whose code, data or params changed
	@dvc repro

long: setup ## the same with half an hour of training for the CNN (profiles/long.yaml; back: git checkout params.yaml)
	@python -m pipeline.training.override profiles/long.yaml
	@dvc repro

sweep: setup ## search the ranges under sweep: in params.yaml; again, or several at once, goes on with the same search
	@dvc repro prepare
	@python -m pipeline.training.sweep

references: setup ## train the models of others and update docs/references.json and .md (NAMES= for some)
	@dvc repro validate
	@python -m pipeline.training.references $(NAMES)

serve: setup ## serve what is champion now, with the Bento that was built last (HOST=, PORT=)
	@python -m pipeline.registry.handover
	@python -m pipeline.deployment.serve --host $(HOST) --port $(PORT)

image: setup ## the Bento that was built last as a container image, by docker or podman (BASE_IMAGE=)
	@python -m pipeline.deployment.image --base-image $(BASE_IMAGE)
retrain: setup ## what the schedule does: corrections, pipeline, gate, hand-over to the running service
	@python -m pipeline.deployment.retrain

promote: setup ## make a registered version champion (VERSION=; REASON= where the gate refuses it)
	@python -m pipeline.registry.promotion promote

rollback: setup ## make the previous champion champion again; once more: forward again
	@python -m pipeline.registry.promotion rollback

champions: setup ## who was champion when, by whom and why
	@python -m pipeline.registry.promotion champions

# Where promotions hand models over to a running service
run serve retrain promote rollback: export DIGITS_MODEL_DIR ?= $(CURDIR)/served

monitor: setup ## hold logged requests against training: reports/monitor.html; fails on drift and on too little data
	@python -m pipeline.monitoring.monitor

feedback: setup ## export accepted corrections for DVC and the next training
	@python -m pipeline.monitoring.feedback

review: setup ## decide on corrections that wait
	@python -m pipeline.monitoring.review

mlflow: setup ## MLflow's pages: experiments, runs, registry (MLFLOW_PORT=)
	@python -m pipeline.tracking --port $(MLFLOW_PORT)

report: setup ## open the comparison report, or name it where there is no browser
	@python -m pipeline.reporting.comparison

docs: .venv/.dev ## print learn/mathematics.md and learn/course.md as a PDF
	@python learn/build.py

benchmark-serving: setup .venv/benchmarks/.done ## measure the service beside other servers (ARGUMENTS="--rounds 3")
	@python benchmarks/serving.py $(ARGUMENTS)

.venv/benchmarks/.done: benchmarks/requirements.txt | .venv/bin/uv
	@.venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv/benchmarks
	@.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/benchmarks/bin/python -r benchmarks/requirements.txt
	@touch $@

lint: .venv/.dev ## check style, formatting, types and the rules of who imports whom
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-logo
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

format: .venv/.dev ## put the code into its standard form
	@ruff check --fix --quiet . ; ruff format --quiet .

lock: .venv/.dev ## compile requirements*.txt anew from requirements*.in
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url -o requirements.txt requirements.in
	@uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url -o requirements-dev.txt requirements-dev.in

clean: ## remove what the pipeline and the checks made; never the registry, the log or downloaded data
	@rm -rf models evaluations data/prepared data/derived .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find reports -type f ! -name metrics.json -delete 2>/dev/null || true
	@find pipeline serving tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; install it and try again" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"Python 3.11 or 3.12 is needed; {sys.executable} is {v[0]}.{v[1]}. Name another: make PYTHON=...")'
	@echo "setting up .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check uv==$(UV_VERSION)

# uv is faster; pip serves where uv cannot reach an index that pip is configured for. Bytecode is compiled here, as pip
# does: where PYTHONDONTWRITEBYTECODE is set, every start would compile it anew (the service: 5 CPU-s instead of 2.3).
define install
	@echo "installing $(1)"
	@.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python -r $(1) \
		|| .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check -r $(1)
	@touch $@
endef

.venv/.run: requirements.txt | .venv/bin/uv
	$(call install,requirements.txt)

.venv/.dev: requirements-dev.txt | .venv/bin/uv
	$(call install,requirements-dev.txt)
	@touch .venv/.run
