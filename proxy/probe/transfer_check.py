"""Checks on which way to a relay transfers pass, beside the first visit through it, so that no page stops half-way.

Some censors let a connection to a relay pass and freeze it after some kilobytes. A handshake does not show that, and a
page that stopped cannot go on elsewhere. So the first visit over an unproven way to a relay with alternatives (`?alt=`)
waits, with its path open and nothing sent on it. Meanwhile the first page of its site is requested through the same
relay, without cookies and without the user's path. The kernel distinguishes a way that stopped from a slow server. If
it stopped, the next way is tried, and the visit takes that one. All visits through one relay wait for one check.
Without a result they go on over their own path.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

from proxy.config.detect_tuning import DetectTuning
from proxy.detect.relay_ways import RelayWays
from proxy.model import Destination, NetworkId, Route
from proxy.model.bounded import Bounded
from proxy.model.errors import DialError, PeerError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, context_trusting
from proxy.net.kernel.tcp_info import FlowSample, TcpInfo
from proxy.net.race.terms import DialerFor
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.probe.throughput import first_page_request
from proxy.session.setup import Setup
from proxy.wire.http1 import read_response_head
from proxy.wire.http1_body import read_body
from proxy.wire.http1_response import ResponseHead
from proxy.wire.reader import Reader

WITHIN_S = 5.0
"""Seconds for one way, which takes some ten round trips. On a long path, a transfer may have just stopped by then, or
be about to. While that may show soon, a way gets the same time again, from the time of ways that were not tried."""

WAYS_MAX = 3
"""The most ways that one check tries: the next way only after one that stalls."""

CHECK_S = WAYS_MAX * WITHIN_S
"""Seconds for the whole check."""

REQUESTS_MAX = 100
"""The most requests on one way, for a small first page: answers of 656 bytes bring 64 KiB (`proof_bytes`). Apache ends
a connection after as many (MaxKeepAliveRequests), and many sites need more for one page with its pictures."""

REFUSED_MAX = 13
"""The most requests to a site that refuses (4xx), as many sites do that check for a browser: their page for it has 5 to
10 KB, so that 13 bring 64 KiB. A site that is overloaded or wants fewer requests (5xx, 429) gets one."""

EXTRA_MAX = 3
"""The most additional requests, in pauses."""

QUIET_S = (0.3, 1.0)
"""The least and the most seconds without a byte that are a pause. Between these limits, it is twice the time of the
first answer."""

STALLED_S = 0.5
"""Seconds without a byte or an acknowledgement that a stalled connection needs."""

AGAIN_S = (10.0, 60.0, 600.0)
"""Seconds until a visit may start the next check after one without a result; the last value repeats."""

_LOOK_S = 0.05
_RELAYS_MAX = 256
_TLS_PORT, _HTTP_PORT = 443, 80


class Transfer(Enum):
    UNKNOWN = auto()  # the site had no more bytes, refused, or took too long
    PASSES = auto()  # it carried more bytes than stalled ones do
    STALLS = auto()  # it stopped, and the other end of the connection acknowledges nothing


@dataclass
class _Trial:
    """A transfer over one way. Its stream stays open until the check is over, so that a late answer still counts."""

    stream: Stream
    transfer: Transfer = Transfer.UNKNOWN
    last: FlowSample = field(default_factory=FlowSample)  # the sample when bytes came last
    came_at: float = -math.inf  # the time of that sample, by the loop's clock


@dataclass
class _InVain:
    """Consecutive checks without a result."""

    count: int = 0
    until: float = 0.0  # the time when the next check may begin, by the loop's clock


class TransferCheck:
    """The checks of all relays. Belongs to one loop."""

    def __init__(
        self,
        ways: RelayWays,
        tcp_info: TcpInfo,
        network: Callable[[], NetworkId],
        detect: DetectTuning,
        now: Callable[[], float],
    ) -> None:
        """`now` is the wall clock, seconds since the epoch."""
        self._ways = ways
        self._tcp_info = tcp_info
        self._network = network
        self._detect = detect
        self._now = now
        self.under_way: dict[tuple[NetworkId, Destination], asyncio.Task[Collection[str]]] = {}
        self._in_vain: Bounded[tuple[NetworkId, Destination], _InVain] = Bounded(_RELAYS_MAX)

    def dialer_for(self, setup: Setup) -> DialerFor:
        """See TransferChecker. There is no check without re-tests (`[auto] retest`), nor without TCP_INFO: a slow
        server would look like a stall."""
        registry, relays = setup.registry, setup.registry.with_alternatives
        if not setup.settings.auto.retest or not self._tcp_info.usable:
            return registry.dialer

        def dialer(route: Route, *, avoid_residual: bool = True) -> Dialer:
            made = registry.dialer(route, avoid_residual=avoid_residual)
            relay = relays.get(route.relays[0]) if route.relays else None
            return made if relay is None else _CheckedDialer(self, made, relay)

        return dialer

    async def stalling(self, dialer: Dialer, relay: Destination, peer: str, site: Destination) -> Collection[str]:
        """Waits for the check of `relay`, and starts it if it is needed: `dialer` leads through the relay, and has just
        taken the way to `peer`. Returns the peers at which transfers were seen to stall while another way is open;
        empty at once when no check is needed. The check ends by itself, even if nobody waits for it any more: its
        result serves the next visit."""
        key = network, _ = self._network(), relay
        if not self._ways.is_unproven(relay, peer, network, self._now()):
            return ()
        check = self.under_way.get(key)
        if check is None:
            if key in self._in_vain and asyncio.get_running_loop().time() < self._in_vain[key].until:
                return ()
            check = self.under_way[key] = spawn(
                self._check(dialer, relay, site, network),
                name=f"check transfers through {relay}",
                on_end=partial(self._ended, key),
            )
        await asyncio.wait({check})
        return () if check.cancelled() or check.exception() is not None else check.result()

    def _ended(self, key: tuple[NetworkId, Destination]) -> None:
        del self.under_way[key]

    async def _check(
        self, dialer: Dialer, relay: Destination, site: Destination, network: NetworkId
    ) -> Collection[str]:
        """Tries the ways in the order in which dials take them, until a transfer does not stall."""
        trials: list[_Trial] = []
        try:
            with contextlib.suppress(TimeoutError, DialError), deadline(CHECK_S):
                while len(trials) < WAYS_MAX:
                    ends_at = asyncio.get_running_loop().time() + WITHIN_S
                    with deadline(WITHIN_S):
                        stream = await dialer.dial(site)
                    trials.append(trial := _Trial(stream))
                    if any(stream.peer == earlier.stream.peer for earlier in trials[:-1]):
                        break  # there is no other way
                    await self._transfer(trial, site, ends_at)
                    if trial.transfer is not Transfer.STALLS or self._network() != network:
                        break
                    self._ways.avoid(relay, stream.peer, network, self._now())
            return self._learn(trials, relay, network) if self._network() == network else ()
        finally:
            for trial in trials:
                trial.stream.abort()

    def _learn(self, trials: Sequence[_Trial], relay: Destination, network: NetworkId) -> Collection[str]:
        """Compares the trials, and notes the result of each way in RelayWays. Returns as `stalling` does."""
        loop, now, key = asyncio.get_running_loop(), self._now(), (network, relay)
        last = trials[-1] if trials else None
        silent = [trial for trial in trials if trial.transfer is Transfer.STALLS and self._is_silent(trial)]
        peers = {trial.stream.peer for trial in silent}
        if all(trial.stream.peer in peers for trial in trials):  # no way works, so this shows nothing
            silent, peers = [], set()
        for trial in silent:
            self._ways.stalled(relay, trial.stream.peer, trial.last.bytes_in, network, now)
        if last is not None and last.transfer is Transfer.PASSES:
            self._ways.carried(relay, last.stream.peer, network, now)
        else:
            count = self._in_vain[key].count + 1 if key in self._in_vain else 1
            self._in_vain[key] = _InVain(count, loop.time() + AGAIN_S[min(count, len(AGAIN_S)) - 1])
        return peers

    async def _transfer(self, trial: _Trial, site: Destination, ends_at: float) -> None:
        """Requests pages until the trial's result is known, and notes it in `trial`. After `ends_at` it waits only
        while a stall may show soon, for WITHIN_S at most."""
        loop = asyncio.get_running_loop()
        trial.last = self._sample(trial)
        bringing = spawn(_bring(trial, site, self._detect.proof_bytes), name=f"request pages of {site.host}")
        try:
            while trial.transfer is Transfer.UNKNOWN:
                left_s = ends_at - loop.time()
                await asyncio.wait({bringing}, timeout=min(_LOOK_S, left_s) if left_s > 0 else _LOOK_S)
                sample = self._sample(trial)
                if sample.bytes_in >= self._detect.proof_bytes:
                    trial.transfer = Transfer.PASSES
                elif sample.bytes_in > trial.last.bytes_in:
                    trial.last, trial.came_at = sample, loop.time()
                elif self._has_stopped(sample, trial.last):
                    trial.transfer = Transfer.STALLS
                elif bringing.done() or loop.time() >= ends_at + (WITHIN_S if _shows_soon(trial, sample) else 0.0):
                    return
        finally:
            bringing.cancel()

    def _has_stopped(self, sample: FlowSample, last: FlowSample) -> bool:
        """Whether the bytes sent since `last` were retransmitted several times, and the other end was silent."""
        again = sample.retransmits - last.retransmits
        return sample.unacked > 0 and again >= self._detect.frozen_retransmits and sample.heard_s >= STALLED_S

    def _is_silent(self, trial: _Trial) -> bool:
        """Whether a trial that stopped still has no answer, so that it was no short outage."""
        sample = self._sample(trial)
        return sample.unacked > 0 and sample.bytes_in <= trial.last.bytes_in

    def _sample(self, trial: _Trial) -> FlowSample:
        """Returns the kernel's counters of the connection to the relay; zeros when it was closed."""
        return self._tcp_info.sample(trial.stream.lowest_socket) or FlowSample()


