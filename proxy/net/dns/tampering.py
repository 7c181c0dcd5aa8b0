"""Finds signs of tampering in the system resolver's answers, by network and name.

An address to which no public name leads (a bogon) is forged, with three exceptions: the user's own files or settings
name it, encrypted DNS shows that the name is local, or another proxy on this machine answers every name with fake
addresses. The system's last answer for each name is stored, to be compared with that of encrypted DNS. The only plain
queries from here are for control names, and for the network's NAT64 prefix where IPv6 addresses may be translated.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

from proxy.model import DnsFinding, IPAddress, NetworkId, SignalId, Symptom
from proxy.model.bounded import Bounded
from proxy.model.errors import DialError
from proxy.net.dns.getaddrinfo import SystemAnswer
from proxy.net.dns.stub_resolver import LookupResult
from proxy.net.knowledge import Knowledge
from proxy.wire import dns
from proxy.wire.dns import Rcode

log = logging.getLogger(__name__)

CACHED_NAMES = 1024

FAKE = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses for benchmarks (RFC 2544). Other proxies on a machine give them in place of real ones."""

CONTROLS = 2
"""The number of control names that are resolved to distinguish another proxy's fake addresses from a forgery."""

WITNESSES = 3
"""The number of control names that are resolved to distinguish a resolver that denies one name from one that is
down."""

WITNESSED_S = 60.0
"""Seconds for which the result of the WITNESSES is reused."""

Key = tuple[NetworkId, str]
Ask = Callable[[str], Awaitable[Sequence[IPAddress]]]
"""Resolves a name by encrypted DNS. Raises DialError."""
T = TypeVar("T")


class BogonCheck(Protocol):
    """Knows the addresses to which no public name leads."""

    @property
    def has_exceptions(self) -> bool:
        """Whether the user allows any of them."""

    def is_home(self, address: IPAddress) -> bool:
        """Whether `address` is one of the home network, also if the user allows it."""

    def is_bogon(self, host: str, address: IPAddress) -> bool:
        """Whether `address` as an answer for `host` is neither public nor allowed by the user."""


class ExpiringCache(Generic[T]):
    """The latest values by network and name, each until its expiry; at most CACHED_NAMES of them."""

    __slots__ = ("items",)

    def __init__(self) -> None:
        self.items: Bounded[Key, tuple[float, T]] = Bounded(CACHED_NAMES)
        """Each value with its expiry. Expired ones stay until they are overwritten or pushed out."""

    def get(self, key: Key, now: float) -> T | None:
        item = self.items.get(key)
        return item[1] if item is not None and item[0] > now else None

    def put(self, key: Key, until: float, value: T) -> None:
        self.items[key] = (until, value)

    def drop(self, key: Key) -> None:
        self.items.pop(key, None)


