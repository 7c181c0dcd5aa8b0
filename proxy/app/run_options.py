"""What the command line asks of a run."""

from __future__ import annotations

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
