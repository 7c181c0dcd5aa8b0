"""Real relays, each a host of its own: what is promised of RELAY, as the site, the name servers and the wire saw it.

Everything runs in the country (tests/lab/real_relays.py). The address from which a request comes tells which way was
taken; what must not be sent is looked for among all packets that left Byway's computer, and a control shows that they
would be found there.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.lab import places
from tests.lab.country import NO_HEDGE, Country, Running
from tests.lab.links import PERFECT
from tests.lab.real_relays import CONTROL, LIED_ABOUT, PASSWORD, RealRelays
from tests.lab.test_rescue import came_from

pytestmark = [
    pytest.mark.namespaces,
    pytest.mark.needs("unshare"),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.waits,
    pytest.mark.slow,
]

HTTPS = ("stunnel", "tinyproxy")
SSH = ("ssh", "ssh-keygen", "sshd")


@dataclass(frozen=True)
class Case:
    """One relay of Byway's configuration. `{…}` in its URL is filled in by RealRelays.url."""

    name: str
    url: str
    starts: tuple[str, ...]  # the hosts whose programs it takes
    needs: tuple[str, ...]
    more: str = ""  # of its table in the configuration
    pysocks: bool = False  # whether PySocks can be asked about it

    @property
    def exit(self) -> str:
        """The host from which it reaches the origin."""
        return self.starts[-1]


_PLAINTEXT = "allow_plaintext_credentials = true"
_SOCKS_PASSWORD = "socks5h://{user}:{password}@{microsocks}:1081"

WORKING = (
    Case("microsocks", "socks5h://{microsocks}:1080", ("microsocks",), ("microsocks",), pysocks=True),
    Case("socks5", "socks5://{microsocks}:1080", ("microsocks",), ("microsocks",), pysocks=True),
    Case("password", _SOCKS_PASSWORD, ("microsocks",), ("microsocks",), _PLAINTEXT, pysocks=True),
    Case("tinyproxy", "http://{tinyproxy}:8888", ("tinyproxy",), ("tinyproxy",), pysocks=True),
    Case("https-password", "https://{user}:{password}@stunnel.relay:8443?ca={ca}", ("stunnel",), HTTPS),
    Case("squid", "https://squid.relay:3129?ca={ca}&pin=sha256:{pin}", ("squid",), ("squid",)),
    Case("ssh", "socks5h://127.0.0.1:1080", ("sshd",), SSH, pysocks=True),
    Case("ssh-socks4a", "socks4a://127.0.0.1:1080", ("sshd",), SSH, pysocks=True),
    Case("chain", "microsocks>tinyproxy", ("microsocks", "tinyproxy"), ("microsocks", "tinyproxy")),
    Case("chain-https", "ssh>https://{user}:{password}@{stunnel}:8443?ca={ca}&sni=stunnel.relay", ("sshd", "stunnel"),
         (*SSH, *HTTPS)),
)  # fmt: skip
BROKEN = (
    Case("gone", "socks5h://{microsocks}:1999", (), (), pysocks=True),
    Case("only-addresses", "socks5://{microsocks}:1080?resolve=local", ("microsocks",), ("microsocks",)),
    Case("wrong-password", "socks5h://{user}:{wrong}@{microsocks}:1081", ("microsocks",), ("microsocks",), _PLAINTEXT,
         pysocks=True),
    Case("not-in-the-clear", _SOCKS_PASSWORD, ("microsocks",), ("microsocks",)),
    Case("https-wrong-password", "https://{user}:{wrong}@stunnel.relay:8443?ca={ca}", ("stunnel",), HTTPS),
    Case("wrong-pin", "https://{user}:{password}@stunnel.relay:8443?ca={ca}&pin=sha256:" + 64 * "0", ("stunnel",),
         HTTPS),
    Case("unknown-authority", "https://{user}:{password}@stunnel.relay:8443", ("stunnel",), HTTPS),
    Case("wrong-name", "https://{user}:{password}@stunnel.relay:8443?ca={ca}&sni=tinyproxy.relay", ("stunnel",),
         HTTPS),
)  # fmt: skip
SAID = {
    "gone": "Connection refused",
    "only-addresses": "only-addresses (?resolve=local) takes addresses only; skipped for names",
    "wrong-password": "rejects the user and password",
    "not-in-the-clear": "allow_plaintext_credentials",
    "https-wrong-password": "rejects the user and password (401)",
    "wrong-pin": "is not the pinned one",
    "unknown-authority": "unable to get local issuer certificate",
    "wrong-name": "Hostname mismatch",
}
"""A word of what the client is told when the relay is broken so."""

