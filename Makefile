# Needs only python3 (3.11 or newer) with venv, make and a package index.
# What comes from the system (tshark, softflowd, fprobe, pmacct, nfdump, strace, systemd, and maven and a JDK for the
# tests' Elasticsearch) is installed where that is
# allowed, and named where it is not.
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
# Compiled modules are kept, whatever the caller's shell says: every start of a process would compile them again.
export PYTHONDONTWRITEBYTECODE :=
SYSTEM := tshark softflowd fprobe pmacct nfdump strace systemd maven default-jdk-headless

.PHONY: help setup system demo test lint types kernels test-elastic9 bench bench-live bench-elastic soak fuzz chaos docs format clean

help:
	@echo "make demo    set up, then run the main job on a small network of its own"
	@echo "make test    set up, then lint, type-check and run the tests"
	@echo "make bench   ours beside the peers;  make chaos|fuzz|soak  the longer proofs"

setup: $(STAMP)

$(STAMP): pyproject.toml uv.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.5"
	VIRTUAL_ENV=$(abspath $(VENV)) UV_PROJECT_ENVIRONMENT=$(abspath $(VENV)) $(BIN)/uv sync --locked --inexact --quiet --compile-bytecode
	touch $(STAMP)

# tshark asks a question when it is installed; the answer is no: nobody needs to capture here.
system:
	@missing=""; for tool in tshark softflowd fprobe pmacctd nfcapd strace systemd-analyze mvn javac; do \
	  command -v $$tool >/dev/null 2>&1 || [ -x /usr/sbin/$$tool ] || missing="$$missing $$tool"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "installing $(SYSTEM)"; \
	    apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(SYSTEM) >/dev/null || \
	      echo "could not install; the tests that need$$missing will say so"; \
	  else echo "not here:$$missing (Debian: apt-get install $(SYSTEM)); the tests that need them will say so"; fi; \
	fi

# The store's contract and all that is tried on a cluster, on the next major version. It needs a JDK of 21 or newer; what
# needs ES|QL says that it is for 8.19 only.
test-elastic9: setup system
	CSIRT_TEST_ELASTIC=9.5.3 $(BIN)/python -m pytest -n 2 -q tests/elastic

demo: setup
	@command -v tshark >/dev/null 2>&1 || $(MAKE) --no-print-directory system
	$(BIN)/csirt demo

lint: setup
	$(BIN)/ruff check csirt tests
	$(BIN)/ruff format --check csirt tests

types: setup
	$(BIN)/mypy csirt

# What the tests' workers would otherwise each compile for themselves.
kernels: setup
	$(BIN)/python -m tests.kernels

# Three workers for two cores: tests wait for disks, servers and clocks a quarter of their time. A file's tests share
# what they set up, so one worker runs them; in the order of the folders, which has small ones at its end.
test: setup system
	$(MAKE) --no-print-directory -j 3 lint types kernels
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -q tests

bench: setup
	$(BIN)/csirt bench pipeline
	$(BIN)/csirt bench flows || [ $$? = 7 ]
	$(BIN)/csirt bench memory

# 50,000 datagrams a second for a minute, 100,000 for 20 seconds, then as fast as it goes; nothing else should run.
bench-live: setup
	$(BIN)/csirt bench live

# Beside a server of its own, of the tests' assembly.
bench-elastic: setup system
	$(BIN)/python -m tests.elastic.serve $(BIN)/csirt bench elastic

chaos: setup
	CSIRT_KILLS=50 $(BIN)/python -m pytest -q -p no:randomly --timeout 3600 tests/crash
	CSIRT_NODE_KILLS=10 $(BIN)/python -m pytest -q -s -p no:randomly tests/elastic/shared/test_chaos.py
	CSIRT_LOG_RUNS=150 $(BIN)/python -m pytest -q -n 2 tests/elastic/shared/test_any_order.py
	CSIRT_OUTAGE=900 CSIRT_OUTAGE_ALERTS=1500 $(BIN)/python -m pytest -q -s -p no:randomly --timeout 3600 tests/elastic/test_outage.py

fuzz: setup
	CSIRT_FUZZ=full $(BIN)/python -m pytest -q --timeout 3600 tests/fuzz

soak: setup system
	$(BIN)/python -m tests.soak 60
	$(BIN)/python -m tests.elastic.serve $(BIN)/python -m tests.soak 20

docs: setup
	$(BIN)/python -m csirt.cli.reference > docs/cli.md.new
	mv docs/cli.md.new docs/cli.md

format: setup
	$(BIN)/ruff check --fix csirt tests
	$(BIN)/ruff format csirt tests

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
