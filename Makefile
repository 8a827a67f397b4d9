# The two commands that matter: `make run` and `make test`. `make` alone lists the others.
# Settings come from the environment or the command line: make run PORT=8080 WORKERS=2 HUB_HOME=.hub-other

PYTHON ?= python3
VENV ?= .venv

bin := $(VENV)/bin
py := $(bin)/python
pip := $(py) -m pip --disable-pip-version-check --no-input install --quiet
# uv is several times as fast. Where it cannot do it, pip can: it knows the mirrors and proxies a machine is set up for.
# Both take nothing but the files whose hashes the lock names.
install = $(bin)/uv pip install --quiet --require-hashes --python $(py) --requirement $(1) >/dev/null 2>&1 || \
	$(pip) --require-hashes --requirement $(1) >&2
run_stamp := $(VENV)/.installed-run
test_stamp := $(VENV)/.installed-test
node_stamp := tests/node/node_modules/.installed
rewritten_stamp := $(VENV)/.rewritten-tests

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-azure test-sql test-worker token demo bench soak sql fmt docs lock sbom package lint types layers node clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

# exec: Ctrl-C and SIGTERM reach Python itself, not a shell in between.
run: $(run_stamp) ## Serve on http://localhost:$PORT (7071) with $WORKERS processes (1), state in $HUB_HOME (.hub)
	@exec $(py) -m devhost start

token: $(run_stamp) ## Print a bearer token of the development tenant's administrator (make -s token)
	@exec $(py) -m devhost token

demo: $(run_stamp) ## Tell the story in a terminal, on a host of its own or on $HUB_URL
	@exec $(py) -m devhost.demo

bench: $(run_stamp) ## Measure throughput and latency
	@exec $(py) -m bench

soak: $(test_stamp) ## Run for long under load and count what was lost; 500 random syncs in both directions a provider
	@HUB_TEST_SEQUENCES=500 $(pytest) tests/integration/domain/sync/test_sync_model.py
	@exec $(py) -m bench.soak

sql: $(run_stamp) ## Write the schema as T-SQL to deploy/sql/schema.sql
	@$(py) -m infra.sql.migrate --sql > deploy/sql/schema.sql.new && mv deploy/sql/schema.sql.new deploy/sql/schema.sql

# A file's tests stay on one process, so that its fixtures are built once; files in order, so that the long ones
# do not come last.
pytest := $(bin)/pytest -n 3 --dist loadfile --no-loadscope-reorder

# Bytecode is kept whatever the shell says: without it each of some hundred processes compiles the app anew.
test test-azure test-sql test-worker: export PYTHONDONTWRITEBYTECODE :=

# ONLY=webhooks: what the folders of that capability hold, whatever the level, and nothing else.
ifdef ONLY
only := $(shell find tests -type d -name '$(ONLY)' -not -path '*/node_modules/*') $(wildcard tests/e2e/test_$(ONLY)*.py)
test: $(test_stamp) node ## Lint, types, layers, then every test; ONLY=webhooks: the tests of that capability alone
	@[ -n "$(strip $(only))" ] || { echo "No folder of tests is named $(ONLY)." >&2; exit 2; }
	$(pytest) $(only)
else
test: $(test_stamp) node
	@$(MAKE) --no-print-directory --jobs 2 lint types layers $(rewritten_stamp)
	$(pytest)
endif

test-azure: $(test_stamp) ## Every end-to-end test over the Azure SDKs, against endpoints on loopback
	HUB_TEST_AZURE=1 $(bin)/pytest -n 0 tests/e2e

# What a message, a token or a job goes through when everything runs as in Azure.
worker_suites := tests/worker $(wildcard $(addprefix tests/e2e/test_,webhooks.py sync.py oauth.py incoming*.py log_lines.py))
test-worker: $(test_stamp) ## The suites of webhooks, sync, OAuth and incoming under the library of Azure's Python worker
	HUB_TEST_WORKER=1 $(bin)/pytest -n 2 --dist loadfile $(worker_suites)

