"""The life of `byway run`: what it refuses to start with, how it is stopped, what it says to a pipe that is gone.

Each is a process of its own. How edited files are taken in is told in `e2e/test_reload`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.byway import Byway
from tests.support.client import tunnel
from tests.support.origin import Origin
from tests.support.waiting import until

pytestmark = pytest.mark.waits

HOSTS = '[dns.hosts]\n"one.test" = "127.0.0.1"\n'


async def run(folder: Path, *words: str, state: Path | None = None) -> tuple[int, str]:
    """Exit code and standard error of a `byway run` that ends by itself, with the config.toml of `folder`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "proxy", "run", "--port", "0", *words),
        *("--config", str(folder / "config.toml"), "--state", str(state or folder / "state")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={k: v for k, v in os.environ.items() if not k.startswith("BYWAY_")},
    )
    try:
        _, err = await asyncio.wait_for(process.communicate(), 20)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, err.decode()


# -- what it does not start with ---------------------------------------------------------------------------------------

BAD_FILES: dict[str, tuple[bytes, str]] = {
    "syntax": (b'config_version = 1\n[listen\nport = 1\n', r"config\.toml:2: "),
    "unknown key": (b"config_version = 1\n[listen]\nprot = 1\n", r"config\.toml:3: .*port"),
    "wrong type": (b'config_version = 1\n[log]\nkeep_days = "x"\n', r"config\.toml:3: "),
    "duplicate key": (b"config_version = 1\nconfig_version = 1\n", r"config\.toml:2: "),
    "ten megabytes": (b"#" * 10_000_000, r"config\.toml"),
    "binary": (bytes(range(128, 256)), r"config\.toml"),
    "NUL": (b"config_version = 1\n\0", r"config\.toml:2: "),
    "two faults": (b"config_version = 1\n[listen]\nprot = 1\n[log]\nkeep_days = -1\n", r"toml:3: (.|\n)*toml:5: "),
    "no password": (b'config_version = 1\n[listen]\naddress = "0.0.0.0"\n', r"config\.toml:3: "),
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(*case, id=name, marks=() if name == "two faults" else pytest.mark.slow)
        for name, case in BAD_FILES.items()
    ],
)
async def test_G1_a_bad_file_ends_with_7_and_its_place(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    code, err = await run(tmp_path)
    assert code == 7
    assert re.search(said, err), err
    assert "Traceback" not in err
    assert not (tmp_path / "state" / "run.json").exists()


async def test_no_password_of_a_faulty_configuration_is_printed(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[safety]\nallow = ["http://me:correct-horse@relay.example/"]\n')
    code, err = await run(tmp_path)
    assert code == 7
    assert "correct-horse" not in err
    assert "me:***@relay.example" in err


def folder(path: Path) -> None:
    path.mkdir()


def nothing(path: Path) -> None:
    pass


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    "make", [folder, *(pytest.param(make, marks=pytest.mark.slow) for make in (os.mkfifo, device, nothing))]
)
async def test_G1_what_is_no_file_ends_with_7(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "config.toml")
    code, err = await run(tmp_path)
    assert code == 7
    assert "config.toml" in err
    assert "Traceback" not in err


async def test_G1_bad_rules_end_with_7_and_all_their_places(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("config_version = 1\n")
    (tmp_path / "rules.txt").write_text("DOMAIN,a.test,DIRECT\nDOMAIN,b.test,DIRECTT\nDOMIAN,c.test,DIRECT\n")
    code, err = await run(tmp_path)
    assert code == 7
    assert "rules.txt:2: " in err
    assert "rules.txt:3: " in err
    assert "rules.txt:1: " not in err


@pytest.mark.parametrize(
    "address", ["0.0.0.0", *(pytest.param(address, marks=pytest.mark.slow) for address in ("::", "192.0.2.1"))]
)
async def test_G3_listening_beyond_this_computer_without_a_password_is_refused(tmp_path: Path, address: str) -> None:
    (tmp_path / "config.toml").write_text("")
    code, err = await run(tmp_path, "--listen", address)
    assert code == 7
    assert "password_cmd" in err
    assert not (tmp_path / "state" / "run.json").exists()


async def test_G10_a_state_folder_that_cannot_be_made_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    code, err = await run(tmp_path, state=tmp_path / "config.toml" / "state")
    assert code == 1
    assert "--state" in err
    assert "Traceback" not in err


# -- how it is stopped -------------------------------------------------------------------------------------------------


def is_shut(byway: Byway) -> bool:
    """Nobody listens on its port any more."""
    with socket.socket() as probe:
        return probe.connect_ex(byway.proxy) != 0


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_G11_a_tunnel_may_finish_before_it_ends_with_0(tmp_path: Path, how: signal.Signals) -> None:
    async with Origin() as origin, Byway(tmp_path, config=f"[limits]\ndrain_s = 20\n{HOSTS}") as byway:
        async with asyncio.TaskGroup() as both, tunnel(f"one.test:{origin.http_port}", byway.proxy) as (reader, writer):
            writer.write(b"GET /hold HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n")
            await until(lambda: origin.connections == 1)
            ending = both.create_task(byway.stop(how))
            await until(lambda: is_shut(byway))
            assert not ending.done()
            origin.release.set()
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        assert ending.result() == 0
    assert not (byway.state / "run.json").exists()
    said = byway.said.read_text()
    assert "Traceback" not in said
    assert said.count("Byway ends;") == (how == signal.SIGINT)  # a person at a terminal learns that it was heard


async def test_G11_what_does_not_finish_is_broken_off(tmp_path: Path) -> None:
    async with (
        Origin() as origin,
        Byway(tmp_path, config=f"[limits]\ndrain_s = 0.2\n{HOSTS}") as byway,
        tunnel(f"one.test:{origin.http_port}", byway.proxy) as (reader, writer),
    ):
        writer.write(b"GET /hold HTTP/1.1\r\nHost: one.test\r\n\r\n")
        await until(lambda: origin.connections == 1)
        assert await byway.stop() == 0
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    assert "Traceback" not in byway.said.read_text()


async def test_G11_a_second_interrupt_does_not_wait_and_ends_with_130(tmp_path: Path) -> None:
    async with (
        Origin() as origin,
        Byway(tmp_path, config=f"[limits]\ndrain_s = 60\n{HOSTS}") as byway,
        tunnel(f"one.test:{origin.http_port}", byway.proxy) as (_, writer),
    ):
        writer.write(b"GET /hold HTTP/1.1\r\nHost: one.test\r\n\r\n")
        await until(lambda: origin.connections == 1)
        assert byway.process is not None
        byway.process.send_signal(signal.SIGINT)
        await until(lambda: is_shut(byway))
        assert await byway.stop(signal.SIGINT) == 130
    assert byway.said.read_text().count("Byway ends; open connections may finish. Ctrl-C again ends at once") == 1
    assert "Traceback" not in byway.said.read_text()
    assert not (byway.state / "run.json").exists()


EARLY = """
import os, signal, sys
from pathlib import Path
import proxy.app.presence, proxy.app.process
write = proxy.app.presence.write_private
def write_and_end(path, content):
    write(path, content)
    if path.name == "run.json":
        os.kill(os.getpid(), signal.SIGTERM)
proxy.app.presence.write_private = write_and_end
folder = Path(sys.argv[1])
options = proxy.app.process.RunOptions(config=folder / "config.toml", state=folder / "state", port=0)
sys.exit(proxy.app.process.run(options, ()))
"""


async def test_G11_who_can_find_it_can_stop_it(tmp_path: Path) -> None:
    """A signal that comes the moment run.json is there."""
    (tmp_path / "config.toml").write_text("")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", EARLY, str(tmp_path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")
    assert not (tmp_path / "state" / "run.json").exists()


@pytest.mark.uses("today")
async def test_G12_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """As in `byway run | head -1`, but that the reader has surely left. It serves on, and ends well."""
    gone = "import os, sys; r, w = os.pipe(); os.close(r); os.dup2(w, 1); os.execv(sys.argv[1], sys.argv[1:])"
    byway = Byway(tmp_path, prefix=(sys.executable, "-c", gone))
    await byway.start()
    byway_alone = Byway(tmp_path)  # to ask it, with an output that is read
    assert (await byway_alone.read("status"))["pid"] == byway.pid
    assert await byway.stop() == 0
    assert byway.said.read_text() == ""


# -- what it costs -----------------------------------------------------------------------------------------------------

OWN_MODULES = 221
"""Modules of Byway that a start imports, as many as there are now. Each takes a third of a millisecond, before anything
in it runs."""

LATER = frozenset((
    "aiohttp", "pydantic", "cryptography", "mitmproxy", "rich", "importlib.metadata",
    "csv", "http",
    "proxy.control.dependencies",  # when somebody asks
    "proxy.features.desktop.notifications",
    "proxy.setup.rule_edits",
    "proxy.control.pac",  # with the first browser that asks for its file
    "proxy.setup.desktop.system_proxy",
    "proxy.detect.pages.page_classifier",  # with the first answer of plain HTTP
    "proxy.detect.verdict.labels",  # these three: with the first visit that fails
    "proxy.detect.verdict.missing_name",
    "proxy.session.refusal_text",
    "proxy.extend.api",
    "proxy.extend.guard.runner",
    "proxy.extend.guard.task_tracking",
    "proxy.extend.loading.loader",  # with the first addon
    "proxy.features.inspection.inspector",  # with the first rule that INSPECTs a connection
    "proxy.net.dialers.relay_handshake",  # these two: with the first relay
    "proxy.net.dialers.tls",
    "proxy.net.dialers.relay_ways",  # with the first relay that has several ways
    "proxy.net.dialers.hello_spacing",  # with the first https relay
    "proxy.net.dialers.addon_relay",  # with the first relay that is an addon's
    "proxy.net.race.late_direct",  # these two: with the first visit for which a second route is tried
    "proxy.net.race.sharing",
    "proxy.net.dns.transport",  # with the first suspect name
    "proxy.detect.tls_interception",  # these two: with the first TLS that direct delivered
    "proxy.probe.interception_check",
    "publicsuffixlist",  # with the first name
    "proxy.probe.connectivity_check",  # these seven: with the first trouble
    "proxy.probe.dns_check",
    "proxy.probe.ladder_search",
    "proxy.probe.page_check",
    "proxy.probe.retest",
    "proxy.probe.silence_check",
    "proxy.probe.speed_check",
    "proxy.probe.list_refresh",
    "proxy.probe.measure",
    "proxy.probe.transfer_check",  # with a relay that has alternatives
    "proxy.routing.lists",
    "proxy.session.http_requests",  # with the first plain HTTP
    "proxy.session.server_first",  # with the first server that speaks first
    "proxy.store.list_trials",  # with the first list
    "proxy.config.mitmproxy_version",  # with the first rule that INSPECTs, or setting of an addon
    "proxy.wire.keys.pasted",  # these five: with the first relay, and the last four with the first key
    "proxy.wire.keys.sentences",
    "proxy.wire.keys.fields",
    "proxy.wire.keys.reader",
    "proxy.wire.keys.writer",
    "yaml",
    "proxy.wire.url_spelling",  # with the first relay URL that is wrong
))  # fmt: skip
"""What a run may never need. Each takes of a start's time, and of the memory for as long as Byway runs."""


async def test_a_start_imports_nothing_that_this_run_may_never_need(tmp_path: Path) -> None:
    async with Byway(tmp_path, environment={"PYTHONPROFILEIMPORTTIME": "1"}) as byway:
        imported = set(re.findall(r"\| +([\w.]+)$", byway.said.read_text(), re.MULTILINE))
        assert "proxy.app.app" in imported
        assert imported.isdisjoint(LATER)
        assert len([name for name in imported if name.partition(".")[0] == "proxy"]) <= OWN_MODULES
        await byway.read("status")  # it is asked, and aiohttp is there
        imported = set(re.findall(r"\| +([\w.]+)$", byway.said.read_text(), re.MULTILINE))
        assert "aiohttp" in imported
        # Nobody has opened the dashboard.
        assert imported.isdisjoint(("jinja2", "markupsafe", "proxy.control.dashboard.routes"))
