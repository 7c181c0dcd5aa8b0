"""Settings that last, and switches that do not: configuration, mode, pause, system proxy, forgetting."""

from __future__ import annotations

from aiohttp import web

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.answers.settings import ConfigAnswer, settings_json
from proxy.control.answers.switches import (
    ForgetAnswer,
    ModeAnswer,
    ModeJson,
    ReloadAnswer,
    SystemProxyOffAnswer,
    SystemProxyOnAnswer,
)
from proxy.control.dependencies import Dependencies
from proxy.control.measurement_cache import Measurements
from proxy.control.relay_reader import RelayReader
from proxy.control.request_parsing import FAR_FUTURE, parse_body, parse_field, parse_number, parse_query
from proxy.control.responses import answer
from proxy.control.site import scope
from proxy.desktop.proxy_settings import DesktopName
from proxy.model import PAUSE_MAX_S, AutoMode
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.store.forgetting import Forgotten
from proxy.wire.relay_url import redact


@frozen_dataclass
class SettingsEndpoints:
    """Shows and changes what Byway is set to do."""

    parts: Dependencies
    relays: RelayReader
    measured: Measurements

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/config", self.config),
            web.post("/v1/reload", self.reload),
            web.get("/v1/mode", self.mode),
            web.put("/v1/mode", self.set_mode),
            web.put("/v1/system-proxy", self.set_system_proxy),
            web.post("/v1/forget", self.forget),
        ]

    async def config(self, request: web.Request) -> web.Response:
        parse_query(request)
        setup = self.parts.setup()
        path = setup.loaded.path
        return answer(
            ConfigAnswer(
                path=None if path is None else str(path),
                notices=tuple(map(redact, setup.loaded.notices)),
                settings=settings_json(setup.loaded.settings),
            )
        )

    async def reload(self, request: web.Request) -> web.Response:
        await parse_body(request, {})
        problems = await self.parts.reload()
        return answer(ReloadAnswer(not problems, tuple(map(redact, problems))))

    async def mode(self, request: web.Request) -> web.Response:
        parse_query(request)
        return answer(ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled())))

    async def set_mode(self, request: web.Request) -> web.Response:
        """Sets the mode, or begins a pause of `pause_s` seconds (0: ends one)."""
        asked = await parse_body(request, {"mode": str, "pause_s": float})
        modes = self.parts.modes
        if len(asked) != 1:
            raise Refused(400, "Either mode or pause_s is needed.")
        if (name := asked.get("mode")) is not None:
            settable = [mode for mode in AutoMode if mode is not AutoMode.PAUSED]
            if name not in settable:
                raise Refused(400, f"unknown mode {quoted(name)}; it can be {one_of(settable)}")
            modes.set_mode(AutoMode(name))
        elif (pause_s := asked["pause_s"]) == 0:
            modes.resume()
        elif 1 <= pause_s <= PAUSE_MAX_S:
            modes.pause(pause_s)
        else:
            days = PAUSE_MAX_S / 86_400
            raise Refused(
                400, f"A pause lasts 1 s to {days:g} days. To go direct until you change it: byway mode direct"
            )
        return answer(ModeAnswer(ModeJson.of(self.parts.modes), len(self.relays.enabled())))

    async def set_system_proxy(self, request: web.Request) -> web.Response:
        asked = await parse_body(request, {"desktop": str, "on": bool})
        if not asked.get("on", False):
            return answer(SystemProxyOffAnswer(on=False, restored=await self.parts.system_proxy.turn_off()))
        name = asked.get("desktop", "")
        if name not in list(DesktopName):
            raise Refused(400, f"unknown desktop {quoted(name)}; it can be {one_of(list(DesktopName))}")
        desktop = DesktopName(name)
        now = await self.parts.system_proxy.turn_on(desktop)
        listen = self.parts.setup().settings.listen
        return answer(
            SystemProxyOnAnswer(
                on=True,
                desktop=now.desktop,
                url=now.url,
                strict_by=now.strict_by,
                listen=listen.address,
                asks_password=bool(listen.user),
            )
        )

    async def forget(self, request: web.Request) -> web.Response:
        """Forgets everything, a host, or what came since a moment: exactly one of the three is asked for."""
        asked = await parse_body(request, {"all": bool, "host": str, "since": float})
        if len(asked) != 1 or asked.get("all") is False:
            raise Refused(400, "One of all, host and since is needed.")
        host = parse_field(scope, asked["host"]) if "host" in asked else ""
        since = asked.get("since", 0.0)
        if "since" in asked:
            parse_field(lambda text: parse_number(text, least=1, most=FAR_FUTURE), str(since))
        self.measured.forget()
        return answer(ForgetAnswer(tuple(await self.parts.forget(Forgotten(host, since)))))
