# Everything here may be run again at any time: what is already there is left alone.
SECONDS ?= 30

.PHONY: help demo test check bench bench-field nightly venv clean

help: ## This list
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

demo: ## A simulated hall end to end on this machine, no root needed: make demo SECONDS=30
	@if PATH="$$PATH:/usr/sbin" command -v mosquitto >/dev/null; then scripts/setup-venv; else scripts/setup-venv demo; fi
	@.venv/bin/collector demo --seconds $(SECONDS)

test: ## Install what the tests need (Debian packages with sudo), then check and test everything
	@scripts/setup-apt
	@scripts/setup-venv demo dev
	@scripts/check
	@scripts/test

check: ## Lint, types, import rules, generated files
	@scripts/setup-venv demo dev
	@scripts/check

bench: ## Run every benchmark, print it and leave benchmarks/results/*.json
	@scripts/setup-apt
	@scripts/setup-venv demo dev
	@scripts/bench

bench-field: ## Only the field side: serial lines and TCP near their limits, wrong values, dead units, planner
	@scripts/setup-apt
	@scripts/setup-venv demo dev
	@scripts/bench field

nightly: ## The fuzz tests with sixty times the inputs, and every mutant of every profile
	@scripts/setup-apt
	@scripts/setup-venv demo dev
	@FUZZ_INPUTS=90000 MUTANTS=100000 scripts/test -n 2 -k "fuzz or hostile or mutants" --timeout 1800

venv: ## The Python environment in .venv with everything for working on the code
	@scripts/setup-venv demo dev

clean: ## Remove the environment, caches and what the demo left
	rm -rf .venv dist build demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
