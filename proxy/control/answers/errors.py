"""The answer to a request that was refused or failed."""

from __future__ import annotations

from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class ErrorAnswer:
    """One sentence: what is wrong with the request, or what failed. It may be the last line of a streamed answer."""

    error: str
