# Every target sets itself up in .venv, from constraints.txt, with CPU torch first (plain `torch` would bring
# gigabytes of CUDA). On a GPU machine: make demo TORCH="torch" CONSTRAINTS=/dev/null
PYTHON ?= python3
TORCH ?= torch==2.13.0
CONSTRAINTS ?= constraints.txt
VENV ?= .venv
RUN ?= runs/demo-$(shell date +%Y%m%d-%H%M%S)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)
NATIVE := $(wildcard csrc/*.cpp csrc/*.h csrc/core/*.cpp csrc/core/*.h csrc/core/*.inl csrc/cuda/*.cu csrc/cuda/*.cuh csrc/cuda/*.h)
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format bench fuzz wheel clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.run  ## set up, train a small Qwen2.5-VL with mixed rewards on real images, show the result
	$(BIN)/mixed-r1 demo --out $(RUN)

test: $(VENV)/.dev  ## set up and run the tests
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.dev  ## the tests that take minutes: isolated builds, kill and resume, several ranks
	$(BIN)/python -m pytest -m slow

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

wheel: $(VENV)/.dev  ## build the CPU wheel into wheelhouse/, tagged with the oldest glibc it runs on
	rm -rf dist wheelhouse
	MIXED_R1_TORCH_OPS=0 $(BIN)/python -m build --wheel --no-isolation
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m auditwheel repair --wheel-dir wheelhouse dist/*.whl

clean:  ## remove what was built
	rm -rf build dist wheelhouse *.egg-info kernels/*.egg-info kernels/mixed_r1_kernels/*.so .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.torch: $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip setuptools wheel
	$(PIP) "$(TORCH)"
	touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml setup.py $(NATIVE)
	$(PIP) nanobind pybind11 ninja
	$(PIP) --no-build-isolation --editable ".[train,mini]"
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) --no-build-isolation --editable ".[train,mini,dev]"
	touch $@

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) --no-build-isolation --editable ".[train,mini,dev,bench]"
	touch $@
