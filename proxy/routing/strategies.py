"""Local strategies: routes around a block that need no relay, and the symptoms after which each can help.

A local strategy is a direct route with wrappers: `doh` takes the address from encrypted DNS, `tlsrec` and `split`
fragment the ClientHello, `hostcase` changes the case of the Host header (`model.strategy` has all words). Each works
against one kind of block, so it is tried only after a symptom of that kind: a strategy that cannot help costs time.
docs/detection.md, "Local strategies", has the measurements of which strategy passes which censor.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.config.schema import DEFAULT_LADDER
from proxy.model import DIRECT, Attempt, Cause, Protocol, Route, Stage, Symptom
from proxy.model.strategy import strategies, strategy
from proxy.wire.fragmentation import is_cut, is_idle

RELAY_CAUSES = frozenset({Cause.IP, Cause.FROZEN, Cause.THROTTLED, Cause.BLOCK_PAGE, Cause.INTERCEPTION, Cause.ECH})
"""Causes for which relays go first, and of local strategies only one that has been shown to help: a comparison or a
search may find one against FROZEN and THROTTLED."""

IPV4, IPV6 = Route(wrap=("ipv4",)), Route(wrap=("ipv6",))
"""Direct with addresses of one family only, for a block of the other family."""

HOSTCASE = Route(wrap=("hostcase",))
"""Direct with the Host header in another case, for a block by name of plain HTTP."""

SEARCHED = ("tlsrec|split-at-name", "tlsrec-by-4", "split|pace-200", "split-by-8", "split-at-name")
"""Entries that only a search tries, after those of the default ladder: each costs more than these, or is seldom of use.
In turn they pass a filter that reassembles two segments; one that reads only two records, the first 256 bytes or any
part of the name; one that forgets within 0.2 s; one that reassembles three segments; and one that drops a short first
segment and cut records. tests/lab/censors.py has them all."""

_NAME_FILTER_SYMPTOMS = frozenset({Symptom.RESET, Symptom.DROPPED, Symptom.EOF, Symptom.GARBAGE, Symptom.ALERT})
"""Symptoms of a censor that reads the name."""

_NO_EVIDENCE = frozenset({Symptom.SKIPPED, Symptom.LOCAL, Symptom.ABANDONED, Symptom.FORBIDDEN})
"""Symptoms that are no evidence about the path. FORBIDDEN comes from Byway's own guard, and no other resolver is tried
to get past it; a forged private address is FORGED."""


def strategy_routes(ladder: Sequence[str], *, doh: bool = True) -> tuple[Route, ...]:
    """Returns the routes of `[auto] ladder` in its order, then encrypted DNS combined with the first strategy for TLS
    and with the first for HTTP. `doh` is False if names are always or never resolved by encrypted DNS, so that it is no
    strategy."""
    words = [word for word in ladder if doh or word != "doh"]
    single = [Route(wrap=tuple(word.split("|"))) for word in words]
    if "doh" not in words:
        return tuple(single)
    for_tls = next((route for route in single if is_cut(route.wrap)), None)
    for_http = next((route for route in single if is_idle(route.wrap, Protocol.TLS)), None)
    return (*single, *(Route(wrap=("doh", *route.wrap)) for route in (for_tls, for_http) if route is not None))


def flight_strategies(ladder: Sequence[str], protocol: Protocol) -> tuple[Route, ...]:
    """Returns the routes of `[auto] ladder`, in its order, that may hide the name in a flight of this protocol."""
    routes = strategy_routes(ladder, doh=False)
    return tuple(route for route in routes if rewrites_flight(route) and not is_idle(route.wrap, protocol))


def searched_strategies(ladder: Sequence[str], protocol: Protocol) -> tuple[Route, ...]:
    """Returns the routes that a search for a local strategy tries, the simplest first: those of `[auto] ladder`, and
    the ones of `SEARCHED` unless the user has chosen a ladder."""
    return flight_strategies((*ladder, *SEARCHED) if tuple(ladder) == DEFAULT_LADDER else ladder, protocol)


def uses_doh(route: Route) -> bool:
    """Whether the route's addresses come from encrypted DNS."""
    return "doh" in route.wrap


def rewrites_flight(route: Route) -> bool:
    """Whether the route changes the flight. On plain HTTP it changes all requests up to the first one with a body, so
    the connection must not carry a request after that one."""
    return bool(strategies(route.wrap))


def fits(route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool) -> bool:
    """Whether `route` may help after the attempts of the race so far.

    An attempt that is still under way has the symptom that it would have if it ended now. `ech`: the ClientHello is
    encrypted and its outer part has another name, so there is no name to cut. `last_resort`: there is no relay and no
    other strategy for the symptom, so every route that might help is tried. Until direct has been tried, the order of
    the plan decides.
    """
    if not route.is_direct or not route.wrap:
        return True
    if rewrites_flight(route):
        return _flight_strategy_fits(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)
    if not uses_doh(route):
        return True  # one address family: planned only where the other one is blocked
    direct = _last_attempt(DIRECT, attempts)
    if direct is None or direct.stage is Stage.RESOLVE or "dns" in direct.evidence:
        return True
    return last_resort and direct.symptom not in _NO_EVIDENCE


def rejects_fragments(attempt: Attempt) -> bool:
    """Whether an attempt ended as if the server rejected a fragmented ClientHello: closed, or with an alert (HAProxy
    that routes by SNI, mbedTLS). It is evidence only if another route then delivers."""
    return (
        attempt.route.is_direct
        and _cuts_records(attempt.route)
        and attempt.stage is Stage.FIRST_BYTE
        and attempt.symptom in (Symptom.ALERT, Symptom.EOF)
    )


def _flight_strategy_fits(
    route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool
) -> bool:
    """As `fits`, for a route that changes the flight. Its `base` is the same route without that change."""
    base = _last_attempt(Route(wrap=tuple(word for word in route.wrap if strategy(word) is None)), attempts)
    if base is None:
        if uses_doh(route) and attempts:
            return False  # encrypted DNS alone goes first
    elif base.stage is not Stage.FIRST_BYTE or not _shows_name_filter(base, protocol, last_resort=last_resort):
        return False
    if protocol is Protocol.NONE:
        return base is None
    if protocol is Protocol.TLS:
        # A server that rejected one fragmented ClientHello rejects the next one, too.
        is_rejected = _cuts_records(route) and any(map(rejects_fragments, attempts))
        return not ech and not is_idle(route.wrap, protocol) and not is_rejected
    return protocol is Protocol.HTTP and not is_idle(route.wrap, protocol)


def _cuts_records(route: Route) -> bool:
    return any(each.cuts_records for each in strategies(route.wrap))


def _shows_name_filter(base: Attempt, protocol: Protocol, *, last_resort: bool) -> bool:
    """Whether the symptom of an attempt is that of a censor that reads the name. With `last_resort`, symptoms that such
    a censor may cause count too."""
    if base.symptom in _NAME_FILTER_SYMPTOMS:
        return True
    if not last_resort:
        return False
    pages = (Symptom.BLOCK_PAGE, Symptom.REDIRECTED) if protocol is Protocol.HTTP else ()
    return base.symptom in (Symptom.SILENT, Symptom.TIMEOUT, *pages)


def _last_attempt(route: Route, attempts: Sequence[Attempt]) -> Attempt | None:
    return next((attempt for attempt in reversed(attempts) if attempt.route == route), None)
