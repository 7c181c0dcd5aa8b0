"""The road to a relay is blocked: a censor acts against the relay itself, and pages should still come through it.

One row per means. Each seed has a Byway that knows nothing yet; a visitor opens some pages through its relay, one after
the other, under a rule that forbids everything else. Meanwhile no packet to the sites may leave beside the relay, and
no plain query may contain the relay's own name. `python -m tests.lab.run 'road-*' --seeds 20` runs the table.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from proxy.net import tasks
from tests.lab import leaks, places, rules, rules_2025
from tests.lab.country import Country, Running, Site
from tests.lab.deeds import Reading
from tests.lab.events import Kind
from tests.lab.name_servers import Addresses
from tests.lab.parts import in_parts
from tests.lab.relays import Relay
from tests.lab.rules import Rule
from tests.lab.trials import limited
from tests.lab.views import View

PAGES = 5
NAME = "vps.test"
RELAY = "vps"
MAIN, SECOND = "192.0.2.140", "192.0.2.141"
_PORT = 443
_IMPOSTOR = places.PORTAL  # a server of TLS that is not the relay
_PATIENCE_S = 35.0
_SAID_WITHIN_S = 20.0  # `detect.silent_s` is 5 s
_RULES = "DOMAIN-SUFFIX,by-relay.test,RELAY\nMATCH,AUTO\n"
_COMPANION_S = 0.5
_DIRECT_PAGE = "healthy-neighbour.test"

Censor = Callable[[Country], Sequence[Rule]]


@dataclass(frozen=True, slots=True)
class Row:
    """One means of a censor against a relay."""

    name: str
    what: str
    censor: Censor
    scheme: str = "https"
    host: str = NAME
    alternative: bool = False  # whether the URL has one
    dns: str = ""  # lines of [dns]
    detect: str = ""  # lines of [detect]
    limits: str = ""  # lines of [limits]
    checks: bool = True  # whether Byway may find out beside a visit whether transfers pass
    knows_address: bool = False  # it was used before, when nothing was blocked
    knows_block: bool = False  # Byway was restarted since it found the block
    path: str = "/"
    http2: bool = False  # whether an https relay speaks it
    hellos: int = 0  # to the relay, with its name, in the whole trial; 0: any number
    at_once: bool = False  # whether all pages are opened at once, as the hosts of one page are
    pages: int = PAGES
    spoiled: int = 0  # so many first pages may stop half-way
    comes: bool = True  # whether the others come
    says: str = ""  # what `byway status` says then; empty: nothing of the relay
    asks_in_clear: bool = False  # the control: the relay's name is in plain queries

    @property
    def usual_s(self) -> float:
        stopping = self.spoiled if self.comes else self.pages
        return self.pages * (1 + self.knows_block) + 7.0 * stopping

    @property
    def limit_s(self) -> float:
        return _PATIENCE_S * (self.pages + 1) + _SAID_WITHIN_S + 15


@dataclass(frozen=True, slots=True)
class Trial:
    row: str
    seed: int
    genuine: tuple[bool, ...]  # of each page
    waits_s: tuple[float, ...]
    leaked: tuple[str, ...]
    asked: tuple[str, ...]  # plain queries for the relay's name
    status: str  # what is said of the relay
    error: str = ""
    hellos: int = 0  # to the relay, with its name
    by_main: bool = True  # whether the relay was used at the address of its URL: a late name leaves the alternative

    def says(self, row: Row) -> str:
        """Returns the text that `byway status` should show after the trial, for a row of the table. Nothing is known of
        a way that was never taken."""
        return "" if row.censor is frozen and not self.by_main else row.says


def nothing(country: Country) -> Sequence[Rule]:
    return ()


def hello_reset(country: Country) -> Sequence[Rule]:
    return (rules.SniReset(NAME, view=View.TCP),)


def hello_dropped(country: Country) -> Sequence[Rule]:
    return (rules.SniDrop(NAME, view=View.TCP),)


def name_forged(country: Country) -> Sequence[Rule]:
    """Forges the name, on the way of its query and by the provider's own resolver."""
    country.provider.lies[NAME] = Addresses((places.POISON,))
    return (rules.DnsRace(NAME, forged=(places.BOGON,)),)


