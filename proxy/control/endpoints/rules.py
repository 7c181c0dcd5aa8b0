"""Rules and their hits."""

from __future__ import annotations

from aiohttp import web

from proxy.control import serialize
from proxy.control.access import Refused
from proxy.control.answers import answer
from proxy.control.dependencies import Dependencies
from proxy.control.request_parsing import parse_body, parse_field, parse_query
from proxy.control.site import site
from proxy.control.site_reader import NO_REQUEST_ID
from proxy.model import Inbound, NetworkId, Request
from proxy.routing.rules import Situation, parse_network


class RuleEndpoints:
    """Lists the rules, and tests them on a URL."""

    def __init__(self, parts: Dependencies) -> None:
        self._parts = parts

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/rules", self.rules),
            web.post("/v1/rules/test", self.test_rules),
        ]

    async def rules(self, request: web.Request) -> web.Response:
        parse_query(request)
        router = self._parts.setup().router
        return answer(**serialize.rules(router.rules, router.overrides, self._parts.rule_hits))

    async def test_rules(self, request: web.Request) -> web.Response:
        asked = await parse_body(request, {"url": str, "process": str, "network": str})
        if "url" not in asked:
            raise Refused(400, "url is missing")
        destination, networks = parse_field(site, asked["url"]), self._parts.setup().settings.networks
        network = self._parts.network()
        if "network" in asked:
            named = parse_field(lambda text: parse_network(text, networks), asked["network"])
            network = NetworkId(networks.get(named, named))
        situation = Situation(network, asked.get("process", "").lower())
        made = await self._parts.plan(Request(NO_REQUEST_ID, destination, Inbound.CONNECT, client=""), situation)
        trace = self._parts.setup().router.trace(destination, situation)
        return answer(
            **serialize.destination(destination),
            plan=serialize.plan(made),
            trace=list(trace),
            mode=serialize.mode(self._parts.modes),
        )
