"""Local strategies: ways around a block that need no relay, and when each of them can help.

A strategy is a direct route with wrappers: `doh` takes the address from encrypted DNS, `tlsrec` and `split` fragment
the ClientHello inside its SNI, `hostcase` changes the case of the Host header. Each works against one way of blocking,
so each is tried only after the symptom of that one; a strategy that cannot help would cost time. Which of them pass
which censor was measured: docs/detection.md, "Local strategies".
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.model import DIRECT, Attempt, Cause, Protocol, Route, Stage, Symptom
from proxy.wire.fragmentation import STRATEGIES, idle_strategies

SHAPES = tuple(STRATEGIES)
"""Wrappers that change how the flight is sent, in the order in which they may be combined."""

NAME_CAUSES = frozenset({Cause.SNI_RESET, Cause.SNI_DROP, Cause.HTTP_HOST})
"""Causes that a strategy which hides the name may get around."""

RELAY_CAUSES = frozenset({Cause.IP, Cause.FROZEN, Cause.THROTTLED, Cause.BLOCK_PAGE, Cause.INTERCEPTION, Cause.ECH})
"""Causes that no local strategy gets around."""

IPV4, IPV6 = Route(wrap=("ipv4",)), Route(wrap=("ipv6",))
"""Direct by addresses of one family only, for a block of the other family."""

_OF_TLS = idle_strategies(Protocol.HTTP)
_OF_HTTP = idle_strategies(Protocol.TLS)
_CUTS = frozenset(word for word, strategy in STRATEGIES.items() if strategy.cuts)

_NAME_LIKE = frozenset({Symptom.RESET, Symptom.DROPPED, Symptom.EOF, Symptom.GARBAGE, Symptom.ALERT})
"""Symptoms of a censor that reads the name."""

_NO_EVIDENCE = frozenset({Symptom.SKIPPED, Symptom.LOCAL, Symptom.ABANDONED, Symptom.FORBIDDEN})
"""Symptoms that are no evidence about the path. A forged private address is FORGED; FORBIDDEN comes from Byway's own
guard, and no other resolver is asked to get past it."""


def rungs(ladder: Sequence[str], *, doh: bool = True) -> tuple[Route, ...]:
    """The routes of `[auto] ladder`, in its order; behind them the secure resolver with the first means for TLS and
    the first for HTTP. `doh` False: names are asked securely always or never, so that asking so is no other way."""
    words = [word for word in ladder if doh or word != "doh"]
    single = [Route(wrap=tuple(word.split("|"))) for word in words]
    if "doh" not in words:
        return tuple(single)
    cutting = next((route for route in single if _CUTS & set(route.wrap)), None)
    casing = next((route for route in single if _OF_HTTP & set(route.wrap)), None)
    return (*single, *(Route(wrap=("doh", *route.wrap)) for route in (cutting, casing) if route is not None))


def local_means(ladder: Sequence[str], protocol: Protocol) -> tuple[Route, ...]:
    """The rungs of `[auto] ladder` that may hide a name in a flight of this protocol, in its order."""
    foreign = _OF_HTTP if protocol is Protocol.TLS else _OF_TLS
    return tuple(r for r in rungs(ladder, doh=False) if is_shaped(r) and not foreign & set(r.wrap))


def is_secure(route: Route) -> bool:
    """Whether the route's addresses come from the secure resolver."""
    return "doh" in route.wrap


def is_shaped(route: Route) -> bool:
    """Whether the route shapes what names the host. On plain HTTP that ends with the first request that has a body, so
    the connection must not carry another request behind that one."""
    return any(word in SHAPES for word in route.wrap)


def fits(route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool) -> bool:
    """Whether `route` may help after what the race has seen.

    `attempts` are those so far; a hedged one has the symptom that it looks like. `ech`: the ClientHello is encrypted
    and its outer part has another name, so there is no name to cut. `last_resort`: no relay and no strategy for the
    observed symptom is left, so everything that might help is tried. Before
    direct was tried the order of the plan decides.
    """
    if not route.is_direct or not route.wrap:
        return True
    if is_shaped(route):
        return _shape_fits(route, attempts, protocol=protocol, ech=ech, last_resort=last_resort)
    if not is_secure(route):
        return True  # one address family: planned only where the other one is blocked
    direct = _tried(DIRECT, attempts)
    return direct is None or _doubts_address(direct) or (last_resort and direct.symptom not in _NO_EVIDENCE)


def refuses_cuts(attempt: Attempt) -> bool:
    """Whether a rung ended as at a server that rejects a fragmented ClientHello: closed or alerted at once (HAProxy
    that routes by SNI, mbedTLS). It is evidence only when another route then delivered."""
    return (
        attempt.route.is_direct
        and "tlsrec" in attempt.route.wrap
        and attempt.stage is Stage.FIRST_BYTE
        and attempt.symptom in (Symptom.ALERT, Symptom.EOF)
    )


def _shape_fits(route: Route, attempts: Sequence[Attempt], *, protocol: Protocol, ech: bool, last_resort: bool) -> bool:
    plain = Route(wrap=tuple(word for word in route.wrap if word not in SHAPES))
    base = _tried(plain, attempts)
    if base is None:
        if is_secure(route) and attempts:
            return False  # the secure resolver alone goes first
    elif base.stage is not Stage.FIRST_BYTE or not _met_a_censor(base, protocol, last_resort=last_resort):
        return False
    if protocol is Protocol.NONE:
        return base is None
    if protocol is Protocol.TLS:
        return not ech and not _OF_HTTP & set(route.wrap) and not _meets_cut_refusal(route, attempts)
    return protocol is Protocol.HTTP and not _OF_TLS & set(route.wrap)


def _met_a_censor(base: Attempt, protocol: Protocol, *, last_resort: bool) -> bool:
    if base.symptom in _NAME_LIKE:
        return True
    if not last_resort:
        return False
    pages = (Symptom.BLOCK_PAGE, Symptom.REDIRECTED) if protocol is Protocol.HTTP else ()
    return base.symptom in (Symptom.SILENT, Symptom.TIMEOUT, *pages)


def _meets_cut_refusal(route: Route, attempts: Sequence[Attempt]) -> bool:
    """Whether the rung cuts records and the server has just refused a cut one: it refuses the next one, too."""
    return "tlsrec" in route.wrap and any(refuses_cuts(attempt) for attempt in attempts)


def _doubts_address(direct: Attempt) -> bool:
    return direct.stage is Stage.RESOLVE or "dns" in direct.evidence


def _tried(route: Route, attempts: Sequence[Attempt]) -> Attempt | None:
    return next((attempt for attempt in reversed(attempts) if attempt.route == route), None)