def address_dropped(country: Country) -> Sequence[Rule]:
    return (rules.AddressDrop(f"{MAIN}/32"),)


def socks_dropped(country: Country) -> Sequence[Rule]:
    return (rules.SocksDrop(f"{MAIN}/32"),)


def only_tls_and_http(how: Literal["drop", "reset"] = "drop", packets: int = 1) -> Censor:
    return lambda country: (rules_2025.OnlyTlsAndHttp(f"{MAIN}/32", how=how, packets=packets),)


def frozen(country: Country) -> Sequence[Rule]:
    return (rules.Freeze(addresses=(f"{MAIN}/32",), after_bytes=16 * 1024),)


def hellos_counted(country: Country) -> Sequence[Rule]:
    """Counts hellos as networks do, except that the punishment is over after 12 s and not after 120."""
    return (rules.HelloCount(NAME, reading=Reading.CHAIN, frozen_s=12.0),)


def name_misleads(country: Country) -> Sequence[Rule]:
    """Leads the name to a server that answers with a certificate of its own."""
    country.provider.lies[NAME] = Addresses((_IMPOSTOR,))
    return ()


def both_refuse(country: Country) -> Sequence[Rule]:
    return (rules.SynReset(f"{MAIN}/32", f"{SECOND}/32"),)


def encrypted_dns_dropped(country: Country) -> Sequence[Rule]:
    return (rules.AddressDrop(places.DOH, places.DOT),)


_SNI = "Relay vps is blocked by SNI on this network"
_SILENT = f"Relay vps does not answer at {MAIN}:{_PORT} on this network: that address is blocked, or down. {SECOND}:443"
_UNANSWERED = "it is reached, and its SOCKS handshake is not answered: the SOCKS protocol may be filtered"
_CUT = "it is reached, and its SOCKS handshake is cut off: the SOCKS protocol may be filtered"
_STALL = "Transfers through relay vps stall after "

