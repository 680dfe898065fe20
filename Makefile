# Every target sets up what it needs, in a virtual environment of its own.
#
# PYTHON=python3.12        which Python to make it from (default: the first from 3.10 up)
# VENV=.venv               where
# NO_INSTALL=1             never install Debian packages
# JOBS=3                   processes that run the tests, each with servers of its own
# REQUIRE_SERVICES=1       a service that cannot be had fails the tests
# SECOND_LOOK=1            a few tests that fail are run once more, alone (scripts/second_look.sh)
# PYTEST_ARGS='-k outbox'  for pytest; likewise BENCH_ARGS, TORTURE_ARGS, EXTRACTION_ARGS and TOX_ARGS

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV ?= .venv
export VENV PYTHON

bin = $(VENV)/bin
is_on = $(filter-out 0 no false,$(1))

# tox looks along PATH, where pyenv's shims answer only for the version in use.
nothing :=
pyenv_bins = $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1*/bin)
more_pythons = $(subst $(nothing) $(nothing),,$(addprefix :,$(pyenv_bins)))

# The processes that the tests start would compile the package each time anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

# Needs the dependency group of that name in pyproject.toml.
environment-%:
	@scripts/environment.sh $*

.PHONY: demo
demo: environment-demo ## payments, events and receipts to look at, on SQLite and without any server
	@PYTHONPATH=testproject $(bin)/python -m demo

.PHONY: demo-full
demo-full: environment-demo-full ## one payment's trace, over PostgreSQL, RabbitMQ and Node.js; then payments' tables move
	@PYTHONPATH=.:testproject $(bin)/python -m demo.full

service = testproject/notifications_service

.PHONY: node
node: $(service)/node_modules/.package-lock.json ## install what the Node.js service needs

$(service)/node_modules/.package-lock.json: $(service)/package-lock.json
	npm ci --prefix $(service) --ignore-scripts --no-audit --no-fund
	@touch $@

# With servers, a test waits for them more often than it computes.
test newest: JOBS ?= 3
quick core: JOBS ?= 2

.PHONY: test
test: environment-test ## run the tests, with the services found or started
	$(if $(call is_on,$(SECOND_LOOK)),scripts/second_look.sh) $(bin)/python -m pytest \
		--numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder \
		$(if $(call is_on,$(REQUIRE_SERVICES)),--require-services) $(PYTEST_ARGS)

.PHONY: quick core
quick: environment-test ## the tests that need no server, for the daily loop
	$(bin)/python -m pytest -q --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder \
		--without-services -m 'not slow' $(PYTEST_ARGS)

core: environment-test ## the quick tests without any opt-in app installed
	$(bin)/python -m pytest -q --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder \
		--without-services -m 'not slow' --ds tests.settings_core $(PYTEST_ARGS)

.PHONY: lint lint-style lint-types lint-floors lint-migrations
lint: lint-style lint-floors lint-migrations lint-types ## style, types, floors and migrations (-k: all, even if one fails)

lint-style: environment-lint
	$(bin)/ruff check .
	$(bin)/ruff format --check .

# From a cold cache, the plugin does not see the managers of all models without the path.
lint-types: environment-lint
	PYTHONPATH=.:testproject $(bin)/mypy

lint-floors: environment-lint
	$(bin)/lint-imports

lint-migrations: environment-lint
	DATABASE_URL= PYTHONPATH=testproject:. $(bin)/python -m django makemigrations \
		--settings tests.settings --check --dry-run

.PHONY: docs
docs: environment-docs ## build the documentation into docs/_build
	$(bin)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs docs/_build

.PHONY: matrix
matrix: environment-matrix ## the quick tests on each Python and Django there is
	PATH="$$PATH$(more_pythons)" $(bin)/tox run $(TOX_ARGS)

.PHONY: browser
browser: environment-matrix ## the pages of the admin in a browser, on the newest Django
	PATH="$$PATH$(more_pythons)" $(bin)/tox run -e browser $(TOX_ARGS)

.PHONY: newest
newest: ## the tests and the matrix inside a newer Debian (root): newer servers, newer Pythons
	@SUITE="$(SUITE)" MYSQL="$(MYSQL)" PYTEST_ARGS="$(PYTEST_ARGS)" TOX_ARGS="$(TOX_ARGS)" JOBS="$(JOBS)" \
		NO_INSTALL="$(NO_INSTALL)" scripts/newest.sh

.PHONY: bench
BENCHMARKS = $(basename $(notdir $(wildcard tests/benchmarks/bench_*.py)))
bench: environment-bench ## measure: all of them, or make bench BENCHMARKS=bench_relay
	@failed=; for each in $(BENCHMARKS); do echo "=== $$each"; \
		PYTHONPATH=.:testproject $(bin)/python -m tests.benchmarks.$$each $(BENCH_ARGS) \
			|| failed="$$failed $$each"; \
	done; test -z "$$failed" || { echo "A bar was missed:$$failed"; exit 1; }

SECONDS ?= 600
SEED ?= 1
DATABASE ?= postgresql
HISTORY ?= torture-$(DATABASE)-$(SEED).gz
.PHONY: torture
torture: environment-test ## kill everything for SECONDS, by SEED, on DATABASE
	PYTHONPATH=.:testproject $(bin)/python -m tests.torture --seconds $(SECONDS) \
		--seed $(SEED) --database $(DATABASE) --history $(HISTORY) \
		--logs $(basename $(HISTORY)) $(TORTURE_ARGS)

REPORT ?= extraction-$(SEED).html
.PHONY: extraction
extraction: SECONDS = 360
extraction: environment-test ## one extraction from end to end, under fire, for SECONDS, by SEED
	PYTHONPATH=.:testproject $(bin)/python -m tests.extraction --seconds $(SECONDS) \
		--seed $(SEED) --database $(DATABASE) --report $(REPORT) $(EXTRACTION_ARGS)

.PHONY: clean
clean: ## remove what the targets made
	find django_strangler testproject tests -name __pycache__ -prune -exec rm -rf {} +
	rm -rf $(service)/node_modules .venv .venv.lock .tox .mypy_cache .ruff_cache .pytest_cache .import_linter_cache docs/_build
