"""The address guard refuses addresses that no request may reach, whatever a page, a rule or a resolver says.

It refuses this computer, its neighbours on the link, cloud metadata, multicast and reserved ranges: on every route as
literals and as local names, and on direct also each address that a name resolves to. A private address is allowed as a
literal. Behind a name it is refused, to stop DNS rebinding, unless the name belongs to the home network. IPv4 embedded
in IPv6 counts as the IPv4 address that it reaches. `[safety] allow` makes exceptions, but not for Byway's own ports.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from collections.abc import Collection, Sequence
from enum import Enum
from functools import lru_cache

from proxy.model import Destination, IPAddress, literal
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class _Kind(Enum):
    """The kinds of addresses, as messages name them. PUBLIC and PRIVATE may be reached."""

    PUBLIC = "public"
    PRIVATE = "a private address"
    LOOPBACK = "this computer itself (loopback)"
    UNSPECIFIED = "this computer itself (unspecified)"
    LINK_LOCAL = "a link-local address"
    METADATA = "a cloud metadata service"
    MULTICAST = "a multicast address"
    BROADCAST = "the broadcast address"
    RESERVED = "a reserved address"


_RANGES: tuple[tuple[str, _Kind], ...] = (  # the first that fits; IANA's special-purpose registries (RFC 6890)
    ("169.254.169.254/32", _Kind.METADATA),  # nearly all clouds
    ("169.254.170.2/32", _Kind.METADATA),  # AWS ECS
    ("100.100.100.200/32", _Kind.METADATA),  # Alibaba
    ("168.63.129.16/32", _Kind.METADATA),  # Azure
    ("192.0.0.192/32", _Kind.METADATA),  # Oracle
    ("fd00:ec2::254/128", _Kind.METADATA),  # AWS
    ("fd20:ce::254/128", _Kind.METADATA),  # Google
    ("127.0.0.0/8", _Kind.LOOPBACK),
    ("0.0.0.0/32", _Kind.UNSPECIFIED),
    ("255.255.255.255/32", _Kind.BROADCAST),
    ("10.0.0.0/8", _Kind.PRIVATE),
    ("172.16.0.0/12", _Kind.PRIVATE),
    ("192.168.0.0/16", _Kind.PRIVATE),
    ("100.64.0.0/10", _Kind.PRIVATE),  # carrier-grade NAT, VPNs
    ("169.254.0.0/16", _Kind.LINK_LOCAL),
    ("224.0.0.0/4", _Kind.MULTICAST),
    ("0.0.0.0/8", _Kind.RESERVED),
    ("192.0.0.0/24", _Kind.RESERVED),
    ("192.0.2.0/24", _Kind.RESERVED),  # documentation, as the next two
    ("198.51.100.0/24", _Kind.RESERVED),
    ("203.0.113.0/24", _Kind.RESERVED),
    ("192.88.99.0/24", _Kind.RESERVED),
    ("198.18.0.0/15", _Kind.RESERVED),  # benchmarks
    ("240.0.0.0/4", _Kind.RESERVED),
    ("0.0.0.0/0", _Kind.PUBLIC),
    ("::1/128", _Kind.LOOPBACK),
    ("::/128", _Kind.UNSPECIFIED),
    ("fc00::/7", _Kind.PRIVATE),
    ("fe80::/10", _Kind.LINK_LOCAL),
    ("ff00::/8", _Kind.MULTICAST),
    ("2001:2::/48", _Kind.RESERVED),  # benchmarks
    ("2001:10::/28", _Kind.RESERVED),  # ORCHID
    ("2001:20::/28", _Kind.RESERVED),
    ("2001:db8::/32", _Kind.RESERVED),  # documentation
    ("3fff::/20", _Kind.RESERVED),
    ("2000::/3", _Kind.PUBLIC),
    ("::/0", _Kind.RESERVED),  # IANA has assigned nothing else
)


def _stretches(version: int) -> tuple[list[int], list[_Kind]]:
    """Returns _RANGES as numbers: the first address of each stretch of one kind, in order, and its kind. Each first
    visit needs a kind, and one search in a list costs less than tests of twenty networks."""
    networks = [(network, kind) for text, kind in _RANGES if (network := ipaddress.ip_network(text)).version == version]
    ranges = [(int(network[0]), int(network[-1]), kind) for network, kind in networks]
    highest = max(last for _, last, _ in ranges)
    firsts = sorted({first for first, _, _ in ranges} | {last + 1 for _, last, _ in ranges if last < highest})
    return firsts, [next(kind for first, last, kind in ranges if first <= at <= last) for at in firsts]


_STRETCHES = {4: _stretches(4), 6: _stretches(6)}

_TEREDO = ipaddress.IPv6Network("2001::/32")
_IPV4_INSIDE: tuple[tuple[ipaddress.IPv6Network, int], ...] = (  # with the bits to the right of the IPv4 address
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),
    (ipaddress.IPv6Network("64:ff9b::/96"), 0),  # NAT64 (RFC 6052)
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4 (RFC 3056)
    (ipaddress.IPv6Network("::/96"), 0),  # compatible (RFC 4291), long deprecated
)

_THIS_COMPUTER = (_Kind.LOOPBACK, _Kind.UNSPECIFIED)
_LASTING = (_Kind.PUBLIC, _Kind.LOOPBACK)
_HOME = (_Kind.PRIVATE, _Kind.LINK_LOCAL, _Kind.METADATA)
_NEAR = (*_THIS_COMPUTER, *_HOME)
_NEAR_SUFFIXES = tuple(f".{suffix}" for suffix in ("localhost", *hostnames.PRIVATE_SUFFIXES))
_REACHABLE = (_Kind.PUBLIC, _Kind.PRIVATE)

_LOCAL_NAMES = frozenset(  # RFC 6761 section 6.3, and the names in /etc/hosts of Debian, Red Hat and macOS
    ("localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6",
     "localhost6.localdomain6", "ip6-localhost", "ip6-loopback", "broadcasthost", "ip6-localnet", "ip6-mcastprefix",
     "ip6-allnodes", "ip6-allrouters")
)  # fmt: skip
_LOCALHOST: tuple[IPAddress, ...] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


@frozen_dataclass
class _Exception:
    """One entry of `[safety] allow`: a name, or a prefix; on one port or on all."""

    name: str | None
    network: IPNetwork | None
    port: int | None


class Guard:
    """Refuses a destination or an address with a sentence, or allows it with None.

    `allow`: exceptions, each a host, address or CIDR, with `:port` or `:*` or neither (all ports); IPv6 with a port in
    brackets. `local_suffixes`: names under these belong to the home network and may resolve to private addresses, like
    names of one label and those under `PRIVATE_SUFFIXES`. `own_ports`: the ports on which Byway listens. `own_names`,
    `own_addresses`: the names of this computer, and its addresses on its networks. Raises ValueError, with the entry,
    for an entry that cannot be parsed.
    """

    def __init__(
        self,
        allow: Sequence[str] = (),
        local_suffixes: Sequence[str] = (),
        *,
        own_ports: Collection[int] = (),
        own_names: Collection[str] = (),
        own_addresses: Collection[str] = (),
    ) -> None:
        self._exceptions = tuple(_read_exception(entry) for entry in allow)
        self._suffixes = tuple(f".{_read_suffix(suffix)}" for suffix in local_suffixes)
        self._own_ports = own_ports  # as it is: it may change
        self._own_names = _LOCAL_NAMES | {hostnames.host(name) for name in own_names}
        self._own_addresses = frozenset(ipaddress.ip_address(hostnames.host(text)) for text in own_addresses)
        self.is_near = lru_cache(maxsize=1024)(self._is_near)  # each connection calls it
        """Whether the text of a host names this computer or the home network, so that no uplink leads there."""

    def refuse_host(self, destination: Destination) -> str | None:
        """Returns why a literal or local name is refused on every route; None: it is allowed, or is another name."""
        address = destination.address
        if address is not None:
            return self.refuse_address(destination, address)
        if not (destination.host in self._own_names or destination.host.endswith(".localhost")):
            return None
        if destination.port in self._own_ports:
            return _ourselves(destination)
        if any(self._opens(destination, address) for address in _LOCALHOST):
            return None  # on direct, the addresses that it resolves to are checked as well
        return f"{destination.host} is this computer itself; to allow it, add it to [safety] allow"

    def refuse_address(self, destination: Destination, address: IPAddress, *, is_own: bool = False) -> str | None:
        """Returns why an address is refused for a destination; None: it is allowed. The address is that of a literal,
        or one that the name resolved to on direct. `is_own`: it is this computer's now, though it may not have been
        when the guard was made."""
        return self.judge_address(destination, address, is_own=is_own)[0]

    def judge_address(
        self, destination: Destination, address: IPAddress, *, is_own: bool = False
    ) -> tuple[str | None, bool]:
        """Returns the result of `refuse_address`, and whether it stays the same: a private address may become this
        computer's own when the computer changes its network."""
        reached, kinds = _judged(address)  # no generators and few calls: each first visit needs this
        lasts = False not in [kind in _LASTING for kind in kinds]
        is_own = is_own or not self._own_addresses.isdisjoint(reached)
        if destination.port in self._own_ports and (is_own or True in [kind in _THIS_COMPUTER for kind in kinds]):
            return _ourselves(destination), lasts
        if kinds == [_Kind.PUBLIC] and not is_own:
            return None, lasts  # the usual case
        if self._opens(destination, address):
            return None, lasts
        what = _Kind.LOOPBACK if is_own else next((kind for kind in kinds if kind not in _REACHABLE), None)
        if what is not None:
            return f"{_described(destination, address)} is {what.value}; to allow it, add it to [safety] allow", lasts
        if _Kind.PRIVATE in kinds and destination.address is None and not self.is_near(destination.host):
            reason = (
                f"{_described(destination, address)} is a private address behind a public name; to allow it, add the "
                "name's suffix to [dns] local, or the address to [safety] allow"
            )
            return reason, lasts
        return None, lasts

    @property
    def has_exceptions(self) -> bool:
        """Whether `[safety] allow` has entries."""
        return bool(self._exceptions)

    def is_bogon(self, host: str, address: IPAddress) -> bool:
        """Whether `address` is neither public, nor behind a name of the home network, nor allowed by the user: then the
        DNS answer for `host` is forged."""
        _, kinds = _judged(address)
        if kinds.count(_Kind.PUBLIC) == len(kinds):
            return False
        if self.is_near(host):
            return False
        entries = self._exceptions
        return True not in [e.name == host or (e.network is not None and address in e.network) for e in entries]

    def is_home(self, address: IPAddress) -> bool:
        """Whether `address` is on the home network, also if the user allows it."""
        return any(kind in _HOME for kind in _judged(address)[1])

    def _is_near(self, host: str) -> bool:
        address = literal(host)
        if address is not None:
            return any(kind in _NEAR for kind in _judged(address)[1])
        if "." not in host or host in self._own_names:
            return True
        return f".{host}".endswith(_NEAR_SUFFIXES) or f".{host}".endswith(self._suffixes)

    def leads_home(self, destination: Destination, address: IPAddress) -> bool:
        """Whether `address`, which the user's own files give for the name of `destination`, is on the home network or
        this computer's. An address of this computer that `[safety] allow` opens does not count: trials use only such
        addresses."""
        if self.is_home(address):
            return True
        _, kinds = _judged(address)
        if True not in [kind in _THIS_COMPUTER for kind in kinds]:
            return False
        return destination.port in self._own_ports or not self._opens(destination, address)

    def _opens(self, destination: Destination, address: IPAddress) -> bool:
        """Whether `[safety] allow` names the destination, or covers the address itself or all addresses that it
        reaches."""
        host, port = destination.host, destination.port
        for entry in self._exceptions:
            if entry.port is None or entry.port == port:
                if entry.network is None:
                    if entry.name == host:
                        return True
                elif address in entry.network:
                    return True
        reached, _ = _judged(address)
        return reached != (address,) and all(self._opens(destination, inner) for inner in reached)

    def __repr__(self) -> str:
        return f"<Guard {len(self._exceptions)} exceptions, own ports {sorted(self._own_ports)}>"


