"""Answers about the present state of Byway: all of `byway status`, the mode, and a stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from proxy.control.answers.lan import LanJson
from proxy.control.answers.mode import ModeJson
from proxy.control.answers.overrides import OverrideJson
from proxy.control.answers.problems import ProblemJson
from proxy.model import NetworkState
from proxy.model.feature import Role, SaidBy
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.route_queries import RouteSuccess


@frozen_dataclass
class TrafficJson:
    """The failure of traffic as a whole: `visits` to `sites` sites have failed since `since`, and none was delivered.
    `text` is a sentence about it, `do` is the remedy."""

    visits: int
    sites: int
    since: float
    text: str
    do: str


@frozen_dataclass
class StatusAnswer:
    """The present state and its problems. `byway` is the version, `listen` the address of the proxy, `network_name` the
    name of this network in `[networks]` (empty: none). `live` are present counters and facts. `overrides` are those
    with an end, `sites` those in trouble on this network, `routes` the routes of the last `routes_hours`. `traffic` is
    null unless traffic fails as a whole, `lan` unless devices of the network are served."""

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
    relays: Annotated[tuple[Any, ...], SaidBy(Role.RELAYS, "relays")]
    groups: Annotated[tuple[Any, ...], SaidBy(Role.RELAYS, "groups")]
    routes: tuple[RouteSuccess, ...]
    routes_hours: int
    sites: Annotated[tuple[Any, ...], SaidBy(Role.SITES)]
    lan: LanJson | None


@frozen_dataclass
class ModeAnswer:
    """The mode of AUTO, and the number of relays that it may use."""

    mode: ModeJson
    relays: int


@frozen_dataclass
class StopAnswer:
    """The process with this pid ends now. Open tunnels have `drain_s` to finish."""

    pid: int
    port: int
    drain_s: float
