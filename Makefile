# Commands of the project; `make help` lists them. Nothing is installed outside .venv.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test setup cluster repro long sweep references serve image pipeline-image retrain promote rollback champions monitor feedback \
	review mlflow report docs lint format lock audit clean benchmark-serving coverage mutants

HOST ?= 127.0.0.1
PORT ?= 3000
MLFLOW_PORT ?= 5000
BASE_IMAGE ?= python:3.11-slim
PIPELINE_BASE_IMAGE ?= python:3.11-bookworm
VARIANT ?= default
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/.venv/bin:$(PATH)
UV_VERSION := 0.13.8
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --generate-hashes
LOCKS := requirements.txt requirements-cluster.txt requirements-dev.txt requirements-image.txt serving/requirements.txt serving/requirements-cluster.txt
AUDIT ?=
PYTEST ?=
WORKERS ?= 3

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: setup ## install, run the pipeline, and serve the page (HOST=, PORT=)
	@python -m pipeline.data.fallback
	@dvc repro
	@python -m pipeline.deployment.check || dvc repro --single-item --force register package
	@DIGITS_LOG_PREDICTIONS=$${DIGITS_LOG_PREDICTIONS:-true} digits serve --host "$(HOST)" --port "$(PORT)"

test: .venv/.dev ## install the test requirements and run all tests (PYTEST="-k name" selects some)
	@$(run_tests)

coverage: .venv/.dev ## run all tests and show the branch coverage of each package (PYTEST="-k name" selects some)
	@rm -f .coverage
	@$(run_tests)
	@for package in pipeline serving recognition records; do \
		printf '%-12s %3s%% covered\n' $$package $$(coverage report --format=total --include="$$package/*"); done

coverage: COVERAGE := --cov --cov-append --cov-report=

mutants: .venv/.dev ## change the code that decides in small ways, and list the changes that no test notices (20 minutes)
	@rm -rf mutants
	@mutmut run --max-children $(WORKERS)
	@mutmut results

# Three workers run whole modules at the same time, because tests often wait for other processes; then one process runs the
# tests that need the machine for themselves.
# Pytest's status 5 says that a selection contains no tests; that is an error only if neither part contains one.
define run_tests
export TEST_PROJECT=$$(mktemp -d); trap 'rm -rf "$$TEST_PROJECT"' EXIT; parallel=0; alone=0; \
python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20 --alone=without $(COVERAGE) $(PYTEST) || parallel=$$?; \
case $$parallel in 0 | 1 | 5) ;; *) exit $$parallel ;; esac; \
python -m pytest --alone=only $(COVERAGE) $(PYTEST) || alone=$$?; \
case $$parallel$$alone in 00 | 05 | 50) ;; *) exit 1 ;; esac
endef

setup: .venv/.run .venv/.project ## create .venv and install the pinned requirements

cluster: setup .venv/.cluster ## install what Ray clusters and buckets need (RAY_ADDRESS, s3://)

repro: setup ## run the stages whose code, data or parameters changed
	@dvc repro

long: setup ## run the pipeline with a 30-minute training of the CNN (profiles/long.yaml; undo with git checkout params.yaml)
	@python -m pipeline.training.profiles profiles/long.yaml
	@dvc repro

sweep: setup ## search hyperparameters (sweep: in params.yaml); further or parallel runs continue the same search
	@dvc repro prepare
	@digits sweep

references: setup ## train published reference models and update docs/references.json and .md (NAMES= selects some)
	@dvc repro validate
	@digits references $(NAMES)

serve: setup ## serve the current champion with the latest Bento (HOST=, PORT=)
	@digits serve --host "$(HOST)" --port "$(PORT)"

image: setup ## build a container image of the current champion with docker or podman (BASE_IMAGE=, VARIANT=cluster)
	@python -m pipeline.deployment.image --base-image $(BASE_IMAGE) --variant $(VARIANT)

pipeline-image: setup ## build an image of the pipeline with docker or podman, for schedules and MLflow's server (PIPELINE_BASE_IMAGE=)
	@python -m pipeline.deployment.pipeline_image --base-image $(PIPELINE_BASE_IMAGE)

retrain: setup ## retrain as the schedule does: corrections, pipeline, gate, hand-over to the running service
	@python -m pipeline.deployment.retrain

promote: setup ## promote a registered version to champion (VERSION=; REASON= overrides the gate)
	@digits promote --reason "$$REASON" -- "$$VERSION"

