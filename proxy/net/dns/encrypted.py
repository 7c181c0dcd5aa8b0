"""Resolves names by encrypted DNS servers: one after the other, direct first and then through each relay.

A server that failed over one path is queried after all others over it for a while. When an answer is late, the next
server is queried too (hedging). An invalid certificate is a failure like any other: the next server is queried, and
never plain DNS. Reserve servers are queried only while all others fail over all paths.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from proxy.config.schema import Dns
from proxy.model import UNKNOWN_NETWORK, NetworkId, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.net.dialers.dialer import Dialer
from proxy.net.dns.stub_resolver import FAMILY_WAIT_S, RECORD_TYPES, LookupResult, lookup_failed
from proxy.net.tasks import spawn
from proxy.wire import dns
from proxy.wire.dns import Answer, Rcode, RecordType
from proxy.wire.dns_url import SecureServer

if TYPE_CHECKING:
    from proxy.net.dns.transport import DnsTransport

log = logging.getLogger(__name__)

_REASONS_SHOWN = 2
"""Reasons of failures in a message: each server may be reached over several paths, and a person reads one line."""

_OUR_OWN = (Symptom.OFFLINE, Symptom.LOCAL)
"""Failures of this computer, which say nothing about a server."""


class EncryptedDns:
    """The resolver of `direct|doh`. Belongs to one loop."""

    def __init__(
        self,
        servers: Sequence[SecureServer],
        paths: Sequence[Dialer],
        settings: Dns,
        *,
        network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK,
        reserve: EncryptedDns | None = None,
        warns: bool = True,
    ) -> None:
        """Every server is queried over the first of `paths`, then over the next one. After a change of network, no
        server counts as down.

        The servers of `reserve` are queried once every server has failed over every path within `secure_down_s` of the
        settings, and only those of them that have not failed themselves within it. Several objects may share it.
        `warns`: whether the log gets a line when all servers fail."""
        self._servers = servers
        self._paths = paths
        self._timeout_s = settings.secure_timeout_s
        self._idle_s = settings.secure_idle_s
        self._stagger_s = settings.secure_stagger_s
        self._down_s = settings.secure_down_s
        self._network = network
        self._reserve = reserve
        self._down_on = network()  # the network on which transports are marked as down
        self._warns = warns
        self._has_warned = False

    @cached_property
    def _transports(self) -> tuple[DnsTransport, ...]:
        from proxy.net.dns.transport import make_transport  # many runs need no encrypted query

        make = partial(make_transport, timeout_s=self._timeout_s, idle_s=self._idle_s)
        return tuple(make(server, path) for path in self._paths for server in self._servers)

    async def ask(self, host: str) -> LookupResult:
        """Returns the first conclusive answer for `host`: addresses, or that there are none. Without one, returns the
        first other answer, such as SERVFAIL.

        Raises DialError of stage RESOLVE when no server answers: SKIPPED, from which nothing is learned; OFFLINE or
        LOCAL when that explains every failure. Its evidence is "doh"."""
        now, reserve = asyncio.get_running_loop().time, self._reserve
        ready = self._ready(now())
        waiting = deque([*ready, *(transport for transport in self._transports if transport not in ready)])
        if reserve is not None and not ready:
            waiting.extendleft(reversed(reserve._ready(now())))
            reserve = None
        failures: list[DialError] = []
        inconclusive: LookupResult | None = None
        under_way: dict[asyncio.Task[LookupResult | DialError], DnsTransport] = {}
        try:
            while waiting or under_way:
                if waiting:
                    transport = waiting.popleft()
                    under_way[spawn(_ask_both_families(transport, host), name=f"dns {transport.server}")] = transport
                hedge_after_s = self._stagger_s if waiting else None
                done, _ = await asyncio.wait(under_way, timeout=hedge_after_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    transport, result = under_way.pop(task), task.result()
                    if isinstance(result, DialError):
                        failures.append(result)
                        if result.symptom not in _OUR_OWN:
                            transport.down_until = now() + self._down_s
                        continue
                    transport.down_until = 0.0
                    self._has_warned = False
                    if result.code in (Rcode.OK, Rcode.NO_NAME):
                        for overtaken in under_way.values():  # it is queried after all others
                            overtaken.down_until = now() + self._down_s
                        return result
                    inconclusive = inconclusive or result
                if not waiting and not under_way and reserve is not None and not self._ready(now()):
                    waiting.extend(reserve._ready(now()))
                    reserve = None
        finally:
            for task in under_way:
                task.cancel()
        if inconclusive is not None:
            return inconclusive
        raise self._all_failed(failures)

    def _ready(self, now: float) -> list[DnsTransport]:
        """Returns the transports that do not count as down, in order."""
        if (network := self._network()) != self._down_on:
            self._down_on = network
            for transport in self._transports:
                transport.down_until = 0.0
        return [transport for transport in self._transports if transport.down_until <= now]

    def _all_failed(self, failures: Sequence[DialError]) -> DialError:
        reasons = list(dict.fromkeys(map(str, failures))) or ["none is configured"]
        more = f"; and {len(reasons) - _REASONS_SHOWN} more" if len(reasons) > _REASONS_SHOWN else ""
        text = "; ".join(reasons[:_REASONS_SHOWN]) + more
        if self._warns and not self._has_warned:
            self._has_warned = True
            log.warning(
                "all encrypted DNS servers failed; suspicious names cannot be resolved, see `byway status`: %s", text
            )
            log.debug("all encrypted DNS servers failed: %s", "; ".join(reasons))
        symptoms = {failure.symptom for failure in failures}
        symptom = symptoms.pop() if len(symptoms) == 1 else Symptom.SKIPPED
        symptom = symptom if symptom in _OUR_OWN else Symptom.SKIPPED
        return lookup_failed(f"all encrypted DNS servers failed: {text}", symptom, {"doh": "doh_down"})

    def __repr__(self) -> str:
        return f"<EncryptedDns {' '.join(map(str, self._servers)) or 'without servers'}>"


async def _ask_both_families(transport: DnsTransport, host: str) -> LookupResult | DialError:
    """Queries one server for both families. Once one has addresses, waits `FAMILY_WAIT_S` at most for the other."""
    asking = {spawn(_answer(transport, host, kind), name=f"dns {kind.name}"): kind for kind in RECORD_TYPES}
    answers: dict[RecordType, Answer] = {}
    failure: DialError | None = None
    waiting, wait_s = set(asking), None
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                match task.result():
                    case DialError() as failure:
                        pass
                    case answer:
                        answers[asking[task]] = answer
            if any(answer.addresses for answer in answers.values()) and waiting:
                wait_s = FAMILY_WAIT_S[asking[next(iter(waiting))]]
    finally:
        for task in waiting:
            task.cancel()
    source, given = str(transport.server), [answers[kind] for kind in RECORD_TYPES if kind in answers]
    if full := [answer for answer in given if answer.addresses]:
        addresses = tuple(address for answer in full for address in answer.addresses)
        return LookupResult(addresses, min(answer.ttl_s for answer in full), source=source)
    if failure is not None:
        return failure
    codes = [answer.code for answer in given]
    inconclusive = next((code for code in codes if not code.is_final), None)
    return LookupResult(code=inconclusive or (Rcode.OK if Rcode.OK in codes else Rcode.NO_NAME), source=source)


async def _answer(transport: DnsTransport, host: str, kind: RecordType) -> Answer | DialError:
    try:
        return dns.read_answer(await transport.exchange(dns.query(host, kind, padded=True)), host, kind)
    except DialError as error:
        return error
    except PeerError as error:
        return lookup_failed(f"{transport.server}: {error}", Symptom.RESOLVE_FAILED)
