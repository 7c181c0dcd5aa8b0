"""What is switched on a running Byway: reload, mode, system proxy, forgetting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.model import AutoMode
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.setup.desktop.proxy_settings import DesktopName
from proxy.setup.desktop.system_proxy import Restored

if TYPE_CHECKING:
    from proxy.control.dependencies import ModeControl


@frozen_dataclass
class ReloadAnswer:
    """Whether the configuration was taken; otherwise, every problem with its file and line."""

    taken: bool
    problems: tuple[str, ...]


@frozen_dataclass
class ModeJson:
    """What AUTO does. `paused_until` is null when it is not paused."""

    mode: AutoMode
    paused_until: float | None

    @classmethod
    def of(cls, modes: ModeControl) -> ModeJson:
        return cls(modes.mode, modes.paused_until or None)


@frozen_dataclass
class ModeAnswer:
    """What AUTO does, and how many relays it may use."""

    mode: ModeJson
    relays: int


@frozen_dataclass
class SystemProxyOnAnswer:
    """Byway is the system proxy of a desktop now, by `url`. `strict_by` is the setting that chose the strict PAC file,
    empty when none did; `asks_password`: whether programs must give a user and a password."""

    on: bool
    desktop: DesktopName
    url: str
    strict_by: str
    listen: str
    asks_password: bool


@frozen_dataclass
class SystemProxyOffAnswer:
    """Byway is not the system proxy any more. `restored` is what was done with the settings that were there before."""

    on: bool
    restored: Restored


@frozen_dataclass
class ForgetAnswer:
    """What was deleted beside the log, in words."""

    deleted: tuple[str, ...]


@frozen_dataclass
class StopAnswer:
    """Byway ends now, as the process with this pid. Open tunnels may finish for `drain_s`."""

    pid: int
    port: int
    drain_s: float
