"""The rows of all sites, kept from one reading to the next in the order of lists.

With 20,000 sites a reading of all takes a fifth of a second. So each reading after the first makes anew only the rows
of the registrable domains that have changed since (`Beliefs.changed_since`), or whose rows no longer hold by time
alone. Numbers of sites are kept as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from proxy.detect.verdict.site_status import LastResult, SiteStatus
from proxy.model import NetworkId, NetworkState

if TYPE_CHECKING:
    from proxy.control.site_states import KnownSite, SiteStates
    from proxy.detect.beliefs.beliefs import Beliefs

Domain = tuple[NetworkId, str]
"""A registrable domain on a network."""


class SiteKind(NamedTuple):
    """What lists count and filter by."""

    network: NetworkId
    status: SiteStatus
    cause: str


class _Row(NamedTuple):
    """A site with its place in lists."""

    place: tuple[bool, float, str, int]
    site: KnownSite

    @classmethod
    def of(cls, site: KnownSite) -> _Row:
        return cls((not site.is_trouble, -site.state.since, site.name, site.state.port), site)

    @property
    def kind(self) -> SiteKind:
        return SiteKind(self.site.stored.network, self.site.state.status, str(self.site.state.cause))


class _Held(NamedTuple):
    """The rows of a domain, and until when they hold, in seconds since the epoch."""

    rows: tuple[_Row, ...]
    until: float


class _Basis(NamedTuple):
    """What the rows of all domains depend on."""

    beliefs: Beliefs
    network: NetworkId
    network_state: NetworkState
    resolver_fails: bool
    controls: frozenset[str]


class KeptSites:
    """The rows of all sites. Belongs to one loop. They are true once `renew` was called for each domain that `outdated`
    has returned."""

    def __init__(self) -> None:
        self._basis: _Basis | None = None
        self._mark = 0
        self._held: dict[Domain, _Held] = {}
        self._listed: dict[NetworkId, list[_Row]] = {}
        self._sites: dict[NetworkId, tuple[KnownSite, ...]] = {}
        self._added: dict[NetworkId, list[_Row]] = {}
        self._removed: dict[NetworkId, set[int]] = {}  # by the identity of a row
        self._counts: Counter[SiteKind] = Counter()

    def outdated(self, states: SiteStates) -> Collection[Domain]:
        """Returns the domains whose rows are to be made anew: all of them the first time, and after a change of the
        network."""
        beliefs, here = states.beliefs, states.network
        basis = _Basis(beliefs, here, beliefs.network_state(here), beliefs.resolver_fails(here), states.controls)
        changed = beliefs.changed_since(self._mark) if self._basis == basis else None
        self._basis, self._mark = basis, beliefs.mark()
        if changed is None:
            for table in (self._held, self._listed, self._sites, self._added, self._removed, self._counts):
                table.clear()
            return beliefs.domains(here)
        over = [domain for domain, held in self._held.items() if held.until <= states.now]
        return {*changed, *over}

    def renew(self, states: SiteStates, domain: Domain) -> None:
        """Makes the rows of a domain anew."""
        states.beliefs.begin_reading(states.now)
        stored, results = states.beliefs.of_domain(domain, now=states.now)
        subjects = states.subjects_of(domain[0], stored, results)
        rows = tuple(_Row.of(site) for subject in subjects for site in states.rows(subject))
        before = self._held.pop(domain, None)
        gone = () if before is None else before.rows
        if rows or results:
            until = states.now if _depends_on_relays(results) else states.beliefs.holds_until
            self._held[domain] = _Held(gone if rows == gone else rows, until)
        if rows == gone:
            return
        removed, added = self._removed.setdefault(domain[0], set()), self._added.setdefault(domain[0], [])
        for row in gone:
            removed.add(id(row))
            self._counts[row.kind] -= 1
        added.extend(rows)
        self._counts.update(row.kind for row in rows)

    def on_network(self, network: NetworkId) -> Sequence[KnownSite]:
        """Returns the sites on a network in the order of lists: those in trouble first, the latest of them first."""
        removed, added = self._removed.pop(network, set()), self._added.pop(network, [])
        if removed or added:
            # A row that was added and removed since is in both.
            rows = [row for row in (*self._listed.get(network, ()), *added) if id(row) not in removed]
            rows.sort(key=itemgetter(0))
            self._listed[network] = rows
            self._sites[network] = tuple(row.site for row in rows)
        return self._sites.get(network, ())

    def networks(self) -> Sequence[NetworkId]:
        """Returns the networks on which there are sites."""
        return [*dict.fromkeys(kind.network for kind, count in self._counts.items() if count)]

    def counts(self) -> Mapping[SiteKind, int]:
        """Returns the number of sites of each kind that there are."""
        return {kind: count for kind, count in self._counts.items() if count}

    def of_domain(self, domain: Domain) -> Sequence[KnownSite]:
        """Returns the sites under a registrable domain on its network."""
        held = self._held.get(domain)
        return () if held is None else [row.site for row in held.rows]


def _depends_on_relays(results: Mapping[str, Iterable[LastResult]]) -> bool:
    """Whether a row changes with the relays that work: see `site_state`."""
    return any(
        result.relays or result.status is SiteStatus.RELAYS_FAIL for of_host in results.values() for result in of_host
    )
