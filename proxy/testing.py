"""Helps to test addons: loads one from its file, and makes the values that Byway would give it.

    from proxy.testing import load, plan, request

    def test_the_site_goes_through_tor() -> None:
        addon = load("pin.py")
        assert addon.plan(request("www.example.org"), plan()) == plan().via("tor")

An addon that is loaded here opens no connection: its `api` records the calls (`addon.api.notified`, `.spawned`,
`.dialed`), and its clock shows the time that the test sets (`addon.api.at("2026-11-25 19:30")`).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import urlsplit

from proxy.config.detect_tuning import Weights
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
"""The network of all values here, unless a test gives another."""

_PORTS = {"http": 80, "https": 443}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Tried:
    """An addon under test. Call its hooks as methods: `addon.plan(request, plan)`. An `async` hook is run to its end;
    in an `async` test await it: `await addon.change(change)`."""

    def __init__(self, addon: Addon, api: RecordingApi) -> None:
        self.addon = addon
        self.api = api
        """The `api` that its `start` received."""

    @property
    def objects(self) -> tuple[object, ...]:
        """Its objects, to call hooks of mitmproxy: `addon.objects[0].request(flow)`."""
        return self.addon.objects

    def __getattr__(self, name: str) -> Callable[..., Any]:
        functions = self.addon.hooks.get(name)
        if functions is None:
            kind = "has no hook" if name in HOOKS else "has nothing called"
            raise AttributeError(f"{self.addon.file.name} {kind} {name}")
        return lambda *arguments: _result(_call(name, functions, arguments))


def load(
    file: str | Path,
    options: Mapping[str, Any] = _NOTHING,
    *,
    network: str = NETWORK,
    relays: tuple[str, ...] = (),
) -> Tried:
    """Loads and starts the addon in `file`. `options` are the values of `[addons.NAME]`. Raises ConfigError for one
    that Byway would not load. An `async` `start` is not called: `await addon.start(addon.api)` in the test."""
    path = Path(file)
    addon = loader.load(path, path.stem, options)
    api = RecordingApi(addon.name, addon.options, network=NetworkId(network), relays=relays)
    tried = Tried(addon, api)
    for function in addon.hooks.get("start", ()):
        if not inspect.iscoroutinefunction(function):
            function(api)
    return tried


def request(where: str = "example.org", *, method: str = "GET", inbound: Inbound | None = None) -> Request:
    """Makes a client's request for a host, with or without a port, or for a URL. An `http://` URL makes a plain HTTP
    request, as a browser sends it to a proxy; everything else makes a tunnel."""
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
    """Makes a plan as rules and beliefs would; its route is `direct` unless routes are given."""
    return Plan(Action(action), tuple(map(Route.parse, routes or ("direct",))), why)


def signal(
    kind: str = "tls_reset", *, weight: float | None = None, cause: str | None = None, at: float = 0.0
) -> Signal:
    """Makes a signal with its usual weight and cause."""
    usual = float(getattr(Weights(), kind, 1.0))
    known = cast(SignalId, kind)  # a test may use any other id
    return Signal(known, usual if weight is None else weight, usual_cause(known) if cause is None else cause, at)


def attempt(
    route: str = "direct",
    symptom: Symptom | str = Symptom.NONE,
    *,
    stage: Stage | str | None = None,
    elapsed: float = 0.1,
    evidence: Mapping[str, object] = NO_EVIDENCE,
) -> Attempt:
    """Makes an attempt: one that delivered, or one that failed with `symptom`, after the first bytes unless `stage`
    says otherwise."""
    kind = Symptom(symptom)
    reached = Stage.DONE if kind is Symptom.NONE else Stage.FIRST_BYTE
    return Attempt(
        Route.parse(route), Stage(stage or reached), kind, str(kind), 0.0, elapsed, "", as_evidence(evidence)
    )


def outcome(
    asked: Request | str = "example.org",
    *attempts: Attempt,
    planned: Plan | None = None,
    bytes_down: int = 0,
    duration: float = 1.0,
    at: float = 0.0,
) -> Outcome:
    """Makes the outcome of a connection; the first attempt that delivered is the winner."""
    of_request = request(asked) if isinstance(asked, str) else asked
    return Outcome(
        of_request,
        planned or plan(*(str(each.route) for each in attempts)),
        attempts,
        next((each.route for each in attempts if each.delivered), None),
        Protocol.TLS if of_request.http is None else Protocol.HTTP,
        of_request.destination.host,
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
    """Makes a change of the stored status of a site."""
    return Change(at, site, NETWORK, State(before), State(after), cause, why, None)


def _call(name: str, functions: tuple[Callable[..., Any], ...], arguments: tuple[Any, ...]) -> Any:
    """Calls the hook of each object in the file, and combines the answers as Byway does."""
    if any(map(inspect.iscoroutinefunction, functions)):
        return _call_async(name, functions, arguments)
    combined = None
    for function in functions:
        combined, arguments = _combine(name, combined, function(*arguments), arguments)
    return combined


async def _call_async(name: str, functions: tuple[Callable[..., Any], ...], arguments: tuple[Any, ...]) -> Any:
    combined = None
    for function in functions:
        answer = function(*arguments)
        answer = await answer if isinstance(answer, Awaitable) else answer
        combined, arguments = _combine(name, combined, answer, arguments)
    return combined


def _combine(name: str, combined: Any, answer: Any, arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Returns the answer so far, and the arguments of the next object: each `plan` and `signal` receives what the one
    before returned; of other hooks the first answer counts."""
    if name in _CHAINED and answer is not None:
        return answer, (arguments[0], answer)
    return answer if combined is None else combined, arguments


_CHAINED = frozenset({"plan", "signal"})


def _result(answer: Any) -> Any:
    """Runs an awaitable to its end; returns it for the test to await where a loop is running."""
    if not isinstance(answer, Awaitable):
        return answer
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_awaited(answer))
    return answer


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer
