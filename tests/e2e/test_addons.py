"""Each hook through a real Byway, and addons that are edited while it runs."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.addon_scene import Scene, talks
from tests.support.censor import Behaviour, Censor
from tests.support.client import fetch
from tests.support.waiting import until, until_read

pytestmark = pytest.mark.waits

EVERYTHING = '[log]\nhosts = "all"\n'
PIN = """
class Pin:
    def plan(self, request, plan):
        return plan.via("tor") if request.destination.host.endswith("open.test") else None

addons = [Pin()]
"""


async def addons(scene: Scene) -> dict[str, dict[str, Any]]:
    """What `GET /v1/addons` says of the user's own, by name."""
    told = await scene.ask("/v1/addons")
    return {addon["name"]: addon for addon in told["addons"] if not addon["shipped"]}


# -- each hook ---------------------------------------------------------------------------------------------------------


async def test_plan_sends_a_site_through_a_relay_and_the_log_says_who_did(tmp_path: Path) -> None:
    async with Scene(tmp_path, {"pin": PIN}, config=EVERYTHING) as scene:
        assert await scene.way("open.test") == "tor"
        assert await scene.way("other.test") == "direct"
        rows = {row["host"]: row for row in await scene.rows()}
        assert rows["open.test"]["why"].startswith("addon pin: RELAY by tor; it was AUTO")
        assert "addon" not in rows["other.test"]["why"]
        why = await scene.ask("/v1/why", host="open.test")
        assert why["plan"]["routes"] == ["tor"]


@pytest.mark.slow
async def test_what_an_addon_keeps_to_relays_is_not_asked_direct_by_ourselves_either(tmp_path: Path) -> None:
    async with Scene(tmp_path, {"pin": PIN}) as scene:
        for host, ways in (("open.test", {"127.0.0.9"}), ("other.test", {"127.0.0.9", "127.0.0.1"})):
            before = len(scene.origin.requests)
            await scene.byway.command("why", f"http://{host}:{scene.origin.http_port}/", check=False)
            peers = {request.peer for request in scene.origin.requests[before:]}
            assert peers == ways, f"{host}: the second is the control"