class TamperingChecks:
    """Checks the system's answers for signs of tampering, and stores the findings. Belongs to one loop."""

    def __init__(
        self,
        ask_system: Callable[[str], Awaitable[SystemAnswer]],
        knowledge: Knowledge,
        guard: BogonCheck | None,
        *,
        controls: Sequence[str],
        keep_s: float,
        now: Callable[[], float],
    ) -> None:
        """`ask_system` resolves a name without a check. Without `guard` no address counts as forged. `controls` are
        control names: no censor forges all of them. Those that are suspect are not resolved. Findings expire after
        `keep_s`. `now` is the wall clock."""
        self._ask_system = ask_system
        self._knowledge = knowledge
        self._guard = guard
        self._controls = tuple(controls)
        self._keep_s = keep_s
        self._now = now
        self._system_answers = ExpiringCache[LookupResult]()
        self._findings = ExpiringCache[DnsFinding]()
        self._local = ExpiringCache[bool]()  # names that encrypted DNS does not know, or never gets
        self._home = ExpiringCache[bool]()  # names that lead into the home network by encrypted DNS
        self.zone_names: Bounded[str, None] = Bounded(CACHED_NAMES)
        """The names that were marked as local or as home, on any network."""
        self._prefixes = ExpiringCache[tuple[ipaddress.IPv6Network, ...]]()
        self._fakes = ExpiringCache[bool]()  # whether control names have fake addresses
        self._answers = ExpiringCache[bool]()  # whether control names are answered
        self._witnessing = asyncio.Lock()

    # -- findings and answers --------------------------------------------------------------------------------------

    def finding(self, host: str) -> DnsFinding | None:
        """Returns the evidence that the system's answer for `host` is wrong on this network, or None. Answers of a
        captive portal are no evidence, also those from before it was detected."""
        if not self._findings.items:
            return None
        if self._knowledge.is_portal():
            network = self._knowledge.network()
            for key in [key for key in self._findings.items if key[0] == network]:
                self._findings.drop(key)
            return None
        return self._findings.get(self._key(host), _time())

    def add_finding(self, host: str, signal: SignalId, detail: str) -> DnsFinding:
        """Makes a finding against the system's answers for `host` on this network, and returns it. It is stored, unless
        there is a captive portal, which answers for every name."""
        finding = DnsFinding(signal, detail, self._now())
        if not self._knowledge.is_portal():
            self._findings.put(self._key(host), _time() + self._keep_s, finding)
        return finding

    def is_fake(self, address: IPAddress) -> bool:
        """Whether `address` is a fake address, which another proxy on this machine gives in place of a real one."""
        if not self._fakes.items:  # no answer had a fake address
            return False
        return address.version == 4 and address in FAKE and bool(self._fakes.get(self._key(""), _time()))

    def record_system_answer(self, host: str, answer: SystemAnswer) -> None:
        """Stores the system's last answer for `host`, good or bad, for `compare`."""
        if isinstance(answer, DialError):
            if answer.symptom not in (Symptom.NO_NAME, Symptom.RESOLVE_FAILED):
                return
            answer = LookupResult(
                code=Rcode.NO_NAME if answer.symptom is Symptom.NO_NAME else Rcode.FAILED, source="the system"
            )
        until = asyncio.get_running_loop().time() + self._keep_s
        self._system_answers.put((self._knowledge.network(), host), until, answer)

    def system_answer(self, host: str) -> LookupResult | None:
        """Returns the system's last answer for `host` on this network, good or bad; None: there is none."""
        return self._system_answers.get(self._key(host), _time())

    def mark_local(self, host: str) -> None:
        """Marks a name as local, since encrypted DNS has no address for it. The system's addresses for it count as
        right from now on, also those of later answers."""
        key, answer = self._key(host), self.system_answer(host)
        if answer is not None and answer.addresses:
            self._findings.drop(key)
        self._local.put(key, _time() + self._keep_s, True)
        self.zone_names[host] = None

    def note_encrypted_answer(self, host: str, addresses: Sequence[IPAddress]) -> None:
        """Notes whether the addresses of encrypted DNS are all in the home network, as those of people's own devices
        are. The name then leads there, whatever the system answers."""
        key = self._key(host)
        if self.are_home(addresses):
            self._findings.drop(key)
            self._home.put(key, _time() + self._keep_s, True)
            self.zone_names[host] = None
        else:
            self._home.drop(key)
            self._local.drop(key)

    def is_local(self, host: str) -> bool:
        """Whether the name leads into the home network: by encrypted DNS; or it is marked as local, and the system's
        last answer for it has only private addresses."""
        key = self._key(host)
        if self._home.get(key, _time()):
            return True
        return bool(self._local.get(key, _time())) and self._is_answer_private(host)

    def may_be_local(self, host: str) -> bool:
        """Whether the system's last answer has only private addresses, and the name is not marked as local yet."""
        return self._is_answer_private(host) and not self._local.get(self._key(host), _time())

    def _is_answer_private(self, host: str) -> bool:
        answer = self.system_answer(host)
        if answer is None or not answer.addresses or any(map(self.is_fake, answer.addresses)):
            return False
        return self.are_bogons(host, answer.addresses) or self.are_home(answer.addresses)

    # -- checks ----------------------------------------------------------------------------------------------------

    def are_bogons(self, host: str, addresses: Sequence[IPAddress]) -> bool:
        """Whether no public name leads to any of `addresses`, and no file or setting of the user allows one."""
        guard = self._guard
        return guard is not None and False not in [guard.is_bogon(host, address) for address in addresses]

    def are_home(self, addresses: Sequence[IPAddress]) -> bool:
        """Whether all are addresses of the home network, including those that the user allows."""
        guard = self._guard
        return guard is not None and all(map(guard.is_home, addresses))

    async def is_forged(self, host: str, addresses: Sequence[IPAddress]) -> bool:
        """Whether `addresses`, which are bogons, are forged: neither local nor those of another proxy."""
        key = self._key(host)
        if self._local.get(key, _time()) or self._home.get(key, _time()):
            return False
        return not (all(address in FAKE for address in addresses) and await self._controls_are_fake())

    async def compare(self, host: str, ask_encrypted: Ask) -> DnsFinding | None:
        """Compares the system's last answer for `host` with that of encrypted DNS. Returns the finding; None when both
        agree, or when one is missing."""
        key = self._key(host)
        answer = self.system_answer(host)
        if answer is None:
            return self.finding(host)
        addresses = await self._by_encrypted_dns(host, ask_encrypted)
        if not addresses:
            return None
        if not answer.addresses:
            if not await self._answers_others(host) or key != self._key(host):
                return None
            signal = SignalId.DNS_SILENT if answer.code is None else SignalId.DNS_DENIED
            code = "silence" if answer.code is None else str(answer.code)
            detail = f"{code} from {answer.source}, but {listed(addresses)} by encrypted DNS"
            return self.add_finding(host, signal, detail)
        if (finding := self.finding(host)) is not None:
            return finding
        if await self._agree(answer.addresses, addresses):
            return None
        return self.add_finding(
            host, SignalId.DNS_MISMATCH, f"{listed(answer.addresses)}, but {listed(addresses)} by encrypted DNS"
        )

    async def leads_elsewhere(self, host: str, ask_encrypted: Ask) -> bool:
        """Whether encrypted DNS gives other addresses for `host` than the system's last answer. Makes no finding: a CDN
        gives different addresses to different resolvers."""
        answer = self.system_answer(host)
        if answer is None or not answer.addresses or self._is_answer_private(host):
            return False
        addresses = await self._by_encrypted_dns(host, ask_encrypted)
        return bool(addresses) and not await self._agree(answer.addresses, addresses)

    async def _by_encrypted_dns(self, host: str, ask_encrypted: Ask) -> Sequence[IPAddress]:
        """Returns the addresses of encrypted DNS to compare with the system's; none when there is no answer, or no
        comparison."""
        key = self._key(host)
        try:
            addresses = await ask_encrypted(host)
        except DialError as error:
            if error.symptom is Symptom.NO_NAME:
                self.mark_local(host)
            return ()
        if key != self._key(host):  # the network has changed meanwhile
            return ()
        # The system's resolver may hide private addresses, as protection from DNS rebinding.
        return () if self._home.get(key, _time()) else addresses

    async def _answers_others(self, host: str) -> bool:
        """Whether the system resolves some control name. A resolver that fails for all names, like one of a router
        whose uplink is down, is no evidence about one name. True also when no control name may be resolved."""
        key = self._key("")
        async with self._witnessing:  # a page has many names, and one result is enough for all
            answers_others = self._answers.get(key, _time())
            if answers_others is None:
                names = [name for name in self._controls if name != host and not self._knowledge.is_suspect(name)]
                results = await asyncio.gather(*map(self._ask_system, names[:WITNESSES]))
                answered = any(isinstance(result, LookupResult) and result.addresses for result in results)
                answers_others = not results or answered
                self._answers.put(key, _time() + WITNESSED_S, answers_others)
            return answers_others

    async def _agree(self, some: Sequence[IPAddress], others: Sequence[IPAddress]) -> bool:
        """Whether the system's addresses are fake, or related to those of encrypted DNS."""
        if any(map(self.is_fake, some)) or dns.related(some, others):
            return True
        if all(address.version == 4 for address in some):
            return False
        prefixes = await self._nat64_prefixes()
        return dns.related([dns.unmapped(address, prefixes) for address in some], others)

    async def _nat64_prefixes(self) -> tuple[ipaddress.IPv6Network, ...]:
        """Discovers the network's NAT64 prefixes (RFC 7050), once for each network within `keep_s`."""
        key = self._key(dns.IPV4_ONLY)
        prefixes = self._prefixes.get(key, _time())
        if prefixes is None:
            result = await self._ask_system(dns.IPV4_ONLY)
            prefixes = dns.nat64_prefixes(result.addresses) if isinstance(result, LookupResult) else ()
            self._prefixes.put(key, _time() + self._keep_s, prefixes)
        return prefixes

    async def _controls_are_fake(self) -> bool:
        """Whether a control name has a fake address too. Another proxy then answers every name with one."""
        key = self._key("")
        is_fake = self._fakes.get(key, _time())
        if is_fake is None:
            names = [control for control in self._controls if not self._knowledge.is_suspect(control)][:CONTROLS]
            results = [await self._ask_system(name) for name in names]
            addresses = [address for item in results if isinstance(item, LookupResult) for address in item.addresses]
            is_fake = any(address in FAKE for address in addresses)
            self._fakes.put(key, _time() + self._keep_s, is_fake)
            if is_fake:
                log.warning(
                    "the system resolver returns fake addresses (%s), probably of another proxy or VPN on this "
                    "computer; they are used, and nothing is learned from them",
                    FAKE,
                )
        return is_fake

    def _key(self, host: str) -> Key:
        return (self._knowledge.network(), host)


def listed(addresses: Sequence[IPAddress]) -> str:
    """Returns the first four addresses, for a sentence."""
    return ", ".join(map(str, addresses[:4])) or "no address"


def _time() -> float:
    return asyncio.get_running_loop().time()
