"""Reads the configuration and the rules from the files, for commands that need no running Byway.

Everything is checked as by `byway run`, but no password command is run unless the caller requests it: no connection is
opened.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from proxy.config.load import Loaded, load
from proxy.config.paths import Paths
from proxy.config.schema import Settings
from proxy.model import Belief, Destination, Inbound, Plan, Request
from proxy.model.feature import Feature
from proxy.net.poller import make_poller
from proxy.routing.rule import Situation
from proxy.session.setup import Setup
from proxy.setup.checked import Parts
from proxy.setup.steps import make
from proxy.store.list_copies import ListCopies
from proxy.store.subscriptions import with_subscriptions


def read_configuration(paths: Paths) -> Loaded:
    """Loads the configuration and the environment, with the relays of its subscriptions. Raises ConfigError with all
    problems."""
    return with_subscriptions(load(paths.config_to_read, env=os.environ), ListCopies(paths.lists_dir, ephemeral=True))


def make_setup(
    paths: Paths, features: Sequence[Feature] | None = None, *, runs_password_commands: bool = False
) -> Setup:
    """Makes the setup of a start of Byway now, without flags and without overrides of `site set`. It is for reading:
    its routes must not be dialed. `features` are the present ones; None: all. `runs_password_commands`: as a start
    does. Raises ConfigError with all problems."""
    return asyncio.run(_make(paths, features, runs_password_commands=runs_password_commands))


async def _make(paths: Paths, features: Sequence[Feature] | None, *, runs_password_commands: bool) -> Setup:
    loaded = read_configuration(paths)
    with closing(make_poller(asyncio.get_running_loop())) as poller:
        used = loaded if runs_password_commands else replace(loaded, settings=without_passwords(loaded.settings))
        return make(Parts(poller, paths, loaded.settings.listen.port, features=features), used, {})


def plan_offline(setup: Setup, destination: Destination, situation: Situation) -> Plan:
    """Returns the plan for a request to a destination, with no stored status."""
    request = Request(0, destination, Inbound.CONNECT, client="")
    nothing, relays = Belief(destination.host, situation.network), setup.registry.relay_names
    return setup.router.plan(request, nothing, relays=relays, now=time.time(), situation=situation)


def without_passwords(settings: Settings) -> Settings:
    """Returns the settings without password commands and without a user of the proxy."""
    listen = replace(settings.listen, user="", password_cmd="")
    relays = tuple(replace(relay, password_cmd="") for relay in settings.relay)
    return replace(settings, listen=listen, relay=relays)
