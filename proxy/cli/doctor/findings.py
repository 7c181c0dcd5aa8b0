"""The steps of `byway doctor`, in their order, and what one of them found."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from proxy.model.frozen_dataclass import frozen_dataclass


class Step(StrEnum):
    """In the order of the ladder: what stands below another step often explains it."""

    LINK = "link"
    PORTAL = "portal"
    CLOCK = "clock"
    RESOLVER = "resolver"
    NO_RELAY = "no_relay"
    RELAYS_FAIL = "relays_fail"
    DOMESTIC_ONLY = "domestic_only"
    SYSTEM_PROXY = "system_proxy"
    PORT = "port"
    FILE_MODES = "file_modes"
    STALE_SOCKET = "stale_socket"
    DISK_FULL = "disk_full"
    DAMAGED_LOG = "damaged_log"
    PROXY_PACKAGE = "proxy_package"
    OLD_PROCESS = "old_process"


LABELS = {
    Step.LINK: "network connection",
    Step.PORTAL: "captive portal",
    Step.CLOCK: "clock",
    Step.RESOLVER: "DNS resolver",
    Step.NO_RELAY: "relays configured",
    Step.RELAYS_FAIL: "relays work",
    Step.DOMESTIC_ONLY: "foreign sites",
    Step.SYSTEM_PROXY: "system proxy",
    Step.PORT: "port",
    Step.FILE_MODES: "file modes",
    Step.STALE_SOCKET: "control socket",
    Step.DISK_FULL: "disk space",
    Step.DAMAGED_LOG: "log",
    Step.PROXY_PACKAGE: "installation",
    Step.OLD_PROCESS: "version of the process",
}

NO_NETWORK = frozenset({Step.LINK, Step.PORTAL})
"""Steps that say nothing about sites: exit code 6."""


@frozen_dataclass
class Finding:
    """What is wrong: one sentence, and the one thing to do about it."""

    step: Step
    text: str
    do: str
    mend: Callable[[], None] | None = None
    """Mends it, where it is Byway's own. Raises BywayError."""
