"""Lowers the weight of signs of blocking on a network that loses packets.

A train's Wi-Fi loses a SYN or a ClientHello every other minute, without any censor. What packet loss cannot cause (a
forged answer, a block page, a wrong certificate) keeps its weight. Demo of `signal`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from proxy.extend.api import Api
from proxy.model import Request, Signal


@dataclass(frozen=True)
class Options:
    networks: Annotated[tuple[str, ...], "ids of the networks, from `byway status --json`"] = ()
    share: Annotated[float, "factor for the weight, 0 to 1"] = 0.25
    signals: Annotated[tuple[str, ...], "signals that packet loss causes as well"] = (
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
