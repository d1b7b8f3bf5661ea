# The commands of vmcore.kdump; `make help` says what each does.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
NOX := .venv/bin/nox --reuse-existing-virtualenvs --sessions

.PHONY: help check test guests beside test-all demo build clean

help:
	@echo "make demo    arm a virtual machine, crash it, verify its vmcore (as root, on a Debian-family machine)"
	@echo "make check   lint and unit tests: the quick inner loop"
	@echo "make test    every check there is, crashing virtual machines included (as root)"
	@echo "make test-all  the same, and the longest tests on virtual machines"
	@echo "make build   the collection's tarball"
	@echo "make clean   remove what these commands made here"

.venv/bin/nox: requirements/nox.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements/nox.txt
	@touch $@

check: .venv/bin/nox
	$(NOX) lint "unit(version='3.6')" "unit(version='3.13')"

test: .venv/bin/nox
	python3 -m lab deps --tests
	rm -rf .work/reports
	$(MAKE) --no-print-directory --jobs=2 --keep-going guests beside || true
	python3 tests/summary.py .work/reports beside guests

# An emulated guest keeps one CPU busy, and people waiting: it goes first, and the other checks take what it leaves.
guests:
	$(NOX) vm --report .work/reports/guests.json

beside:
	nice -n 19 $(NOX) lint unit sanity integration --report .work/reports/beside.json 2>&1 | sed -u 's/^/beside | /'

test-all:
	VMCORE_KDUMP_ALL=yes $(MAKE) test

demo:
	python3 -m lab demo

build:
	ansible-galaxy collection build --force

clean:
	rm -rf .nox .venv .work .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output *.tar.gz
