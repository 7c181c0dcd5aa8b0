"""The addons that ship, each switched on in a real Byway and seen to do what it says.

Those that look into pages are in test_addons_inspecting.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.e2e.addon_scene import Scene
from tests.support.byway import Byway
from tests.support.censor import Behaviour, Censor
from tests.support.client import fetch
from tests.support.origin import Origin
from tests.support.relay import Relay
from tests.support.sockets import lasting_port
from tests.support.waiting import until, until_read

pytestmark = [pytest.mark.waits, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NOWHERE = '[[relay]]\nname = "dead"\nurl = "socks5h://127.0.0.1:1"\n'
"""A relay that there is not."""


def table(name: str, **options: Any) -> str:
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    return f"[addons.{name}]\nenabled = true\n{lines}"


async def test_by_the_clock_pins_a_site(tmp_path: Path) -> None:
    config = table("by_the_clock", sites=["open.test"], relay="tor")
    async with Scene(tmp_path, {}, config=config) as scene:
        assert await scene.way("open.test") == "tor"
        assert await scene.way("other.test") == "direct"
        assert "addon by_the_clock: RELAY by tor" in (await scene.rows())[-1]["why"]


async def test_fastest_leaves_the_relay_that_fails(tmp_path: Path) -> None:
    config = NOWHERE + table("fastest", sites=["open.test"], relays=["dead", "tor"])
    async with Scene(tmp_path, {}, config=config) as scene:

        async def routes() -> list[str]:
            plan = (await scene.byway.read("rule", "test", "http://open.test/"))["plan"]
            return [str(route) for route in plan["routes"]]

        assert await routes() == ["dead", "tor"]
        assert await scene.way("open.test") == "tor"

        async def learned() -> bool:
            return await routes() == ["tor", "dead"]

        await until_read(learned)


async def test_block_page_knows_what_the_lists_do_not(tmp_path: Path) -> None:
    """The origin's own page stands in for the provider's."""
    config = table("block_page", words=["open.test", "200 OK"], page="kaztel")
    async with Scene(tmp_path, {}, config=config) as scene:
        await scene.get("open.test", "/page/1")
        await scene.get("other.test", "/page/1")
        (row,) = await scene.rows()  # the other needed no decision
        direct = row["attempts"][0]
        assert row["host"] == "open.test"
        assert (direct["symptom"], direct["evidence"]["page"]) == ("block_page", "addon block_page: kaztel")


async def test_lossy_weighs_a_sign_down_on_its_network_alone(tmp_path: Path) -> None:
    shut = [f"shut-{number}.test" for number in range(100)]  # one is not tried direct again for a while
    # Each in a /16 of its own: what befalls a few in one is taken for the fate of all.
    config = "".join(f'"{host}" = "127.{number + 3}.3.1"\n' for number, host in enumerate(shut))
    scene = Scene(tmp_path, {}, config=f'{config}[log]\nhosts = "all"\n')
    scene.relay.names = {**scene.relay.names, **dict.fromkeys(shut, "127.0.0.1")}
    async with scene:

        async def sign() -> str:
            """What became of the sign that the next one shows."""
            host = shut.pop()
            await scene.get(host)
            (row,) = [row for row in await scene.rows() if row["host"] == host]
            assert row["attempts"][0]["symptom"] == "refused"
            return str(row["attempts"][0]["evidence"].get("addons", ""))

        assert await sign() == ""
        network = (await scene.rows())[0]["network"]
        text = scene.byway.config.read_text()
        scene.byway.config.write_text(text + table("lossy", networks=[network], signals=["tcp_refused"]))

        async def weighed() -> bool:
            return await sign() == "lossy: tcp_refused weighs 0.125 in place of 0.5"

        await until_read(weighed)


async def test_refuse_refuses_and_says_why(tmp_path: Path) -> None:
    async with Scene(tmp_path, {}, config=table("refuse", trackers=["open.test"])) as scene:
        assert await scene.way("open.test") == "none"
        assert b"it is on your list of trackers" in (await scene.get("open.test")).body
        assert await scene.way("other.test") == "direct"


async def test_mirror_leads_elsewhere_when_no_route_is_left(tmp_path: Path) -> None:
    mirrors = '[addons.mirror]\nenabled = true\n[addons.mirror.mirrors]\n"gone.test" = "https://mirror.example/{host}{path}"\n'
    async with Scene(tmp_path, {}, config=mirrors, rules="DOMAIN-SUFFIX,gone.test,RELAY\n", relay_fails=True) as scene:
        answer = await scene.get("user.gone.test", "/2008/10?a=b")
        location = {name.lower(): value for name, value in answer.headers}.get("location")
        assert (answer.status, location) == (302, "https://mirror.example/user.gone.test/2008/10?a=b")
        assert (await scene.get("elsewhere.gone")).status == 502


COMMAND = """
import asyncio, os, sys
sys.path.insert(0, {root!r})
from tests.support.relay import Relay

