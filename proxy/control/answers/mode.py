"""The mode that replaces AUTO."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.model import AutoMode
from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.setup.mode_switch import ModeSwitch


@frozen_dataclass
class ModeJson:
    """The mode that replaces AUTO. `paused_until` is null when it is not paused."""

    mode: AutoMode
    paused_until: float | None

    @classmethod
    def of(cls, modes: ModeSwitch) -> ModeJson:
        return cls(modes.mode, modes.paused_until or None)
