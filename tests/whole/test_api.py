"""Every endpoint, over a real socket with a real client."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from proxy.config.schema import GroupConfig, ListConfig, RelayConfig
from proxy.control import api as api_module
from proxy.control.streaming import FAULT
from proxy.detect.beliefs.events import ControlAnswered, Intercepted
from proxy.detect.relay_ways import Obstacle, RelayObstacle
from proxy.detect.verdict.site_status import LastResult, SiteStatus, Source
from proxy.extend.loading.addon import AddonFile
from proxy.extend.manager import AddonState
from proxy.model import (
    DIRECT,
    Action,
    Attempt,
    Belief,
    ConnectivityResult,
    Destination,
    Override,
    Plan,
    Protocol,
    Route,
    Stage,
    State,
    Symptom,
    as_evidence,
)
from proxy.model.document import document
from proxy.model.errors import DialError
from proxy.model.relay_way import RelayWay
from proxy.net.stream import Stream
from proxy.routing.lists.formats import parse_list
from proxy.routing.router import override_text
from tests.support.control_world import SECRET, World, follow, read
from tests.support.opened import Opened, open_three
from tests.support.outcomes import HOME, TOR, delivered, failed, outcome, rescued, works
from tests.support.rows import each_row

BLOG = "blog.example.net"
NOW = time.time()
"""Rows have to be young: old ones are retired."""


async def test_status_says_what_is_on_and_what_is_in_trouble(api: ClientSession, world: World) -> None:
    world.see(works("fine.example", at=time.time()), rescued(host=BLOG, at=time.time()))
    world.store.flush()
    status = await read(api, "/v1/status")
    assert status["listen"] == "127.0.0.1:8119"
    assert [(site["scope"], site["words"], site["last_good"]) for site in status["sites"]] == [
        (BLOG, "likely blocked", "tor")
    ]
    assert {route["route"]: (route["delivered"], route["failed"]) for route in status["routes"]} == {
        "direct": (1, 1),
        "tor": (1, 0),
    }
    assert status["problems"] == []
    assert status["notices"] == ["a notice"]


async def test_status_names_an_override_whose_relay_is_gone(api: ClientSession, world: World) -> None:
    """A chain over a group is one that is configured, although there are only chains with its members."""
    world.settings = replace(
        world.settings,
        relay=(*world.settings.relay, RelayConfig("far", "socks5h://far.example:1080>eu")),
        group=(*world.settings.group, GroupConfig("eu", ("tor", "vps"))),
    )
    world.overrides |= {"a.example": Override(Action.RELAY, "old"), "b.example": Override(Action.RELAY, "far")}
    world.overrides_changed()
    told = [it for it in (await read(api, "/v1/status"))["notices"] if "override" in it]
    assert [it.partition(",")[0] for it in told] == ["the override of a.example names relay old"]


async def test_status_says_what_is_wrong(api: ClientSession, world: World) -> None:
    world.counters |= {"dropped_rows": 3, "config_problem": f"config.toml:3: https://u:{SECRET}@h is no relay"}
    for _ in range(5):
        world.health.failed("tor", time.time(), error="relay tor broke off")
    status = await read(api, "/v1/status")
    texts = [problem["text"] for problem in status["problems"]]
    assert texts == [
        "Relay tor keeps failing: relay tor broke off",
        "The edited configuration is not in use: config.toml:3: https://u:***@h is no relay",
        "3 log entries were lost.",
    ]
    assert all(problem["do"] for problem in status["problems"])


async def test_status_says_what_is_wrong_with_the_network_and_who_reads_along(api: ClientSession, world: World) -> None:
    now = time.time()
    world.parts.beliefs.learn(
        ControlAnswered("c.example", ConnectivityResult.PORTAL, started=now), network=HOME, now=now
    )
    for number in range(4):
        name = f"site{number}.example"
        world.parts.beliefs.learn(Intercepted(name, known=True, fingerprint="ab" * 32), network=HOME, now=now)
    status = await read(api, "/v1/status")
    assert status["network_state"] == "portal"
    login, reading = status["problems"]
    assert "login page" in login["text"]
    text = "TLS interception: site0.example, site1.example, site2.example and others. Using relays only."
    assert reading["text"] == text
    assert reading["do"] == "byway why site0.example"


async def test_log_gives_rows_with_their_attempts(api: ClientSession, world: World) -> None:
    world.see(works("fine.example", at=NOW - 100), rescued(host=BLOG, at=NOW))
    rows = (await read(api, "/v1/log"))["rows"]
    assert [row["host"] for row in rows] == [BLOG, "fine.example"]
    assert [(a["route"], a["stage"], a["symptom"]) for a in rows[0]["attempts"]] == [
        ("direct", "first_byte", "reset"),
        ("tor", "done", ""),
    ]


@pytest.mark.parametrize(
    ("query", "hosts"),
    [
        ({"since": str(NOW - 50)}, [BLOG]),
        ({"site": "example.net"}, [BLOG]),
        ({"site": "https://EXAMPLE.net/x"}, [BLOG]),
        ({"route": "tor"}, [BLOG]),
        ({"outcome": "rescued"}, [BLOG]),
        ({"outcome": "direct"}, ["fine.example"]),
        ({"outcome": "failed"}, []),
        ({"limit": "1"}, [BLOG]),
    ],
)
async def test_log_can_be_narrowed(api: ClientSession, world: World, query: dict[str, str], hosts: list[str]) -> None:
    world.see(works("fine.example", at=NOW - 100), rescued(host=BLOG, at=NOW))
    assert [row["host"] for row in (await read(api, "/v1/log", **query))["rows"]] == hosts


@each_row(
    "query",
    ["since=nan", "since=-1", "since=1e99", "since=1_0", "limit=0", "limit=10001", "outcome=odd", "site=a..b", "x=1",
     "since=1&since=2"],
)  # fmt: skip
async def test_log_refuses_what_makes_no_sense(api: ClientSession, query: str) -> None:
    async with api.get(f"/v1/log?{query}") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]


async def test_why_tells_the_story_of_a_blocked_site(api: ClientSession, world: World) -> None:
    world.see(rescued(host=BLOG, at=time.time()))
    world.store.flush()
    why = await read(api, "/v1/why", host=f"https://{BLOG}/entry")
    assert (why["host"], why["port"]) == (BLOG, 443)
    belief = why["belief"]
    assert (belief["words"], belief["cause"], belief["last_good"]) == ("likely blocked", "sni_reset", "tor")
    assert belief["because"]
    assert "tls_reset" in belief["evidence"]
    assert belief["retest_at"] > belief["since"] > 0
    assert why["plan"]["routes"][0] == "tor"
    assert why["connections"][0]["winner"] == "tor"
    assert [(change["before"], change["after"]) for change in why["changes"]] == [("unknown", "suspect")]
    assert "tor" in why["advice"]


async def test_why_says_not_tested_when_nothing_is_known(api: ClientSession) -> None:
    why = await read(api, "/v1/why", host="never.example")
    assert why["belief"]["words"] == "not tested"
    assert why["connections"] == why["changes"] == []
    assert why["plan"]["routes"][0] == "direct"
    assert why["plan"]["routes"][-2:] == ["tor", "vps"]


async def test_why_leaves_out_the_connections_of_hosts_below(api: ClientSession, world: World) -> None:
    world.see(rescued(host=BLOG, at=time.time()))
    assert (await read(api, "/v1/why", host="example.net"))["connections"] == []


@each_row("query", ["", "host=", "host=a..b", "host=http://", "host=x:99999", "hots=x"])
async def test_why_refuses_what_is_no_host(api: ClientSession, query: str) -> None:
    async with api.get(f"/v1/why?{query}") as answer:
        assert answer.status == 400


async def test_rules_are_listed_and_tested(api: ClientSession) -> None:
    rules = (await read(api, "/v1/rules"))["rules"]
    assert [(rule["line"], rule["type"], rule["value"], rule["action"], rule["relay"]) for rule in rules] == [
        (1, "DOMAIN-SUFFIX", "ads.example", "BLOCK", ""),
        (2, "DOMAIN-SUFFIX", "example.org", "RELAY", "tor"),
    ]
    async with api.post("/v1/rules/test", json={"url": "http://Blog.Example.ORG/x"}) as answer:
        tested = await answer.json()
    assert (tested["host"], tested["port"]) == ("blog.example.org", 80)
    assert tested["plan"]["action"] == "RELAY"
    assert tested["plan"]["routes"] == ["tor"]
    assert tested["trace"][0] == "RELAY:tor by rules.txt:2 DOMAIN-SUFFIX,example.org,RELAY:tor"
    assert tested["listed"] == []


async def test_the_lists_that_name_a_host_are_told_with_the_line(api: ClientSession, world: World) -> None:
    text = "a.example\n# why\nnews.example\n"
    world.settings = replace(world.settings, list=(ListConfig(name="own", source="own.txt"),))
    world.lists = {"own": parse_list(iter([text]), size=len(text), source="own.txt")}
    world.list_texts = {"own": text}
    world.overrides_changed()
    async with api.post("/v1/rules/test", json={"url": "http://www.news.example/"}) as answer:
        listed = (await answer.json())["listed"]
    assert listed == [{"list": "own", "entry": "news.example", "line": 3, "text": "news.example"}]


async def test_rules_are_listed_with_their_hits_and_overrides(api: ClientSession, world: World) -> None:
    world.rules = "DOMAIN,a.example,BLOCK\nDOMAIN,a.example,BLOCK\nMATCH,AUTO\n"
    world.parts.override("example.org", Override(Action.DIRECT))
    world.rule_hits.count("DOMAIN,a.example,BLOCK", 1000.0)
    world.rule_hits.count("site set example.org DIRECT", 2000.0)
    answer = await read(api, "/v1/rules")
    assert [(rule["hits"], rule["last_hit_at"]) for rule in answer["rules"]] == [(1, 1000.0), (0, None), (0, None)]
    (override,) = answer["overrides"]
    assert override == {
        "scope": "example.org",
        "action": "DIRECT",
        "relay": "",
        "until": None,
        "hits": 1,
        "last_hit_at": 2000.0,
    }


async def test_relays_are_listed_with_their_health(api: ClientSession, world: World) -> None:
    world.see(rescued(host=BLOG, at=time.time()))
    world.health.failed("vps", time.time(), error="broke off")
    relays = (await read(api, "/v1/relays"))["relays"]
    assert [(relay["name"], relay["state"], relay["url"]) for relay in relays] == [
        ("tor", "works", "socks5h://127.0.0.1:9050"),
        ("vps", "failed", "https://user:***@relay.example:443"),
    ]
    assert relays[1]["error"] == "broke off"


async def test_what_is_in_the_way_to_a_relay_is_said_wherever_it_is_shown(api: ClientSession, world: World) -> None:
    way = RelayWay(Destination("relay.example", 443), "192.0.2.1")
    world.obstacles["vps"] = RelayObstacle(Obstacle.FROZEN, way, Symptom.FROZEN, 1.0, bytes_down=16_384)
    text = "Transfers through relay vps stall after 16 KB on this network (192.0.2.1:443)."
    relays = (await read(api, "/v1/relays"))["relays"]
    assert [relay["obstacle"] and relay["obstacle"]["text"] for relay in relays] == [None, text]
    assert text in [problem["text"] for problem in (await read(api, "/v1/status"))["problems"]]
    (obstacle,) = (await read(api, "/v1/why", host="a.example"))["relay_obstacles"]
    assert (obstacle["relay"], obstacle["obstacle"], obstacle["way"]) == ("vps", "frozen", "192.0.2.1:443")
    async with api.post("/v1/relays/test", json={"names": ["vps"]}) as answer:
        assert (await answer.json())["results"][0]["obstacle"]["text"] == text


async def test_relays_are_tested_with_the_destination_asked_for(api: ClientSession) -> None:
    async with api.post("/v1/relays/test", json={"names": ["vps", "tor", "vps"], "to": "example.org:80"}) as answer:
        tested = await answer.json()
    assert tested["to"] == {"host": "example.org", "port": 80}
    assert [(result["relay"], result["reachable"], result["handshake"], result["ok"], result["error"])
            for result in tested["results"]] == [
        ("vps", True, True, False, "relay vps will not"),
        ("tor", True, True, False, "relay tor will not"),
    ]  # fmt: skip


async def test_all_relays_are_tested_with_a_control_when_nothing_is_said(api: ClientSession) -> None:
    async with api.post("/v1/relays/test", json={}) as answer:
        tested = await answer.json()
    assert tested["to"] == {"host": "example.com", "port": 443}
    assert [result["relay"] for result in tested["results"]] == ["tor", "vps"]


async def test_a_control_that_is_kept_to_relays_is_not_resolved(api: ClientSession, world: World) -> None:
    for rules, symptom in (("", "relay_refused"), ("DOMAIN,example.com,RELAY\n", "skipped")):
        world.rules = rules
        world.overrides_changed()
        world.resolve_to("example.com", "192.0.2.7")
        world.takes_addresses_only("vps")
        async with api.post("/v1/relays/test", json={"names": ["vps"]}) as answer:
            assert [result["symptom"] for result in (await answer.json())["results"]] == [symptom]


async def test_a_relay_that_there_is_not_cannot_be_tested(api: ClientSession) -> None:
    async with api.post("/v1/relays/test", json={"names": ["\x1b[31m"]}) as answer:
        assert answer.status == 404
        assert "\x1b" not in (await answer.json())["error"]


async def test_sites_lists_what_is_held_and_set(api: ClientSession, world: World) -> None:
    world.see(rescued(host=BLOG, at=time.time()), works("fine.example", at=time.time()))
    world.parts.override("example.org", Override(Action.RELAY, "tor"))
    sites = await read(api, "/v1/sites")
    assert [site["scope"] for site in sites["sites"]] == [BLOG]
    assert sites["overrides"] == [{"scope": "example.org", "action": "RELAY", "relay": "tor", "until": None}]


async def test_what_is_held_of_its_addresses_speaks_for_a_site(api: ClientSession, world: World) -> None:
    """As it does in a plan: a site that goes by the relay for its neighbours' sake is not called unknown."""
    world.resolve_to("fourth.example", "203.0.113.200")
    for number in range(3):
        addresses = {"addresses": f"203.0.113.{number + 1}"}
        timeout = replace(failed(Symptom.TIMEOUT, Stage.CONNECT), evidence=as_evidence(addresses))
        world.see(outcome(timeout, delivered(TOR), host=f"site{number}.example", at=time.time()))
    shown = await read(api, "/v1/sites/fourth.example")
    assert (shown["belief"]["scope"], shown["belief"]["state"]) == ("203.0.113.0/24", "suspect")
    assert (await read(api, "/v1/sites/fifth.example"))["belief"]["state"] == "unknown"


