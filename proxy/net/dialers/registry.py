"""Gives the dialer of each route.

It is built once from the configured relays, so that every fault in them is reported at start: an unreadable `ca`, a
chain that contains itself, a relay that takes addresses only before one that has a name. Relays are dialed under a
guard of their own, since relays on loopback are common.

A direct route with wrappers is a local strategy. It avoids addresses where a flight was just reset or dropped: a censor
may reset every connection there for minutes (residual censorship), which would be no evidence about the strategy.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from proxy.config.detect_tuning import DetectTuning
from proxy.config.relays import Relay
from proxy.model import Destination, IPAddress, Route, Stage, Symptom, literal
from proxy.model.errors import ConfigError, DialError
from proxy.model.strategy import check_joined, strategy
from proxy.net.dialers.dialer import HANDSHAKE_TIMEOUT_S, Dialer
from proxy.net.dialers.evasion import with_strategies
from proxy.net.dialers.road import RoadToRelays, SharedRelays
from proxy.net.dialers.slots import Slots
from proxy.net.dialers.tcp import AddressLookup, DirectDialer
from proxy.net.knowledge import NOTHING_KNOWN, Knowledge
from proxy.net.race.retries import RetrySchedule
from proxy.net.stream import Stream
from proxy.wire.relay_url import RelayKind, RelayUrl

if TYPE_CHECKING:
    from proxy.net.dialers.http_connect import HttpConnectDialer
    from proxy.net.dialers.key_relay import KeyDialer, KeyEngine, LookupThrough
    from proxy.net.dialers.relay_handshake import SendCredentials
    from proxy.net.dialers.relay_ways import RelayWaysDialer
    from proxy.net.dialers.tls import TlsDialer

URL_RELAYS_MAX = 16
"""Dialers that are cached for relays that addons dial by URL."""

_UNNAMED = "(an addon's)"  # no configured relay may be called so


def first_hop_is_named(name: str, relays: Sequence[Relay]) -> bool:
    """Whether reaching relay `name` may take a DNS lookup: the first relay of its chain, or an alternative of that, is
    given by a name, or is an addon's, which may look up anything. Also True for a chain that is broken."""
    by_name = {relay.name: relay for relay in relays}
    for _ in by_name:
        first = by_name[name].hops[0] if name in by_name else name
        if isinstance(first, RelayUrl):
            return first.kind is RelayKind.ADDON or not all(
                endpoint.address is not None or endpoint.host == "localhost" for endpoint in first.endpoints
            )
        name = first
    return True


class RelayDialer(Dialer, Protocol):
    def carries(self, destination: Destination) -> bool:
        """Whether the relay can be asked for this destination."""


_USUAL = DetectTuning()
_HTTP1, _HTTP2 = ("http/1.1",), "h2"  # names of protocols (RFC 7301)

_FAMILIES = {"ipv4": 4, "ipv6": 6}
_NAME_WORDS = ("doh", *_FAMILIES)
"""Wrappers that say which address is dialed. They come before those that change the flight, in this order."""


