"""The scenario table: the things that a network or a site may do to a visit, and the conclusions that Byway must draw.

One row per scenario, blocking and innocent. A row contains the arrangement for its sites, the longest wait of the user,
the belief afterwards and its cause, the way by which the page has to come, and the beliefs that must never be learned.
This table is the specification; `lab.run` checks a real Byway against it. Times are those of a 20 ms link. Further rows
are in files of their own, and `all_scenarios` joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from proxy.model import NetworkState, State
from tests.lab import places, rules
from tests.lab.country import Country, Site
from tests.lab.deeds import Reading
from tests.lab.links import Link
from tests.lab.name_servers import Addresses, Said
from tests.lab.origins import GOOD, Conduct
from tests.lab.portal import BLOCK_PAGE
from tests.lab.rules import Rule
from tests.lab.views import View


class Kind(StrEnum):
    BLOCKING = "blocking"
    INNOCENT = "innocent"


class Reach(StrEnum):
    """The scope of a scenario: it decides whether scenarios may share a Byway."""

    NAMES = "names"
    NETWORK = "network"


class Way(StrEnum):
    """The kind of route by which a page comes."""

    DIRECT = "direct"
    RUNG = "rung"  # direct with local means: another resolver, a cut hello
    RELAY = "relay"
    NONE = "none"


Arrange = Callable[[Country, Sequence[Site]], Sequence[Rule]]
"""Arranges the trouble of these sites, and returns the rules that the router has to apply."""

TROUBLED = frozenset({State.SUSPECT, State.BLOCKED})
FINE = frozenset({State.UNKNOWN, State.WORKS})
SUSPECT = frozenset({State.SUSPECT})
BLOCKED = frozenset({State.BLOCKED})

ROUND_TRIP_S = 0.02
DROPPED_S = 0.8
SYN_S = 1.5
SILENT_S = 3.0
PROVEN_S = 25.0
"""The time from a visit until a silence is explained: 7 s until it is judged (`silent_s`), then two hellos, a second
apart, of which one is silent again."""
RESOLVER_S = 2.0
HELLO_APART_S = 1.0
"""The wait of a second hello after one that a re-test has just sent (docs/detection.md, "Own ClientHellos")."""
QUERY_S = 4 * ROUND_TRIP_S
"""One DoH query on a connection of its own: TCP, TLS, the question, and one round trip to spare."""
ANY_S = 1e9

NEIGHBOUR = "healthy-neighbour.test"
"""A site that another person visits all the while."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row."""

    name: str
    what: str
    kind: Kind
    arrange: Arrange
    cause: str = ""  # of the belief; empty: none
    first: frozenset[State] = SUSPECT  # what the state may be after the first visit …
    third: frozenset[State] = BLOCKED  # … after the third, and last if there are no more …
    a_day_later: frozenset[State] = frozenset()  # … and after a day without one; empty: anything
    visits: int = 3  # an episode apart
    named_by: int = 1  # the visit after which the cause is to be known, where one look is not enough
    ways: frozenset[Way] = frozenset({Way.RELAY})  # by which the page may come, from the first visit on
    last: frozenset[Way] = frozenset()  # by which it has to come in the last visit; empty: as in the others
    wait_s: float = ROUND_TRIP_S  # the first visit's, over what the winning route itself needs
    must_not_learn: frozenset[State] = frozenset()
    reach: Reach = Reach.NAMES
    network: NetworkState = NetworkState.OK  # what the network is called
    office: bool = False  # whether this computer trusts the office's root
    conduct: Conduct = GOOD
    secure: bool = True
    path: str = "/"
    at_once: int = 1  # connections of one visit, which ask for the same
    six: bool = False
    wide: bool = False  # whether its sites are in places.WIDE, each in a /24 of its own
    nobody: bool = False
    lapses: bool = False  # its sign is weak, and in hurried time its suspicion is over by the next visit
    beside: str = ""  # a page that another person opens at NEIGHBOUR over and over; empty: there is no such person
    reloads: bool = False  # whether a page that did not come is opened once more; the wait is that of both
    spoiled: int = 0  # so many first visits may show something else: nobody can save them
    limit_s: float = 15.0  # after which a visitor gives up
    settle_s: float = 4.0  # in which the evidence is in after a visit
    relays: str = "socks"
    detect: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Times of the detection that this row needs different; the row has a Byway of its own then."""
    at_scale: Callable[[float], Scenario] | None = None
    """Makes the row with its parameters multiplied by a factor: they come from one or two measurers each."""

    @property
    def again_s(self) -> float:
        """The bound of later visits: a site that is known to be blocked waits for nothing."""
        if self.lapses:
            return max(self.wait_s, HELLO_APART_S)
        return ROUND_TRIP_S if self.kind is Kind.BLOCKING and self.wait_s < ANY_S else self.wait_s

    @property
    def page_s(self) -> float:
        """The seconds that its server takes for a page of a given size; 0: it has none, or sends as fast as it can."""
        _, is_sized, size = self.path.partition("/bytes/")
        is_paced = self.conduct.bytes_per_s > 0 and self.path.startswith(self.conduct.paced)
        return int(size) / self.conduct.bytes_per_s if is_sized and is_paced else 0.0

    def add_site(self, country: Country, name: str) -> Site:
        """Adds a site of this row."""
        return country.add_site(name, conduct=self.conduct, six=self.six, wide=self.wide, nobody=self.nobody)


def blocking(name: str, what: str, arrange: Arrange, cause: str = "", **more: object) -> Scenario:
    """Returns a scenario whose sites are blocked. Once they are known to be, they are a day later."""
    lasts = more.get("third", BLOCKED) == BLOCKED
    given: dict[str, object] = {"a_day_later": BLOCKED if lasts else frozenset(), **more}
    return Scenario(name, what, Kind.BLOCKING, arrange, cause, **given)  # type: ignore[arg-type]  # fields by name


def innocent(name: str, what: str, arrange: Arrange, **more: object) -> Scenario:
    """Returns a scenario whose sites work, by any way, and leave no lasting belief."""
    given: dict[str, object] = {
        "first": FINE,
        "third": FINE,
        "a_day_later": FINE,
        "ways": frozenset({Way.DIRECT}),
        "must_not_learn": TROUBLED,
        **more,
    }
    return Scenario(name, what, Kind.INNOCENT, arrange, **given)  # type: ignore[arg-type]  # as above


def scalable(make: Callable[[float], Scenario]) -> Scenario:
    """Returns the row of a factory that takes the factor of its parameters, at the factor 1. `python -m tests.lab.run
    --scale 0.5` runs it at another."""
    return replace(make(1.0), at_scale=make)


# -- what to set up ----------------------------------------------------------------------------------------------------


def _addresses(sites: Sequence[Site]) -> list[str]:
    return [address for site in sites for address in (site.address, site.address6) if address]


def nothing(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    return ()


def lie(answer: Addresses | Said) -> Arrange:
    """Makes the provider's resolver give this answer for the sites."""

    def arrange(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
        country.provider.lies.update({site.name: answer for site in sites})
        return ()

    return arrange


def by_name(rule: Callable[..., Rule], **how: object) -> Arrange:
    """Arranges a rule that takes names."""
    return lambda country, sites: (rule(*(site.name for site in sites), **how),)


def by_address(rule: Callable[..., Rule], **how: object) -> Arrange:
    """Arranges a rule that takes addresses."""
    return lambda country, sites: (rule(*_addresses(sites), **how),)


def at_address(rule: Callable[..., Rule], **how: object) -> Arrange:
    """Arranges a rule that takes names or `addresses`, by addresses."""
    return lambda country, sites: (rule(addresses=_addresses(sites), **how),)


def for_all(*what: Rule | Callable[[], Rule]) -> Arrange:
    """Arranges rules that concern all traffic; a factory among them makes its rule when it is set."""
    return lambda country, sites: tuple(rule if isinstance(rule, Rule) else rule() for rule in what)


def read_by(whose: str) -> Arrange:
    """Lets an authority read the TLS of the sites; `whose` is the name of an attribute of the country."""

    def arrange(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
        country.readers.update({site.name: getattr(country, whose) for site in sites})
        return (rules.Intercept(*_addresses(sites)),)

    return arrange


def office(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    country.readers[""] = country.office
    return (rules.Intercept(places.SITES, places.SITES6, places.SERVICES),)


def terminator(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    return (rules.Terminator(places.SITES, places.SITES6, ports=(80, 443)),)


def portal(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    country.provider.everything = Addresses((places.PORTAL,))
    country.middlebox.page = country.portal
    return (rules.Intercept(ports=()),)


def provider_silent(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    country.provider.everything = Said.NOTHING
    return ()


def provider_fails(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    country.provider.everything = Said.FAILED
    return ()


def fake_addresses(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """Another proxy carries the traffic to its addresses: all of them lead to the sites here."""
    country.provider.fake = places.FAKE
    return ()


def six_from_four(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """A network without IPv4, whose resolver and translator make IPv4 hosts reachable."""
    country.provider.six_from_four = True
    return (rules.IcmpUnreachable(places.SITES, code="network"),)


def nearby_servers(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """A CDN: the provider's resolver receives other servers than the rest of the world."""
    nearby(country, sites)
    return ()


def nearby(country: Country, sites: Sequence[Site]) -> list[str]:
    """Returns the addresses that the provider's resolver receives: one for each site, which no other row has."""
    first = len(country.zone.regions) + 1
    addresses = [f"198.19.251.{first + n}" for n in range(len(sites))]
    country.zone.regions.update((site.name, Addresses((at,))) for site, at in zip(sites, addresses, strict=True))
    return addresses


def broken_six(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    return (rules.AddressDrop(places.SITES6),)


def unplugged(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    country.router.ports["client"].unplug()
    return ()


def lossy(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    country.router.ports["client"].set_link(Link(delay_s=0.01, loss=0.05))
    return ()


def relay_refused(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    return (rules.SynReset(places.RELAYS),)


def allow_list(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """Only the provider and domestic hosts are reachable; the relay is let through, as the best hidden ones are."""
    at_home = (places.PROVIDER, f"{places.CONTROLS[places.DOMESTIC]}/32", f"{places.SOCKS_RELAY}/32")
    return (rules.AllowList(addresses=at_home),)


def allow_list_abroad(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """As in a country without a control page: the domestic hosts are a site that another person visits."""
    led = country.zone.names[NEIGHBOUR]
    assert isinstance(led, Addresses)
    (neighbour,) = led.four
    return (rules.AllowList(addresses=(places.PROVIDER, f"{neighbour}/32", f"{places.SOCKS_RELAY}/32")),)


def outage_of_direct(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """The innocent twin: the same hosts fail, and so do the domestic ones. By accident the road to the relay is
    whole."""
    return (rules.AllowList(addresses=(places.PROVIDER, f"{places.SOCKS_RELAY}/32")),)


def both(*arrangements: Arrange) -> Arrange:
    return lambda country, sites: tuple(rule for one in arrangements for rule in one(country, sites))


# -- the table ---------------------------------------------------------------------------------------------------------

RUNG = frozenset({Way.RUNG})
AROUND = frozenset({Way.RUNG, Way.RELAY})
DIRECT_OR_AROUND = frozenset({Way.DIRECT, Way.RUNG, Way.RELAY})
NO_WAY = frozenset({Way.NONE})
_POISONED, _BOGON = (places.POISON,), (places.BOGON,)
_ALERT = bytes.fromhex("15 0303 0002 02 70")  # record: alert, TLS 1.2, 2 bytes: fatal, unrecognized_name (RFC 6066)
_NETWORK = Reach.NETWORK
_OFFLINE, _PORTAL = NetworkState.OFFLINE, NetworkState.PORTAL
_RESTRICTED, _INSPECTED = NetworkState.RESTRICTED, NetworkState.INSPECTED
WEAK: Mapping[str, object] = MappingProxyType({"third": TROUBLED})
"""Signs that never turn a suspect into a blocked site, that need more than three of their kind, or that are not looked
for again while the relay carries the site."""

_PROVEN_LATE: Mapping[str, float] = MappingProxyType({"rescue_suspect_s": 30.0})
"""Time for the next visit, whose relay proves what direct did not bring, also on a busy machine."""
_SHORT: Mapping[str, float] = MappingProxyType({"throttled_s": 3.0, **_PROVEN_LATE})
"""Three times 3 s of a slow page in place of three times 10, and then some time for the next visit."""

REAL = Conduct(page_bytes=2048)
"""A first page that is large enough for a re-test (`proxy.probe.throughput`)."""

ROWS: tuple[Scenario, ...] = (
    # names
    blocking("dns-race-bogon", "a forged private address first, the true answer second",
             by_name(rules.DnsRace, forged=_BOGON), "dns", ways=RUNG, wait_s=QUERY_S, **WEAK),
    blocking("dns-race-poison", "a forged address that looks honest first, the true answer second",
             by_name(rules.DnsRace, forged=_POISONED), "dns", ways=RUNG, wait_s=QUERY_S + 0.5, **WEAK),
    blocking("dns-replace-bogon", "only a private address",
             by_name(rules.DnsReplace, forged=_BOGON), "dns", ways=RUNG, wait_s=QUERY_S, **WEAK),
    blocking("dns-replace-poison", "only an address where nobody answers",
             by_name(rules.DnsReplace, forged=_POISONED), "dns", ways=RUNG, wait_s=1.0, settle_s=8, **WEAK),
    blocking("dns-replace-page", "only the address of the block page's server",
             by_name(rules.DnsReplace, forged=(places.BLOCK_PAGE,)), "dns", ways=AROUND, wait_s=QUERY_S, **WEAK),
    blocking("dns-nxdomain", "the name is said not to exist",
             by_name(rules.DnsNxdomain), "dns", ways=RUNG, wait_s=QUERY_S, **WEAK),
    blocking("dns-drop", "queries for the name are lost",
             by_name(rules.DnsDrop), "dns", ways=RUNG, wait_s=RESOLVER_S + QUERY_S, settle_s=7, **WEAK),
    blocking("dns-lie-nxdomain", "the provider's own resolver denies the name",
             lie(Said.NO_SUCH_NAME), "dns", ways=RUNG, wait_s=QUERY_S, **WEAK),
    blocking("dns-lie-bogon", "the provider's own resolver says 0.0.0.0",
             lie(Addresses(("0.0.0.0",))), "dns", ways=RUNG, wait_s=QUERY_S, **WEAK),
    # the name in a ClientHello
    blocking("sni-reset-string", "both sides are reset where the name stands in a packet",
             by_name(rules.SniReset, view=View.STRING), "sni_reset", ways=AROUND),
    blocking("sni-reset-packet", "both sides are reset, packet by packet",
             by_name(rules.SniReset, view=View.PACKET), "sni_reset", ways=AROUND),
    blocking("sni-reset-tcp", "both sides are reset, the stream put together",
             by_name(rules.SniReset, view=View.TCP), "sni_reset", ways=AROUND),
    blocking("sni-reset-records", "both sides are reset, records put together",
             by_name(rules.SniReset, view=View.RECORDS), "sni_reset", wait_s=2 * ROUND_TRIP_S),
    blocking("sni-reset-client", "only the client is reset",
             by_name(rules.SniReset, to="client", view=View.TCP), "sni_reset", ways=AROUND),
    blocking("sni-reset-strict", "reset, and the site rejects cut records",
             by_name(rules.SniReset, view=View.TCP), "sni_reset", wait_s=3 * ROUND_TRIP_S,
             conduct=Conduct(cut_hello_fails=True)),
    blocking("sni-reset-residual", "reset, and then for a minute all that goes to the address",
             by_name(rules.SniReset, view=View.TCP, residual=rules.Residual(60)), "sni_reset"),
    blocking("sni-drop-packet", "dropped in silence, packet by packet",
             by_name(rules.SniDrop, view=View.PACKET), "sni_drop", ways=AROUND, wait_s=DROPPED_S, settle_s=8),
    blocking("sni-drop-records", "dropped in silence, records put together",
             by_name(rules.SniDrop, view=View.RECORDS), "sni_drop", wait_s=DROPPED_S, settle_s=8),
    blocking("sni-drop-segment", "only the segment with the name is lost",
             by_name(rules.SniDrop, view=View.TCP, whole_flow=False), "sni_drop", ways=AROUND, wait_s=DROPPED_S,
             settle_s=8),
    blocking("sni-drop-string", "dropped in silence where the name stands in a packet",
             by_name(rules.SniDrop, view=View.STRING), "sni_drop", ways=AROUND, wait_s=DROPPED_S, settle_s=8),
    blocking("sni-reset-in-path", "reset, and the hello goes no further",
             by_name(rules.SniReset, view=View.TCP, in_path=True), "sni_reset", ways=AROUND),
    blocking("sni-eof", "the censor hangs up in the place of the site",
             by_name(rules.SniAnswer, view=View.TCP), "sni_reset", ways=AROUND, **WEAK),
    blocking("sni-garbage", "a page without TLS comes in answer to the hello",
             by_name(rules.SniAnswer, answer=b"HTTP/1.1 403 Forbidden\r\n\r\n", view=View.TCP), "sni_reset",
             ways=AROUND),
    blocking("sni-alert", "a TLS alert comes in answer to the hello, as from a server that knows no such name",
             by_name(rules.SniAnswer, answer=_ALERT, view=View.TCP), "sni_reset", ways=AROUND, lapses=True, **WEAK),
    blocking("sni-silence", "the hello is acknowledged, and nothing answers",
             by_name(rules.SniSilence, view=View.RECORDS), "sni_drop", first=BLOCKED, wait_s=SILENT_S,
             settle_s=PROVEN_S),
    # the address
    blocking("address-drop", "nothing passes to the address",
             by_address(rules.AddressDrop), "ip", wait_s=SYN_S, settle_s=8, **WEAK),
    blocking("syn-reset", "a SYN is answered by a reset",
             by_address(rules.SynReset), "ip", **WEAK),
    blocking("icmp-unreachable", "a router says that nobody may go there",
             by_address(rules.IcmpUnreachable), "ip", **WEAK),
    blocking("port-drop", "only port 443 of the address is lost",
             by_address(rules.AddressDrop, ports=(443,)), "ip", wait_s=SYN_S, settle_s=8, **WEAK),
    # more than one means
    blocking("dns-race-sni-reset", "a forged address comes first, and a hello to the true one is reset",
             both(by_name(rules.DnsRace, forged=_POISONED), by_name(rules.SniReset, view=View.TCP)), "dns",
             ways=AROUND, wait_s=QUERY_S + 0.5, **WEAK),
    blocking("dns-nxdomain-sni-drop", "the name is said not to exist, and a hello to its address is dropped",
             both(by_name(rules.DnsNxdomain), by_name(rules.SniDrop, view=View.RECORDS)), "dns",
             wait_s=QUERY_S + DROPPED_S, settle_s=8, **WEAK),
    blocking("dns-bogon-address-drop", "a private address, and nothing passes to the true one",
             both(by_name(rules.DnsReplace, forged=_BOGON), by_address(rules.AddressDrop)), "dns",
             wait_s=QUERY_S + SYN_S, settle_s=8, **WEAK),
    blocking("sni-drop-six", "dropped in silence over both IPv6 and IPv4, records put together",
             by_name(rules.SniDrop, view=View.RECORDS), "sni_drop", six=True, wait_s=DROPPED_S, settle_s=8,
             reach=_NETWORK),
    blocking("six-broken-sni-drop", "IPv6 leads nowhere, and over IPv4 a hello is dropped in silence",
             both(by_name(rules.SniDrop, view=View.RECORDS), broken_six), "sni_drop", six=True,
             wait_s=2.0, settle_s=8),  # each local means looks for an address that was not just dropped at
    # plain HTTP
    blocking("http-redirect", "a request is led to the block page",
             by_name(rules.HttpRedirect, to="http://blocked.provider.test/"), "block_page", secure=False,
             **WEAK),
    blocking("http-page", "a block page is answered in place of the site",
             by_name(rules.HttpPage, body=BLOCK_PAGE), "block_page", secure=False),
    blocking("http-reset", "a request that names the site is reset",
             by_name(rules.HttpReset), "http_host", ways=AROUND, secure=False),
    blocking("http-drop", "a request that names the site is lost",
             by_name(rules.HttpDrop), "http_host", ways=AROUND, secure=False, wait_s=DROPPED_S, settle_s=8),
    blocking("http-silence", "a request that names the site is acknowledged, and nothing answers",
             by_name(rules.HttpSilence), "http_host", ways=AROUND, secure=False, wait_s=SILENT_S, settle_s=8,
             lapses=True, **WEAK),
    # what is inside
    blocking("intercept-known", "TLS is read with a root that is known for it",
             read_by("known_state"), "interception", first=BLOCKED, spoiled=1),
    blocking("intercept-unknown", "TLS is read with a root that nobody knows",
             read_by("state"), "interception", spoiled=2, named_by=3),
    # flows
    blocking("freeze", "after 16 KiB not one more packet passes",
             by_name(rules.Freeze, after_bytes=16 * 1024), "frozen", path="/big", spoiled=1, wait_s=ANY_S,
             limit_s=12, settle_s=8, detect=_PROVEN_LATE, conduct=REAL, **WEAK),
    blocking("throttle-police", "8 KB/s, the rest is dropped",
             by_name(rules.Throttle, rate=8000, each=True), "throttled", path="/big", spoiled=2, wait_s=ANY_S,
             limit_s=16, settle_s=2, named_by=2, detect=_SHORT, conduct=REAL, **WEAK),
    blocking("throttle-shape", "8 KB/s, the rest waits, by address",
             at_address(rules.Throttle, rate=8000, how="shape", each=True), "throttled", path="/big", spoiled=2,
             wait_s=ANY_S, limit_s=16, settle_s=2, named_by=2, detect=_SHORT, conduct=REAL, **WEAK),
    # the whole network, or all means
    blocking("no-relay-packet", "reset packet by packet, and there is no relay",
             by_name(rules.SniReset, view=View.PACKET), "sni_reset", ways=RUNG, relays="none", reach=_NETWORK,
             **WEAK),
    blocking("no-relay-tcp", "reset with the stream put together, and there is no relay",
             by_name(rules.SniReset, view=View.TCP), "sni_reset", ways=RUNG, relays="none", reach=_NETWORK, **WEAK),
    blocking("no-relay-dns", "only a private address, and there is no relay",
             by_name(rules.DnsReplace, forged=_BOGON), "dns", ways=RUNG, wait_s=QUERY_S, relays="none",
             reach=_NETWORK, **WEAK),
    blocking("allow-list", "only what is domestic can be reached, and the relay",
             allow_list, network=_RESTRICTED, first=FINE | SUSPECT, third=FINE | SUSPECT, wait_s=SYN_S,
             reach=_NETWORK, must_not_learn=BLOCKED, limit_s=20, settle_s=12, named_by=2),
    blocking("allow-list-abroad", "the same in a country of which no control page is",
             allow_list_abroad, network=_RESTRICTED, first=FINE | SUSPECT, third=FINE | SUSPECT, wait_s=SYN_S,
             reach=_NETWORK, must_not_learn=BLOCKED, limit_s=20, settle_s=25, named_by=3),

    # now and then
    innocent("reset-share", "three connections of ten are reset",
             by_name(rules.SniReset, view=View.RECORDS, share=0.3), ways=DIRECT_OR_AROUND, wait_s=2 * ROUND_TRIP_S,
             first=FINE | SUSPECT, third=FINE | TROUBLED, a_day_later=frozenset(), must_not_learn=frozenset()),

    # innocent, of one site
    innocent("healthy", "nothing is wrong", nothing),
    innocent("down", "no host is at its address, whoever asks", nothing, nobody=True, ways=NO_WAY, wait_s=ANY_S,
             first=FINE | {State.DOWN}, third=FINE | {State.DOWN}, spoiled=3, limit_s=25),
    innocent("slow", "answers after 5 s", nothing, conduct=Conduct(delay_s=5), ways=DIRECT_OR_AROUND, limit_s=30,
             wait_s=SILENT_S, third=FINE | SUSPECT),
    innocent("slow-plain", "answers a plain request after 5 s", nothing, conduct=Conduct(delay_s=5), secure=False,
             ways=DIRECT_OR_AROUND, first=FINE | SUSPECT, third=FINE | SUSPECT, limit_s=30, wait_s=SILENT_S,
             settle_s=7),
    innocent("refuses-relays", "403 for who comes by a relay", nothing,
             conduct=Conduct(refuses=403, refuses_relays_only=True)),
    innocent("refuses-all", "451 for everybody", nothing, conduct=Conduct(refuses=451), secure=False, spoiled=3,
             first=FINE | {State.REFUSED}, third=FINE | {State.REFUSED}, ways=DIRECT_OR_AROUND),
    innocent("refuses-all-429", "429 for everybody", nothing, conduct=Conduct(refuses=429), secure=False, spoiled=3,
             first=FINE | {State.REFUSED}, third=FINE | {State.REFUSED}, ways=DIRECT_OR_AROUND),
    innocent("alert", "an alert for every ClientHello, for everybody", nothing, conduct=Conduct(alert=True), spoiled=3,
             first=FINE | {State.DOWN}, third=FINE | {State.DOWN}, ways=DIRECT_OR_AROUND | NO_WAY, wait_s=ANY_S),
    innocent("moved", "a plain request is led to another domain, for everybody", nothing,
             conduct=Conduct(moved_to="https://healthy-moved.test/"), secure=False, spoiled=3,
             first=FINE | SUSPECT, ways=DIRECT_OR_AROUND),
    innocent("cdn", "other addresses by resolver", nearby_servers),
    innocent("strict", "rejects cut records, and nobody is in the way", nothing,
             conduct=Conduct(cut_hello_fails=True)),
    innocent("six-broken", "has IPv6 addresses, and IPv6 leads nowhere", broken_six, six=True,
             wait_s=0.25 + ROUND_TRIP_S),
    # Longer than `measure_stall_s`: at just as long, one route is measured to the end of the page and another is not.
    innocent("pause", "rests 6 s in the middle of a page", nothing, path="/big", limit_s=30, wait_s=ANY_S, settle_s=2,
             conduct=Conduct(pause_after=20_000, pause_s=6)),
    innocent("slow-body", "20 KB in a second, to everybody", nothing, path="/bytes/60000", limit_s=30, wait_s=ANY_S,
             conduct=Conduct(bytes_per_s=20_000)),
    innocent("quic-drop", "UDP port 443 is lost", for_all(rules.UdpDrop())),

    # networks that count ClientHellos: what a client without Byway may do, it may do with it
    innocent("hello-count-1", "more than three hellos at once are punished, and a client sends one",
             by_name(rules.HelloCount)),
    innocent("hello-count-3", "the same, and a client sends three", by_name(rules.HelloCount), at_once=3),
    innocent("hello-count-chain-1", "more than three in a row of short gaps are punished; one",
             by_name(rules.HelloCount, reading=Reading.CHAIN)),
    innocent("hello-count-chain-3", "the same, and three", by_name(rules.HelloCount, reading=Reading.CHAIN), at_once=3),
    innocent("three-at-once", "nobody counts", nothing, at_once=3),
    innocent("busy-server", "hangs up on a fourth connection at once", nothing, conduct=Conduct(at_most=3), at_once=3),

    # innocent, of the network
    innocent("portal", "a captive portal answers for everybody, as browsers ask", portal, network=_PORTAL,
             reach=_NETWORK, secure=False,
             first=FINE | {State.DOWN}, third=FINE | {State.DOWN}, ways=DIRECT_OR_AROUND | NO_WAY, spoiled=3,
             wait_s=ANY_S),
    innocent("portal-secure", "the same where only TLS is opened", portal, network=_PORTAL, reach=_NETWORK,
             first=FINE | {State.DOWN}, third=FINE | {State.DOWN}, ways=DIRECT_OR_AROUND | NO_WAY, spoiled=3,
             wait_s=ANY_S),
    innocent("offline", "no route at all", unplugged, network=_OFFLINE, reach=_NETWORK,
             first=FINE | {State.DOWN}, third=FINE | {State.DOWN}, ways=NO_WAY, spoiled=3, wait_s=ANY_S),
    innocent("outage", "half a second without a packet, again and again",
             for_all(*(lambda n=n: rules.Outage(2.0 + 4 * n, 0.5) for n in range(12))), reach=_NETWORK,
             ways=DIRECT_OR_AROUND, first=FINE | SUSPECT, third=FINE | SUSPECT, wait_s=2.0,
             must_not_learn=TROUBLED),
    innocent("outage-long", "eight seconds without a packet, while six sites are asked for",
             for_all(lambda: rules.Outage(2.0, 8.0)), reach=_NETWORK, ways=DIRECT_OR_AROUND | NO_WAY, spoiled=2,
             first=FINE | {State.DOWN, State.SUSPECT}, third=FINE | SUSPECT, wait_s=ANY_S, must_not_learn=BLOCKED),
    innocent("outage-direct", "nothing is reached direct, and the relay by accident is",
             outage_of_direct, reach=_NETWORK, ways=frozenset({Way.RELAY}), wait_s=SYN_S, first=FINE | SUSPECT,
             third=FINE | SUSPECT, must_not_learn=BLOCKED, limit_s=20),
    innocent("rtt-rise", "a round trip takes 300 ms longer from one moment on",
             for_all(lambda: rules.RttRise(0.15, at_s=2.0)), reach=_NETWORK, ways=DIRECT_OR_AROUND,
             first=FINE | SUSPECT, third=FINE | SUSPECT, wait_s=2.5),
    innocent("lossy", "every twentieth packet is lost, each way", lossy, reach=_NETWORK, ways=DIRECT_OR_AROUND,
             first=FINE | SUSPECT, third=FINE | SUSPECT, wait_s=2.0),
    innocent("terminator", "a middlebox ends TCP itself", terminator, reach=_NETWORK),
    innocent("office", "everything is read with a root that this computer trusts", office, network=_INSPECTED,
             reach=_NETWORK, office=True, named_by=2),
    innocent("fake-dns", "another proxy's DNS gives each name an address of its own", fake_addresses, reach=_NETWORK),
    innocent("dns64", "a network without IPv4, and a translator", six_from_four, reach=_NETWORK),
    innocent("doh-blocked", "secure DNS is lost", for_all(rules.AddressDrop(places.DOH, places.DOT)), reach=_NETWORK),
    innocent("resolver-down", "the provider's resolver is silent", provider_silent, reach=_NETWORK,
             ways=frozenset({Way.RUNG, Way.RELAY}), first=FINE | SUSPECT, third=FINE | SUSPECT,
             must_not_learn=BLOCKED, wait_s=RESOLVER_S + QUERY_S, limit_s=20),
    innocent("resolver-fails", "the provider's resolver says that it cannot answer", provider_fails, reach=_NETWORK,
             ways=DIRECT_OR_AROUND, first=FINE | SUSPECT, third=FINE | SUSPECT,
             must_not_learn=BLOCKED, wait_s=RESOLVER_S + QUERY_S, limit_s=20),
    innocent("relay-down", "the only relay refuses", relay_refused, reach=_NETWORK),
    innocent("relay-lies", "the relay's country serves a block page", nothing, reach=_NETWORK, relays="lying",
             secure=False),
    innocent("slow-relay-lies", "a slow site, and a relay that serves a block page", nothing, reach=_NETWORK,
             relays="lying", secure=False, conduct=Conduct(delay_s=5), wait_s=ANY_S, limit_s=30, spoiled=3,
             ways=DIRECT_OR_AROUND, first=FINE | SUSPECT, third=FINE | SUSPECT, settle_s=7),
)  # fmt: skip
