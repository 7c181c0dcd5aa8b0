"""Weighs signs of blocking down on a network that is known to lose packets.

A train's Wi-Fi lets a SYN or a hello go astray every other minute, which is no censor's work. What a bad line cannot
do (a forged answer, a block page, another's certificate) keeps its weight. Demo of `signal`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Request, Signal


@dataclass(frozen=True)
class Options:
    networks: Annotated[tuple[str, ...], "ids of the networks, as `byway status --json` has them"] = ()
    share: Annotated[float, "what remains of a weight, 0 to 1"] = 0.25
    signals: Annotated[tuple[str, ...], "which signs a bad line makes as well"] = (
        "dns_failed", "dns_silent", "tcp_timeout", "tls_silent", "tls_dropped", "http_silent", "http_dropped", "frozen",
    )  # fmt: skip


class Lossy:
    def start(self, api: Api) -> None:
        self.api = api
        self.options: Options = api.options

    def signal(self, request: Request, signal: Signal) -> Signal | None:
        if self.api.network() not in self.options.networks or signal.id not in self.options.signals:
            return None
        return replace(signal, weight=signal.weight * min(max(self.options.share, 0.0), 1.0))


addons = [Lossy()]
