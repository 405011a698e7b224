# make demo | make demo ARGS=--check | make test | make check
# The first that is of a fitting version and really runs: a version manager may put a name on the path that does not.
FITS := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do $$p -c '$(FITS)' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.synced
WARM := $(VENV)/.compiled
# A file stays in one process, which shares a Kafka stack among its files; the longest folder begins.
POOL := -n auto --dist loadfile --no-loadscope-reorder --durations 40

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full check bento clean

help:
	@echo "make demo                the whole product on real data, until Ctrl-C"
	@echo "make demo ARGS=--check   the same, proves every hop, stops"
	@echo "make test                set up and run the tests   (make test-full: the slow ones too)"
	@echo "make bento               the decision API as a bento, with its own dependencies alone"
	@echo "make check               ruff, mypy --strict, import-linter, doctests"

setup: $(STAMP)
	@test -e $(WARM) || { $(BIN)/python -m feature_repo.warm_up && touch $(WARM); } & \
	  $(BIN)/python -m firstmile.local.jars && wait

$(STAMP): pyproject.toml uv.lock
	@test -n "$(PYTHON)" || { echo "Firstmile needs Python 3.11 or 3.12 and found neither; make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c '$(FITS)' || { echo "Firstmile needs Python 3.11 or 3.12; $(PYTHON) is $$($(PYTHON) --version 2>&1)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python's venv is missing: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -q --disable-pip-version-check uv
	@echo "$(BIN)/uv sync --frozen" >&2  # stdout is the verb's: one JSON object
	@$(BIN)/uv sync --frozen --compile-bytecode
	@touch $@

demo: setup
	@$(BIN)/firstmile demo $(ARGS)

test: setup
ifeq ($(strip $(ARGS)),)
	$(BIN)/pytest -m "not slow and not alone" $(POOL) tests/integration tests/contract tests/unit
	$(BIN)/pytest -m "not slow and alone" --durations 20 tests/integration tests/e2e
else
	$(BIN)/pytest -m "not slow" $(ARGS)
endif

test-full: setup
	$(BIN)/pytest $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	FIRSTMILE_PRODUCT=examples/oulad $(BIN)/pytest -q --doctest-modules --ignore=tests firstmile feature_repo pipelines training serving monitoring examples -p no:cacheprovider

bento: $(STAMP)
	@mkdir -p build
	@$(BIN)/uv export --frozen --extra serve --no-dev --no-emit-project --no-hashes --quiet -o build/serve-requirements.txt
	@BENTOML_DO_NOT_TRACK=True FIRSTMILE_PRODUCT=$${FIRSTMILE_PRODUCT:-examples/oulad} $(BIN)/bentoml build $(ARGS)

clean:
	rm -rf $(VENV) .firstmile
