"""Checks whether connections can be inspected here: Python is new enough, and a supported mitmproxy is installed.

It reads the version from the metadata of the installation, because importing mitmproxy takes a second and 60 MB. The
supported versions are here and in `pyproject.toml`. Older ones require an h11 that allows request smuggling; later ones
ship a certificate authority whose private key is public.
"""

from __future__ import annotations

import sys

EXTRA = "byway[inspect]"

FORBIDDEN_OPTIONS = "emudhra"
"""The beginning of the names of mitmproxy options that enable the authority with the public key."""

_PYTHON = (3, 12)  # the oldest Python of a supported mitmproxy; the rest of Byway needs 3.11
_FIRST = (12, 2, 3)
_BELOW = (12, 3)


def unavailable() -> str:
    """Returns the reason why connections cannot be inspected here, in a sentence; empty when they can."""
    if sys.version_info[:2] < _PYTHON:
        return f"INSPECT needs Python {_dotted(_PYTHON)} or newer; this is {_dotted(sys.version_info[:2])}"
    from importlib import metadata  # it takes a twentieth of a start

    try:
        installed = metadata.version("mitmproxy")
    except metadata.PackageNotFoundError:
        return f"INSPECT needs mitmproxy, which is not installed; install {EXTRA}"
    if is_supported(installed):
        return ""
    wanted = f"{_dotted(_FIRST)} or newer, below {_dotted(_BELOW)}"
    return f"INSPECT cannot use mitmproxy {installed}: it needs {wanted}, which {EXTRA} installs"


def is_supported(version: str) -> bool:
    """Whether Byway is tested with this version of mitmproxy."""
    try:
        numbers = tuple(int(part) for part in version.split("."))
    except ValueError:  # a pre-release
        return False
    return _FIRST <= numbers < _BELOW


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
