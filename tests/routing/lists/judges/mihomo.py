"""mihomo as a judge of Clash rule providers, as a proxy that runs (`running_proxy`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from tests.routing.lists.judges.running_proxy import ask_running_proxy
from tests.support.programs import require


class Mihomo:
    """Judges lists of one behavior. `folder` is used for its files."""

    def __init__(
        self,
        folder: Path,
        *,
        behavior: Literal["domain", "ipcidr", "classical"],
        format: Literal["yaml", "text"],  # noqa: A002
    ) -> None:
        self._folder = folder
        self._provider = {"type": "file", "behavior": behavior, "format": format, "path": "./list.txt"}

    def __call__(self, text: str, hosts: Collection[str]) -> dict[str, bool]:
        (self._folder / "list.txt").write_text(text)
        return asyncio.run(ask_running_proxy(self._configure, hosts, folder=self._folder))

    def _configure(self, *, port: int, listed: int, other: int) -> list[str]:
        at = {"listed": listed, "other": other}
        settings = {
            "mixed-port": port,
            "bind-address": "127.0.0.1",
            "allow-lan": False,
            "mode": "rule",
            "log-level": "warning",
            "ipv6": True,
            "find-process-mode": "off",
            "geo-auto-update": False,
            "profile": {"store-selected": False},
            # Should a rule ask for a name after all, every answer is that there is no such name.
            "dns": {"enable": True, "use-system-hosts": False, "nameserver": ["rcode://name_error"]},
            "proxies": [{"name": name, "type": "http", "server": "127.0.0.1", "port": at[name]} for name in at],
            "rule-providers": {"list": self._provider},
            "rules": ["RULE-SET,list,listed,no-resolve", "MATCH,other"],
        }
        (self._folder / "config.yaml").write_text(json.dumps(settings))  # which is YAML
        return [require("mihomo"), "-d", "."]
