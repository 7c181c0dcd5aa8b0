"""Sites: status, history and overrides."""

from __future__ import annotations

import time
from typing import Annotated

from proxy.control.answers.overrides import OverrideJson
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import Between, parse_field
from proxy.features.sites.answers import ForgottenSiteAnswer, OverrideAnswer, SiteAnswer, SitesAnswer
from proxy.features.sites.measurement_cache import measurements
from proxy.features.sites.reader import list_sites, show_site
from proxy.model import Override
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import scope
from proxy.routing.router import override_text
from proxy.routing.rule_parser import parse_action
from proxy.store.forgetting import Forgotten

OVERRIDE_MAX_S = 366 * 86_400
"""The longest override that ends, a year."""


@frozen_dataclass
class OverrideRequest:
    """The action for the site (auto, direct, relay, relay:NAME, prefer-relay or block), and its length in seconds;
    without it, the override has no end."""

    action: str
    for_s: Annotated[int, Between(1, OVERRIDE_MAX_S)] | None = None


class SiteEndpoints:
    """Lists and shows sites, and sets and removes overrides."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.parts = frame.parts
        self.relays = frame.relays
        self.measured = frame.one(measurements)

    def routes(self) -> list[Endpoint]:
        return [
            Endpoint("GET", "/v1/sites", self.list_sites),
            Endpoint("GET", "/v1/sites/{host}", self.show_site),
            Endpoint("PUT", "/v1/sites/{host}", self.set_site),
            Endpoint("DELETE", "/v1/sites/{host}", self.forget_site),
        ]

    async def list_sites(self) -> SitesAnswer:
        """Lists the sites with a stored status or a recent failure, and the overrides."""
        return await list_sites(self.parts, self._frame.sites)

    async def show_site(self, host: str) -> SiteAnswer:
        """Shows the status, the override and the history of a site."""
        return await show_site(self.parts, parse_field(scope, host), self._frame.sites)

    async def set_site(self, host: str, asked: OverrideRequest) -> OverrideAnswer:
        """Sets the override of a site and its subdomains, which takes precedence over rules."""
        host = parse_field(scope, host)
        action, relay = parse_field(lambda text: parse_action(text, relays=self.relays.usable_names()), asked.action)
        override = Override(action, relay, 0.0 if asked.for_s is None else time.time() + asked.for_s)
        await self._frame.set_override(host, override)
        return OverrideAnswer(host, OverrideJson.of(host, override))

    async def forget_site(self, host: str) -> ForgottenSiteAnswer:
        """Forgets the status of a site, and removes its overrides and those below it."""
        host = parse_field(scope, host)
        overrides = dict(self.parts.overrides)
        below = [name for name in overrides if name == host or name.endswith(f".{host}")]
        for name in below:
            self.parts.services.rule_hits.forget(override_text(name, overrides[name]))
            self.parts.override(name, None)
        self.measured.forget(Forgotten(host))
        changes = self.parts.forget_status(Forgotten(host))
        forgotten = tuple(sorted({change.scope for change in changes}))
        return ForgottenSiteAnswer(host, forgotten, tuple(sorted(below)))