async def test_a_measurement_is_forgotten_with_its_site(api: ClientSession) -> None:
    async with api.post("/v1/why", json={"site": "site.test"}) as answer:
        await answer.read()
    assert (await read(api, "/v1/measurements/site.test"))["measurements"]
    async with api.delete("/v1/sites/site.test") as answer:
        assert answer.status == 200
    assert (await read(api, "/v1/measurements/site.test"))["measurements"] == []


async def test_a_site_is_set_shown_and_forgotten(api: ClientSession, world: World) -> None:
    world.see(rescued(host=BLOG, at=time.time()))
    async with api.put("/v1/sites/Example.NET.", json={"action": "prefer-relay:tor"}) as answer:
        expected = {"scope": "example.net", "action": "PREFER-RELAY", "relay": "tor", "until": None}
        assert (await answer.json())["override"] == expected
    shown = await read(api, f"/v1/sites/{BLOG}")
    assert shown["override"]["scope"] == "example.net"  # the override covers what is below
    assert shown["belief"]["state"] == "suspect"
    counted = override_text("example.net", world.overrides["example.net"])
    world.rule_hits.count(counted, time.time())
    async with api.delete("/v1/sites/example.net") as answer:
        gone = await answer.json()
    assert gone["forgotten"] == [BLOG]
    assert gone["overrides"] == ["example.net"]
    assert world.overrides == {}
    assert world.rule_hits.of(counted).count == 0, "of the override that is gone"
    assert [change.scope for change in world.believed] == [BLOG]
    shown = await read(api, f"/v1/sites/{BLOG}")
    assert (shown["belief"]["words"], shown["override"]) == ("not tested", None)


