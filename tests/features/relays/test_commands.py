"""`byway relay list` and `byway relay test`, with and without a running Byway."""

from __future__ import annotations

import asyncio
import re
import stat
import sys
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from proxy.config.schema import GroupConfig, RelayConfig, Settings
from proxy.detect.relay_faults import RelayFault
from proxy.detect.relay_ways import Obstacle, RelayObstacle
from proxy.features.relays import endpoints as relay_endpoints
from proxy.features.relays.pysocks_check import Opinion
from proxy.model import Action, Destination, Outcome, Override, Stage, Symptom
from proxy.model.relay_way import RelayWay
from proxy.probe.relay_trial import Trial
from proxy.store.store import Store
from tests.support import relay as lab
from tests.support.byway import Byway as RealByway
from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import TOR, VPS, delivered, failed, outcome, rescued
from tests.support.waiting import GIVEN_UP_S

SECRET = "correct-horse"


@dataclass
class Street:
    """An origin and a relay that knows `open.test`, in a loop of their own."""

    origin: int
    relay: lab.Relay

    def url(self, kind: str) -> str:
        return f"{kind}://{self.relay.address}:{self.relay.port}"


@pytest.fixture
def street() -> Iterator[Street]:
    ready, stop = threading.Event(), asyncio.Event()
    made: list[tuple[Street, asyncio.AbstractEventLoop]] = []

    async def live() -> None:
        origin = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        async with origin, lab.Relay({"open.test": "127.0.0.1"}) as relay:
            street = Street(origin.sockets[0].getsockname()[1], relay)
            made.append((street, asyncio.get_running_loop()))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    assert ready.wait(GIVEN_UP_S)
    yield made[0][0]
    made[0][1].call_soon_threadsafe(stop.set)
    thread.join(GIVEN_UP_S)


