"""`byway relay`: list, test with and without a running Byway, add."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from proxy.cli.second_opinion import Opinion
from tests.cli.conftest import Byway, Home, Running
from tests.support import relay as lab
from tests.support.outcomes import rescued

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
    assert ready.wait(10)
    yield made[0][0]
    made[0][1].call_soon_threadsafe(stop.set)
    thread.join(10)


def configure(home: Home, **urls: str) -> None:
    tables = "".join(f'[[relay]]\nname = "{name}"\nurl = "{url}"\n' for name, url in urls.items())
    home.config.write_text(f"config_version = 1\n{tables}")


# -- list --------------------------------------------------------------------------------------------------------------


def test_relays_of_the_running_byway_are_listed_with_their_state(byway: Byway, running: Running) -> None:
    running.see(rescued(host="blog.example.net", at=time.time()))
    ran = byway("relay", "list")
    assert [row[:2] for row in ran.rows] == [["relay", "state"], ["tor", "works"], ["vps", "untried"]]
    assert ran.rows[2][4] == "https://user:***@relay.example:443"
    assert byway("relay", "list", "--json").json["relays"][0]["name"] == "tor"


def test_without_one_the_configured_ones_are(byway: Byway, home: Home) -> None:
    configure(home, vps=f"https://u:{SECRET}@relay.example")
    ran = byway("relay", "list")
    assert ran.rows[1] == ["vps", "untried", "", "", "https://u:***@relay.example", ""]
    assert "No byway is running" in ran.err
    configure(home)
    assert "byway relay add" in byway("relay", "list").err


def test_people_see_when_it_was_used(byway: Byway, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.see(rescued(host="blog.example.net", at=time.time()))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "150")
    assert " ago" in byway("relay", "list").out


# -- test --------------------------------------------------------------------------------------------------------------


def test_a_running_byway_tries_them_itself(byway: Byway, running: Running) -> None:
    ran = byway("relay", "test", "tor", "--to", "example.org:80")
    assert ran.code == 5
    assert ran.rows[1][:4] == ["tor", "no", "yes", "yes"]
    assert ran.rows[1][5] == "relay tor will not"
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
    assert [row[:4] for row in table.rows[1:]] == [[name, "yes", "yes", "yes"] for name in ("five", "four", "web")]


def test_one_bad_relay_ends_with_5(byway: Byway, home: Home, street: Street) -> None:
    configure(home, good=street.url("socks5h"), gone="socks5h://127.0.0.1:1", chain=f"good>{street.url('socks5h')}")
    ran = byway("relay", "test", "--to", f"open.test:{street.origin}", "--json")
    assert ran.code == 5
    good, gone, chain = ran.json["results"]
    assert good["ok"]
    assert (gone["reachable"], gone["ok"], gone["pysocks"]["ok"]) == (False, False, False)
    assert gone["error"]
    assert chain["pysocks"] is None
    assert "no chains" in chain["pysocks_not_asked"]
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
    from proxy.cli import relay_trial

    async def wrong(*_: object, **__: object) -> Opinion:
        return Opinion(asked=True, error="odd")

    monkeypatch.setattr(relay_trial, "second_opinion", wrong)
    configure(home, good=street.url("socks5h"))
    ran = byway("relay", "test", "--to", f"open.test:{street.origin}")
    assert ran.code == 0
    assert "good: our own dialer came through where PySocks did not (odd)" in ran.err


# -- add ---------------------------------------------------------------------------------------------------------------


def test_a_relay_is_added_without_showing_its_password(byway: Byway, home: Home) -> None:
    ran = byway("relay", "add", f"https://u:{SECRET}@relay.example", "--name", "vps")
    assert (ran.code, ran.out) == (0, "vps  https://u:***@relay.example\n")
    assert SECRET not in ran.out + ran.err
    assert "byway relay test vps" in ran.err
    assert tomllib.loads(home.config.read_text())["relay"][0]["name"] == "vps"
    told = byway("relay", "add", f"https://u:{SECRET}@relay.example", "--json")
    assert SECRET not in told.out
    assert told.json == {
        "version": 2,
        "name": "relay",
        "url": "https://u:***@relay.example",
        "config": str(home.config),
        "running": False,
    }


def test_a_running_byway_is_asked_to_use_it(byway: Byway, home: Home, running: Running) -> None:
    ran = byway("relay", "add", "socks5h://127.0.0.1:9150")
    assert ran.code == 0
    assert running.world.reloads == 1
    assert "the running byway uses it" in ran.err


def test_a_running_byway_that_cannot_says_so(byway: Byway, home: Home, running: Running) -> None:
    running.world.problems = ["rules.txt:1: unknown action"]
    ran = byway("relay", "add", "socks5h://127.0.0.1:9150")
    assert ran.code == 7
    assert "rules.txt:1: unknown action" in ran.err


def test_the_file_of_the_running_byway_is_changed_unless_another_is_named(
    home: Home, running: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from proxy.cli.commands import app

    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.state / "none"))
    with pytest.raises(SystemExit) as ended:
        app(["--state", str(home.state), "relay", "add", "socks5h://127.0.0.1:9150", "--json"])
    assert ended.value.code == 0
    assert f'"config": "{home.config}"' in capsys.readouterr().out
    assert len(tomllib.loads(home.config.read_text())["relay"]) == 1


@pytest.mark.parametrize("url", ["ss://x@h:1", "gopher://h", "socks5h://", f"https://u:{SECRET}@"])
def test_what_is_no_relay_is_wrong_usage(byway: Byway, home: Home, url: str) -> None:
    ran = byway("relay", "add", url)
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert SECRET not in ran.err
    assert home.config.read_text() == "config_version = 1\n"


def test_our_own_port_is_no_relay(byway: Byway, home: Home) -> None:
    ran = byway("relay", "add", "socks5h://127.0.0.1:8119")
    assert ran.code == 7
    assert "Byway itself" in ran.err
    with contextlib.suppress(KeyError):
        assert not tomllib.loads(home.config.read_text())["relay"]
