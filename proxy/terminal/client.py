"""The client of the control API of a running Byway.

`run.json` has the path of the control socket. It lies in the state folder, or in a fallback folder when that is not
writable, and is private to the user (0600). http.client is used because it loads ten times faster than aiohttp, and
`byway status` is typed often.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from proxy.config.files import read_own_file
from proxy.config.paths import Paths, is_own_folder
from proxy.model import Destination
from proxy.model.document import PHRASES_HEADER, Document, phrase_of
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, semicolons
from proxy.net.peer import peer_uid
from proxy.terminal.exit_codes import Misused, NotAllowed, NotRunning

RUN_FILE = "run.json"
RUN_FILE_LIMIT = 64 * 1024
ANSWER_LIMIT = 64 * 1024 * 1024
LINE_LIMIT = 1024 * 1024
TIMEOUT_S = 120.0
"""A test of many relays takes this long at most."""


class NoAnswer(BywayError):
    """The running Byway did not answer in time."""


@frozen_dataclass
class Client:
    """One running Byway."""

    socket_path: str | None
    port: int | None
    token: str | None
    state: Path
    proxy: Destination
    """The address of the proxy for programs of this computer."""
    folder: Path | None = None
    """The folder of its run.json and its lock."""
    ephemeral: bool = False
    """Whether it stores nothing."""
    asks_phrases: bool = False
    """Whether sentences of answers come as phrases, which can be translated."""
    timeout_s: float = TIMEOUT_S

    @classmethod
    def find(cls, state: Path, *, hint: str = "byway run") -> Client:
        """Finds the Byway that runs with this state folder. Raises NotRunning, whose message has the command `hint`
        that starts one, and NotAllowed when this user may not read the folder."""
        paths = Paths.locate(os.environ, state=state)
        folders = [state, *([paths.fallback_run_dir] if is_own_folder(paths.fallback_run_dir) else [])]
        failures: list[BywayError] = []
        for folder in folders:
            try:
                client = cls._read(folder, state, hint)
                client._check(hint)
            except (NotRunning, NotAllowed) as failure:
                failures.append(failure)
            else:
                return client
        raise failures[0]

    @classmethod
    def _read(cls, folder: Path, state: Path, hint: str) -> Client:
        """Reads run.json in a folder. Raises NotRunning and NotAllowed."""
        try:
            run_info = json.loads(read_own_file(folder / RUN_FILE, limit=RUN_FILE_LIMIT))
            return cls(
                run_info["socket"],
                run_info.get("control_port"),
                run_info["token"],
                state,
                Destination(str(run_info.get("listen", "127.0.0.1")), int(run_info.get("port", 0))).from_here(),
                folder=folder,
                ephemeral=run_info.get("ephemeral") is True,
            )
        except FileNotFoundError:
            raise NotRunning(_none_runs(state, hint)) from None
        except PermissionError:
            raise NotAllowed(_("{folder} belongs to another user", folder=str(state))) from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else _("damaged")
            text = _("{file} cannot be read ({error})", file=str(folder / RUN_FILE), error=reason)
            raise NotRunning(semicolons([text, _none_runs(state, hint)])) from None

    def get(self, path: str, **query: str | int | float | None) -> Document:
        return self._ask("GET", _with_query(path, query))

    def post(self, path: str, body: Mapping[str, Any]) -> Document:
        return self._ask("POST", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> Document:
        return self._ask("PUT", path, body)

    def delete(self, path: str) -> Document:
        return self._ask("DELETE", path)

    def follow(self, path: str, **query: str | None) -> Iterator[Document]:
        """Yields the objects of an endless answer as they come. The request is sent before this returns, so no later
        event is missed. Ends when the running Byway ends."""
        return self._stream("GET", _with_query(path, query), None)

    def post_and_follow(self, path: str, body: Mapping[str, Any]) -> Iterator[Document]:
        """Yields the objects of an answer that takes long, as they come."""
        return self._stream("POST", path, body)

    def _stream(self, method: str, path: str, body: Mapping[str, Any] | None) -> Iterator[Document]:
        connection = self._connection(None)
        try:
            response = self._send(connection, method, path, body)
            if response.status != 200:
                raise _refused(response.status, _document(response.read(ANSWER_LIMIT)))
        except BaseException:
            connection.close()
            raise
        return _lines(connection, response)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Document:
        connection = self._connection(self.timeout_s)
        try:
            response = self._send(connection, method, path, body)
            document = _document(response.read(ANSWER_LIMIT))
        except TimeoutError:
            raise self._no_answer() from None
        except http.client.HTTPException as error:
            raise _improper(error) from error
        finally:
            connection.close()
        if response.status != 200:
            raise _refused(response.status, document)
        return document

    def _send(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: Mapping[str, Any] | None
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if self.asks_phrases:
            headers[PHRASES_HEADER] = "parts"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        try:
            connection.request(method, path, data, headers)
            return connection.getresponse()
        except TimeoutError:
            raise self._no_answer() from None
        except (ConnectionRefusedError, FileNotFoundError):
            raise NotRunning(_none_runs(self.state, "byway run")) from None
        except http.client.HTTPException as error:
            raise _improper(error) from error
        except PermissionError:
            text = _("the control socket in {path} belongs to another user", path=str(self.socket_path))
            raise NotAllowed(text) from None
        except OSError as error:
            text = _("the connection to the running Byway was lost: {reason}", reason=str(error.strerror or error))
            raise BywayError(text) from None

    def _no_answer(self) -> NoAnswer:
        return NoAnswer(_("the running Byway did not answer within {limit:g} s", limit=self.timeout_s))

    def _connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        if self.socket_path is not None:
            return _UnixConnection(self.socket_path, timeout_s)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)

    def _check(self, hint: str) -> None:
        """Raises NotRunning when nothing listens: a killed Byway leaves its run.json behind. Raises NotAllowed."""
        connection = self._connection(5.0)
        try:
            connection.connect()
        except PermissionError:
            raise NotAllowed(_("the Byway in {folder} belongs to another user", folder=str(self.state))) from None
        except OSError:
            raise NotRunning(_none_runs(self.state, hint)) from None
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("byway", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))
        # Checked before the token is sent: in a shared folder another user could listen at this path.
        uid = peer_uid(self.sock)
        if uid is not None and uid != os.getuid():
            self.sock.close()
            raise NotAllowed(
                f"the program that listens on {self._path} belongs to another user (uid {uid}); nothing was sent to it"
            )


def _lines(connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> Iterator[Document]:
    try:
        while line := response.readline(LINE_LIMIT):
            document = _document(line)
            if "error" in document and document.keys() <= {"version", "error"}:  # a row of the log has one as well
                raise BywayError(str(document["error"]))
            yield document
    except (http.client.HTTPException, ConnectionError):
        return
    finally:
        connection.close()


def _improper(error: http.client.HTTPException) -> BywayError:
    return BywayError(f"invalid answer from the running Byway ({error!r})")


def _with_query(path: str, query: Mapping[str, str | int | float | None]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _none_runs(state: Path, hint: str) -> str:
    return _(
        "Byway is not running (state directory {folder}); start it with `{command}`", folder=str(state), command=hint
    )


def _document(raw: bytes) -> Document:
    try:
        document = json.loads(raw, object_hook=phrase_of)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise BywayError(_("the running Byway did not answer in JSON; is it another version?"))
    return document


def _refused(status: int, document: Document) -> BywayError:
    text = str(document.get("error", f"status {status}"))
    if status in (401, 403):
        return NotAllowed(text)
    if problems := document.get("problems"):
        return ConfigError(problems)
    return Misused(text) if status in (400, 404) else BywayError(text)