def is_public(address: IPAddress) -> bool:
    """Whether every address at which a packet to this one may end is a public one."""
    _, kinds = _judged(address)
    return kinds.count(_Kind.PUBLIC) == len(kinds)


def reached(address: IPAddress) -> tuple[IPAddress, ...]:
    """Returns the addresses at which a packet to this one may end: itself, or the IPv4 addresses embedded in it."""
    return _judged(address)[0]


def _judged(address: IPAddress) -> tuple[tuple[IPAddress, ...], list[_Kind]]:
    """Returns the addresses at which a packet to this address may end, and their kinds."""
    if isinstance(address, ipaddress.IPv4Address):  # the usual case: written out, it saves a Python call
        firsts, kinds = _STRETCHES[4]
        return (address,), [kinds[bisect_right(firsts, int(address)) - 1]]
    reached = _reached(address)
    return reached, [_kind(inner) for inner in reached]


def _reached(address: ipaddress.IPv6Address) -> tuple[IPAddress, ...]:
    """Returns the address itself, or the IPv4 addresses embedded in it."""
    if address in _TEREDO:
        value = int(address)
        client = ipaddress.IPv4Address((value & 0xFFFFFFFF) ^ 0xFFFFFFFF)  # written inverted (RFC 4380)
        return client, ipaddress.IPv4Address((value >> 64) & 0xFFFFFFFF)  # and its server
    if address in _LOCALHOST:  # ::1, which has the form of a compatible address
        return (address,)
    shift = next((shift for network, shift in _IPV4_INSIDE if address in network), None)
    return (address if shift is None else ipaddress.IPv4Address((int(address) >> shift) & 0xFFFFFFFF),)


