"""Rules and their hits."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace

from proxy.control.answers.mode import ModeJson
from proxy.control.answers.plans import PlanJson
from proxy.control.endpoint import Endpoint
from proxy.control.frame import Frame
from proxy.control.request_parsing import parse_field
from proxy.features.rules.answers import ListedJson, RulesAnswer, RuleTestAnswer
from proxy.model import NetworkId
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.probe.site_name import site
from proxy.routing.rule import Situation
from proxy.routing.rule_values import parse_network
from proxy.wire.relay_url import redact


@frozen_dataclass
class RuleTestRequest:
    """The URL or host, the program of the request, and the id or the name of the network; without it, the present
    one."""

    url: str
    process: str = ""
    network: str | None = None


class RuleEndpoints:
    """Lists the rules, and tests them on a URL."""

    def __init__(self, frame: Frame) -> None:
        self.parts = frame.parts

    def routes(self) -> list[Endpoint]:
        return [Endpoint("GET", "/v1/rules", self.rules), Endpoint("POST", "/v1/rules/test", self.test_rules)]

    async def rules(self) -> RulesAnswer:
        """Lists the rules and overrides in use, with their hits. If an edited file is not in use, the first notice is
        the reason."""
        router = self.parts.setup().router
        answer = RulesAnswer.of(router.rules, router.overrides, self.parts.services.rule_hits)
        return replace(answer, notices=tuple(self.notices()))

    def notices(self) -> list[str]:
        """Returns the notices about the rules in use; before them the reason, if an edited file is not in use."""
        notices = [*self.parts.setup().router.rules.notices]
        if problem := redact(str(self.parts.counters().get("config_problem", ""))):
            notices.insert(0, f"These are the rules in use; the edited configuration is not: {problem}")
        return notices

    async def test_rules(self, asked: RuleTestRequest) -> RuleTestAnswer:
        """Explains the plan for a URL; nothing is sent."""
        destination, networks = parse_field(site, asked.url), self.parts.settings.networks
        network = self.parts.network()
        if asked.network is not None:
            named = parse_field(lambda text: parse_network(text, networks), asked.network)
            network = NetworkId(networks.get(named, named))
        situation = Situation(network, asked.process.lower())
        made = await self.parts.plan(destination, situation)
        trace = self.parts.setup().router.trace(destination, situation, now=time.time())
        listed = await self.listed(destination.host)
        return RuleTestAnswer(
            host=destination.host,
            port=destination.port,
            plan=PlanJson.of(made),
            trace=tuple(trace),
            listed=tuple(listed),
            mode=ModeJson.of(self.parts.modes),
        )

    async def listed(self, host: str) -> list[ListedJson]:
        """Returns the lists in use that name a host in canonical spelling."""
        found, in_use = [], self.parts.setup().router.rules.lists
        for item in self.parts.settings.list:
            if item.name in in_use and (entry := in_use[item.name].covering(host)) is not None:
                text = ""
                with contextlib.suppress(ConfigError):  # its copy is gone, and the list in memory stays in use
                    text = await self.parts.list_text(item)
                found.append(await asyncio.to_thread(ListedJson.of, item.name, entry, in_use[item.name], text))
        return found
