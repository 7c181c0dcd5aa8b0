"""The scenarios of 2025 and later: a tuple for each censor, with its innocent twins beside it.

`ROWS` joins the tuples; the table of `scenarios` contains it. A row with parameters comes from a factory that takes
their factor (`scenarios.scalable`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from proxy.model import State
from tests.lab import rules, rules_2025
from tests.lab.country import Country, Site
from tests.lab.deeds import Reading
from tests.lab.matches import EVERYWHERE
from tests.lab.name_servers import Addresses
from tests.lab.origins import Conduct
from tests.lab.rules import Rule
from tests.lab.scenarios import (
    ANY_S,
    AROUND,
    BLOCKED,
    DIRECT_OR_AROUND,
    FINE,
    HELLO_APART_S,
    NEIGHBOUR,
    NO_WAY,
    PROVEN_S,
    REAL,
    ROUND_TRIP_S,
    RUNG,
    SILENT_S,
    SUSPECT,
    TROUBLED,
    WEAK,
    Arrange,
    Reach,
    Scenario,
    blocking,
    both,
    by_address,
    by_name,
    for_all,
    innocent,
    nothing,
    scalable,
)
from tests.lab.views import View

# -- two censors -------------------------------------------------------------------------------------------------------

_CUTS_S = 1.5
"""Two ways to cut a hello are tried in turn, a second apart (docs/detection.md, "Own ClientHellos")."""


def _two_censors(rule: Callable[..., Rule]) -> Arrange:
    """One puts the stream together, the other the records of a packet; each alone is passed by a cut hello."""
    return both(by_name(rule, view=View.TCP), by_name(rule, view=View.PACKET_RECORDS))


_RESETS, _DROPS = _two_censors(rules.SniReset), _two_censors(rules.SniDrop)

TWO_CENSORS: tuple[Scenario, ...] = (
    blocking("two-censors", "two reset: one puts the stream together, the other the records of a packet",
             _RESETS, "sni_reset", ways=AROUND, wait_s=_CUTS_S, **WEAK),
    blocking("two-censors-drop", "the same two drop in silence",
             _DROPS, "sni_drop", ways=AROUND, wait_s=_CUTS_S, settle_s=8, visits=10, **WEAK),
    blocking("two-censors-strict", "the same two reset, and the site rejects cut records",
             _RESETS, "sni_reset", wait_s=_CUTS_S, conduct=Conduct(cut_hello_fails=True), **WEAK),
    blocking("two-censors-strict-drop", "they drop, and the site rejects cut records",
             _DROPS, "sni_drop", wait_s=_CUTS_S, settle_s=8, conduct=Conduct(cut_hello_fails=True), **WEAK),
    blocking("no-relay-two-censors", "they reset, and there is no relay",
             _RESETS, "sni_reset", ways=RUNG, wait_s=_CUTS_S, relays="none", reach=Reach.NETWORK, **WEAK),
    blocking("no-relay-two-censors-drop", "they drop, and there is no relay",
             _DROPS, "sni_drop", ways=RUNG, wait_s=_CUTS_S, settle_s=8, relays="none", reach=Reach.NETWORK, **WEAK),
)  # fmt: skip

# -- freezes -----------------------------------------------------------------------------------------------------------


def beside_neighbour(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """The sites are at the address of one that another person visits all the while, as at a CDN."""
    if NEIGHBOUR not in country.zone.names:
        country.add_site(NEIGHBOUR)
    country.zone.names.update(dict.fromkeys((site.name for site in sites), country.zone.names[NEIGHBOUR]))
    return ()


_FROZEN_S = 6.0
"""A page is ended 4 to 6 s after it froze, and then comes at the second try."""

_WITNESSED: Mapping[str, float] = MappingProxyType({"control_interval_s": 60.0})
"""As long as usual, since a user waits: a witness that is kept for a second shows no more than every other second of a
stall."""


def _freeze_25(factor: float) -> Scenario:
    """The page is larger than the censor lets pass, and no larger than many a page of today. Its twins are `pause` and
    `slow-body`."""
    packets, page = round(25 * factor), round(60_000 * max(1.0, factor))
    return blocking("freeze-25", f"after {packets} packets, both ways together, not one more passes",
                    by_address(rules.FreezeByCount, packets=packets), "frozen", path=f"/bytes/{page}", visits=10,
                    reloads=True, wait_s=_FROZEN_S, limit_s=12, settle_s=8, conduct=REAL, detect=_WITNESSED,
                    **WEAK)  # fmt: skip


def _freeze_name(factor: float) -> Scenario:
    """The relay carries the page until a strategy has; the first visit over that one asks encrypted DNS. Its twin is in
    test_frozen_by_name: a freeze of all names at the address, where none is tried."""
    after_bytes, page = round(16 * 1024 * factor), round(60_000 * max(1.0, factor))
    return blocking("freeze-name", f"after {after_bytes >> 10} KiB no more passes of this name, and of others all",
                    both(beside_neighbour, by_name(rules_2025.FreezeByName, after_bytes=after_bytes)), "frozen",
                    path=f"/bytes/{page}", visits=10, reloads=True, ways=AROUND, last=RUNG, wait_s=ANY_S,
                    limit_s=12, settle_s=8, conduct=REAL, detect=_WITNESSED, **WEAK)  # fmt: skip


FREEZES: tuple[Scenario, ...] = (
    scalable(_freeze_25),
    scalable(_freeze_name),
    # A re-test finds a strategy beside the first visits, and then a page is asked for over it.
    blocking("rung-freezes", "one resets by name, and a second freezes whatever gets past it after 25 packets",
             both(by_name(rules.SniReset, view=View.TCP), by_address(rules.FreezeByCount)), "sni_reset",
             path="/bytes/60000", visits=5, reloads=True, wait_s=ANY_S, limit_s=12, settle_s=8, conduct=REAL,
             detect=MappingProxyType({"residual_s": 1.0}), **WEAK),
    blocking("rung-rests", "one resets by name, there is no relay, and the site rests 6 s in the middle of a page",
             by_name(rules.SniReset, view=View.TCP), "sni_reset", ways=RUNG, path="/big", limit_s=30, wait_s=ANY_S,
             settle_s=2, conduct=Conduct(pause_after=20_000, pause_s=6), relays="none", reach=Reach.NETWORK, **WEAK),
)  # fmt: skip

# -- sites that are slowed down, and not to a crawl --------------------------------------------------------------------

_COMPARED: Mapping[str, float] = MappingProxyType(
    {"throttled_s": 3.0, "compared_apart_s": 1.0, "compared_per_hour": 100}
)
"""Three seconds of a slow page in place of ten, and two comparisons no minute apart, of any number of sites."""


def _slow_page(rate: float) -> dict[str, object]:
    """A page that takes seven seconds. Another person opens pages of a fast site meanwhile, with pauses that are far
    shorter than the three seconds in which one of them has to be seen."""
    return {
        "path": f"/bytes/{round(7 * rate)}",
        "beside": f"/bytes/{round(8 * rate)}",
        "limit_s": 25,
        "wait_s": ANY_S,
        "settle_s": 8,
        "detect": _COMPARED,
    }


def _slowed(name: str, how: str, what: str) -> Scenario:
    """YouTube in Russia (net4people/bbs#382; yt-dlp#10443): up to 200 KB/s."""

    def make(factor: float) -> Scenario:
        rate = 130_000 * factor
        return blocking(name, f"{rate / 1000:.0f} KB/s by name, {what}",
                        by_name(rules.Throttle, rate=rate, how=how, each=True), "throttled", spoiled=2, named_by=2,
                        conduct=Conduct(page_bytes=200_000), **_slow_page(rate), **WEAK)  # fmt: skip

    return scalable(make)


def _slow_server(name: str, what: str, **how: object) -> Scenario:
    def make(factor: float) -> Scenario:
        rate = 130_000 * factor
        conduct = Conduct(**{"bytes_per_s": rate, "page_bytes": 200_000, **how})  # type: ignore[arg-type]  # by name
        return innocent(name, f"{rate / 1000:.0f} KB/s for everybody, {what}", nothing, conduct=conduct,
                        **_slow_page(rate))  # fmt: skip

    return scalable(make)


def _slow_line(factor: float) -> Scenario:
    """Nothing is faster than it. It is full, so that a round trip takes up to 2 s."""
    rate = 260_000 * factor
    return innocent("slow-line", f"{rate / 1000:.0f} KB/s for all that comes",
                    for_all(lambda: rules.Throttle(addresses=EVERYWHERE, rate=rate, how="shape")), reach=Reach.NETWORK,
                    conduct=Conduct(page_bytes=200_000), ways=DIRECT_OR_AROUND, first=FINE | SUSPECT,
                    third=FINE | SUSPECT, must_not_learn=BLOCKED,
                    **{**_slow_page(rate), "path": f"/bytes/{round(rate)}", "beside": ""})  # fmt: skip


SLOWED: tuple[Scenario, ...] = (
    _slowed("throttle-name-130", "police", "the rest is dropped"),
    _slowed("throttle-name-130-shape", "shape", "the rest waits"),
    _slow_server("slow-server", "on each connection"),
    _slow_server("slow-server-small", "and its first page is small", page_bytes=2048),
    _slow_server("slow-files", "of large files alone", paced="/bytes/"),
    scalable(_slow_line),
)  # fmt: skip

# -- ClientHellos that are counted, or punished for their pieces -------------------------------------------------------


def _counted(number: int, reading: Reading, name: str) -> Scenario:
    """The reports of such a censor differ: by address, as in `scenarios`, or by prefix. Nobody knows it yet."""

    def make(factor: float) -> Scenario:
        return innocent(name, f"more than three hellos at once to a /24 are punished ({reading}); {number}",
                        by_name(rules.HelloCount, reading=reading, near_s=0.4 * factor, by_prefix=True),
                        at_once=number, visits=10)  # fmt: skip

    return scalable(make)


def _cut_punished(factor: float) -> Scenario:
    """A cut hello is dropped, and then for a minute, here a second, all that goes to the address. The trouble for which
    a hello may be cut is that of `reset-share`; its other twin is `strict`. test_cut_hellos has the rest."""
    punished = by_address(rules_2025.CutHelloPunished, seconds=factor)
    return innocent("cut-hello-punished", "three connections of ten are reset, and cut hellos are punished",
                    both(by_name(rules.SniReset, share=0.3), punished), ways=DIRECT_OR_AROUND, wait_s=2 * ROUND_TRIP_S,
                    first=FINE | SUSPECT, third=FINE | TROUBLED, a_day_later=frozenset(),
                    must_not_learn=frozenset())  # fmt: skip


HELLOS: tuple[Scenario, ...] = (
    _counted(1, Reading.WINDOW, "hello-count-prefix-1"),
    _counted(3, Reading.WINDOW, "hello-count-prefix-3"),
    _counted(1, Reading.CHAIN, "hello-count-prefix-chain-1"),
    _counted(3, Reading.CHAIN, "hello-count-prefix-chain-3"),
    innocent("busy-server-silent", "does not answer a fourth connection at once",
             nothing, conduct=Conduct(at_most=3, silent_beyond=True), at_once=3, visits=10),
    scalable(_cut_punished),
)  # fmt: skip

# -- answers that are dropped ------------------------------------------------------------------------------------------

KNOWN_SILENT_S = 1.3
"""The wait for the page where the address has answered another name: `hedge_silent_known_s`, and the relay."""
_FINE_OR_DOWN = FINE | {State.DOWN}


def one_broken(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """Each site has two servers, and the first has no backend for its name. The relay's country knows the other one."""
    for number, site in enumerate(sites):
        other = f"198.19.253.{number + 1}"
        country.zone.names[site.name] = Addresses((other,))
        country.zone.regions[site.name] = Addresses((site.address, other))
        country.origins.conducts[site.name] = Conduct(dead_at=site.address)
    return ()


def mtu_hole(country: Country, sites: Sequence[Site]) -> Sequence[Rule]:
    """The certificate of each site takes more than two segments, of which the last one is short. Its server answers no
    other name, but with an alert, which is short as well."""
    for site in sites:
        others = (f"alias-{number}.{site.name}" for number in range(80))
        certificate = country.public.server(site.name, *others, itself=True)
        country.origins.conducts[site.name] = Conduct(certificate=certificate)
        country.origins.only[site.address] = site.name
    return (rules_2025.MtuHole(*(site.address for site in sites)),)


def _slow_hello(name: str, seconds: float, arrange: Arrange = nothing) -> Scenario:
    """Hedged or not, it stays direct: a relay waits for the answer as long."""

    def make(factor: float) -> Scenario:
        delay_s = seconds * factor
        where = "" if arrange is nothing else ", at an address that answers other names"
        return innocent(name, f"answers a ClientHello after {delay_s:g} s{where}", arrange,
                        conduct=Conduct(hello_delay_s=delay_s), wait_s=delay_s, limit_s=30)  # fmt: skip

    return scalable(make)


def _restarting(factor: float) -> Scenario:
    """Whoever comes first gets no answer, and a relay that comes later does: nothing but a second hello tells. At twice
    the time the relay's hello comes too early as well, and the first visitor gets no page."""
    seconds = 2.5 * factor
    return innocent("backend-restart", f"accepts, and answers no ClientHello of its first {seconds:g} s", nothing,
                    conduct=Conduct(restarts_s=seconds), ways=DIRECT_OR_AROUND, limit_s=30, wait_s=ANY_S,
                    first=FINE | SUSPECT, third=FINE | SUSPECT, settle_s=PROVEN_S, visits=2, spoiled=1)  # fmt: skip


ANSWER_DROP: tuple[Scenario, ...] = (
    blocking("answer-drop", "hello and acknowledgements pass, and the answers of the site are lost",
             by_name(rules_2025.AnswerDrop), "sni_drop", first=BLOCKED, wait_s=SILENT_S, settle_s=PROVEN_S, visits=10),
    blocking("answer-drop-busy", "the same at an address that answers other names",
             both(beside_neighbour, by_name(rules_2025.AnswerDrop)), "sni_drop", first=BLOCKED,
             wait_s=KNOWN_SILENT_S, settle_s=PROVEN_S, visits=10),
    blocking("no-relay-answer-drop", "the same by a name in one record, and there is no relay",
             by_name(rules_2025.AnswerDrop, view=View.TCP), "sni_drop", ways=RUNG, wait_s=SILENT_S + HELLO_APART_S,
             settle_s=8, lapses=True, relays="none", reach=Reach.NETWORK, **WEAK),
    _slow_hello("slow-hello-2", 2.5),
    _slow_hello("slow-hello-2-busy", 2.5, beside_neighbour),
    _slow_hello("slow-hello-6", 6.0),
    _slow_hello("slow-hello-6-busy", 6.0, beside_neighbour),
    scalable(_restarting),
    innocent("one-broken", "one of its two servers has no backend for the name, and the relay is led to the other",
             one_broken, ways=DIRECT_OR_AROUND, limit_s=30, wait_s=ANY_S, first=FINE | SUSPECT, third=FINE | SUSPECT,
             must_not_learn=BLOCKED, settle_s=PROVEN_S, visits=2),
    innocent("mtu-hole", "segments of more than 1,400 bytes are lost on their way here, and its server knows one name",
             mtu_hole, ways=DIRECT_OR_AROUND, limit_s=30, wait_s=SILENT_S, first=FINE | SUSPECT, third=FINE | SUSPECT,
             must_not_learn=BLOCKED, settle_s=PROVEN_S, visits=2),
    *(
        innocent(name, "a router by SNI whose backend for this name is dead, for everybody", arrange,
                 conduct=Conduct(is_dead=True), ways=NO_WAY, wait_s=ANY_S, first=_FINE_OR_DOWN, third=_FINE_OR_DOWN,
                 spoiled=3, limit_s=25)
        for name, arrange in (("dead-backend", nothing), ("dead-backend-busy", beside_neighbour))
    ),
)  # fmt: skip

# -- connections that are cut some seconds after the handshake ---------------------------------------------------------

_CUT_AFTER_S = 4.0
_PACED = 10_000  # bytes a second: a page takes three times as long as connections last
_CUT_DETECT: Mapping[str, float] = MappingProxyType({"rescue_suspect_s": 30.0})
"""The relay has to carry a page for longer than direct did, within the time of a suspicion."""


def _long_page(after_s: float) -> dict[str, object]:
    return {
        "path": f"/bytes/{round(3 * after_s * _PACED)}",
        "limit_s": 3 * after_s + 12,
        "wait_s": ANY_S,
        "settle_s": 8,
        "detect": _CUT_DETECT,
    }


def _cut_by_reset(factor: float) -> Scenario:
    """The first visit and its second try are lost: one cut is no sign."""
    after_s = _CUT_AFTER_S * factor
    return blocking("cut-later", f"connections are reset {after_s:g} s after the handshake",
                    by_name(rules_2025.CutLater, after_s=after_s), "frozen", spoiled=1, reloads=True,
                    conduct=Conduct(bytes_per_s=_PACED), **_long_page(after_s), **WEAK)  # fmt: skip


def _cut_in_silence(factor: float) -> Scenario:
    after_s = _CUT_AFTER_S * factor
    return blocking("cut-later-silence", f"nothing passes {after_s:g} s after the handshake and later",
                    by_name(rules_2025.CutLater, after_s=after_s, how="silence"), "frozen", reloads=True,
                    conduct=Conduct(bytes_per_s=_PACED), **_long_page(after_s), **WEAK)  # fmt: skip


def _server_cuts(factor: float) -> Scenario:
    """Its own server resets every connection then, whoever asks: no relay does better, and no page comes whole."""
    after_s = _CUT_AFTER_S * factor
    return innocent("server-cuts", f"the server resets each connection after {after_s:g} s", nothing,
                    spoiled=3, must_not_learn=BLOCKED, third=TROUBLED | FINE,
                    conduct=Conduct(bytes_per_s=_PACED, lasts_s=after_s), **_long_page(after_s))  # fmt: skip


CUT_LATER: tuple[Scenario, ...] = tuple(map(scalable, (_cut_by_reset, _cut_in_silence, _server_cuts)))

ROWS: tuple[Scenario, ...] = (*TWO_CENSORS, *FREEZES, *SLOWED, *HELLOS, *ANSWER_DROP, *CUT_LATER)
