"""What a command needs to fetch a file itself, as a running Byway would: by its rules, overrides and relays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from proxy.config.load import load
from proxy.config.paths import Paths, private_folder
from proxy.model import Destination, Route
from proxy.model.errors import ConfigError
from proxy.model.feature import Feature
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.poller import make_poller
from proxy.net.uplink.network_id import network_here
from proxy.probe.download import Downloaded, DownloadFailed
from proxy.probe.list_refresh import RefreshContext, fetch, relays_left_by
from proxy.probe.target import AGENT
from proxy.routing.rule import Situation
from proxy.session.setup import Setup
from proxy.setup.checked import KeyEngineOnDemand, Parts
from proxy.setup.steps import make
from proxy.store.list_copies import ListCopies
from proxy.store.salvage import read_overrides
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import Misused
from proxy.terminal.offline import plan_offline
from proxy.terminal.terminal import confirm
from proxy.wire import https_url
from proxy.wire.url_secrets import hide_paths


@contextlib.asynccontextmanager
async def fetching(
    paths: Paths, copies: ListCopies, features: Sequence[Feature]
) -> AsyncGenerator[RefreshContext, None]:
    """Makes a Setup whose routes this process may dial. One of `features` has the engine for keys. Raises
    ConfigError."""
    loaded = load(paths.config_to_read, env=os.environ)
    private_folder(paths.state_dir)
    # A rule may need a list that is still to be fetched.
    tolerant = replace(loaded.settings, list=tuple(replace(item, allow_empty=True) for item in loaded.settings.list))
    network = network_here(paths.network_key_file)
    async with contextlib.AsyncExitStack() as stack:
        poller = stack.enter_context(contextlib.closing(make_poller(asyncio.get_running_loop())))
        keys = await stack.enter_async_context(KeyEngineOnDemand(features, poller, None))
        parts = Parts(poller, paths, tolerant.listen.port, copies=copies, keys=keys)
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


@frozen_dataclass
class FetchedFile:
    """A file, where it came from and by which way."""

    host: str
    content: bytes
    content_type: str
    userinfo: str
    was_direct: bool


def fetch_asking(
    call: Invocation, paths: Paths, source: str, *, limit: int, direct: bool, agent: str = AGENT
) -> FetchedFile:
    """Fetches a file once, through relays. Without one that works, asks the person once whether to fetch it direct.
    Raises Misused for what is no https URL, and ConfigError when nothing was fetched. Nothing printed has a secret of
    the URL."""
    try:
        url = https_url.parse(source)
    except ValueError as error:
        raise Misused(f"give a file, -, or an https:// URL: {error}") from None
    try:
        found = asyncio.run(_fetch(call, paths, url, limit=limit, direct=direct, agent=agent))
    except DownloadFailed as error:
        call.output.hint(f"Not fetched{'' if direct else ' through a relay'}: {error}.")
        can_help = not direct and not error.is_final
        if not can_help:
            raise ConfigError(f"{hide_paths(source)}: cannot be fetched") from None
        if sys.stdin is None or not sys.stdin.isatty():
            remedy = f"to fetch it direct, so that your provider sees {url.host}: --direct"
            raise ConfigError(f"{hide_paths(source)}: cannot be fetched; {remedy}") from None
        if not confirm(f"Fetch it direct? Your provider sees {url.host}."):
            raise ConfigError(f"{hide_paths(source)}: nothing was fetched") from None
        return fetch_asking(call, paths, source, limit=limit, direct=True, agent=agent)
    return FetchedFile(url.host, found.content, found.content_type, found.userinfo, direct)


async def _fetch(
    call: Invocation, paths: Paths, url: https_url.HttpsUrl, *, limit: int, direct: bool, agent: str
) -> Downloaded:
    async with fetching(paths, ListCopies(paths.lists_dir), call.features) as context:
        found = await fetch(
            context, url, 0.0, direct=direct, asked=True, limit=limit, remedy="use --direct", agent=agent
        )
    assert found is not None  # no copy was known
    return found
