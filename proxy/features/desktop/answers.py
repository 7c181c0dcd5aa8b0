"""Answers about the system proxy."""

from __future__ import annotations

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _
from proxy.setup.desktop.proxy_settings import DesktopName
from proxy.setup.desktop.system_proxy import Restored

RESTORED = {
    Restored.NOTHING: _("Byway was not the system proxy. Nothing was changed."),
    Restored.RESTORED: _("The earlier system proxy setting was restored."),
    Restored.KEPT_NEWER: _("The system proxy was changed by another program since. That value was kept."),
}


@frozen_dataclass
class SystemProxyOnAnswer:
    """Byway is now the system proxy of a desktop, by `url`. `strict_by` is the setting that requires the strict PAC
    file (empty: none); `asks_password`: whether programs must send a user and a password."""

    on: bool
    desktop: DesktopName
    url: str
    strict_by: str
    listen: str
    asks_password: bool


@frozen_dataclass
class SystemProxyOffAnswer:
    """Byway is not the system proxy any more. `restored` is the result for the earlier settings."""

    on: bool
    restored: Restored
