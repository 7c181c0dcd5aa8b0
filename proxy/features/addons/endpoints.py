"""Addons: their state."""

from __future__ import annotations

from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.features.addons.answers import AddonJson, AddonsAnswer


class AddonEndpoints:
    """Answers with the addons."""

    def __init__(self, frame: Frame) -> None:
        self.parts = frame.parts

    def routes(self) -> list[Endpoint]:
        return [Endpoint("GET", "/v1/addons", self.addons)]

    async def addons(self) -> AddonsAnswer:
        """Lists the addons."""
        return AddonsAnswer(tuple(map(AddonJson.of, self.parts.addons())))
