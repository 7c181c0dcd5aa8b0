# make run and make test do all the set-up. They need python3 (3.11 or newer) with pip or uv, and nothing else.
PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
STAMP := .venv/.complete
APT := DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get

.PHONY: setup run test check test-deps lock clean

setup: $(STAMP)

# Everything that is installed is in requirements.lock with its hashes, the build backend too, so the project itself is
# built without isolation. The stamp is the last thing written: an interrupted set-up starts anew.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Byway needs Python 3.11 or newer as $(PYTHON); name another one with: make PYTHON=python3.12 setup" >&2; exit 1; }
	@if command -v uv >/dev/null; then \
	  set -ex; \
	  uv venv --quiet --clear --no-project --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv; \
	  uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock; \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .; \
	else \
	  if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then \
	    set -ex; $(PYTHON) -m venv --clear .venv; pip="$(BIN)/python -m pip"; \
	  else \
	    set -ex; $(PYTHON) -m venv --clear --without-pip .venv; pip="$(PYTHON) -m pip --python $(BIN)/python"; \
	  fi; \
	  $$pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock; \
	  $$pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .; \
	fi
	@touch $@

run: $(STAMP)
	@exec $(BIN)/byway run $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests come last: what could not run for want of a program is listed at the end.
test: check
	$(BIN)/pytest --numprocesses 2 --dist loadfile --max-worker-restart 0 $(ARGS)

# The programs that tests run as relays and clients: Debian packages, as root. They are installed, not started.
test-deps:
	$(APT) update
	$(APT) install --yes --no-install-recommends $$($(PYTHON) tests/support/programs.py)

# After a change of dependencies; needs uv.
lock:
	uv lock
	{ echo '# Exported from uv.lock by `make lock`; not edited by hand.'; \
	  uv export --quiet --locked --all-extras --no-emit-project --no-header --no-annotate; } > requirements.lock

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
