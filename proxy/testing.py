"""For tests of addons: values as Byway hands them over, and an addon out of its file, in three lines.

    from proxy.testing import load, plan, request

    def test_the_site_goes_through_tor() -> None:
        addon = load("pin.py")
        assert addon.plan(request("www.example.org"), plan()) == plan().via("tor")

What is loaded here opens no connection: its `api` records what was asked of it (`addon.api.notified`, `.spawned`,
`.dialed`) and its clock stands where the test sets it (`addon.api.at("2026-11-25 19:30")`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import urlsplit

from proxy.config.schema import Weights
from proxy.detect.signals import cause as usual_cause
from proxy.extend.hooks import HOOKS
from proxy.extend.loading import loader
from proxy.extend.loading.addon import Addon
from proxy.extend.replay.recording_api import RecordingApi
from proxy.model import (
    NO_EVIDENCE,
    Action,
    Attempt,
    Change,
    Destination,
    HttpRequest,
    Inbound,
    NetworkId,
    Outcome,
    Plan,
    Protocol,
    Request,
    Route,
    Signal,
    SignalId,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from proxy.wire import hostnames

__all__ = ["NETWORK", "Tried", "attempt", "change", "load", "outcome", "plan", "request", "signal"]

NETWORK = NetworkId("home")
"""The network that all of this happens on, unless a test says otherwise."""

_PORTS = {"http": 80, "https": 443}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Tried:
    """An addon under test. Its hooks are called as methods: `addon.plan(request, plan)`. One that is `async` is run to
    its end, or in a test that is `async` itself, awaited there: `await addon.change(change)`."""

    def __init__(self, addon: Addon, api: RecordingApi) -> None:
        self.addon = addon
        self.api = api
        """What the addon got in `start`."""

    @property
    def objects(self) -> tuple[object, ...]:
        """For hooks of mitmproxy: `addon.objects[0].request(flow)`."""
        return self.addon.objects

    def __getattr__(self, name: str) -> Callable[..., Any]:
        functions = self.addon.hooks.get(name)
        if functions is None:
            kind = "has no hook" if name in HOOKS else "has nothing called"
            raise AttributeError(f"{self.addon.file.name} {kind} {name}")
        return lambda *given: _result(_ask(name, functions, given))


def load(
    file: str | Path,
    options: Mapping[str, Any] = _NOTHING,
    *,
    network: str = NETWORK,
    relays: tuple[str, ...] = (),
) -> Tried:
    """The addon in `file`, started, with what `[addons.NAME]` would say. Raises ConfigError for one that Byway would
    not load. A `start` that is `async` is the test's own to await: `await addon.start(addon.api)`."""
    path = Path(file)
    addon = loader.load(path, path.stem, options)
    api = RecordingApi(addon.name, addon.options, network=NetworkId(network), relays=relays)
    tried = Tried(addon, api)
    for function in addon.hooks.get("start", ()):
        if not inspect.iscoroutinefunction(function):
            function(api)
    return tried


def request(where: str = "example.org", *, method: str = "GET", inbound: Inbound | None = None) -> Request:
    """A wish of a client: for a host, with or without a port, or for a URL. An `http://` one is plain HTTP, as a
    browser asks a proxy for it; all else is a tunnel."""
    parts = urlsplit(where if "://" in where else f"https://{where}")
    port = parts.port or _PORTS.get(parts.scheme, 443)
    destination = Destination(hostnames.host(parts.hostname or ""), port)
    http = None
    if parts.scheme == "http":
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        http = HttpRequest(method, target)
    usual = Inbound.CONNECT if http is None else Inbound.HTTP
    return Request(1, destination, inbound or usual, "127.0.0.1:50000", http)


def plan(*routes: str, action: Action | str = Action.AUTO, why: str = "AUTO: nothing is known") -> Plan:
    """What rules and beliefs made, `direct` alone when no route is named."""
    return Plan(Action(action), tuple(map(Route.parse, routes or ("direct",))), why)


def signal(
    kind: str = "tls_reset", *, weight: float | None = None, cause: str | None = None, at: float = 0.0
) -> Signal:
    """A sign of blocking with its usual weight and cause."""
    usual = float(getattr(Weights(), kind, 1.0))
    known = cast(SignalId, kind)  # an author's test may make up another id
    return Signal(known, usual if weight is None else weight, usual_cause(known) if cause is None else cause, at)


def attempt(
    route: str = "direct",
    symptom: Symptom | str = Symptom.NONE,
    *,
    stage: Stage | str | None = None,
    elapsed: float = 0.1,
    evidence: Mapping[str, object] = NO_EVIDENCE,
) -> Attempt:
    """A try of a route: one that delivered, or failed with `symptom` behind the first bytes."""
    felt = Symptom(symptom)
    reached = Stage.DONE if felt is Symptom.NONE else Stage.FIRST_BYTE
    return Attempt(
        Route.parse(route), Stage(stage or reached), felt, str(felt), 0.0, elapsed, "", as_evidence(evidence)
    )


def outcome(
    asked: Request | str = "example.org",
    *attempts: Attempt,
    planned: Plan | None = None,
    bytes_down: int = 0,
    duration: float = 1.0,
    at: float = 0.0,
) -> Outcome:
    """How a connection ended; the first attempt that delivered won."""
    wish = request(asked) if isinstance(asked, str) else asked
    return Outcome(
        wish,
        planned or plan(*(str(tried.route) for tried in attempts)),
        attempts,
        next((tried.route for tried in attempts if tried.delivered), None),
        Protocol.TLS if wish.http is None else Protocol.HTTP,
        wish.destination.host,
        at,
        bytes_down=bytes_down,
        duration=duration,
    )


def change(
    site: str = "example.org",
    after: State | str = State.BLOCKED,
    *,
    before: State | str = State.UNKNOWN,
    cause: str = "sni_reset",
    why: str = "direct failed, tor delivered",
    at: float = 0.0,
) -> Change:
    """A line of the ledger: what is believed of a site has changed."""
    return Change(at, site, NETWORK, State(before), State(after), cause, why, None)


def _ask(name: str, functions: tuple[Callable[..., Any], ...], given: tuple[Any, ...]) -> Any:
    """What the objects of one file answer together."""
    if any(map(inspect.iscoroutinefunction, functions)):
        return _ask_waiting(name, functions, given)
    answer = None
    for function in functions:
        answer, given = _taken(name, answer, function(*given), given)
    return answer


async def _ask_waiting(name: str, functions: tuple[Callable[..., Any], ...], given: tuple[Any, ...]) -> Any:
    answer = None
    for function in functions:
        said = function(*given)
        answer, given = _taken(name, answer, await said if isinstance(said, Awaitable) else said, given)
    return answer


def _taken(name: str, answer: Any, said: Any, given: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Each `plan` and `signal` sees what the one before made of it; of other hooks the first answer holds."""
    if name in _CHAINED and said is not None:
        return said, (given[0], said)
    return said if answer is None else answer, given


_CHAINED = frozenset({"plan", "signal"})


def _result(answer: Any) -> Any:
    """An awaitable is run here, or handed to the test where a loop runs already."""
    if not isinstance(answer, Awaitable):
        return answer
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(answer))
    return answer


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
