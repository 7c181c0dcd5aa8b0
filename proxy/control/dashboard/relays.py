"""The page of the relays and groups."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.control.answers.relays import GroupJson, RelayJson, RelaysAnswer, RelayState
from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class RelaysView:
    """What the page shows."""

    sentence: str
    relays: Sequence[RelayJson]
    groups: Sequence[GroupJson]


def relays_view(answer: RelaysAnswer) -> RelaysView:
    """Returns the page."""
    in_use = [relay for relay in answer.relays if relay.enabled]
    failing = [relay.name for relay in in_use if kind(relay) == "bad"]
    if not in_use:
        sentence = "There is no relay in use. Blocked sites open only where a local strategy is enough."
    elif failing:
        names = ", ".join(failing)
        sentence = f"{len(failing)} of {len(in_use)} relays in use {'fails' if len(failing) == 1 else 'fail'}: {names}."
    else:
        sentence = (
            "1 relay is in use; it does not fail." if len(in_use) == 1 else f"None of {len(in_use)} relays fails."
        )
    return RelaysView(sentence, answer.relays, answer.groups)


def kind(relay: RelayJson) -> str:
    """Returns the class in the style sheet of a relay's state."""
    if not relay.enabled:
        return "quiet"
    if relay.obstacle is not None or relay.words.startswith("fails"):
        return "bad"
    if relay.words == "slow":
        return "warn"
    return "good" if relay.state is RelayState.WORKS or (relay.test is not None and relay.test.ok) else "quiet"


def glyph(relay: RelayJson) -> str:
    """Returns the sign of a relay's state, so that colour is never the only difference."""
    return {"good": "✓", "bad": "✗", "warn": "◔", "quiet": "·"}[kind(relay)]
