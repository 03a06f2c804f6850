# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := .venv
PYTHON ?= python3
PROTOS := $(sort $(wildcard protos/gateway/v1/*.proto))
SERVICES := $(filter %_service.proto,$(PROTOS))
READY := $(VENV)/.ready

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r requirements-dev.lock
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

gen: $(READY) ## make gen/ from protos/
	@$(MAKE) --no-print-directory generate OUT=gen

# Writes everything that is generated into the folder OUT.
generate:
	rm -rf $(OUT)/gateway $(OUT)/gateway.binpb && mkdir -p $(OUT)
	site=$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	include="-Iprotos -I$$site -I$$site/grpc_tools/_proto"; \
	export PATH=$(abspath $(VENV))/bin:$$PATH; \
	python -m grpc_tools.protoc $$include --python_out=$(OUT) --mypy_out=quiet,readable_stubs:$(OUT) $(PROTOS) && \
	python -m grpc_tools.protoc $$include --grpc_python_out=$(OUT) --mypy_grpc_out=quiet:$(OUT) $(SERVICES) && \
	python -m grpc_tools.protoc $$include --include_imports --include_source_info \
	  --descriptor_set_out=$(OUT)/gateway.binpb $(PROTOS) google/rpc/error_details.proto
	touch $(OUT)/gateway/__init__.py $(OUT)/gateway/v1/__init__.py $(OUT)/gateway/py.typed
