"""The addons that ship, out of their files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy.testing import Tried, load

FOLDER = Path(__file__).parents[2] / "addons"
FILES = tuple(sorted(FOLDER.glob("*.py")))
NOTHING: Mapping[str, Any] = MappingProxyType({})


def shipped(name: str, options: Mapping[str, Any] = NOTHING, **more: Any) -> Tried:
    return load(FOLDER / f"{name}.py", options, **more)
