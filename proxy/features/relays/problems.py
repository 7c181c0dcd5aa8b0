"""Problems of relays: failures, and obstacles on this network; of a subscription as a whole, since it often has relays
that are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import urlencode

from proxy.control.answers.problems import Button, Problem, ProblemSubject
from proxy.control.frame import Moment
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.detect.relay_ways import RelayObstacle
from proxy.features.relays.subscription_answers import subscriptions_of
from proxy.model.phrase import _, pgettext
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

    def found() -> Iterator[Problem]:
        for name in relays:
            state = health(name)
            if (noted := state.fault) is not None:
                text = _("Relay {relay} fails: {fault}.", relay=name, fault=noted.fault.text)
                do = noted.fault.fix(name, network_allows_few=network_allows_few)
                yield Problem(ProblemSubject.RELAYS, text, do, _buttons(name, noted.fault))
            elif failing(name):
                text = _("Relay {relay} keeps failing: {error}", relay=name, error=redact(state.last_error))
                yield Problem(ProblemSubject.RELAYS, text, f"byway relay test {name}", _buttons(name))
            if (obstacle := obstacles.get(name)) is not None:
                yield Problem(ProblemSubject.RELAYS, obstacle.text(name), obstacle.fix(name), _buttons(name))

    return [*found()]


_ASKED_FOR = {
    RelayFault.CREDENTIALS_REFUSED: (_("Enter the password"), "password"),
    RelayFault.CREDENTIALS_IN_CLEAR: (_("Send unencrypted"), "allow"),
}
"""The faults that a form of the page solves, with the label of the button that leads there, and the focus."""


def _buttons(name: str, fault: RelayFault | None = None) -> tuple[Button, ...]:
    """Returns the buttons for a relay. Where a form is needed, or a question before it, the first one leads there."""
    label, focus = _ASKED_FOR.get(fault, ("", "")) if fault is not None else ("", "")
    form = [Button(label, f"relays?{urlencode({'row': name, 'did': focus})}", leads=True)] if label else []
    return (
        *form,
        Button(_("Test again"), "relays/test", {"relay": name}),
        Button(_("Disable"), "relays/edit", {"relay": name, "do": "disable"}),
        *([] if form else [Button(pgettext("button", "Remove"), "relays/edit", {"relay": name, "do": "remove"})]),
    )