ROWS: tuple[Row, ...] = (
    Row("road-free", "nothing is done", nothing),
    Row("road-sni-reset", "a hello with the relay's name is reset", hello_reset,
        says=f"{_SNI} (connection reset after the TLS ClientHello)."),
    Row("road-sni-drop", "a hello with the relay's name is dropped", hello_dropped,
        says=f"{_SNI} (its TLS ClientHello is dropped)."),
    Row("road-dns-forged", "the relay's name gets forged answers", name_forged),
    Row("road-dns-forged-socks", "the same of a SOCKS relay", name_forged, scheme="socks5h"),
    Row("road-dns-forged-never", "the same where the system is asked; and it has an address", name_misleads,
        dns='secure = "never"', alternative=True, asks_in_clear=True,
        says=f"The name of relay vps gets forged answers on this network: {_IMPOSTOR}:{_PORT} is another server."),
    Row("road-address-drop", "nothing passes to its address, and it has another", address_dropped, alternative=True,
        says=_SILENT),
    Row("road-address-drop-socks", "the same of a SOCKS relay", address_dropped, scheme="socks5h", alternative=True,
        says=_SILENT),
    Row("road-socks-filtered", "what begins as SOCKS is dropped", socks_dropped, scheme="socks5h", comes=False, pages=3,
        detect="give_up_s = 5\n", limits="handshake_timeout_s = 3\n",
        says=_UNANSWERED),
    Row("road-https-beside-socks", "the same of an https relay", socks_dropped),
    *(
        Row(f"road-protocol-{name}", f"only TLS and HTTP pass: {what}", censor, scheme=scheme, comes=False, pages=3,
            detect="give_up_s = 5\n", limits="handshake_timeout_s = 3\n", says=says)
        for name, what, censor, scheme, says in (
            ("drop", "what begins otherwise is dropped", only_tls_and_http(), "socks5h", _UNANSWERED),
            ("drop-socks4", "the same of a SOCKS4 relay", only_tls_and_http(), "socks4a", _UNANSWERED),
            ("reset", "what begins otherwise is reset", only_tls_and_http("reset"), "socks5h", _CUT),
            ("reset-socks4", "the same of a SOCKS4 relay", only_tls_and_http("reset"), "socks4a", _CUT),
            ("second", "after the second packet, so that the greeting is answered", only_tls_and_http(packets=2),
             "socks5h", _UNANSWERED),
        )
    ),
    Row("road-https-beside-protocol", "only TLS and HTTP pass; an https relay", only_tls_and_http()),
    Row("road-http-beside-protocol", "the same; an HTTP relay", only_tls_and_http(), scheme="http"),
    Row("road-protocol-second-https", "the same after the second packet; an https relay", only_tls_and_http(packets=2)),
    Row("road-frozen", "its TLS stops after 16 KB, and it has another address", frozen, alternative=True, path="/big",
        says=_STALL),
    Row("road-frozen-address", "the same; its URL has no name, so that the first page goes there", frozen, host=MAIN,
        alternative=True, path="/big", says=_STALL),
    Row("road-frozen-restarted", "the same, and Byway was restarted since", frozen, host=MAIN, alternative=True,
        path="/big", knows_block=True, says=_STALL),
    Row("road-frozen-unchecked", "the same, and Byway may not check it: the first page shows it", frozen, host=MAIN,
        alternative=True, path="/big", checks=False, spoiled=1, says=_STALL),
    Row("road-frozen-alone", "its TLS stops after 16 KB, and it has no other address", frozen, path="/big",
        comes=False, pages=3, says=_STALL),
    Row("road-frozen-socks", "the same of a SOCKS relay", frozen, scheme="socks5h", path="/big", comes=False, pages=3,
        says=_STALL),
    Row("road-doh-drop", "encrypted DNS is dropped; the relay was used before", encrypted_dns_dropped,
        knows_address=True),
    Row("road-doh-drop-new", "encrypted DNS is dropped; the relay was never used", encrypted_dns_dropped,
        comes=False, pages=1, detect="give_up_s = 10\n",
        says="its name cannot be resolved, because no encrypted DNS server answers"),
    Row("road-doh-drop-alt", "the same, and the relay has an address as well", encrypted_dns_dropped,
        alternative=True),
    Row("road-hello-count-3", "more than three hellos at once are punished; three hosts at once", hellos_counted,
        at_once=True, pages=3),
    Row("road-hello-count-12", "the same, and twelve hosts: they come when the punishment is over", hellos_counted,
        at_once=True, pages=12, limits="handshake_timeout_s = 5\n"),  # shorter than it, as 20 s are than 120
    Row("road-hello-count-30", "the same, and thirty hosts by one hello, through a relay that speaks HTTP/2",
        hellos_counted, at_once=True, pages=30, http2=True, hellos=1),
    Row("road-frozen-http2", "its TLS stops after 16 KB, it speaks HTTP/2, and it has another address", frozen,
        alternative=True, path="/big", http2=True, says=_STALL),
    Row("road-twelve-hosts", "nobody counts", nothing, at_once=True, pages=12),
    Row("road-down", "the relay is down at both of its addresses", both_refuse, alternative=True, comes=False, pages=1,
        detect="give_up_s = 10\n", says="Relay vps fails: connection refused."),
    Row("road-never", "the control: the system is asked for its name", nothing, dns='secure = "never"',
        asks_in_clear=True),
)  # fmt: skip


# -- a trial -----------------------------------------------------------------------------------------------------------


async def run(rows: Sequence[Row], seeds: int, *, countries: int, told: Callable[[str], None]) -> list[Trial]:
    """Runs all rows, in so many countries at once: a Byway for each seed."""
    return await in_parts(rows, seeds, _place_of, _lost, at_once=countries, told=told)


