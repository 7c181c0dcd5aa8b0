"""Prints the listening address and the next steps at a start."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import Protocol

from proxy.config.command_name import typed_here
from proxy.model import Destination
from proxy.model.feature import Feature, Role, usable
from proxy.net.poller import Poller
from proxy.net.tasks import spawn
from proxy.setup.reload import ActiveSetup


class FirstSteps(Protocol):
    """Prints the next steps at a terminal: those for a browser, or all, which include a search for relays."""

    def print_line(self, text: str) -> None: ...
    def print_browser(self) -> None: ...
    async def print_all(self) -> None: ...


def print_greeting(active: ActiveSetup, address: Destination, poller: Poller, features: Sequence[Feature]) -> None:
    """Prints that Byway listens at `address`, and logs the notices of the configuration. At a terminal it prints the
    next steps as well (`FirstSteps`)."""
    active.log_notices()
    listens = f"Byway listens on {address} for HTTP, SOCKS4 and SOCKS5"
    relays = active.setup.registry.relay_names
    through = f"relays: {', '.join(relays)}" if relays else "no relay"
    make = usable(features, Role.FIRST_STEPS) if sys.stdout is not None and sys.stdout.isatty() else None
    if make is None:
        advice = "" if relays else f"; add one with `{typed_here()} relay add URL`"
        with contextlib.suppress(BrokenPipeError):
            print(f"{listens} ({through}{advice}).", flush=True)
            print(f"Set {address} as your browser's proxy, then see `{typed_here()} status`. Ctrl-C stops.", flush=True)
        return
    steps: FirstSteps = make(address.from_here(), poller, command=typed_here())
    steps.print_line(f"{listens} ({through}). Ctrl-C stops it.")
    if active.setup.settings.relay:
        steps.print_browser()
    else:
        spawn(steps.print_all(), name="print the first steps")
