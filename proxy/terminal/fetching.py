"""What a command needs to fetch a file itself, as a running Byway would: by its rules, overrides and relays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.model import Destination, Route
from proxy.net.poller import make_poller
from proxy.net.uplink.network_id import network_here
from proxy.probe.list_refresh import RefreshContext, relays_left_by
from proxy.routing.rule import Situation
from proxy.session.setup import Setup
from proxy.setup.checked import Parts
from proxy.setup.steps import make
from proxy.store.list_copies import ListCopies
from proxy.store.salvage import read_overrides
from proxy.terminal.offline import plan_offline


@contextlib.asynccontextmanager
async def fetching(paths: Paths, copies: ListCopies) -> AsyncGenerator[RefreshContext, None]:
    """Makes a Setup whose routes this process may dial. Raises ConfigError."""
    loaded = load(paths.config_to_read, env=os.environ)
    private_folder(paths.state_dir)
    # A rule may need a list that is still to be fetched.
    tolerant = replace(loaded.settings, list=tuple(replace(item, allow_empty=True) for item in loaded.settings.list))
    network = network_here(paths.network_key_file)
    with contextlib.closing(make_poller(asyncio.get_running_loop())) as poller:
        parts = Parts(poller, paths, tolerant.listen.port, copies=copies)
        setup = make(parts, replace(loaded, settings=tolerant), read_overrides(paths.store_file))

        async def may_go_direct(setup: Setup, destination: Destination) -> bool:
            return setup.router.may_go_direct(destination, network, time.time())

        async def only_relays(setup: Setup, destination: Destination) -> Sequence[Route] | None:
            return relays_left_by(plan_offline(setup, destination, Situation(network)))

        async def apply() -> None:
            """Does nothing: no process uses what is fetched."""

        yield RefreshContext(
            setup=lambda: setup,
            may_go_direct=may_go_direct,
            only_relays=only_relays,
            order=lambda relays: relays,
            is_private=lambda _host: False,  # the user requests the fetch
            apply=apply,
            now=time.time,
        )
