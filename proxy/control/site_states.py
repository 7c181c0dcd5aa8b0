"""The states of sites at one moment: the single source for lists, answers, commands, reports and pages, with a running
Byway and, without one, from its files.

The state of a host comes from the belief that sessions use for it, and from its last result while that is valid
(`known_s`). So a list shows the same state as the page of the site.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

from proxy.config.schema import Settings
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.detect.scopes import is_host
from proxy.detect.verdict.site_status import (
    LastResult,
    SiteState,
    SiteStatus,
    Source,
    port_state,
    site_state,
    status_of,
)
from proxy.model import Belief, Destination, IPAddress, NetworkId, State
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import is_of_same_site, with_or_without_www


@frozen_dataclass
class KnownSite:
    """The state of a site, and the stored belief from which it follows. `name` is a host, or a scope of hosts."""

    name: str
    stored: Belief
    state: SiteState

    @property
    def is_trouble(self) -> bool:
        """Whether the site, or the way to it, has a problem now."""
        return self.state.status.is_trouble

    @property
    def called(self) -> frozenset[SiteStatus]:
        """The current status and the stored one: behind a captive portal the current one is the network's."""
        return frozenset({self.state.status, status_of(self.stored.state, self.stored.cause)})

    @property
    def name_and_port(self) -> str:
        """The name, with the port when the state is that of one port."""
        return str(Destination(self.name, self.state.port)) if self.state.port else self.name


@frozen_dataclass
class SiteStates:
    """The inputs of the states of all sites at one moment, `now`. `working_relays` are the relays that have delivered
    and not failed since, with the time of the last delivery. `addresses` returns the known addresses of a name.
    `controls` are the hosts of control pages."""

    beliefs: Beliefs
    network: NetworkId
    working_relays: Mapping[str, float]
    now: float
    addresses: Callable[[str], Iterable[IPAddress]] = lambda host: ()
    controls: frozenset[str] = frozenset()

    def belief(self, host: str) -> Belief:
        """Returns the belief that sessions use for a host on this network, also by the known addresses of its name."""
        return self.beliefs.lookup(host, network=self.network, now=self.now, addresses=self.addresses(host))

    def host(self, host: str) -> KnownSite:
        """Returns the state of a host, without regard to ports."""
        return self._here(host, self.belief(host))

    def stored(self, belief: Belief) -> KnownSite:
        """Returns the state that follows from a stored belief: of a scope of several hosts, or on another network."""
        if belief.network == self.network:
            return self._here(belief.scope, belief)
        return KnownSite(belief.scope, belief, site_state(belief))

    def ports(self, host: str) -> list[KnownSite]:
        """Returns the ports of a host that have a problem while the host as a whole has none."""
        if self.host(host).is_trouble:
            return []
        results = self.beliefs.results_by_port(host, network=self.network, now=self.now)
        return [site for result in results if (site := self._port(host, result)).is_trouble]

    def meant(self, host: str) -> str:
        """Returns the host that the user means: the given one, or the one with or without `www.` when only that is
        known."""
        other = with_or_without_www(host)
        if not other or not self._is_unknown(host) or self._is_unknown(other):
            return host
        return other

    def subjects_of(self, network: NetworkId, stored: Iterable[Belief], results: Iterable[str]) -> list[Belief | str]:
        """Returns the subjects of lists under one domain: each stored belief, and each other host with a result on this
        network. `stored` and `results` are as from `Beliefs.of_domain`."""
        by_name = {belief.scope: belief for belief in stored}  # a host may have two: see `lookup`
        hosts = [host for host in results if host not in by_name] if network == self.network else []
        return [*by_name.values(), *hosts]

    def rows(self, subject: Belief | str) -> list[KnownSite]:
        """Returns the rows of lists for a subject: the site if it has a problem or a stored status, and its ports with
        a problem. None for a control page that only Byway has requested."""
        if isinstance(subject, str):
            return [] if self._is_own_check(subject) else self._troubles(self.host(subject))
        if subject.network != self.network or not is_host(subject.scope):
            return _row(self.stored(subject))
        site = self.host(subject.scope)
        return self._troubles(site) if site.is_trouble else [*_row(site), *self.ports(site.name)]

    def of_same_site(self, host: str, sites: Iterable[KnownSite]) -> list[KnownSite]:
        """Returns those of `sites`, on this network, that belong to the same site as `host`, those with a problem
        first."""
        here = [site for site in sites if not site.state.port]
        same = [site for site in here if is_of_same_site(site.name, host)]
        return sorted(same, key=lambda site: (not site.is_trouble, site.name))

    def elsewhere(self, *names: str) -> list[KnownSite]:
        """Returns the stored states of these hosts on other networks."""
        held = self.beliefs.held(frozenset(names), now=self.now)
        others = (it for it in held if it.state is not State.UNKNOWN and it.network != self.network)
        return [self.stored(belief) for belief in others]

    def _here(self, name: str, stored: Belief) -> KnownSite:
        beliefs, here = self.beliefs, self.network
        state = site_state(
            stored,
            beliefs.last_result(name, network=here, now=self.now),
            beliefs.network_state(here),
            self.working_relays,
            beliefs.own_port(name, network=here),
            beliefs.resolver_fails(here),
        )
        return KnownSite(name, stored, state)

    def _port(self, host: str, last: LastResult) -> KnownSite:
        state = port_state(last, self.beliefs.network_state(self.network), self.working_relays)
        return KnownSite(host, Belief(host, self.network), state)

    def _troubles(self, site: KnownSite) -> list[KnownSite]:
        return [site] if site.is_trouble else self.ports(site.name)

    def _is_unknown(self, host: str) -> bool:
        return self.host(host).state.status is SiteStatus.NOT_TESTED

    def _is_own_check(self, host: str) -> bool:
        if host not in self.controls or self.beliefs.visited(host, network=self.network) is not None:
            return False
        results = self.beliefs.results_by_port(host, network=self.network, now=self.now)
        return all(result.source is not Source.CONNECTION for result in results)


def control_hosts(settings: Settings) -> frozenset[str]:
    """Returns the hosts of the control pages."""
    return frozenset(urlsplit(page).hostname or "" for page in settings.auto.controls)


def _row(site: KnownSite) -> list[KnownSite]:
    """Returns the row of a site; none when the reason of its stored status has ended."""
    return [] if site.state.status is SiteStatus.NOT_TESTED else [site]
