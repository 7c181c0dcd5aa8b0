"""Relays that are dead in five ways, and what a user is told after one visit: which relay, what is wrong with it and
what to do; and nothing of the site. The provider resets one name, and leaves another alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import places
from tests.lab import rules as lab_rules
from tests.lab.country import NO_HEDGE, RELAY, Country, Running
from tests.lab.sockets import connect, listener
from tests.lab.test_rescue import AT_ONCE
from tests.support import programs
from tests.support.streams import close, listening
from tests.support.waiting import until_read

pytestmark = [pytest.mark.namespaces, pytest.mark.waits, pytest.mark.slow]

BLOCKED, HEALTHY = "blocked.test", "healthy.test"
QUICK = f"{NO_HEDGE}relay_retry_s = [0.1]\n"
"""A failed relay is tried once more. Direct is reset, and what is late is waited for."""
IMPATIENT = "[limits]\nhandshake_timeout_s = 0.5\n"
"""For a relay that never answers; the others may answer late."""
HERE, PORT = places.LYING_RELAY, 1081
"""Where the dead relays are."""
CLOSED = f"socks5h://{HERE}:1"

MakeRelay = Callable[[Country], AbstractAsyncContextManager[str]]
"""Starts a relay and gives its URL."""


@asynccontextmanager
async def closed_port(_: Country) -> AsyncIterator[str]:
    yield CLOSED


@asynccontextmanager
async def wrong_password(country: Country) -> AsyncIterator[str]:
    """microsocks, which wants another one."""
    program = programs.require("microsocks")
    process = country.relay_space.popen((program, "-i", HERE, "-p", str(PORT), "-u", "me", "-P", "secret"))

    async def listens() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            _, writer = await connect(country.relay_space.socket, (HERE, PORT))
            await close(writer)
            return True
        return False

    try:
        await until_read(listens)
        yield f"socks5h://me:wrong@{HERE}:{PORT}"
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


@asynccontextmanager
async def bad_certificate(country: Country) -> AsyncIterator[str]:
    """An https relay whose certificate nobody here trusts."""
    sock = listener(country.relay_space.socket, (HERE, PORT))
    async with listening(_say_nothing, sock=sock, ssl=country.state.server(HERE)):
        yield f"https://{HERE}:{PORT}"


@asynccontextmanager
async def garbage(country: Country) -> AsyncIterator[str]:
    async with listening(_say_garbage, sock=listener(country.relay_space.socket, (HERE, PORT))):
        yield f"socks5h://{HERE}:{PORT}"


@asynccontextmanager
async def silent(country: Country) -> AsyncIterator[str]:
    """On the person's own computer; where one abroad is silent, SOCKS may be filtered (test_socks_filtered.py)."""
    async with listening(_say_nothing, sock=listener(country.client.socket, ("127.0.0.1", PORT))):
        yield f"socks5h://127.0.0.1:{PORT}"


async def _say_garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(64)
    writer.write(b"HTTP/1.0 400 this is no SOCKS relay\r\n\r\n")
    await writer.drain()
    await reader.read()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


@dataclass(frozen=True)
class Dead:
    """One kind of dead relay."""

    name: str
    make: MakeRelay
    fault: str
    text: str
    needs: tuple[str, ...] = ()


KINDS = (
    Dead("closed port", closed_port, "connection_refused", "connection refused"),
    Dead("wrong password", wrong_password, "credentials_refused", "user or password refused", ("microsocks",)),
    Dead("bad certificate", bad_certificate, "bad_certificate", "bad certificate"),
    Dead("garbage", garbage, "wrong_protocol", "does not answer in its protocol"),
    Dead("silent", silent, "silent", "no answer"),
)


@pytest.fixture(params=[
    pytest.param(kind, id=kind.name, marks=pytest.mark.needs(*kind.needs) if kind.needs else ()) for kind in KINDS
])  # fmt: skip
def dead(request: pytest.FixtureRequest) -> Dead:
    kind: Dead = request.param
    return kind


@asynccontextmanager
async def visited(country: Country, dead: Dead, folder: Path, *, rules: str | None = None) -> AsyncIterator[Running]:
    """A Byway with that relay alone, after one visit to the blocked site and one to the healthy one."""
    blocked, healthy = country.add_site(BLOCKED), country.add_site(HEALTHY)
    country.rules.set([lab_rules.SniReset(BLOCKED)])
    async with dead.make(country) as url:
        config = country.config(
            detect=AT_ONCE + QUICK,
            auto="ladder = []",
            servers=(),
            extra=IMPATIENT if dead.make is silent else "",
            relays=((RELAY, url),),
        )
        config = config.replace(f'url = "{url}"\n', f'url = "{url}"\nallow_plaintext_credentials = true\n')
        async with country.byway(folder / "byway", config=config, rules=rules) as byway:
            with contextlib.suppress(OSError, EOFError):
                await byway.get(blocked.url())
            if rules is None:
                assert (await byway.get(healthy.url())).status == 200
            yield byway


