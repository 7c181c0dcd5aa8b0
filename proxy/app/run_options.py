"""The options of a run, from the command line, and the requests to end it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class RunOptions:
    """The options of the command line for `app.process.run`."""

    config: Path | None = None
    state: Path | None = None
    port: int | None = None
    listen: str | None = None
    allow: tuple[str, ...] = ()
    ephemeral: bool = False
    not_stored: str = ""
    """The reason why the state folder cannot be written, with `ephemeral` set; empty when it can."""
    verbose: int = 0
    quiet: bool = False

    @property
    def flags(self) -> dict[str, object]:
        """The settings of the command line, by their dotted keys."""
        given: dict[str, object] = {
            "listen.port": self.port,
            "listen.address": self.listen,
            "safety.allow": self.allow or None,
        }
        return {key: value for key, value in given.items() if value is not None}

    @property
    def no_system_proxy(self) -> str:
        """The reason why this run cannot be the system proxy; empty when it can."""
        if self.not_stored:
            return (
                f"Nothing can be stored ({self.not_stored}), so the present system proxy could not be restored after a "
                "crash. Free space or make the folder writable, then restart Byway"
            )
        if self.ephemeral:
            return (
                "With --ephemeral nothing is stored, so the present system proxy could not be restored after a crash. "
                "Run Byway without --ephemeral, or set one browser instead"
            )
        return ""


class Ending:
    """The request to end a run. Belongs to one loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """Set when Byway is to end; open tunnels may finish."""
        self.hurry = asyncio.Event()
        """Set when open tunnels may not finish."""
        self.interrupts = 0
        self.begins_again = False
        """Whether Byway restarts with the same command line."""

    def on_interrupt(self) -> None:
        """Ends Byway after its tunnels; the second interrupt ends it at once."""
        self.interrupts += 1
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()
        self.begins_again = False

    def stop(self, *, restart: bool = False, at_once: bool = False) -> None:
        """Ends Byway, after its tunnels or `at_once`. `restart`: it restarts then."""
        self.begins_again = restart
        if at_once:
            self.hurry.set()
        self.asked.set()
