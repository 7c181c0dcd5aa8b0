"""`byway test`: many sites, from wherever they are named, through an interruption, and held against the truth."""

from __future__ import annotations

import _thread
import asyncio
import csv
import io
import ipaddress
import json
import os
import stat
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from proxy.config.detect_tuning import DetectTuning
from proxy.config.relays import Relay
from proxy.config.schema import Auto, Log, RelayConfig, Settings
from proxy.features.sites.survey_state import SurveyFile
from proxy.model import IPAddress
from proxy.model.errors import BywayError
from proxy.net.dialers.registry import Registry
from proxy.net.dialers.tcp import AddressLookup, TcpDialer
from proxy.net.kernel.tcp_info import TcpInfo
from proxy.net.poller import make_poller
from proxy.store.store import Store
from proxy.terminal.client import Client
from proxy.terminal.exit_codes import NotRunning
from tests.support.censor import Behaviour, Censor
from tests.support.command_line import Byway, Home, Running
from tests.support.control_world import World, nowhere
from tests.support.environment import FakeEnvironment
from tests.support.origin import Origin
from tests.support.outcomes import rescued
from tests.support.relay import Relay as RelayServer
from tests.support.terminal import BYWAY, on_terminal
from tests.support.waiting import until

T = TypeVar("T")

