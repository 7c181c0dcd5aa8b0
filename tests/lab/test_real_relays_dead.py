"""All relays dead: what is under RELAY is told why it fails, and nobody hears of it.

In a country of its own, where no other Byway has anything to ask (tests/lab/real_relays.py), so what leaves the
computer is all this one's.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from tests.lab import places
from tests.lab.country import Country, Running
from tests.lab.links import PERFECT
from tests.lab.real_relays import RealRelays, stop
from tests.lab.test_real_relays import untold
from tests.lab.test_rescue import Row, came_from
from tests.support import programs
from tests.support.client import Fetched

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.needs("microsocks", "curl"),
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
IMPATIENT = "hedge_relay_s = 0.2\ngive_up_s = 15\nrelay_retry_s = [0.1]\n"
LIMITS = "[limits]\nhandshake_timeout_s = 1\n"
CURLE_PROXY = 97  # curl's exit code for a SOCKS proxy that says no
ASKED = (places.PROVIDER_RESOLVER, 53)
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
async def relays(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealRelays]:
    folder = tmp_path_factory.mktemp("dead")
    async with Country(folder, link=PERFECT) as country, RealRelays(country, folder) as relays:
        yield relays


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def dead(relays: RealRelays) -> Dead:
    """A Byway whose relays all die: the first worked until it was killed."""
    country = relays.country
    for name in ("alive.secret.test", "control.test", *(f"{kind}.secret.test" for kind in ASKED_AS)):
        country.router.events.watch(name)
    relay = await relays.program(relays.spaces["microsocks"], programs.require("microsocks"), "-p", "1090", port=1090)
    urls = [(name, f'url = "{relays.url(url)}"') for name, url in (*(entry[:2] for entry in DEAD), ADDRESSES_ONLY)]
    byway = relays.byway("byway", urls, rules="DOMAIN-SUFFIX,secret.test,RELAY\n", detect=IMPATIENT, extra=LIMITS)
    seen = Dead()
    mute = (relays.addresses["tinyproxy"], 1998)
    with relays.spaces["tinyproxy"].create_server(mute):  # it lets clients connect and says nothing
        async with byway:
            alive = await byway.get("http://alive.secret.test/")
            assert came_from(alive) == relays.addresses["microsocks"]
            await stop(relay, signal.SIGKILL)
            since, asked = await country.caught_up(), len(country.provider_resolver.asked)
            await ask_the_dead(relays, byway, seen)
        # It has ended, so nothing of it is still to come.
        await country.caught_up()
        seen.begun = relays.begun(since)
        seen.asked = [question.name for question in country.provider_resolver.asked[asked:]]
        async with byway:
            seen.control = await byway.get("http://control.test/")
        await country.caught_up()
    return seen


async def ask_the_dead(relays: RealRelays, byway: Running, seen: Dead) -> None:
    """All at once, as a browser does."""

    def curl(kind: str) -> tuple[str, ...]:
        through = f"{kind}://127.0.0.1:{byway.port}"
        words = ("--silent", "--max-time", "20", "--proxy", through, f"http://{kind}.secret.test/")
        return (programs.require("curl"), *words)

    async with asyncio.TaskGroup() as asking:
        answers = {kind: asking.create_task(byway.get(f"{kind}://{kind}.secret.test/")) for kind in ("http", "https")}
        curls = {
            kind: asking.create_task(relays.run(relays.country.client, *curl(kind))) for kind in ("socks5h", "socks4a")
        }
    seen.answers = {kind: answer.result() for kind, answer in answers.items()}
    seen.curls = {kind: code.result() for kind, code in curls.items()}
    rows = await byway.rows("secret.test", 1 + len(ASKED_AS))
    seen.why = (await byway.command("why", "http.secret.test", check=False)).stdout
    seen.rows = {row["host"].partition(".")[0]: row for row in rows}


def missing(relays: RealRelays, text: str) -> list[str]:
    """What should be said of dead relays and is not."""
    return [why for _, _, why in DEAD if relays.url(why) not in text]


async def test_with_all_relays_dead_the_client_is_told_why(relays: RealRelays, dead: Dead) -> None:
    for kind, answer in dead.answers.items():
        assert (answer.status, answer.tunnel) == (502, False), kind
    text = dead.answers["https"].body.decode()
    assert text.startswith("https.secret.test:443 could not be reached")
    assert "(rules.txt:1 DOMAIN-SUFFIX,secret.test,RELAY)" in text
    assert missing(relays, text) == []
    assert dead.answers["http"].body.decode().rstrip() == untold("http.secret.test")
    assert missing(relays, dead.why) == []
    assert dead.curls == dict.fromkeys(("socks5h", "socks4a"), CURLE_PROXY)


@pytest.mark.parametrize("kind", ASKED_AS)
async def test_with_all_relays_dead_the_log_names_them_all(relays: RealRelays, dead: Dead, kind: str) -> None:
    row = dead.rows[kind]
    assert (row["action"], row["winner"], row["closed_by"]) == ("RELAY", None, "byway")
    assert {attempt["route"] for attempt in row["attempts"]} == {name for name, _, _ in DEAD}
    for attempt in row["attempts"]:
        how = attempt["stage"], attempt["symptom"]
        assert how == FAILED_OTHERWISE.get(attempt["route"], ("connect", "relay_down")), attempt
        assert 0 <= attempt["started_s"] <= row["duration_s"], attempt
    assert missing(relays, row["error"]) == []


async def test_with_all_relays_dead_nobody_hears_of_the_name(relays: RealRelays, dead: Dead) -> None:
    tried = {relays.url(place) for place in ("{microsocks}", "{stunnel}", "{nowhere}", "{tinyproxy}")}
    assert {address for address, _ in dead.begun} == tried | {places.PROVIDER_RESOLVER}
    assert ASKED in dead.begun
    assert set(dead.asked) == {"no-such.relay"}  # a relay's own name, and no other
    for kind in ASKED_AS:
        assert relays.nobody_heard_of(f"{kind}.secret.test")
        assert relays.told(f"{kind}.secret.test") == {relays.addresses["tinyproxy"]}  # the relay that then said nothing


async def test_the_control_what_sees_nothing_under_relay_sees_auto(relays: RealRelays, dead: Dead) -> None:
    assert dead.control is not None
    assert (dead.control.status, came_from(dead.control)) == (200, places.CLIENT)
    assert relays.askers("control.test") == {places.CLIENT}
    assert {ASKED, (relays.site.address, 80)} <= relays.begun(0.0)
    # And a relay where direct was late, on a busy machine.
    assert relays.told("control.test") >= {places.PROVIDER_RESOLVER, relays.site.address}
    assert relays.told("alive.secret.test") == {relays.addresses["microsocks"]}