@each_row(
    ("host", "body"),
    [
        ("a..b", {"action": "direct"}),
        ("example.org", {"action": "odd"}),
        ("example.org", {"action": "relay:none"}),
        ("example.org", {"action": "direct:tor"}),
        ("example.org", {}),
        ("example.org", {"action": 1}),
        ("example.org", {"action": "direct", "more": "x"}),
    ],
)
async def test_what_cannot_be_set_is_refused(api: ClientSession, world: World, host: str, body: dict[str, Any]) -> None:
    async with api.put(f"/v1/sites/{host}", json=body) as answer:
        assert answer.status == 400
    assert world.overrides == {}


async def test_config_shows_settings_without_secrets(api: ClientSession) -> None:
    config = await read(api, "/v1/config")
    assert config["path"] is None
    assert config["settings"]["listen"]["port"] == 8119
    assert config["settings"]["relay"][1]["password_cmd"] == "(set)"


async def test_reload_says_whether_it_was_taken(api: ClientSession, world: World) -> None:
    async with api.post("/v1/reload", json={}) as answer:
        assert await answer.json() == {"version": 2, "taken": True, "problems": []}
    world.problems = [f"config.toml:2: https://u:{SECRET}@h is no relay"]
    async with api.post("/v1/reload", json={}) as answer:
        told = await answer.json()
    assert told == {"version": 2, "taken": False, "problems": ["config.toml:2: https://u:***@h is no relay"]}
    assert world.reloads == 2


