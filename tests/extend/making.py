"""Addons of a few lines, loaded from real files, for tests of what runs them."""

from __future__ import annotations

import asyncio
import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.extend.loading.addon import Addon
from proxy.extend.loading.loader import load
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Destination,
    Inbound,
    NetworkId,
    Outcome,
    Plan,
    Request,
    Route,
    Stage,
)

PLAN = Plan(Action.AUTO, (DIRECT, Route(("tor",))), "AUTO")

STREAM: Any = object()

_ids = itertools.count(1)


@dataclass(frozen=True)
class Backend:
    """An ApiBackend at five seconds after 1970, at home, with the relay tor: it brings STREAM to a.test:1."""

    folder: Path | None
    relays: tuple[str, ...] = ("tor",)
    shown: list[tuple[str, str]] = field(default_factory=list)
    may_show: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> float:
        return 5.0

    def network(self) -> NetworkId:
        return NetworkId("home")

    async def dial(self, url: str, destination: Destination) -> Any:
        assert (url, destination) == ("tor", Destination("a.test", 1))
        return STREAM

    async def notify(self, title: str, text: str) -> None:
        """Shows it once it may."""
        await self.may_show.wait()
        self.shown.append((title, text))


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
