from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.spaces import Space, may_make_spaces
from tests.support.waiting import until

pytestmark = [pytest.mark.namespaces, pytest.mark.needs("unshare"), pytest.mark.waits, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
_MAKES_AND_WAITS = """
import sys
from tests.lab.spaces import Space
space = Space("short-lived")
says = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
program = space.popen([sys.executable, "-c", says])
sys.stdin.read()
"""


@pytest.fixture
def space() -> Space:
    return Space("test")


def test_a_space_is_a_network_of_its_own(space: Space) -> None:
    assert space.run(lambda: os.readlink("/proc/thread-self/ns/net")) != os.readlink("/proc/self/ns/net")
    assert [name for _, name in space.run(socket.if_nameindex)][:1] == ["lo"]
    space.close()
    space.close()


def test_what_fails_in_a_space_fails_for_the_caller(space: Space) -> None:
    with pytest.raises(ZeroDivisionError):
        space.run(lambda: 1 // 0)
    with space.create_server(("0.0.0.0", 80)), pytest.raises(OSError, match="in use"):
        space.create_server(("0.0.0.0", 80))
    space.close()


def test_a_process_can_step_in(space: Space) -> None:
    where = "import os; print(os.readlink('/proc/self/ns/net'))"
    inside = space.run(lambda: os.readlink("/proc/thread-self/ns/net"))
    done = subprocess.run([sys.executable, "-c", where], preexec_fn=space.enter, capture_output=True, check=True)
    assert done.stdout.decode().strip() == inside
    space.close()


def _start_a_maker() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _MAKES_AND_WAITS], stdin=-1, stdout=-1, cwd=ROOT)


async def test_nothing_is_left_after_a_kill() -> None:
    maker = await asyncio.to_thread(_start_a_maker)
    assert maker.stdout is not None
    assert maker.stdin is not None
    with maker, maker.stdout, maker.stdin:
        inside = Path("/proc") / maker.stdout.readline().decode().strip()
        assert inside.exists()
        maker.send_signal(signal.SIGKILL)
    try:
        await until(lambda: not inside.exists() or "(zombie)" in (inside / "status").read_text())
    except TimeoutError:
        os.kill(int(inside.name), signal.SIGKILL)
        raise


@pytest.mark.root
@pytest.mark.skipif(not may_make_spaces(), reason="not run: this machine does not even let root make namespaces")
def test_an_ordinary_user_runs_the_lab_in_a_user_namespace() -> None:
    """Root without capabilities is such a user who may still read this folder; it may only let a namespace have a
    root."""
    ordinary = ["setpriv", "--bounding-set=-all,+setfcap", "--inh-caps=-all", "--"]
    tests = (
        "tests/lab/test_router.py::test_what_is_sent_arrives[veth-client-203.0.113.5]",
        "tests/lab/test_evasion.py::test_what_gets_past_whom[disorder-string]",  # asks loopback what this kernel does
    )
    command = [*ordinary, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=120)
    if b"2 skipped" in done.stdout:
        pytest.skip("not run: this machine lets no ordinary user make namespaces")
    assert b"2 passed" in done.stdout, done.stdout.decode()
