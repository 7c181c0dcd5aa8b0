"""Names to addresses: which resolver may be asked for which name.

A stub resolver asks the system's name servers for plain names; getaddrinfo resolves what is special. A name that is
suspect, or has a finding against it, is asked of encrypted DNS servers only. Lookups of one name share one query, and
an answer is cached for half a minute at most, for the network that gave it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from proxy.model import (
    NO_EVIDENCE,
    UNKNOWN_NETWORK,
    DnsFinding,
    Evidence,
    IPAddress,
    NetworkId,
    SignalId,
    Stage,
    Symptom,
)
from proxy.model.errors import ConfigError, DialError
from proxy.net.deadline import deadline
from proxy.net.dns.encrypted import EncryptedDns
from proxy.net.dns.getaddrinfo import GetaddrinfoThreads, Lookup, SystemAnswer, system_lookup, words
from proxy.net.dns.stub_resolver import LookupResult, StubResolver
from proxy.net.dns.tampering import ExpiringCache, TamperingChecks, listed
from proxy.net.tasks import spawn
from proxy.wire.dns import Rcode
from proxy.wire.hostnames import PRIVATE_SUFFIXES

KEEP_S = 30.0
ADDRESSES = 16
"""Of one name, at most: a dial reaches no more of them before its deadline."""

TTL_MIN_S = 1.0
"""The shortest time that an answer is cached, even where its TTL is 0: one page asks for a name many times."""

FINDING_KEEP_S = 3600.0
"""How long a name with a finding against it is asked of secure servers only, whatever else is believed of it."""

Mode = Literal["on-suspicion", "always", "never"]
Answer = tuple[IPAddress, ...] | DialError
Settle = Callable[[Answer], None]
Ask = Callable[[NetworkId, str, Settle], Coroutine[Any, Any, None]]

_LOCAL_SUFFIXES = (*PRIVATE_SUFFIXES, "localhost")
"""Encrypted DNS is never asked for names below these, nor below those of `[dns] local`."""

_LOCALHOST: tuple[IPAddress, ...] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


@dataclass(frozen=True, slots=True)
class ResolverOptions:
    """What `[dns]` and `[limits]` say of resolving. Times are in seconds."""

    timeout_s: float = 10.0  # of one lookup
    keep_s: float = KEEP_S  # the longest that an answer is cached
    finding_keep_s: float = FINDING_KEEP_S
    mode: Mode = "never"  # when encrypted DNS is asked in place of the system
    local: Sequence[str] = ()  # suffixes that encrypted DNS is never asked for
    controls: Sequence[str] = ()  # names to which another proxy's fake addresses show


class ResolverPolicy(Protocol):
    """What a resolver asks of the layers above it, and reports to them."""

    def network(self) -> NetworkId:
        """The current network: answers are cached for the one that gave them."""
        ...

    def is_suspect(self, host: str) -> bool:
        """Whether `host` must not be resolved in plain text (but with mode "never")."""
        ...

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        """Called for a forged answer that came in addition to the one in use."""
        ...


class NetworkOnly:
    """A policy that knows the network and suspects no name."""

    def __init__(self, network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK) -> None:
        self._network = network

    def network(self) -> NetworkId:
        return self._network()

    def is_suspect(self, host: str) -> bool:
        return False

    def on_forged(self, host: str, finding: DnsFinding) -> None:
        pass


NO_RESOLVER_POLICY: ResolverPolicy = NetworkOnly()
"""For commands, which run without the rest of Byway."""


class BogonCheck(Protocol):
    """What knows which addresses no public name leads to."""

    def is_bogon(self, host: str, address: IPAddress) -> bool: ...


class Resolver:
    """Resolves names: by `[dns.hosts]` first, then by the resolver that the policy allows. Belongs to one loop."""

    def __init__(
        self,
        hosts: Mapping[str, str] | None = None,
        *,
        options: ResolverOptions = ResolverOptions(),
        policy: ResolverPolicy = NO_RESOLVER_POLICY,
        guard: BogonCheck | None = None,
        system: StubResolver | None = None,
        encrypted: EncryptedDns | None = None,
        lookup: Lookup = system_lookup,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`hosts` maps canonical names to addresses. `system` None: getaddrinfo (`lookup`) resolves all. `guard` None:
        no address is taken for a forged one. `now` is the wall clock. Raises ConfigError when a host's address is
        none."""
        self._hosts = {name: _configured(name, address) for name, address in (hosts or {}).items()}
        self._timeout_s = options.timeout_s
        self._keep_s = options.keep_s
        self._mode = options.mode
        self._local = tuple(f".{suffix}" for suffix in (*_LOCAL_SUFFIXES, *options.local))
        self._policy = policy
        self._network = policy.network
        self._threads = GetaddrinfoThreads(lookup)
        self._system = system
        self._secure = encrypted
        self._tampering = TamperingChecks(
            self._ask_system_bare,
            policy.network,
            is_bogon=guard.is_bogon if guard is not None else lambda _host, _address: False,
            controls=options.controls,
            suspect=policy.is_suspect,
            keep_s=options.finding_keep_s,
            now=now,
        )
        self._plain = ExpiringCache[tuple[IPAddress, ...]]()
        self._secured = ExpiringCache[tuple[IPAddress, ...]]()
        self._under_way: dict[tuple[bool, str], asyncio.Future[Answer]] = {}  # (secure, host)

    # -- asking ----------------------------------------------------------------------------------------------------

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """1 to 16 addresses in the system's order of preference.

        Raises DialError of stage RESOLVE: NO_NAME (it does not exist, or has no address), RESOLVE_FAILED (no answer),
        OFFLINE (this machine has no route to any name server), FORGED (evidence "dns" names the signal), FORBIDDEN (a
        name that must not be asked for), SKIPPED (it may be asked of secure servers only, and none answers), LOCAL (out
        of descriptors or memory). Evidence "code" says how the server answered."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        if host == "onion" or host.endswith(".onion"):  # RFC 7686: never asked of the DNS
            raise _failed(f"{host} is an onion name: it needs Tor and is never resolved", Symptom.FORBIDDEN)
        kept = self._plain.get((self._network(), host), asyncio.get_running_loop().time())
        if kept is not None:
            return kept
        if self._mode != "never" and self._must_be_secure(host):
            return self._in_files(host) or await self._resolve_encrypted(host)
        return _given(await self._share_query(False, host, self._ask_system))

    async def secure(self, host: str) -> tuple[IPAddress, ...]:
        """The same from secure servers only: behind `direct|doh`. Raises DialError, SKIPPED also for names that they
        are never asked for."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        if self._secure is None or self._mode == "never":
            raise _failed("no encrypted DNS server is configured", Symptom.SKIPPED)
        if self._is_local(host) or host == "onion" or host.endswith(".onion"):
            raise _failed(f"{host} is a local name: encrypted DNS is not asked for it", Symptom.SKIPPED)
        return await self._resolve_encrypted(host)

    async def _resolve_encrypted(self, host: str) -> tuple[IPAddress, ...]:
        if self._secure is None:
            raise _failed("no encrypted DNS server is configured", Symptom.SKIPPED)
        if self._is_local(host):  # with "always" alone
            text = f'{host} is a local name, and [dns] secure = "always" allows no plain DNS query for it: '
            raise _failed(f"{text}set its address in [dns.hosts]", Symptom.NO_NAME)
        kept = self._secured.get((self._network(), host), asyncio.get_running_loop().time())
        return kept if kept is not None else _given(await self._share_query(True, host, self._ask_secure))

    def _must_be_secure(self, host: str) -> bool:
        """Whether the name may not be asked for in the clear."""
        if self._mode == "always":
            return True
        if self._secure is None or not (self._policy.is_suspect(host) or self.finding(host) is not None):
            return False
        return not self._is_local(host)

    def _is_local(self, host: str) -> bool:
        """Whether encrypted DNS is never asked for `host`. With "always" the search list does not count, since no other
        server is asked either."""
        if "." not in host or f".{host}".endswith(self._local):
            return True
        return self._mode == "on-suspicion" and self._system is not None and self._system.is_searched(host)

    def _in_files(self, host: str) -> tuple[IPAddress, ...]:
        """Returns the addresses in this machine's hosts file; no query is sent."""
        if f".{host}".endswith(".localhost"):
            return _LOCALHOST
        return self._system.in_hosts(host) if self._system is not None else ()

    # -- what is known ---------------------------------------------------------------------------------------------

    def known(self, host: str) -> tuple[IPAddress, ...]:
        """Returns the addresses that would be dialed now without a query: configured or cached ones."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        key, now = (self._network(), host), asyncio.get_running_loop().time()
        return self._plain.get(key, now) or self._secured.get(key, now) or ()

    def is_resolving(self, host: str) -> bool:
        """Whether the system has yet to answer for `host`."""
        return (False, host) in self._under_way

    def finding(self, host: str) -> DnsFinding | None:
        """Returns the evidence that the system's answer for `host` is wrong on this network; None when there is none,
        or it is older than `finding_keep_s`."""
        return self._tampering.finding(host)

    def is_fake(self, address: IPAddress) -> bool:
        """Whether `address` is a fake one, by which another proxy on this machine stands for a name."""
        return self._tampering.is_fake(address)

    async def compare(self, host: str) -> DnsFinding | None:
        """Compares what the system last answered for `host` with encrypted DNS; the system is not asked for the name.

        Returns None when both agree, or encrypted DNS does not answer."""
        finding = await self._tampering.compare(host, self.secure)
        if finding is not None:
            self._plain.drop((self._network(), host))
        return finding

    # -- one query for all who ask ---------------------------------------------------------------------------------

    async def _share_query(self, secure: bool, host: str, ask: Ask) -> Answer:
        future = self._under_way.get((secure, host))
        if future is None:
            future = self._start_query(secure, host, ask)
        try:
            with deadline(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            return self._timed_out(secure, host)

    def _start_query(self, secure: bool, host: str, ask: Ask) -> asyncio.Future[Answer]:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def settle(answer: Answer) -> None:
            if not future.done():
                future.set_result(answer)
                del self._under_way[(secure, host)]

        self._under_way[(secure, host)] = future
        task = spawn(ask(self._network(), host, settle), name=f"resolve {host}")
        # A fault in it must not leave all who wait for the name waiting.
        task.add_done_callback(lambda _: settle(_failed(f"{host} cannot be looked up", Symptom.LOCAL)))
        return future

    def _timed_out(self, secure: bool, host: str) -> DialError:
        if secure:  # nothing about the name, so nothing may be learned
            text = f"no answer for {host} from an encrypted DNS server within {self._timeout_s:g} s"
            return _failed(text, Symptom.SKIPPED, {"doh": "doh_down"})
        self._tampering.record_system_answer(host, LookupResult(code=None, source="the system"))
        text = f"no DNS answer for {host} within {self._timeout_s:g} s"
        return _failed(text, Symptom.RESOLVE_FAILED, {"code": "silent"})

    def _cache(
        self, kept: ExpiringCache[tuple[IPAddress, ...]], network: NetworkId, host: str, found: LookupResult
    ) -> None:
        keep_s = min(self._keep_s, max(TTL_MIN_S, found.ttl_s))
        kept.put((network, host), asyncio.get_running_loop().time() + keep_s, found.addresses[:ADDRESSES])

    async def _ask_secure(self, network: NetworkId, host: str, settle: Settle) -> None:
        assert self._secure is not None
        try:
            found = await self._secure.ask(host)
        except DialError as error:
            settle(error)
            return
        if found.addresses:
            self._cache(self._secured, network, host, found)
        elif found.code is Rcode.NO_NAME and network == self._network():
            self._tampering.mark_local(host)
        settle(found.addresses[:ADDRESSES] or _nothing(host, found))

    async def _ask_system(self, network: NetworkId, host: str, settle: Settle) -> None:
        """Settles at the first answer; a later one only corrects the cache."""
        if self._system is None or not self._system.handles(host):
            settle(await self._check_system_answer(network, host, await self._threads.ask(host)))
            return
        heard = self._hearing(host)
        told = await heard.get()
        if isinstance(told, LookupResult) and told.code is Rcode.NO_NAME and self._system.has_search:
            told = await self._threads.ask(host)  # it may exist under a suffix of the search list
        if told is not None:
            settle(await self._check_system_answer(network, host, told))
        while isinstance(later := await heard.get(), LookupResult):
            if later.addresses:
                await self._check_system_answer(network, host, later)

    async def _ask_system_bare(self, host: str) -> SystemAnswer:
        """Asks the system and checks nothing."""
        if self._system is None or not self._system.handles(host):
            return await self._threads.ask(host)
        return await self._hearing(host).get() or LookupResult(code=None)

    def _hearing(self, host: str) -> asyncio.Queue[SystemAnswer | None]:
        """What the name servers say, as it comes, and None behind it."""
        heard: asyncio.Queue[SystemAnswer | None] = asyncio.Queue()
        spawn(self._hear(host, heard.put_nowait), name=f"ask for {host}")
        return heard

    async def _hear(self, host: str, tell: Callable[[SystemAnswer | None], None]) -> None:
        assert self._system is not None
        network = self._network()

        def differs(first: Sequence[IPAddress], second: Sequence[IPAddress]) -> None:
            if network == self._network():
                self._on_two_answers(host, first, second)

        try:
            await self._system.ask(
                host,
                self._timeout_s,
                tell,
                differs,
                may_go_on=lambda: self._mode == "never" or not self._must_be_secure(host),
            )
        except OSError as error:
            tell(_failed(f"{host} cannot be looked up: {words(error)}", Symptom.LOCAL))
        finally:
            tell(None)

    def _on_two_answers(self, host: str, first: Sequence[IPAddress], second: Sequence[IPAddress]) -> None:
        detail = f"first {listed(first)}, then {listed(second)} to one query"
        finding = self._tampering.add_finding(host, SignalId.DNS_TWO_ANSWERS, detail)
        self._plain.drop((self._network(), host))
        self._policy.on_forged(host, finding)

    async def _check_system_answer(self, network: NetworkId, host: str, told: SystemAnswer) -> Answer:
        """Checks the system's answer and caches a good one. It is not cached when the network has changed."""
        is_here = network == self._network()
        if is_here:
            self._tampering.record_system_answer(host, told)
        if isinstance(told, DialError):
            return told
        if not told.addresses:
            return _nothing(host, told)
        if await self._is_forged(host, told.addresses):
            if is_here:
                self._tampering.add_finding(host, SignalId.DNS_BOGON, f"{listed(told.addresses)} for a public name")
            text = (
                f"{host}: the resolver returned {listed(told.addresses)}, which is not a public address (forged "
                "answer); if it is correct, add the suffix to [dns] local or the address to [safety] allow"
            )
            return _failed(text, Symptom.FORGED, {"dns": SignalId.DNS_BOGON})
        if is_here and self.finding(host) is None:  # else nothing that the system says of it is kept
            self._cache(self._plain, network, host, told)
        return told.addresses[:ADDRESSES]

    async def _is_forged(self, host: str, addresses: Sequence[IPAddress]) -> bool:
        if self._is_local(host) or self._in_files(host):
            return False  # the user's own affair; the guard has its own word on it
        return await self._tampering.is_forged(host, addresses)


