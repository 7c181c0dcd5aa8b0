"""Whether connections can be inspected here: mitmproxy is installed, in a supported version.

Nothing of it is imported to find out, since that costs a second and 60 MB: the version comes from the metadata of the
installation. The supported versions are listed here and in `pyproject.toml`; later ones ship a certificate authority
whose private key is public.
"""

from __future__ import annotations

import sys
from importlib import metadata

EXTRA = "byway[inspect]"

FORBIDDEN_OPTIONS = "emudhra"
"""What options of mitmproxy begin with that bring the authority with the public key."""

_FIRST = (12, 2, 3)
_BELOW = (12, 3)
_ON_3_11 = "11.0.2"


def unavailable() -> str:
    """Why nothing can be inspected here, in a sentence; empty when it can."""
    try:
        installed = metadata.version("mitmproxy")
    except metadata.PackageNotFoundError:
        return f"INSPECT needs mitmproxy, which is not installed; install {EXTRA}"
    if is_known(installed, python=sys.version_info[:2]):
        return ""
    return f"INSPECT cannot use mitmproxy {installed}: it needs {_wanted(sys.version_info[:2])}, which {EXTRA} installs"


def is_known(version: str, *, python: tuple[int, int]) -> bool:
    """Whether we have been tried with this version of mitmproxy on this Python."""
    if python < (3, 12):
        return version == _ON_3_11
    try:
        numbers = tuple(int(part) for part in version.split("."))
    except ValueError:  # a pre-release
        return False
    return _FIRST <= numbers < _BELOW


def _wanted(python: tuple[int, int]) -> str:
    if python < (3, 12):
        return _ON_3_11
    return f"{'.'.join(map(str, _FIRST))} or newer, below {'.'.join(map(str, _BELOW))}"
