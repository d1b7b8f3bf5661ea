# The commands of vmcore.kdump; `make help` says what each does.
SHELL := /bin/bash
NOX := .venv/bin/nox --reuse-existing-virtualenvs --sessions

.PHONY: help check test test-all demo build clean

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
	$(NOX) lint unit sanity integration vm --report .work/reports/nox.json || true
	python3 tests/summary.py .work/reports/nox.json .work/reports

test-all:
	VMCORE_KDUMP_ALL=yes $(MAKE) test

demo:
	python3 -m lab demo

build:
	ansible-galaxy collection build --force

clean:
	rm -rf .nox .venv .work .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output *.tar.gz
