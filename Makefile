# `make help` lists the targets. Each makes what it needs, once: a virtual environment in .venv with the pinned
# packages of constraints.txt. Set PYTHON to use another interpreter than python3.11.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTOS := $(shell find protos/groundwire -name '*.proto' | sort)
PACKAGES := groundwire_rpc search_service inference_service gateway groundwire_eval groundwire_cli
CODE := $(PACKAGES) benchmarks models tests
BENCH_ARGS ?=
SOAK_MINUTES ?= 10
FAULTS_ARGS ?=
SERVICE ?= gateway
TRAINING := .groundwire/training
TRAIN := $(TRAINING)/venv/bin/python -m models.builtin.training --work $(TRAINING)
FUZZ_INPUTS ?= 1000000
FUZZ_SECONDS ?= 3600
FUZZ_ARGS ?=
SEARCH_FAULTS_ARGS ?=
TRAIN_MINUTES ?= 300
ANNEAL_MINUTES ?= 20

.DEFAULT_GOAL := help
.PHONY: help setup demo up serve status test check fmt lint types imports proto proto-check proto-lint constraints model \
	bench-engine bench-quality builtin-model soak faults fuzz search-faults audit build clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment (llama.cpp is compiled once: several minutes)

# llama-cpp-python is published as source only. pip compiles it, because pip keeps the wheel it made for the next clone
# whatever the registry says of caching; uv, which installs the rest within seconds, may compile it anew.
$(READY): pyproject.toml constraints.txt Makefile
	@test -n "$(PYTHON)" || { echo "setup: no python3 found. Install Python 3.11 or newer, or set PYTHON=/path/to/python." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "setup: $(PYTHON) is $$($(PYTHON) -V). Groundwire needs Python 3.11 or newer; set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || { echo "setup: no C++ compiler found; llama.cpp is compiled from source. On Debian or Ubuntu: apt-get install g++" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "setup: could not make a virtual environment. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@echo "setup: installing llama-cpp-python into $(VENV) (compiled the first time: several minutes)"
	@$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt llama-cpp-python
	@echo "setup: installing the other packages"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## ask a real question through all three processes, with what is built in
	@$(BIN)/groundwire demo

up: setup ## run all three services until Ctrl-C
	@$(BIN)/groundwire up

serve: setup ## run one service: make serve SERVICE=search
	@$(BIN)/groundwire serve $(SERVICE)

status: setup ## how the running services are
	@$(BIN)/groundwire status

model: setup ## download Phi-3-mini (2.4 GB) with resume and checksum
	@$(BIN)/groundwire model pull

# Much of the suite waits for processes. A file's tests stay in one worker, which shares what its fixtures started.
test: setup ## run every test
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

bench-engine: setup ## measure the engine against llama-server (builds it once; about 40 minutes; BENCH_ARGS=--help)
	@PYTHONPATH=.:protos/gen $(BIN)/python -m benchmarks.engine $(BENCH_ARGS)

bench-quality: setup ## measure how good a model's answers are (the built-in one; BENCH_ARGS="--model FILE")
	@PYTHONPATH=.:protos/gen $(BIN)/python -m benchmarks.quality $(BENCH_ARGS)

# torch, which brings several gigabytes, stays out of the project's own environment.
$(TRAINING)/venv/.ready: pyproject.toml constraints.txt | setup
	@mkdir -p $(TRAINING)
	@test -x $(TRAINING)/venv/bin/python || $(PYTHON) -m venv $(TRAINING)/venv
	@$(TRAINING)/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt llama-cpp-python
	@$(BIN)/uv pip install --quiet --python $(TRAINING)/venv/bin/python -c constraints.txt -e '.[training]'
	@touch $@

builtin-model: $(TRAINING)/venv/.ready ## train the built-in model (on Debian; goes on where it was; with a GPU: TRAIN_MINUTES=2)
	@$(TRAIN) corpus
	@$(TRAIN) train --minutes $(TRAIN_MINUTES)
	@$(TRAIN) train --minutes $(ANNEAL_MINUTES) --anneal --save-as annealed.pt
	@$(TRAIN) export --checkpoint annealed.pt --output models/builtin/groundwire-builtin.gguf

soak: setup ## 10 minutes of random calls, cancels and deadlines against the inference service, then all faults
	@PYTHONPATH=.:protos/gen $(BIN)/python -m benchmarks.soak --minutes $(SOAK_MINUTES)
	@$(MAKE) --no-print-directory faults
	@$(MAKE) --no-print-directory search-faults SEARCH_FAULTS_ARGS=--output
	@$(MAKE) --no-print-directory fuzz FUZZ_ARGS=--output

faults: setup ## overload, cancel, kill, read slowly (half an hour on an idle machine; FAULTS_ARGS=--short)
	@PYTHONPATH=.:protos/gen $(BIN)/python -m benchmarks.faults $(FAULTS_ARGS)

fuzz: setup ## try mutated inputs on every RPC and parser (FUZZ_INPUTS=1000000 FUZZ_SECONDS=3600)
	@PYTHONPATH=.:protos/gen $(BIN)/python -m benchmarks.fuzz --inputs $(FUZZ_INPUTS) --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

# It asks others on the network, and what they know changes by itself: `make check` must not depend on it.
audit: setup ## ask for known vulnerabilities of the pinned packages
	@$(BIN)/python .ci/audit $(BIN)/uv constraints.txt

search-faults: setup ## kill indexing 200 times, fill its disk, and let Brave misbehave (about 10 minutes)
	@PYTHONPATH=.:protos/gen $(BIN)/python -m benchmarks.search_faults $(SEARCH_FAULTS_ARGS)

check: setup lint types imports proto-lint proto-check ## everything that must hold before a commit, but the tests

lint: setup
	@$(BIN)/ruff format --check $(CODE) || { echo "check: format differs; run 'make fmt'." >&2; exit 1; }
	@$(BIN)/ruff check $(CODE)

types: setup
	@$(BIN)/mypy

imports: setup
	@PYTHONPATH=.:protos/gen $(BIN)/lint-imports

proto-lint: setup
	@$(BIN)/buf lint || { echo "check: the protos do not pass buf lint." >&2; exit 1; }
	@$(BIN)/buf format --diff --exit-code || { echo "check: the protos' format differs; run 'make fmt'." >&2; exit 1; }

fmt: setup ## format the code and the protos, mend what lint can mend
	@$(BIN)/ruff check --fix-only --quiet $(CODE)
	@$(BIN)/ruff format $(CODE)
	@$(BIN)/buf format -w

proto: setup ## generate the stubs in protos/gen
	@$(MAKE) --no-print-directory generate OUT=protos/gen

.PHONY: generate
generate:
	@rm -rf $(OUT)/groundwire && mkdir -p $(OUT)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos --python_out=$(OUT) --grpc_python_out=$(OUT) \
		--mypy_out=quiet:$(OUT) --mypy_grpc_out=quiet:$(OUT) $(PROTOS)

proto-check: setup ## fail where protos/gen is not what the protos generate
	@tmp=$$(mktemp -d) && trap 'rm -rf $$tmp' EXIT && $(MAKE) --no-print-directory generate OUT=$$tmp \
		&& diff -r -x __pycache__ $$tmp/groundwire protos/gen/groundwire \
		|| { echo "check: protos/gen is stale; run 'make proto' and commit." >&2; exit 1; }

constraints: setup ## pin the newest allowed packages in constraints.txt
	@$(BIN)/uv pip compile pyproject.toml --all-extras --python-version 3.11 --upgrade --quiet \
		--no-emit-index-url --no-annotate --no-header -o constraints.txt

build: setup ## build the wheel into dist/
	@$(BIN)/uv build --quiet --wheel

clean: ## remove what make made here, the virtual environment included
	@rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .groundwire