NOW = ("--jitter", "0")


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a store that is a file."""
    monkeypatch.setattr(Store, "has_file", True)


def surveys(home: Home) -> list[Path]:
    return sorted((home.state / "surveys").glob("*"))


# -- where sites come from ---------------------------------------------------------------------------------------------


def test_named_sites_are_measured_in_their_order(byway: Byway, running: Running, home: Home) -> None:
    ran = byway("test", *NOW, "b.example", "https://a.example/page", "b.example")
    assert ran.rows[0][:5] == ["url", "verdict", "cause", "confidence", "direct"]
    assert [row[0] for row in ran.rows[1:]] == ["https://b.example/", "https://a.example/page"]
    assert {row[1] for row in ran.rows[1:]} == {"site down"}
    assert ran.rows[1][4] == "connect refused"
    assert "2 of 2 sites: 2 site down." in ran.err
    assert ran.code == 0
    assert surveys(home) == []


def test_a_file_has_a_site_on_each_line(byway: Byway, running: Running, tmp_path: Path) -> None:
    file = tmp_path / "sites.txt"
    file.write_text("# mine\n\na.example  # first\nhttp://b.example/#top\na..b\n\x1b[2J\n")
    ran = byway("test", *NOW, "--file", str(file))
    assert [row[0] for row in ran.rows[1:]] == ["https://a.example/", "http://b.example/"]
    assert 'sites.txt:5: "a..b" is not a site' in ran.err
    assert "\x1b" not in ran.err


def test_a_test_list_lies_beside_the_configuration(byway: Byway, running: Running, home: Home) -> None:
    folder = home.config.parent / "lists"
    folder.mkdir()
    (folder / "kz.csv").write_text(
        "url,category_code,category_description,date_added,source,notes\n"
        'http://a.example/,NEWS,News,2014-04-15,citizenlab,"two, words"\n'
        "https://b.example/,NEWS,News,2014-04-15,citizenlab,\n"
    )
    ran = byway("test", *NOW, "--list", "kz")
    assert [row[0] for row in ran.rows[1:]] == ["http://a.example/", "https://b.example/"]


@pytest.mark.parametrize(
    "text",
    [
        'notes,"URL"\n"two,\nlines",https://a.example/\n\n,\nshort\n,https://b.example/\n',
        "\ufeffnotes,url\rx,https://a.example/\rx,https://b.example/\r",  # as an old Macintosh ends its lines
        "https://a.example/\rhttps://b.example/\r",
    ],
)
def test_a_list_in_other_dress(byway: Byway, running: Running, tmp_path: Path, text: str) -> None:
    file = tmp_path / "sites.csv"
    file.write_bytes(text.encode())
    ran = byway("test", *NOW, "--file", str(file))
    assert [row[0] for row in ran.rows[1:]] == ["https://a.example/", "https://b.example/"], ran.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'url,notes\n"{"y" * 200_000}', "sites.csv:2: not a CSV file"),
        (f'"{"y" * 200_000}', "sites.csv:1:"),
        ("a..b\n" * 9, "no sites in 9 lines"),
        ("a..b\nc..d", 'sites.csv:2: "c..d" is not a site'),
    ],
)
def test_a_list_that_is_none_is_said_to_be(
    byway: Byway, running: Running, tmp_path: Path, text: str, said: str
) -> None:
    file = tmp_path / "sites.csv"
    file.write_text(text)
    ran = byway("test", *NOW, "--file", str(file))
    assert ran.code == 7, ran.err
    assert said in ran.err


def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    byway: Byway, running: Running, tmp_path: Path
) -> None:
    ran = byway("test", *NOW, "-o", str(tmp_path / "nowhere" / "out.csv"), "a.example")
    assert ran.code == 1
    assert "out.csv cannot be written" in ran.err
    assert not running.world.resolved


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--list", "kz"), 2, "lists/kz.csv does not exist. Byway downloads nothing"),
        (("--file", "/nowhere/x.txt"), 7, "no such file"),
        ((), 2, "name sites, or a file"),
        (("a..b",), 2, '"a..b" is not a site'),
        (("--resume", "../../etc"), 2, "no interrupted test"),
        (("--resume", "0123abcd", "a.example"), 2, "do not name others"),
        (("--routes", "direct,nowhere", "a.example"), 2, 'unknown route "nowhere"; it can be direct'),
    ],
)
def test_what_makes_no_sense(byway: Byway, running: Running, words: Sequence[str], code: int, said: str) -> None:
    ran = byway("test", *NOW, *words)
    assert ran.code == code
    assert said in ran.err


def test_without_a_byway_nothing_is_measured(byway: Byway, home: Home) -> None:
    assert byway("test", "a.example").code == 3
    assert surveys(home) == []


def test_only_the_chosen_routes(byway: Byway, running: Running) -> None:
    ran = byway("test", *NOW, "--routes", "direct,tor", "a.example")
    assert ran.rows[0] == ["url", "verdict", "cause", "confidence", "direct", "tor", "seen"]


# -- interrupted, and gone on with -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("kept")
def test_an_interrupted_survey_keeps_what_has_come_and_goes_on(
    byway: Byway, running: Running, home: Home, tmp_path: Path
) -> None:
    urls = [f"https://s{number}.example/" for number in range(6)]
    out = tmp_path / "out.csv"
    held = asyncio.Event()

    async def hold(host: str) -> None:
        if host == "s3.example":
            await until(lambda: sum(len(file.read_text().splitlines()) for file in surveys(home)) == 1 + 3)
            _thread.interrupt_main()
            await held.wait()

    running.world.hold = hold
    first = byway("test", *NOW, "-c", "1", "-o", str(out), *urls)
    assert first.code == 130
    assert "3 of 6 sites" in first.err
    assert [row["url"] for row in table(out)] == urls[:3]
    (file,) = surveys(home)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"byway test --resume {file.stem}" in first.err

    running.world.hold = None
    running.loop.call_soon_threadsafe(held.set)
    running.world.resolved.clear()
    again = byway("test", *NOW, "--resume", file.stem, "-o", str(out))
    assert again.code == 0
    assert sorted(running.world.resolved) == ["s3.example", "s4.example", "s5.example"]
    assert [row["url"] for row in table(out)] == urls
    assert surveys(home) == []


@pytest.mark.usefixtures("kept")
def test_a_byway_that_ends_leaves_something_to_go_on_from(
    byway: Byway, running: Running, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Client.post

    def ended(client: Client, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        if body["site"] == "b.example":
            raise NotRunning("no byway is running")
        return post(client, path, body)

    monkeypatch.setattr(Client, "post", ended)
    out = tmp_path / "out.csv"
    ran = byway("test", *NOW, "-c", "1", "-o", str(out), "a.example", "b.example")
    assert ran.code == 3
    assert "--resume" in ran.err
    assert len(surveys(home)) == 1
    assert [row["url"] for row in table(out)] == ["https://a.example/"]


def test_a_survey_that_cannot_be_kept_says_so(tmp_path: Path) -> None:
    path = tmp_path / "surveys" / "0123abcd.jsonl"
    path.mkdir(parents=True)
    survey = SurveyFile(path, ["https://a.example"], [])
    with pytest.raises(BywayError, match=r"0123abcd\.jsonl cannot be written: is a directory"):
        survey.add({"asked": "https://a.example"}, keep=True)
    assert not survey.remaining  # it has come all the same


def test_a_fault_at_one_site_ends_nothing(byway: Byway, running: Running) -> None:
    def fail(host: str) -> None:
        if host == "a.example":
            raise RuntimeError("a fault")

    running.world.on_resolve = fail
    ran = byway("test", *NOW, "-c", "1", "a.example", "b.example")
    assert [row[1] for row in ran.rows[1:]] == ["not tested", "site down"]
    assert "internal error" in ran.out.lower()
    assert ran.code == 0


def test_old_surveys_do_not_stay(byway: Byway, running: Running, home: Home) -> None:
    folder = home.state / "surveys"
    folder.mkdir()
    old, young = folder / "0123abcd.jsonl", folder / "4567abcd.jsonl"
    for path in (old, young):
        path.write_text("{}")
    long_ago = time.time() - 20 * 86_400  # the log is kept for 14 days
    os.utime(old, (long_ago, long_ago))
    byway("test", *NOW, "a.example")
    assert surveys(home) == [young]


def test_without_a_network_nothing_is_said_of_sites(byway: Byway, running: Running) -> None:
    running.world.measured_with = nowhere(running.world)
    ran = byway("test", *NOW, "a.example", "b.example")
    assert ran.code == 6
    assert {row[1] for row in ran.rows[1:]} == {"no network"}


@pytest.mark.usefixtures("kept")
def test_a_line_that_was_not_written_whole_is_measured_again(byway: Byway, running: Running, home: Home) -> None:
    survey = SurveyFile.begin(home.state, ["https://a.example", "https://b.example"], [])
    survey.add({"asked": "https://a.example", "verdict": {}}, keep=True)
    (file,) = surveys(home)
    file.write_text(file.read_text()[:-1])  # as on a full disk; what is written next must not be lost with it

    again = SurveyFile.resume(home.state, survey.id)
    assert again.remaining == ["https://a.example", "https://b.example"]
    again.add({"asked": "https://b.example", "verdict": {}}, keep=True)
    assert SurveyFile.resume(home.state, survey.id).remaining == ["https://a.example"]


def test_a_damaged_survey_is_said_to_be(byway: Byway, running: Running, home: Home) -> None:
    folder = home.state / "surveys"
    folder.mkdir()
    (folder / "0123abcd.jsonl").write_text("{")
    ran = byway("test", "--resume", "0123abcd")
    assert ran.code == 1
    assert "damaged" in ran.err


@pytest.mark.usefixtures("kept")
def test_a_host_that_is_not_to_be_written_down_is_not(byway: Byway, running: Running, home: Home) -> None:
    settings = replace(running.world.settings, log=Log(hosts="off"))
    running.world.settings = settings
    running.world.overrides_changed()
    running.world.on_resolve = lambda host: _thread.interrupt_main() if host == "b.example" else None
    byway("test", *NOW, "-c", "1", "a.example", "b.example")
    assert surveys(home) == []


# -- what is told ------------------------------------------------------------------------------------------------------


def test_one_that_keeps_nothing_leaves_nothing(byway: Byway, running: Running, home: Home) -> None:
    running.world.on_resolve = lambda host: _thread.interrupt_main() if host == "b.example" else None
    ran = byway("test", *NOW, "-c", "1", "a.example", "b.example")
    assert ran.code == 130
    assert "--resume" not in ran.err
    assert surveys(home) == []


def test_json_has_it_all(byway: Byway, running: Running) -> None:
    told = byway("test", *NOW, "a.example", "--json").json
    assert told["sites"] == 1
    assert told["results"][0]["verdict"]["words"] == "site down"
    assert told["results"][0]["routes"][0]["route"] == "direct"


def test_a_cell_is_no_formula(tmp_path: Path) -> None:
    from proxy.features.sites.survey_output import write_csv

    verdict = {"words": "works", "cause": "", "confidence": "", "anomaly": False, "confirmed": False, "seen": "=1+1"}
    row = {"url": "https://a.example/", "verdict": verdict, "routes": [], "measured_at": 0.0, "measured_s": 0.0}
    write_csv(tmp_path / "x.csv", [row])
    (told,) = table(tmp_path / "x.csv")
    assert told["seen"] == "'=1+1"


@pytest.mark.usefixtures("person")
def test_a_person_gets_a_row_for_each_site_as_it_comes(byway: Byway, running: Running) -> None:
    running.see(rescued(host="blog.example.net", at=time.time()))
    ran = byway("test", *NOW, "-c", "1", "a.example", "http://b.example/page", "blog.example.net")
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[0].split() == ["site", "verdict", "cause", "works", "by"]
    assert [line.split()[0] for line in lines[1:]] == ["a.example", "http://b.example/page", "blog.example.net"]
    assert "↓ site down" in lines[1]
    assert max(map(len, lines)) <= 80
    assert ran.err.startswith("3 of 3 sites: ")


@pytest.mark.usefixtures("person")
def test_a_matrix_has_a_column_for_each_route(byway: Byway, running: Running) -> None:
    ran = byway("test", *NOW, "--routes", "direct,tor", "--matrix", "a.example")
    heading, row = ran.out.splitlines()
    assert heading.split() == ["site", "verdict", "direct", "tor"]
    assert row.endswith("✗ relay")
    assert "✗ TCP " in row


def test_how_far_it_is_stands_below_the_results(home: Home, running: Running) -> None:
    shown = on_terminal([*BYWAY, *home.flags, "test", *NOW, "-c", "1", "a.example", "b.example"])
    assert shown.rindex("b.example") < shown.rindex("2 of 2")


# -- two hundred sites against the truth -------------------------------------------------------------------------------

SITES = 200


@asynccontextmanager
async def country(world: World) -> AsyncIterator[tuple[FakeEnvironment, Censor, RelayServer, int]]:
    """A censor in front of an origin, and a relay around it: every name leads to the censor's address."""
    poller = make_poller(asyncio.get_running_loop())
    hosts = [f"s{number}.test" for number in range(SITES)]

    class Names(AddressLookup):
        async def resolve(self, host: str) -> Sequence[IPAddress]:
            return [ipaddress.ip_address("127.0.0.2")]

    async with AsyncExitStack() as stack:
        origin = await stack.enter_async_context(Origin())
        relay = await stack.enter_async_context(RelayServer(dict.fromkeys(hosts, "127.0.0.1")))
        censor = await stack.enter_async_context(Censor("127.0.0.2", origin.http_port, origin="127.0.0.1"))
        registry = Registry(
            [Relay.parse("tor", f"socks5h://127.0.0.9:{relay.port}")],
            direct=TcpDialer(poller, Names(), lambda *_: None),
            to_relays=TcpDialer(poller, Names(), lambda *_: None),
        )
        settings = Settings(
            auto=Auto(controls=(f"http://control.test:{origin.http_port}/",)),
            relay=(RelayConfig(name="tor", url=f"socks5h://127.0.0.9:{relay.port}"),),
            detect=DetectTuning(silent_s=1, syn_s=1),
        )
        means = FakeEnvironment(
            settings=settings,
            dialer=registry.dialer,
            carries=registry.carries,
            refuses=lambda *_: None,
            is_private=lambda _: False,
            tcp_info=TcpInfo(),
            resolve=Names().resolve,
        )
        yield means, censor, relay, origin.http_port
    poller.close()


