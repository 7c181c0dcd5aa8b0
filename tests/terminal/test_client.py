"""Finding the running Byway and speaking to it, also when it is none, is odd, or is another user's."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config.paths import Paths, private_folder
from proxy.model.errors import BywayError
from proxy.terminal.client import Client
from proxy.terminal.exit_codes import Misused, NotAllowed, NotRunning
from tests.support.command_line import Home, Running

TOKEN = "0123456789abcdef0123456789abcdef"
END = b"that is all"


@contextlib.contextmanager
def answering(path: Path, answer: bytes) -> Iterator[list[bytes]]:
    """A Unix socket where every caller gets the same bytes; yields what they said."""
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(10)

        def serve() -> None:
            while True:
                caller, _ = listener.accept()
                with caller:
                    caller.settimeout(10)
                    said = caller.recv(65536)
                    if said == END:
                        return
                    if said:
                        heard.append(said)
                        caller.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield heard
        finally:
            with socket.socket(socket.AF_UNIX) as last:
                last.connect(str(path))
                last.sendall(END)
            thread.join(10)


def run_file(home: Home, **told: object) -> None:
    (home.state / "run.json").write_text(json.dumps({"socket": None, "token": None, "control_port": None, **told}))


@pytest.mark.uses("rules", "traffic")
def test_the_running_one_is_found_and_asked(home: Home, running: Running) -> None:
    client = Client.find(home.state)
    assert client.get("/v1/rules")["version"] == 2
    assert client.get("/v1/log", since=1.0, site=None)["rows"] == []


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '{"socket": 1}', '{"socket": null, "token": null}', "\xff", "x" * 100_000]
)
def test_without_a_run_file_that_makes_sense_none_runs(home: Home, content: str | None) -> None:
    if content is not None:
        (home.state / "run.json").write_text(content, encoding="latin-1")
    with pytest.raises(NotRunning, match="start it with `byway run`") as none:
        Client.find(home.state)
    told = str(none.value)
    assert "run.json cannot be read (damaged)" in told or "cannot be read" not in told


def test_a_killed_byway_leaves_a_run_file_and_does_not_run(home: Home) -> None:
    run_file(home, socket=str(home.state / "gone.sock"))
    with pytest.raises(NotRunning):
        Client.find(home.state)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(home.state / "left.sock"))
    left.close()
    run_file(home, socket=str(home.state / "left.sock"))
    with pytest.raises(NotRunning):
        Client.find(home.state)
    run_file(home, control_port=1, token=TOKEN)
    with pytest.raises(NotRunning):
        Client.find(home.state)


def test_another_users_state_is_not_ours(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    run_file(home, socket=str(home.state / "c.sock"))
    monkeypatch.setattr("proxy.terminal.client.read_own_file", refuse)
    with pytest.raises(NotAllowed, match="another user"):
        Client.find(home.state)


def test_another_users_socket_is_not_ours(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.control import access as guard

    class Other(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(13, "Permission denied")

    assert guard  # the server's side of this is tested there
    run_file(home, socket=str(home.state / "c.sock"))
    monkeypatch.setattr(socket, "socket", Other)
    with pytest.raises(NotAllowed, match="another user"):
        Client.find(home.state)


def test_a_socket_of_another_user_is_not_spoken_to(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that squats where ours was."""
    path = home.state / "odd.sock"
    with answering(path, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as heard:
        run_file(home, socket=str(path), token=TOKEN)
        client = Client.find(home.state)
        monkeypatch.setattr("proxy.terminal.client.peer_uid", lambda _: os.getuid() + 1)
        for ask in (lambda: client.get("/v1/status"), lambda: Client.find(home.state)):
            with pytest.raises(NotAllowed, match=rf"belongs to another user \(uid {os.getuid() + 1}\)"):
                ask()
        assert heard == []


def test_where_the_state_folder_cannot_be_written_the_fallback_folder_is_asked(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(private_folder(home.state / "runtime")))  # what is left stays there
    folder = Paths.locate(os.environ, state=home.state).without_state().run_dir
    assert folder is not None
    path = home.state / "odd.sock"
    run_file(home, socket=str(home.state / "gone.sock"))  # of an earlier run
    with answering(path, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"):
        told = {"socket": str(path), "token": None, "control_port": None}
        (folder / "run.json").write_text(json.dumps(told))
        assert Client.find(home.state).get("/v1/status") == {}
        folder.chmod(0o755)
        with pytest.raises(NotRunning):
            Client.find(home.state)


def test_a_byway_that_refuses_us_says_so(home: Home, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    from proxy.control import access as guard

    monkeypatch.setattr(guard, "peer_uid", lambda sock: os.getuid() + 1)
    with pytest.raises(NotAllowed, match="another user"):
        Client.find(home.state).get("/v1/rules")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", BywayError),
        (b"SSH-2.0-x\r\n", BywayError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{", BywayError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", BywayError),
        (b'HTTP/1.1 400 Bad\r\nContent-Length: 13\r\n\r\n{"error":"x"}', Misused),
        (b'HTTP/1.1 404 No\r\nContent-Length: 13\r\n\r\n{"error":"x"}', Misused),
        (b'HTTP/1.1 403 No\r\nContent-Length: 13\r\n\r\n{"error":"x"}', NotAllowed),
        (b'HTTP/1.1 401 No\r\nContent-Length: 13\r\n\r\n{"error":"x"}', NotAllowed),
        (b'HTTP/1.1 500 No\r\nContent-Length: 13\r\n\r\n{"error":"x"}', BywayError),
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}", BywayError),
    ],
)
def test_odd_answers_are_one_sentence(home: Home, answer: bytes, kind: type[BywayError]) -> None:
    path = home.state / "odd.sock"
    with answering(path, answer):
        run_file(home, socket=str(path))
        with pytest.raises(kind) as told:
            Client.find(home.state).get("/v1/status")
    assert type(told.value) is kind
    assert "\n" not in str(told.value)


def test_what_follows_ends_when_the_other_side_does(home: Home) -> None:
    path = home.state / "odd.sock"
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a":1}\n\r\n8\r\n{"a":2}\n\r\n'
    with answering(path, chunked):
        run_file(home, socket=str(path))
        assert list(Client.find(home.state).follow("/v1/log/follow")) == [{"a": 1}, {"a": 2}]


def test_a_fault_of_the_other_side_is_no_end_of_it(home: Home) -> None:
    path = home.state / "odd.sock"
    last = b'{"version":1,"error":"a fault"}\n'
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a":1}\n\r\n%x\r\n%b\r\n' % (len(last), last)
    with answering(path, chunked + b"0\r\n\r\n"):
        run_file(home, socket=str(path))
        coming = Client.find(home.state).follow("/v1/log/follow")
        assert next(coming) == {"a": 1}
        with pytest.raises(BywayError, match="a fault"):
            next(coming)


def test_on_loopback_the_token_is_sent(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        heard: list[bytes] = []

        def serve() -> None:
            listener.accept()[0].close()  # looks whether somebody listens
            caller, _ = listener.accept()
            with caller:
                heard.append(caller.recv(65536))
                caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=serve)
        thread.start()
        run_file(home, control_port=listener.getsockname()[1], token=TOKEN)
        assert Client.find(home.state).get("/v1/status") == {}
        thread.join(10)
    assert f"Authorization: Bearer {TOKEN}\r\n".encode() in heard[0]
    assert f"Host: 127.0.0.1:{listener_port(home)}\r\n".encode() in heard[0]


def listener_port(home: Home) -> int:
    port: int = json.loads((home.state / "run.json").read_text())["control_port"]
    return port
