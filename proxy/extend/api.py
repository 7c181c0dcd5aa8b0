"""What an addon may ask of Byway: handed to its `start` hook."""

from __future__ import annotations

from typing import Any


class Api:
    """One addon's own. Everything here is safe to call from a hook."""

    def __init__(self, options: Any) -> None:
        self.options = options
        """An instance of the `Options` that the addon declares, with what `[addons.NAME]` says; None without any."""