def _lost(row: Row, seed: int, why: str) -> Trial:
    return Trial(row.name, seed, (False,) * row.pages, (), leaked=(), asked=(), status="", error=why)


@contextlib.asynccontextmanager
async def _place_of(row: Row) -> AsyncIterator[Callable[[int], Awaitable[Trial]]]:
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        async with Country(Path(folder)) as country, at_two_addresses(country, row.scheme, http2=row.http2):
            neighbour = country.add_site(_DIRECT_PAGE)
            yield lambda seed: _trial(row, seed, country, neighbour)


@contextlib.asynccontextmanager
async def at_two_addresses(country: Country, scheme: str = "https", *, http2: bool = False) -> AsyncIterator[None]:
    """Starts one relay at two addresses. Its name leads to the first."""
    country.zone.names[NAME] = Addresses((MAIN,))
    async with contextlib.AsyncExitStack() as stack:
        for address in (MAIN, SECOND):
            secure = country.public.server(NAME, itself=http2) if scheme == "https" else None
            make, truth = country.relay_space.socket, country.zone.truth
            relay = Relay(make, truth, (address, _PORT), source=address, secure=secure, http2=http2)
            await stack.enter_async_context(relay)
        yield


def relay_url(country: Country, host: str = NAME, scheme: str = "https", *, alternative: bool = True) -> str:
    """Returns the URL of the relay in a configuration, with the second address as its alternative."""
    options = [f"ca={country.trust_file()}", f"sni={NAME}"] if scheme == "https" else []
    options += [f"alt={SECOND}:{_PORT}"] if alternative else []
    return f"{scheme}://{host}:{_PORT}" + (f"?{'&'.join(options)}" if options else "")


async def _trial(row: Row, seed: int, country: Country, neighbour: Site) -> Trial:
    folder = country.folder / f"{row.name}-{seed}"
    url = relay_url(country, row.host, row.scheme, alternative=row.alternative)
    auto = "" if row.checks else "retest = false\n"
    config = country.config(
        relays=((RELAY, url),), dns=row.dns, detect=row.detect, auto=auto, extra=f"[limits]\n{row.limits}"
    )
    sites = [country.add_site(f"{row.name}-{seed}-{number}.by-relay.test") for number in range(row.pages)]
    events = country.router.events
    if row.knows_address:
        async with country.byway(folder, config=config, rules=_RULES) as byway:
            before = await _open(country, byway, country.add_site(f"before-{seed}.by-relay.test"), "/")
            assert before[0], before
    for site in sites:
        events.watch(site.name)
    since = events.clock()
    country.rules.set(row.censor(country))
    if row.knows_block:
        async with country.byway(folder, config=config, rules=_RULES) as byway, beside(country, byway, neighbour):
            assert (await _open(country, byway, sites[0], row.path))[0]
            assert row.says in await _said(byway, row.says)
    async with country.byway(folder, config=config, rules=_RULES) as byway, beside(country, byway, neighbour):
        if row.at_once:
            seen = await asyncio.gather(*(_open(country, byway, site, row.path) for site in sites))
        else:
            seen = [await _open(country, byway, site, row.path) for site in sites]
        trial = Trial(
            row.name,
            seed,
            tuple(genuine for genuine, _, _ in seen),
            tuple(elapsed_s for _, elapsed_s, _ in seen),
            leaked=(),
            asked=(),
            status="",
            error=next((error for genuine, _, error in seen if not genuine), ""),
            hellos=len(
                {
                    (one.target, one.source_port)
                    for one in events.names_on("client", sender="client", since=since, below=NAME)
                    if one.kind is Kind.SNI
                }
            ),
            by_main=any(MAIN in country.origins.peers(site.name) for site in sites),
        )
        status = await _said(byway, trial.says(row))
    leaked = [leak for site in sites for leak in leaks.beside_relays(events, site, since=since)]
    asked = leaks.asked_in_clear(events, Site(NAME, MAIN), since=since)
    country.lift()
    return replace(trial, leaked=tuple(leaked), asked=tuple(asked), status=status)


