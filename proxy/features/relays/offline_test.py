"""`byway relay test` without a running Byway: with our own dialers, and with PySocks where it supports the relay.

Two implementations that agree leave little doubt. When they disagree, one of them is wrong, and a hint says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from typing import Any

from proxy.config.edit import check_relay
from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.config.relays import relays_meant
from proxy.config.schema import Settings
from proxy.features.relays.answers import TrialJson
from proxy.features.relays.pysocks_check import Opinion, second_opinion
from proxy.model import Destination
from proxy.model.document import to_json, versioned
from proxy.model.errors import BywayError
from proxy.model.feature import Feature
from proxy.net.dialers.registry import Registry
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import make_poller
from proxy.net.uplink.network_id import network_here
from proxy.probe.relay_trial import Trial, another, carriable, remembered_tests, try_relays
from proxy.probe.site_name import site
from proxy.setup.checked import KeyEngineOnDemand, Parts
from proxy.setup.steps import make
from proxy.store.relay_tests import RelayTest, RelayTests, place
from proxy.store.salvage import read_overrides
from proxy.terminal.exit_codes import Misused, as_misuse

log = logging.getLogger(__name__)

_NOT_ASKED = Opinion(asked=False, error="only `byway relay test` uses PySocks")


def try_offline(
    paths: Paths, names: Sequence[str], to: str | None, *, features: Sequence[Feature] = (), ask_pysocks: bool = True
) -> dict[str, Any]:
    """Tests relays as the running Byway would, and saves the results as it would. Returns its answer, with `pysocks`
    and `disagreement` in each result. `features`: one of them has the engine for keys.

    Raises ConfigError and Misused."""
    return asyncio.run(_try(paths, names, to, features, ask_pysocks=ask_pysocks))


async def _try(
    paths: Paths, names: Sequence[str], to: str | None, features: Sequence[Feature], *, ask_pysocks: bool
) -> dict[str, Any]:
    loaded = load(paths.config_to_read, env=os.environ)
    settings = loaded.relays.expanded
    target = _target(settings, to)
    async with AsyncExitStack() as stack:
        poller = stack.enter_context(closing(make_poller(asyncio.get_running_loop())))
        keys = await stack.enter_async_context(KeyEngineOnDemand(features, poller, None))
        setup = make(Parts(poller, paths, settings.listen.port, keys=keys), loaded, read_overrides(paths.store_file))
        registry = setup.registry
        with as_misuse():
            members = relays_meant(names, setup.groups, registry.relay_names)
        tested = _tested(settings, registry.relay_names, members)
        network = network_here(paths.network_key_file)
        may_resolve = to is None and setup.router.may_go_direct(target, network, time.time())
        resolver = setup.resolver if may_resolve else None
        other = another(settings.auto.controls, target)
        trials = await try_relays(registry, tested, target, resolver=resolver, other=other, is_given=to is not None)
        if ask_pysocks:
            opinions = await asyncio.gather(*(_opinion(registry, settings, name, target, resolver) for name in tested))
        else:
            opinions = [_NOT_ASKED] * len(tested)
    _remember(paths, settings, remembered_tests(trials, settings.relay, time.time(), whatever_target=to is not None))
    return versioned(
        to=target, results=[_result(trial, opinion) for trial, opinion in zip(trials, opinions, strict=True)]
    )


async def _opinion(
    registry: Registry, settings: Settings, name: str, target: Destination, resolver: Resolver | None
) -> Opinion:
    hops = registry.hops((name,))
    if len(hops) > 1:
        return Opinion(asked=False, error="PySocks does not support chains")
    carried = await carriable(registry, name, target, resolver)
    allowed = {relay.name: relay.allow_plaintext_credentials for relay in settings.relay}[name]
    return await second_opinion(hops[0], carried or target, may_send_credentials=allowed)


def _result(trial: Trial, opinion: Opinion) -> dict[str, Any]:
    pysocks = {"ok": opinion.ok, "elapsed_s": round(opinion.elapsed_s, 4), "error": opinion.error}
    return {
        **to_json(TrialJson.of(trial)),
        "pysocks": pysocks if opinion.asked else None,
        "pysocks_not_asked": "" if opinion.asked else opinion.error,
        "disagreement": disagreement(trial, opinion),
    }


def disagreement(trial: Trial, opinion: Opinion) -> str:
    """Returns a sentence when the two results differ; empty when they agree, or when PySocks was not used."""
    if not opinion.asked or trial.ok == opinion.ok:
        return ""
    if opinion.ok:
        return "PySocks connects through this relay and Byway does not: please report this"
    return f"Byway connects through this relay and PySocks does not ({opinion.error})"


def _remember(paths: Paths, settings: Settings, tests: Sequence[RelayTest]) -> None:
    """Saves the results for `byway relay list`. Logs a warning when the state folder is not writable."""
    file = place(paths, settings.log)
    if file is None or not tests:
        return
    try:
        private_folder(file.parent)
    except BywayError as error:
        log.warning("the results are not saved: %s", error)
        return
    RelayTests(file).record(tests, known=[relay.name for relay in settings.relay])


def _tested(settings: Settings, enabled: Sequence[str], names: Sequence[str]) -> list[str]:
    """Returns the relays to test; without names, all enabled ones. Raises Misused."""
    configured = [relay.name for relay in settings.relay]
    for name in names:
        with as_misuse():
            check_relay(name, configured, {})
        if name not in enabled:
            raise Misused(f"relay {name} is disabled: run `byway relay enable {name}` first")
    return list(dict.fromkeys(names)) or list(enabled)


def _target(settings: Settings, to: str | None) -> Destination:
    if to is None and not settings.auto.controls:
        raise Misused("`[auto] controls` is empty: name a destination with --to HOST:PORT")
    with as_misuse():
        return site(settings.auto.controls[0] if to is None else to)
