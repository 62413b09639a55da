# On a fresh Debian with Python 3.11 and make, run as root, each target does its own set-up; what that prints goes to
# stderr, so that `make -s demo ARGS='--format json'` prints the demo's JSON and nothing else on stdout.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: demo serve test lint bench fuzz soak clean help mariadb chromium

PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS ?=
VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq
APT_INSTALL := $(APT) install --yes --no-install-recommends
# Two at a time, for two cores; the cache of pytest is the first one's.
ON_SERVER := $(PY) -m pytest -p no:cacheprovider
ISOLATED := tests/site/test_scenarios.py tests/site/test_transactions.py
INPUTS := pyproject.toml constraints.txt

demo: $(VENV)/.site ## Play the scenes against a running site; measure how stale each read gets. ARGS='--format json'
	@PYTHONPATH=sample_site $(PY) -m demo $(ARGS)

serve: $(VENV)/.site ## Run the sample site. ARGS are passed on
	@$(PY) sample_site/serve.py $(ARGS)

test: lint mariadb chromium ## Run all tests: on SQLite everything, on PostgreSQL and MariaDB the site's, at two isolation levels
	@echo 'on SQLite; meanwhile on PostgreSQL and MariaDB, which is printed afterwards'; \
	servers=$$(mktemp); \
	{ failed=0; \
	  $(ON_SERVER) tests/site --database postgresql || failed=1; \
	  $(ON_SERVER) tests/site --database mariadb || failed=1; \
	  $(ON_SERVER) $(ISOLATED) --database postgresql --isolation 'repeatable read' || failed=1; \
	  $(ON_SERVER) $(ISOLATED) --database mariadb --isolation 'repeatable read' || failed=1; \
	  exit $$failed; } >"$$servers" 2>&1 & lane=$$!; \
	$(PY) -m pytest; sqlite=$$?; \
	wait $$lane; lane=$$?; cat "$$servers"; rm -f "$$servers"; \
	exit $$((sqlite || lane))

lint: $(VENV)/.dev ## Run ruff, mypy and the import contracts
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.bench ## Measure side by side with its peers; prints ratios. ARGS='--quick --format json'
	@$(PY) -m benchmarks $(ARGS)

fuzz: $(VENV)/.dev ## Throw generated and mutated policy files at the loader. ARGS are passed on
	@$(PY) tests/policies/fuzz.py $(ARGS)

soak: $(VENV)/.dev ## A million cached reads under a thousand faults. ARGS='--reads 100000 --database postgresql'
	@PYTHONPATH=.:sample_site $(PY) -m tests.soak $(ARGS)

clean: ## Remove .venv and everything that was made
	rm -rf $(VENV) build dist *.egg-info .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# One environment in stages: the demo needs no servers and no linters.
$(VENV)/.site: $(INPUTS) | $(VENV)/.made
	@echo 'installing the packages of the sample site into $(VENV)' >&2
	@$(PIP_INSTALL) --editable '.[site]' >&2
	@touch $@

$(VENV)/.dev: $(INPUTS) | $(VENV)/.made
	@echo 'installing the packages for development into $(VENV)' >&2
	@$(PIP_INSTALL) --editable '.[dev]' >&2
	@touch $@ $(VENV)/.site

# The peers that are measured; never part of the tests.
$(VENV)/.bench: $(INPUTS) | $(VENV)/.made
	@echo 'installing the packages for the benchmarks into $(VENV)' >&2
	@$(PIP_INSTALL) --editable '.[bench]' >&2
	@touch $@ $(VENV)/.site

$(VENV)/.made:
	@{ \
	  if ! "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    echo 'make: Python 3.11 or later is needed; install it, or say make PYTHON=/path/to/python'; exit 1; \
	  fi; \
	  if ! "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null; then \
	    if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	      echo 'make: this Python cannot make a virtual environment; run as root: apt-get install python3-venv'; exit 1; \
	    fi; \
	    $(APT_INSTALL) python3-venv || { $(APT) update && $(APT_INSTALL) python3-venv; }; \
	  fi && \
	  "$(PYTHON)" -m venv --clear $(VENV) && touch $@; \
	} >&2

# The server's programs only, without a service. Where they cannot be had the tests say so: skipped, or on CI failed.
mariadb:
	@{ \
	  PATH="$$PATH:/usr/sbin"; packages='mariadb-server-core mariadb-client-core'; \
	  if ! { command -v mariadbd && command -v mariadb-install-db && command -v my_print_defaults; } >/dev/null && \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $$packages"; \
	    $(APT_INSTALL) $$packages || { $(APT) update && $(APT_INSTALL) $$packages; } || true; \
	  fi; \
	} >&2

# For the test that opens a report; without a browser it says that it is skipped.
chromium:
	@{ \
	  if ! { command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null && \
	    [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo 'installing chromium'; \
	    $(APT_INSTALL) chromium || { $(APT) update && $(APT_INSTALL) chromium; } || true; \
	  fi; \
	} >&2
