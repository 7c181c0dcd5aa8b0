"""What speaks for and against the system's answers, by network and name.

An address that no public name leads to is forged, unless the user's own files or settings speak for it, a second
opinion found the name to be local, or another proxy on this machine answers everything with fake addresses. What the
system said last is remembered, to be compared with what secure servers say. Nothing here is asked in the clear but
controls and, where IPv6 addresses may be translated ones, the network's prefix.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from proxy.model import DnsFinding, IPAddress, NetworkId, SignalId, Symptom
from proxy.model.bounded import Bounded
from proxy.model.errors import DialError
from proxy.net.dns.getaddrinfo import SystemAnswer
from proxy.net.dns.stub_resolver import LookupResult
from proxy.wire import dns
from proxy.wire.dns import Rcode

log = logging.getLogger(__name__)

CACHED_NAMES = 1024

FAKE = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses for benchmarks, which other proxies on a machine answer with in the place of real ones."""

CONTROLS = 2
"""Names that are looked at to tell another proxy's fake addresses from a forger's."""

WITNESSES = 3
"""Names that are asked to tell a resolver that denies one name from one that is down."""

WITNESSED_S = 60.0
"""How long what they told holds."""

Key = tuple[NetworkId, str]
T = TypeVar("T")


class ExpiringCache(Generic[T]):
    """The latest values by network and name, each until its time; at most CACHED_NAMES."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: Bounded[Key, tuple[float, T]] = Bounded(CACHED_NAMES)  # → (until, value)

    def get(self, key: Key, now: float) -> T | None:
        found = self._items.get(key)
        return found[1] if found is not None and found[0] > now else None

    def put(self, key: Key, until: float, value: T) -> None:
        self._items[key] = (until, value)

    def drop(self, key: Key) -> None:
        self._items.pop(key, None)


class TamperingChecks:
    """Checks the system's answers for signs of tampering, and remembers the findings. Belongs to one loop."""

    def __init__(
        self,
        ask_system: Callable[[str], Awaitable[SystemAnswer]],
        network: Callable[[], NetworkId],
        *,
        is_bogon: Callable[[str, IPAddress], bool],
        controls: Sequence[str],
        suspect: Callable[[str], bool],
        keep_s: float,
        now: Callable[[], float],
    ) -> None:
        """`ask_system` asks for a name and judges nothing. `is_bogon` says of a name and an address that no public name
        leads there. `controls`: names that no censor forges all of, of which `suspect` ones are not asked
        for. `now`: the wall clock."""
        self._ask_system = ask_system
        self._network = network
        self._is_bogon = is_bogon
        self._controls = tuple(controls)
        self._suspect = suspect
        self._keep_s = keep_s
        self._now = now
        self._said = ExpiringCache[LookupResult]()
        self._findings = ExpiringCache[DnsFinding]()
        self._local = ExpiringCache[bool]()  # names whose private addresses a second opinion found to be right
        self._prefixes = ExpiringCache[tuple[ipaddress.IPv6Network, ...]]()
        self._fakes = ExpiringCache[bool]()
        self._answers = ExpiringCache[bool]()  # whether controls are answered
        self._witnessing = asyncio.Lock()

    # -- what is known ---------------------------------------------------------------------------------------------

    def finding(self, host: str) -> DnsFinding | None:
        """Returns the evidence that the system's answer for `host` is wrong on this network, or None."""
        return self._findings.get(self._key(host), _time())

    def add_finding(self, host: str, signal: SignalId, detail: str) -> DnsFinding:
        """Stores a finding against the system's answers for `host` on this network, and returns it."""
        finding = DnsFinding(signal, detail, self._now())
        self._findings.put(self._key(host), _time() + self._keep_s, finding)
        return finding

    def is_fake(self, address: IPAddress) -> bool:
        """Whether `address` is a fake one, by which another proxy on this machine stands for a name."""
        return address.version == 4 and address in FAKE and bool(self._fakes.get(self._key(""), _time()))

    def record_system_answer(self, host: str, told: SystemAnswer) -> None:
        """Remembers the system's last answer for `host`, good or bad, for `compare`."""
        if isinstance(told, DialError):
            if told.symptom not in (Symptom.NO_NAME, Symptom.RESOLVE_FAILED):
                return
            told = LookupResult(
                code=Rcode.NO_NAME if told.symptom is Symptom.NO_NAME else Rcode.FAILED, source="the system"
            )
        self._said.put(self._key(host), _time() + self._keep_s, told)

    def mark_local(self, host: str) -> None:
        """Secure servers know no such name: what the system says of it is this network's own affair."""
        key = self._key(host)
        said = self._said.get(key, _time())
        if said is not None and said.addresses:
            self._findings.drop(key)
            self._local.put(key, _time() + self._keep_s, True)

    # -- judging ---------------------------------------------------------------------------------------------------

    async def is_forged(self, host: str, addresses: Sequence[IPAddress]) -> bool:
        """Whether no public name leads to any of them, and nothing explains that."""
        if not all(self._is_bogon(host, address) for address in addresses):
            return False
        if self._local.get(self._key(host), _time()):
            return False
        return not (all(address in FAKE for address in addresses) and await self._is_faked())

    async def compare(
        self, host: str, ask_secure: Callable[[str], Awaitable[Sequence[IPAddress]]]
    ) -> DnsFinding | None:
        """Compares the system's last answer for `host` with encrypted DNS. None: both agree, or one is missing."""
        key = self._key(host)
        said = self._said.get(key, _time())
        if said is None:
            return self.finding(host)
        try:
            addresses = await ask_secure(host)
        except DialError as error:
            if error.symptom is Symptom.NO_NAME:
                self.mark_local(host)
            return None
        if key != self._key(host):  # on another network by now
            return None
        if not said.addresses:
            if not await self._answers_others(host) or key != self._key(host):
                return None
            signal = SignalId.DNS_SILENT if said.code is None else SignalId.DNS_DENIED
            code = "silence" if said.code is None else str(said.code)
            detail = f"{code} from {said.source}, but {listed(addresses)} by encrypted DNS"
            return self.add_finding(host, signal, detail)
        if (finding := self.finding(host)) is not None:
            return finding
        if any(map(self.is_fake, said.addresses)) or await self._agree(said.addresses, addresses):
            return None
        return self.add_finding(
            host, SignalId.DNS_MISMATCH, f"{listed(said.addresses)}, but {listed(addresses)} by encrypted DNS"
        )

    async def _answers_others(self, host: str) -> bool:
        """Whether the system has an answer for some other name: one that fails for all, as a router's does whose own
        uplink is down, says nothing of any. Where no other may be asked, it is taken at its word."""
        key = self._key("")
        async with self._witnessing:  # a page has many names
            known = self._answers.get(key, _time())
            if known is None:
                asked = [name for name in self._controls if name != host and not self._suspect(name)][:WITNESSES]
                told = await asyncio.gather(*map(self._ask_system, asked))
                known = not asked or any(isinstance(item, LookupResult) and item.addresses for item in told)
                self._answers.put(key, _time() + WITNESSED_S, known)
            return known

    async def _agree(self, some: Sequence[IPAddress], others: Sequence[IPAddress]) -> bool:
        if dns.related(some, others):
            return True
        if all(address.version == 4 for address in some):
            return False
        prefixes = await self._nat64_prefixes()
        return dns.related([dns.unmapped(address, prefixes) for address in some], others)

    async def _nat64_prefixes(self) -> tuple[ipaddress.IPv6Network, ...]:
        """RFC 7050."""
        key = self._key(dns.IPV4_ONLY)
        prefixes = self._prefixes.get(key, _time())
        if prefixes is None:
            told = await self._ask_system(dns.IPV4_ONLY)
            prefixes = dns.nat64_prefixes(told.addresses) if isinstance(told, LookupResult) else ()
            self._prefixes.put(key, _time() + self._keep_s, prefixes)
        return prefixes

    async def _is_faked(self) -> bool:
        """Whether a control leads to fake addresses too."""
        key = self._key("")
        known = self._fakes.get(key, _time())
        if known is None:
            asked = [control for control in self._controls if not self._suspect(control)][:CONTROLS]
            told = [await self._ask_system(control) for control in asked]
            found = [address for item in told if isinstance(item, LookupResult) for address in item.addresses]
            known = any(address in FAKE for address in found)
            self._fakes.put(key, _time() + self._keep_s, known)
            if known:
                log.warning(
                    "the system resolver returns fake addresses (%s), probably of another proxy or VPN on this "
                    "computer; they are used, and nothing is learned from them",
                    FAKE,
                )
        return known

    def _key(self, host: str) -> Key:
        return (self._network(), host)


def listed(addresses: Sequence[IPAddress]) -> str:
    """The first few, for a sentence."""
    return ", ".join(map(str, addresses[:4])) or "no address"


def _time() -> float:
    return asyncio.get_running_loop().time()