LITERAL = places.site_address(7)
RULES = "".join(f"DOMAIN-SUFFIX,{case.name}.test,RELAY:{case.name}\n" for case in (*WORKING, *BROKEN)) + (
    f"IP-CIDR,{LITERAL}/32,RELAY:only-addresses\n"
    "DOMAIN-SUFFIX,preferred.test,PREFER-RELAY:gone\n"
    "DOMAIN-SUFFIX,blocked.test,BLOCK\n"
)


def cases(table: Iterable[Case]) -> list[Any]:
    return [
        pytest.param(case, id=case.name, marks=pytest.mark.needs(*case.needs) if case.needs else ()) for case in table
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def relays(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealRelays]:
    folder = tmp_path_factory.mktemp("relays")
    async with Country(folder, link=PERFECT) as country, RealRelays(country, folder) as relays:
        yield relays


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def byway(relays: RealRelays) -> AsyncIterator[Running]:
    """One with all the relays, whether they work or not."""
    detect = f"relay_retry_s = [0.1]\n{NO_HEDGE}"  # direct that is late, on a busy machine, would bring a retry
    async with relays.byway("byway", tables(relays), rules=RULES, detect=detect, controls=CONTROLS) as byway:
        yield byway


CONTROLS = (f"http://{CONTROL}/",)


def tables(relays: RealRelays) -> list[tuple[str, str]]:
    return [(case.name, f'url = "{relays.url(case.url)}"\n{case.more}') for case in (*WORKING, *BROKEN)]


# -- relays that work --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases(WORKING))
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_under_relay_arrives_from_the_relay(
    relays: RealRelays, byway: Running, case: Case, scheme: str
) -> None:
    await relays.start(*case.starts)
    name = f"{scheme}.{case.name}.test"
    since = await relays.country.caught_up()
    answer = await byway.get(f"{scheme}://{name}/")
    way = [relays.addresses[relay] for relay in case.starts]
    assert (answer.status, came_from(answer)) == (200, way[-1])
    assert relays.country.origins.peers(name) == [way[-1]]
    assert relays.askers(name) == {way[-1]}
    assert await relays.turned_to(since) == {way[0]} - {relays.addresses["sshd"]}
    for here, there in itertools.pairwise(case.starts):
        assert relays.addresses[there] in {place for place, _ in relays.begun(since, sender=here)}

    (row,) = await byway.rows(name, 1)
    assert (row["action"], row["winner"], row["error"]) == ("RELAY", case.name, "")
    assert row["why"] == f"rules.txt:{rule(case.name)} DOMAIN-SUFFIX,{case.name}.test,RELAY:{case.name}"
    (attempt,) = row["attempts"]
    assert (attempt["route"], attempt["stage"], attempt["symptom"]) == (case.name, "done", "")
    assert attempt["started_s"] >= 0
    assert 0 < attempt["elapsed_s"] <= row["duration_s"]
    assert row["bytes_up"] > 0
    assert row["bytes_down"] >= len(answer.body)


def rule(name: str) -> int:
    """The line of the rule for a relay."""
    return next(n for n, line in enumerate(RULES.splitlines(), 1) if line.endswith(f"RELAY:{name}"))


@pytest.mark.parametrize("case", cases(case for case in WORKING if case.name != "ssh-socks4a"))
async def test_a_site_that_no_relay_can_reach_is_not_held_against_the_relay(
    relays: RealRelays, byway: Running, case: Case
) -> None:
    """Each kind says so in its own way; `ssh -D` closes the connection without a word. In SOCKS4, which has no
    greeting, that may be another protocol as well, and counts as the relay's fault."""
    await relays.start(*case.starts)
    name = f"closed.{case.name}.test"
    for _ in range(3):
        answer = await byway.get(f"https://{name}:9/")
        assert (answer.status, answer.tunnel) == (502, False)
    for row in await byway.rows(name, 3):
        refused = {(tried["route"], tried["symptom"]) for tried in row["attempts"]}
        asked = 2 if case.name.startswith("ssh") else 1  # who closes may also restart
        assert (refused, len(row["attempts"])) == ({(case.name, "relay_refused")}, asked), row
    shown = (await byway.read("relay", "list"))["relays"]
    assert [relay["fault"] for relay in shown if relay["name"] == case.name] == [None]


# -- relays that do not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases(BROKEN))
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_relay_that_does_not_work_fails_closed(
    relays: RealRelays, byway: Running, case: Case, scheme: str
) -> None:
    await relays.start(*case.starts)
    name = f"{scheme}.{case.name}.test"
    since = await relays.country.caught_up()
    answer = await byway.get(f"{scheme}://{name}/")
    assert (answer.status, answer.tunnel) == (502, False)
    text = answer.body.decode().rstrip()

    host = case.starts[-1] if case.starts else "microsocks"
    tried = set() if case.name == "only-addresses" else {relays.addresses[host]}
    assert await relays.turned_to(since) == tried
    assert relays.nobody_heard_of(name)
    (row,) = await byway.rows(name, 1)
    assert row["winner"] is None
    assert SAID[case.name] in row["error"]
    # A script of the site's may read an answer to plain http: that says where the reason is, and names no relay.
    assert text == (row["error"] if scheme == "https" else untold(name))
    tries = 2 if case.name == "gone" else len(tried)  # one that cannot be reached may be back in a moment
    assert [attempt["route"] for attempt in row["attempts"]] == [case.name] * tries


def untold(name: str) -> str:
    why = "no route is allowed" if "only-addresses" in name else "all allowed routes failed"
    return f"{name}:80 could not be reached: {why}. For details: `byway why {name}`"


@pytest.mark.needs("microsocks")
async def test_a_password_goes_in_the_clear_only_where_that_is_allowed(relays: RealRelays, byway: Running) -> None:
    await relays.start("microsocks")
    events = relays.country.router.events
    events.watch(PASSWORD)
    for relay, shown in (("not-in-the-clear", 0), ("password", 1)):
        since = await relays.country.caught_up()
        await byway.get(f"http://clear.{relay}.test/")
        await relays.country.caught_up()
        sent = {(seen.packet.sport, seen.packet.seq) for seen in events.holding(PASSWORD, sender="client", since=since)}
        assert len(sent) == shown, relay  # a packet that is sent again, because its answer is late, is the same


@pytest.mark.needs("stunnel", "tinyproxy")
async def test_a_relay_that_is_not_the_one_meant_gets_no_password(relays: RealRelays, byway: Running) -> None:
    """stunnel says how many bytes came through its TLS for the proxy behind it."""
    await relays.start("stunnel")
    for relay in ("wrong-pin", "unknown-authority", "wrong-name", "https-wrong-password"):
        before = len(await relays.passed_on())
        await byway.get(f"http://passed.{relay}.test/")
        assert any((await relays.passed_on(before + 1))[before:]) == (relay == "https-wrong-password"), relay


@pytest.mark.needs("microsocks")
async def test_a_relay_that_takes_addresses_gets_an_address(relays: RealRelays, byway: Running) -> None:
    await relays.start("microsocks")
    servers = relays.country.provider_resolver, relays.country.resolver

    def asked() -> list[list[str]]:
        """All names but that of the control page, which Byway asks for when relays before have failed."""
        return [[question.name for question in server.asked if question.name != CONTROL] for server in servers]

    before = asked()
    answer = await byway.get(f"http://{LITERAL}/literal")
    assert (answer.status, came_from(answer)) == (200, relays.addresses["microsocks"])
    assert asked() == before


# -- the other actions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_prefer_relay_falls_back_to_direct(relays: RealRelays, byway: Running, scheme: str) -> None:
    name = f"{scheme}.preferred.test"
    answer = await byway.get(f"{scheme}://{name}/")
    assert (answer.status, came_from(answer)) == (200, places.CLIENT)
    (row,) = await byway.rows(name, 1)
    assert (row["action"], row["winner"]) == ("PREFER-RELAY", "direct")
    assert [(tried["route"], tried["stage"], tried["symptom"]) for tried in row["attempts"]] == [
        ("gone", "connect", "relay_down"),
        ("direct", "done", ""),
    ]


async def test_block_sends_nothing_to_anybody(relays: RealRelays, byway: Running) -> None:
    for scheme in ("http", "https"):
        name = f"{scheme}.blocked.test"
        since = await relays.country.caught_up()
        answer = await byway.get(f"{scheme}://{name}/")
        assert (answer.status, answer.tunnel) == (403, False)
        assert f"rules.txt:{len(RULES.splitlines())} DOMAIN-SUFFIX,blocked.test,BLOCK" in answer.body.decode()
        assert await relays.turned_to(since) == set()
        assert relays.nobody_heard_of(name)


@pytest.mark.needs("microsocks")
async def test_a_lie_to_an_address_that_is_routed_to_nowhere_is_seen_through(
    relays: RealRelays, byway: Running
) -> None:
    """AUTO. What the provider's router says of it must not be taken for this computer's being offline."""
    await relays.start("microsocks")
    assert (await byway.get(f"http://{LIED_ABOUT}/")).status == 200
    (row,) = await byway.rows(LIED_ABOUT, 1)
    assert [(tried["route"], tried["stage"], tried["symptom"]) for tried in row["attempts"]] == [
        ("direct", "connect", "unreachable"),
        ("microsocks", "done", ""),
    ]
    belief = await byway.belief(LIED_ABOUT)
    assert (belief["state"], belief["cause"], belief["last_good"]) == ("suspect", "ip", "microsocks")


# -- byway relay test --------------------------------------------------------------------------------------------------

TO = "tried.test"


@pytest.mark.needs("microsocks", "tinyproxy", "stunnel", "squid", *SSH)
@pytest.mark.parametrize("running", [True, False], ids=["running", "not running"])
async def test_relay_test_says_which_work(relays: RealRelays, byway: Running, running: bool) -> None:
    await relays.start("microsocks", "tinyproxy", "stunnel", "squid", "sshd")
    asked = byway if running else relays.byway("not-running", tables(relays))
    to = f"{running}.{TO}".lower()
    done = await asked.command("relay", "test", "--json", "--to", f"{to}:80", check=False)
    assert done.returncode == CHECKED_AND_BAD
    results = {result["relay"]: result for result in json.loads(done.stdout)["results"]}
    assert list(results) == [case.name for case in (*WORKING, *BROKEN)]
    for case in (*WORKING, *BROKEN):
        result = results[case.name]
        works = case in WORKING
        assert (result["ok"], bool(result["error"])) == (works, not works), result
        if not running:
            assert result["disagreement"] == ""
            assert (result["pysocks"] is not None) == case.pysocks, result
            if case.pysocks:
                assert result["pysocks"]["ok"] == works, result
    assert places.CLIENT not in relays.askers(to)

    good = await asked.command("relay", "test", "microsocks", "ssh", "--to", f"{to}:80")
    shown = dict(line.split("\t")[:2] for line in good.stdout.splitlines()[1:])
    assert list(shown) == ["microsocks", "ssh"]
    assert set(shown.values()) <= {"works", "slow"}


@pytest.mark.needs("microsocks")
@pytest.mark.parametrize("running", [True, False], ids=["running", "not running"])
async def test_relay_test_gives_a_relay_that_wants_one_the_address_of_a_control(
    relays: RealRelays, byway: Running, running: bool
) -> None:
    """Only there: for a page that anybody may ask for."""
    await relays.start("microsocks")
    asked = byway if running else relays.byway("not-running-either", tables(relays), controls=CONTROLS)
    since = await relays.country.caught_up()
    (result,) = (await asked.read("relay", "test", "only-addresses"))["results"]
    assert result["ok"], result
    if not running:
        assert result["pysocks"]["ok"], result
    turned_to = await relays.turned_to(since)
    assert turned_to - {places.PROVIDER_RESOLVER} == {relays.addresses["microsocks"]}  # the address may be known
    assert relays.askers(CONTROL) == {places.CLIENT}


CHECKED_AND_BAD = 5
