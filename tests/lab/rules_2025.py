"""Rules for the censors of 2025 and later, each with its source.

As in `rules`, a rule joins a match and a deed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.deeds import Drop
from tests.lab.flows import Flow
from tests.lab.matches import HTTPS, Match
from tests.lab.messages import ENCRYPTED_CLIENT_HELLO, WholeHello, whole_hello
from tests.lab.packets import TCP, Packet
from tests.lab.rules import When, joined
from tests.lab.views import REMEMBERED, Names


@dataclass(frozen=True)
class ByWholeHello(Match):
    """A ClientHello that fits, once all of it was seen, in however many segments and records it comes."""

    fits: Callable[[WholeHello], bool]

    def concerns(self, flow: Flow) -> bool:
        return flow.protocol == TCP and flow.server_port == HTTPS and flow.isn is not None

    def hits(self, packet: Packet, flow: Flow) -> bool:
        if not packet.outward or not packet.payload or flow.isn is None:
            return False
        segments = flow.marks.setdefault(self, {})
        if segments is None:  # it was read before
            return False
        segments[(packet.seq - flow.isn - 1) % (1 << 32)] = packet.payload
        said = joined(segments)
        found = whole_hello(said)
        if found is not None or len(said) > REMEMBERED:
            flow.marks[self] = None
        return found is not None and self.fits(found)


def EchDrop(*names: str) -> When:
    """Drops a hello with one of these outer names and the extension of ECH: cloudflare-ech.com in Russia, since
    November 2024 (net4people/bbs#417)."""
    outer = Names(*names)
    return When(ByWholeHello(lambda hello: hello.name in outer and ENCRYPTED_CLIENT_HELLO in hello.extensions), Drop())