async def test_after_one_visit_the_relay_and_its_fault_are_named_and_the_site_is_not_blamed(
    country: Country, dead: Dead, tmp_path: Path
) -> None:
    async with visited(country, dead, tmp_path) as byway:
        told = await byway.commands(
            *(("status", "--json"), ("status",), ("relay", "list", "--json"), ("relay", "list")),
            *(("why", f"https://{BLOCKED}/", "--json"), ("why", f"https://{BLOCKED}/")),
            ("why", f"https://{HEALTHY}/", "--json"),
        )
        status, shown, relays, listed, answer, why, healthy = (each.stdout for each in told)
        said = json.loads(status)
        assert said["problems"][0]["text"] == f"Relay {RELAY} fails: {dead.text}."
        assert f"byway relay test {RELAY}" in said["problems"][0]["do"]
        assert [relay["fault"]["fault"] for relay in said["relays"]] == [dead.fault]
        assert {site["scope"]: site["words"] for site in said["sites"]} == {BLOCKED: "relays fail"}
        assert dead.text in shown

        assert RELAY in listed
        assert dead.text in listed
        (relay,) = json.loads(relays)["relays"]
        assert (relay["state"], relay["fault"]["text"]) == ("failing", dead.text)

        measured = json.loads(answer)
        assert measured["verdict"]["words"] == "relays fail", measured["verdict"]
        assert measured["verdict"]["relay_faults"] == {RELAY: dead.text}
        assert f"relay {RELAY}: {dead.text}" in measured["verdict"]["seen"]
        assert [fault["relay"] for fault in measured["relay_faults"]] == [RELAY]
        assert measured["belief"]["words"] == "relays fail"
        assert measured["belief"]["state"] not in ("suspect", "blocked")
        assert RELAY in why
        assert dead.text in why
        assert json.loads(healthy)["verdict"]["words"] == "works"


async def test_a_relay_that_works_again_is_cleared(country: Country, tmp_path: Path) -> None:
    async with visited(country, KINDS[0], tmp_path) as byway:
        assert (await byway.read("status"))["relays"][0]["fault"] is not None
        text, url = byway.config.read_text(), country.socks_url
        byway.config.write_text(text.replace(CLOSED, url))
        byway.reload()

        async def is_reloaded() -> bool:
            return bool((await byway.ask("/v1/relays"))["relays"][0]["url"] == url)

        await until_read(is_reloaded)
        rescued = await byway.get(f"https://{BLOCKED}/")
        assert rescued.status == 200
        status = await byway.read("status")
        assert status["relays"][0]["fault"] is None
        assert status["relays"][0]["state"] == "works"
        assert status["problems"] == []


async def test_a_fault_is_known_after_a_restart_and_after_an_edit_with_its_age(
    country: Country, tmp_path: Path
) -> None:
    async with visited(country, KINDS[0], tmp_path) as byway:
        (before,) = (await byway.read("relay", "list"))["relays"]
        assert await byway.stop() == 0
        await byway.start()
        for words in (("status",), ("config", "set", "log.keep_days", "13")):
            await byway.command(*words)
            (now,) = (await byway.read("relay", "list"))["relays"]
            said = ("fault", "state", "words", "found_at")
            assert {key: now[key] for key in said} == {key: before[key] for key in said}
            assert f"Relay {RELAY} fails" in (await byway.read("status"))["problems"][0]["text"]


async def test_under_relay_a_fact_about_the_only_relay_is_named_and_nothing_goes_direct(
    country: Country, dead: Dead, tmp_path: Path
) -> None:
    async with visited(country, dead, tmp_path, rules="MATCH,RELAY\n") as byway:
        status = await byway.read("status")
        texts = [problem["text"] for problem in status["problems"]]
        blamed = f"Relay {RELAY} fails: {dead.text}." in texts
        assert blamed is (dead.name != "silent"), "that nothing answers may as well be this network's doing"
        assert {site["scope"]: site["words"] for site in status["sites"]} == {BLOCKED: "relays fail"}
        assert country.router.events.names_on("client", sender="client", below=BLOCKED) == []
