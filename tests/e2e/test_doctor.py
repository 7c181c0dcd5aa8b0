"""`byway doctor` with faults that are made for real: each is named, and `--fix` mends what is Byway's own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme

from proxy import __version__
from proxy.setup.desktop.proxy_settings import MODE, ONLY_PLACE, Kde
from tests.support.byway import IMPATIENT, Byway, NotReady
from tests.support.client import fetch
from tests.support.desktops import run_in, stand_ins
from tests.support.origin import Origin
from tests.support.waiting import until_read
from tests.support.without import copy_of_byway

DEAD = IMPATIENT + '[[relay]]\nname = "dead"\nurl = "socks5h://127.0.0.1:1"\n'


async def _found(byway: Byway, *words: str, code: int = 5) -> dict[str, Any]:
    """The findings by their step, whose exit code is as expected."""
    done = await byway.command("doctor", "--json", *words, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return {found["step"]: found for found in json.loads(done.stdout)["findings"]}


def _stopped(folder: Path, config: str = DEAD, **given: Any) -> Byway:
    """One that does not run, on a port that nobody else has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return Byway(folder, config=f"[listen]\nport = {port}\n{config}", **given)


@pytest.mark.slow
async def test_nothing_is_wrong(tmp_path: Path) -> None:
    assert await _found(_stopped(tmp_path), code=0) == {}
    async with Byway(tmp_path / "running", config=DEAD) as byway:
        assert await _found(byway, code=0) == {}


async def test_no_relay(tmp_path: Path) -> None:
    assert set(await _found(_stopped(tmp_path, ""))) == {"no_relay"}
    async with Byway(tmp_path / "running") as byway:
        assert set(await _found(byway)) == {"no_relay"}


async def test_relays_that_are_disabled_are_not_missing(tmp_path: Path) -> None:
    byway = _stopped(tmp_path, f"{DEAD}enabled = false\n")
    stopped = await _found(byway)
    async with byway:
        assert await _found(byway) == stopped
    assert stopped["no_relay"]["text"].startswith("All relays are disabled")
    assert stopped["no_relay"]["do"] == "byway relay enable dead"


@pytest.mark.slow
async def test_all_relays_fail(tmp_path: Path) -> None:
    async with Origin() as origin, Byway(tmp_path, config=DEAD, rules="MATCH,RELAY\n") as byway:
        assert (await fetch(f"http://one.test:{origin.http_port}/", via=byway.proxy)).status == 502
        found = await _found(byway)
        assert set(found) == {"relays_fail"}
        assert "dead" in found["relays_fail"]["text"]


@pytest.mark.slow
async def test_a_system_proxy_that_was_left_over_is_restored(tmp_path: Path) -> None:
    environment = stand_ins(tmp_path)
    kde = Kde(run_in(environment), lambda program: program)
    async with Byway(tmp_path, config=DEAD, environment=environment) as byway:
        await byway.command("system", "on", "--desktop", "kde")
        assert "system_proxy" not in await _found(byway, code=0)
        await byway.kill()
        assert {"system_proxy", "stale_socket"} == set(await _found(byway))
        fixed = await _found(byway, "--fix", code=0)
        assert fixed["system_proxy"]["fixed"]
        assert fixed["stale_socket"]["fixed"]
        assert kde.read()[ONLY_PLACE][MODE] == ""
        assert await _found(byway, code=0) == {}


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        byway = Byway(tmp_path, config=f"[listen]\nport = {taken.getsockname()[1]}\n{DEAD}")
        assert set(await _found(byway, code=1)) == {"port"}


@pytest.mark.slow
async def test_an_addon_without_a_file_is_found(tmp_path: Path) -> None:
    """As `byway run` says, which does not start with it."""
    byway = _stopped(tmp_path, config=f"{DEAD}[addons.nosuch]\n")
    found = (await _found(byway, code=1))["addons"]
    assert 'there is no addon "nosuch"' in found["text"]
    checked = await byway.command("addons", "check", check=False)
    assert (checked.returncode, found["text"] in checked.stderr) == (7, True)
    with pytest.raises(NotReady):
        await byway.start()
    byway.config.write_text(f"config_version = 1\n{DEAD}[addons.nosuch]\nenabled = false\n")
    assert "addons" not in await _found(byway, code=0)


