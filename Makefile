# make bench      measures suites/attention.yaml on the device that is there, shows the report and writes its page
# make test       everything that must hold: ruff, mypy --strict, pytest
# make test-gpu   the tests that need a CUDA device, in the python that is active
# make targets    our kernels beside the best there are, on the GPU that is here, in the python that is active
#
# TORCH=2.12.0 chooses another torch, TORCH_INDEX=URL where pip gets it from (for example a CUDA build).

PYTHON ?= python3
TORCH ?= 2.13.0
TORCH_INDEX ?=
SUITE ?= suites/attention.yaml

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-torch-$(TORCH)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: bench test test-gpu targets perf env chromium clean

bench: env
	@$(BIN)/llmbench run $(SUITE); code=$$?; $(BIN)/llmbench report latest:$(basename $(notdir $(SUITE))) --html beside && exit $$code

test: env chromium
	$(BIN)/ruff check llmbench tests
	$(BIN)/ruff format --check llmbench tests
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal --benchmark-disable

test-gpu:
	PYTHONPATH=. $(PYTHON) -m pytest -rs -W default tests/gpu

targets:
	PYTHONPATH=. $(PYTHON) -m llmbench run attention_targets --device cuda
	PYTHONPATH=. $(PYTHON) -m llmbench run decode --device cuda
	PYTHONPATH=. $(PYTHON) -m llmbench report latest:attention_targets
	PYTHONPATH=. $(PYTHON) -m llmbench report latest:decode

perf: env
	$(BIN)/python -m pytest tests/perf --benchmark-only

env: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("llmbench needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; choose one with: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) 'torch==$(TORCH)' $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	$(PIP) --editable '.[run,dev]'
	@rm -f $(VENV)/.ready-torch-*
	@touch $@

# The tests of HTML pages need a browser; where there is none and none can be installed, they are skipped and say so.
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
	  command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium chromium-driver >/dev/null; } || \
	  echo "no chromium here, and it cannot be installed: tests in a browser are skipped"

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
