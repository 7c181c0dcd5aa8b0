"""Tests each list in a process of its own, which parses it to the end, before this process parses it.

Anybody may have written a list, and a regular expression that runs forever holds the interpreter's lock: this process
could neither end it nor handle a signal. The other process has limits of time and memory, and is ended at a limit. The
result of a parser depends only on text and options, so a list that passes there is safe here. The hashes of lists that
passed are kept, also across restarts, so a start with known lists tests nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from proxy.config.files import read_bytes
from proxy.config.paths import private_folder, write_private
from proxy.model.bounded import Bounded
from proxy.model.errors import BywayError, ConfigError, reason_of

log = logging.getLogger(__name__)

CPU_S = 20
"""Seconds of CPU time for one list, where the system can limit them. A million domains take one; beside busy programs
that may be half a minute of wall time."""

TRIAL_S = 240.0
"""Seconds of wall time for one list: the limit on systems that cannot limit CPU time."""

MEMORY_LIMIT = 1024 * 1024 * 1024
"""Bytes of memory of the other process, where the system can limit them. A million domains take 150 MB."""

NEEDS_MEMORY = 3
"""Exit code of the other process when it reaches MEMORY_LIMIT."""

_WORKER = (sys.executable, "-P", "-m", "proxy.setup.list_trial")  # -P: the current folder is not on sys.path
_TOO_LONG = "takes too long to read, and was stopped; it may be made to do harm"
_TOO_LARGE = f"takes more than {MEMORY_LIMIT // 1024 // 1024} MB of memory to read; it may be made to do harm"
_OUT_OF_TIME: int = getattr(signal, "SIGXCPU", 0)
_REMEMBERED = 500
_FILE_LIMIT = 64 * 1024
_INCLUDES = b"include:"


class ListTrials:
    """The trials of one process. Any thread may call the methods; `require` waits for the other process."""

    def __init__(self, file: Path | None, *, ephemeral: bool = False, worker: Sequence[str] = _WORKER) -> None:
        """`file` keeps the hashes of lists that passed; None: no file. With `ephemeral` it is only read. `worker` is
        the command of the other process."""
        self._file = file
        self._ephemeral = ephemeral
        self._worker = worker
        self._passed = Bounded[str, None](_REMEMBERED)  # hashes
        self._failed = Bounded[str, str](_REMEMBERED)  # hash → reason; since the start only
        self._storing = threading.Lock()
        self._has_read = False
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = threading.Event()

    def require(
        self,
        data: bytes,
        *,
        source: str,
        format: str,  # noqa: A002  # as the setting is called
        allow_suffixes: bool,
        folder: Path | None = None,
    ) -> None:
        """Returns once it is known that a parser with these options accepts or refuses the list within the limits.
        `source` is the name of the list in messages; `folder` has the files that it may include. Raises ConfigError
        when the trial fails."""
        options = [format, "allow_suffixes" if allow_suffixes else ""]
        key = _key(data, options)
        # Included files may change while the list stays the same.
        keeps = folder is None or _INCLUDES not in data
        self._read()
        if keeps and key in self._passed:
            return
        fault = self._failed.get(key, "") if keeps else ""
        if not fault:
            fault = self._try(data, options, folder)
            with self._storing:
                if keeps and not fault:
                    self._passed[key] = None
                    self._save()
                elif keeps and fault in (_TOO_LONG, _TOO_LARGE):  # another fault may be the computer's
                    self._failed[key] = fault
        if fault:
            raise ConfigError(f"{source}: {fault}")

    def end(self) -> None:
        """Ends the running trials, whose lists count as refused, and allows no more. May be called again."""
        self._ended.set()
        for process in tuple(self._running):
            process.kill()

    def _try(self, data: bytes, options: Sequence[str], folder: Path | None) -> str:
        """Returns why this process must not parse the list; "": it may."""
        if self._ended.is_set():
            return "was not read, since Byway ends"
        command = [*self._worker, *options, str(folder or "")]
        try:
            # It writes nothing. The end of its output shows its exit at once, which is faster than polling.
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            return f"cannot be tried out in a process of its own: {reason_of(error)}"
        with process:  # closes the pipes and waits for the process
            self._running.add(process)
            try:
                process.communicate(data, timeout=TRIAL_S)
            except subprocess.TimeoutExpired:
                return _TOO_LONG
            finally:
                process.kill()  # also when Ctrl-C ends the wait
                self._running.discard(process)
        if process.returncode == 0:
            return ""
        if self._ended.is_set():
            return "was not read to the end, since Byway ends"
        if process.returncode == -_OUT_OF_TIME:
            return _TOO_LONG
        if process.returncode == NEEDS_MEMORY:
            return _TOO_LARGE
        return f"cannot be read: the process that tried it out ended with {process.returncode}"

    def _read(self) -> None:
        if self._has_read or self._file is None:
            return
        self._has_read = True
        if not os.path.lexists(self._file):
            return
        try:
            keys = json.loads(read_bytes(self._file, limit=_FILE_LIMIT))["passed"]
            for key in keys[-_REMEMBERED:]:
                if isinstance(key, str):
                    self._passed[key] = None
        except (ConfigError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.debug("%s cannot be read: %s", self._file, type(error).__name__)  # all are tried again

    def _save(self) -> None:
        if self._file is None or self._ephemeral:
            return
        try:
            private_folder(self._file.parent)
            write_private(self._file, json.dumps({"passed": list(self._passed)}))
        except BywayError as error:
            log.debug("%s", error)


def _key(data: bytes, options: Sequence[str]) -> str:
    """Returns a hash of a list, the options and the parsers' code: after an update of Byway, all lists are tried
    again."""
    return hashlib.sha256(f"{_code()} {options}\n".encode() + hashlib.sha256(data).digest()).hexdigest()[:40]


def _code() -> str:
    """Returns a text that changes when the parsers or Python change."""
    folder = Path(__file__).parents[1] / "routing" / "lists"
    with os.scandir(folder) as entries:
        written = max((entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".py")), default=0)
    return f"{sys.version} {written}"