async def test_I16_no_answer_holds_a_password(api: ClientSession, world: World) -> None:
    leaky = failed(Symptom.RELAY_AUTH, route=TOR, error=f"https://u:{SECRET}@relay.example refused")
    world.see(outcome(leaky, host=BLOG, error=leaky.error))
    world.health.failed("vps", time.time(), error=f"https://u:{SECRET}@relay.example refused")
    paths = ("status", "rules", "relays", "sites", f"sites/{BLOG}", "config", f"why?host={BLOG}", "log")
    for path in paths:
        async with api.get(f"/v1/{path}") as answer:
            assert answer.status == 200
            assert SECRET not in await answer.text(), path
    (line,) = await follow(api, 1, world, outcome(leaky, host=BLOG, error=leaky.error))
    assert SECRET not in json.dumps(line)


async def test_C10_hosts_and_errors_of_strangers_arrive_as_inert_text(api: ClientSession, world: World) -> None:
    world.see(outcome(failed(error="\x1b[2J<script>"), host="x\x1b[31m.example", error="\ud800"))
    async with api.get("/v1/log") as answer:
        raw = await answer.read()
        assert answer.content_type == "application/json"
    assert b"\x1b" not in raw
    assert raw.isascii()


async def test_a_fault_of_ours_is_told_in_one_sentence(
    api: ClientSession, world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.store, "route_success", lambda since: 1 / 0)
    async with api.get("/v1/status") as answer:
        assert answer.status == 500
        assert (await answer.json())["error"] == FAULT
    assert "GET /v1/status" in caplog.text


