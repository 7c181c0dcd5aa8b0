"""All relays dead: what is under RELAY is told why it fails, and nobody hears of it.

In a land of its own, where no other Byway has anything to ask (tests/e2e/land.py), so what leaves the computer is all
this one's.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.e2e.land import ASKED, NAME_SERVER, ORIGIN, AtHome, Land, Row, nobody_heard_of, told, untold
from tests.support import programs
from tests.support.client import Fetched
from tests.support.netns import NEEDS

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.needs(*NEEDS, "microsocks", "curl"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.waits,
    pytest.mark.slow,
]

DEAD = (
    ("killed", "socks5h://{microsocks}:1090", "relay killed cannot be reached: {microsocks}:1090: Connection refused"),
    ("refusing", "https://stunnel.relay:1999?ca={ca}", "{stunnel}:1999: Connection refused"),
    ("swallowed", "socks5h://{nowhere}:1080", "relay swallowed cannot be reached: {nowhere}:1080 did not answer"),
    ("mute", "socks4a://{tinyproxy}:1998", "relay mute opened no connection"),
    ("nameless", "socks5h://no-such.relay:1080", "no-such.relay does not exist"),
    ("through-killed", "killed>http://{tinyproxy}:8888", "relay killed cannot be reached"),
)
"""Each with what has to be said of it."""

FAILED_OTHERWISE = {"mute": ("relay", "timeout"), "nameless": ("resolve", "relay_down")}
ADDRESSES_ONLY = ("wants-addresses", "socks5://{tinyproxy}:1998?resolve=local")
IMPATIENT = "[limits]\nhandshake_timeout_s = 1\n[detect]\nhedge_relay_s = 0.2\ngive_up_s = 3\nrelay_retry_s = [0.1]\n"
CURLE_PROXY = 97  # curl's exit code for a SOCKS proxy that says no
ASKED_AS = ("http", "https", "socks5h", "socks4a")


@dataclass
class Dead:
    """What was seen of requests under RELAY, one of each kind, and then of one under AUTO."""

    answers: dict[str, Fetched] = field(default_factory=dict)
    curls: dict[str, int] = field(default_factory=dict)  # the exit codes
    rows: dict[str, Row] = field(default_factory=dict)
    why: str = ""  # what `byway why` said of the plain http request, to which the client was sent
    begun: set[tuple[str, int]] = field(default_factory=set)  # whom Byway turned to until it had ended
    asked: list[str] = field(default_factory=list)  # of the name server, by Byway, until then
    control: Fetched | None = None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def land(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Land]:
    async with Land(tmp_path_factory.mktemp("land")) as land:
        yield land


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dead(land: Land) -> Dead:
    """A Byway whose relays all die: the first worked until it was killed."""
    relay = await land.host("microsocks").start(programs.require("microsocks"), "-p", "1090", port=1090)
    relays = [(name, f'url = "{land.url(url)}"') for name, url in (*(entry[:2] for entry in DEAD), ADDRESSES_ONLY)]
    byway = land.byway("dead", relays, rules="DOMAIN-SUFFIX,secret.test,RELAY\n", settings=IMPATIENT)
    tinyproxy = land.host("tinyproxy")
    seen = Dead()
    with tinyproxy.create_server((tinyproxy.address, 1998)):  # it lets clients connect and says nothing
        async with byway:
            alive = await byway.get(f"http://alive.secret.test:{land.origin.http_port}/")
            assert (alive.status, land.origin.requests[-1].peer) == (200, land.address("microsocks"))
            await relay.stop(signal.SIGKILL)
            begun, asked = len(land.capture.packets), len(land.resolver.asked)
            await ask_the_dead(land, byway, seen)
        # It has ended, so nothing of it is still to come.
        await land.settle()
        seen.begun = land.capture.begun_by(land.home.address, since=begun)
        seen.asked = [query.name for query in land.resolver.asked[asked:] if query.asker == land.home.address]
        async with byway:
            seen.control = await byway.get(f"http://control.test:{land.origin.http_port}/")
        await land.settle()
    return seen


async def ask_the_dead(land: Land, byway: AtHome, seen: Dead) -> None:
    """All at once, as a browser does."""
    plain = f"{{}}.secret.test:{land.origin.http_port}/"
    async with asyncio.TaskGroup() as asking:
        http = asking.create_task(byway.get(f"http://{plain.format('http')}"))
        https = asking.create_task(byway.get(f"https://https.secret.test:{land.origin.https_port}/"))
        curls = {
            kind: asking.create_task(byway.curl(f"{kind}://127.0.0.1:{byway.port}", f"http://{plain.format(kind)}"))
            for kind in ("socks5h", "socks4a")
        }
    seen.answers = {"http": http.result(), "https": https.result()}
    seen.curls = {kind: curl.result() for kind, curl in curls.items()}
    rows = await byway.rows("secret.test", 1 + len(ASKED_AS))
    seen.why = (await byway.command("why", "http.secret.test", check=False)).stdout
    seen.rows = {row["host"].partition(".")[0]: row for row in rows}


def missing(land: Land, text: str) -> list[str]:
    """What should be said of dead relays and is not."""
    return [why for _, _, why in DEAD if land.url(why) not in text]


async def test_with_all_relays_dead_the_client_is_told_why(land: Land, dead: Dead) -> None:
    for kind, answer in dead.answers.items():
        assert (answer.status, answer.tunnel) == (502, False), kind
    text = dead.answers["https"].body.decode()
    assert text.startswith(f"https.secret.test:{land.origin.https_port} could not be reached")
    assert "(rules.txt:1 DOMAIN-SUFFIX,secret.test,RELAY)" in text
    assert missing(land, text) == []
    assert dead.answers["http"].body.decode().rstrip() == untold(land, "http.secret.test")
    assert missing(land, dead.why) == []
    assert dead.curls == dict.fromkeys(("socks5h", "socks4a"), CURLE_PROXY)


@pytest.mark.parametrize("kind", ASKED_AS)
async def test_with_all_relays_dead_the_log_names_them_all(land: Land, dead: Dead, kind: str) -> None:
    row = dead.rows[kind]
    assert (row["action"], row["winner"], row["closed_by"]) == ("RELAY", None, "byway")
    assert {attempt["route"] for attempt in row["attempts"]} == {name for name, _, _ in DEAD}
    for attempt in row["attempts"]:
        how = attempt["stage"], attempt["symptom"]
        assert how == FAILED_OTHERWISE.get(attempt["route"], ("connect", "relay_down")), attempt
        assert 0 <= attempt["started_s"] <= row["duration_s"], attempt
    assert missing(land, row["error"]) == []


async def test_with_all_relays_dead_nobody_hears_of_the_name(land: Land, dead: Dead) -> None:
    relays = {land.url(place) for place in ("{microsocks}", "{stunnel}", "{nowhere}", "{tinyproxy}")}
    assert {address for address, _ in dead.begun} == relays | {NAME_SERVER}
    assert ASKED in dead.begun
    assert set(dead.asked) == {"no-such.relay"}  # a relay's own name, and no other
    for kind in ASKED_AS:
        assert nobody_heard_of(land, f"{kind}.secret.test")
        assert told(land, f"{kind}.secret.test") == {land.address("tinyproxy")}  # the relay that then said nothing


async def test_the_control_what_sees_nothing_under_relay_sees_auto(land: Land, dead: Dead) -> None:
    assert dead.control is not None
    assert dead.control.status == 200
    assert land.resolver.askers("control.test") == {land.home.address}
    assert [r.peer for r in land.origin.requests if r.host.startswith("control.test:")] == [land.home.address]
    assert {ASKED, (ORIGIN, land.origin.http_port)} <= land.capture.begun_by(land.home.address)
    assert told(land, "control.test") == {NAME_SERVER, ORIGIN}
    assert told(land, "alive.secret.test") == {land.address("microsocks")}
