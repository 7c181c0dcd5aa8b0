"""Resolves names, and decides which resolver may get a query for which name.

The stub resolver queries the system's name servers for ordinary names; getaddrinfo resolves special ones. A name that
is suspect, or has a finding, is queried only at encrypted DNS servers. Concurrent lookups of one name share one query.
An answer is cached for 30 s at most, for the network that gave it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Any

from proxy.model import DnsFinding, IPAddress, NetworkId, SignalId, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import PASSES
from proxy.net.dialers.tcp import AddressLookup
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.getaddrinfo import GetaddrinfoThreads, Lookup, SystemAnswer, error_text, system_lookup
from proxy.net.dns.stub_resolver import LookupResult, StubResolver, lookup_failed
from proxy.net.dns.tampering import BogonCheck, ExpiringCache, TamperingChecks, listed
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.loop.timers import Timer, call_at, cancel
from proxy.net.notify import Notify
from proxy.net.tasks import spawn
from proxy.wire.dns import Rcode
from proxy.wire.hostnames import PRIVATE_SUFFIXES

KEEP_S = 30.0
ADDRESSES = 16
"""The most addresses of one name: a dial reaches no more of them before its deadline."""

TTL_MIN_S = 1.0
"""The shortest time for which an answer is cached, even with a TTL of 0: one page looks a name up many times."""

FINDING_KEEP_S = 3600.0
"""Seconds for which a name with a finding is resolved by encrypted DNS only, whatever beliefs say."""

SECOND_OPINION_EVERY_S = 86_400.0
"""The shortest time between two second opinions about one name."""

Answer = tuple[IPAddress, ...] | DialError
Settle = Callable[[Answer], None]
Take = Callable[[SystemAnswer], Awaitable[None]]
Ask = Callable[[NetworkId, str, Settle], Coroutine[Any, Any, None]]

_LOCAL_SUFFIXES = (*PRIVATE_SUFFIXES, "localhost")
"""Encrypted DNS never gets a query for a name below these suffixes, or below one of `[dns] local`."""

_LOCALHOST: tuple[IPAddress, ...] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


class EncryptedFor(StrEnum):
    """The names that only encrypted DNS gets. The value is the word of `[dns] secure`."""

    NONE = "never"
    SUSPECTS = "on-suspicion"  # suspect names, and names with a finding, except local ones
    PUBLIC = "public"  # all names except local ones; not a setting, but for the names of relays
    ALL = "always"


@frozen_dataclass
class ResolverOptions:
    """The settings of `[dns]` and `[limits]` for resolving. Times are in seconds."""

    timeout_s: float = 10.0  # of one lookup
    keep_s: float = KEEP_S  # the longest time for which an answer is cached
    finding_keep_s: float = FINDING_KEEP_S
    encrypted_for: EncryptedFor = EncryptedFor.NONE
    local: Sequence[str] = ()  # suffixes of names that encrypted DNS never gets
    controls: Sequence[str] = ()  # control names, see TamperingChecks


class PendingAnswer:
    """One caller's wait for an answer. The caller closes it."""

    __slots__ = ("_answer", "_notify", "timer")

    def __init__(self, notify: Callable[[], None], answer: Answer | None = None) -> None:
        """`notify` is called once, when `poll` has a result; never after `close`, and never for an `answer` that is
        given here."""
        self._notify = notify if answer is None else None
        self._answer = answer
        self.timer: Timer | None = None
        """The timer that ends the wait."""

    def poll(self) -> tuple[IPAddress, ...] | None:
        """Returns the addresses; None while there is no answer. Raises DialError."""
        answer = self._answer
        if isinstance(answer, DialError):  # a new error for each caller, since raising one adds to its traceback
            raise DialError(str(answer), stage=answer.stage, symptom=answer.symptom, evidence=answer.evidence)
        return answer

    def settle(self, answer: Answer) -> None:
        """Takes the answer, and notifies. Without effect when there is an answer, and after `close`."""
        if (notify := self._notify) is not None:
            self._answer = answer
            self.close()
            notify()

    def close(self) -> None:
        """Ends the wait. The lookup goes on, since other callers may share it. Harmless when repeated."""
        self._notify = None
        if self.timer is not None:
            cancel(self.timer)
            self.timer = None