@pytest.mark.slow
async def test_plan_is_asked_again_by_the_name_in_the_first_bytes(tmp_path: Path) -> None:
    block = (
        'def plan(request, plan):\n    return plan.block("no") if request.destination.host == "open.test" else None\n'
    )
    async with Scene(tmp_path, {"block": block}) as scene:
        url, trust = f"https://127.0.0.1:{scene.origin.https_port}/", scene.origin.authority.client()
        assert (await fetch(url, via=scene.byway.proxy, trust=trust)).status == 200
        before = len(scene.origin.server_names)

        async def ask(host: str) -> None:
            """CONNECT to the address, and then say a name."""
            reader, writer = await asyncio.open_connection(*scene.byway.proxy)
            place = f"127.0.0.1:{scene.origin.https_port}"
            writer.write(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            try:
                await writer.start_tls(trust, server_hostname=host)
            finally:
                writer.transport.abort()

        with pytest.raises(OSError):  # noqa: PT011  # it is closed without a word
            await ask("open.test")
        assert len(scene.origin.server_names) == before
        (row,) = [row for row in await scene.rows() if row["host"] == "open.test"]
        assert row["why"] == "addon block: no"


@pytest.mark.slow
async def test_addons_are_asked_in_the_order_of_their_names_each_sees_the_plan_before(tmp_path: Path) -> None:
    second = 'def plan(request, plan):\n    return plan.block("it was " + str(plan.routes[0]))\n'
    async with Scene(tmp_path, {"pin": PIN, "qin": second}) as scene:
        await scene.get("open.test")
        (row,) = await scene.rows()
        assert row["why"] == "addon qin: it was tor"


@pytest.mark.slow
async def test_an_async_plan_may_wait(tmp_path: Path) -> None:
    hook = """
    import asyncio
    async def plan(request, plan):
        await asyncio.sleep(0.06)
        return plan.via("tor")
    """
    async with Scene(tmp_path, {"pin": hook}) as scene:
        assert await scene.way("open.test") == "tor"
        assert (await addons(scene))["pin"]["faults"] == 0


async def test_admit_refuses_with_its_sentence(tmp_path: Path) -> None:
    hook = """
    def admit(request):
        if request.http and request.http.target.startswith("/secret"):
            return "not this one"
    """
    async with Scene(tmp_path, {"guard": hook}) as scene:
        refused = await scene.get("open.test", "/secret")
        assert refused.status == 403
        assert b"addon guard: not this one" in refused.body
        assert (await scene.get("open.test", "/other")).status == 200


@pytest.mark.slow
async def test_the_guard_is_not_asked_again(tmp_path: Path) -> None:
    async with Scene(tmp_path, {"open": "def plan(request, plan):\n    return plan.direct()\n"}) as scene:
        assert (await scene.get("169.254.169.254")).status == 403


@pytest.mark.slow
async def test_signal_can_say_that_it_is_nothing(tmp_path: Path) -> None:
    """A censor resets open.test: the addon says of each signal that it weighs 1.5, or nothing."""
    for weight in (0, 1.5):
        hook = (
            "import dataclasses\n"
            f"def signal(request, signal):\n    assert request.destination.host == 'reset.test', request\n"
            f"    return dataclasses.replace(signal, weight={weight})\n"
        )
        hosts = '"reset.test" = "127.0.0.2"\n'
        async with Scene(tmp_path / str(weight), {"weigh": hook}, config=hosts) as scene:
            scene.relay.names = {**scene.relay.names, "reset.test": "127.0.0.1"}
            censor = Censor("127.0.0.2", scene.origin.http_port, origin="127.0.0.1")
            async with censor:
                await censor.set(Behaviour.RESET)
                assert (await scene.get("reset.test")).status == 200
                await scene.way("open.test")  # so the uplink is well
                found = await scene.ask("/v1/why", host="reset.test")
                assert (found["belief"]["state"], found["belief"]["score"]) == ("suspect", weight)
                (attempt, *_) = found["connections"][0]["attempts"]
                assert attempt["evidence"]["addons"].startswith(f"weigh: http_reset weighs {weight} in place of ")


@pytest.mark.slow
async def test_classify_knows_a_block_page(tmp_path: Path) -> None:
    hook = """
    def classify(head, body):
        if head.startswith("HTTP/1.1 200") and b"other.test" in body:
            return "provider"
    """
    async with Scene(tmp_path, {"pages": hook}, config=EVERYTHING) as scene:
        await scene.get("other.test", "/page/1")
        (row,) = await scene.rows()
        direct = row["attempts"][0]
        assert (direct["symptom"], direct["evidence"]["page"]) == ("block_page", "addon pages: provider")


@pytest.mark.slow
async def test_unreachable_sends_the_browser_elsewhere(tmp_path: Path) -> None:
    hook = """
    def unreachable(request, outcome):
        assert outcome.attempts and outcome.winner is None
        return f"http://mirror.test{request.http.target}"
    """
    async with Scene(tmp_path, {"mirror": hook}, relay_fails=True) as scene:
        await scene.relay.stop()
        answer = await scene.get("closed.test", "/a?b=c")
        assert (answer.status, dict(answer.headers)["location"]) == (302, "http://mirror.test/a?b=c")
        assert (await scene.get("closed.test", method="POST", body=b"x")).status == 502
        assert (await scene.get("blocked.test")).status == 403


@pytest.mark.slow
@pytest.mark.parametrize("url", ["http://x/\\r\\nSet-Cookie: a=b", "javascript:alert(1)", "ftp://x/", "http://"])
async def test_unreachable_cannot_break_the_answer(url: str, tmp_path: Path) -> None:
    hook = f"def unreachable(request, outcome):\n    return '{url}'\n"
    async with Scene(tmp_path, {"mirror": hook}, relay_fails=True) as scene:
        await scene.relay.stop()
        answer = await scene.get("closed.test")
        assert answer.status == 502
        assert "location" not in dict(answer.headers)
        await scene.says("addon mirror: unreachable ")


OWN_RELAY = '[[relay]]\nname = "own"\nurl = "addon://ways"\n'


@pytest.mark.slow
async def test_dial_is_a_relay_of_ones_own(tmp_path: Path) -> None:
    hook = """
    class Ways:
        def start(self, api):
            self.api = api

        async def dial(self, route, destination):
            assert (str(route), destination.host) == ("own", "far.test"), (route, destination)
            return await self.api.dial(self.api.options.via, destination)

    from dataclasses import dataclass
    @dataclass
    class Options:
        via: str = "tor"

    addons = [Ways()]
    """
    async with Scene(
        tmp_path, {"ways": hook}, rules="DOMAIN,far.test,RELAY:own\n", config=OWN_RELAY, relay_fails=True
    ) as scene:
        scene.relay.names = {**scene.relay.names, "far.test": "127.0.0.1"}
        assert await scene.way("far.test") == "tor"
        assert scene.relay.asked == [f"far.test:{scene.origin.http_port}"], "the name is carried as a name"
        url = f"socks5h://{scene.relay.address}:{scene.relay.port}"
        config = scene.byway.config.read_text()
        before = await loaded_at(scene, "ways")  # it may be loaded again before a later look is answered
        scene.byway.config.write_text(f'{config}\n[addons.ways]\nvia = "{url}"\n')

        async def is_renewed() -> bool:
            return await loaded_at(scene, "ways") != before

        await until_read(is_renewed)
        assert await scene.way("far.test") == "tor"
        await scene.relay.stop()
        for _ in range(4):
            assert await scene.way("far.test") == "none"
        await scene.relay.revive()
        assert await scene.way("far.test") == "tor", "a relay that is down is no fault of the addon's"
        assert (await addons(scene))["ways"]["faults"] == 0


async def loaded_at(scene: Scene, name: str) -> float:
    """When the addon was loaded, in seconds since the epoch."""
    return float((await addons(scene))[name]["since"])


@pytest.mark.slow
async def test_a_relay_without_its_addon_is_closed(tmp_path: Path) -> None:
    hosts = '"far.test" = "127.0.0.1"\n'
    rules = "DOMAIN,far.test,RELAY:own\n"
    async with Scene(tmp_path, {}, rules=rules, config=hosts + OWN_RELAY + EVERYTHING) as scene:
        assert await scene.way("far.test") == "none"
        (row,) = await scene.rows()
        assert row["attempts"][0]["symptom"] == "relay_down"
        assert "addon ways is not running, or opened no connection" in row["attempts"][0]["error"]


@pytest.mark.slow
async def test_what_happened_is_told_and_nobody_waits(tmp_path: Path) -> None:
    hook = """
    import asyncio, json

    class Diary:
        def start(self, api):
            self.file = api.folder / "diary"
            self.gate = asyncio.Event()
            api.spawn(self.open())
        async def open(self):
            await asyncio.sleep(0.3)
            self.gate.set()
        async def attempt(self, request, attempt):
            await self.gate.wait()
            self.write("attempt", request.destination.host, str(attempt.route), str(attempt.symptom))
        def outcome(self, outcome):
            self.write("outcome", outcome.host, str(outcome.winner), outcome.bytes_down > 0)
        def change(self, change):
            self.write("change", change.scope, str(change.before), str(change.after))
        def write(self, *words):
            with self.file.open("a") as file:
                file.write(json.dumps(words) + "\\n")

    addons = [Diary()]
    """
    config = '"reset.test" = "127.0.0.2"\n[log]\nnever = ["other.test"]\n'
    async with Scene(tmp_path, {"diary": hook}, config=config) as scene:
        scene.relay.names = {**scene.relay.names, "reset.test": "127.0.0.1"}
        diary = scene.byway.state / "addons" / "diary" / "diary"

        def told() -> list[list[Any]]:
            return [json.loads(line) for line in diary.read_text().splitlines()] if diary.exists() else []

        async with Censor("127.0.0.2", scene.origin.http_port, origin="127.0.0.1") as censor:
            await censor.set(Behaviour.RESET)
            assert await scene.way("other.test") == "direct"
            assert await scene.way("open.test") == "direct"
            await scene.get("reset.test")
            await until(lambda: ["change", "reset.test", "unknown", "suspect"] in told())
            await until(lambda: ["outcome", "reset.test", "tor", True] in told())
            expected = [["attempt", "open.test", "direct", ""], ["outcome", "open.test", "direct", True]]
            assert [words for words in told() if words[1] == "open.test"] == expected
            assert ["attempt", "reset.test", "direct", "reset"] in told()
            assert not [words for words in told() if words[1] == "other.test"], "[log] never"
        assert diary.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
async def test_start_and_stop_are_called_once_each(tmp_path: Path) -> None:
    hook = """
    class Both:
        def start(self, api):
            self.api = api
            api.log.warning(f"hello from {api.name} on {api.relays} with socks5h://u:secret@h:1 and {api.options}")
        async def stop(self):
            self.api.log.warning("goodbye")

    addons = [Both()]
    """
    scene = Scene(tmp_path, {"both": hook})
    async with scene:
        await scene.says("addon both: hello from both on ('tor',) with socks5h://u:***@h:1 and None")
        assert scene.said("goodbye") == 0
    assert (scene.said("hello"), scene.said("addon both: goodbye")) == (1, 1)


@pytest.mark.slow
async def test_a_notification_is_a_command_of_the_desktops(tmp_path: Path) -> None:
    hook = 'def start(api):\n    api.notify("--icon=x", "a\\nb")\n'
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    program, shown = bin_folder / "gdbus", tmp_path / "shown"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >{shown}.new && mv {shown}.new {shown}\n")
    program.chmod(0o755)
    desktop = {"PATH": f"{bin_folder}:/usr/bin:/bin", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}
    scene = Scene(tmp_path, {"note": hook}, environment=desktop)
    async with scene:
        await until(shown.exists)
        words = shown.read_text().splitlines()
        assert words[:2] == ["call", "--session"]
        assert words[-5:-2] == ['"--icon=x"', '"a b"', "[]"]


# -- edited while it runs ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_an_edit_acts_by_itself_while_500_tunnels_run(tmp_path: Path) -> None:
    async with Scene(tmp_path, {"pin": PIN}) as scene, talks(scene.byway, 500) as talking:
        assert await scene.way("open.test") == "tor"
        scene.write("pin", PIN.replace("open.test", "other.test"))
        await scene.goes("other.test", "tor")
        assert await scene.way("open.test") == "direct"

        scene.write("pin", PIN.replace("open.test", "open.test\nelse"))
        await scene.says("pin.py:4: not valid Python")
        await scene.says("addon pin: keeping the previous version")
        assert await scene.way("other.test") == "tor", "a broken edit changes nothing"
        told = (await addons(scene))["pin"]
        assert told["state"] == "runs"
        assert re.search(r"pin\.py:4: not valid Python", told["problems"][0])
        assert any("Addon pin does not load" in text for text in await scene.problems())

        scene.write("pin", PIN)
        await scene.goes("open.test", "tor")
        assert (await addons(scene))["pin"]["problems"] == []
        assert await scene.problems() == []
        assert all([await talk.holds() for talk in talking])


@pytest.mark.slow
async def test_a_faulty_one_that_was_switched_off_runs_again_when_it_is_mended(tmp_path: Path) -> None:
    async with Scene(tmp_path, {"pin": "def plan(request, plan):\n    1 / 0\n"}) as scene:
        for _ in range(3):
            await scene.way("open.test")
        await scene.says("addon pin: disabled")
        told = (await addons(scene))["pin"]
        assert (told["state"], told["faults"]) == ("stopped", 3)
        assert any("Addon pin was disabled after repeated faults" in text for text in await scene.problems())
        scene.write("pin", PIN)
        await scene.goes("open.test", "tor")


@pytest.mark.slow
async def test_one_that_is_deleted_or_switched_off_stops(tmp_path: Path) -> None:
    stop = "\ndef stop():\n    print('stopped', flush=True)\n"
    hook = 'def plan(request, plan):\n    return plan.via("tor")\n' + stop
    async with Scene(tmp_path, {"pin": hook}) as scene:
        assert await scene.way("open.test") == "tor"
        (scene.folder / "pin.py").unlink()
        await scene.goes("open.test", "direct")
        await scene.says("stopped")
        assert await addons(scene) == {}
        scene.write("pin", hook)
        await scene.goes("open.test", "tor")
        config = scene.byway.config.read_text()
        scene.byway.config.write_text(f"{config}[addons.pin]\nenabled = false\n")
        await scene.goes("open.test", "direct")
        await scene.says("stopped", times=2)
        assert (await addons(scene))["pin"]["state"] == "off"
        scene.byway.config.write_text(config)
        await scene.goes("open.test", "tor")


@pytest.mark.slow
async def test_options_are_held_to_what_the_addon_declares(tmp_path: Path) -> None:
    hook = """
    from dataclasses import dataclass

    @dataclass
    class Options:
        host: str = ""

    class Pin:
        def start(self, api):
            self.host = api.options.host
        def plan(self, request, plan):
            return plan.via("tor") if request.destination.host == self.host else None

    addons = [Pin()]
    """
    config = '[addons.pin]\nhost = "open.test"\n'
    async with Scene(tmp_path, {"pin": hook}, config=config) as scene:
        assert await scene.way("open.test") == "tor"
        text = scene.byway.config.read_text()
        scene.byway.config.write_text(text.replace('host = "open.test"', 'hots = "other.test"'))
        await scene.says(': unknown key "hots" in [addons.pin]; did you mean host?')
        line = text.splitlines().index('host = "open.test"') + 1
        assert scene.said(f"config.toml:{line}: unknown key") == 1
        assert await scene.way("open.test") == "tor"
        scene.byway.config.write_text(text.replace('host = "open.test"', 'host = "other.test"'))
        await scene.goes("other.test", "tor")


@pytest.mark.slow
async def test_a_table_of_no_addon_keeps_byway_from_starting(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"pin": PIN}, config="[addons.pinn]\nenabled = true\n")
    with pytest.raises(AssertionError, match="exit code 7"):
        await scene.__aenter__()
    assert scene.said('there is no addon "pinn"; did you mean pin?') == 1
    await scene.__aexit__(None, None, None)


@pytest.mark.slow
async def test_a_file_that_others_can_write_to_is_not_loaded(open_folder: Path) -> None:
    async with Scene(open_folder, {"pin": PIN}) as scene:
        scene.folder.chmod(0o777)
        scene.write("pin", 'def plan(request, plan):\n    return plan.block("theirs")\n')
        await scene.says(f"other users can write to {scene.folder}. Run: chmod go-w {scene.folder}")
        assert await scene.way("open.test") == "tor", "the version before goes on"
        scene.folder.chmod(0o700)
        await scene.goes("open.test", "none")