async def _open(country: Country, byway: Running, site: Site, path: str) -> tuple[bool, float, str]:
    visit = await limited(country.visitor(byway), site.url(path), _PATIENCE_S)
    return visit.genuine, visit.elapsed_s, visit.error or str(visit.status)


@contextlib.asynccontextmanager
async def beside(country: Country, byway: Running, neighbour: Site) -> AsyncIterator[None]:
    """Opens a large healthy page again and again meanwhile, direct: it shows that the uplink is well."""

    async def visit() -> None:
        visitor = country.visitor(byway)
        while True:
            await limited(visitor, neighbour.url("/big"), 10)
            await asyncio.sleep(_COMPANION_S)

    visiting = tasks.spawn(visit(), name="a neighbour")
    try:
        yield
    finally:
        visiting.cancel()
        await asyncio.wait({visiting})


async def _said(byway: Running, expected: str) -> str:
    """Returns the text of `byway status` about the relay, as soon as it is as expected: an address counts as dropped
    some seconds after the page came by another way. After a time, returns the text as it is."""
    ends_at = asyncio.get_running_loop().time() + _SAID_WITHIN_S
    while True:
        problems = (await byway.ask("/v1/status"))["problems"]
        said = " ".join(problem["text"] for problem in problems if f"elay {RELAY}" in problem["text"])
        if not expected or expected in said or asyncio.get_running_loop().time() >= ends_at:
            return said
        await asyncio.sleep(0.2)


# -- what it came to ---------------------------------------------------------------------------------------------------


def broken(row: Row, trials: Sequence[Trial]) -> list[str]:
    """Returns the broken demands, each as a sentence."""
    found = []
    pages = [genuine for trial in trials for genuine in trial.genuine[row.spoiled :]]
    came = sum(pages)
    if came != (len(pages) if row.comes else 0):
        error = next((trial.error for trial in trials if trial.error), "")
        found.append(f"{came} of {len(pages)} pages came: {error}")
    if leaked := [leak for trial in trials for leak in trial.leaked]:
        found.append(f"{len(leaked)} leaks: {leaked[0]}")
    asked = [query for trial in trials for query in trial.asked]
    if bool(asked) is not row.asks_in_clear:
        found.append(f"{len(asked)} plain queries for the relay's name: {asked[:1]}")
    if row.hellos and (counts := {trial.hellos for trial in trials}) != {row.hellos}:
        found.append(f"{sorted(counts)} hellos in place of {row.hellos}")
    other = [
        trial for trial in trials if (says not in trial.status if (says := trial.says(row)) else bool(trial.status))
    ]
    if other:
        found.append(f"status says in {len(other)} of {len(trials)}: {other[0].status or 'nothing'}")
    return found


def table(rows: Sequence[Row], trials: Sequence[Trial]) -> str:
    """Returns the table for a person: one line for each row, the broken demands below it."""
    head = f"{'road':<26}{'pages':>9}{'spoiled':>9}{'first s':>9}{'later s':>9}{'leaks':>7}{'queries':>9}"
    lines = [head, "-" * len(head)]
    for row in rows:
        those = [trial for trial in trials if trial.row == row.name]
        pages = [genuine for trial in those for genuine in trial.genuine[row.spoiled :]]
        first = max((trial.waits_s[0] for trial in those), default=0.0)
        later = max((wait for trial in those for wait in trial.waits_s[1 + row.spoiled :]), default=0.0)
        leaked, asked = sum(len(trial.leaked) for trial in those), sum(len(trial.asked) for trial in those)
        counted = f"{sum(pages)}/{len(pages)}"
        spoiled = sum(not genuine for trial in those for genuine in trial.genuine[: row.spoiled])
        lines.append(f"{row.name:<26}{counted:>9}{spoiled:>9}{first:>9.2f}{later:>9.2f}{leaked:>7}{asked:>9}")
        lines += [f"    {sentence}" for sentence in broken(row, those)]
    return "\n".join(lines)
