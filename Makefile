# The two commands of the README, and the checks that CI runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# uv does not read pip's find-links; a local folder of wheels is handed over when pip knows one.
export UV_FIND_LINKS ?= $(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null)
export FLWR_TELEMETRY_ENABLED = 0
export FLWR_DISABLE_UPDATE_CHECK = 1

.PHONY: demo demo-imaging test check docs install clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: install
	$(BIN)/fedmvi-simulate demo --out runs/demo

demo-imaging: install
	$(BIN)/fedmvi-simulate demo-imaging --out runs/demo-imaging

docs: install
	$(BIN)/python -m mkdocs build --strict

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread each: workers share the processors, and there is one more of them than the smallest machine has, because
# tests of daemons mostly wait. Processes that tests start find our modules compiled.
test: export OMP_NUM_THREADS = 1
test: install
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

clean:
	rm -rf $(VENV) site runs/demo runs/demo-imaging
