"""Sends some sites through one relay at certain hours, or on certain networks only.

For a provider that is slow in the evening, or a relay that is paid by the hour. Outside these hours the plan is
unchanged. Demo of `plan`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Plan, Request


@dataclass(frozen=True)
class Options:
    sites: Annotated[tuple[str, ...], "domains; subdomains are included"] = ()
    relay: Annotated[str, "relay or chain to use"] = ""
    from_hour: Annotated[int, "first hour, 0 to 23, local time"] = 0
    to_hour: Annotated[int, "last hour (excluded), at most 24; a value below from_hour means past midnight"] = 24
    networks: Annotated[tuple[str, ...], "ids of networks, from `byway status --json`; empty: all"] = ()


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
