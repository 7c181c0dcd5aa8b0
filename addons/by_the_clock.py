"""Sends some sites through one relay at certain hours, or on certain networks only.

A provider that is slow in the evening, a relay that is paid for by the hour: whatever the reason, outside these hours
the plan is as it would be without this addon. Demo of `plan`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Plan, Request


@dataclass(frozen=True)
class Options:
    sites: Annotated[tuple[str, ...], "these, and all below them"] = ()
    relay: Annotated[str, "the relay, or a chain, to go through"] = ""
    from_hour: Annotated[int, "0 to 23, local time"] = 0
    to_hour: Annotated[int, "up to this hour, 24 at most; earlier than from_hour: past midnight"] = 24
    networks: Annotated[tuple[str, ...], "ids of networks, as `byway status --json` has them; none: on all"] = ()


class ByTheClock:
    def start(self, api: Api) -> None:
        self.api = api
        self.options: Options = api.options
        self.endings = tuple(f".{site}" for site in self.options.sites)

    def plan(self, request: Request, plan: Plan) -> Plan | None:
        if self.options.relay and f".{request.destination.host}".endswith(self.endings) and self._is_time():
            return plan.via(self.options.relay)
        return None

    def _is_time(self) -> bool:
        first, last = self.options.from_hour, self.options.to_hour
        hour = time.localtime(self.api.now()).tm_hour
        in_hours = first <= hour < last if first <= last else hour >= first or hour < last
        return in_hours and (not self.options.networks or self.api.network() in self.options.networks)


addons = [ByTheClock()]
