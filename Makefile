# Two commands: make run, make test.
PYTHON ?= python3
VENV := .venv
PROFILE := --profile
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: install run test lint bench bench-api bench-report chaos check lock
run: $(VENV)/.run
	@exec $(VENV)/bin/icaze up
install: $(VENV)/.dev

test: $(VENV)/.dev
	@$(VENV)/bin/python -m pytest

lint: $(VENV)/.dev
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports --no-cache && $(VENV)/bin/pyright
	@if command -v luacheck >/dev/null; then $(VENV)/bin/python -m lua.library | luacheck --no-color -q -; elif [ -n "$$CI" ]; then echo "luacheck is missing"; exit 1; fi

bench: bench-day
bench-report: $(VENV)/.dev
	@failed=; { for m in "peers --install" "drain $(PROFILE)" memory limit ingest scale peers peak "day --messages 5400000"; do \
	$(VENV)/bin/icaze bench $$m --json || failed="$$failed; $$m"; done; } > bench/report.ndjson; \
	$(VENV)/bin/python -m bench.report bench/report.ndjson || failed="$$failed; report"; \
	[ -z "$$failed" ] || { echo "bench-report: failed, or a promise broken:$${failed#;}"; exit 1; } >&2
bench-api: $(VENV)/.dev
	@$(VENV)/bin/icaze bench api && $(VENV)/bin/icaze bench open-loop --with-pipeline
bench-%: $(VENV)/.dev
	@$(VENV)/bin/icaze bench $*
chaos: $(VENV)/.dev
	@$(VENV)/bin/python -m tests.system.laboratory --rows chaos.ndjson
check: test lint
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "icaze needs Python 3.11 or later; set PYTHON=")'
	@$(PYTHON) -m venv $(VENV)
$(VENV)/.run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV) ..." && $(PIP) install --require-hashes -r requirements.lock && $(PIP) install --no-deps -e . && touch $@
$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	@echo "installing test, lint and bench tools ..." && $(PIP) install --require-hashes -r requirements-dev.lock && touch $@
lock:
	uv pip compile -q --universal --generate-hashes --no-annotate pyproject.toml -o requirements.lock
	uv pip compile -q --universal --generate-hashes --no-annotate pyproject.toml --group test --group lint --group bench -c requirements.lock -o requirements-dev.lock
