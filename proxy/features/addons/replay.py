"""Replays logged connections with an addon's file, which may have been edited. Runs in a separate process.

The other enabled addons take part as they are, since a decision depends on all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from proxy.config.load import Loaded
from proxy.config.paths import Paths
from proxy.extend.dispatch import Addons
from proxy.extend.guard.runner import AddonRunner
from proxy.extend.guard.time_limit import TimeLimit
from proxy.extend.hooks import HOOKS
from proxy.extend.loading.addon import Addon
from proxy.extend.loading.files import find
from proxy.extend.replay.recording_api import RecordingApi
from proxy.extend.replay.replay import REPLAYED, Decision, Replayed, Scene, Weighing, replay_connections
from proxy.features.addons.check import load_addon
from proxy.features.addons.sandbox import paths_of
from proxy.model import Action, NetworkId, Outcome, Plan
from proxy.model.errors import BywayError, ConfigError
from proxy.routing.address_guard import Guard
from proxy.session.setup import Setup
from proxy.store.file import open_log
from proxy.store.recording import Recording, read_recording
from proxy.terminal.offline import make_setup
from proxy.wire.hostnames import OWN_NAME

Document = dict[str, Any]

_CALLED_ANYWAY = frozenset({"start", "stop"})


def replay(request: Mapping[str, Any]) -> Document:
    """Returns the changes of plans and weights. Raises ConfigError for a file that cannot be loaded, and BywayError for
    a log that cannot be read."""
    paths = paths_of(request)
    setup = make_setup(paths)
    recording = _read(paths, request["since"])
    file = Path(request["file"])
    notes: list[str] = []
    load = partial(load_addon, loaded=setup.loaded, limit_s=request["load_s"])
    addons = [*_load_others(paths, setup.loaded, file.stem, load, notes), load(file)]
    faults = _Faults()
    logging.getLogger().addHandler(faults)
    replayed = asyncio.run(_run_replay(addons, recording, setup))
    not_replayed = set(addons[-1].hooks) - set(REPLAYED) - _CALLED_ANYWAY
    notes += [f"hook {name} is not replayed" for name in HOOKS if name in not_replayed]
    return {
        "addon": addons[-1].name,
        "with": sorted(addon.name for addon in addons[:-1]),
        "connections": replayed.plans,
        "signals": replayed.signals,
        "decisions": [_change(it, _plan(it.was), _plan(it.would_be)) for it in replayed.decisions],
        "weighings": [_change(it, list(it.was), list(it.would_be)) for it in replayed.weighings],
        "left_out": {
            "unnamed": recording.unnamed,
            "older": recording.older,
            "senseless": recording.senseless,
            "guarded": replayed.refused_by_guard,
            "signals": replayed.unclear,
            "cut": recording.cut,
        },
        "faults": faults.messages,
        "notes": notes,
    }


class _Faults(logging.Handler):
    """Collects the warnings that the addon runner logs."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == AddonRunner.__module__ and len(self.messages) < 100:
            self.messages.append(record.getMessage())


def _read(paths: Paths, since: float) -> Recording:
    try:
        with contextlib.closing(open_log(paths.store_file)) as db:
            return read_recording(db, since=since)
    except (sqlite3.Error, OSError) as error:
        if not paths.store_file.exists():
            raise BywayError(f"{paths.store_file}: no log yet, nothing to replay") from None
        raise BywayError(f"{paths.store_file} cannot be read: {error}") from None


def _load_others(
    paths: Paths, loaded: Loaded, name: str, load: Callable[[Path], Addon], notes: list[str]
) -> Iterator[Addon]:
    """Yields the other enabled addons; `notes` gets a sentence for each that cannot be loaded."""
    for it in find(paths.addons_dir, loaded.settings.addons):
        if it.name == name or not it.enabled:
            continue
        try:
            if it.problem:
                raise ConfigError(it.problem)
            yield load(it.path)
        except ConfigError as error:
            notes.append(f"addon {it.name} is not included: {error.problems[0]}")


async def _run_replay(loaded: list[Addon], recording: Recording, setup: Setup) -> Replayed:
    limit, addons = TimeLimit(), Addons()
    limit.start()
    apis = []
    for addon in loaded:
        api = RecordingApi(addon.name, addon.options, relays=setup.registry.relay_names)
        runner = AddonRunner(addon, limit, addons.on_disabled)
        apis.append(api)
        addons.put(runner)
        for function in addon.hooks.get("start", ()):
            await runner.call(HOOKS["start"], function, api, check=lambda _: None)

    def set_scene(at: float, network: NetworkId) -> None:
        for api in apis:
            api.at(at)
            api.on(network)

    scene = Scene(set_scene, setup.registry, partial(_is_guarded, setup.guard), setup.settings.detect)
    try:
        return await replay_connections(recording.connections, addons, scene)
    finally:
        for runner in addons.running:
            runner.cancel()
        for api in apis:
            api.close()
        limit.close()


def _is_guarded(guard: Guard, outcome: Outcome) -> bool:
    """Whether the address guard refused the request, before any addon was called."""
    plan, destination = outcome.plan, outcome.request.destination
    if plan.action is not Action.BLOCK or plan.before is not None:
        return False
    return destination.host == OWN_NAME or plan.why == guard.refuse_host(destination)


def _change(changed: Decision | Weighing, was: object, would_be: object) -> Document:
    """Returns the change that the replay found for one connection."""
    outcome = changed.recorded.outcome
    destination = outcome.request.destination
    return {
        "at": outcome.at,
        "host": destination.host,
        "port": destination.port,
        "network": changed.recorded.network,
        "was": was,
        "would_be": would_be,
    }


def _plan(plan: Plan) -> Document:
    return {
        "action": str(plan.action),
        "routes": [str(route) for route in plan.routes],
        "intercept": plan.intercept,
        "why": plan.why,
    }