async def test_a_measurement_comes_step_by_step(api: ClientSession, world: World) -> None:
    async with api.post("/v1/why", json={"site": "https://never.example"}) as answer:
        assert answer.content_type == "application/x-ndjson"
        lines = [json.loads(line) async for line in answer.content]
    assert all(line["version"] == 2 for line in lines)
    assert all("step" in line for line in lines[:-1])
    last = lines[-1]
    assert last["steps"] == [line["step"] for line in lines[:-1]]
    assert last["verdict"]["words"] == "site down"
    assert last["host"] == "never.example"
    assert last["plan"]["routes"]


@pytest.mark.parametrize("body", [{}, {"site": 1}, {"site": "a..b"}, {"site": "a.test", "path": "/etc"}])
async def test_a_measurement_of_nothing_is_refused(api: ClientSession, body: dict[str, object]) -> None:
    async with api.post("/v1/why", json=body) as answer:
        assert answer.status == 400


# -- addons ------------------------------------------------------------------------------------------------------------

PIN = AddonFile("pin", Path("/home/me/addons/pin.py"), shipped=False, enabled=True)


async def test_addons_tell_what_runs_and_what_is_wrong(api: ClientSession, world: World) -> None:
    world.addons = (
        AddonState(PIN, running="abc", since=5.0, hooks=("plan",), slowest_s=0.001),
        AddonState(replace(PIN, name="edited"), running="abc", problems=(f"edited.py:3: at https://u:{SECRET}@h",)),
        AddonState(replace(PIN, name="faulty"), problems=("faulty.py:3: not valid Python",)),
        AddonState(
            replace(PIN, name="stopped"), is_off=True, faults=3, last_fault="stopped.py:3: plan raised KeyError"
        ),
        AddonState(replace(PIN, name="off", enabled=False, shipped=True)),
    )
    told = {addon["name"]: addon for addon in (await read(api, "/v1/addons"))["addons"]}
    assert {name: addon["state"] for name, addon in told.items()} == {
        "pin": "runs",
        "edited": "runs",
        "faulty": "faulty",
        "stopped": "stopped",
        "off": "off",
    }
    assert told["edited"]["problems"] == ["edited.py:3: at https://u:***@h"]
    pin = told["pin"]
    assert (pin["file"], pin["version"], pin["since"], pin["hooks"]) == (str(PIN.path), "abc", 5.0, ["plan"])
    problems = (await read(api, "/v1/status"))["problems"]
    assert [problem["text"].split()[1] for problem in problems] == ["edited", "faulty", "stopped"]


async def test_what_the_guard_refuses_is_shown_so(api: ClientSession) -> None:
    told = await read(api, "/v1/why", host="127.0.0.1")
    assert (told["plan"]["action"], told["plan"]["routes"]) == ("BLOCK", [])
    assert "this computer" in told["plan"]["why"]


async def test_what_addons_decide_is_what_would_be_done(api: ClientSession, world: World) -> None:
    world.decided = Plan(Action.RELAY, (Route(("tor",)),), "addon pin: RELAY by tor")
    assert (await read(api, "/v1/why", host="fine.example"))["plan"]["why"] == "addon pin: RELAY by tor"
    async with api.post("/v1/rules/test", json={"url": "fine.example"}) as answer:
        assert (await answer.json())["plan"]["routes"] == ["tor"]


async def measured_url(api: ClientSession, site: str) -> str:
    """The URL that is measured when this is typed."""
    async with asyncio.timeout(20), api.post("/v1/why", json={"site": site, "fresh": True}) as answer:
        lines = [json.loads(line) async for line in answer.content]
    return str(lines[-1]["url"])


