"""What is believed of the ways to relays, kept across restarts, so that no page is lost to a block that is known.

A small file of the user's alone, of the same kind as that of the relays' addresses: it names relays, their addresses
and networks by their hashes, and no host that was visited. It is written as a whole after a way failed or works again.
A file that is damaged counts as none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from proxy.config.files import read_own_file
from proxy.config.paths import Paths, write_private
from proxy.config.schema import Log
from proxy.model import Destination, NetworkId, Symptom, host_and_port
from proxy.model.errors import BywayError
from proxy.model.relay_way import KnownWay, RelayWay

log = logging.getLogger(__name__)

WAYS_MAX = 1024
"""A way takes at most 1,000 bytes, so that these fit into the file."""

_TEXT_LIMIT = 260  # a name and a port
_TIMES = tuple(field.name for field in fields(KnownWay) if field.name.endswith(("_at", "_until")))


T = TypeVar("T")


def place(paths: Paths, settings: Log, *, ephemeral: bool = False) -> Path | None:
    """Returns the file; None: in memory only, as `--ephemeral` and `[log] hosts = "off"` ask for."""
    return None if ephemeral or settings.hosts == "off" else paths.relay_ways_file


FILE_LIMIT = 1024 * 1024


class SavedValues(Generic[T]):
    """A small file of values, for others as well. Only `load` waits for the disk: the others belong to a running loop,
    and a thread writes what they leave to it, one after the other. Of what waits for a slow disk only the last is
    written."""

    def __init__(
        self,
        file: Path | None,
        *,
        encode: Callable[[T], Mapping[str, object]],
        decode: Callable[[Mapping[str, Any]], T],
        most: int,
        what: str,
    ) -> None:
        """`file` None: nothing is kept. `decode` raises KeyError, TypeError or ValueError for what is none. At most
        `most` values are kept, which together take less than FILE_LIMIT. `what` they are stands in warnings."""
        self._file = file
        self._encode = encode
        self._decode = decode
        self._most = most
        self._what = what
        self._waiting: dict[Path, Sequence[T]] = {}
        self._writing: asyncio.Future[None] | None = None

    def load(self) -> Sequence[T]:
        """Returns what was saved; empty when there is none, or the file is damaged."""
        return () if self._file is None else self._read(self._file)

    def keep_in(self, file: Path | None) -> bool:
        """Uses another file; None: none, and the one so far is deleted. Returns whether it is another one, which has to
        be saved."""
        if file == self._file:
            return False
        old, self._file = self._file, file
        if file is None and old is not None:
            self._write(old, ())
        return True

    def save(self, values: Sequence[T]) -> None:
        """Replaces the file; without values it is deleted. What cannot be written is logged."""
        if self._file is not None:
            self._write(self._file, values)

    async def written(self) -> None:
        """Waits until nothing is left to write."""
        while self._writing is not None:
            await asyncio.wait({self._writing})

    def _write(self, file: Path, values: Sequence[T]) -> None:
        self._waiting.pop(file, None)  # so that it is the last one
        self._waiting[file] = values
        if self._writing is None:
            self._write_next()

    def _write_next(self, done: asyncio.Future[None] | None = None) -> None:
        """Leaves the next file to a thread. `done`: the one before; what it raised goes to the loop's handler."""
        self._writing = None
        if self._waiting:
            file = next(iter(self._waiting))
            loop, values = asyncio.get_running_loop(), self._waiting.pop(file)
            self._writing = loop.run_in_executor(None, self._replace, file, values)
            self._writing.add_done_callback(self._write_next)
        if done is not None:
            done.result()

    def _replace(self, file: Path, values: Sequence[T]) -> None:
        try:
            if values:
                write_private(file, json.dumps([self._encode(value) for value in values[: self._most]]))
            else:
                with contextlib.suppress(OSError):  # a folder that cannot be written: what is there only gets older
                    file.unlink(missing_ok=True)
        except BywayError as error:
            log.warning("%s is not saved: %s", self._what, error)

    def _read(self, file: Path) -> Sequence[T]:
        try:
            content = json.loads(read_own_file(file, limit=FILE_LIMIT))
            return [self._decode(entry) for entry in content[: self._most]]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            log.debug("%s cannot be read: %s", os.fspath(file), type(error).__name__)
            return ()


class RelayWaysFile(SavedValues[KnownWay]):
    """The file of the ways."""

    def __init__(self, file: Path | None) -> None:
        """`file` None: nothing is kept."""
        super().__init__(
            file, encode=_document, decode=_known, most=WAYS_MAX, what="what is known of the ways to relays"
        )


def _document(known: KnownWay) -> dict[str, object]:
    return {
        "network": known.network,
        "relay": str(known.relay),
        "endpoint": str(known.way.endpoint),
        "address": known.way.address,
        "strategy": known.way.strategy,
        "symptom": known.symptom,
        "failures": known.failures,
        "bytes_down": known.bytes_down,
        **{name: getattr(known, name) for name in _TIMES},
    }


def _known(entry: Mapping[str, Any]) -> KnownWay:
    """Raises KeyError, TypeError and ValueError for what is none."""
    way = RelayWay(_destination(entry["endpoint"]), _text(entry["address"]), _text(entry["strategy"]))
    times = {name: float(_number(entry[name])) for name in _TIMES}
    return KnownWay(
        NetworkId(_text(entry["network"])),
        _destination(entry["relay"]),
        way,
        Symptom(entry["symptom"]),
        int(_number(entry["failures"])),
        int(_number(entry["bytes_down"])),
        **times,
    )


def _destination(value: object) -> Destination:
    host, port = host_and_port(_text(value))
    if not host or not 0 < int(port) < 65_536:
        raise ValueError("not an endpoint of this file's")
    return Destination(host, int(port))


def _number(value: object) -> int | float:
    if not isinstance(value, int | float) or not 0 <= value < 1e11:  # NaN fails the comparison, too
        raise ValueError("not a number of this file's")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise ValueError("not a text of this file's")
    return value
