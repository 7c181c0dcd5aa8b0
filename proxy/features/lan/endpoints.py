"""Serves devices of the network, and lets them in. What does the work is imported when it is turned on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from proxy.control.access import Refused
from proxy.control.answers.lan import LanJson
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import Between
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.features.lan.lan import Lan

FOR_MIN_S, FOR_MAX_S = 60, 24 * 3600


@frozen_dataclass
class OnRequest:
    """The seconds for which devices are served, the interface (empty: that of this network), and the addresses of
    devices that are admitted without a question."""

    for_s: Annotated[float, Between(FOR_MIN_S, FOR_MAX_S)]
    interface: str = ""
    clients: tuple[str, ...] = ()


@frozen_dataclass
class DeviceRequest:
    """A device, by its address, and by its hardware address where several claim the address."""

    address: str
    hardware: str = ""


class LanEndpoints:
    """Turns it on and off, and answers the questions about devices."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/lan", self.show),
            Endpoint("PUT", "/v1/lan", self.turn_on),
            Endpoint("DELETE", "/v1/lan", self.turn_off),
            Endpoint("POST", "/v1/lan/allow", self.allow),
            Endpoint("POST", "/v1/lan/deny", self.deny),
            Endpoint("POST", "/v1/lan/remove", self.remove),
        ]

    async def show(self) -> LanJson:
        """Returns whether devices are served, which use it, and which wait."""
        return self._frame.lan() if self._frame.lan is not None else LanJson(is_on=False)

    async def turn_on(self, asked: OnRequest) -> LanJson:
        """Serves devices of this network for a while, or changes the end of that while."""
        try:
            await lan_of(self._frame).turn_on(asked.for_s, asked.interface, asked.clients)
        except BywayError as error:
            raise Refused(400, str(error)) from None
        return await self.show()

    async def turn_off(self) -> LanJson:
        """Stops serving devices, and closes their connections."""
        if self._frame.lan is not None:
            from proxy.features.lan.lan import BY_USER

            lan_of(self._frame).turn_off(BY_USER)
        return await self.show()

    async def allow(self, asked: DeviceRequest) -> LanJson:
        """Admits a device that waits, or the first one that will have the address."""
        return await self._answered(asked, "allow")

    async def deny(self, asked: DeviceRequest) -> LanJson:
        """Refuses a device that waits."""
        return await self._answered(asked, "deny")

    async def remove(self, asked: DeviceRequest) -> LanJson:
        """Ends the admission of a device, and closes its connections."""
        return await self._answered(asked, "remove")

    async def _answered(self, asked: DeviceRequest, answer: str) -> LanJson:
        try:
            answer_about(lan_of(self._frame), answer, asked.address, asked.hardware)
        except BywayError as error:
            raise Refused(400, str(error)) from None
        return await self.show()


def answer_about(lan: Lan, answer: str, address: str, hardware: str) -> None:
    """Allows, denies or removes a device. `hardware` may have colons. Raises BywayError."""
    digits = hardware.replace(":", "").lower()
    if answer == "allow":
        lan.allow(address, digits)
    elif answer == "deny":
        lan.deny(address, digits)
    else:
        lan.remove(address)


def lan_of(frame: Frame) -> Lan:
    """Returns the one Lan of this Byway, which the first call imports and makes."""
    from proxy.features.lan.making import make_lan

    return frame.one(make_lan)