def configure(home: Home, **urls: str) -> None:
    tables = "".join(f'[[relay]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items())
    home.config.write_text(f"config_version = 1\n{tables}")


# -- list --------------------------------------------------------------------------------------------------------------


def test_relays_of_the_running_byway_are_listed_with_their_state(byway: Byway, running: Running) -> None:
    running.see(rescued(host="blog.example.net", at=time.time()))
    ran = byway("relay", "list")
    assert [row[0] for row in ran.rows] == ["relay", "tor", "vps"]
    assert ran.rows[0] == ["relay", "state", "when", "success", "handshake", "last fault", "url"]
    assert re.fullmatch(r"(works|slow) \([0-9.]+ m?s\)", ran.rows[1][1])
    assert ran.rows[1][3] == "100% of 1"
    assert ran.rows[2] == ["vps", "not tested", "", "", "", "", "https://user:***@relay.example:443"]
    assert byway("relay", "list", "--json").json["relays"][0]["name"] == "tor"


def test_without_one_the_configured_ones_are(byway: Byway, home: Home) -> None:
    configure(home, vps=f"https://u:{SECRET}@relay.example")
    ran = byway("relay", "list")
    assert ran.rows[1] == ["vps", "not tested", "", "", "", "", "https://u:***@relay.example"]
    assert "No Byway is running" in ran.err
    configure(home)
    assert "byway relay add" in byway("relay", "list").err


def test_people_see_when_it_was_used(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.see(rescued(host="blog.example.net", at=time.time()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "150")
    assert re.search(r" ago|just now", byway("relay", "list").out)


def a_failure(at: float) -> Outcome:
    down = replace(failed(Symptom.RELAY_DOWN, Stage.RELAY, VPS), evidence={"relay": "refused"})
    path = replace(delivered(TOR), evidence={"opened_s": 0.25})
    return outcome(down, path, at=at)


def test_what_visits_showed_is_listed_also_when_it_is_over(byway: Byway, running: Running) -> None:
    now = time.time()
    running.see(a_failure(now - 600), outcome(delivered(VPS), at=now - 60), outcome(delivered(VPS), at=now - 30))
    tor, vps = byway("relay", "list", "--json").json["relays"]
    assert tor["visits"] == {"hours": 24, "delivered": 1, "failed": 0, "share": 1.0, "handshake_s": 0.25}
    assert tor["last_fault"] is None
    assert vps["visits"] == {"hours": 24, "delivered": 2, "failed": 1, "share": 0.6667, "handshake_s": None}
    assert vps["fault"] is None
    assert vps["last_fault"]["text"] == "connection refused"
    rows = byway("relay", "list").rows
    assert rows[1][3:5] == ["100% of 1", "250 ms"]
    assert rows[2][3] == "67% of 3"
    assert rows[2][5].startswith("connection refused, ")


def test_a_relay_whose_visits_all_failed_is_not_called_untested(byway: Byway, running: Running) -> None:
    """Silence may be the network's fault, so it is no fault of the relay until another route works."""
    at = time.time() - 60
    running.see(outcome(failed(Symptom.RELAY_DOWN, Stage.RELAY, TOR), at=at))
    tor, vps = byway("relay", "list", "--json").json["relays"]
    assert (tor["words"], tor["found_at"], tor["fault"]) == ("last visit failed: no answer", at, None)
    assert (vps["words"], vps["found_at"]) == ("not tested", None)
    running.see(outcome(delivered(TOR), at=time.time()))
    assert byway("relay", "list", "--json").json["relays"][0]["words"] == "works"


GROUPS = """[[relay]]
name = "a"
url = "socks5h://127.0.0.1:1"
[[relay]]
name = "b"
url = "socks5h://127.0.0.1:2"
[[relay]]
name = "far"
url = "a>eu"
[[group]]
name = "eu"
relays = ["a", "b"]
policy = "select"
[[group]]
name = "any"
relays = ["b", "a"]
policy = "sticky"
"""


NONE_ENABLED = "byway: no relay of group eu is enabled: run `byway relay enable RELAY` first\n"


def test_groups_are_listed_and_a_relay_is_selected_without_a_running_byway(byway: Byway, home: Home) -> None:
    home.config.write_text(GROUPS)
    assert [row[0] for row in byway("relay", "list").rows[1:5]] == ["a", "b", "far/a", "far/b"]
    ran = byway("relay", "use", "eu", "b")
    assert (ran.code, ran.out) == (0, "Group eu uses b\n")
    assert byway("relay", "use", "a").out == "Group eu uses a\n"
    assert "eu is a group: run `byway relay use eu RELAY`" in byway("relay", "use", "eu").err
    assert byway("relay", "use", "eu", "a", "b").code == 2
    assert byway("relay", "use", "eu", "b", "--json").json == {"version": 2, "group": "eu", "use": "b"}
    rows = byway("relay", "list").rows
    assert rows[6] == ["group", "policy", "state", "success", "handshake", "last fault", "relays"]
    assert rows[7:] == [
        ["eu", "select", "b: not tested", "", "", "", "a, b"],
        ["any", "sticky", "2 of 2 relays usable", "", "", "", "b, a"],
        ["far", "select", "far/b: not tested", "", "", "", "far/a, far/b"],
    ]
    home.config.write_text(GROUPS.replace('["a", "b"]', '["a"]'))
    ran = byway("relay", "list")
    assert ran.rows[6][:3] == ["eu", "select", "a: not tested"]
    assert "Relay b, selected for group eu, is not in it any more" in ran.err
    assert byway("relay", "use", "any", "a").code == 2


@pytest.mark.uses("sites")
def test_a_relay_is_selected_in_a_running_byway(byway: Byway, running: Running) -> None:
    groups = (GroupConfig("any", ("vps", "tor"), "sticky"), GroupConfig("eu", ("tor", "vps"), "select"))
    running.world.settings = replace(running.world.settings, group=groups)
    running.do(running.world.overrides_changed)
    assert byway("relay", "use", "eu", "vps").out == "Group eu uses vps\n"
    assert byway("relay", "use", "tor").out == "Group eu uses tor\n"
    assert byway("relay", "use", "vsp").code == 2
    assert byway("relay", "use", "vps").out == "Group eu uses vps\n"
    other, shown = byway("relay", "list", "--json").json["groups"]
    assert other["selects_by"] != "any", "so that a relay alone means the other group"
    assert (shown["first"], shown["selects_by"], shown["relays"]) == ("vps", "eu", ["tor", "vps"])
    assert byway("relay", "use", "eu", "nobody").code == 2
    assert byway("site", "set", "x.example", "relay:eu").code == 0
    assert "eu" in byway("site", "set", "x.example", "relay:nobody").err
    tested = byway("relay", "test", "eu", "--json").json["results"]
    assert [each["relay"] for each in tested] == ["tor", "vps"]
    running.see(a_failure(time.time()))
    selected = byway("relay", "use", "eu", "vps")
    assert (selected.out, selected.err) == (
        "Group eu uses vps\n",
        "Relay vps fails: connection refused. To do: start the relay, then byway relay test vps\n",
    )
    as_json = byway("relay", "use", "eu", "vps", "--json")
    assert (as_json.json["use"], as_json.err) == ("vps", selected.err)
    assert byway("relay", "use", "eu", "tor").err == ""


def test_what_is_in_the_way_to_a_relay_stands_beside_it(byway: Byway, running: Running) -> None:
    way = RelayWay(Destination("relay.example", 443), "192.0.2.1")
    obstacle = RelayObstacle(Obstacle.SNI_DROP, way, Symptom.DROPPED, 1.0, replace(way, strategy="tlsrec"))
    running.do(lambda: running.world.obstacles.update(vps=obstacle))
    assert byway("relay", "list").rows[2][1] == "not tested; blocked by SNI here"
    shown = byway("relay", "test", "vps").err
    assert "Relay vps is blocked by SNI on this network (its TLS ClientHello is dropped)." in shown
    assert "To do: add another name of its certificate (?sni=NAME)" in shown


# -- test --------------------------------------------------------------------------------------------------------------


def test_a_running_byway_tries_them_itself(byway: Byway, running: Running) -> None:
    ran = byway("relay", "test", "tor", "--to", "example.org:80")
    assert ran.code == 5
    assert ran.rows[0] == ["relay", "result", "time", "details"]
    assert ran.rows[1][:2] == ["tor", "fails: refuses this destination"]
    assert ran.rows[1][3] == "will not"
    assert byway("relay", "test", "none").code == 2
    assert byway("relay", "test", "--to", "a..b").code == 2


def test_good_relays_end_with_0(byway: Byway, home: Home, street: Street) -> None:
    configure(home, five=street.url("socks5"), four=street.url("socks4a"), web=street.url("http"))
    ran = byway("relay", "test", "--to", f"open.test:{street.origin}", "--json")
    assert ran.code == 0
    assert ran.json["version"] == 2
    assert ran.json["to"] == {"host": "open.test", "port": street.origin}
    for result in ran.json["results"]:
        assert (result["reachable"], result["handshake"], result["ok"], result["error"]) == (True, True, True, "")
        assert result["pysocks"]["ok"]
        assert result["disagreement"] == ""
    assert street.relay.asked == [f"open.test:{street.origin}"] * 6  # each by us and by PySocks, by name
    table = byway("relay", "test", "--to", f"open.test:{street.origin}")
    assert [row[0] for row in table.rows[1:]] == ["five", "four", "web"]
    assert {row[1] for row in table.rows[1:]} <= {"works", "slow"}


def test_one_bad_relay_ends_with_5(byway: Byway, home: Home, street: Street) -> None:
    configure(home, good=street.url("socks5h"), gone="socks5h://127.0.0.1:1", chain=f"good>{street.url('socks5h')}")
    ran = byway("relay", "test", "--to", f"open.test:{street.origin}", "--json")
    assert ran.code == 5
    good, gone, chain = ran.json["results"]
    assert good["ok"]
    assert (gone["reachable"], gone["ok"], gone["pysocks"]["ok"]) == (False, False, False)
    assert gone["error"]
    assert chain["pysocks"] is None
    assert "chains" in chain["pysocks_not_asked"]
    assert byway("relay", "test", "good", "--to", f"open.test:{street.origin}").code == 0  # only that one


def test_a_relay_that_takes_addresses_needs_one(byway: Byway, home: Home, street: Street) -> None:
    configure(home, five=street.url("socks5") + "?resolve=local")
    ran = byway("relay", "test", "--to", "open.test:443", "--json")
    assert ran.code == 5
    (result,) = ran.json["results"]
    assert result["symptom"] == "skipped"
    assert "--to ADDRESS:443" in result["error"]
    assert street.relay.asked == []
    assert byway("relay", "test", "--to", f"127.0.0.1:{street.origin}").code == 0


def test_the_default_target_is_a_control_which_may_be_resolved(byway: Byway, home: Home, street: Street) -> None:
    configure(home, five=street.url("socks5") + "?resolve=local", named=street.url("socks5h"))
    with home.config.open("a") as config:
        config.write(f'[auto]\ncontrols = ["https://open.test:{street.origin}/"]\n')
        config.write('[dns.hosts]\n"open.test" = "127.0.0.1"\n')
    ran = byway("relay", "test")
    assert ran.code == 0, ran.out + ran.err
    assert set(street.relay.asked) == {f"127.0.0.1:{street.origin}", f"open.test:{street.origin}"}


def test_the_name_of_a_relay_is_not_asked_in_clear(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sees the query knows which relay is used, so only encrypted DNS is asked."""
    configure(home, named="socks5h://relay.example:1", web="http://relay.example:2")
    with home.config.open("a") as config:
        config.write('[dns]\nservers = ["tls://127.0.0.1:1"]\n')
    asked: list[object] = []

    def getaddrinfo(*name: object, **_: object) -> list[object]:
        asked.append(name)
        return []

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    ran = byway("relay", "test", "--json")
    assert {result["pysocks"] for result in ran.json["results"]} == {None}
    assert [result["fault"] for result in ran.json["results"]] == [RelayFault.NAME_UNRESOLVED.text] * 2
    assert asked == []


@pytest.mark.parametrize("kept_by", ["rule", "override"])
def test_a_control_that_is_kept_to_relays_is_not_resolved(
    byway: Byway, home: Home, street: Street, kept_by: str
) -> None:
    configure(home, five=street.url("socks5") + "?resolve=local", named=street.url("socks5h"))
    with home.config.open("a") as config:
        config.write(f'[auto]\ncontrols = ["https://open.test:{street.origin}/"]\n')
        config.write('[dns.hosts]\n"open.test" = "127.0.0.1"\n')
    if kept_by == "rule":
        home.config.with_name("rules.txt").write_text("DOMAIN,open.test,RELAY\n")
    else:
        store = Store(home.state / "byway.sqlite", Settings().log)
        store.start()
        store.set_override("open.test", Override(Action.RELAY))
        store.close()
    ran = byway("relay", "test")
    assert [row[:2] for row in ran.rows[1:]] == [["five", "fails: takes addresses only"], ["named", "works"]]
    assert set(street.relay.asked) == {f"open.test:{street.origin}"}


def test_without_a_target_or_with_a_wrong_name_it_is_wrong_usage(byway: Byway, home: Home) -> None:
    configure(home, tor="socks5h://127.0.0.1:1")
    with home.config.open("a") as config:
        config.write("[auto]\ncontrols = []\n")
    assert "controls" in byway("relay", "test").err
    ran = byway("relay", "test", "tro", "--to", "open.test:1")
    assert ran.code == 2
    assert "did you mean tor?" in ran.err
    assert byway("relay", "test", "--to", "a..b").code == 2


def test_without_relays_there_is_nothing_bad(byway: Byway, home: Home) -> None:
    ran = byway("relay", "test", "--to", "open.test:1")
    assert ran.code == 0
    assert "byway relay add" in ran.err


def test_a_faulty_configuration_ends_with_7(byway: Byway, home: Home) -> None:
    home.config.write_text("[listen\n")
    assert byway("relay", "test").code == 7


def test_a_disagreement_is_told(byway: Byway, home: Home, street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.features.relays import offline_test as relay_trial

    async def wrong(*_: object, **__: object) -> Opinion:
        return Opinion(asked=True, error="odd")

    monkeypatch.setattr(relay_trial, "second_opinion", wrong)
    configure(home, good=street.url("socks5h"))
    ran = byway("relay", "test", "--to", f"open.test:{street.origin}")
    assert ran.code == 0
    assert "good: Byway connects through this relay and PySocks does not (odd)" in ran.err


# -- results that are remembered ---------------------------------------------------------------------------------------


def test_a_result_is_remembered_with_its_age(
    byway: Byway, home: Home, street: Street, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(home, good=street.url("socks5"), gone="socks5h://127.0.0.1:1", never="socks5h://127.0.0.1:2")
    assert byway("relay", "test", "good", "gone", "--to", f"open.test:{street.origin}").code == 5
    ran = byway("relay", "list")
    assert ran.rows[1][1].startswith(("works (", "slow ("))
    assert [row[1] for row in ran.rows[2:]] == ["fails: connection refused", "not tested"]
    assert re.match(r"\d{4}-\d\d-\d\dT", ran.rows[1][2])
    shown = byway("relay", "list", "--json").json["relays"]
    assert shown[0]["test"]["ok"]
    assert (shown[1]["test"]["ok"], shown[1]["test"]["fault"]) == (False, "connection refused")
    assert shown[2]["test"] is None

    saved = home.state / "relay-tests.json"
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert "open.test" not in saved.read_text()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert re.search(r" ago|just now", byway("relay", "list").out)


def test_a_refusal_of_one_destination_is_not_remembered(byway: Byway, home: Home, street: Street) -> None:
    configure(home, good=street.url("socks5"))
    assert byway("relay", "test", "--to", "closed.test:1").code == 5
    assert byway("relay", "list").rows[1][1] == "not tested"


def test_a_relay_with_another_url_was_not_tested(byway: Byway, home: Home, street: Street) -> None:
    configure(home, good=street.url("socks5"))
    byway("relay", "test", "--to", f"open.test:{street.origin}")
    configure(home, good="socks5h://127.0.0.1:1")
    assert byway("relay", "list").rows[1][1] == "not tested"


def test_without_a_log_nothing_is_remembered(byway: Byway, home: Home, street: Street) -> None:
    configure(home, good=street.url("socks5"))
    with home.config.open("a") as config:
        config.write('[log]\nhosts = "off"\n')
    assert byway("relay", "test", "--to", f"open.test:{street.origin}").code == 0
    assert not (home.state / "relay-tests.json").exists()


@pytest.mark.uses("today")
def test_a_running_byway_remembers_too(byway: Byway, running: Running) -> None:
    assert byway("relay", "test", "tor").code == 5
    ran = byway("relay", "list")
    assert ran.rows[1][1] == "fails: refuses this destination"
    assert ran.rows[2][1] == "not tested"
    assert byway("status", "--json").json["relays"][0]["test"]["ok"] is False


async def test_a_result_survives_a_restart_of_a_real_one(tmp_path: Path) -> None:
    config = '[[relay]]\nname = "gone"\nurl = "127.0.0.1:1"\n'
    for again in (False, True):
        async with RealByway(tmp_path, config=config) as byway:
            if not again:
                assert (await byway.command("relay", "test", "--to", "192.0.2.1:1", check=False)).returncode == 5
            (relay,) = (await byway.read("relay", "list"))["relays"]
            assert relay["words"] == "fails: connection refused"
            saved = (byway.state / "relay-tests.json").read_text()
            assert "192.0.2.1" not in saved


async def test_an_ephemeral_one_remembers_in_memory_only(tmp_path: Path) -> None:
    config = '[[relay]]\nname = "gone"\nurl = "127.0.0.1:1"\n'
    async with RealByway(tmp_path, config=config, arguments=["--ephemeral"]) as byway:
        await byway.command("relay", "test", "--to", "192.0.2.1:1", check=False)
        (relay,) = (await byway.read("relay", "list"))["relays"]
        assert relay["words"] == "fails: connection refused"
        assert not (byway.state / "relay-tests.json").exists()


def test_a_running_byway_tests_no_disabled_relay(byway: Byway, running: Running) -> None:
    world = running.world
    tor, vps = world.settings.relay
    world.settings = replace(world.settings, relay=(replace(tor, enabled=False), vps))
    running.do(world.overrides_changed)
    ran = byway("relay", "test", "tor")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        2, "byway: Relay tor is disabled. Run `byway relay enable tor` first."
    )  # fmt: skip
    assert [row[0] for row in byway("relay", "test").rows] == ["relay", "vps"]
    assert byway("relay", "list").rows[1][1] == "disabled"
    world.settings = replace(world.settings, group=(GroupConfig("eu", ("tor", "vps"), "select"),))
    running.do(world.overrides_changed)
    assert [row[0] for row in byway("relay", "test", "eu").rows] == ["relay", "vps"]
    world.settings = replace(world.settings, relay=tuple(replace(each, enabled=False) for each in (tor, vps)))
    running.do(world.overrides_changed)
    ran = byway("relay", "test", "eu")
    assert (ran.code, ran.err) == (2, NONE_ENABLED)


def test_a_group_stands_for_the_relays_that_are_enabled(byway: Byway, home: Home, street: Street) -> None:
    """All relays were tested in place of a group without one."""
    one = '[[relay]]\nname = "{}"\nurl = "{}"\nenabled = {}\n'
    group = '[[group]]\nname = "eu"\nrelays = ["a", "b"]\npolicy = "{}"\n'
    for policy in ("select", "fallback"):
        rest = (
            group.format(policy)
            + one.format("c", street.url("socks5"), "true")
            + one.format("a", street.url("http"), "false")
        )
        home.config.write_text(rest + one.format("b", street.url("socks5h"), "true"))
        ran = byway("relay", "test", "eu", "--to", f"open.test:{street.origin}")
        assert [row[0] for row in ran.rows] == ["relay", "b"]
        home.config.write_text(rest + one.format("b", street.url("socks5h"), "false"))
        ran = byway("relay", "test", "eu", "--to", f"open.test:{street.origin}")
        assert (ran.code, ran.err) == (2, NONE_ENABLED)


@pytest.mark.uses("today")
def test_disabled_relays_are_no_way_around_a_block(byway: Byway, running: Running) -> None:
    running.see(*(rescued(host="blog.example.net", at=time.time() + number) for number in range(3)))
    assert [site["words"] for site in byway("status", "--json").json["sites"]] == ["likely blocked"]
    assert byway("status", "--json").json["problems"] == []
    world = running.world
    disabled = tuple(replace(relay, enabled=False) for relay in world.settings.relay)
    world.settings = replace(world.settings, relay=disabled)
    running.do(world.overrides_changed)
    (problem,) = byway("status", "--json").json["problems"]
    assert problem["text"] == "1 site is blocked, and there is no relay."


def test_a_disabled_relay_is_shown_and_not_tested(byway: Byway, home: Home, street: Street) -> None:
    configure(home, good=street.url("socks5"), bad="socks5h://127.0.0.1:1", chain="good>bad")
    home.config.write_text(home.config.read_text().replace(':1"', ':1"\nenabled = false'))
    assert [row[1] for row in byway("relay", "list").rows[1:]] == ["not tested", "disabled", "disabled"]
    assert byway("relay", "test", "--to", f"open.test:{street.origin}").code == 0
    ran = byway("relay", "test", "bad")
    assert (ran.code, ran.err.splitlines()[-1]) == (
        2, "byway: relay bad is disabled: run `byway relay enable bad` first"
    )  # fmt: skip


@pytest.mark.uses("settings")
def test_a_password_that_may_not_be_sent_is_named(byway: Byway, home: Home) -> None:
    configure(home, vps=f"socks5h://127.0.0.1:1>http://u:{SECRET}@relay.example:1")
    withheld = (
        "Byway does not send relay vps its user and password: they would cross the network unencrypted (http://). "
        "Use https://, or set allow_plaintext_credentials = true for this relay"
    )
    assert withheld in byway("relay", "test", "--to", "192.0.2.1:1").err
    ran = byway("config", "check")
    assert (ran.code, ran.err) == (0, f"{home.config}:4: {withheld}\n")
    home.config.write_text(home.config.read_text() + "allow_plaintext_credentials = true\n")
    assert byway("config", "check").err == ""


@pytest.mark.uses("today")
def test_a_test_that_succeeds_ends_what_was_wrong(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wrong with a relay has been corrected: `status` no longer says so, nor is it ordered last."""
    running.do(lambda: running.world.health.failed("tor", time.time(), fault=RelayFault.CREDENTIALS_REFUSED))
    assert byway("relay", "list").rows[1][1] == "fails: user or password refused"

    async def works(*_: object, **__: object) -> AsyncGenerator[Trial, None]:
        yield Trial("tor", reachable=True, handshake=True, ok=True, elapsed_s=0.1)

    monkeypatch.setattr(relay_endpoints, "each_trial", works)
    assert byway("relay", "test", "tor").code == 0
    assert byway("relay", "list").rows[1][1] == "works (100 ms)"
    assert byway("status", "--json").json["problems"] == []
    assert not running.world.health.is_open("tor", time.time())


@pytest.mark.uses("today")
def test_an_open_path_says_nothing_of_a_relay_that_delivers_nothing(
    byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        running.do(lambda: running.world.health.failed("tor", time.time(), fault=RelayFault.DELIVERS_NOTHING))

    async def works(*_: object, **__: object) -> AsyncGenerator[Trial, None]:
        yield Trial("tor", reachable=True, handshake=True, ok=True, elapsed_s=0.1)

    monkeypatch.setattr(relay_endpoints, "each_trial", works)
    assert byway("relay", "test", "tor").code == 0
    assert byway("status", "--json").json["problems"]


# -- at 80 columns -----------------------------------------------------------------------------------------------------

LIST_80 = """\
relay     state                            when       url
tor       works (120 ms)                   5 min ago  socks5h://127.0.0.1:9050
vps       fails: user or password refused  3 h ago    https://me:***@relay.example
my-phone  disabled                                    http://192.0.2.7:8080
"""


def test_the_list_at_80_columns(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.store.relay_tests import RelayTest, RelayTests, url_hash

    urls = {
        "tor": "socks5h://127.0.0.1:9050",
        "vps": f"https://me:{SECRET}@relay.example",
        "my-phone": "http://192.0.2.7:8080",
    }
    configure(home, **urls)
    home.config.write_text(home.config.read_text() + "enabled = false\n")
    RelayTests(home.state / "relay-tests.json").record(
        [
            RelayTest("tor", time.time() - 300, True, 0.12, "", url_hash(urls["tor"])),
            RelayTest("vps", time.time() - 10_800, False, 1.5, "user or password refused", url_hash(urls["vps"])),
        ]
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    assert byway("relay", "list").out == LIST_80


TEST_80 = """\
relay  result                           time    details
vps    works                            120 ms
web    fails: user or password refused  40 ms   rejects the user and password
                                                (407)
old    fails: no answer                 3.0 s
"""


def test_a_test_at_80_columns(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def tried(*_: object, **__: object) -> AsyncGenerator[Trial, None]:
        refused = RelayFault.CREDENTIALS_REFUSED
        yield Trial("web", True, False, False, 0.04, "relay_auth", "relay web rejects the user and password (407)",
                    refused.text, True, refused.fix("web"))  # fmt: skip
        silent = RelayFault.SILENT
        yield Trial("old", True, False, False, 3.0, "relay_down", "relay old: no answer", silent.text, True, "")
        yield Trial("vps", True, True, True, 0.12)

    relays = tuple(RelayConfig(name, f"http://127.0.0.1:{n}") for n, name in enumerate(("vps", "web", "old"), 1))
    running.world.settings = replace(running.world.settings, relay=relays)
    running.world.rules = ""
    running.do(running.world.overrides_changed)
    monkeypatch.setattr(relay_endpoints, "each_trial", tried)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    ran = byway("relay", "test")
    assert ran.out == TEST_80
    assert ran.err.splitlines() == [
        "Connecting to example.com:443 through each relay:",
        "To do: correct its user and password in config.toml, then byway relay test web",
    ]


def test_the_results_of_a_subscription_are_one_sentence_and_long_details_are_cut(
    byway: Byway, home: Home, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person cannot mend single relays of a list that its provider keeps."""
    names, working = ("shop/A", "shop/B", "shop/C", "tor"), {"shop/C"}

    async def tried(*_: object, **__: object) -> AsyncGenerator[Trial, None]:
        silent, long = RelayFault.SILENT, "no encrypted DNS server answers: " + "reason, " * 30
        for name in names:
            if name in working:
                yield Trial(name, True, True, True, 0.1)
            else:
                yield Trial(name, True, False, False, 3.0, "relay_down", f"relay {name}: {long}", silent.text, True,
                            silent.fix(name))  # fmt: skip

    relays = tuple(RelayConfig(name, f"http://127.0.0.1:{n}") for n, name in enumerate(names, 1))
    running.world.settings = replace(running.world.settings, relay=relays)
    running.world.rules = ""
    running.do(running.world.overrides_changed)
    home.config.write_text('[[subscription]]\nname = "shop"\nsource = "https://shop.example/sub"\n')
    monkeypatch.setattr(relay_endpoints, "each_trial", tried)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    ran = byway("relay", "test")
    assert ran.err.splitlines()[1:] == ["1 of 3 relays of shop work.", f"To do: {RelayFault.SILENT.fix('tor')}"]
    assert "…" in ran.out
    assert ran.out.count("reason") < 4 * 12
    assert byway("relay", "test", "-v").out.count("reason") == 3 * 30
    working.clear()
    assert byway("relay", "test").err.splitlines()[1] == (
        "None of 3 relays of shop works. To do: byway relay refresh shop"
    )
