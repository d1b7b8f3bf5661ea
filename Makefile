# The commands of vmcore.kdump; `make help` says what each does.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
NOX := .venv/bin/nox --reuse-existing-virtualenvs --sessions

.PHONY: help check test guests checks integration test-all demo build clean

help:
	@echo "make demo    arm a virtual machine, crash it, verify its vmcore (as root, on a Debian-family machine)"
	@echo "make check   lint and unit tests: the quick inner loop"
	@echo "make test    every check but the longest, crashing virtual machines included (as root)"
	@echo "make test-all  all of them"
	@echo "make build   the collection's tarball"
	@echo "make clean   remove what these commands made here"

.venv/bin/nox: requirements/nox.txt
	python3 -m venv .venv
	.venv/bin/pip install -q -r requirements/nox.txt
	@touch $@

check: .venv/bin/nox
	$(NOX) lint "unit(version='3.13')"

test: .venv/bin/nox
	python3 -m lab deps --tests
	rm -rf .work/reports
	$(MAKE) --no-print-directory --jobs=3 --keep-going guests checks integration || true
	python3 tests/summary.py .work/reports checks integration vm

# Beside each other. Emulated guests have limits of time, and leave half of two CPUs idle: the others take what is left.
guests:
	$(NOX) vm --report .work/reports/vm.json

checks:
	nice -n 19 $(NOX) lint unit sanity --report .work/reports/checks.json 2>&1 | sed -u 's/^/checks | /'

integration:
	nice -n 19 $(NOX) integration --report .work/reports/integration.json 2>&1 | sed -u 's/^/integration | /'

test-all:
	VMCORE_KDUMP_ALL=yes $(MAKE) test

demo:
	python3 -m lab demo

build:
	ansible-galaxy collection build --force

clean:
	rm -rf .nox .venv .work .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output *.tar.gz