def test_two_hundred_sites_are_told_as_they_are(byway: Byway, running: Running, tmp_path: Path) -> None:
    def there(coro: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coro, running.loop).result(30)

    scene = country(running.world)
    means, censor, relay, port = there(scene.__aenter__())
    try:
        blocked = {f"s{number}.test" for number in range(0, SITES, 7)}
        down = {f"s{number}.test" for number in range(3, SITES, 11)} - blocked
        there(censor.set(Behaviour.RESET, blocked | down))
        relay.names = {host: address for host, address in relay.names.items() if host not in down}
        running.world.measured_with = means
        file, out = tmp_path / "sites.txt", tmp_path / "out.csv"
        file.write_text("".join(f"http://s{number}.test:{port}/\n" for number in range(SITES)))
        ran = byway("test", *NOW, "--file", str(file), "--routes", "direct,tor", "-o", str(out), "-c", "8")
        assert ran.code == 0, ran.err
        rows = {row["url"].split("//")[1].split(":")[0]: row for row in table(out)}
        assert len(rows) == SITES
        for host, row in rows.items():
            expected = "likely blocked" if host in blocked else "site down" if host in down else "works"
            assert row["verdict"] == expected, json.dumps(row)
            assert row["cause"] == ("http_host" if host in blocked else "down" if host in down else "")
            assert row["anomaly"] == str(host in blocked).lower()
    finally:
        there(scene.__aexit__(None, None, None))
