"""What is said of sites at one moment: the one source for each list, document, command, report and page, of a running
Byway and, while none runs, of its files.

A host has the belief that sessions use for it, and its last result as long as that holds (`known_s`): a list takes
neither an older nor a newer one than the site's own page.
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
from proxy.model import Belief, Destination, IPAddress, NetworkId
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import is_of_same_site, with_or_without_www


@frozen_dataclass
class KnownSite:
    """What is said of a site now, and the stored status that this rests on. `name` is what it is said of: a host, or a
    scope of hosts."""

    name: str
    stored: Belief
    state: SiteState

    @property
    def is_trouble(self) -> bool:
        """Whether the site, or the way to it, is in trouble now."""
        return self.state.status.is_trouble

    @property
    def called(self) -> frozenset[SiteStatus]:
        """The present word for it and that for what is stored: behind a portal the present one is the network's."""
        return frozenset({self.state.status, status_of(self.stored.state, self.stored.cause)})

    @property
    def name_and_port(self) -> str:
        """What it is called: with the port, where this is said of that port alone."""
        return str(Destination(self.name, self.state.port)) if self.state.port else self.name


@frozen_dataclass
class SiteStates:
    """What the states of all sites rest on at one moment, `now`. `working_relays` have delivered and not failed since,
    and when each last did; `addresses` returns those that a name is known to have; `controls` are the hosts of control
    pages."""

    beliefs: Beliefs
    network: NetworkId
    working_relays: Mapping[str, float]
    now: float
    addresses: Callable[[str], Iterable[IPAddress]] = lambda host: ()
    controls: frozenset[str] = frozenset()

    def belief(self, host: str) -> Belief:
        """Returns the belief that sessions use for a host here. The known addresses of its name count, too."""
        return self.beliefs.lookup(host, network=self.network, now=self.now, addresses=self.addresses(host))

    def host(self, host: str) -> KnownSite:
        """Returns what is said of a host as a whole."""
        return self._here(host, self.belief(host))

    def stored(self, belief: Belief) -> KnownSite:
        """Returns what is said of a stored status by itself: of hosts beyond one, or on another network."""
        if belief.network == self.network:
            return self._here(belief.scope, belief)
        return KnownSite(belief.scope, belief, site_state(belief))

    def ports(self, host: str) -> list[KnownSite]:
        """Returns the ports of a host that are in trouble while the site as a whole is not."""
        if self.host(host).is_trouble:
            return []
        results = self.beliefs.results_by_port(host, network=self.network, now=self.now)
        return [site for result in results if (site := self._port(host, result)).is_trouble]

    def meant(self, host: str) -> str:
        """Returns the host that people mean by a name: itself, or with or without `www.` where only that is known."""
        other = with_or_without_www(host)
        if not other or not self._is_unknown(host) or self._is_unknown(other):
            return host
        return other

    def subjects(self) -> list[Belief | str]:
        """Returns what lists are made of: each stored status, and each other host with a result on this network."""
        stored = self.beliefs.all(now=self.now)
        named = {belief.scope for belief in stored if belief.network == self.network}
        recent = self.beliefs.recent_results(network=self.network, now=self.now)
        hosts = dict.fromkeys(host for host, _ in recent if host not in named)
        by_name = {(belief.network, belief.scope): belief for belief in stored}  # a host may have two: see `lookup`
        return [*by_name.values(), *hosts]

    def rows(self, subject: Belief | str) -> list[KnownSite]:
        """Returns what lists say of a subject: the site if it is in trouble, or something is stored of it; else those
        of its ports that are. Nothing of a control page that only Byway asked for."""
        if isinstance(subject, str):
            return [] if self._is_own_check(subject) else self._troubles(self.host(subject))
        if subject.network != self.network or not is_host(subject.scope):
            return _said(self.stored(subject))
        site = self.host(subject.scope)
        return self._troubles(site) if site.is_trouble else [*_said(site), *self.ports(site.name)]

    def of_same_site(self, host: str, sites: Iterable[KnownSite]) -> list[KnownSite]:
        """Returns what is known, among all `sites`, of the other hosts of a site on this network, those in trouble
        first."""
        here = [site for site in sites if site.stored.network == self.network and not site.state.port]
        found = [site for site in here if is_of_same_site(site.name, host)]
        return sorted(found, key=lambda site: (not site.is_trouble, site.name))

    def elsewhere(self, *names: str) -> list[KnownSite]:
        """Returns what is stored of these hosts on other networks."""
        stored = self.beliefs.all(now=self.now)
        found = (belief for belief in stored if belief.scope in names and belief.network != self.network)
        return [self.stored(belief) for belief in found]

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


def _said(site: KnownSite) -> list[KnownSite]:
    """Nothing where the reason of a stored status is over."""
    return [] if site.state.status is SiteStatus.NOT_TESTED else [site]