async def test_why_measures_what_was_visited(api: ClientSession, world: World) -> None:
    world.see(outcome(delivered(), host=BLOG, protocol=Protocol.HTTP, port=8080))
    assert await measured_url(api, BLOG) == f"http://{BLOG}:8080/"
    assert await measured_url(api, f"{BLOG}/page") == f"http://{BLOG}:8080/page"
    world.see(outcome(delivered(), host=BLOG, protocol=Protocol.TLS, port=8443))
    assert await measured_url(api, BLOG) == f"https://{BLOG}:8443/"
    assert await measured_url(api, f"{BLOG}:443") == f"https://{BLOG}/"
    assert await measured_url(api, f"http://{BLOG}/") == f"http://{BLOG}/"


async def test_why_measures_the_site_and_not_a_closed_port_beside_it(api: ClientSession, world: World) -> None:
    """By memory, and by the log after a restart."""
    closed = failed(Symptom.REFUSED, Stage.CONNECT)
    for host, see in ((BLOG, world.see), ("other.example", partial(world.store.record, network=HOME))):
        for port, attempt, age in ((443, delivered(), 60), (8443, closed, 20)):
            see(outcome(attempt, host=host, protocol=Protocol.TLS, port=port, at=time.time() - age))
        assert await measured_url(api, host) == f"https://{host}/"
        assert await measured_url(api, f"{host}:8443") == f"https://{host}:8443/"


@pytest.mark.parametrize(
    ("https", "measured"),
    [
        ([failed()], "https"),
        ([failed(), delivered(TOR)], "https"),
        ([failed(Symptom.REFUSED, Stage.CONNECT)], "http"),
    ],
    ids=["reset", "rescued", "nobody listens"],
)
async def test_why_measures_https_that_failed_though_http_was_visited_since(
    api: ClientSession, world: World, https: list[Attempt], measured: str
) -> None:
    """A filter of SNIs lets plain HTTP pass. Where nobody listens for https, the client has sent nothing."""
    protocol = Protocol.NONE if https[0].stage is Stage.CONNECT else Protocol.TLS
    world.see(outcome(*https, host=BLOG, protocol=protocol, port=443, at=time.time() - 20))
    for _ in range(8):
        world.see(outcome(delivered(), host=BLOG, protocol=Protocol.HTTP, port=80, at=time.time() - 10))
    assert await measured_url(api, BLOG) == f"{measured}://{BLOG}/"
    assert await measured_url(api, f"http://{BLOG}/") == f"http://{BLOG}/"


async def test_why_measures_what_the_log_says_was_visited(api: ClientSession, world: World) -> None:
    """Before it was started: what is in memory is gone."""
    for age, port in ((20, 8080), (60, 81)):
        seen = outcome(delivered(), host=BLOG, protocol=Protocol.HTTP, port=port, at=time.time() - age)
        world.store.record(seen, network=HOME)
    assert await measured_url(api, BLOG) == f"http://{BLOG}:8080/"


async def test_why_measures_https_that_failed_and_not_http_beside_it(api: ClientSession, world: World) -> None:
    """A client whose connection is refused has sent nothing, so the visit has no protocol: its port tells."""
    dialed: list[int] = []

    class Refused:
        async def dial(self, destination: Destination) -> Stream:
            dialed.append(destination.port)
            raise DialError("connection refused", stage=Stage.CONNECT, symptom=Symptom.REFUSED)

    world.measured_with = replace(world.means, dialer=lambda _: Refused())

    async def ports(site: str) -> set[int]:
        dialed.clear()
        await measured_url(api, site)
        return set(dialed)

    assert await ports(BLOG) == {443, 80}, "without a visit, http is measured where https is refused"
    refused = failed(Symptom.REFUSED, Stage.CONNECT)
    seen = outcome(refused, host=BLOG, protocol=Protocol.NONE, port=443, at=time.time() - 20)
    world.store.record(seen, network=HOME)
    assert await ports(BLOG) == {443}, "by the log"
    world.see(replace(seen, at=time.time()))
    assert await ports(BLOG) == {443}, "by memory"


async def test_why_measures_https_when_nothing_was_visited(api: ClientSession, world: World) -> None:
    assert await measured_url(api, "never.example") == "https://never.example/"


async def test_a_site_that_just_failed_shows_its_last_result(api: ClientSession, world: World) -> None:
    refused = replace(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), evidence={"relay": "refused"})
    world.see(outcome(failed(), refused, host=BLOG, at=time.time()))
    (site,) = (await read(api, "/v1/status"))["sites"]
    shown = (await read(api, f"/v1/sites/{BLOG}"))["belief"]
    listed = (await read(api, "/v1/sites"))["sites"]
    known = (await read(api, "/v1/why", host=BLOG))["belief"]
    for told in (site, shown, known, *listed):
        assert (told["scope"], told["words"], told["glyph"], told["cause"]) == (BLOG, "relays fail", "!", "relays")
        assert told["last_result"]["source"] == "connection"
        assert told["last_result"]["at"] <= time.time()
        assert "tor: connection refused" in told["evidence"]
    world.see(works(BLOG, at=time.time()))
    assert (await read(api, "/v1/status"))["sites"] == []
    assert (await read(api, f"/v1/sites/{BLOG}"))["belief"]["words"] == "works"


