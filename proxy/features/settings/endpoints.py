"""Settings that last, and switches that do not: configuration, mode, pause, system proxy, forgetting."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.answers.switches import (
    ForgetAnswer,
    ModeAnswer,
    ModeJson,
    ReloadAnswer,
    StopAnswer,
    SystemProxyOffAnswer,
    SystemProxyOnAnswer,
)
from proxy.control.config_edits import ConfigEdits
from proxy.control.dependencies import Dependencies
from proxy.control.endpoint import Endpoint
from proxy.control.mode_change import change_mode
from proxy.control.relay_reader import RelayReader
from proxy.control.request_parsing import FAR_FUTURE, Between, parse_field
from proxy.features.settings.answers import ConfigAnswer, settings_json
from proxy.features.sites.measurement_cache import Measurements
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import scope
from proxy.setup.desktop.proxy_settings import DesktopName
from proxy.store.forgetting import Forgotten
from proxy.wire.relay_url import redact


@frozen_dataclass
class ModeRequest:
    """Either a mode (auto, direct or relay), or a pause of so many seconds (0: ends one)."""

    mode: str | None = None
    pause_s: float | None = None


@frozen_dataclass
class StopRequest:
    """Whether Byway begins again, and whether open tunnels end at once."""

    restart: bool = False
    at_once: bool = False


@frozen_dataclass
class SystemProxyRequest:
    """Whether Byway is to be the system proxy, and of which desktop."""

    on: bool = False
    desktop: str = ""


@frozen_dataclass
class ForgetRequest:
    """What to forget: exactly one of everything (true), a host with its subdomains, what came since a moment, and what
    was on a network (its id)."""

    all: bool | None = None
    host: str | None = None
    since: Annotated[float, Between(1, FAR_FUTURE)] | None = None
    network: str | None = None


@frozen_dataclass
class SettingsEndpoints:
    """Shows and changes what Byway is set to do."""

    parts: Dependencies
    relays: RelayReader
    measured: Measurements
    edits: ConfigEdits

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/config", self.config),
            Endpoint("POST", "/v1/reload", self.reload),
            Endpoint("POST", "/v1/stop", self.stop),
            Endpoint("GET", "/v1/mode", self.mode),
            Endpoint("PUT", "/v1/mode", self.set_mode),
            Endpoint("PUT", "/v1/system-proxy", self.set_system_proxy),
            Endpoint("POST", "/v1/forget", self.forget),
        ]

    async def config(self) -> ConfigAnswer:
        """Shows the settings in effect."""
        setup = self.parts.setup()
        path = setup.loaded.path
        return ConfigAnswer(
            path=None if path is None else str(path),
            notices=tuple(map(redact, setup.loaded.notices)),
            settings=settings_json(setup.loaded.settings),
        )

    async def reload(self) -> ReloadAnswer:
        """Reads the configuration, the rules and the lists again."""
        problems = await self.parts.reload()
        return ReloadAnswer(not problems, tuple(map(redact, problems)))

    async def stop(self, asked: StopRequest) -> StopAnswer:
        """Ends Byway, or restarts it."""
        settings = self.parts.setup().settings
        drain_s = 0.0 if asked.at_once else settings.limits.drain_s
        port = int(self.parts.counters().get("port", settings.listen.port))
        if asked.restart and sys.platform == "win32":
            raise Refused(400, "Byway cannot restart itself on Windows: run `byway stop`, then `byway run`")
        self.parts.ending.stop(restart=asked.restart, at_once=asked.at_once)
        return StopAnswer(os.getpid(), port, drain_s)

    async def mode(self) -> ModeAnswer:
        """Shows what AUTO does."""
        return ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled()))

    async def set_mode(self, asked: ModeRequest) -> ModeAnswer:
        """Sets the mode, or begins or ends a pause."""
        try:
            change_mode(self.parts.modes, asked.mode, asked.pause_s)
        except ValueError as error:
            raise Refused(400, str(error)) from None
        return ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled()))

    async def set_system_proxy(self, asked: SystemProxyRequest) -> SystemProxyOnAnswer | SystemProxyOffAnswer:
        """Turns the system proxy on or off."""
        if not asked.on:
            return SystemProxyOffAnswer(on=False, restored=await self.parts.system_proxy.turn_off())
        if asked.desktop not in list(DesktopName):
            raise Refused(400, f"unknown desktop {quoted(asked.desktop)}; it can be {one_of(list(DesktopName))}")
        desktop = DesktopName(asked.desktop)
        now = await self.parts.system_proxy.turn_on(desktop)
        listen = self.parts.setup().settings.listen
        return SystemProxyOnAnswer(
            on=True,
            desktop=now.desktop,
            url=now.url,
            strict_by=now.strict_by,
            listen=listen.address,
            asks_password=bool(listen.user),
        )

    async def forget(self, asked: ForgetRequest) -> ForgetAnswer:
        """Forgets everything, a host, what came since a moment, or what was on a network."""
        given = [each for each in (asked.all, asked.host, asked.since, asked.network) if each is not None]
        if len(given) != 1 or asked.all is False or asked.network == "":
            raise Refused(400, "One of all, host, since and network is needed.")
        host = "" if asked.host is None else parse_field(scope, asked.host)
        what = Forgotten(host, asked.since or 0.0, asked.network or "")
        self.measured.forget(what)
        return ForgetAnswer(tuple(await self.parts.forget(what)))
