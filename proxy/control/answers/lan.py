"""The devices of the network that use Byway, for `byway lan`, `status` and the page."""

from __future__ import annotations

from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class GuestJson:
    """A device that may use Byway. `open` is its number of open connections, `visits` that of those that have ended.
    `since` is in seconds since the epoch."""

    address: str
    hardware: str
    since: float
    open: int
    visits: int
    bytes_up: int
    bytes_down: int


@frozen_dataclass
class WaitingJson:
    """A device that waits for the user's answer, for `left_s` more seconds."""

    address: str
    hardware: str
    left_s: float


@frozen_dataclass
class LanJson:
    """Whether devices of the network are served: at `address` on `interface`, on `network`, until `ends_at`, seconds
    since the epoch. `url` is the page for devices. `expected` are addresses whose first device is admitted without a
    question. While they are not served, these are empty, and `ended` says why the last time has ended."""

    is_on: bool
    network: str = ""
    interface: str = ""
    address: str = ""
    url: str = ""
    ends_at: float | None = None
    guests: tuple[GuestJson, ...] = ()
    waiting: tuple[WaitingJson, ...] = ()
    expected: tuple[str, ...] = ()
    ended: str = ""
