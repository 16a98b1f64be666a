# make run     install what is missing, make .venv, start the dashboard   (ARGS="--filter 443")
# make test    the same set-up, then every test                           (TESTARGS="-k filter")
# make bench   side by side with bcc's tcpstates and bpftrace              (BENCHARGS="--rounds 5")
# make bench-scale   100 to 100,000 connections: memory, CPU, refresh, keys  (BENCHARGS="--sizes 1000")
# make bench-hooks   what each kernel program costs, against an empty one    (BENCHARGS="--tree OTHER")
# make bench-rates   what a transition costs, from 6 to 300,000 a second; bench-plots draws both
# make soak    ten million transitions, a thousand starts and stops       (SOAKARGS="--millions 1 --starts 0")
# make vmtest  the kernel tests on Debian's kernels, in QEMU              (VMARGS="--kernel 6.1", "--list")

# The system's Python, whatever pyenv or conda put first on PATH: its packages are where bcc is.
PYTHON ?= /usr/bin/python3
SHELL := /bin/bash
BIN := .venv/bin
STAMP := .venv/.stamp
# env variables that make colours and characters right; sudo would drop them
KEEP := COLORTERM,LANG,LC_ALL,LC_CTYPE,NO_COLOR,TERM
# as installed: pip compiles, a checkout does so at its first start; where that is forbidden every start takes 0.25 s more
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test lint types check audit screenshots bench bench-scale bench-hooks bench-rates bench-plots soak vmtest lock clean help
.DEFAULT_GOAL := help

run: $(STAMP)
	@if [ "$$(id -u)" = 0 ]; then exec $(BIN)/tcptop-tui $(ARGS); \
	elif command -v sudo >/dev/null; then exec sudo --preserve-env=$(KEEP) "$(CURDIR)/$(BIN)/tcptop-tui" $(ARGS); \
	else echo "no sudo: starting without BPF" >&2; exec $(BIN)/tcptop-tui $(ARGS); fi

# hermetic tests side by side, those that need the host for themselves one by one; 5: no test chosen
test: $(STAMP)
	@.ci/setup tests
	$(BIN)/python -m pytest -m hermetic --numprocesses 4 $(TESTARGS) || [ $$? = 5 ]
	$(BIN)/python -m pytest -m host $(TESTARGS) || [ $$? = 5 ]

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)
	$(BIN)/mypy tcptop_tui benchmarks screenshots .ci/audit.py
	MYPYPATH=tests/vm $(BIN)/mypy --explicit-package-bases tests/vm

check: test lint types

screenshots: $(STAMP)
	$(BIN)/python screenshots/make.py

# pip checks every hash; the build back end is in the lock too, so that nothing else is fetched
$(STAMP): pyproject.toml .ci/requirements.lock .ci/setup
	@PYTHON="$(PYTHON)" .ci/setup system
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

# peers: bpftrace and bpfcc-tools, from the system's packages
bench: $(STAMP)
	@.ci/setup tests
	$(BIN)/python benchmarks/run.py $(BENCHARGS)

# known vulnerabilities of what is locked; a line where nobody can be asked
audit: $(STAMP)
	@[ .venv/audit/.stamp -nt .ci/audit.lock ] || { "$(PYTHON)" -m venv .venv/audit && .venv/audit/bin/python -m pip \
		install --quiet --disable-pip-version-check --require-hashes -r .ci/audit.lock && touch .venv/audit/.stamp; } || true
	@$(BIN)/python .ci/audit.py .venv/audit/bin/pip-audit .ci/requirements.lock

bench-scale: $(STAMP)
	$(BIN)/python benchmarks/scale.py $(BENCHARGS)

bench-hooks: $(STAMP)
	$(BIN)/python benchmarks/hooks.py $(BENCHARGS)

bench-rates: $(STAMP)
	@.ci/setup tests
	$(BIN)/python benchmarks/rates.py $(BENCHARGS)

bench-plots: $(STAMP)
	$(BIN)/python benchmarks/plots.py

# some forty minutes; a short form of it is in the tests
soak: $(STAMP)
	$(BIN)/python benchmarks/soak.py $(SOAKARGS)

# QEMU from the system's packages, virtme-ng with hashes, kernels through apt into the user's cache folder
vmtest: $(STAMP)
	@.ci/setup vm
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .ci/vm.lock
	@$(BIN)/python tests/vm/run.py $(VMARGS)

# after a change of the dependencies; needs uv
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock:
	$(LOCK) --extra dev pyproject.toml --output-file .ci/requirements.lock
	$(LOCK) .ci/audit.in --output-file .ci/audit.lock
	$(LOCK) .ci/vm.in --output-file .ci/vm.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -prune -exec rm -rf {} +

help:
	@sed -n 's/^# make/make/p' Makefile