async def main():
    async with Relay({{"closed.test": "127.0.0.1"}}, address="127.0.0.5", port={port}):
        with open({pids!r}, "a") as pids:
            print(os.getpid(), file=pids)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_tunnel_starts_its_command_again_and_ends_it_with_byway(tmp_path: Path) -> None:
    port = lasting_port("127.0.0.5")
    pids, script = tmp_path / "pids", tmp_path / "socks.py"
    pids.touch()
    script.write_text(COMMAND.format(root=str(ROOT), port=port, pids=str(pids)))
    config = '[[relay]]\nname = "home"\nurl = "addon://tunnel"\n' + table(
        "tunnel", command=f"{sys.executable} {script}", socks=f"socks5h://127.0.0.5:{port}"
    )

    def started() -> list[int]:
        return [int(line) for line in pids.read_text().split()]

    async with Scene(tmp_path, {}, config=config, rules="DOMAIN,closed.test,RELAY:home\n") as scene:

        async def goes_home() -> bool:
            return (await scene.get("closed.test")).status == 200

        await until_read(goes_home)
        assert {request.peer for request in scene.origin.requests} == {"127.0.0.5"}
        os.kill(started()[0], signal.SIGTERM)
        await until(lambda: len(started()) == 2)
        await until_read(goes_home)
        assert scene.said("addon tunnel: the command exited with code -15; retrying") == 1
        await scene.byway.stop()
        await until(lambda: not any(map(_lives, started())))
    assert {request.peer for request in scene.origin.requests} == {"127.0.0.5"}  # never direct, not even meanwhile


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_notify_tells_a_webhook_that_a_site_became_blocked_and_free(tmp_path: Path) -> None:
    told: list[dict[str, str]] = []

    async def take(request: web.Request) -> web.Response:
        told.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    soon = "signal_interval_s = 0.05\nepisode_gap_s = 0.05\nblocked_episodes = 1\nblocked_score = 1\n"
    async with (
        Origin() as origin,
        Relay({"a.test": "127.0.0.1"}) as relay,
        Censor("127.0.0.2", origin.https_port, origin="127.0.0.1", behaviour=Behaviour.RESET),
    ):
        config = (
            f'[[relay]]\nname = "tor"\nurl = "socks5h://{relay.address}:{relay.port}"\n'
            '[dns.hosts]\n"a.test" = "127.0.0.2"\n"control.test" = "127.0.0.1"\n'
            f'[auto]\nladder = []\ncontrols = ["http://control.test:{origin.http_port}/"]\n'
            f"[detect]\ncontrol_after_s = 0.05\ncontrol_interval_s = 0.05\n{soon}"
        )
        trust = {"SSL_CERT_FILE": str(origin.authority.write(tmp_path))}
        async with Byway(tmp_path / "byway", config=config, environment=trust) as byway:
            text = byway.config.read_text()
            byway.config.write_text(text + table("notify", webhook=hook, desktop=False, proxy=byway.url))

            async def runs() -> bool:
                return any(
                    (it["name"], it["state"]) == ("notify", "runs") for it in (await byway.ask("/v1/addons"))["addons"]
                )

            await until_read(runs)

            async def is_told() -> bool:
                url = f"https://a.test:{origin.https_port}/"
                await fetch(url, via=byway.proxy, trust=origin.authority.client())
                return bool(told)

            await until_read(is_told)
            assert (told[0]["site"], told[0]["state"]) == ("a.test", "blocked")
            assert "tls_reset" in told[0]["why"]
            await byway.command("site", "forget", "a.test")
            await until(lambda: len(told) == 2)
            assert told[1]["state"] == "unknown"
    await runner.cleanup()
