"""The configuration in use, its reload, and forgetting."""

from __future__ import annotations

from typing import Annotated

from proxy.control.access import Refused
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import FAR_FUTURE, Between, parse_field
from proxy.features.settings.answers import ConfigAnswer, ForgetAnswer, ReloadAnswer, settings_json
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import scope
from proxy.store.forgetting import Forgotten
from proxy.wire.relay_url import redact


@frozen_dataclass
class ForgetRequest:
    """The data to forget: exactly one of everything (true), a host with its subdomains, everything since a moment, and
    everything on a network (its id)."""

    all: bool | None = None
    host: str | None = None
    since: Annotated[float, Between(1, FAR_FUTURE)] | None = None
    network: str | None = None


class SettingsEndpoints:
    """Shows and reloads the configuration, and forgets data."""

    def __init__(self, frame: Frame) -> None:
        self.parts = frame.parts
        self._frame = frame

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/config", self.config),
            Endpoint("POST", "/v1/reload", self.reload),
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

    async def forget(self, asked: ForgetRequest) -> ForgetAnswer:
        """Forgets everything, a host, everything since a moment, or everything on a network."""
        given = [each for each in (asked.all, asked.host, asked.since, asked.network) if each is not None]
        if len(given) != 1 or asked.all is False or asked.network == "":
            raise Refused(400, "One of all, host, since and network is needed.")
        host = "" if asked.host is None else parse_field(scope, asked.host)
        what = Forgotten(host, asked.since or 0.0, asked.network or "")
        self._frame.forget(what)
        deleted = await self.parts.forget(what)
        if what.is_all:
            self._frame.sign_in.forget()
            await self._frame.sign_in.written()
        return ForgetAnswer(tuple(deleted))
