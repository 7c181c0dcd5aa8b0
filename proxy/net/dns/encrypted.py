"""Names asked of secure servers: one after the other, direct first and then through each relay.

A server over a way that fails is passed over for a while, and asked again only when nothing better is left; the next
one is started as well when an answer is late. A certificate that is not good is a failure like any other: there is
always a next server, and never the plain DNS.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from proxy.model import UNKNOWN_NETWORK, NetworkId, Stage, Symptom
from proxy.model.errors import DialError, PeerError
from proxy.net.dialers.dialer import Dialer
from proxy.net.dns.stub_resolver import FAMILY_WAIT_S, LookupResult
from proxy.net.dns.transport import IDLE_S, DnsTransport, make_transport
from proxy.net.tasks import spawn
from proxy.wire import dns
from proxy.wire.dns import Answer, Rcode, RecordType
from proxy.wire.dns_url import SecureServer

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
"""One server's answer, and the beginning of a connection to it."""

STAGGER_S = 1.0
"""An answer so late lets the next server be asked as well."""

DOWN_S = 60.0
"""How long a server that failed is asked last."""

_RECORD_TYPES = (RecordType.A, RecordType.AAAA)


class EncryptedDns:
    """The resolver behind `direct|doh`. Belongs to one loop."""

    def __init__(
        self,
        servers: Sequence[SecureServer],
        ways: Sequence[Dialer],
        *,
        timeout_s: float = TIMEOUT_S,
        stagger_s: float = STAGGER_S,
        down_s: float = DOWN_S,
        idle_s: float = IDLE_S,
        network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK,
    ) -> None:
        """Each server is asked over each of `ways`, the first way first. What was down on one network is forgotten on
        another. Raises ConfigError for a server's `ca`."""
        self._channels = tuple(
            make_transport(server, way, timeout_s=timeout_s, idle_s=idle_s) for way in ways for server in servers
        )
        self._stagger_s = stagger_s
        self._down_s = down_s
        self._network = network
        self._down: dict[DnsTransport, float] = {}  # → until
        self._down_on = network()
        self._has_warned = False

    async def ask(self, host: str) -> LookupResult:
        """What the first server to answer says of `host`.

        Raises DialError of stage RESOLVE when none answers: SKIPPED, from which nothing is learned, with evidence
        "doh"; OFFLINE or LOCAL when that explains it."""
        waiting, failures = deque(self._by_availability()), list[DialError]()
        unsure: LookupResult | None = None
        under_way: dict[asyncio.Task[LookupResult | DialError], DnsTransport] = {}
        try:
            while waiting or under_way:
                if waiting:
                    channel = waiting.popleft()
                    under_way[spawn(_ask_both_families(channel, host), name=f"dns {channel.server}")] = channel
                hedging = self._stagger_s if waiting else None
                done, _ = await asyncio.wait(under_way, timeout=hedging, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    found = self._note_result(under_way.pop(task), task.result(), failures)
                    if found is not None and found.code in (Rcode.OK, Rcode.NO_NAME):
                        self._mark_slow(under_way.values())
                        return found
                    unsure = unsure or found
        finally:
            for task in under_way:
                task.cancel()
        if unsure is not None:
            return unsure
        raise self._all_failed(failures)

    def _note_result(
        self, channel: DnsTransport, result: LookupResult | DialError, failures: list[DialError]
    ) -> LookupResult | None:
        if isinstance(result, DialError):
            failures.append(result)
            self._down[channel] = asyncio.get_running_loop().time() + self._down_s
            return None
        self._down.pop(channel, None)
        self._has_warned = False
        return result

    def _mark_slow(self, channels: Iterable[DnsTransport]) -> None:
        until = asyncio.get_running_loop().time() + self._down_s
        self._down.update(dict.fromkeys(channels, until))

    def _by_availability(self) -> list[DnsTransport]:
        if (network := self._network()) != self._down_on:
            self._down.clear()
            self._down_on = network
        now = asyncio.get_running_loop().time()
        return sorted(self._channels, key=lambda channel: self._down.get(channel, 0.0) > now)

    def _all_failed(self, failures: Sequence[DialError]) -> DialError:
        text = "; ".join(map(str, failures)) or "none is configured"
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "all encrypted DNS servers failed; suspicious names cannot be resolved, see `byway status`: %s", text
            )
        symptoms = {failure.symptom for failure in failures}
        symptom = symptoms.pop() if len(symptoms) == 1 else Symptom.SKIPPED
        return DialError(
            f"all encrypted DNS servers failed: {text}",
            stage=Stage.RESOLVE,
            symptom=symptom if symptom in (Symptom.OFFLINE, Symptom.LOCAL) else Symptom.SKIPPED,
            evidence={"doh": "doh_down"},
        )

    def __repr__(self) -> str:
        return f"<EncryptedDns {' '.join(str(channel.server) for channel in self._channels) or 'without servers'}>"


async def _ask_both_families(channel: DnsTransport, host: str) -> LookupResult | DialError:
    """Both families of one server; the other may be a little late once one has addresses."""
    asking = {spawn(_answer(channel, host, kind), name=f"dns {kind.name}"): kind for kind in _RECORD_TYPES}
    answers: dict[RecordType, Answer] = {}
    failure: DialError | None = None
    waiting, hedging = set(asking), None
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=hedging, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                match task.result():
                    case DialError() as failure:
                        pass
                    case answer:
                        answers[asking[task]] = answer
            if any(answer.addresses for answer in answers.values()) and waiting:
                hedging = FAMILY_WAIT_S[asking[next(iter(waiting))]]
    finally:
        for task in waiting:
            task.cancel()
    if failure is not None and not any(answer.addresses for answer in answers.values()):
        return failure
    return _merge(channel, [answers[kind] for kind in _RECORD_TYPES if kind in answers])


def _merge(channel: DnsTransport, answers: Sequence[Answer]) -> LookupResult:
    said = str(channel.server)
    full = [answer for answer in answers if answer.addresses]
    if full:
        addresses = tuple(address for answer in full for address in answer.addresses)
        return LookupResult(addresses, min(answer.ttl_s for answer in full), source=said)
    codes = [answer.code for answer in answers]
    unsure = next((code for code in codes if not code.is_final), None)
    return LookupResult(code=unsure or (Rcode.OK if Rcode.OK in codes else Rcode.NO_NAME), source=said)


async def _answer(channel: DnsTransport, host: str, kind: RecordType) -> Answer | DialError:
    try:
        return dns.read_answer(await channel.exchange(dns.query(host, kind, padded=True)), host, kind)
    except DialError as error:
        return error
    except PeerError as error:
        return DialError(f"{channel.server}: {error}", stage=Stage.RESOLVE, symptom=Symptom.RESOLVE_FAILED)
