"""Which mitmproxy is taken, told by what is installed, without a look into it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from proxy.config import mitmproxy_version
from proxy.config.mitmproxy_version import is_supported, unavailable
from tests.support.rows import each_row


@each_row(
    ("version", "supported"),
    [
        ("12.2.3", True),
        ("12.2.10", True),
        ("12.2.2", False),
        ("12.3.0", False),
        ("12.3", False),
        ("13.0.0", False),
        ("11.0.2", False),
        ("12.2.4.dev1", False),
    ],
)
def test_only_supported_versions_are_taken(version: str, supported: bool) -> None:
    assert is_supported(version) is supported


@pytest.mark.inspection
def test_the_installed_one_is_taken() -> None:
    assert unavailable() == ""


def test_what_is_missing_or_too_new_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 0))
    monkeypatch.setattr(metadata, "version", lambda _: "12.3.0")
    assert unavailable() == (
        "INSPECT cannot use mitmproxy 12.3.0: it needs 12.2.3 or newer, below 12.3, which byway[inspect] installs"
    )

    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    assert unavailable() == "INSPECT needs mitmproxy, which is not installed; install byway[inspect]"


def test_an_older_python_is_said_in_a_sentence_whatever_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 11, 9))
    monkeypatch.setattr(metadata, "version", lambda _: "11.0.2")
    assert unavailable() == "INSPECT needs Python 3.12 or newer; this is 3.11"


def test_pyproject_says_the_same() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    first, below, python = (
        ".".join(map(str, numbers))
        for numbers in (mitmproxy_version._FIRST, mitmproxy_version._BELOW, mitmproxy_version._PYTHON)
    )
    assert project["optional-dependencies"]["inspect"] == [f"mitmproxy>={first},<{below}; python_version >= '{python}'"]


def test_nothing_of_mitmproxy_is_imported_for_that() -> None:
    """Nor by all of `byway run`."""
    look = "import sys; import proxy.app.app; from proxy.config.mitmproxy_version import unavailable; unavailable()"
    named = "print([name for name in sys.modules if name.startswith(('mitmproxy', 'OpenSSL', 'h2.'))])"
    done = subprocess.run([sys.executable, "-c", f"{look}; {named}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
