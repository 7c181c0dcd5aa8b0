"""A process that has imported what a Byway imports, and forks it: a Byway then starts without half a second of imports.

    python -P tests/support/template.py DESCRIPTOR

forked.py asks for a process on the socket of that descriptor: a JSON object, and with it the descriptors of the three
streams and of a pipe for the exit code. The answer is the pid. From then on the process does what
`python -m proxy` does with that environment, in the namespaces that are named, and is killed when this one ends, as it
does when the socket is closed.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, TextIO

REQUEST_MAX = 100_000
_PR_SET_PDEATHSIG = 1


def _next_request(control: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    data, ancillary, _, _ = control.recvmsg(REQUEST_MAX, socket.CMSG_LEN(4 * array.array("i").itemsize))
    if not data:
        return None
    descriptors = array.array("i")
    for _, _, given in ancillary:
        descriptors.frombytes(given)
    return json.loads(data), list(descriptors)


def _enter(namespaces: Sequence[tuple[str, int]]) -> None:
    libc, here = ctypes.CDLL(None, use_errno=True), os.getcwd()
    for path, kind in namespaces:
        descriptor = os.open(path, os.O_RDONLY)
        if libc.setns(descriptor, kind):
            sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
        os.close(descriptor)
    os.chdir(here)


def _become(asked: dict[str, Any], template: int, streams: Sequence[int]) -> None:
    """Makes this process what a new Python would be."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != template:
        sys.exit("the tests have ended")
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 1 << 20)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  # to the end
    sys.stdout, sys.stderr = _opened(1, sys.stdout), _opened(2, sys.stderr)
    os.chdir(asked["folder"])
    _enter(asked["namespaces"])
    path = os.environ.get("PYTHONPATH", "")
    os.environ.clear()
    os.environ.update(asked["environment"])
    if (its_path := os.environ.get("PYTHONPATH", "")) != path:
        _import_by(its_path)
    time.tzset()
    sys.argv[:] = asked["argv"]
    sys.orig_argv[:] = asked["orig_argv"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.enable()


def _import_by(path: str) -> None:
    """Lets what is of Byway be imported anew, as a new Python with this PYTHONPATH would."""
    sys.path[0:0] = filter(None, path.split(os.pathsep))
    for name in [name for name in sys.modules if name.partition(".")[0] == "proxy"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _opened(descriptor: int, like: TextIO) -> TextIO:
    """Returns a stream as a new Python makes it. One that was made for a file fails at a terminal."""
    assert isinstance(like, io.TextIOWrapper)
    raw = open(descriptor, "wb", buffering=0 if like.write_through else -1, closefd=False)  # noqa: SIM115  # to the end
    at_once = like.line_buffering or raw.isatty()
    return io.TextIOWrapper(raw, like.encoding, like.errors, line_buffering=at_once, write_through=like.write_through)


def serve(control: socket.socket) -> bool:
    """Answers requests. Returns true in a process that was made, and false at the end."""
    template = os.getpid()
    codes: dict[int, tuple[int, int]] = {}  # by the descriptor of a process: its pid, and the pipe for its exit code
    events = select.poll()
    events.register(control, select.POLLIN)
    while True:
        for descriptor, _ in events.poll():
            if descriptor != control.fileno():
                events.unregister(descriptor)
                pid, code = codes.pop(descriptor)
                os.write(code, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
                os.close(descriptor)
                os.close(code)
            elif (request := _next_request(control)) is None:
                return False
            else:
                asked, (*streams, code) = request
                if (pid := os.fork()) == 0:
                    _become(asked, template, streams)
                    return True
                for stream in streams:
                    os.close(stream)
                watched = os.pidfd_open(pid)
                codes[watched] = pid, code
                events.register(watched, select.POLLIN)
                control.send(str(pid).encode())


def _run() -> None:
    """Ends as an interpreter does, but that it takes no modules apart: of all that were imported this takes 50 ms."""
    code: int | str | None = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise
        code = ended.code
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end what they started
    gc.disable()
    import proxy.app.process
    import proxy.cli.commands
    import proxy.cli.run_options
    import proxy.control.web_apps
    from proxy.features.table import FEATURES

    proxy.control.web_apps.import_features(FEATURES)
    for feature in FEATURES:
        for command in feature.commands.values():
            importlib.import_module(f"proxy.features.{feature.name}.{command.partition(':')[0]}")
    gc.freeze()
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        _run()


if __name__ == "__main__":
    main()
