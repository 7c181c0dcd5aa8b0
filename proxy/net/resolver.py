"""Names to addresses: which resolver may be asked for which name, and what its answer is worth.

Plain names are asked of the system's name servers by ourselves, whatever is special by getaddrinfo, which blocks, so
each such lookup has a daemon thread: a resolver that stays silent holds up neither the loop nor the end of the program.
A name that is suspect is asked of secure servers and of nobody else. Lookups of one name share one query, and an answer
is kept for half a minute at most. An answer that no honest resolver gives for a public name is refused as forged.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from proxy.errors import ConfigError, DialError
from proxy.model import NO_EVIDENCE, UNKNOWN_NETWORK, DnsFinding, IPAddress, NetworkId, Stage, Symptom
from proxy.net.dns_secure import SecureDns
from proxy.net.dns_system import Found, SystemDns
from proxy.net.tasks import spawn
from proxy.wire import dns
from proxy.wire.dns import Code

log = logging.getLogger(__name__)

THREADS = 32
KEEP_S = 30.0
KEPT_NAMES = 1024
ADDRESSES = 16
"""Of one name, at most: nobody tries more before the deadline."""

TTL_MIN_S = 1.0
"""An answer is kept so long even where it forbids that: one page asks for a name many times."""

FINDING_KEEP_S = 3600.0
"""How long a name with a finding against it is asked of secure servers only, whatever else is believed of it."""

FAKE = ipaddress.IPv4Network("198.18.0.0/15")
"""Addresses for benchmarks, which other proxies on a machine answer with in the place of real ones."""

Mode = Literal["on-suspicion", "always", "never"]
Answer = tuple[IPAddress, ...] | DialError
Lookup = Callable[[str], list[IPAddress]]
Key = tuple[NetworkId, str]
T = TypeVar("T")

_LOCAL_SUFFIXES = ("local", "internal", "home.arpa", "localhost")
"""Never public (RFC 6762, ICANN 2024, RFC 8375, RFC 6761)."""

_LOCALHOST: tuple[IPAddress, ...] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


def system_lookup(host: str) -> list[IPAddress]:
    """getaddrinfo, in its order, each address once; blocks. Raises OSError (gaierror) and UnicodeError."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(sockaddr[0]) for *_, sockaddr in found))


