"""The system proxy."""

from __future__ import annotations

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.features.desktop.answers import SystemProxyOffAnswer, SystemProxyOnAnswer
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.setup.desktop.proxy_settings import DesktopName


@frozen_dataclass
class SystemProxyRequest:
    """Whether Byway is to be the system proxy, and of which desktop."""

    on: bool = False
    desktop: str = ""


class SystemProxyEndpoints:
    """Turns the system proxy on and off."""

    def __init__(self, frame: Frame) -> None:
        self.parts = frame.parts

    def routes(self) -> list[Endpoint]:
        return [Endpoint("PUT", "/v1/system-proxy", self.set_system_proxy)]

    async def set_system_proxy(self, asked: SystemProxyRequest) -> SystemProxyOnAnswer | SystemProxyOffAnswer:
        """Turns the system proxy on or off."""
        if not asked.on:
            return SystemProxyOffAnswer(on=False, restored=await self.parts.system_proxy.turn_off())
        if asked.desktop not in list(DesktopName):
            raise Refused(400, f"unknown desktop {quoted(asked.desktop)}; it can be {one_of(list(DesktopName))}")
        desktop = DesktopName(asked.desktop)
        now = await self.parts.system_proxy.turn_on(desktop)
        listen = self.parts.settings.listen
        return SystemProxyOnAnswer(
            on=True,
            desktop=now.desktop,
            url=now.url,
            strict_by=now.strict_by,
            listen=listen.address,
            asks_password=bool(listen.user),
        )
