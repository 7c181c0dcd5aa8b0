"""The steps of `byway doctor`, in their order, and the findings of a step."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import pgettext


class Step(StrEnum):
    """The steps in their order: a finding of an earlier step often explains those of later ones."""

    LINK = "link"
    PORTAL = "portal"
    CLOCK = "clock"
    RESOLVER = "resolver"
    NO_RELAY = "no_relay"
    RELAYS_FAIL = "relays_fail"
    DOMESTIC_ONLY = "domestic_only"
    TRAFFIC = "traffic"
    NETWORK = "network"
    CONFIGURATION = "configuration"
    ADDONS = "addons"
    SITES = "sites"
    SYSTEM_PROXY = "system_proxy"
    PORT = "port"
    STATE_FOLDER = "state_folder"
    FILE_MODES = "file_modes"
    STALE_SOCKET = "stale_socket"
    DISK_FULL = "disk_full"
    DAMAGED_LOG = "damaged_log"
    BYWAY = "byway"
    PROXY_PACKAGE = "proxy_package"
    OLD_PROCESS = "old_process"
    NOTICE = "notice"


LABELS = {
    Step.LINK: pgettext("doctor", "network connection"),
    Step.PORTAL: pgettext("doctor", "captive portal"),
    Step.CLOCK: pgettext("doctor", "clock"),
    Step.RESOLVER: pgettext("doctor", "DNS resolver"),
    Step.NO_RELAY: pgettext("doctor", "relays"),
    Step.RELAYS_FAIL: pgettext("doctor", "relays"),
    Step.DOMESTIC_ONLY: pgettext("doctor", "foreign sites"),
    Step.TRAFFIC: pgettext("doctor", "traffic"),
    Step.NETWORK: pgettext("doctor", "network"),
    Step.CONFIGURATION: pgettext("doctor", "configuration"),
    Step.ADDONS: pgettext("doctor", "addons"),
    Step.SITES: pgettext("doctor", "sites"),
    Step.SYSTEM_PROXY: pgettext("doctor", "system proxy"),
    Step.PORT: pgettext("doctor", "port"),
    Step.STATE_FOLDER: pgettext("doctor", "state directory"),
    Step.FILE_MODES: pgettext("doctor", "file modes"),
    Step.STALE_SOCKET: pgettext("doctor", "control socket"),
    Step.DISK_FULL: pgettext("doctor", "disk space"),
    Step.DAMAGED_LOG: pgettext("doctor", "log"),
    Step.BYWAY: pgettext("doctor", "Byway itself"),
    Step.PROXY_PACKAGE: pgettext("doctor", "installation"),
    Step.OLD_PROCESS: pgettext("doctor", "version of the process"),
    Step.NOTICE: pgettext("doctor", "notice"),
}

NO_NETWORK = frozenset({Step.LINK, Step.PORTAL})
"""Steps that say nothing about sites: exit code 6."""


@frozen_dataclass
class Finding:
    """A problem in one sentence (`text`), and its remedy (`do`); empty when the sentence has it."""

    step: Step
    text: str
    do: str
    mend: Callable[[], None] | None = None
    """Repairs it, for a problem of Byway's own. Raises BywayError."""
    prevents_start: bool = False
    """Whether Byway refuses to start with it."""
