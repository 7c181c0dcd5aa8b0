"""The scenarios of 2025 and later: a tuple for each censor, with its innocent twins beside it.

`ROWS` joins the tuples; the table of `scenarios` contains it. A row with parameters comes from a factory that takes
their factor (`scenarios.scalable`).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.lab import rules
from tests.lab.origins import Conduct
from tests.lab.rules import Rule
from tests.lab.scenarios import (
    AROUND,
    REAL,
    RUNG,
    WEAK,
    Arrange,
    Reach,
    Scenario,
    blocking,
    both,
    by_address,
    by_name,
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
             _DROPS, "sni_drop", ways=AROUND, wait_s=_CUTS_S, settle_s=8, **WEAK),
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


_FROZEN_S = 9.0
"""A page is ended 6 to 9 s after it froze, and then comes at the second try."""


def _freeze_25(factor: float) -> Scenario:
    """The page is larger than the censor lets pass, and no larger than many a page of today. Its twins are `pause` and
    `slow-body`."""
    packets = round(25 * factor)
    return blocking("freeze-25", f"after {packets} packets, both ways together, not one more passes",
                    by_address(rules.FreezeByCount, packets=packets), "frozen", path="/bytes/60000", visits=10,
                    reloads=True, wait_s=_FROZEN_S, limit_s=12, settle_s=8, conduct=REAL, **WEAK)  # fmt: skip


FREEZES: tuple[Scenario, ...] = (scalable(_freeze_25),)

ROWS: tuple[Scenario, ...] = (*TWO_CENSORS, *FREEZES)