class _CheckedDialer:
    """Dials through a relay that has alternatives, over a way on which transfers do not stall as far as is known."""

    def __init__(self, check: TransferCheck, dialer: Dialer, relay: Destination) -> None:
        self._check = check
        self._dialer = dialer
        self._relay = relay

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. Another port than a website's is dialed without a check. So is an address, since it has no name
        to verify."""
        stream = await self._dialer.dial(destination)
        if destination.address is not None or destination.port not in (_TLS_PORT, _HTTP_PORT):
            return stream
        loop = asyncio.get_running_loop()
        opened_at = loop.time()
        try:
            stalling = await self._check.stalling(self._dialer, self._relay, stream.peer, destination)
            stream.held_s = loop.time() - opened_at
            if stream.peer in stalling:
                with contextlib.suppress(DialError):  # then the open path is the only one
                    other = await self._dialer.dial(destination)
                    other.held_s = stream.held_s
                    stream.abort()
                    return other
        except BaseException:
            stream.abort()
            raise
        return stream

    def __repr__(self) -> str:
        return f"<checked {self._dialer!r}>"


def _shows_soon(trial: _Trial, sample: FlowSample) -> bool:
    """Whether a stall may show soon: bytes come, a pause is not over, or bytes sent after one are not acknowledged
    yet."""
    return sample.unacked > 0 or asyncio.get_running_loop().time() - trial.came_at <= QUIET_S[1] + 2 * _LOOK_S


async def _bring(trial: _Trial, site: Destination, enough: int) -> None:
    """Requests the site's first page again and again, over verified TLS or plain HTTP, until there are `enough` bytes
    or no more come."""
    with contextlib.suppress(OSError, PeerError):
        if site.port == _TLS_PORT:
            trial.stream = tls = TlsStream(trial.stream, context_trusting(None), site.host)
            await tls.handshake()
        await _Pages(trial.stream, site.host).request(enough)


class _Pages:
    """The first page of a site, requested again and again on one connection."""

    def __init__(self, stream: Stream, host: str) -> None:
        self._stream = stream
        self._request = first_page_request(host)
        self._reader = Reader()
        self._received = self._sent = self._extra = 0
        self._quiet_s = math.inf

    async def request(self, enough: int) -> None:
        """Requests pages until they have `enough` bytes, or the site has got its most requests: first one page, then
        the others at once (RFC 9112 section 9.3.2). Raises OSError, and PeerError for bytes that are no answer."""
        loop = asyncio.get_running_loop()
        answered, limit, wanted = 0, 1, 1
        while wanted > 0:
            await self._send(wanted)
            sent_at = loop.time()
            while answered < self._sent:
                if not self._received:
                    await self._receive()
                    self._quiet_s = min(max(QUIET_S[0], 2 * (loop.time() - sent_at)), QUIET_S[1])
                head = await self._read_answer()
                answered += 1
                if not head.keep_alive:
                    return
                limit = min(limit, _limit(head.status)) if answered > 1 else _limit(head.status)
            missing = enough - self._received
            wanted = min(math.ceil(missing * answered / self._received), limit - answered)

    async def _read_answer(self) -> ResponseHead:
        while True:
            parser = read_response_head(self._reader, "GET")
            try:
                while True:
                    next(parser)
                    await self._receive()
            except StopIteration as stop:
                head: ResponseHead = stop.value
            if not head.is_interim:
                break
        for piece in read_body(self._reader, head.body):
            if piece is None:
                await self._receive()
        return head

    async def _receive(self) -> None:
        """Receives more bytes. After a pause one more page is requested, EXTRA_MAX times at most: whether that request
        is acknowledged distinguishes a pause of the server from a stall."""
        while True:
            try:
                with deadline(self._quiet_s if self._extra < EXTRA_MAX and self._received else None):
                    data = await self._stream.receive()
            except TimeoutError:
                self._extra += 1
                await self._send(1)
            else:
                self._received += len(data)
                return self._reader.receive_data(data)

    async def _send(self, count: int) -> None:
        self._sent += count
        await self._stream.send(self._request * count)


def _limit(status: int) -> int:
    """Returns the most requests to a site that answers with this status."""
    if status < 400:
        return REQUESTS_MAX
    return REFUSED_MAX if status < 500 and status != 429 else 1
