"""Rules and their hits."""

from __future__ import annotations

from aiohttp import web

from proxy.control.access import Refused
from proxy.control.answers.connections import PlanJson
from proxy.control.answers.rules import RulesAnswer, RuleTestAnswer
from proxy.control.answers.switches import ModeJson
from proxy.control.dependencies import Dependencies
from proxy.control.request_parsing import parse_body, parse_field, parse_query
from proxy.control.responses import answer
from proxy.control.site import site
from proxy.control.site_reader import NO_REQUEST_ID
from proxy.model import Inbound, NetworkId, Request
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rules import Situation, parse_network


@frozen_dataclass
class RuleEndpoints:
    """Lists the rules, and tests them on a URL."""

    parts: Dependencies

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/rules", self.rules),
            web.post("/v1/rules/test", self.test_rules),
        ]

    async def rules(self, request: web.Request) -> web.Response:
        parse_query(request)
        router = self.parts.setup().router
        return answer(RulesAnswer.of(router.rules, router.overrides, self.parts.rule_hits))

    async def test_rules(self, request: web.Request) -> web.Response:
        asked = await parse_body(request, {"url": str, "process": str, "network": str})
        if "url" not in asked:
            raise Refused(400, "url is missing")
        destination, networks = parse_field(site, asked["url"]), self.parts.setup().settings.networks
        network = self.parts.network()
        if "network" in asked:
            named = parse_field(lambda text: parse_network(text, networks), asked["network"])
            network = NetworkId(networks.get(named, named))
        situation = Situation(network, asked.get("process", "").lower())
        made = await self.parts.plan(Request(NO_REQUEST_ID, destination, Inbound.CONNECT, client=""), situation)
        trace = self.parts.setup().router.trace(destination, situation)
        return answer(
            RuleTestAnswer(
                host=destination.host,
                port=destination.port,
                plan=PlanJson.of(made),
                trace=tuple(trace),
                mode=ModeJson.of(self.parts.modes),
            )
        )
