"""Problems of relays: failures, and obstacles on this network; of a subscription as a whole, since it often has relays
that are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from proxy.control.answers.problems import Button, Problem, ProblemSubject
from proxy.control.frame import Moment
from proxy.detect.relay_health import RelayHealth
from proxy.detect.relay_ways import RelayObstacle
from proxy.features.relays.subscription_answers import subscriptions_of
from proxy.model.phrase import _
from proxy.wire.relay_url import redact


async def problems(moment: Moment) -> list[Problem]:
    """Returns the present problems."""
    parts = moment.frame.parts
    health = parts.health
    subscriptions = {item.name for item in parts.setup().settings.subscription}
    found = present(
        [name for name in moment.frame.relays.enabled() if name.partition("/")[0] not in subscriptions],
        health.of,
        lambda name: health.is_open(name, moment.now),
        parts.relay_obstacles(),
        network_allows_few=parts.beliefs.network_state(parts.network()).is_restricted,
    )
    return [
        *found,
        *(
            Problem(ProblemSubject.RELAYS, problem.text, problem.do)
            for subscription in await subscriptions_of(parts, moment.now)
            for problem in subscription.problems
        ),
    ]


def present(
    relays: Iterable[str],
    health: Callable[[str], RelayHealth],
    failing: Callable[[str], bool],
    obstacles: Mapping[str, RelayObstacle],
    *,
    network_allows_few: bool,
) -> list[Problem]:
    """As `problems`. `relays` are those in use. `failing` returns whether a relay failed so often that it is used last.
    `obstacles` are by relay name. `network_allows_few`: see `RelayFault.fix`."""

    def texts() -> Iterator[tuple[str, str, str]]:
        for name in relays:
            state = health(name)
            if (noted := state.fault) is not None:
                text = _("Relay {relay} fails: {fault}.", relay=name, fault=noted.fault.text)
                yield name, text, noted.fault.fix(name, network_allows_few=network_allows_few)
            elif failing(name):
                text = _("Relay {relay} keeps failing: {error}", relay=name, error=redact(state.last_error))
                yield name, text, f"byway relay test {name}"
            if (obstacle := obstacles.get(name)) is not None:
                yield name, obstacle.text(name), obstacle.fix(name)

    return [Problem(ProblemSubject.RELAYS, text, do, _buttons(name)) for name, text, do in texts()]


def _buttons(name: str) -> tuple[Button, ...]:
    return (
        Button(_("Test again"), "relays/test", {"relay": name}),
        Button(_("Disable"), "relays/edit", {"relay": name, "do": "disable"}),
        Button(_("Show"), "relays", leads=True),
    )
