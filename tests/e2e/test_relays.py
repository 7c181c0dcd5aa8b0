"""Real relays, each a host of its own: what is promised of RELAY, as the origin, the name server and the wire saw it.

Everything runs in namespaces of ours (tests/e2e/land.py). Where an address comes from tells which way was taken; what
must not be sent is looked for among all packets that left Byway's computer, and a control shows that they would be
found there.
"""

from __future__ import annotations

import asyncio
import base64
import signal
import subprocess
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.land import ALLOW, NAME_SERVER, ORIGIN, PASSWORD, USER, WRONG_PASSWORD, AtHome, Land
from tests.support import programs
from tests.support.client import Fetched
from tests.support.netns import NEEDS
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.needs(*NEEDS), pytest.mark.asyncio(loop_scope="module")]

SSH = ("ssh", "ssh-keygen", "sshd")
ASKED = (NAME_SERVER, 53)


@dataclass(frozen=True)
class Case:
    """One relay of Byway's configuration. `{…}` in its URL is filled in by Land.url."""

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
    Case("password", _SOCKS_PASSWORD, ("microsocks",), ("microsocks",), _PLAINTEXT, pysocks=True),
    Case("tinyproxy", "http://{tinyproxy}:8888", ("tinyproxy",), ("tinyproxy",), pysocks=True),
    Case("https-password", "https://{user}:{password}@stunnel.relay:8443?ca={ca}", ("stunnel",), ("stunnel", "tinyproxy")),
    Case("squid", "https://squid.relay:3129?ca={ca}&pin=sha256:{pin}", ("squid",), ("squid",)),
    Case("ssh", "socks5h://127.0.0.1:1080", ("sshd",), SSH, pysocks=True),
    Case("ssh-socks4a", "socks4a://127.0.0.1:1080", ("sshd",), SSH, pysocks=True),
    Case("chain", "microsocks>tinyproxy", ("microsocks", "tinyproxy"), ("microsocks", "tinyproxy")),
    Case("chain-https", "ssh>https://{user}:{password}@{stunnel}:8443?ca={ca}&sni=stunnel.relay", ("sshd", "stunnel"),
         (*SSH, "stunnel", "tinyproxy")),
)  # fmt: skip
BROKEN = (
    Case("gone", "socks5h://{microsocks}:1999", (), (), pysocks=True),
    Case("only-addresses", "socks5://{microsocks}:1080", ("microsocks",), ("microsocks",)),
    Case("wrong-password", "socks5h://{user}:{wrong}@{microsocks}:1081", ("microsocks",), ("microsocks",), _PLAINTEXT,
         pysocks=True),
    Case("not-in-the-clear", _SOCKS_PASSWORD, ("microsocks",), ("microsocks",)),
    Case("https-wrong-password", "https://{user}:{wrong}@stunnel.relay:8443?ca={ca}", ("stunnel",), ("stunnel", "tinyproxy")),
    Case("wrong-pin", "https://{user}:{password}@stunnel.relay:8443?ca={ca}&pin=sha256:" + 64 * "0", ("stunnel",),
         ("stunnel", "tinyproxy")),
    Case("unknown-authority", "https://{user}:{password}@stunnel.relay:8443", ("stunnel",), ("stunnel", "tinyproxy")),
    Case("wrong-name", "https://{user}:{password}@stunnel.relay:8443?ca={ca}&sni=tinyproxy.relay", ("stunnel",),
         ("stunnel", "tinyproxy")),
)  # fmt: skip
SAID = {
    "gone": "refused",
    "only-addresses": "takes addresses only, and the name may not be resolved for it",
    "wrong-password": "password",
    "not-in-the-clear": "allow_plaintext_credentials",
    "https-wrong-password": "407",
    "wrong-pin": "pin",
    "unknown-authority": "certificate",
    "wrong-name": "certificate",
}
"""A word of what the client is told when the relay is broken so."""

