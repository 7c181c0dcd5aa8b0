"""The relays of the status as a person reads them, in the terminal and on the page. Light, since every `byway status`
imports it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

_Row = TypeVar("_Row")


def relay_rows(relays: Sequence[_Row], groups: Sequence[_Row], name_of: Callable[[_Row], str]) -> list[_Row]:
    """Returns the relays, in which a group stands in the place of its members that have its name before a slash. These
    are relays of a subscription, which may be hundreds, and the ways of a chain by a group."""
    by_name = {name_of(group): group for group in groups}
    rows = dict[str, _Row]()
    for relay in relays:
        name, slash, _ = name_of(relay).partition("/")
        if slash and name in by_name:
            rows[name] = by_name[name]
        else:
            rows[name_of(relay)] = relay
    return list(rows.values())