@pytest.mark.slow
async def test_file_modes_are_closed(tmp_path: Path) -> None:
    byway = _stopped(tmp_path)
    await byway.command("forget", "--all")
    log = byway.state / "lock"
    log.chmod(0o644)
    byway.state.chmod(0o755)
    assert set(await _found(byway)) == {"file_modes"}
    await _found(byway, "--fix", code=0)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert stat.S_IMODE(byway.state.stat().st_mode) == 0o700


@pytest.mark.slow
async def test_a_damaged_log_is_set_aside(tmp_path: Path) -> None:
    byway = _stopped(tmp_path)
    log = byway.state / "byway.sqlite"
    log.write_bytes(b"garbage" * 1000)
    log.chmod(0o600)
    assert set(await _found(byway)) == {"damaged_log"}
    await _found(byway, "--fix", code=0)
    assert await _found(byway, code=0) == {}
    assert list(byway.state.glob("byway.sqlite.corrupt-*"))


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.namespaces
@pytest.mark.needs("unshare")
async def test_a_full_disk(tmp_path: Path) -> None:
    """A state folder of 64 KiB that is full."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    script = 'mount -t tmpfs -o size=64k,mode=0700 none "$0" && shift 0 && exec "$@"'
    byway = _stopped(tmp_path, prefix=("unshare", "-Urm", "sh", "-c", script, str(state)))
    assert "disk_full" in await _found(byway)


@pytest.mark.slow
@pytest.mark.namespaces
@pytest.mark.needs("unshare")
async def test_no_link(tmp_path: Path) -> None:
    byway = _stopped(tmp_path, prefix=("unshare", "-Urn", "--"))
    assert set(await _found(byway, code=6)) == {"link"}


@pytest.mark.slow
@pytest.mark.parametrize("upgrade", ["another version", "the same version, installed again"])
async def test_a_process_that_is_older_than_its_files(tmp_path: Path, upgrade: str) -> None:
    """A copy of Byway is upgraded while it runs."""
    installed = copy_of_byway(tmp_path / "installed")
    async with Byway(tmp_path, config=DEAD, environment={"PYTHONPATH": str(installed)}, forked=True) as byway:
        assert await _found(byway, code=0) == {}
        changed = installed / "proxy" / ("__init__.py" if upgrade == "another version" else "testing.py")
        changed.write_text(changed.read_text().replace(f'"{__version__}"', '"99.0"'))
        found = await _found(byway)
        assert set(found) == {"old_process"}
        assert f"The running Byway {__version__} is older than the installed files (" in found["old_process"]["text"]
        assert ("99.0" in found["old_process"]["text"]) is (upgrade == "another version")
        assert await byway.stop() == 0
        await byway.start()
        assert await _found(byway, code=0) == {}


@pytest.mark.slow
async def test_proxy_py_beside_byway(tmp_path: Path) -> None:
    """Its metadata is enough to be found."""
    info = tmp_path / "site" / "proxy.py-2.4.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: proxy.py\nVersion: 2.4.0\n")
    path = os.pathsep.join(filter(None, (str(info.parent), os.environ.get("PYTHONPATH", ""))))
    byway = _stopped(tmp_path, environment={"PYTHONPATH": path})
    assert sys.path
    assert set(await _found(byway)) == {"proxy_package"}


@pytest.mark.slow
async def test_a_wrong_clock(tmp_path: Path) -> None:
    """By this computer's clock all certificates have expired."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime(2001, 1, 1, tzinfo=UTC)
    authority.issue_cert("one.test", "two.test", not_after=past).configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    pages = f'["https://one.test:{port}/", "https://two.test:{port}/"]'
    hosts = '[dns.hosts]\n"one.test" = "127.0.0.1"\n"two.test" = "127.0.0.1"\n'
    config = f"[auto]\ncontrols = {pages}\n{hosts}{DEAD}"
    async with server, Byway(tmp_path, config=config, environment={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}) as byway:
        # Beside it what `status` says: the relay refuses the connection, whatever the clock.
        assert list(await _found(byway)) == ["clock", "relays_fail"]


# -- what other commands would say -------------------------------------------------------------------------------------

RELAYS = f'{DEAD}[[relay]]\nname = "other"\nurl = "127.0.0.1:2"\n'