class _Kept(Generic[T]):
    """The last things of a kind, by network and name."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: OrderedDict[Key, tuple[float, T]] = OrderedDict()  # → (until, what)

    def get(self, key: Key, now: float) -> T | None:
        found = self._items.get(key)
        return found[1] if found is not None and found[0] > now else None

    def put(self, key: Key, until: float, item: T) -> None:
        self._items[key] = (until, item)
        self._items.move_to_end(key)
        if len(self._items) > KEPT_NAMES:
            self._items.popitem(last=False)

    def drop(self, key: Key) -> None:
        self._items.pop(key, None)


class Resolver:
    """Asks `[dns.hosts]` first, then whom the policy allows. Belongs to one loop."""

    def __init__(
        self,
        hosts: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 10.0,
        keep_s: float = KEEP_S,
        lookup: Lookup = system_lookup,
        network: Callable[[], NetworkId] = lambda: UNKNOWN_NETWORK,
        system: SystemDns | None = None,
        secure: SecureDns | None = None,
        mode: Mode = "never",
        local: Sequence[str] = (),
        is_bogon: Callable[[str, IPAddress], bool] = lambda _host, _address: False,
        controls: Sequence[str] = (),
        suspect: Callable[[str], bool] = lambda _: False,
        found: Callable[[str, DnsFinding], None] = lambda _host, _finding: None,
        finding_keep_s: float = FINDING_KEEP_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`hosts` maps canonical names to addresses; an answer is kept for the `network` that gave it.

        `system` None: getaddrinfo for all. `mode`: when `secure` is asked in the system's place; `local`: suffixes
        that it is never asked for. `is_bogon`: whether an address is none that a public name leads to. `controls`:
        names to which another proxy's fake addresses show. `suspect` names are never asked in the clear (but "never");
        `found` is told of forged answers that came beside the one in use. Raises ConfigError when a host's address is
        none."""
        self._hosts = {name: _configured(name, address) for name, address in (hosts or {}).items()}
        self._timeout_s = timeout_s
        self._keep_s = keep_s
        self._lookup = lookup
        self._network = network
        self._system = system
        self._secure = secure
        self._mode = mode
        self._local = tuple(f".{suffix}" for suffix in (*_LOCAL_SUFFIXES, *local))
        self._is_bogon = is_bogon
        self._controls = tuple(controls)
        self._suspect = suspect
        self._found = found
        self._finding_keep_s = finding_keep_s
        self._now = now
        self._plain = _Kept[tuple[IPAddress, ...]]()
        self._secured = _Kept[tuple[IPAddress, ...]]()
        self._said = _Kept[Found]()  # what the system said last, good or not: to compare with
        self._findings = _Kept[DnsFinding]()
        self._cleared = _Kept[bool]()  # names whose private addresses a second opinion found to be local
        self._prefixes = _Kept[tuple[ipaddress.IPv6Network, ...]]()
        self._fake_on: dict[NetworkId, bool] = {}
        self._asked: dict[tuple[bool, str], asyncio.Future[Answer]] = {}  # (secure, host)
        self._waiting: deque[tuple[str, asyncio.Future[Found | DialError]]] = deque()
        self._threads = 0

    # -- asking ----------------------------------------------------------------------------------------------------

    async def resolve(self, host: str) -> tuple[IPAddress, ...]:
        """1 to 16 addresses in the system's order of preference.

        Raises DialError of stage RESOLVE: NO_NAME (it does not exist, or has no address), RESOLVE_FAILED (no answer),
        FORGED (evidence "dns" names the signal), FORBIDDEN (a name that must not be asked for), SKIPPED (it may be
        asked of secure servers only, and none answers), LOCAL (out of descriptors or memory). Evidence "code" says how
        the server answered."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        if host == "onion" or host.endswith(".onion"):  # RFC 7686: never asked of the DNS
            raise _failed(f"{host} is reached through Tor only: no resolver is asked", Symptom.FORBIDDEN)
        kept = self._plain.get((self._network(), host), asyncio.get_running_loop().time())
        if kept is not None:
            return kept
        if self._mode != "never" and self._must_be_secure(host):
            return await self._securely(host)
        return _given(await self._shared(False, host, self._ask_system))

    async def secure(self, host: str) -> tuple[IPAddress, ...]:
        """The same from secure servers only: behind `direct|doh`. Raises DialError, SKIPPED also for names that they
        are never asked for."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        if self._secure is None or self._mode == "never":
            raise _failed("no secure name server is configured", Symptom.SKIPPED)
        if self._is_local(host) or host == "onion" or host.endswith(".onion"):
            raise _failed(f"{host} is no public name: no secure server is asked for it", Symptom.SKIPPED)
        return await self._securely(host)

    async def _securely(self, host: str) -> tuple[IPAddress, ...]:
        if self._secure is None:
            raise _failed("no secure name server is configured", Symptom.SKIPPED)
        if self._is_local(host):
            return self._known_here(host)
        kept = self._secured.get((self._network(), host), asyncio.get_running_loop().time())
        return kept if kept is not None else _given(await self._shared(True, host, self._ask_secure))

    def _must_be_secure(self, host: str) -> bool:
        """Whether the name may not be asked for in the clear."""
        if self._mode == "always":
            return True
        if self._secure is None or self._is_local(host):
            return False
        return self._suspect(host) or self.finding(host) is not None

    def _is_local(self, host: str) -> bool:
        return "." not in host or f".{host}".endswith(self._local)

    def _known_here(self, host: str) -> tuple[IPAddress, ...]:
        """With `[dns] secure = "always"` a local name is asked of nobody."""
        if f".{host}".endswith(".localhost"):
            return _LOCALHOST
        addresses = self._system.in_hosts(host) if self._system is not None else ()
        if not addresses:
            text = f'{host} is a local name, and with [dns] secure = "always" nobody is asked in the clear: '
            raise _failed(f"{text}[dns.hosts] can hold its address", Symptom.NO_NAME)
        return addresses

    # -- what is known ---------------------------------------------------------------------------------------------

    def known(self, host: str) -> tuple[IPAddress, ...]:
        """The addresses that would be dialed now without asking anybody."""
        if (configured := self._hosts.get(host)) is not None:
            return configured
        key, now = (self._network(), host), asyncio.get_running_loop().time()
        return self._plain.get(key, now) or self._secured.get(key, now) or ()

    def finding(self, host: str) -> DnsFinding | None:
        """What speaks against what the system says of `host` on this network, of the last hour."""
        return self._findings.get((self._network(), host), asyncio.get_running_loop().time())

    def is_fake(self, address: IPAddress) -> bool:
        """Whether it stands for a name at another proxy on this machine, whose addresses are in use here."""
        return address.version == 4 and address in FAKE and self._fake_on.get(self._network(), False)

    async def compare(self, host: str) -> DnsFinding | None:
        """A second opinion on what the system last said of `host`: asks a secure server, and the system nothing but,
        where IPv6 addresses may be translated ones, the network's prefix. None when all is well, or none can be had."""
        network = self._network()
        key, now = (network, host), asyncio.get_running_loop().time()
        said = self._said.get(key, now)
        if said is None:
            return self.finding(host)
        try:
            addresses = await self.secure(host)
        except DialError as error:
            if error.symptom is Symptom.NO_NAME and said.addresses:  # it exists on this network alone
                self._findings.drop(key)
                self._cleared.put(key, now + self._finding_keep_s, True)
            return None
        if network != self._network():
            return None
        if not said.addresses:
            code = "silence" if said.code is None else str(said.code)
            return self._note(host, "dns_denied", f"{code} from {said.said}, but {_listed(addresses)} over DoH")
        if (finding := self.finding(host)) is not None:
            return finding
        if await self._agree(said.addresses, addresses):
            return None
        return self._note(host, "dns_mismatch", f"{_listed(said.addresses)}, but {_listed(addresses)} over DoH")

    async def _agree(self, some: Sequence[IPAddress], others: Sequence[IPAddress]) -> bool:
        if dns.related(some, others):
            return True
        if all(address.version == 4 for address in some) or self._mode == "always":
            return False
        prefixes = await self._nat64_prefixes()
        return dns.related([dns.unmapped(address, prefixes) for address in some], others)

    async def _nat64_prefixes(self) -> tuple[ipaddress.IPv6Network, ...]:
        """RFC 7050, once per network and hour."""
        key = (self._network(), dns.IPV4_ONLY)
        prefixes = self._prefixes.get(key, asyncio.get_running_loop().time())
        if prefixes is None:
            found = await self._by_system(dns.IPV4_ONLY)
            prefixes = dns.nat64_prefixes(found.addresses) if isinstance(found, Found) else ()
            self._prefixes.put(key, asyncio.get_running_loop().time() + self._finding_keep_s, prefixes)
        return prefixes

    def _note(self, host: str, signal: str, detail: str) -> DnsFinding:
        key = (self._network(), host)
        finding = DnsFinding(signal, detail, self._now())
        self._findings.put(key, asyncio.get_running_loop().time() + self._finding_keep_s, finding)
        self._plain.drop(key)
        return finding

    # -- one query for all who ask ---------------------------------------------------------------------------------

    async def _shared(self, secure: bool, host: str, ask: Callable[[str], Coroutine[Any, Any, None]]) -> Answer:
        future = self._asked.get((secure, host))
        if future is None:
            future = self._asked[(secure, host)] = asyncio.get_running_loop().create_future()
            spawn(ask(host), name=f"resolve {host}").add_done_callback(lambda _: self._unsettled(secure, host))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(future)
        except TimeoutError:
            return self._silent(secure, host)

    def _silent(self, secure: bool, host: str) -> DialError:
        if secure:  # nothing about the name, so nothing may be learned
            text = f"no secure name server said anything about {host} for {self._timeout_s:g} s"
            return _failed(text, Symptom.SKIPPED, {"doh": "doh_down"})
        until = asyncio.get_running_loop().time() + self._finding_keep_s
        self._said.put((self._network(), host), until, Found(code=None, said="the system"))
        text = f"the resolver said nothing about {host} for {self._timeout_s:g} s"
        return _failed(text, Symptom.RESOLVE_FAILED, {"code": "silent"})

    def _unsettled(self, secure: bool, host: str) -> None:
        """The query has ended: a fault in it must not leave all who wait for the name waiting."""
        self._settle(secure, host, _failed(f"{host} cannot be looked up", Symptom.LOCAL))

    def _settle(self, secure: bool, host: str, answer: Answer) -> None:
        future = self._asked.pop((secure, host), None)
        if future is not None and not future.done():
            future.set_result(answer)

    def _keep(self, kept: _Kept[tuple[IPAddress, ...]], network: NetworkId, host: str, found: Found) -> None:
        keep_s = min(self._keep_s, max(TTL_MIN_S, found.ttl_s))
        kept.put((network, host), asyncio.get_running_loop().time() + keep_s, found.addresses[:ADDRESSES])

    async def _ask_secure(self, host: str) -> None:
        assert self._secure is not None
        network = self._network()
        answer: Answer
        try:
            found = await self._secure.ask(host)
        except DialError as error:
            answer = error
        else:
            answer = found.addresses[:ADDRESSES] or _nothing(host, found)
            if found.addresses:
                self._keep(self._secured, network, host, found)
        self._settle(True, host, answer)

    async def _ask_system(self, host: str) -> None:
        """Settles at the first answer; what comes later only corrects what is kept."""
        network = self._network()
        if self._system is None or not self._system.handles(host):
            self._settle(False, host, await self._judged(network, host, await self._in_thread(host)))
            return
        heard: asyncio.Queue[Found | DialError | None] = asyncio.Queue()
        spawn(self._hear(host, heard), name=f"ask for {host}")
        found = await heard.get()
        if isinstance(found, Found) and found.code is Code.NO_NAME and self._system.has_search:
            found = await self._in_thread(host)  # it may exist under a suffix of the search list
        assert found is not None
        self._settle(False, host, await self._judged(network, host, found))
        while isinstance(later := await heard.get(), Found):
            if later.addresses:
                await self._judged(network, host, later)

    async def _hear(self, host: str, heard: asyncio.Queue[Found | DialError | None]) -> None:
        """Puts what the name servers say, and None behind it."""
        assert self._system is not None
        try:
            await self._system.ask(
                host, self._timeout_s, heard.put_nowait, lambda first, second: self._differs(host, first, second)
            )
        except OSError as error:
            heard.put_nowait(_failed(f"{host} cannot be looked up: {_words(error)}", Symptom.LOCAL))
        finally:
            heard.put_nowait(None)

    async def _by_system(self, host: str) -> Found | DialError:
        """The bare answer."""
        if self._system is None or not self._system.handles(host):
            return await self._in_thread(host)
        heard: asyncio.Queue[Found | DialError | None] = asyncio.Queue()
        await self._hear(host, heard)
        return heard.get_nowait() or Found(code=None)

    def _differs(self, host: str, first: Sequence[IPAddress], second: Sequence[IPAddress]) -> None:
        detail = f"first {_listed(first)}, then {_listed(second)} to one query"
        self._found(host, self._note(host, "dns_two_answers", detail))

    async def _judged(self, network: NetworkId, host: str, found: Found | DialError) -> Answer:
        """What the system said, if it is to be believed; keeps it."""
        loop = asyncio.get_running_loop()
        if isinstance(found, DialError):
            if found.symptom is not Symptom.LOCAL:
                code = Code.NO_NAME if found.symptom is Symptom.NO_NAME else Code.FAILED
                self._said.put((network, host), loop.time() + self._finding_keep_s, Found(code=code, said="the system"))
            return found
        self._said.put((network, host), loop.time() + self._finding_keep_s, found)
        if not found.addresses:
            return _nothing(host, found)
        if await self._is_forged(network, host, found):
            finding = self._note(host, "dns_bogon", f"{_listed(found.addresses)} for a public name")
            text = f"{host} is said to be at {_listed(found.addresses)}, where no public name leads: a forged answer"
            text += "; if it is right, [dns] local can name its suffix, or [safety] allow the address"
            return _failed(text, Symptom.FORGED, {"dns": finding.signal})
        if self._findings.get((network, host), loop.time()) is None:  # else no answer of the system's is kept
            self._keep(self._plain, network, host, found)
        return found.addresses[:ADDRESSES]

    async def _is_forged(self, network: NetworkId, host: str, found: Found) -> bool:
        bogons = [address for address in found.addresses if self._is_bogon(host, address)]
        if len(bogons) < len(found.addresses) or self._is_local(host):
            return False
        if self._cleared.get((network, host), asyncio.get_running_loop().time()):
            return False
        if self._system is not None and self._system.in_hosts(host):
            return False  # the user's own word; the guard still has its own
        if all(address in FAKE for address in bogons):
            return not await self._is_fake_network(network)
        return True

    async def _is_fake_network(self, network: NetworkId) -> bool:
        """Whether a control leads to fake addresses too: then they are another proxy's on this machine."""
        if network not in self._fake_on:
            found = [await self._by_system(control) for control in self._controls[:2]]
            self._fake_on = {
                network: any(
                    isinstance(answer, Found) and any(address in FAKE for address in answer.addresses)
                    for answer in found
                )
            }
            if self._fake_on[network]:
                log.warning(
                    "the system's resolver gives fake addresses (%s): another proxy or VPN on this computer answers "
                    "for it; they are used as they are, and nothing is learned from them",
                    FAKE,
                )
        return self._fake_on[network]

    # -- getaddrinfo -----------------------------------------------------------------------------------------------

    async def _in_thread(self, host: str) -> Found | DialError:
        future: asyncio.Future[Found | DialError] = asyncio.get_running_loop().create_future()
        self._waiting.append((host, future))
        self._start()
        return await future

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._threads < THREADS:
            host, future = self._waiting.popleft()
            thread = threading.Thread(target=self._run, args=(loop, host, future), name=f"resolve {host}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread to be had
                future.set_result(_failed(f"{host} cannot be looked up: {error}", Symptom.LOCAL))
            else:
                self._threads += 1

    def _run(self, loop: asyncio.AbstractEventLoop, host: str, future: asyncio.Future[Found | DialError]) -> None:
        """In a thread of its own."""
        answer = self._answer(host)
        with contextlib.suppress(RuntimeError):  # the loop ended while getaddrinfo was blocked
            loop.call_soon_threadsafe(self._ended, future, answer)

    def _answer(self, host: str) -> Found | DialError:
        try:
            addresses = tuple(self._lookup(host)[:ADDRESSES])
        except (OSError, UnicodeError) as error:
            return _failed(f"{host} does not resolve: {_words(error)}", _symptom(error))
        except Exception as error:  # must be said, or all who wait for this name would wait in vain
            return _failed(f"{host} cannot be looked up: {error!r}", Symptom.LOCAL)
        return Found(addresses, self._keep_s, said="the system")

    def _ended(self, future: asyncio.Future[Found | DialError], answer: Found | DialError) -> None:
        self._threads -= 1
        if not future.done():
            future.set_result(answer)
        self._start()


class SecureNames:
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


def _nothing(host: str, found: Found) -> DialError:
    """Why there is no address."""
    by = f" (says {found.said})" if found.said and found.said != "the system" else ""
    match found.code:
        case Code.OK:
            return _failed(f"{host} has no address{by}", Symptom.NO_NAME, {"code": "nodata"})
        case Code.NO_NAME:
            return _failed(f"{host} does not exist{by}", Symptom.NO_NAME, {"code": "nxdomain"})
        case None:
            said = found.said or "no name server answered"
            return _failed(f"{host} does not resolve: {said}", Symptom.RESOLVE_FAILED, {"code": "silent"})
        case code:
            text = f"{host} does not resolve: the name server answers {code.upper()}{by}"
            return _failed(text, Symptom.RESOLVE_FAILED, {"code": str(code)})


def _listed(addresses: Sequence[IPAddress]) -> str:
    return ", ".join(map(str, addresses[:4])) or "no address"


def _configured(name: str, address: str) -> tuple[IPAddress, ...]:
    try:
        return (ipaddress.ip_address(address),)
    except ValueError:
        raise ConfigError(f"[dns.hosts] {name}: {address!r} is not an address") from None


_NO_NAME = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")}
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


def _symptom(error: OSError | UnicodeError) -> Symptom:
    if isinstance(error, UnicodeError):
        return Symptom.NO_NAME
    if isinstance(error, socket.gaierror):
        if error.errno in _NO_NAME:
            return Symptom.NO_NAME
        return Symptom.LOCAL if error.errno == socket.EAI_MEMORY else Symptom.RESOLVE_FAILED
    return Symptom.LOCAL if error.errno in _SHORTAGES else Symptom.RESOLVE_FAILED


def _words(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _failed(text: str, symptom: Symptom, evidence: Mapping[str, str | int | float] = NO_EVIDENCE) -> DialError:
    return DialError(text, stage=Stage.RESOLVE, symptom=symptom, evidence=evidence)
