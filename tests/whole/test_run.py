"""`byway run`: what the command line asks of the application."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.app import process
from proxy.app.run_options import RunOptions
from proxy.cli.commands import app
from proxy.cli.run_options import read_run_options
from proxy.model.feature import Feature
from tests.support.command_line import Byway, Home
from tests.support.rows import each_row


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    asked: list[RunOptions] = []

    def run(options: RunOptions, _features: Sequence[Feature]) -> int:
        asked.append(options)
        return 1 if options.port == 1 else 0

    monkeypatch.setattr(process, "run", run)
    return asked


def test_nothing_said_leaves_everything_to_the_configuration(byway: Byway, home: Home, asked: list[RunOptions]) -> None:
    assert byway("run").code == 0
    assert asked == [RunOptions(config=home.config, state=home.state)]
    assert asked[0].flags == {}


def test_every_flag_arrives(byway: Byway, asked: list[RunOptions]) -> None:
    words = (
        "run --port 0 --listen ::1 --allow 127.0.0.1:* --allow 198.18.0.0/15 --ephemeral -vv -q --config c --state s"
    )
    assert byway(*words.split()).code == 0
    assert asked == [
        RunOptions(
            config=Path("c"),
            state=Path("s"),
            port=0,
            listen="::1",
            allow=("127.0.0.1:*", "198.18.0.0/15"),
            ephemeral=True,
            verbose=2,
            quiet=True,
        )
    ]


def test_the_exit_code_is_the_applications(byway: Byway, asked: list[RunOptions]) -> None:
    assert byway("run", "--port", "1").code == 1


@pytest.mark.parametrize("port", ["-1", "65536", "http", ""])
def test_what_is_no_port_is_wrong_usage(byway: Byway, asked: list[RunOptions], port: str) -> None:
    assert byway("run", "--port", port).code == 2
    assert asked == []


# -- the same, read without typer --------------------------------------------------------------------------------------

PLAIN = [
    "run",
    "run --port 0",
    "run --port=08119 --listen=::1",
    "run --port 1 --port 2",
    "run --allow 127.0.0.1:* --allow=198.18.0.0/15",
    "run --ephemeral --quiet",
    "run -q -v --verbose",
    "--config a --state b run",
    "--config a --state b -v -v run --config=c -v",
    "-q run --state run",
    "run --state a=b",
]
FOR_TYPER = [
    "",
    "status",
    "run --help",
    "run -h",
    "run -vv",
    "run --json",
    "run --port 65536",
    "run --port 123456",
    "run --port -1",
    "run --port http",
    "run --port",
    "run --port=",
    "run --state --quiet",
    "run --quiet=1",
    "run --lis ::1",
    "run -- --quiet",
    "run run",
    "--port 1 run",
    "--ephemeral run",
    "status run",
    "help run",
]


def typer_reads(words: list[str]) -> list[RunOptions]:
    asked: list[RunOptions] = []

    def run(options: RunOptions, _features: Sequence[Feature]) -> int:
        asked.append(options)
        return 0

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        patch.setattr(process, "run", run)
        app(words, prog_name="byway")
    return asked


@each_row("line", PLAIN)
def test_plain_options_are_read_without_typer(line: str) -> None:
    assert [read_run_options(line.split())] == typer_reads(line.split())


@each_row("line", FOR_TYPER)
def test_all_else_is_left_to_typer(line: str) -> None:
    assert read_run_options(line.split()) is None


WORDS = sorted({word for line in PLAIN + FOR_TYPER for word in line.split()} | {"", " ", "٣", "--port=٣", "=", "--"})


@given(st.lists(st.sampled_from(WORDS), max_size=5), st.lists(st.sampled_from(WORDS), max_size=5))
@settings(max_examples=300)
def test_what_is_read_without_typer_is_what_typer_reads(before: list[str], behind: list[str]) -> None:
    words = [*before, "run", *behind]
    if (options := read_run_options(words)) is not None:
        assert typer_reads(words) == [options]


# -- what a start loads ------------------------------------------------------------------------------------------------

WHEN_LISTENING = """
import os, signal, sys
from proxy.app.app import App

def list_modules(app):
    print(*sys.modules, sep="\\n", flush=True)
    os.kill(os.getpid(), signal.SIGINT)

App.print_greeting = list_modules
from proxy.cli import main
main()
"""
NOT_FOR_A_START = """
    typer rich shellingham aiohttp jinja2 pydantic cryptography dns h2 mitmproxy http.client email html.entities
    filelock decimal tempfile shutil ctypes difflib tomllib gettext uuid encodings.idna
    proxy.cli.commands proxy.terminal.command proxy.terminal.output proxy.control.api proxy.probe.relay_trial
    proxy.routing.lists.formats proxy.routing.lists.domain_list proxy.routing.pattern proxy.extend.guard.runner
    proxy.config.toml_lines proxy.probe.measure proxy.features.inspection.engine proxy.ca proxy.testing
"""


def test_a_start_loads_only_what_it_needs(tmp_path: Path) -> None:
    """Each of these takes time and memory from every run, and many a run never needs it."""
    with tempfile.TemporaryDirectory(prefix="byway-") as state:  # a short path, which has room for the socket
        command = [sys.executable, "-c", WHEN_LISTENING, "--state", state, "run", "--port", "0"]
        environment = {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"proxy.session.session", "proxy.store.store"} <= loaded
    assert loaded & set(NOT_FOR_A_START.split()) == set()


def test_the_version_loads_nothing_else() -> None:
    script = "import sys; sys.argv = ['byway', '--version']; from proxy.cli import main; main(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("byway ")
    assert not {"re", "typing", "dataclasses", "pathlib", "asyncio", "typer", "proxy.model"} & set(done.stdout.split())
