"""Relays and groups: state, selection, tests."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Sequence

from proxy.config.edit import NewRelay, configured_as
from proxy.config.relays import check_selection, relays_meant
from proxy.config.suggestions import quoted, suggestion
from proxy.control.access import Refused
from proxy.control.config_edits import refused
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import parse_field
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_health import RelayHealth
from proxy.features.relays.answers import RelaysAnswer, RelayTestsAnswer, SelectionAnswer, TrialJson, list_relays
from proxy.features.relays.edits import RelayEdits
from proxy.features.relays.subscription_answers import SubscriptionLine, wanted
from proxy.model import Destination
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.dialers.registry import Registry
from proxy.probe.relay_trial import Trial, another, each_trial, remembered_tests
from proxy.probe.site_name import site


@frozen_dataclass
class SelectionRequest:
    """The relay that the group is to use."""

    use: str


@frozen_dataclass
class RelayTestRequest:
    """The relays and groups to test; empty: all relays in use. `to`: the host or URL to connect to; without it, a
    control page."""

    names: tuple[str, ...] = ()
    to: str | None = None


@frozen_dataclass
class SubscriptionRefreshRequest:
    """The subscriptions to fetch; empty: all. `accept_smaller`: accepts a file with less than half of the relays.
    `direct`: fetches them direct, this time."""

    names: tuple[str, ...] = ()
    accept_smaller: bool = False
    direct: bool = False


@frozen_dataclass
class RelayTest:
    """A test of relays: the destination of each, the relays, and their results, each as soon as it is there."""

    to: Destination
    names: Sequence[str]
    results: AsyncGenerator[TrialJson, None]


@frozen_dataclass
class NewRelayTest:
    """A test of relays that are not configured yet: its destination, the relays, and their results, each as soon as it
    is there."""

    to: Destination
    relays: Sequence[NewRelay]
    results: AsyncGenerator[Trial, None]

    @property
    def names(self) -> Sequence[str]:
        return [str(relay.name) for relay in self.relays]


class RelayEndpoints:
    """Answers about relays, selects and tests them."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.parts = frame.parts
        self.relays = frame.relays
        self.edits = RelayEdits(frame.parts, frame.edits)

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/relays", self.list_relays),
            Endpoint("PUT", "/v1/groups/{name}", self.select_relay),
            Endpoint("POST", "/v1/relays/test", self.test_relays, refuses=(404,)),
            Endpoint("POST", "/v1/subscriptions/refresh", self.refresh_subscriptions),
        ]

    async def list_relays(self) -> RelaysAnswer:
        """Lists the relays and groups, with their state."""
        return await list_relays(self.parts)

    async def select_relay(self, name: str, asked: SelectionRequest) -> SelectionAnswer:
        """Selects the relay of a group whose policy is "select"."""
        settings = self.parts.setup().loaded.settings
        parse_field(lambda relay: check_selection(settings, name, relay), asked.use)
        await self.parts.select(name, asked.use)
        return SelectionAnswer(name, asked.use)

    async def test_relays(self, asked: RelayTestRequest) -> RelayTestsAnswer:
        """Opens a path through each relay, and closes it again."""
        test = self.begin_test(asked)
        results = {result.relay: result async for result in test.results}
        return RelayTestsAnswer(test.to, tuple(results[name] for name in test.names))

    async def refresh_subscriptions(self, asked: SubscriptionRefreshRequest) -> AsyncGenerator[SubscriptionLine, None]:
        """Fetches subscriptions. Streams the result of each."""
        configured = (await self.parts.configured()).subscription
        fetched = parse_field(lambda names: wanted(configured, names), asked.names)
        results = self.parts.list_refresh.refresh(
            fetched, asked=True, accept_smaller=asked.accept_smaller, direct=asked.direct
        )

        async def lines() -> AsyncGenerator[SubscriptionLine, None]:
            async with contextlib.aclosing(results):
                async for result in results:
                    yield SubscriptionLine.of(result, fetched)

        return lines()

    def begin_test(self, asked: RelayTestRequest) -> RelayTest:
        """Checks the request. Raises Refused. The test begins when its results are read."""
        enabled, groups = self.relays.enabled(), self.parts.setup().groups
        names = parse_field(lambda given: relays_meant(given, groups, enabled), asked.names or enabled)
        for name in names:
            if name not in self.relays.configured():
                raise Refused(404, f"unknown relay {quoted(name)}{suggestion(name, self.relays.usable_names())}")
            if name not in enabled:
                raise Refused(400, f"Relay {name} is disabled. Run `byway relay enable {name}` first.")
        target = self._control() if asked.to is None else parse_field(site, asked.to)
        return RelayTest(target, names, self._results(names, target, given=asked.to is not None))

    def begin_new_test(self, relays: Sequence[NewRelay]) -> NewRelayTest:
        """Prepares a test of relays that are not configured yet, and have names. Raises Refused. The test begins when
        its results are read."""
        target = self._control()
        try:
            registry = self.parts.registry_with([configured_as(relay) for relay in relays])
        except (ConfigError, ValueError) as error:
            raise refused(error) from None
        return NewRelayTest(target, relays, self._new_results(registry, relays, target))

    async def _new_results(
        self, registry: Registry, relays: Sequence[NewRelay], target: Destination
    ) -> AsyncGenerator[Trial, None]:
        """Yields each result as soon as it is there, and stores nothing."""
        setup = self.parts.setup()
        names = [str(relay.name) for relay in relays]
        may_resolve = setup.router.may_go_direct(target, self.parts.network(), time.time())
        trials = each_trial(
            registry,
            [name for name in names if name in registry.relay_names],
            target,
            resolver=setup.resolver if may_resolve else None,
            other=another(setup.settings.auto.controls, target),
        )
        try:
            async with contextlib.aclosing(trials):
                async for trial in trials:
                    yield trial
        finally:
            registry.retire_keys()

    async def remember_tests(self, trials: Sequence[Trial]) -> None:
        """Stores the results of relays that are configured now."""
        tests = remembered_tests(trials, self.parts.settings.relay, time.time(), whatever_target=False)
        await asyncio.to_thread(self.parts.relay_tests.record, tests, known=self.relays.configured())

    async def _results(
        self, names: Sequence[str], target: Destination, *, given: bool
    ) -> AsyncGenerator[TrialJson, None]:
        """Yields each result as soon as it is there, and stores it. `given`: the user named the target."""
        # A target of the user may be private, so it is not looked up; a control is no secret, unless a rule sends it
        # to relays only.
        setup = self.parts.setup()
        may_resolve = not given and setup.router.may_go_direct(target, self.parts.network(), time.time())
        trials = each_trial(
            setup.registry,
            names,
            target,
            resolver=setup.resolver if may_resolve else None,
            other=another(setup.settings.auto.controls, target),
            is_given=given,
        )
        async with contextlib.aclosing(trials):
            async for trial in trials:
                now = time.time()
                if trial.ok and _may_be_cleared(self.parts.health.of(trial.relay)):
                    self.parts.health.worked(trial.relay, now)
                may_blame = self.parts.beliefs.may_blame_relays(self.parts.network(), now)
                tests = remembered_tests([trial], setup.settings.relay, now, whatever_target=given, may_blame=may_blame)
                await asyncio.to_thread(self.parts.relay_tests.record, tests, known=self.relays.configured())
                yield TrialJson.of(trial, self.parts.relay_obstacles().get(trial.relay))

    def _control(self) -> Destination:
        """Returns the destination of a relay test without a target of the user. Raises Refused when none is
        configured."""
        controls = self.parts.settings.auto.controls
        if not controls:
            raise Refused(400, "`[auto] controls` is empty: name a destination to connect to.")
        return parse_field(site, controls[0])


def _may_be_cleared(health: RelayHealth) -> bool:
    """Whether an open path proves that the relay's fault is over: not if the fault is that its paths open and deliver
    nothing."""
    return health.fault is None or health.fault.fault is not RelayFault.DELIVERS_NOTHING
