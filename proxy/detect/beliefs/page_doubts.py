"""Pages of direct over plain HTTP that may not be the site's own, though no fingerprint tells so.

A censor shows the same page for each site that it blocks. So a page is doubted when an unrelated site on this network
has it as well, when its address is one to which a lie has led, or when a measurement found that a relay shows another.
A doubt is no evidence: default pages of servers and parked domains look alike, too. The page is compared with that of
another route once a day, and only a page that has nothing in common with it is a signal, at both gates like any other.
"""

from __future__ import annotations

from proxy.detect.beliefs.counting import on_rescue
from proxy.detect.beliefs.events import PageCompared
from proxy.detect.beliefs.network_health import may_learn, network_state
from proxy.detect.beliefs.retests import take_from
from proxy.detect.beliefs.state import BeliefState
from proxy.detect.beliefs.tables import Key, SeenPage
from proxy.detect.beliefs.transitions import RENEW_S, troubled
from proxy.detect.scopes import registrable
from proxy.detect.signals import Observed, cause
from proxy.model import (
    DIRECT,
    Attempt,
    Change,
    NetworkState,
    PageDoubt,
    Protocol,
    Signal,
    SignalId,
    Stage,
    State,
)


def doubt(state: BeliefState, key: Key, mark: int, address: str, now: float) -> PageDoubt | None:
    """Notes that direct brought the page of this mark for a host, from `address` ("address:port"). Returns why it is
    doubted; None: it is not, or another route has shown the same page."""
    (network, host), settings = key, state.settings
    domain, seen = registrable(host), state.pages.get((network, mark))
    if seen is None:
        state.pages[network, mark] = seen = SeenPage(domain, now)
    elif seen.domain != domain:
        state.pages[network, mark] = seen = SeenPage(domain, now, seen.domain, seen.at)
    elif not 0 <= now - seen.at < RENEW_S:
        state.pages[network, mark] = seen = seen._replace(at=now)
    if state.own_pages.get(key) == mark:
        return None
    if 0 <= now - seen.other_at <= settings.known_s:
        return PageDoubt.SHARED
    led_there = state.shared.within((network, address.rpartition(":")[0]), settings.shared_window_s, now)
    if led_there and led_there != [domain]:
        return PageDoubt.ADDRESS
    found_at = state.unlike_pages.get(key)
    return PageDoubt.UNLIKE if found_at is not None and 0 <= now - found_at <= settings.known_s else None


def claim_page_check(state: BeliefState, key: Key, now: float) -> bool:
    """Whether a comparison of this host's page is due; True claims it. Not where AUTO uses no relay by itself."""
    before = state.compared_pages.get(key)
    if before is not None and 0 <= now - before < state.settings.page_apart_s:
        return False
    belief = troubled(state, key, now)
    if belief is not None and belief.state is State.BLOCKED:
        return False  # re-tests show when it is over
    if network_state(state, key[0]) is not NetworkState.OK or not may_learn(state, key[0], now):
        return False
    if not take_from(state.page_checks, key[0], state.settings.page_per_hour, now):
        return False
    state.compared_pages[key] = now
    return True


def compared(state: BeliefState, event: PageCompared, key: Key, now: float) -> list[Change]:
    """Learns from a comparison: the page is the site's own, or the host was rescued by the other route. Nothing is
    learned if the host was forgotten meanwhile, and its claim with it."""
    if key not in state.compared_pages:
        return []
    state.unlike_pages.pop(key, None)
    if not event.is_unlike:
        state.own_pages[key] = event.mark
        return []
    if state.is_near(event.host):
        return []
    is_shared = event.doubt == PageDoubt.SHARED
    kind = SignalId.HTTP_SAME_PAGE if is_shared else SignalId.HTTP_DIFFERS
    signal = Signal(kind, getattr(state.settings.weights, kind), cause(kind), now)
    found = Observed(signal, Attempt(DIRECT, Stage.DONE, address=event.address), event.sent, Protocol.HTTP)
    alike = " that unrelated sites show as well" if is_shared else ""
    story = f"direct brought a page{alike}, and {event.other} one that has nothing in common with it"
    return on_rescue(state, key, event.other, Protocol.HTTP, [found], story, now)