rollback: setup ## restore the previous champion; a second call undoes the first (REASON=)
	@digits rollback --reason "$$REASON"

champions: setup ## show the promotion history
	@digits champions

# Folder through which promotions reach a running service; the default of `digits` is the same
run retrain: export DIGITS_MODEL_DIR ?= $(CURDIR)/served

monitor: setup ## check logged requests for drift (reports/monitor.html); schedules read the status of `digits monitor`
	@digits monitor

feedback: setup ## export accepted corrections as training data
	@digits feedback

review: setup ## accept or reject corrections that need a review
	@digits review

mlflow: setup ## start the MLflow UI: experiments, runs, model registry (MLFLOW_PORT=)
	@digits mlflow --port "$(MLFLOW_PORT)"

report: setup ## open the comparison report, with the times measured on this machine, in a browser
	@digits report

docs: .venv/.dev ## build the documentation site in site/, and learn/mathematics.md and learn/course.md as PDF
	@NO_MKDOCS_2_WARNING=1 mkdocs build
	@python learn/build.py

benchmark-serving: setup .venv/benchmarks/.done ## compare the service's speed with other servers (ARGUMENTS="--rounds 3")
	@python benchmarks/serving.py $(ARGUMENTS)

.venv/benchmarks/.done: benchmarks/requirements.txt | .venv/bin/uv
	@.venv/bin/uv venv --quiet --clear --python .venv/bin/python .venv/benchmarks
	@.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/benchmarks/bin/python -r benchmarks/requirements.txt
	@touch $@

lint: .venv/.dev ## check style, formatting, types, import contracts, dependencies, schemas and workflows
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports --no-logo
	@deptry .
	@check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	@check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	@check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	@zizmor --quiet --offline .github

format: .venv/.dev ## format the code
	@ruff check --fix --quiet . ; ruff format --quiet .

lock: .venv/.dev ## recompile requirements*.txt from requirements*.in
	@uv pip compile $(LOCK_OPTIONS) -o requirements.txt requirements.in
	@uv pip compile $(LOCK_OPTIONS) --constraint requirements.txt -o requirements-cluster.txt requirements-cluster.in
	@uv pip compile $(LOCK_OPTIONS) -o requirements-dev.txt requirements-dev.in
	@uv pip compile $(LOCK_OPTIONS) --no-annotate -o requirements-image.txt requirements-image.in
	@uv pip compile $(LOCK_OPTIONS) --no-annotate -o serving/requirements.txt serving/requirements.in
	@uv pip compile $(LOCK_OPTIONS) --no-annotate -o serving/requirements-cluster.txt serving/requirements-cluster.in

audit: .venv/.dev ## look for known vulnerabilities in the pinned requirements (AUDIT="--ignore-vuln ID")
	@pip-audit --require-hashes --disable-pip --progress-spinner off $(LOCKS:%=--requirement %) $(AUDIT)

clean: ## remove generated files; keeps the registry, the prediction log and the downloaded data
	@rm -rf models evaluations data/prepared data/derived site mutants .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	@find reports -type f ! -name metrics.json -delete 2>/dev/null || true
	@find pipeline serving recognition records learn tests benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/bin/uv:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is required; install it and try again" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in ((3, 11), (3, 12)) else f"Python 3.11 or 3.12 is required; {sys.executable} is {v[0]}.{v[1]}. Choose another with: make PYTHON=...")'
	@echo "setting up .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check uv==$(UV_VERSION)

# uv is faster than pip. pip is the fallback if uv cannot reach the package index that pip is configured for.
# Compile bytecode now, as pip does: with PYTHONDONTWRITEBYTECODE set, every start would compile it again (the service: 5
# instead of 2.3 CPU seconds).
define install
	@echo "installing $(1)"
	@.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python -r $(1) \
		|| .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check -r $(1)
	@touch $@
endef

.venv/.run: requirements.txt | .venv/bin/uv
	$(call install,requirements.txt)

.venv/.cluster: requirements-cluster.txt | .venv/bin/uv .venv/.run
	$(call install,requirements-cluster.txt)

.venv/.dev: requirements-dev.txt | .venv/bin/uv .venv/.project
	$(call install,requirements-dev.txt)
	@touch .venv/.run .venv/.cluster

# The command `digits`. Not into an environment that this folder links to: it belongs to another clone.
.venv/.project: pyproject.toml | .venv/bin/uv
	@test -L .venv || { echo "installing digits"; \
		{ .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --editable . \
			|| .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .; } && touch $@; }