class Resolver:
    """Resolves names: by `[dns.hosts]` first, then by the resolver that may be asked. Belongs to one loop."""

    def __init__(
        self,
        hosts: Mapping[str, str] | None = None,
        *,
        options: ResolverOptions = ResolverOptions(),
        knowledge: Knowledge = NOTHING_KNOWN,
        guard: BogonCheck | None = None,
        system: StubResolver | None = None,
        encrypted: EncryptedDns | None = None,
        lookup: Lookup = system_lookup,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`hosts` maps canonical names to addresses. Without `system`, getaddrinfo (`lookup`) resolves every name.
        Without `guard`, no address counts as forged. `now` is the wall clock. Raises ConfigError for an address in
        `hosts` that is not valid."""
        self._hosts = {name: _configured(name, address) for name, address in (hosts or {}).items()}
        self._timeout_s = options.timeout_s
        self._keep_s = options.keep_s
        self._encrypted_for = options.encrypted_for
        self._local = tuple(f".{suffix}" for suffix in (*_LOCAL_SUFFIXES, *options.local))
        self._knowledge = knowledge
        self._network = knowledge.network
        self._getaddrinfo = GetaddrinfoThreads(lookup)
        self._system = system
        self._encrypted = encrypted
        self._has_exceptions = guard is not None and guard.has_exceptions
        self._tampering = TamperingChecks(
            self._ask_system_unchecked,
            knowledge,
            guard,
            controls=options.controls,
            keep_s=options.finding_keep_s,
            now=now,
        )
        self._plain = ExpiringCache[tuple[IPAddress, ...]]()
        self._secured = ExpiringCache[tuple[IPAddress, ...]]()
        self._opinions = ExpiringCache[asyncio.Task[bool]]()
        self._under_way: dict[tuple[bool, str], list[PendingAnswer]] = {}  # the waiting callers, by (secure, host)

    # -- lookups ---------------------------------------------------------------------------------------------------

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """Returns 1 to 16 addresses in the system's order of preference.

        Raises DialError of stage RESOLVE: NO_NAME (it does not exist, or has no address), RESOLVE_FAILED (no answer),
        OFFLINE (this machine has no route to any name server), FORGED (evidence "dns" names the signal), FORBIDDEN (an
        onion name, which the DNS must not get), SKIPPED (only encrypted DNS may get it, and no server answers), LOCAL
        (out of descriptors or memory). Evidence "code" says how the server answered."""
        if (cached := self.cached(host)) is not None:
            return cached
        notify = Notify()
        return await _awaited(self.begin(host, notify.set), notify)

    def begin(self, host: str, notify: Callable[[], None]) -> PendingAnswer:
        """Starts a lookup as `resolve` does, for a name that is not `cached`; the caller needs no task. Raises
        DialError when that is the result without a query."""
        if host == "onion" or host.endswith(".onion"):  # RFC 7686: never sent to the DNS
            raise lookup_failed(f"{host} is an onion name: it needs Tor and is never resolved", Symptom.FORBIDDEN)
        if self.may_ask_in_plain_text(host):
            return self._share_query(False, host, self._ask_system, notify)
        if in_files := self.in_files(host):
            return PendingAnswer(notify, in_files)
        return self._begin_encrypted(host, notify)

    async def secure(self, host: str) -> tuple[IPAddress, ...]:
        """Resolves by encrypted DNS only, for `direct|doh`. Returns and raises as `resolve` does; SKIPPED also for
        names that encrypted DNS never gets."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        if self._encrypted is None or self._encrypted_for is EncryptedFor.NONE:
            raise lookup_failed("no encrypted DNS server is configured", Symptom.SKIPPED)
        if self._is_local(host) or host == "onion" or host.endswith(".onion"):
            raise lookup_failed(f"{host} is a local name: encrypted DNS is not asked for it", Symptom.SKIPPED)
        notify = Notify()
        return await _awaited(self._begin_encrypted(host, notify.set), notify)

    def _begin_encrypted(self, host: str, notify: Callable[[], None]) -> PendingAnswer:
        if self._encrypted is None:
            raise lookup_failed("no encrypted DNS server is configured", Symptom.SKIPPED)
        if self._is_local(host):  # only with "always": `may_ask_in_plain_text` allows local names otherwise
            text = f'{host} is a local name, and [dns] secure = "always" allows no plain DNS query for it: '
            raise lookup_failed(f"{text}set its address in [dns.hosts]", Symptom.NO_NAME)
        cached = self._secured.get((self._network(), host), asyncio.get_running_loop().time())
        if cached is not None:
            return PendingAnswer(notify, cached)
        return self._share_query(True, host, self._ask_encrypted, notify)

    def may_ask_in_plain_text(self, host: str) -> bool:
        """Whether the system's name servers may get a query for `host`. Without an encrypted server they may, except
        with `EncryptedFor.ALL`."""
        if self._encrypted_for is EncryptedFor.ALL:
            return False
        if self._encrypted is None or self._encrypted_for is EncryptedFor.NONE:
            return True
        if self._encrypted_for is EncryptedFor.SUSPECTS:
            is_hidden = self._knowledge.is_suspect(host) or self._tampering.finding(host) is not None
            return not is_hidden or self._is_local(host)
        return self._is_local(host)

    def _is_local(self, host: str) -> bool:
        """Whether encrypted DNS never gets a query for `host`. With `EncryptedFor.ALL` the search list does not count,
        since no other server may get the query instead."""
        if "." not in host or f".{host}".endswith(self._local):
            return True
        searched = self._encrypted_for in (EncryptedFor.SUSPECTS, EncryptedFor.PUBLIC)
        return searched and self._system is not None and self._system.is_searched(host)

    # -- without a query -------------------------------------------------------------------------------------------

    def in_files(self, host: str) -> tuple[IPAddress, ...]:
        """Returns the addresses in the user's own files: `[dns.hosts]`, and this machine's hosts file. Sends no
        query."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        if f".{host}".endswith(".localhost"):
            return _LOCALHOST
        return self._system.in_hosts(host) if self._system is not None else ()

    def cached(self, host: str) -> tuple[IPAddress, ...] | None:
        """Returns the addresses that `resolve` would return without a query; None when it would send one."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        return self._plain.get((self._network(), host), asyncio.get_running_loop().time())

    def known(self, host: str) -> tuple[IPAddress, ...]:
        """Returns the addresses that would be dialed now without a query: configured or cached ones."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        key, now = (self._network(), host), asyncio.get_running_loop().time()
        return self._plain.get(key, now) or self._secured.get(key, now) or ()

    def finding(self, host: str) -> DnsFinding | None:
        """See TamperingChecks."""
        return self._tampering.finding(host)

    @property
    def zone_names(self) -> Container[str]:
        """The names for which `is_local_zone` may be true. It stays the same object."""
        return self._tampering.zone_names

    def is_local_zone(self, host: str) -> bool:
        """Whether `host` is known as a name of the local network. Its resolver gave a private address, and encrypted
        DNS has none or the search list has its suffix; or encrypted DNS itself gave a private address. Sends no
        query."""
        return self._tampering.is_local(host)

    def may_be_local_zone(self, host: str) -> bool:
        """Whether `host` may be such a name. The local network's resolver gave a private address, and encrypted DNS was
        not queried yet; or the search list has its suffix, and that resolver has not answered. Sends no query."""
        answer = self._tampering.system_answer(host)
        return self._is_local(host) if answer is None else self._tampering.may_be_local(host)

    def is_fake(self, address: IPAddress) -> bool:
        """See TamperingChecks."""
        return self._tampering.is_fake(address)

    async def compare(self, host: str) -> DnsFinding | None:
        """See TamperingChecks. Sends no other plain query for `host`."""
        finding = await self._tampering.compare(host, self.secure)
        if finding is not None:
            self._plain.drop((self._network(), host))
        return finding

    async def elsewhere(self, host: str) -> IPAddress | None:
        """Returns an address of the system's last answer for `host`, where it leads elsewhere than encrypted DNS, which
        alone may be asked now. It is one to which direct may connect for a name: no private one that the user has not
        allowed. Makes no finding."""
        answer = self._tampering.system_answer(host)
        if answer is None or self.may_ask_in_plain_text(host):
            return None
        if not await self._tampering.leads_elsewhere(host, self.secure):
            return None
        return next((each for each in answer.addresses if not self._tampering.are_bogons(host, (each,))), None)

    def second_opinion(self, host: str) -> asyncio.Task[bool] | None:
        """Returns a task that asks encrypted DNS whether the system's resolver led `host` elsewhere. It makes no
        finding and raises nothing. Returns None when encrypted DNS may not be asked, was asked within the last day, or
        resolves the name already. Callers share the task as long as its answer is cached."""
        if (
            self._encrypted_for is not EncryptedFor.SUSPECTS
            or self._encrypted is None
            or self._is_local(host)
            or not self.may_ask_in_plain_text(host)
            or self.in_files(host)
        ):
            return None
        key, now = (self._network(), host), asyncio.get_running_loop().time()
        opinion = self._opinions.get(key, now)
        if opinion is None:
            opinion = spawn(self._tampering.leads_elsewhere(host, self.secure), name=f"second opinion on {host}")
            self._opinions.put(key, now + SECOND_OPINION_EVERY_S, opinion)
        elif opinion.done() and self._secured.get(key, now) is None:
            return None
        return opinion

    def forget_hosts(self) -> None:
        """Forgets about which names a second opinion was asked."""
        self._opinions.items.clear()

    # -- one query for all callers ---------------------------------------------------------------------------------

    def _share_query(self, secure: bool, host: str, ask: Ask, notify: Callable[[], None]) -> PendingAnswer:
        pending = PendingAnswer(notify)
        ends_at = asyncio.get_running_loop().time() + self._timeout_s
        pending.timer = call_at(ends_at, partial(self._give_up, pending, secure, host), passes=PASSES)
        if (shared := self._under_way.get((secure, host))) is not None:
            shared.append(pending)
            return pending
        waiting = self._under_way[secure, host] = [pending]

        def settle(answer: Answer) -> None:
            if self._under_way.get((secure, host)) is waiting:
                del self._under_way[secure, host]
                for each in waiting:
                    each.settle(answer)

        def ended() -> None:
            """Settles after a fault in the task, so that the callers do not wait for ever."""
            if self._under_way.get((secure, host)) is waiting:
                settle(lookup_failed(f"{host} cannot be looked up", Symptom.LOCAL))

        # As a task: it goes on when its callers have timed out.
        spawn(ask(self._network(), host, settle), name=f"resolve {host}", on_end=ended, eager=True)
        return pending

    def _give_up(self, pending: PendingAnswer, secure: bool, host: str) -> None:
        """The time of one caller is over."""
        if secure:  # no evidence about the name
            text = f"no answer for {host} from an encrypted DNS server within {self._timeout_s:g} s"
            pending.settle(lookup_failed(text, Symptom.SKIPPED, {"doh": "doh_down"}))
            return
        self._tampering.record_system_answer(host, LookupResult(code=None, source="the system"))
        text = f"no DNS answer for {host} within {self._timeout_s:g} s"
        pending.settle(lookup_failed(text, Symptom.RESOLVE_FAILED, {"code": "silent"}))

    def _store(
        self, cache: ExpiringCache[tuple[IPAddress, ...]], network: NetworkId, host: str, result: LookupResult
    ) -> None:
        keep_s = min(self._keep_s, max(TTL_MIN_S, result.ttl_s))
        cache.put((network, host), asyncio.get_running_loop().time() + keep_s, result.addresses[:ADDRESSES])

    async def _ask_encrypted(self, network: NetworkId, host: str, settle: Settle) -> None:
        assert self._encrypted is not None
        try:
            result = await self._encrypted.ask(host)
        except DialError as error:
            settle(error)
            return
        if result.addresses:
            self._store(self._secured, network, host, result)
        if network == self._network():
            if result.addresses:
                self._tampering.note_encrypted_answer(host, result.addresses)
            elif result.code in (Rcode.NO_NAME, Rcode.OK):
                self._tampering.mark_local(host)
        settle(result.addresses[:ADDRESSES] or _no_address(host, result))

    async def _ask_system(self, network: NetworkId, host: str, settle: Settle) -> None:
        """Settles at the first answer; a later one only corrects the cache."""
        system = self._system
        if system is None or not system.handles(host):
            settle(await self._check_system_answer(network, host, await self._getaddrinfo.ask(host)))
            return
        is_first = True

        async def take(answer: SystemAnswer) -> None:
            nonlocal is_first
            if is_first:
                is_first = False
                if isinstance(answer, LookupResult) and answer.code is Rcode.NO_NAME and system.has_search:
                    answer = await self._getaddrinfo.ask(host)  # it may exist under a suffix of the search list
                settle(await self._check_system_answer(network, host, answer))
            elif isinstance(answer, LookupResult) and answer.addresses:
                await self._check_system_answer(network, host, answer)

        try:
            await system.ask(host, self._timeout_s, _StubListener(self, network, host, take))
        except OSError as error:
            settle(lookup_failed(f"{host} cannot be looked up: {error_text(error)}", Symptom.LOCAL))

    async def _ask_system_unchecked(self, host: str) -> SystemAnswer:
        """Queries the system, and does not check the answer."""
        if self._system is None or not self._system.handles(host):
            return await self._getaddrinfo.ask(host)
        first: asyncio.Future[SystemAnswer] = asyncio.get_running_loop().create_future()

        async def take(answer: SystemAnswer) -> None:
            if not first.done():
                first.set_result(answer)

        def ended() -> None:
            if not first.done():
                first.set_result(LookupResult(code=None))

        async def ask(system: StubResolver) -> None:
            try:
                await system.ask(host, self._timeout_s, _StubListener(self, self._network(), host, take))
            except OSError as error:
                await take(lookup_failed(f"{host} cannot be looked up: {error_text(error)}", Symptom.LOCAL))

        spawn(ask(self._system), name=f"ask for {host}", on_end=ended)
        return await first

    def on_two_answers(
        self, network: NetworkId, host: str, first: Sequence[IPAddress], second: Sequence[IPAddress]
    ) -> None:
        """Called by a lookup on `network` whose query got two different answers. One of them is forged."""
        if network != self._network():
            return
        detail = f"first {listed(first)}, then {listed(second)} to one query"
        finding = self._tampering.add_finding(host, SignalId.DNS_TWO_ANSWERS, detail)
        self._plain.drop((network, host))
        self._knowledge.on_forged(host, finding)

    async def _check_system_answer(self, network: NetworkId, host: str, answer: SystemAnswer) -> Answer:
        """Checks an answer of the system on `network`, and caches a good one. After a change of network, the answer is
        used once and not stored."""
        is_current = network == self._network()
        if is_current:
            self._tampering.record_system_answer(host, answer)
        if isinstance(answer, DialError):
            return answer
        if not answer.addresses:
            return _no_address(host, answer)
        if self._tampering.are_bogons(host, answer.addresses) and await self._is_forged(host, answer.addresses):
            if is_current:
                self._tampering.add_finding(host, SignalId.DNS_BOGON, f"{listed(answer.addresses)} for a public name")
            text = (
                f"{host}: the resolver returned {listed(answer.addresses)}, which is not a public address (forged "
                "answer); if it is correct, add the suffix to [dns] local or the address to [safety] allow"
            )
            forged = str(answer.addresses[0])
            return lookup_failed(text, Symptom.FORGED, {"dns": SignalId.DNS_BOGON, "forged": forged})
        if self._has_exceptions and self._is_local(host) and self._tampering.are_home(answer.addresses):
            self._tampering.mark_local(host)  # the user allows these addresses, but the name is still a local one
        if is_current and self._tampering.finding(host) is None:  # with one, the next lookup goes to encrypted DNS
            self._store(self._plain, network, host, answer)
        return answer.addresses[:ADDRESSES]

    async def _is_forged(self, host: str, addresses: Sequence[IPAddress]) -> bool:
        """Whether bogons (addresses to which no public name leads) are forged."""
        if self.in_files(host):
            return False
        if self._is_local(host):
            self._tampering.mark_local(host)
            return False  # a local name may have a private address; the guard still decides whether it is dialed
        return await self._tampering.is_forged(host, addresses)


class _StubListener:
    """The listener of one lookup by the stub resolver; see LookupListener."""

    __slots__ = ("_host", "_network", "_resolver", "on_result")

    def __init__(self, resolver: Resolver, network: NetworkId, host: str, take: Take) -> None:
        self._resolver = resolver
        self._network = network
        self._host = host
        self.on_result: Take = take

    def on_two_answers(self, first: Sequence[IPAddress], second: Sequence[IPAddress]) -> None:
        self._resolver.on_two_answers(self._network, self._host, first, second)

    def may_ask_next(self) -> bool:
        return self._resolver.may_ask_in_plain_text(self._host)


class EncryptedLookup(AddressLookup):
    """The encrypted half of a Resolver, for the dialer of `direct|doh`."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """See Resolver.secure."""
        return await self._resolver.secure(host)


async def _awaited(pending: PendingAnswer, notify: Notify) -> tuple[IPAddress, ...]:
    """Waits for the answer; `pending` sets `notify`. Raises DialError."""
    try:
        while (addresses := pending.poll()) is None:
            await notify.wait()
        return addresses
    finally:
        pending.close()


def _no_address(host: str, result: LookupResult) -> DialError:
    """Returns the error with the reason why there is no address."""
    by = f" (answer of {result.source})" if result.source and result.source != "the system" else ""
    match result.code:
        case Rcode.OK:
            return lookup_failed(f"{host} has no address{by}", Symptom.NO_NAME, {"code": "nodata"})
        case Rcode.NO_NAME:
            return lookup_failed(f"{host} does not exist{by}", Symptom.NO_NAME, {"code": "nxdomain"})
        case None:
            reason = result.source or "no name server answered"
            symptom = Symptom.OFFLINE if result.offline else Symptom.RESOLVE_FAILED
            return lookup_failed(f"{host} does not resolve: {reason}", symptom, {"code": "silent"})
        case code:
            text = f"{host} does not resolve: the name server answers {code.upper()}{by}"
            return lookup_failed(text, Symptom.RESOLVE_FAILED, {"code": str(code)})


def _configured(name: str, address: str) -> tuple[IPAddress, ...]:
    try:
        return (ipaddress.ip_address(address),)
    except ValueError:
        raise ConfigError(f"[dns.hosts] {name}: {address!r} is not an address") from None