class Registry:
    """The dialer of every route over the configured relays."""

    def __init__(
        self,
        relays: Sequence[Relay],
        *,
        direct: DirectDialer,
        to_relays: Dialer,
        secure: DirectDialer | None = None,
        knowledge: Knowledge = NOTHING_KNOWN,
        may_relay: Callable[[str], bool] = lambda host: True,
        road: RoadToRelays | None = None,
        handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
        path_timeout_s: float | None = None,
        detect: DetectTuning = _USUAL,
        groups: Mapping[str, Sequence[str]] | None = None,
        shared: SharedRelays | None = None,
        keys: KeyEngine | None = None,
        key_lookup: AddressLookup | None = None,
        lookup_through: LookupThrough | None = None,
    ) -> None:
        """`direct` dials destinations under the guard, and `secure` does so with addresses from encrypted DNS.
        `to_relays` dials first relays, and `road` knows their ways. `may_relay`: whether a relay may be tried for a
        host. `path_timeout_s`: how long a relay may take to open a path once it has the request; None:
        `handshake_timeout_s` covers both. `groups` are the members of each group. `shared` keeps connections that
        several registries use. `keys` makes the dialers of keys; `key_lookup` resolves the names of their servers, and
        `lookup_through` makes what resolves destinations for keys that take addresses.

        Raises ConfigError with one sentence for each relay that cannot work."""
        self._relays = {relay.name: relay for relay in relays}
        self.relay_names = tuple(self._relays)
        """The configured relays in their order: the preferred one first."""
        self._groups = dict(groups or {})
        self.direct = direct
        self._secure = secure
        self._to_relays = to_relays
        self._road = road
        self.shared = SharedRelays() if shared is None else shared
        self._knowledge = knowledge
        self._may_relay = may_relay
        self._timeout_s = handshake_timeout_s
        self._path_timeout_s = path_timeout_s
        self._detect = detect
        self._keys = keys
        self.relay_lookup = key_lookup
        """Resolves the names of first relays; None: nothing does."""
        self._lookup_through = lookup_through
        self._key_dialers: list[KeyDialer] = []
        self._slots: dict[Destination, Slots] = {}  # of each remote first hop
        self._dialers: dict[tuple[str, ...], RelayDialer] = {}  # by route.relays
        self._wrapped: dict[tuple[Route, bool], Dialer] = {}
        self._servers: dict[str, Hashable] = {}  # see `_server_of`
        self.schedule = RetrySchedule(detect, server_of=self._server_of)
        self._by_url: dict[str, Registry] = {}  # by the URL that an addon dialed
        problems = []
        for name in self._relays:
            try:
                self._relayed((name,))
            except (ConfigError, ValueError) as error:
                problems.append(f"relay {name}: {error}")
        if problems:
            raise ConfigError(problems)
        firsts = ((name, first) for name in self._relays if (first := self.hops((name,))[0]).key is None)
        self.with_alternatives = {name: first.endpoint for name, first in firsts if first.alternatives}
        """Where the first relay of each relay listens, for those whose first relay has alternatives; without keys."""

    def dialer(self, route: Route, *, avoid_residual: bool = True) -> Dialer:
        """Returns the dialer of `route`. With `avoid_residual`, a dial with a local strategy raises DialError SKIPPED
        when every address has a residual block and a relay is usable. Raises ConfigError for an unknown relay or
        wrapper."""
        if not route.wrap:
            return self._relayed(route.relays) if route.relays else self.direct
        dialer = self._wrapped.get((route, avoid_residual))
        if dialer is None:
            _check_wrap(route)
            dialer = self._relayed(route.relays) if route.relays else self._direct_with_strategy(route, avoid_residual)
            dialer = self._wrapped[route, avoid_residual] = with_strategies(dialer, route.wrap)
        return dialer

    def check(self, route: Route) -> None:
        """Raises ConfigError or ValueError for a route that cannot be dialed. The name of a group stands for each of
        its members."""
        choices = [self._groups.get(name, (name,)) for name in route.relays]
        for relays in itertools.product(*choices) if self._groups else (route.relays,):
            self.dialer(Route(relays, route.wrap))

    def _direct_with_strategy(self, route: Route, avoid_residual: bool) -> Dialer:
        """Returns the dialer below the wrappers of a direct route."""
        direct = self._secure if "doh" in route.wrap else self.direct
        if direct is None:
            return _NoResolver()
        families = [_FAMILIES[word] for word in route.wrap if word in _FAMILIES]

        def choose(destination: Destination, addresses: Sequence[IPAddress]) -> Sequence[IPAddress]:
            chosen = [address for address in addresses if address.version in (families or (4, 6))]
            if not chosen:
                raise _skipped(f"{destination} has no address for {route}")
            clean = [address for address in chosen if not self._knowledge.in_residual_window(address)]
            if not clean and avoid_residual and self._relay_may_serve(destination):
                raise _skipped(f"{route} skipped: {destination} was reset moments ago")
            return clean + [address for address in chosen if address not in clean]

        return direct.choosing(choose)

    def _relay_may_serve(self, destination: Destination) -> bool:
        """Whether a relay could serve `destination` instead of a local strategy. If none can, an address with a
        residual block is tried: better than nothing."""
        if not self._may_relay(destination.host):
            return False
        routes = (Route((name,)) for name in self.relay_names)
        return any(self.carries(route, destination) and not self._knowledge.is_failing(route) for route in routes)

    def dialer_for_url(self, url: str) -> Dialer:
        """Returns the dialer for a relay URL, or for the name of a configured relay. Raises ValueError when `url` is
        neither, and ConfigError for a relay that cannot work."""
        if url in self._relays:
            return self.dialer(Route((url,)))
        made = self._by_url.get(url)
        if made is None:
            if len(self._by_url) >= URL_RELAYS_MAX:
                for forgotten in self._by_url.values():
                    forgotten.retire_keys()
                self._by_url.clear()
            made = self._by_url[url] = Registry(
                (*self._relays.values(), Relay.parse(_UNNAMED, url)),
                direct=self.direct,
                to_relays=self._to_relays,
                road=self._road,
                knowledge=self._knowledge,
                handshake_timeout_s=self._timeout_s,
                path_timeout_s=self._path_timeout_s,
                detect=self._detect,
                shared=self.shared,
                keys=self._keys,
                key_lookup=self.relay_lookup,
                lookup_through=self._lookup_through,
            )
        return made.dialer(Route((_UNNAMED,)))

    def retire_keys(self) -> None:
        """The Setup that has this registry is no longer in use: what no other registry needs of its keys may end."""
        for dialer in self._key_dialers:
            dialer.retire()
        for made in self._by_url.values():
            made.retire_keys()

    def carries(self, route: Route, destination: Destination) -> bool:
        """Whether the route's last relay takes such a destination: some take addresses only."""
        return route.is_direct or self._relayed(route.relays).carries(destination)

    def addresses_only(self, name: str) -> str:
        """Returns why relay `name` takes addresses only, as RelayUrl does; empty when it takes names too."""
        return self.hops((name,))[-1].addresses_only

    def hops(self, names: Sequence[str]) -> tuple[RelayUrl, ...]:
        """Returns the URLs of the hops of `names`, in order. Raises ConfigError when a name is unknown or repeats."""
        return tuple(url for _, url, _ in self._expanded(names, ()))

    def protocol(self, name: str) -> str:
        """Returns the version of HTTP that relay `name`, an https relay, has selected: "HTTP/2" or "HTTP/1.1". Empty
        while that is not known, and for other kinds."""
        last = self.hops((name,))[-1]
        if last.kind is not RelayKind.HTTPS:
            return ""
        from proxy.net.dialers.http2_connect import Http2ConnectDialer

        dialer = self._relayed((name,))
        return dialer.protocol if isinstance(dialer, Http2ConnectDialer) else "HTTP/1.1"

    def first_endpoint(self, name: str) -> Destination:
        """Returns where the first relay of relay `name` listens, by the URL. Raises ConfigError for an unknown name."""
        return self.hops((name,))[0].endpoint

    def _server_of(self, names: tuple[str, ...]) -> Hashable:
        """Returns the host of the first relay; on this computer, where it listens: programs there share the host."""
        server = self._servers.get(names[0])
        if server is None:
            first = self.first_endpoint(names[0])
            server = self._servers[names[0]] = first if _is_loopback(first) else first.host
        return server

    async def connect(self, name: str) -> Stream:
        """Opens a TCP connection to where the first relay of relay `name` listens; nothing is said on it. Raises
        DialError, SKIPPED for an addon relay, which listens nowhere, and for a key over UDP."""
        first = self.hops((name,))[0]
        if first.kind is RelayKind.ADDON:
            raise _skipped(f"relay {name} is an addon's")
        if first.key is not None and first.key.protocol.is_over_udp:
            raise _skipped(f"relay {name} is reached over UDP")
        return await self._to_relays.dial(first.endpoint)

    def _relayed(self, names: tuple[str, ...]) -> RelayDialer:
        dialer = self._dialers.get(names)
        if dialer is None:
            dialer = self._dialers[names] = self._build(names)
        return dialer

    def _build(self, names: tuple[str, ...]) -> RelayDialer:
        from proxy.net.dialers.relay_handshake import SendCredentials  # a run without relays does without handshakes

        (label, url, allowed), *further = self._expanded(names, ())
        dialer: RelayDialer
        path: tuple[Hashable, ...] = _identity(url)
        if url.kind is RelayKind.ADDON:
            from proxy.net.dialers.addon_relay import AddonDialer  # few relays are an addon's

            dialer = AddonDialer(self._knowledge.dial_by_addon, url.host, label, timeout_s=self._timeout_s)
        elif url.key is not None:
            dialer = self._by_key(url, label, self._to_relays, self.relay_lookup, self._slots_of(url))
        else:
            trust = SendCredentials.ANYWHERE if allowed else SendCredentials.TO_LOOPBACK
            dialer = self._hop(self._to_relays, label, url, trust, path, self._slots_of(url), self._road)
        for label, url, allowed in further:
            if url.kind is RelayKind.ADDON:
                raise ConfigError(f"{url} must be first in the chain: an addon connects from this computer")
            for endpoint in url.endpoints:
                if not dialer.carries(endpoint):
                    raise ConfigError(f"the relay before {endpoint.host} in the chain takes other addresses only")
            if url.key is not None:
                if url.key.protocol.is_over_udp:
                    raise ConfigError(f"{url} must be first in the chain: no relay carries its packets, which are UDP")
                path = (*path, *_identity(url))
                dialer = self._by_key(url, label, dialer, None, None)
                continue
            trust = SendCredentials.ANYWHERE if allowed else SendCredentials.NOWHERE
            path = (*path, *_identity(url))
            dialer = self._hop(dialer, label, url, trust, path)
        return dialer

    def _by_key(
        self, url: RelayUrl, label: str, via: Dialer, lookup: AddressLookup | None, slots: Slots | None
    ) -> RelayDialer:
        """Returns the dialer of a key, whose server `via` dials."""
        from proxy.net.dialers.key_relay import AnyServer, KeyRelay, NoEngineDialer, ServerAddresses  # few are keys

        assert url.key is not None
        if self._keys is None:
            return NoEngineDialer(label)
        if url.alternatives:
            via = AnyServer(via, url.endpoints)
        if lookup is not None:
            lookup = ServerAddresses(lookup, url.endpoints)
        timeout_s = self._path_timeout_s or self._timeout_s
        dialer = self._keys.dialer(KeyRelay(label, url.key, via, lookup, slots, timeout_s, self._lookup_through))
        self._key_dialers.append(dialer)
        return dialer

    def _slots_of(self, url: RelayUrl) -> Slots | None:
        """Returns the slots of a first relay; None for one on this machine, which needs no limit."""
        endpoint = url.endpoint
        if _is_loopback(endpoint):
            return None
        if endpoint not in self._slots:
            spacing = None
            if url.kind in (RelayKind.HTTPS, RelayKind.KEY):
                from proxy.net.dialers.hello_spacing import HelloSpacing  # with the first such relay

                spacing = HelloSpacing(self._knowledge.hellos_are_counted)
            self._slots[endpoint] = Slots(
                handshakes_max=self._detect.relay_handshakes_max,
                paths_max=self._detect.relay_paths_max,
                wait_s=self._path_timeout_s or self._timeout_s,
                spacing=spacing,
                one_at_first=len(self._relays) > self._detect.relay_openings_max,
            )
        return self._slots[endpoint]

    def _hop(
        self,
        via: Dialer,
        label: str,
        url: RelayUrl,
        trust: SendCredentials,
        path: Hashable,
        slots: Slots | None = None,
        road: RoadToRelays | None = None,
    ) -> RelayDialer:
        """Returns the dialer of one relay behind `via`. `path` identifies it and those before it, `road` is that of a
        first relay."""
        options: dict[str, Any] = {
            "name": label,
            "send_credentials": trust,
            "timeout_s": self._timeout_s,
            "path_timeout_s": self._path_timeout_s,
        }
        if url.kind is not RelayKind.HTTPS:
            way, on_broken = self._way(via, label, url, slots, road, ())
            return _relay_dialer(url.kind)(way, url, slots=slots, on_broken=on_broken, **options)

        from proxy.net.dialers.http_connect import HttpConnectDialer
        from proxy.net.dialers.relay_handshake import SendCredentials

        options["send_credentials"] = SendCredentials.ANYWHERE

        def by_http1(given: Dialer | None = None) -> HttpConnectDialer:
            if given is not None:
                return HttpConnectDialer(given, url, **options)
            way, on_broken = self._way(via, label, url, slots, road, _HTTP1)
            return HttpConnectDialer(way, url, slots=slots, on_broken=on_broken, **options)

        if url.only_http1:
            return by_http1()
        from proxy.net.dialers.http2_connect import Http2ConnectDialer

        way, on_broken = self._way(via, label, url, slots, road, (_HTTP2, *_HTTP1))
        return Http2ConnectDialer(
            self.shared.of(path),
            by_http1,
            way,
            url,
            slots=slots,
            on_broken=on_broken,
            has_left=_has_left(url, road),
            **options,
        )

    def _way(
        self,
        via: Dialer,
        label: str,
        url: RelayUrl,
        slots: Slots | None,
        road: RoadToRelays | None,
        alpn: tuple[str, ...],
    ) -> tuple[Dialer, Callable[[Stream], None] | None]:
        """Returns the dialer of connections to one relay behind `via`, and a function that gets those on which the
        relay did not complete its handshake. `alpn`: the protocols that are offered to an https relay."""
        tls: TlsDialer | None = None
        if url.kind is RelayKind.HTTPS:
            from proxy.net.dialers.tls import TlsDialer

            name = url.sni or url.host  # also for an alternative: it is the same relay
            tls = TlsDialer(
                via, server_name=name, ca=url.ca, pin=url.pin, alpn=alpn, relay=label, timeout_s=self._timeout_s
            )
        has_strategies = tls is not None and literal(tls.server_name) is None and not _is_loopback(url.endpoint)
        ways: RelayWaysDialer | None = None
        if url.alternatives or (road is not None and road.strategies and has_strategies):
            from proxy.net.dialers.relay_ways import RelayWaysDialer

            road = road or RoadToRelays()
            if not has_strategies:
                road = replace(road, strategies=())
            spacing = slots.spacing if slots is not None else None
            ways = RelayWaysDialer(
                via, url.endpoints, road, tls=tls, relay=label, timeout_s=self._timeout_s, spacing=spacing
            )
        return ways or tls or via, ways.broke if ways is not None else None

    def _expanded(self, names: Sequence[str], within: tuple[str, ...]) -> list[tuple[str, RelayUrl, bool]]:
        """Returns for each hop its name in messages, its URL, and whether its credentials may go unencrypted."""
        hops: list[tuple[str, RelayUrl, bool]] = []
        for name in names:
            relay = self._relays.get(name)
            if relay is None:
                raise ConfigError(f"there is no relay {name!r}")
            if name in within:
                raise ConfigError(f"the chain contains itself ({'>'.join((*within, name))})")
            for hop in relay.hops:
                if isinstance(hop, str):
                    hops += self._expanded((hop,), (*within, name))
                else:
                    label = name if len(relay.hops) == 1 else f"{name} at {hop.endpoint}"
                    hops.append((label, hop, relay.allow_plaintext_credentials))
        return hops

    def __repr__(self) -> str:
        return f"<Registry {' '.join(self._relays) or 'without relays'}>"


