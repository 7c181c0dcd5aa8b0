"""Addons of a few lines, loaded from real files, for tests of what runs them."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy.extend.loading.addon import Addon
from proxy.extend.loading.loader import load
from proxy.model import DIRECT, Action, Attempt, Destination, Inbound, Outcome, Plan, Request, Route, Stage

PLAN = Plan(Action.AUTO, (DIRECT, Route(("tor",))), "AUTO")

_ids = itertools.count(1)


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(text))
    file.chmod(0o600)
    return file


def made(folder: Path, text: str, name: str = "pin", table: Mapping[str, Any] | None = None) -> Addon:
    return load(write(folder, name, text), name, table or {})


def request(host: str = "site.test", port: int = 443) -> Request:
    return Request(next(_ids), Destination(host, port), Inbound.CONNECT, "127.0.0.1:5000")


def outcome(host: str = "site.test", **more: Any) -> Outcome:
    attempt = Attempt(DIRECT, Stage.DONE, evidence={"status": 200})
    return Outcome(request(host), PLAN, (attempt,), DIRECT, host=host, **more)
