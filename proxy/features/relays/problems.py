"""Problems of relays: failures, and obstacles on this network; of a subscription as a whole, since it often has relays
that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from proxy.control.answers.problems import ProblemJson, ProblemSubject
from proxy.control.frame import Moment
from proxy.detect.relay_health import RelayHealth
from proxy.detect.relay_ways import RelayObstacle
from proxy.features.relays.subscription_answers import SubscriptionJson, describe
from proxy.model.phrase import _
from proxy.wire.relay_url import redact


async def problems(moment: Moment) -> list[ProblemJson]:
    """Returns the present problems."""
    parts = moment.frame.parts
    health = parts.health
    enabled, configured = moment.frame.relays.enabled(), parts.setup().settings.subscription
    subscriptions = {item.name for item in configured}
    members = [name for name in enabled if name.partition("/")[0] in subscriptions]
    found = present(
        [name for name in enabled if name not in members],
        health.of,
        lambda name: health.is_open(name, moment.now),
        parts.relay_obstacles(),
        network_allows_few=parts.beliefs.network_state(parts.network()).is_restricted,
    )
    if not configured:
        return found
    described = await asyncio.to_thread(describe, configured, parts.copies, moment.now)
    return [
        *found,
        *of_subscriptions(described, members, {name for name in members if health.is_open(name, moment.now)}),
    ]


def of_subscriptions(
    described: Sequence[SubscriptionJson], enabled: Sequence[str], failing: Collection[str]
) -> list[ProblemJson]:
    """Returns the problems of subscriptions. `enabled` are their relays in use, `failing` those that failed so often
    that they are used last."""

    def texts() -> Iterator[tuple[str, str]]:
        for it in described:
            members = [name for name in enabled if name.partition("/")[0] == it.name]
            if it.error:
                text = _("Subscription {name} could not be fetched: {error}", name=it.name, error=it.error)
                yield text, f"byway relay refresh {it.name}"
            elif not it.fetched_at:
                text = _("Subscription {name} is not fetched yet, so its group has no relays.", name=it.name)
                yield text, f"byway relay refresh {it.name}"
            if members and all(name in failing for name in members):
                text = _("Every relay of subscription {name} keeps failing.", name=it.name)
                yield text, f"byway relay refresh {it.name}"

    return [ProblemJson(ProblemSubject.RELAYS, text, do) for text, do in texts()]


def present(
    relays: Iterable[str],
    health: Callable[[str], RelayHealth],
    failing: Callable[[str], bool],
    obstacles: Mapping[str, RelayObstacle],
    *,
    network_allows_few: bool,
) -> list[ProblemJson]:
    """As `problems`. `relays` are those in use. `failing` returns whether a relay failed so often that it is used last.
    `obstacles` are by relay name. `network_allows_few`: see `RelayFault.fix`."""

    def texts() -> Iterator[tuple[str, str]]:
        for name in relays:
            state = health(name)
            if (noted := state.fault) is not None:
                text = _("Relay {relay} fails: {fault}.", relay=name, fault=noted.fault.text)
                yield text, noted.fault.fix(name, network_allows_few=network_allows_few)
            elif failing(name):
                text = _("Relay {relay} keeps failing: {error}", relay=name, error=redact(state.last_error))
                yield text, f"byway relay test {name}"
            if (obstacle := obstacles.get(name)) is not None:
                yield obstacle.text(name), obstacle.fix(name)

    return [ProblemJson(ProblemSubject.RELAYS, text, do) for text, do in texts()]