def _relay_dialer(kind: RelayKind) -> Callable[..., RelayDialer]:
    """Returns the dialer through relays of a kind. Only those kinds are imported that are configured."""
    match kind:
        case RelayKind.SOCKS5H | RelayKind.SOCKS5:
            from proxy.net.dialers.socks import Socks5Dialer

            return Socks5Dialer
        case RelayKind.SOCKS4A | RelayKind.SOCKS4:
            from proxy.net.dialers.socks import Socks4Dialer

            return Socks4Dialer
        case RelayKind.HTTP:
            from proxy.net.dialers.http_connect import HttpConnectDialer

            return HttpConnectDialer
        case RelayKind.HTTPS | RelayKind.ADDON | RelayKind.KEY:
            raise ValueError("an https relay is made with its TLS; an addon or an engine opens its paths itself")


def _identity(url: RelayUrl) -> tuple[Hashable, ...]:
    """Returns values that differ for relays, or states of a `ca` file, that may not share a connection."""
    if url.ca is None:
        return (url,)
    try:
        state = os.stat(url.ca)
    except OSError:  # reading it says why
        return (url,)
    return url, state.st_ino, state.st_size, state.st_mtime_ns


def _has_left(url: RelayUrl, road: RoadToRelays | None) -> Callable[[str, float], bool]:
    """Returns as `WayBeliefs.has_left`, of one relay on the network in use."""
    if road is None:
        return lambda peer, since: False
    return lambda peer, since: road.beliefs.has_left(url.endpoint, peer, road.network(), since)