test-sql: $(test_stamp) ## The database's tests, on SQLite and on the SQL Server of $HUB_TEST_SQLSERVER too
	$(pytest) -rs tests/contract/infra/sql

lint: $(test_stamp) ## Check style and formatting
	$(bin)/ruff check --quiet .
	$(bin)/ruff format --check --quiet .

types: $(test_stamp) ## Check types
	$(bin)/mypy

layers: $(test_stamp) ## Check which package may import which
	$(bin)/lint-imports

node: $(node_stamp) ## Install what some tests need from npm; without npm they are skipped

fmt: $(test_stamp) docs ## Format the code, fix what can be fixed
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

# --upgrade-package NAME in UPGRADE moves one; without it what is locked stays as long as it fits.
lock := $(bin)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url \
	--custom-compile-command "make lock" $(UPGRADE)
lock: $(run_stamp) ## Write the lock files (requirements.txt and its like) from the .in files
	@$(lock) requirements.in -o requirements.txt
	@$(lock) devhost/installer.in -o devhost/installer.txt
	@$(lock) devhost/requirements.in -c requirements.txt -o devhost/requirements.txt
	@$(lock) requirements-dev.in -c devhost/requirements.txt -o requirements-dev.txt
	@$(lock) tests/loopback/requirements.in -c requirements-dev.txt -o tests/loopback/requirements.txt

sbom: $(test_stamp) ## Write what the app consists of to sbom.json (CycloneDX)
	@$(bin)/cyclonedx-py requirements --output-reproducible --mc-type application --pyproject pyproject.toml \
		-o sbom.json requirements.txt

# What a remote build does, done here: the packages for the Python and the system that the app has on Azure.
package: $(run_stamp) ## Install the app's packages for Azure into .python_packages, for a deployment without remote build
	@rm -rf .python_packages
	@$(bin)/uv pip install --quiet --require-hashes --only-binary :all: --python-version 3.12 \
		--python-platform x86_64-manylinux_2_28 --target .python_packages/lib/site-packages --requirement requirements.txt

docs: $(test_stamp) ## Rewrite the README's table of settings
	$(py) -m devhost.readme

clean: ## Remove the virtual environment and caches; the state in .hub stays
	rm -rf $(VENV) .venv-worker .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything below writes to standard error, so that `make -s token` prints a token and nothing else.

$(py):
	@for candidate in "$(PYTHON)" python3.13 python3.12 python3.11; do \
		if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
		then exec "$$candidate" -m venv "$(VENV)" >&2; fi; \
	done; \
	echo "Python 3.11, 3.12 or 3.13 is needed; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1 || true)." >&2; \
	echo "Install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
	exit 1

$(run_stamp): devhost/requirements.txt devhost/installer.txt | $(py)
	@echo "Installing what the hub needs into $(VENV) ..." >&2
	@$(pip) --require-hashes --requirement devhost/installer.txt >&2 || true
	@$(call install,devhost/requirements.txt)
	@touch $@

$(test_stamp): requirements-dev.txt tests/loopback/requirements.txt $(run_stamp)
	@echo "Installing what the tests need into $(VENV) ..." >&2
	@$(call install,requirements-dev.txt)
	@$(call install,tests/loopback/requirements.txt) || \
		echo "The AMQP library could not be built: tests over a Service Bus endpoint are skipped." >&2
	@touch $@

# pytest rewrites the assertions of every test, and each of its processes would: in a new environment one does it,
# beside mypy.
$(rewritten_stamp): $(test_stamp)
	@$(bin)/pytest -n 0 --collect-only -qq >/dev/null 2>&1 || true
	@touch $@

$(node_stamp): tests/node/package.json
	@if command -v npm >/dev/null; then \
		echo "Installing Azurite, the SignalR client, playwright-core and standardwebhooks for the tests ..." >&2; \
		cd tests/node && npm install --no-package-lock --no-audit --no-fund --ignore-scripts --loglevel=error >&2 \
			&& touch node_modules/.installed; \
	else \
		echo "No npm here: the tests that need Azurite, the SignalR client or a browser will be skipped." >&2; \
	fi
