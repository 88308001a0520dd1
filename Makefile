# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
BUNDLE := bundles/rescale_x4
# Threads that wait without spinning: several programs may share the machine's few cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test test-slow cpp cpp-slow lint benchmark benchmark-engines benchmark-programs weights \
  release lock \
  ptx fuzz gpu clean environment demo-environment

demo-environment:
	@$(PYTHON) setup/install.py demo

environment:
	@$(PYTHON) setup/install.py all

$(BUNDLE)/manifest.json: hcflow_ref/weights/rescale_x4.safetensors | demo-environment
	rm -rf $(BUNDLE)
	$(BIN)/python -m export.build --model rescale_x4 --output $(BUNDLE)

# The default model from its checkpoint to pictures.
demo: demo-environment $(BUNDLE)/manifest.json
	$(BIN)/hcflow demo --model $(BUNDLE) --output demo

lint: environment
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A worker process that dies ends the run: pytest-xdist would wait for ever for its other tests.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile --max-worker-restart 0 -m "not slow"

test-slow: environment
	$(BIN)/pytest -q -m slow

# One page: ours against naive exports, large files, memory, start, cost against size; and targets.
benchmark: environment
	$(BIN)/python -m benchmarks.page

benchmark-engines: environment
	mkdir -p build
	$(BIN)/python -m benchmarks.engines --write build/engines.json
	$(BIN)/python -m benchmarks.engines --publish build/engines.json

benchmark-programs: environment
	mkdir -p build
	$(BIN)/python -m benchmarks.programs --write build/programs.json
	$(BIN)/python -m benchmarks.programs --publish build/programs.json

# All that follows from new weights: figures, INT8 records, bundles, cards, tables, picture.
# make weights NAME=rescale_x4 CALIBRATION=photographs
weights: environment
	$(BIN)/python -m benchmarks.publish $(NAME) $(if $(CALIBRATION),--calibration $(CALIBRATION))

# Wheel and sdist in dist/: their sizes checked, the wheel installed and run outside the checkout.
release: environment
	$(BIN)/python setup/release.py

# setup/*.lock from pyproject.toml. What the CPU build of PyTorch does without is left out.
NOT_FOR_CPU := torch triton cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-runtime \
  nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
  nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx
NOT_FOR_DEMO := cuda-bindings cuda-pathfinder nvidia-cuda-nvrtc openvino openvino-telemetry
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --quiet \
  --generate-hashes --no-header --no-annotate $(addprefix --no-emit-package ,$(NOT_FOR_CPU))
lock: environment
	$(COMPILE) $(addprefix --no-emit-package ,$(NOT_FOR_DEMO)) $(addprefix --extra ,cpu export) \
	  -o setup/demo.lock > /dev/null
	$(COMPILE) $(addprefix --extra ,cpu large heic tensorrt export train evaluate \
	  perceptual serve remote ray dev) \
	  -o setup/all.lock > /dev/null

# The kernel that draws latents on GPUs; after runtime/backends/cuda/latents.cu has changed.
ptx: environment
	$(BIN)/python -m tests.support.latents_ptx

# What only a GPU can show, in five minutes, with the Python and PyTorch that PYTHON has.
gpu:
	$(PYTHON) -m tests.gpu --output build/gpu

# Needs atheris: .venv/bin/pip install atheris
fuzz: environment
	for target in checkpoints images manifests videos; do \
	  mkdir -p build/fuzz/$$target; \
	  $(BIN)/python -m tests.fuzz $$target build/fuzz/$$target tests/fuzz/corpus/$$target \
	    -max_total_time=600 || exit 1; \
	done

CPP_PACKAGES := g++ cmake ninja-build nlohmann-json3-dev libpng-dev pkg-config doctest-dev
CPP_SLOW_PACKAGES := clang clang-tidy clang-format libclang-rt-14-dev valgrind \
  g++-mingw-w64-x86-64-posix wine wine64 g++-aarch64-linux-gnu qemu-user
CPP_TESTS := HCFLOW_REQUIRE_CPP=1 OMP_NUM_THREADS=1 $(BIN)/pytest -q tests/cpp
missing = dpkg -s $(1) > /dev/null 2>&1 || { echo "needs: apt-get install $(1)"; exit 1; }

# The C++ runtime: built, compared with Python, its tests under sanitizers.
cpp: environment
	@$(call missing,$(CPP_PACKAGES))
	PATH="$(CURDIR)/$(BIN):$$PATH" $(CPP_TESTS)

# Also static, clang-tidy, valgrind, libFuzzer, NVIDIA's headers (fetched by pip), and the tests
# built for Windows and 64-bit Arm, run under wine and qemu.
cpp-slow: environment
	@$(call missing,$(CPP_PACKAGES) $(CPP_SLOW_PACKAGES))
	PATH="$(CURDIR)/$(BIN):$$PATH" HCFLOW_CPP_SLOW=1 $(CPP_TESTS)

clean:
	rm -rf .venv build dist demo bundles *.egg-info
