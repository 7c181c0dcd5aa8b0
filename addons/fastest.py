"""Sends one organisation's domains through the fastest of some relays.

It compares the time for one megabyte: the wait for the first byte, known from every attempt, and the speed, known
from longer transfers. A relay that failed is tried last for a minute. Demo of `attempt` and `outcome`, with `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Attempt, Outcome, Plan, Request

MEGABYTE = 1_000_000
SPEED_BYTES = 100_000  # a shorter transfer tells nothing about the speed


@dataclass(frozen=True)
class Options:
    sites: Annotated[tuple[str, ...], "the organisation's domains; subdomains are included"] = ()
    relays: Annotated[tuple[str, ...], "relays to choose from"] = ()


@dataclass
class Relay:
    wait_s: float = 1.0
    bytes_s: float = 1_000_000.0
    failed_at: float = float("-inf")


class Fastest:
    def start(self, api: Api) -> None:
        self.api = api
        self.endings = tuple(f".{site}" for site in api.options.sites)
        self.relays = {name: Relay() for name in api.options.relays}

    def plan(self, request: Request, plan: Plan) -> Plan | None:
        if not self.relays or not f".{request.destination.host}".endswith(self.endings):
            return None
        return plan.via(*sorted(self.relays, key=self._cost))

    def attempt(self, request: Request, attempt: Attempt) -> None:
        relay = self.relays.get(str(attempt.route))
        if relay is not None and attempt.delivered:
            relay.wait_s += (attempt.elapsed - relay.wait_s) / 4
        elif relay is not None and attempt.symptom.blames_relay:
            relay.failed_at = self.api.now()

    def outcome(self, outcome: Outcome) -> None:
        relay = self.relays.get(str(outcome.winner))
        if relay is not None and outcome.bytes_down >= SPEED_BYTES and outcome.duration > 0:
            relay.bytes_s += (outcome.bytes_down / outcome.duration - relay.bytes_s) / 4

    def _cost(self, name: str) -> tuple[bool, float]:
        relay = self.relays[name]
        return self.api.now() - relay.failed_at < 60, relay.wait_s + MEGABYTE / max(relay.bytes_s, 1)


addons = [Fastest()]
