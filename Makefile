# `make help` lists what can be asked for. ARGS is handed on: make test ARGS="-k house -x".

SHELL := /bin/bash
PYTHON := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test lint format simulate bench regression fuzz soak lock clean
.PHONY: example-postgresql example-virtual-ip example-leader

help: ## say what can be asked for
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## make .venv with all that beatward needs
	@scripts/setup.sh run

setup-dev: ## the same, with all that working on it needs
	@scripts/setup.sh dev

run: setup ## start the demo
	@.venv/bin/beatward demo $(ARGS)

test: setup-dev ## run the tests
	@scripts/test.sh $(ARGS)

lint: setup-dev ## check style, types and the floors of the house
	@failed=; \
	check() { echo "== $$*"; "$$@" || failed="$$failed $$1"; }; \
	check .venv/bin/ruff check .; \
	check .venv/bin/ruff format --check .; \
	check .venv/bin/mypy; \
	check .venv/bin/lint-imports --no-cache; \
	if [ -n "$$failed" ]; then echo "lint: failed:$$failed" >&2; exit 1; fi

format: setup-dev ## rewrite the sources in the house's format
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .

simulate: setup ## play simulated worlds, in some minutes (ARGS="--roles --seeds 1..1000")
	@.venv/bin/beatward simulate $(or $(ARGS),--seeds 1..300 --minutes 4)

bench: setup ## measure this machine, in some minutes (ARGS="ingest --rate 300000")
	@failed=; \
	measure() { echo "== beatward bench $$*"; .venv/bin/beatward bench "$$@" || failed=1; }; \
	if [ -n "$(ARGS)" ]; then \
		measure $(ARGS); \
	else \
		for what in ingest lateness memory api http agent idle growth; do measure $$what; done; \
	fi; \
	[ -z "$$failed" ]

regression: setup-dev ## does the core cost more than before? Ratios of one run, in 10 s
	@$(PYTHON) benchmarks/regression.py $(ARGS)

fuzz: setup-dev ## a million hostile datagrams, and hypothesis looks much longer
	@BEATWARD_FUZZ=$${BEATWARD_FUZZ:-1000000} scripts/test.sh \
	    --timeout=0 --hypothesis-profile=fuzz -m "hypothesis or fuzz" $(ARGS)

example-postgresql: setup ## break two real PostgreSQL servers in ten ways; needs root
	@examples/postgresql/run $(ARGS)

example-virtual-ip: setup ## move an address between two hosts, a third one watches; needs root
	@examples/virtual-ip/run $(ARGS)

example-leader: setup ## workers with one scheduler, and a store that refuses old tokens
	@examples/leader/run $(ARGS)

soak: setup ## 100 failovers of PostgreSQL by random faults, resumable; needs root, half an hour
	@PATH="$$PWD/.tools/bin:$$PATH:/usr/sbin:/sbin" $(PYTHON) -m examples.postgresql.soak $(ARGS)

lock: ## choose the newest versions again and pin them with hashes
	@scripts/lock.sh

clean: ## remove everything that was made here
	rm -rf .venv .tools .stamp* build dist src/*.egg-info src/beatward/core/_tags*.so
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