async def test_a_measurement_is_the_last_result_of_its_site(api: ClientSession, world: World) -> None:
    async with asyncio.timeout(20), api.post("/v1/why", json={"site": BLOG}) as answer:
        told = [json.loads(line) async for line in answer.content][-1]
    word = told["verdict"]["words"]
    assert word == "site down"
    assert told["belief"]["words"] == word
    assert [site["words"] for site in (await read(api, "/v1/status"))["sites"]] == [word]
    assert (await read(api, f"/v1/sites/{BLOG}"))["belief"]["last_result"]["source"] == "measurement"


async def test_the_last_result_of_a_host_counts_under_a_domain_that_speaks_for_it(
    api: ClientSession, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    lifted = Belief(f"*.{BLOG.partition('.')[2]}", HOME, State.BLOCKED, "sni_reset", since=now - 60, until=now + 9e5)
    monkeypatch.setattr(world.beliefs, "lookup", lambda host, **_: lifted)
    last = LastResult(SiteStatus.SITE_DOWN, now, Source.MEASUREMENT, "down", "timeout")
    world.beliefs.measured(BLOG, last, network=HOME)
    for told in ((await read(api, f"/v1/sites/{BLOG}"))["belief"], (await read(api, "/v1/why", host=BLOG))["belief"]):
        assert (told["scope"], told["words"], told["stored_words"]) == (lifted.scope, "site down", "blocked")


async def test_rules_are_tested_for_a_program_and_a_network(api: ClientSession, world: World) -> None:
    cafe = "0123456789abcdef"
    world.settings = replace(world.settings, networks={"Cafe": cafe, "home": HOME})
    world.rules = "PROCESS-NAME,firefox,RELAY\nNETWORK,cafe,BLOCK\nMATCH,DIRECT\n"
    world.overrides_changed()

    async def tested(status: int = 200, **fields: str) -> Any:
        async with api.post("/v1/rules/test", json={"url": "a.example", **fields}) as answer:
            assert answer.status == status
            document = await answer.json()
            return document["plan"]["action"] if status == 200 else document["error"]

    assert await tested() == "DIRECT"
    assert await tested(process="Firefox") == "RELAY"
    assert await tested(network="cafe") == "BLOCK"
    assert await tested(network=cafe, process="curl") == "BLOCK"
    assert 'unknown network "caffe"; did you mean Cafe?' in await tested(400, network="caffe")
    assert (await read(api, "/v1/status"))["network_name"] == "home"


async def test_the_system_proxy_is_turned_on_and_off(api: ClientSession, world: World) -> None:
    async with api.put("/v1/system-proxy", json={"on": True, "desktop": "kde"}) as answer:
        assert await answer.json() == {
            "version": 2,
            "on": True,
            "desktop": "kde",
            "url": "http://127.0.0.1:8119/proxy.pac",
            "strict_by": "",
            "listen": "127.0.0.1",
            "asks_password": False,
        }
    assert world.system_proxy.on is not None
    async with api.put("/v1/system-proxy", json={"on": False}) as answer:
        assert await answer.json() == {"version": 2, "on": False, "restored": "restored"}
    assert world.system_proxy.on is None


async def test_an_unknown_desktop_is_named(api: ClientSession) -> None:
    async with api.put("/v1/system-proxy", json={"on": True, "desktop": "beos"}) as answer:
        assert answer.status == 400
        assert 'unknown desktop "beos"; it can be gnome, kde, macos or windows' in (await answer.json())["error"]


async def test_an_override_may_have_an_end(api: ClientSession, world: World) -> None:
    before = time.time()
    async with api.put("/v1/sites/example.net", json={"action": "relay", "for_s": 3600}) as answer:
        override = (await answer.json())["override"]
    assert before + 3600 <= override["until"] <= time.time() + 3600
    assert world.overrides["example.net"].until == override["until"]
    world.parts.override("always.example", Override(Action.DIRECT))
    assert [each["scope"] for each in (await read(api, "/v1/status"))["overrides"]] == ["example.net"]
    for wrong in (0, -1, 10**9, 1.5, True):
        async with api.put("/v1/sites/example.net", json={"action": "relay", "for_s": wrong}) as answer:
            assert answer.status == 400, wrong


async def test_a_large_answer_is_written_beside_the_loop(api: ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand rows take a tenth of a second, in which connections go on."""
    writers: list[threading.Thread] = []

    def write(answer: object, said: Any) -> Any:
        writers.append(threading.current_thread())
        return document(answer, said)

    monkeypatch.setattr(api_module, "document", write)
    await read(api, "/v1/log")
    assert len(writers) == 1
    assert writers[0] is not threading.current_thread()


@pytest.fixture
def closed(world: World) -> list[int]:
    """Opens three connections. Returns the ids of those that are closed."""
    return open_three(world, at=NOW)


@pytest.mark.usefixtures("closed")
async def test_open_connections_come_newest_first(api: ClientSession) -> None:
    answer = await read(api, "/v1/connections/open")
    assert (answer["matching"], answer["open"]) == (3, 3)
    assert [(row["id"], row["host"], row["program"], row["route"], row["state"]) for row in answer["connections"]] == [
        (3, "example.org", None, None, "connecting"),
        (2, "example.net", "curl", "direct", "open"),
        (1, "a.example.org", "firefox", "tor", "open"),
    ]
    last = answer["connections"][-1]
    assert (last["bytes_up"], last["bytes_down"], last["opened_at"], last["why"]) == (
        100, 2000, NOW, "AUTO: nothing is known",
    )  # fmt: skip


@each_row(
    ("query", "ids", "matching"),
    [
        ({"site": "example.org"}, [3, 1], 2),
        ({"site": "EXAMPLE.net"}, [2], 1),
        ({"route": "tor"}, [1], 1),
        ({"program": "Firefox"}, [1], 1),
        ({"program": "wget"}, [], 0),
        ({"limit": "1"}, [3], 3),
        ({"site": "example.org", "limit": "1"}, [3], 2),
    ],
)
@pytest.mark.usefixtures("closed")
async def test_open_connections_can_be_narrowed(
    api: ClientSession, query: dict[str, str], ids: list[int], matching: int
) -> None:
    answer = await read(api, "/v1/connections/open", **query)
    assert ([row["id"] for row in answer["connections"]], answer["matching"], answer["open"]) == (ids, matching, 3)


async def test_many_open_connections_are_searched_in_parts(api: ClientSession, world: World) -> None:
    for number in range(2500):
        Opened(world, number, f"h{number}.example.{'org' if number % 5 else 'net'}", DIRECT, NOW, [])
    answer = await read(api, "/v1/connections/open", site="example.net", limit="3")
    assert [row["id"] for row in answer["connections"]] == [2495, 2490, 2485]
    assert (answer["matching"], answer["open"]) == (500, 2500)


@pytest.mark.usefixtures("closed")
async def test_no_program_is_looked_up_for_connections_that_are_not_shown(api: ClientSession, world: World) -> None:
    await read(api, "/v1/connections/open", site="example.net")
    assert world.programs.asked == ["127.0.0.1:50002"]


async def test_an_open_connection_is_closed_by_its_id(api: ClientSession, closed: list[int]) -> None:
    async with api.delete("/v1/connections/open/2") as answer:
        assert answer.status == 200
        assert (await answer.json())["closed"]["host"] == "example.net"
    assert closed == [2]
    async with api.delete("/v1/connections/open/7") as answer:
        assert answer.status == 404
        assert (await answer.json())["error"] == "There is no open connection 7: it has ended."
    for wrong in ("x", "-1", "1.0", "١", "9" * 19):
        async with api.delete(f"/v1/connections/open/{wrong}") as answer:
            assert answer.status == 400
            assert "is not the id of a connection" in (await answer.json())["error"]
    assert closed == [2]


async def test_a_typed_domain_shows_what_is_known_of_its_hosts(api: ClientSession, world: World) -> None:
    for host in ("www.livejournal.com", "blog.livejournal.com"):
        world.see(rescued(host=host, at=time.time()))
    typed = await read(api, "/v1/sites/livejournal.com")
    assert (typed["host"], typed["belief"]["site"], typed["belief"]["words"]) == (
        "livejournal.com", "www.livejournal.com", "likely blocked",
    )  # fmt: skip
    assert [host["site"] for host in typed["hosts"]] == ["blog.livejournal.com"]
    assert typed["timeline"][0]["scope"] == "www.livejournal.com"
    own = await read(api, "/v1/sites/blog.livejournal.com")
    assert (own["belief"]["site"], [host["site"] for host in own["hosts"]]) == (
        "blog.livejournal.com", ["www.livejournal.com"],
    )  # fmt: skip
    other = await read(api, "/v1/sites/never.example")
    assert (other["belief"]["site"], other["belief"]["words"], other["hosts"]) == ("never.example", "not tested", [])
