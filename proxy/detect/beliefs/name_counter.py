"""Counts names by place, with their times: failing hosts of one prefix, unrelated sites redirected to one host.

A censor can make up any number of places and names, so both are limited, and the least recent ones are dropped.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.detect.beliefs.host_lru import Key
from proxy.model import NetworkId
from proxy.model.bounded import Bounded


class NameCounter:
    """A place is a network and a scope or an address on it. Belongs to one thread."""

    def __init__(self, *, places: int, names: int) -> None:
        """At most so many places, and so many names at each."""
        self._names_max = names
        self._places: Bounded[Key, Bounded[str, float]] = Bounded(places)

    def __contains__(self, place: Key) -> bool:
        return place in self._places

    def note(self, place: Key, name: str, now: float) -> None:
        names = self._places.get(place)
        if names is None:
            names = Bounded(self._names_max)
        names[name] = now
        self._places[place] = names

    def saw(self, place: Key, name: str) -> bool:
        """Whether this name was noted at the place."""
        return name in self._places.get(place, ())

    def within(self, place: Key, window_s: float, now: float) -> int:
        """The number of names noted at the place within `window_s`."""
        return sum(0 <= now - at <= window_s for at in self._places.get(place, {}).values())

    def places_of(self, network: NetworkId, name: str) -> list[Key]:
        """The places on a network at which this name was noted."""
        return [place for place, names in self._places.items() if place[0] == network and name in names]

    def pop(self, place: Key) -> None:
        """Forgets a place."""
        self._places.pop(place, None)

    def forget(self, meant: Callable[[Key], bool]) -> None:
        """Forgets the places and the names that are meant, each with its network."""
        for place, names in list(self._places.items()):
            for name in [name for name in names if meant((place[0], name))]:
                del names[name]
            if not names or meant(place):
                del self._places[place]

    def clear(self) -> None:
        """Forgets all."""
        self._places.clear()
