"""The plan for a configuration, in short, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from proxy.config.schema import Settings
from proxy.features.imports.foreign import Foreign
from proxy.features.imports.plan import Options, Plan, Taken, plan, rows_of, warnings_of
from proxy.features.imports.reading import read_foreign


@dataclass
class Planned:
    """A configuration and its plan."""

    found: Foreign
    plan: Plan

    @property
    def entries(self) -> list[tuple[str, str, str]]:
        """Name, result and text of each relay and group."""
        return [(row.name, str(row.taken), row.text) for row in self.plan.rows]

    @property
    def relays(self) -> list[tuple[str | None, str]]:
        return [(relay.name, relay.url) for relay in self.plan.relays]

    @property
    def groups(self) -> list[tuple[str, tuple[str, ...], str]]:
        return [(group.name, group.relays, group.policy) for group in self.plan.groups]

    @property
    def lines(self) -> list[str]:
        """The rules of Byway."""
        return [line for rule in self.plan.rules for line in rule.lines]

    @property
    def refused(self) -> list[str]:
        """Why rules are not taken."""
        return [row.text for row in rows_of(self.plan.rules, frozenset()) if row.taken is Taken.NO]

    @property
    def idle(self) -> list[str]:
        """Why rules are not needed."""
        return [row.text for row in rows_of(self.plan.rules, frozenset()) if row.taken is Taken.NOT_NEEDED]

    @property
    def partly(self) -> list[str]:
        """The rules of Byway that are a part of a rule."""
        return [row.text for row in rows_of(self.plan.rules, frozenset()) if row.taken is Taken.PART]

    @property
    def warnings(self) -> list[str]:
        return [*self.plan.warnings, *warnings_of(self.plan.rules, "AUTO")]


def planned(
    text: str,
    *,
    settings: Settings | None = None,
    lists: Mapping[str, str] | None = None,
    relay: str = "",
    local: bool = False,
    profile: str | None = None,
) -> Planned:
    """Reads and plans a configuration. Raises Unreadable."""
    found = read_foreign(text, profile=profile)
    return Planned(found, plan(found, settings or Settings(), Options(lists or {}, relay, local)))


def clash(*rules: str, proxies: str = "", groups: str = "") -> str:
    """A configuration of Clash with the server `S`, and these rules."""
    listed = "".join(f"  - {json.dumps(rule)}\n" for rule in rules)
    return (
        "mixed-port: 7890\nproxies:\n  - {name: S, type: socks5, server: s.example, port: 1080}\n"
        f"{proxies}proxy-groups:\n{groups}{'' if groups else '  []'}\nrules:\n{listed or '  []'}\n"
    )


def sing_box(*rules: Mapping[str, object], final: str = "", **more: object) -> str:
    """A configuration of sing-box with the server `s`."""
    outbounds = [
        {"type": "socks", "tag": "s", "server": "s.example", "server_port": 1080},
        {"type": "direct", "tag": "d"},
        {"type": "block", "tag": "b"},
    ]
    route: dict[str, object] = {"rules": rules, **({"final": final} if final else {})}
    return json.dumps({"outbounds": outbounds, "route": route, **more})
