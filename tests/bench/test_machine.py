from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.bench.machine import Cores, NotStarted, running

_CORE = Cores.of_this_machine().proxy

_WITH_A_CHILD = """\
import os, socket
server = socket.create_server(("127.0.0.1", 0))
child = os.fork()
if child:
    print(server.getsockname()[1], child, flush=True)
    os.waitpid(child, 0)
held = bytearray(os.urandom(32 * 1024 * 1024))
for _ in range(3_000_000): pass
while True: server.accept()
"""


def _said(path: Path) -> list[int]:
    """What the program printed, once it has."""
    while not (text := path.read_text()).endswith("\n"):
        os.sched_yield()
    return [int(word) for word in text.split()]


def _runs(pid: int) -> bool:
    """Not so once it has ended, though its parent's parent may not have taken note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_is_weighed_and_ended_with_its_children(tmp_path: Path) -> None:
    with running([sys.executable, "-c", _WITH_A_CHILD], core=_CORE, folder=tmp_path) as program:
        port, child = _said(program.said)
        program.wait_listening({port})
        program.settle()
        assert os.sched_getaffinity(child) == {_CORE}
        while program.pss_mib() < 32 or program.cpu_s() == 0:
            os.sched_yield()
    assert program.process.returncode is not None
    while _runs(child):
        os.sched_yield()


def test_what_a_program_said_that_did_not_start_is_told(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('no such option')"]
    with running(command, core=_CORE, folder=tmp_path) as program, pytest.raises(NotStarted, match="no such option"):
        program.wait_listening({1})