async def _all(byway: Byway, *words: str, code: int = 5) -> list[dict[str, Any]]:
    """All findings, several of one step too."""
    done = await byway.command("doctor", "--json", *words, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return found


@pytest.mark.slow
async def test_what_the_checks_of_the_configuration_say_is_found(tmp_path: Path) -> None:
    """Whether Byway runs or not, each with its file and line."""
    byway = _stopped(tmp_path)
    good = byway.config.read_text()
    faults = {
        "config.toml:1": ("config.toml", "configversion = 1\n"),
        "rules.txt:2": ("rules.txt", "MATCH,AUTO\nX,y\n"),
    }

    async def look(code: int) -> None:
        for place, (name, text) in faults.items():
            file = byway.config.with_name(name)
            file.write_text(text)
            assert (await byway.command("config", "check", check=False)).returncode == 7
            (found,) = [each for each in await _all(byway, code=code) if each["step"] == "configuration"]
            assert place in found["text"]
            assert "correct it" in found["do"]
            byway.config.write_text(good)
            byway.rules.unlink(missing_ok=True)
            if byway.process is not None:
                await until_read(is_mended)  # it polls its files, and has told this fault meanwhile

    async def is_mended() -> bool:
        return not any(problem["subject"] == "configuration" for problem in (await byway.read("status"))["problems"])

    await look(1)
    async with byway:
        await look(5)


@pytest.mark.slow
async def test_all_faults_of_one_file_are_found(tmp_path: Path) -> None:
    byway = _stopped(tmp_path, rules="X,y\nDOMAIN,a.test\n")
    places = [each["text"].split(" ")[0] for each in await _all(byway, code=1)]
    assert places == ["rules.txt:1:", "rules.txt:2:"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ('[[relay]]\nname = "vps"\nurl = "https://me@relay.test"\npassword_cmd = "false"\n', "[[relay]] vps: "),
        (f'user = "me"\npassword_cmd = "false"\n{DEAD}', "[listen] password_cmd: "),
    ],
    ids=["of a relay", "of the proxy itself"],
)
async def test_a_password_command_that_fails_is_found(tmp_path: Path, config: str, reason: str) -> None:
    """As `byway run` says, which does not start with it."""
    byway = _stopped(tmp_path, config)
    (found,) = await _all(byway, code=1)
    assert found["step"] == "configuration"
    assert found["text"] == f"{reason}its password command failed with exit code 1"
    ran = await byway.command("run", check=False)
    assert (ran.returncode, found["text"] in ran.stderr) == (7, True)


@pytest.mark.slow
async def test_a_running_byway_runs_its_password_commands_itself(tmp_path: Path) -> None:
    """A keyring may ask its user. Without one, doctor runs each command once, and tells no password."""
    runs = tmp_path / "runs"
    command = f"sh -c 'echo >> {runs}; echo correct-horse'"
    byway = _stopped(
        tmp_path / "byway", f'[[relay]]\nname = "vps"\nurl = "https://me@127.0.0.1:1"\npassword_cmd = "{command}"\n'
    )
    done = await byway.command("doctor")
    assert "correct-horse" not in done.stdout + done.stderr
    assert runs.read_text() == "\n"
    async with byway:
        assert await _all(byway, code=0) == []
        assert runs.read_text() == "\n" * 2


@pytest.mark.slow
async def test_an_addon_that_does_not_load_is_found(tmp_path: Path) -> None:
    byway = _stopped(tmp_path)
    addons = byway.config.parent / "addons"
    addons.mkdir(mode=0o700)
    file = addons / "mine.py"
    file.write_text("def plan(:\n")
    (found,) = await _all(byway, code=1)
    assert (found["step"], "mine.py:1" in found["text"]) == ("addons", True)
    file.write_text("def plan(request, plan): ...\n")
    async with byway:
        assert await _all(byway, code=0) == []
        file.write_text("def plan(:\n")
        await byway.command("config", "show")
        assert (await byway.command("addons", "enable", "mine", check=False)).returncode == 7
        (file.parent / "other.py").write_text("def plan(:\n")
        await byway.command("relay", "enable", "dead")  # it reads all again
        assert {each["step"] for each in await _all(byway)} == {"addons"}


@pytest.mark.slow
async def test_files_that_others_could_change_are_closed(open_folder: Path) -> None:
    byway = _stopped(open_folder, rules="MATCH,AUTO\n")
    byway.config.parent.chmod(0o755)
    for file in (byway.config, byway.rules):
        file.chmod(0o666)
    found = await _all(byway, code=1)
    assert [each["step"] for each in found] == ["file_modes", "file_modes"]
    assert all(each["do"].startswith("chmod go-w ") for each in found)
    assert all(each["fixed"] for each in await _all(byway, "--fix", code=0))
    assert [stat.S_IMODE(file.stat().st_mode) for file in (byway.config, byway.rules)] == [0o644, 0o644]
    assert await _all(byway, code=0) == []


