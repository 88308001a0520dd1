# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUNDLE := bundles/rescale_x4
# Threads that wait without spinning: several programs may share the machine's few cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-slow lint benchmark clean

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(BUNDLE)/manifest.json: $(VENV)/installed hcflow_ref/weights/rescale_x4.safetensors
	rm -rf $(BUNDLE)
	$(BIN)/hcflow build --model rescale_x4 --output $(BUNDLE)

demo: $(BUNDLE)/manifest.json
	$(BIN)/hcflow demo --model $(BUNDLE) --output demo

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -m "not slow"

test-slow: $(VENV)/installed
	$(BIN)/pytest -q -m slow

benchmark: $(VENV)/installed
	$(BIN)/python -m benchmarks.export_against_naive

clean:
	rm -rf $(VENV) build dist demo bundles *.egg-info