RULES = "".join(f"DOMAIN-SUFFIX,{case.name}.test,RELAY:{case.name}\n" for case in (*WORKING, *BROKEN)) + (
    f"IP-CIDR,{ORIGIN}/32,RELAY:only-addresses\n"
    "DOMAIN-SUFFIX,preferred.test,PREFER-RELAY:gone\n"
    "DOMAIN-SUFFIX,blocked.test,BLOCK\n"
)


def cases(table: Iterable[Case]) -> list[Any]:
    return [pytest.param(case, id=case.name, marks=pytest.mark.needs(*case.needs) if case.needs else ()) for case in table]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def land(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Land]:
    async with Land(tmp_path_factory.mktemp("land")) as land:
        yield land


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def byway(land: Land) -> AsyncIterator[AtHome]:
    """One with all the relays, whether they work or not."""
    async with land.byway("byway", tables(land), rules=RULES) as byway:
        yield byway


def tables(land: Land) -> list[tuple[str, str]]:
    return [(case.name, f'url = "{land.url(case.url)}"\n{case.more}') for case in (*WORKING, *BROKEN)]


# -- relays that work ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases(WORKING))
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_name_under_relay_arrives_from_the_relay(land: Land, byway: AtHome, case: Case, scheme: str) -> None:
    await land.start(*case.starts)
    name = f"{scheme}.{case.name}.test"
    port = land.origin.https_port if scheme == "https" else land.origin.http_port
    seen = len(land.capture.packets)
    answer = await byway.get(f"{scheme}://{name}:{port}/")
    assert (answer.status, answer.body) == (200, f"{name}:{port} says hello\n".encode())

    way = [land.home.address, *(land.address(relay) for relay in case.starts)]
    assert [request.peer for request in land.origin.requests if request.host == f"{name}:{port}"] == [way[-1]]
    assert land.resolver.askers(name) == {way[-1]}
    assert await land.sent(since=seen) == {way[1]} - {land.address("sshd")}
    for here, there in zip(way[1:], way[2:], strict=False):
        assert there in {place for place, _ in land.capture.opened_by(here, since=seen)}

    (row,) = await byway.rows(name)
    assert (row["action"], row["winner"], row["error"]) == ("RELAY", case.name, "")
    assert row["why"] == f"rules.txt:{rule(case.name)} DOMAIN-SUFFIX,{case.name}.test,RELAY:{case.name}"
    (attempt,) = row["attempts"]
    assert (attempt["route"], attempt["stage"], attempt["symptom"]) == (case.name, "done", "")
    assert attempt["started_s"] == 0
    assert 0 < attempt["elapsed_s"] <= row["duration_s"]
    assert row["bytes_up"] > 0
    assert row["bytes_down"] >= len(answer.body)


def rule(name: str) -> int:
    """The line of the rule for a relay."""
    return next(n for n, line in enumerate(RULES.splitlines(), 1) if line.endswith(f"RELAY:{name}"))


async def test_show(land, byway):
    await land.start("microsocks","tinyproxy","stunnel","squid")
    for case in BROKEN:
        for scheme in ("http","https"):
            name = f"{scheme}.{case.name}.test"
            port = land.origin.https_port if scheme == "https" else land.origin.http_port
            seen = len(land.capture.packets)
            a = await byway.get(f"{scheme}://{name}:{port}/")
            print(case.name, a.status, a.body)
            print(await byway.rows(name))
            print(await land.sent(seen), land.resolver.askers(name), land.origin.targets(name))
    print((land.folder/"stunnel"/"stunnel-8443.txt").read_text())
    print((land.folder/"stunnel"/"tinyproxy-8888.txt").read_text()[-1000:])
    print((await byway.command("relay","test","--to",f"relay.test:{land.origin.http_port}", check=False)))
    o=land.byway("off", tables(land))
    print((await o.command("relay","test","--json","--to",f"relay.test:{land.origin.http_port}", check=False)))
    assert 0