@pytest.mark.slow
async def test_the_folder_that_others_could_change_is_closed(open_folder: Path) -> None:
    byway = _stopped(open_folder, rules="MATCH,AUTO\n")
    byway.config.parent.chmod(0o777)
    byway.rules.chmod(0o666)
    found = await _all(byway, code=1)
    assert {each["step"] for each in found} == {"file_modes"}
    assert all(each["fixed"] for each in await _all(byway, "--fix", code=0))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (byway.config.parent, byway.rules)] == [0o755, 0o644]
    assert await _all(byway, code=0) == []
    above = byway.config.parent.parent
    above.chmod(0o777)  # one that is not Byway's own stays as it is, and the finding says what to do about it
    failed = await _all(byway, "--fix", code=1)
    assert failed
    assert all(str(above) in each["error"] and not each["fixed"] for each in failed)
    assert stat.S_IMODE(above.stat().st_mode) == 0o777


@pytest.mark.slow
async def test_one_dead_relay_of_two_is_found(tmp_path: Path) -> None:
    async with (
        Origin() as origin,
        Byway(tmp_path, config=RELAYS, rules="DOMAIN,one.test,RELAY:dead\n") as byway,
    ):
        await fetch(f"http://one.test:{origin.http_port}/", via=byway.proxy)
        (problem,) = (await byway.read("status"))["problems"]
        (found,) = await _all(byway)
        assert (found["step"], found["text"], found["do"]) == ("relays_fail", problem["text"], problem["do"])


@pytest.mark.slow
async def test_an_override_whose_relay_is_gone_is_found(tmp_path: Path) -> None:
    async with Byway(tmp_path, config=RELAYS) as byway:
        await byway.command("site", "set", "one.test", "relay:dead")
        assert await _all(byway, code=0) == []
        byway.config.write_text("config_version = 1\n" + RELAYS.replace('"dead"', '"another"'))
        await byway.command("relay", "enable", "other")  # it reads all again
        (notice,) = (await byway.read("status"))["notices"]
        (found,) = await _all(byway)
        assert (found["step"], found["text"]) == ("notice", notice)
        assert "byway site forget one.test" in found["text"]


@pytest.mark.parametrize("name", ["lock", "run.json"])
async def test_a_folder_in_place_of_a_file_that_a_start_needs_is_found(tmp_path: Path, name: str) -> None:
    byway = _stopped(tmp_path)
    (byway.state / name).mkdir(parents=True)
    (found,) = await _all(byway, code=1)
    assert (found["step"], f"{name} is a folder, not a file" in found["text"]) == ("state_folder", True)
    assert (await byway.command("run", check=False)).returncode == 1


@pytest.mark.slow
@pytest.mark.root
async def test_a_state_folder_of_another_user_has_a_next_step(tmp_path: Path) -> None:
    byway = _stopped(tmp_path)
    os.chown(byway.state, 12345, 12345)
    (found,) = await _all(byway, code=1)
    assert (found["step"], "belongs to another user" in found["text"]) == ("state_folder", True)
    assert "byway run --state" in found["do"]


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.namespaces
@pytest.mark.needs("unshare")
async def test_a_state_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    script = 'mount -t tmpfs -o ro,mode=0700 none "$0" && exec "$@"'
    byway = _stopped(tmp_path, prefix=("unshare", "-Urm", "sh", "-c", script, str(state)))
    (found,) = [each for each in await _all(byway) if each["step"] == "disk_full"]
    assert "free some disk space" not in found["do"]


@pytest.mark.slow
@pytest.mark.parametrize("logged", ["decisions", "off"])
async def test_traffic_that_fails_as_a_whole_is_found(tmp_path: Path, logged: str) -> None:
    hosts = "[dns.hosts]\n" + "".join(f'"s{n}.test" = "127.0.0.1"\n' for n in range(8))
    config = f'[log]\nhosts = "{logged}"\n{hosts}{DEAD}'
    async with Byway(tmp_path, config=config, rules="MATCH,DIRECT\n") as byway:
        for number in range(8):
            assert (await fetch(f"http://s{number}.test:1/", via=byway.proxy)).status == 502

        async def is_told() -> bool:
            return bool((await byway.ask("/v1/status"))["problems"])

        await until_read(is_told)  # a visit counts when its connection is closed
        (found,) = [each for each in await _all(byway) if each["step"] == "traffic"]
        assert "all of the last 8 visits failed, of 8 sites" in found["text"]