def _kind(address: IPAddress) -> _Kind:
    firsts, kinds = _STRETCHES[4 if isinstance(address, ipaddress.IPv4Address) else 6]
    return kinds[bisect_right(firsts, int(address)) - 1]


def _described(destination: Destination, address: IPAddress) -> str:
    return str(address) if destination.host == str(address) else f"{destination.host} → {address}"


def _ourselves(destination: Destination) -> str:
    return f"{destination} is Byway itself"


def _read_exception(entry: str) -> _Exception:
    text = entry.strip()
    try:
        where, port = _split_port(text)
        if "/" in where:
            return _Exception(None, ipaddress.ip_network(where), port)
        host = hostnames.host(where)
        address = Destination(host, 1).address
        return _Exception(None, ipaddress.ip_network(address), port) if address else _Exception(host, None, port)
    except ValueError as error:
        raise ValueError(
            f"{text[:80]!r} is not a host, address or CIDR, with or without :port or :* ({error})"
        ) from None


def _split_port(text: str) -> tuple[str, int | None]:
    if text.startswith("["):
        where, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in where or (rest and not rest.startswith(":")):
            raise ValueError("brackets must contain an IPv6 address or CIDR")
        port_text = rest[1:] if rest else "*"
    elif text.count(":") > 1:
        where, port_text = text, "*"
    else:
        where, colon, port_text = text.partition(":")
        port_text = port_text if colon else "*"
    return where, None if port_text == "*" else hostnames.port(port_text)


def _read_suffix(text: str) -> str:
    try:
        return hostnames.host(text.strip().removeprefix("*").removeprefix("."))
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not a name suffix such as lan or home.arpa") from None
