"""What is said of sites from the log and the stored beliefs, while no Byway runs."""

from __future__ import annotations

import time
from functools import partial
from itertools import chain

from proxy.config.relays import enabled_relays
from proxy.control.answers.overrides import OverrideJson, overrides_json
from proxy.control.site_states import KnownSite, SiteStates, control_hosts
from proxy.detect.beliefs.beliefs import Beliefs
from proxy.features.sites.answers import SiteAnswer, SiteJson, SitesAnswer
from proxy.features.sites.measurement_answers import MeasurementsAnswer
from proxy.features.sites.timeline import scopes, spells
from proxy.routing.router import covering
from proxy.store import queries
from proxy.terminal.stored import Stored


def sites(stored: Stored) -> SitesAnswer:
    """The sites with a stored status or a recent failure, and the overrides."""
    states = stored_states(stored)
    return SitesAnswer(
        network=states.network,
        sites=tuple(map(SiteJson.of_known, _known(states))),
        overrides=overrides_json(stored.overrides()),
    )


def site(stored: Stored, host: str) -> SiteAnswer:
    """The status, the override and the history of a site."""
    states = stored_states(stored)
    meant = states.meant(host)
    found = [change for name in scopes(meant) for change in stored.ask(partial(queries.changes, scope=name))]
    changes = sorted(found, key=lambda change: change.at, reverse=True)
    override = covering(host, stored.overrides())
    return SiteAnswer(
        host=host,
        belief=SiteJson.of_known(states.host(meant)),
        ports=tuple(map(SiteJson.of_known, states.ports(meant))),
        hosts=tuple(map(SiteJson.of_known, states.of_same_site(meant, _known(states)))),
        elsewhere=tuple(map(SiteJson.of_known, states.elsewhere(host, meant))),
        override=None if override is None else OverrideJson.of(*override),
        timeline=spells(changes, states.beliefs.held(scopes(meant), now=states.now)),
        changes=tuple(changes),
    )


def measurements(stored: Stored, host: str) -> MeasurementsAnswer:
    """None: only a running Byway has those of the last minutes."""
    return MeasurementsAnswer(host, ())


def stored_states(stored: Stored) -> SiteStates:
    """What the next Byway would say of sites, with nothing known yet of the network as a whole."""
    now, settings = time.time(), stored.settings
    (beliefs, _), (results, _) = stored.ask(queries.beliefs), stored.ask(queries.results)
    return SiteStates(
        Beliefs(settings.detect, beliefs, results=results),
        stored.network(),
        stored.kept_health().delivering([relay.name for relay in enabled_relays(settings.relay)]),
        now,
        controls=control_hosts(settings),
    )


def _known(states: SiteStates) -> list[KnownSite]:
    return list(chain.from_iterable(map(states.rows, states.subjects())))
