"""The kernel says who is at the other end of a Unix socket, whatever that one says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.net.peer import peer_uid

_LISTEN = """
import os, socket, sys
sock = socket.socket(socket.AF_UNIX)
os.setgid(65534)
os.setuid(65534)
sock.bind(sys.argv[1])
sock.listen()
print("ready", flush=True)
sys.stdin.read()
"""


def test_it_is_us() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) in (os.getuid(), None)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can run a program as another user")
def test_it_is_somebody_else(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    for above in (folder, *folder.parents[: len(folder.parents) - 2]):
        above.chmod(0o777 if above == folder else 0o755)
    path = folder / "s"
    command = [sys.executable, "-c", _LISTEN, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            assert peer_uid(sock) == 65534
        other.communicate()
