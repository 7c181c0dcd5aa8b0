"""What Byway does now: problems, traffic of the routes, addons, and all of `byway status`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from proxy.control.answers.relays import GroupJson, RelayJson
from proxy.control.answers.sites import OverrideJson, SiteJson
from proxy.control.answers.switches import ModeJson
from proxy.model import NetworkState
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact

if TYPE_CHECKING:
    from proxy.extend.manager import AddonState


class ProblemSubject(StrEnum):
    """What a problem is with."""

    TRAFFIC = "traffic"  # nothing opens
    RELAYS = "relays"
    CONFIGURATION = "configuration"
    ADDONS = "addons"
    NETWORK = "network"
    SITES = "sites"
    LOG = "log"
    BYWAY = "byway"
    """A fault of its own."""


@frozen_dataclass
class ProblemJson:
    """A problem that the user can end: what it is with, what is wrong in a sentence, and the one thing to do."""

    subject: ProblemSubject
    text: str
    do: str


@frozen_dataclass
class TrafficJson:
    """Traffic that fails as a whole: `visits` to `sites` sites have failed since `since`, and none was delivered.
    `text` says it, `do` is what to do."""

    visits: int
    sites: int
    since: float
    text: str
    do: str


@frozen_dataclass
class RouteSuccessJson:
    """What a route did in the last `routes_hours`. `share` is delivered of attempts, from 0 to 1."""

    route: str
    attempts: int
    delivered: int
    failed: int
    share: float
    bytes_up: int
    bytes_down: int


class AddonWord(StrEnum):
    """The state of an addon."""

    OFF = "off"
    RUNS = "runs"
    STOPPED = "stopped"  # disabled after faults, until its file is edited
    FAULTY = "faulty"  # it does not load


@frozen_dataclass
class AddonJson:
    """An addon. One that runs may have `problems` too: the edited version of its file does not load. `version` is that
    of the running one. `dropped` are notifications for which it was too slow."""

    name: str
    file: str
    shipped: bool
    enabled: bool
    state: AddonWord
    version: str
    since: float | None
    hooks: tuple[str, ...]
    problems: tuple[str, ...]
    faults: int
    last_fault: str
    slowest_s: float
    dropped: int

    @classmethod
    def of(cls, state: AddonState) -> AddonJson:
        if not state.file.enabled:
            word = AddonWord.OFF
        elif state.is_off:
            word = AddonWord.STOPPED
        else:
            word = AddonWord.RUNS if state.running else AddonWord.FAULTY
        return cls(
            name=state.name,
            file=str(state.file.path),
            shipped=state.file.shipped,
            enabled=state.file.enabled,
            state=word,
            version=state.running,
            since=state.since or None,
            hooks=tuple(state.hooks),
            problems=tuple(map(redact, state.problems)),
            faults=state.faults,
            last_fault=redact(state.last_fault),
            slowest_s=round(state.slowest_s, 4),
            dropped=state.dropped,
        )


@frozen_dataclass
class AddonsAnswer:
    """All addons that were found."""

    addons: tuple[AddonJson, ...]


@frozen_dataclass
class StatusAnswer:
    """What is on, and what is wrong. `byway` is its version, `listen` the address of the proxy, `network_name` the name
    that `[networks]` gives this network (empty: none). `live` are counters and facts of the moment. `overrides` are
    those that end, `sites` those in trouble on this network, `routes` the routes of the last `routes_hours`. `traffic`
    is null unless traffic fails as a whole."""

    pid: int
    byway: str
    now: float
    listen: str
    network: str
    network_name: str
    network_state: NetworkState
    mode: ModeJson
    traffic: TrafficJson | None
    problems: tuple[ProblemJson, ...]
    notices: tuple[str, ...]
    live: Mapping[str, int | float | str]
    overrides: tuple[OverrideJson, ...]
    relays: tuple[RelayJson, ...]
    groups: tuple[GroupJson, ...]
    routes: tuple[RouteSuccessJson, ...]
    routes_hours: int
    sites: tuple[SiteJson, ...]
