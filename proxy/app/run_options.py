"""What is asked of a run: by the command line at its start, and by the command that ends it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class RunOptions:
    """What the command line asks of `app.process.run`."""

    config: Path | None = None
    state: Path | None = None
    port: int | None = None
    listen: str | None = None
    allow: tuple[str, ...] = ()
    ephemeral: bool = False
    not_stored: str = ""
    """Why nothing can be written to the state folder; `ephemeral` is set then."""
    verbose: int = 0
    quiet: bool = False

    @property
    def flags(self) -> dict[str, object]:
        """Settings given on the command line, by their dotted keys."""
        given: dict[str, object] = {
            "listen.port": self.port,
            "listen.address": self.listen,
            "safety.allow": self.allow or None,
        }
        return {key: value for key, value in given.items() if value is not None}

    @property
    def no_system_proxy(self) -> str:
        """Why this run cannot be the system proxy; empty when it can."""
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
    """What a run waits for. Belongs to one loop."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        """It is to end: open tunnels may finish."""
        self.hurry = asyncio.Event()
        """They may not."""
        self.interrupts = 0
        self.begins_again = False
        """The process starts Byway anew, with the same command line."""

    def on_interrupt(self) -> None:
        """The first interrupt ends Byway, the second one at once."""
        self.interrupts += 1
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()
        self.begins_again = False

    def stop(self, *, restart: bool = False, at_once: bool = False) -> None:
        """Ends Byway, after its tunnels or `at_once`. `restart`: it begins again then."""
        self.begins_again = restart
        if at_once:
            self.hurry.set()
        self.asked.set()
