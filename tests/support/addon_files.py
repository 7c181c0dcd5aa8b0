"""Files of a user's addons, for tests of commands."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tests.support.command_line import Home

PIN = """
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Options:
    relay: Annotated[str, "the relay to pin"] = "tor"
    hours: tuple[int, ...] = (8, 20)


class Pin:
    def start(self, api):
        self.relay = api.options.relay

    def plan(self, request, plan):
        return plan.via(self.relay)


addons = [Pin()]
"""


def addons_dir(home: Home) -> Path:
    return home.config.parent / "addons"


def write(home: Home, name: str, text: str = PIN) -> Path:
    addons_dir(home).mkdir(mode=0o700, exist_ok=True)
    file = addons_dir(home) / f"{name}.py"
    file.write_text(text)
    return file


def said(home: Home) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(home.config.read_text()).get("addons", {})
    return found
