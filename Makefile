# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUNDLE := bundles/rescale_x4
# Threads that wait without spinning: several programs may share the machine's few cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-slow cpp cpp-slow lint benchmark benchmark-engines ptx fuzz clean

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
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile -m "not slow"

test-slow: $(VENV)/installed
	$(BIN)/pytest -q -m slow

benchmark: $(VENV)/installed
	$(BIN)/python -m benchmarks.export_against_naive

benchmark-engines: $(VENV)/installed
	mkdir -p build
	$(BIN)/python -m benchmarks.engines --write build/engines.json
	$(BIN)/python -m benchmarks.engines --publish build/engines.json

# The kernel that draws latents on GPUs; after runtime/backends/latents.cu has changed.
ptx: $(VENV)/installed
	$(BIN)/python -m tests.support.latents_ptx

# Needs atheris: .venv/bin/pip install atheris
fuzz: $(VENV)/installed
	for target in images manifests videos; do \
	  mkdir -p build/fuzz/$$target; \
	  $(BIN)/python -m tests.fuzz $$target build/fuzz/$$target tests/fuzz/corpus/$$target \
	    -max_total_time=600 || exit 1; \
	done

CPP_PACKAGES := g++ cmake ninja-build nlohmann-json3-dev libpng-dev pkg-config doctest-dev
CPP_SLOW_PACKAGES := clang clang-tidy clang-format libclang-rt-14-dev valgrind
CPP_TESTS := HCFLOW_REQUIRE_CPP=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/cpp/test_parity.py \
  tests/cpp/test_build.py tests/cpp/test_example.py
missing = dpkg -s $(1) > /dev/null 2>&1 || { echo "needs: apt-get install $(1)"; exit 1; }

# The C++ runtime: built, compared with Python, its tests under sanitizers.
cpp: $(VENV)/installed
	@$(call missing,$(CPP_PACKAGES))
	PATH="$(CURDIR)/$(BIN):$$PATH" $(CPP_TESTS)

# Also static, clang-tidy, valgrind, libFuzzer, and NVIDIA's headers (fetched by pip).
cpp-slow: $(VENV)/installed
	@$(call missing,$(CPP_PACKAGES) $(CPP_SLOW_PACKAGES))
	PATH="$(CURDIR)/$(BIN):$$PATH" HCFLOW_CPP_SLOW=1 $(CPP_TESTS)

clean:
	rm -rf $(VENV) build dist demo bundles *.egg-info
