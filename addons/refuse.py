"""Blocks trackers always, and some sites during working hours.

A refused site gets no connection at all, neither direct nor through a relay. Demo of `admit`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Request

WEEKEND = (5, 6)


@dataclass(frozen=True)
class Options:
    trackers: Annotated[tuple[str, ...], "domains to block always; subdomains are included"] = ()
    sites: Annotated[tuple[str, ...], "domains to block during working hours; subdomains are included"] = ()
    from_hour: Annotated[int, "first working hour, 0 to 23, local time"] = 9
    to_hour: Annotated[int, "end of work, at most 24"] = 17


class Refuse:
    def start(self, api: Api) -> None:
        self.api = api
        self.options: Options = api.options

    def admit(self, request: Request) -> str | None:
        host = f".{request.destination.host}"
        if host.endswith(tuple(f".{site}" for site in self.options.trackers)):
            return "it is on your list of trackers"
        if host.endswith(tuple(f".{site}" for site in self.options.sites)) and self._is_work():
            return f"blocked during working hours, until {self.options.to_hour}:00"
        return None

    def _is_work(self) -> bool:
        now = time.localtime(self.api.now())
        return now.tm_wday not in WEEKEND and self.options.from_hour <= now.tm_hour < self.options.to_hour


addons = [Refuse()]
