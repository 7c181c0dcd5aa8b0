"""The last test of each relay, kept across restarts: its time, whether the relay worked, and its fault.

The tests are in a small file with mode 0600, written as a whole by the process that made the test: a running Byway or
the command line. It names relays, and no host that was visited or used in a test. A damaged file counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxy.config.files import read_own_file
from proxy.config.paths import Paths, write_private
from proxy.config.schema import Log, RelayConfig
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact

log = logging.getLogger(__name__)

FILE_LIMIT = 1024 * 1024
RELAYS_MAX = 512

_TEXT_LIMIT = 200


@frozen_dataclass
class RelayTest:
    """The result of one test of one relay."""

    relay: str
    at: float  # seconds since the epoch
    ok: bool
    elapsed_s: float  # until the path was open, or until it failed
    fault: str = ""  # in words, without a host
    url_hash: str = ""  # of the relay's URL without its password: with another URL, the relay has not been tested


def url_hash(url: str) -> str:
    """Returns a hash of a relay's URL without its password."""
    return hashlib.sha256(redact(url).encode()).hexdigest()[:16]


def place(paths: Paths, settings: Log, *, ephemeral: bool = False) -> Path | None:
    """Returns the file; None: in memory only, for `--ephemeral` and `[log] hosts = "off"`."""
    return None if ephemeral or settings.hosts == "off" else paths.relay_tests_file


class RelayTests:
    """The last test of each relay. Any thread may call the methods; each may wait for the disk."""

    def __init__(self, file: Path | None) -> None:
        """`file` None: in memory only."""
        self._file = file
        self._memory: dict[str, RelayTest] = {}
        self._recording = threading.Lock()  # so that two tests that end at once do not lose a result

    def keep_in(self, file: Path | None) -> None:
        """Moves the tests to another file; None: into memory, and the file is deleted."""
        if file == self._file:
            return
        with self._recording:
            self._memory = dict(self.all())
            if self._file is not None and file is None:
                with contextlib.suppress(OSError):  # no permission: the results in it only get older
                    self._file.unlink(missing_ok=True)
            self._file = file
        self.record(())

    def all(self) -> Mapping[str, RelayTest]:
        """Returns the last tests, by the relay's name."""
        return self._memory if self._file is None else {**self._memory, **_read(self._file)}

    def of_all(self, relays: Iterable[RelayConfig]) -> dict[str, RelayTest]:
        """Returns the last tests of these relays, by name. A test with another URL than the configured one does not
        count."""
        tests = self.all()
        urls = {relay.name: relay.url for relay in relays if relay.name in tests}
        return {name: tests[name] for name, url in urls.items() if tests[name].url_hash == url_hash(url)}

    def record(self, tests: Iterable[RelayTest], *, known: Collection[str] | None = None) -> bool:
        """Adds new tests, and deletes those of relays that are not in `known`. Returns False, and logs a warning, when
        the file cannot be written."""
        with self._recording:
            merged = {**self.all(), **{test.relay: test for test in tests}}
            if known is not None:
                merged = {name: test for name, test in merged.items() if name in known}
            self._memory = dict(sorted(merged.items(), key=lambda item: -item[1].at)[:RELAYS_MAX])
            if self._file is None:
                return True
            try:
                write_private(self._file, json.dumps([asdict(test) for test in self._memory.values()]))
            except BywayError as error:
                log.warning("the results of relay tests are not saved: %s", error)
                return False
        return True


def _read(file: Path) -> dict[str, RelayTest]:
    try:
        content = json.loads(read_own_file(file, limit=FILE_LIMIT))
        return {test.relay: test for test in map(_test, content[:RELAYS_MAX])}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log.debug("%s cannot be read: %s", os.fspath(file), type(error).__name__)
        return {}


def _test(entry: Mapping[str, Any]) -> RelayTest:
    """Raises KeyError, TypeError and ValueError for an invalid entry."""
    return RelayTest(
        relay=_text(entry["relay"]),
        at=_number(entry["at"]),
        ok=entry["ok"] is True,
        elapsed_s=_number(entry["elapsed_s"]),
        fault=_text(entry["fault"]),
        url_hash=_text(entry["url_hash"]),
    )


def _number(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value < 1e11:  # NaN fails the comparison too
        raise ValueError("not a number of this file's")
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise ValueError("not a text of this file's")
    return value
