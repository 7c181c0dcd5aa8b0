"""The answer to a request that was refused or failed."""

from __future__ import annotations

from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class ErrorAnswer:
    """The fault of a request, or the error that stopped its answer, in one sentence. It may be the last line of a
    streamed answer."""

    error: str