def _check_wrap(route: Route) -> None:
    """Raises ConfigError for wrappers that are unknown, in the wrong order, or not possible through a relay, which
    resolves the name itself and to which our socket leads."""
    for word in route.wrap:
        found = strategy(word)
        if found is None and word not in _NAME_WORDS:
            raise ConfigError(f"route {route}: there is no {word!r}")
        if route.relays and (found is None or found.first_piece_dies):
            raise ConfigError(f"route {route}: {word!r} is for direct routes")
    before = [word for word in route.wrap if word in _NAME_WORDS]
    if sorted(set(before), key=_NAME_WORDS.index) != list(route.wrap[: len(before)]):
        raise ConfigError(f"route {route}: {', '.join(_NAME_WORDS)} come first, in this order, each once")
    try:
        check_joined(route.wrap)
    except ValueError as error:
        raise ConfigError(f"route {route} {error}") from None


def _skipped(sentence: str) -> DialError:
    return DialError(sentence, stage=Stage.CONNECT, symptom=Symptom.SKIPPED)


def _is_loopback(endpoint: Destination) -> bool:
    address = endpoint.address
    return endpoint.host == "localhost" if address is None else address.is_loopback


class _NoResolver:
    """The dialer of `doh` routes when no encrypted DNS server is configured."""

    async def dial(self, destination: Destination) -> Stream:
        raise _skipped(f"no encrypted DNS server is configured to resolve {destination.host}")