class EncryptedLookup:
    """A Resolver's secure half as one of its own: what a dialer of `direct|doh` resolves with."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """See Resolver.secure."""
        return await self._resolver.secure(host)


def _given(answer: Answer) -> tuple[IPAddress, ...]:
    if isinstance(answer, DialError):  # each caller its own traceback
        raise DialError(str(answer), stage=answer.stage, symptom=answer.symptom, evidence=answer.evidence)
    return answer


def _nothing(host: str, found: LookupResult) -> DialError:
    """Returns the error that says why there is no address."""
    by = f" (answer of {found.source})" if found.source and found.source != "the system" else ""
    match found.code:
        case Rcode.OK:
            return _failed(f"{host} has no address{by}", Symptom.NO_NAME, {"code": "nodata"})
        case Rcode.NO_NAME:
            return _failed(f"{host} does not exist{by}", Symptom.NO_NAME, {"code": "nxdomain"})
        case None:
            said = found.source or "no name server answered"
            symptom = Symptom.OFFLINE if found.offline else Symptom.RESOLVE_FAILED
            return _failed(f"{host} does not resolve: {said}", symptom, {"code": "silent"})
        case code:
            text = f"{host} does not resolve: the name server answers {code.upper()}{by}"
            return _failed(text, Symptom.RESOLVE_FAILED, {"code": str(code)})


def _configured(name: str, address: str) -> tuple[IPAddress, ...]:
    try:
        return (ipaddress.ip_address(address),)
    except ValueError:
        raise ConfigError(f"[dns.hosts] {name}: {address!r} is not an address") from None


def _failed(text: str, symptom: Symptom, evidence: Evidence = NO_EVIDENCE) -> DialError:
    return DialError(text, stage=Stage.RESOLVE, symptom=symptom, evidence=evidence)
