"""Which mitmproxy is taken, told by what is installed, without a look into it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from proxy.config import mitmproxy_version as inspection
from proxy.config.mitmproxy_version import is_known, unavailable

OLD, NEW = (3, 11), (3, 13)


@pytest.mark.parametrize(
    ("version", "python", "known"),
    [
        ("11.0.2", OLD, True),
        ("11.0.1", OLD, False),
        ("12.2.3", OLD, False),
        ("12.2.3", NEW, True),
        ("12.2.10", NEW, True),
        ("12.2.2", NEW, False),
        ("12.3.0", NEW, False),
        ("12.3", NEW, False),
        ("13.0.0", NEW, False),
        ("11.0.2", NEW, False),
        ("12.2.4.dev1", NEW, False),
    ],
)
def test_only_versions_that_we_know_are_taken(version: str, python: tuple[int, int], known: bool) -> None:
    assert is_known(version, python=python) is known


def test_what_is_missing_or_too_new_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unavailable() == ""
    monkeypatch.setattr(metadata, "version", lambda _: "12.3.0")
    assert unavailable().startswith("INSPECT cannot use mitmproxy 12.3.0: it needs 1")

    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    assert unavailable() == "INSPECT needs mitmproxy, which is not installed; install byway[inspect]"


def test_pyproject_says_the_same() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["inspect"] == [
        f"mitmproxy=={inspection._ON_3_11}; python_version < '3.12'",
        "mitmproxy>=12.2.3,<12.3; python_version >= '3.12'",
    ]
    assert inspection._wanted(NEW) == "12.2.3 or newer, below 12.3"


def test_nothing_of_mitmproxy_is_imported_for_that() -> None:
    """Nor by all of `byway run`."""
    look = "import sys; import proxy.app.app; from proxy.config.mitmproxy_version import unavailable; unavailable()"
    named = "print([name for name in sys.modules if name.startswith(('mitmproxy', 'OpenSSL', 'h2.'))])"
    done = subprocess.run([sys.executable, "-c", f"{look}; {named}"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
