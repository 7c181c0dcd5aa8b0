"""One-time codes for the dashboard."""

from __future__ import annotations

from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class CodeLine:
    """A code for one use, and the seconds for which it is valid."""

    code: str
    valid_s: float


@frozen_dataclass
class CodeUsedLine:
    """Whether the code was used while it was valid."""

    used: bool
