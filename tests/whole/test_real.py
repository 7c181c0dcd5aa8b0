"""The commands and a real `byway run`, each a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.byway import TYPED, Byway
from tests.support.waiting import until_read

pytestmark = pytest.mark.slow


async def run(*words: str, folder: Path) -> tuple[int, str, str]:
    """Exit code and output of a `byway` that ends by itself."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "proxy", *words),
        *("--config", str(folder / "none.toml"), "--state", str(folder / "state")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("BYWAY_")},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), err.decode()


def mode_of(path: Path | str) -> int | None:
    """Its permissions; None when it is not there."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


async def test_the_running_byway_is_asked_and_changed(tmp_path: Path) -> None:
    rules = "DOMAIN-SUFFIX,ads.example,BLOCK\nDOMAIN,never.example,RELAY\n"  # so that nobody is asked for it
    async with Byway(tmp_path, rules=rules) as byway:
        status = await byway.read("status")
        assert status["listen"] == f"127.0.0.1:{byway.port}"
        assert status["pid"] == byway.pid
        assert (await byway.read("rule", "test", "x.ads.example"))["plan"]["action"] == "BLOCK"
        assert (await byway.read("why", "never.example"))["belief"]["words"] == "not tested"

        await byway.command("relay", "add", "socks5h://127.0.0.1:1", "--name", "gone")
        assert [relay["name"] for relay in (await byway.read("relay", "list"))["relays"]] == ["gone"]
        assert tomllib.loads(byway.config.read_text())["relay"][0]["name"] == "gone"
        tested = await byway.command("relay", "test", "--to", "example.org:443", "--json", check=False)
        assert tested.returncode == 5
        assert json.loads(tested.stdout)["results"][0]["reachable"] is False

        await byway.command("site", "set", "example.org", "relay:gone")
        assert (await byway.read("rule", "test", "blog.example.org"))["plan"]["routes"] == ["gone"]
        await byway.stop()
        await byway.start()  # what was set is kept
        assert (await byway.read("site", "show", "blog.example.org"))["override"]["relay"] == "gone"
        await byway.command("site", "forget", "example.org")
        assert (await byway.read("site", "list"))["overrides"] == []


async def test_what_it_leaves_behind_and_what_is_the_users_alone(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        run_file = byway.state / "run.json"
        told = json.loads(run_file.read_text())
        assert mode_of(run_file) == mode_of(told["socket"]) == 0o600
        assert await byway.stop() == 0
        assert not run_file.exists()
        assert mode_of(told["socket"]) is None
        assert (await byway.command("status", check=False)).returncode == 3
        await byway.start()
        await byway.kill()  # run.json stays, and means nothing
        assert run_file.exists()
        assert (await byway.command("status", check=False)).returncode == 3


async def test_followers_see_the_end(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "log", "-f", "--state", str(byway.state)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None

        async def header() -> bool:
            assert process.stdout is not None
            return (await process.stdout.readline()).startswith(b"id\tat\t")

        try:
            async with asyncio.timeout(30):
                reader, writer = await asyncio.open_connection(*byway.proxy)
                writer.write(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n")
                await reader.read()
                writer.close()
                await until_read(header)
                await byway.stop()
                _, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0
    assert b"The running Byway has ended." in err


async def test_a_browser_that_opens_the_proxys_port_learns_what_it_is(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        for target, host, status in (
            ("/", f"127.0.0.1:{byway.port}", b" 200 "),
            ("http://byway.internal/", "byway.internal", b" 200 "),
            ("/v1/status", f"localhost:{byway.port}", b" 404 "),
            ("/", "evil.example", b" 421 "),
        ):
            reader, writer = await asyncio.open_connection(*byway.proxy)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            await writer.wait_closed()
            assert status in answer.partition(b"\r\n")[0] + b" ", (target, host)
            assert (f"{TYPED} status".encode() in answer) is (status == b" 200 ")


async def test_G4_a_busy_port_ends_with_1_and_says_how_to_find_who_has_it(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = await run("run", "--port", str(port), folder=tmp_path)
    assert code == 1
    assert out == ""
    assert f"cannot listen on 127.0.0.1 port {port}" in err
    assert "ss -ltnp" in err
    assert "Traceback" not in err
    assert not (tmp_path / "state" / "run.json").exists()


async def test_a_busy_port_is_told_before_rules_and_lists_are_read(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")
    (tmp_path / "rules.txt").write_text("NONSENSE,a.example,DIRECT\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = await run("run", "--port", str(taken.getsockname()[1]), folder=tmp_path)
    assert code == 1
    assert "cannot listen on" in err
    code, _, err = await run("run", "--port", "0", folder=tmp_path)
    assert code == 7
    assert "NONSENSE" in err


async def test_G9_a_second_byway_on_one_state_folder_ends_with_1_and_says_who_has_it(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")
    async with Byway(tmp_path) as byway:
        code, out, err = await run("run", "--port", "0", folder=tmp_path)
        assert code == 1
        assert out == ""
        assert f"pid {byway.pid}" in err
        assert "--state" in err
        assert "Traceback" not in err
        assert (await byway.read("status"))["pid"] == byway.pid  # the first is unharmed


async def test_watching_ends_with_130_when_interrupted(tmp_path: Path) -> None:
    async with Byway(tmp_path) as byway:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "proxy", "status", "--watch", "--state", str(byway.state)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        assert (await asyncio.wait_for(process.stdout.readline(), 30)).startswith(b"kind\t")
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 130
    assert err == b""
