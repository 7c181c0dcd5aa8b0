"""Is the uplink well, and is the network one to learn on at all? The control gate, and the states of a network.

A host is blamed only when, after its flight was sent, another host delivered direct on the same network: by the user's
own traffic first, and when there is none by a control page, at most one a minute and only beside a visit. Nothing is
learned while the machine is offline, behind a portal's login page, on a network where only domestic hosts answer, or in
the first seconds after waking. Relays say nothing here: they may well when the direct path is cut, and the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from proxy.config.schema import Detect
from proxy.detect.scopes import registrable
from proxy.model import ConnectivityResult, NetworkId, NetworkState
from proxy.model.bounded import Bounded

NETWORKS_MAX = 64
FAILING_MAX = 64
"""Failing domains remembered on one network; five make it restricted."""


NEVER = float("-inf")

_SOUNDED_ON = frozenset({NetworkState.RESTRICTED, NetworkState.PORTAL})
"""While a network is so, controls are asked beside visits until they say that it is over."""

_CLOCK_S = 3600.0
"""A valid certificate this young shows that the clock is right."""

_PROOFS = 2
"""A client that trusts what direct brings speaks against a login page for so many intervals between two controls."""


class ControlAnswer(Protocol):
    """A host's domain, and when it last delivered direct; the date moves on by itself."""

    @property
    def domain(self) -> str: ...

    @property
    def at(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """One delivery."""

    domain: str
    at: float


_NOBODY = Moment("", NEVER)


@dataclass(slots=True)
class _NetworkRecord:
    """One network. `last` is who delivered last; `before_at` is when any other domain last did: that is enough to know
    when a domain other than a given one did."""

    last: ControlAnswer = _NOBODY
    before_at: float = NEVER
    state: NetworkState = NetworkState.OK
    failing: Bounded[str, float] = field(default_factory=lambda: Bounded(FAILING_MAX))
    soundings: dict[str, tuple[ConnectivityResult, float, bool]] = field(
        default_factory=dict
    )  # host → (what, when, domestic)
    passes: int = 0  # foreign controls that passed in a row
    failed_relay_count: int = 0  # while restricted: connections in a row for which no relay got through
    control_at: float = NEVER
    doubted: bool = False  # what came in a site's place may come in the place of all
    trusted_at: float = NEVER  # when a client last took the certificate that direct brought, or a control was well
    resigned: dict[str, Bounded[str, bool]] = field(default_factory=dict)  # issuer → domain → was it a control


class NetworkHealth:
    """All networks. Belongs to one thread."""

    def __init__(self, settings: Detect) -> None:
        self._settings = settings
        self._lines: Bounded[NetworkId, _NetworkRecord] = Bounded(NETWORKS_MAX)
        self._quiet_until = NEVER

    # -- control gate ---------------------------------------------------------------------------------------------

    def is_last(self, network: NetworkId, by: ControlAnswer) -> bool:
        """Whether `by` is the latest direct delivery on a network that is well, so that only its date has to move."""
        line = self._lines.get(network)
        return line is not None and line.last is by and line.state is NetworkState.OK

    def on_direct_delivery(self, network: NetworkId, by: ControlAnswer) -> None:
        """A host delivered direct."""
        line = self._lines.get(network) or self._line(network)
        if by.at < line.last.at:  # told late
            if by.domain != line.last.domain:
                line.before_at = max(line.before_at, by.at)
        else:
            if by.domain != line.last.domain:
                line.before_at = line.last.at
            line.last = by
        if line.failing and line.failing.pop(by.domain, None) is not None:
            self._passed(line)  # it is foreign: a domestic one would not have failed
        if line.state is NetworkState.OFFLINE:
            line.state = NetworkState.OK

    def trusted(self, network: NetworkId, now: float) -> None:
        """A client took the certificate that direct brought: no login page stood in for that site, as one may that only
        began to answer."""
        line = self._lines.get(network) or self._line(network)
        line.trusted_at = now
        if line.state is NetworkState.PORTAL:
            line.state = NetworkState.OK

    def well_since(self, network: NetworkId, domain: str, sent: float) -> bool:
        """Whether a host of another domain than `domain` delivered direct after `sent`."""
        line = self._lines.get(network)
        if line is None:
            return False
        return (line.last.at if line.last.domain != domain else line.before_at) >= sent

    def suspect_portal(self, network: NetworkId) -> None:
        """Something came in the place of a site; a control shall tell whether it comes in the place of all."""
        self._line(network).doubted = True

    def is_uneasy(self, network: NetworkId) -> bool:
        """Whether a control is due, or will be, though no signal waits."""
        line = self._lines.get(network)
        return line is not None and (line.doubted or line.state in _SOUNDED_ON)

    def control_wanted(self, network: NetworkId, now: float, *, waits: bool) -> bool:
        """Whether to ask a control page now; True claims it. `waits`: a signal waits at the control gate."""
        line = self._line(network)
        if 0 <= now - line.control_at < self._settings.control_interval_s:
            return False
        if not waits and not line.doubted and line.state not in _SOUNDED_ON and not self.seems_restricted(network, now):
            return False
        line.control_at = now
        line.doubted = False
        return True

    def seems_restricted(self, network: NetworkId, now: float) -> bool:
        """Whether only the controls have yet to say that nothing foreign answers: so many domains have failed since
        a foreign one last passed."""
        line = self._lines.get(network)
        if line is None or line.state is not NetworkState.OK:
            return False
        return len(self._failing(line, now)) >= self._settings.restricted_domains

    # -- states ----------------------------------------------------------------------------------------------------

    def state(self, network: NetworkId) -> NetworkState:
        """What is held about a network as a whole."""
        line = self._lines.get(network)
        if line is None:
            return NetworkState.OK
        is_shut = line.state is NetworkState.RESTRICTED and line.failed_relay_count >= self._settings.restricted_in_vain
        return NetworkState.SHUT if is_shut else line.state

    def may_learn(self, network: NetworkId, now: float) -> bool:
        """Whether a failure on `network` may mean anything at all."""
        return now >= self._quiet_until and self.state(network) in (NetworkState.OK, NetworkState.INSPECTED)

    def worked_at(self, network: NetworkId) -> float:
        """When a site last delivered direct on `network`."""
        line = self._lines.get(network)
        return line.last.at if line is not None else NEVER

    def may_blame_relays(self, network: NetworkId, now: float) -> bool:
        """Whether what fails at a relay on `network` may be the relay's own fault: not while the machine is offline,
        behind a portal, or has just woken."""
        return now >= self._quiet_until and self.state(network) not in (NetworkState.OFFLINE, NetworkState.PORTAL)

    def certificates_are_valid(self, network: NetworkId, now: float) -> bool:
        """Whether a certificate was found valid on `network` within the hour: the clock is right."""
        line = self._lines.get(network)
        return line is not None and 0 <= now - line.trusted_at <= _CLOCK_S

    def on_resume(self, now: float) -> None:
        """The machine woke, or its clock was set: for a moment nothing is learned."""
        self._quiet_until = now + self._settings.wake_s
        for line in self._lines.values():
            line.failing.clear()
            line.last, line.before_at = _NOBODY, NEVER
            line.control_at = line.trusted_at = NEVER
            line.doubted = False
            line.soundings.clear()

    def offline(self, network: NetworkId) -> bool:
        """The machine says that nothing leads out. True when that is news."""
        line = self._line(network)
        news = line.state is not NetworkState.OFFLINE
        line.state = NetworkState.OFFLINE
        return news

    def online(self, network: NetworkId) -> None:
        """Something was delivered, by whatever route."""
        line = self._lines.get(network)
        if line is not None and line.state is NetworkState.OFFLINE:
            line.state = NetworkState.OK

    def relayed(self, network: NetworkId, *, delivered: bool) -> None:
        """Relays were tried for a connection; `delivered`: one of them got through."""
        line = self._lines.get(network)
        if line is not None:
            line.failed_relay_count = (
                0 if delivered else line.failed_relay_count + (line.state is NetworkState.RESTRICTED)
            )

    def failed(self, network: NetworkId, domain: str, now: float) -> bool:
        """Direct failed for a host of `domain`. True when that makes the network `restricted`."""
        line = self._line(network)
        line.failing[domain] = now
        return self._restrict(line, now)

    def on_control_answer(
        self, network: NetworkId, host: str, sounding: ConnectivityResult, now: float, *, domestic: bool
    ) -> bool:
        """What a control page showed. True when the network has just become `restricted` or `portal`."""
        line = self._line(network)
        line.soundings[host] = (sounding, now, domestic)
        if sounding is ConnectivityResult.PORTAL:
            if 0 <= now - line.trusted_at < _PROOFS * self._settings.control_interval_s:
                line.doubted = True
                return False  # others are themselves: it is this one page in whose place something came
            news = line.state is not NetworkState.PORTAL
            line.state = NetworkState.PORTAL
            return news
        if sounding is ConnectivityResult.FAILED:
            line.passes = line.passes if domestic else 0
            return self._restrict(line, now)
        if not domestic:
            line.failing.clear()
            self._passed(line)
        self.on_direct_delivery(network, Moment(registrable(host), now))
        self.trusted(network, now)
        if sounding is ConnectivityResult.WELL:
            self._not_resigned(line, registrable(host))
        return domestic and self._restrict(line, now)

    def resigned(self, network: NetworkId, host: str, issuer: str, *, control: bool) -> bool:
        """A certificate of `host` that the system trusts, of an issuer that is none of the public ones. True when that
        makes the network `inspected`."""
        line = self._line(network)
        if issuer not in line.resigned and len(line.resigned) >= NETWORKS_MAX:
            return False
        domains = line.resigned.setdefault(issuer, Bounded(FAILING_MAX))
        domain = registrable(host)
        domains[domain] = control or domains.get(domain, False)
        enough = len(domains) >= self._settings.inspected_domains and any(domains.values())
        news = enough and line.state is NetworkState.OK
        if news:
            line.state = NetworkState.INSPECTED
        return news

    def _not_resigned(self, line: _NetworkRecord, domain: str) -> None:
        """A control shows its own certificate: when all that were re-signed do, TLS is no longer intercepted."""
        for domains in line.resigned.values():
            domains.pop(domain, None)
        controls = any(was_control for domains in line.resigned.values() for was_control in domains.values())
        if line.state is NetworkState.INSPECTED and not controls:
            line.state = NetworkState.OK

    def forget(self, network: NetworkId | None = None) -> None:
        """Forgets what is held about a network, or all."""
        if network is None:
            self._lines.clear()
        else:
            self._lines.pop(network, None)

    def _passed(self, line: _NetworkRecord) -> None:
        """Something foreign delivered: so often in a row, and the network is not restricted any more."""
        line.passes += 1
        if line.state is NetworkState.RESTRICTED and line.passes >= self._settings.restricted_passes:
            line.state = NetworkState.OK
            line.failing.clear()

    def _restrict(self, line: _NetworkRecord, now: float) -> bool:
        """Five unrelated domains and both foreign controls fail, while a domestic host answers: an allow-list. Where
        nothing has answered since they fail, or the domestic control does not, it is an outage."""
        if line.state is not NetworkState.OK:
            return False
        since = now - self._settings.restricted_window_s
        foreign = [what for what, at, domestic in line.soundings.values() if at >= since and not domestic]
        domestic = [what for what, at, domestic in line.soundings.values() if at >= since and domestic]
        failing = self._failing(line, now)
        if (
            len(failing) < self._settings.restricted_domains
            or foreign.count(ConnectivityResult.FAILED) < self._settings.restricted_controls
            or len(foreign) > foreign.count(ConnectivityResult.FAILED)
            or ConnectivityResult.FAILED in domestic
            or line.last.at < min(failing)
        ):
            return False
        line.state = NetworkState.RESTRICTED
        line.passes = line.failed_relay_count = 0
        return True

    def _failing(self, line: _NetworkRecord, now: float) -> list[float]:
        """When unrelated domains failed that have not delivered since, of late."""
        return [at for at in line.failing.values() if at >= now - self._settings.restricted_window_s]

    def _line(self, network: NetworkId) -> _NetworkRecord:
        line = self._lines.get(network)
        if line is None:
            line = self._lines[network] = _NetworkRecord()
        return line
