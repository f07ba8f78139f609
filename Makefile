# One virtual environment, .venv, serves every target; it is built on first use.
VENV := .venv

# The first of these that runs, is 3.11 or newer and can build an environment (a name on the PATH alone proves nothing).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	"$$p" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)

# A torch of your own is remembered beside the environment it was put into.
TORCH ?= $(shell cat $(VENV)/.torch 2>/dev/null)
export TORCH

ifeq ($(origin PY),undefined)
PY := $(VENV)/bin/python
GPU_CHECK_NEEDS := venv
endif

# An editable install does not build the native cores again by itself.
NATIVE := $(wildcard scatcache/scattering/native/*.cpp scatcache/scattering/native/*.h)

.PHONY: help venv demo test lint bench bench-extract gpu-check faults
.DEFAULT_GOAL := help

help:
	@echo 'make demo       a first extraction and a first training, on photographs that need no download'
	@echo 'make test       lint, then every test, two at once; ends with the skipped tests counted by reason'
	@echo 'make lint       ruff check, ruff format --check, mypy'
	@echo 'make faults     kill and fail a run at each of its file operations, damage every file of a store; most of an hour'
	@echo "make bench      time the transform beside Kymatio's, up to half an hour on two idle cores"
	@echo "                (make bench BENCH='--sizes 32,128 --J 2 --threads 1': about a minute)"
	@echo 'make bench-extract'
	@echo '                time the whole command beside the transform alone'
	@echo 'make gpu-check  the tests that need a CUDA device, then the GPU benchmark'
	@echo '                (make gpu-check PY=python3: with that interpreter; builds nothing, needs no network)'
	@echo
	@echo 'All share $(VENV), made by $(PYTHON) (choose with PYTHON=...) with the versions of constraints.txt.'
	@echo "To bring your own torch:  make demo TORCH='torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128'"
	@echo 'TORCH goes to pip install as it stands, in place of the pinned torch; $(VENV) remembers it until deleted.'
	@echo 'SCATCACHE_TEST_DATA=FOLDER tells the tests where the larger test data lie; without it they skip, and say so.'

demo: venv
	$(VENV)/bin/python -m pipelines.demo

test: lint
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

lint: venv
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Both run, whatever comes of the first, which needs a C compiler. FAULTS: options of the first, such as --reads.
faults: venv
	@failed=0; $(VENV)/bin/python -m tests.faults.campaign $(FAULTS) || failed=1; \
	$(VENV)/bin/python -m tests.faults.corruptions || failed=1; exit $$failed

bench: venv
	$(VENV)/bin/python -m tests.benchmarks.bench_transform $(BENCH)

bench-extract: venv
	$(VENV)/bin/python -m tests.benchmarks.bench_extract $(BENCH)

# Only files with GPU tests are collected: a bare interpreter then needs no more packages than those import.
gpu-check: $(GPU_CHECK_NEEDS)
	@$(PY) -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)'; \
	case $$? in \
		0) ;; \
		3) echo 'gpu-check: torch finds no CUDA device on this machine' >&2; exit 2;; \
		*) echo 'gpu-check: $(PY) does not import torch' >&2; exit 2;; \
	esac
	$(PY) -m pytest -m gpu $$(grep -rl --include='test_*.py' 'mark\.gpu' tests || echo tests)
	@if [ -f tests/benchmarks/bench_gpu.py ]; then $(PY) -m tests.benchmarks.bench_gpu; fi

# The stamp holds what the environment was made from. It goes before a change and comes back after it, so an interrupted
# build is never taken for a finished one. Where flock exists, two makes at once wait for each other.
# Some versions of torch demand one exact sympy: with a torch of one's own, neither of the two is pinned.
venv:
	@test -n "$(PYTHON)" || { echo 'no Python 3.11 or newer found; name one: PYTHON=/path/to/python3' >&2; exit 1; }
	@set -e; exec 9>.venv.lock; if command -v flock >/dev/null; then flock 9; fi; \
	made_from="$$(cat pyproject.toml constraints.txt $(NATIVE) | cksum) $$TORCH"; \
	if [ "$$(cat $(VENV)/.stamp 2>/dev/null)" = "$$made_from" ]; then exit 0; fi; \
	echo "building $(VENV) with $(PYTHON)$${TORCH:+ and $$TORCH}"; \
	if [ -e $(VENV)/.stamp ]; then rm $(VENV)/.stamp; else $(PYTHON) -m venv --clear $(VENV); fi; \
	rm -f $(VENV)/.torch; \
	pip="$(VENV)/bin/python -m pip --disable-pip-version-check"; pins=constraints.txt; \
	$$pip install --quiet -c constraints.txt setuptools; \
	if [ -n "$$TORCH" ]; then \
		pins=$(VENV)/constraints.txt; grep -vE '^(torch|sympy)==' constraints.txt >$$pins; \
		$$pip install $$TORCH; \
	fi; \
	$$pip install --no-build-isolation -c $$pins -e '.[dev,photos]'; \
	if [ -n "$$TORCH" ]; then printf '%s\n' "$$TORCH" >$(VENV)/.torch; fi; \
	printf '%s\n' "$$made_from" >$(VENV)/.stamp
