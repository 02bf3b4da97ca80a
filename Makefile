# The things one does here. Each target sets up what it needs by itself: python3 and make are all it takes.

PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
SUDO ?=
export PYTHON VENV SUDO
# Without bytecode kept, each of the hundreds of interpreters that tests start would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test conformance lint check bench docs reference lock vendor clean

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  PYTHON=python3.12 picks the interpreter, VENV=DIR the environment's folder,"
	@echo "  ARGS='-k breaker' goes on to pytest, the demo or the benchmarks,"
	@echo "  CI=true has \`make test\` run what is left to CI, too: whole ranges, benchmarks and more,"
	@echo "  SUDO=1 has sudo install system packages that are missing."

setup:
	@scripts/setup

demo: setup  ## Send real traffic to a fleet of flaky servers on this machine, with sleepwalker and without
	@mkdir -p artifacts
	@$(BIN)/sleepwalker demo --html artifacts/demo.html $(ARGS)

test: setup  ## Run all tests, side by side: about four minutes on two cores
	@scripts/system-packages
	@$(BIN)/python -m pytest --processes=auto $(ARGS)

conformance: setup  ## Run the examples of RFC 6570, 8288 and 9110, of TOML and of WHATWG's hosts; `make test` does, too
	@$(BIN)/python -m pytest -q tests/conformance $(ARGS)

lint: setup  ## Lint, format, types, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python scripts/reference.py --check

check: lint  ## All of lint, and the tests of import floors and of the examples in the docs
	$(BIN)/python -m pytest -q tests/unit/test_floors.py tests/test_docs.py

bench: setup  ## Measure against plain requests, urllib3 and httpx; BENCH=outage: what clients do in an outage
	@scripts/system-packages
	@$(BIN)/python -m benchmarks$(if $(BENCH),.$(BENCH)) $(ARGS)

docs: setup  ## Build the site of the documentation into site/; VERSION=3.0 names it, ARGS=--serve shows it
	@VENV=.venv-docs LOCK=requirements/docs.txt scripts/setup
	@$(BIN)/python scripts/reference.py --check
	@$(BIN)/python -m scripts.docs_site $(if $(VERSION),--version $(VERSION)) $(ARGS)

reference: setup  ## Write the generated pages of docs/reference anew
	@$(BIN)/python scripts/reference.py

.PHONY: pictures
pictures: setup  ## Take the pictures of docs/pictures anew, from the pages and commands as they are
	@scripts/system-packages
	@PICTURES=anew $(BIN)/python -m pytest -q tests/wire/test_pictures.py $(ARGS)

.PHONY: release-check
release-check: setup  ## Build wheel, source archive and site, and check that they can be released; uploads nothing
	@scripts/release-check

lock:  ## Take the newest releases of all dependencies into requirements/, from which `setup` installs
	@scripts/lock

vendor: setup  ## Fetch the page's charting library from npm and compare; VERSION=4.2.0 takes that one
	@$(BIN)/python -m scripts.vendor $(VERSION)

clean:  ## Remove the environments and everything that was generated
	rm -rf .venv* build dist site artifacts *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
