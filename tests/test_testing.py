"""The helper for tests of addons: an addon's own test is three lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.model import Action, Destination, HttpRequest, Inbound, Route, State, Symptom
from proxy.model.errors import ConfigError
from proxy.testing import NETWORK, attempt, change, load, outcome, plan, request, signal

PIN = """
from dataclasses import dataclass, replace

@dataclass
class Options:
    relay: str = "tor"

class Pin:
    def start(self, api):
        self.api = api

    def plan(self, request, plan):
        return plan.via(self.api.options.relay) if request.destination.host.endswith(".org") else None

    def signal(self, request, signal):
        return replace(signal, weight=0.0) if self.api.network() == "train" else None

    async def change(self, change):
        self.api.notify(change.scope, change.why)
        return await self._waited()

    async def _waited(self):
        return self.api.now()

class Second:
    def plan(self, request, plan):
        return plan.inspect()

    def signal(self, request, signal):
        return None

addons = [Pin()]
"""


def file(tmp_path: Path, text: str = PIN) -> Path:
    path = tmp_path / "pin.py"
    path.write_text(text)
    return path


def test_the_site_goes_through_tor(tmp_path: Path) -> None:
    addon = load(file(tmp_path))
    assert addon.plan(request("www.example.org"), plan()) == plan().via("tor")
    assert addon.plan(request("example.com"), plan()) is None


def test_options_network_and_clock(tmp_path: Path) -> None:
    addon = load(file(tmp_path), {"relay": "vps"}, network="train")
    assert addon.plan(request(), plan()) == plan().via("vps")
    assert addon.signal(request(), signal()).weight == 0
    addon.api.on("home")
    assert addon.signal(request(), signal()) is None


def test_an_async_hook_is_run_to_its_end(tmp_path: Path) -> None:
    addon = load(file(tmp_path))
    addon.api.at(7.0)
    assert addon.change(change("a.example", why="so")) == 7.0
    assert addon.api.notified == [("a.example", "so")]


async def test_in_an_async_test_it_is_awaited(tmp_path: Path) -> None:
    addon = load(file(tmp_path))
    assert await addon.change(change("a.example")) == 0.0
    assert addon.plan(request(), plan()) == plan().via("tor")


def test_several_objects_answer_as_in_byway(tmp_path: Path) -> None:
    addon = load(file(tmp_path, PIN.replace("[Pin()]", "[Pin(), Second()]")), network="train")
    assert len(addon.objects) == 2
    assert addon.plan(request(), plan()) == plan().via("tor").inspect()
    assert addon.plan(request("example.com"), plan()) == plan().inspect()
    assert addon.signal(request(), signal()).weight == 0
    addon = load(
        file(tmp_path, PIN.replace("[Pin()]", "[Second(), Pin(), Pin()]").replace("def plan", "async def plan"))
    )
    assert addon.plan(request(), plan()) == plan().inspect().via("tor")


def test_a_hook_that_it_has_not_is_named(tmp_path: Path) -> None:
    addon = load(file(tmp_path))
    with pytest.raises(AttributeError, match=r"pin\.py has no hook classify"):
        addon.classify("", b"")
    with pytest.raises(AttributeError, match=r"pin\.py has nothing called plam"):
        addon.plam()


@pytest.mark.parametrize(("options", "said"), [({"relais": "x"}, "did you mean relay"), ({"relay": 5}, "valid string")])
def test_what_byway_would_not_load_is_not_loaded(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(file(tmp_path), options)


def test_requests() -> None:
    assert request("Example.ORG.").destination == Destination("example.org", 443)
    assert request("example.org:8443").destination.port == 8443
    assert request("https://example.org/path").http is None
    plain = request("http://example.org/a?b=c", method="POST")
    assert (plain.destination.port, plain.inbound) == (80, Inbound.HTTP)
    assert plain.http == HttpRequest("POST", "/a?b=c")
    assert request("http://example.org").http == HttpRequest("GET", "/")
    assert request(inbound=Inbound.SOCKS5).inbound is Inbound.SOCKS5


def test_plans_signals_and_what_became_of_them() -> None:
    assert plan().routes == (Route(),)
    assert plan("tor", action="RELAY").action is Action.RELAY
    assert (signal("tls_reset").weight, signal("tls_reset").cause) == (2.0, "sni_reset")
    assert signal("mine", weight=3, cause="ip").weight == 3
    failed = attempt("direct", "reset")
    assert (failed.symptom, failed.delivered) == (Symptom.RESET, False)
    ended = outcome("http://example.org/", failed, attempt("tor"), bytes_down=5)
    assert (ended.winner, ended.protocol, ended.plan.routes) == (Route(("tor",)), "http", (Route(), Route(("tor",))))
    assert outcome().winner is None
    assert (change().after, change().network, change(after="works").after) == (State.BLOCKED, NETWORK, State.WORKS)
