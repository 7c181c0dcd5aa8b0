"""Which program a client is: of real connections, and of tables as the kernel writes them."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.net import client_programs
from proxy.net.client_programs import ClientPrograms, unreadable, unsupported

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

SLEEP = os.path.realpath(shutil.which("sleep") or "/usr/bin/sleep")
US = Path(os.readlink("/proc/self/exe")).name if sys.platform == "linux" else ""


def name_of(client: socket.socket) -> str:
    host, port = client.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        with socket.create_server((request.param, 0), family=family) as made:
            yield made
    except OSError:
        pytest.skip("no IPv6 here")


async def test_a_client_of_this_process_is_found(listener: socket.socket) -> None:
    address = listener.getsockname()[:2]
    programs = ClientPrograms(lambda: address[1])
    with socket.socket(listener.family) as client:
        client.connect(address)
        assert await programs.of(name_of(client)) == US.lower()
        other = ClientPrograms(lambda: address[1] + 1)
        assert await other.of(name_of(client)) is None  # it is connected to another port
    assert programs.cached


async def test_many_clients_are_looked_up_at_once(listener: socket.socket) -> None:
    address = listener.getsockname()[:2]
    programs = ClientPrograms(lambda: address[1])
    with socket.socket(listener.family) as one, socket.socket(listener.family) as other:
        one.connect(address)
        other.connect(address)
        clients = [name_of(one), name_of(other)]
        gone = "127.0.0.1:1"
        assert await programs.of_all([*clients, gone]) == {**dict.fromkeys(clients, US.lower()), gone: None}
    assert not programs.cached, "the caller of of_all keeps them"


async def test_a_client_by_an_ipv6_socket_to_ipv4_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_INET6) as client:
        port = listener.getsockname()[1]
        try:
            client.connect(("::ffff:127.0.0.1", port))
        except OSError:
            pytest.skip("no IPv6 here")
        accepted, peer = listener.accept()
        with accepted:
            assert await ClientPrograms(lambda: port).of(f"{peer[0]}:{peer[1]}") == US.lower()


async def test_a_program_of_another_name_is_told_from_this_one(tmp_path: Path) -> None:
    """A copy of Python under another name, started from there; deleted as by an update, it is still named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        link = tmp_path / "My-Browser"
        await asyncio.to_thread(shutil.copy, sys.executable, link)
        script = f"import socket, sys; s = socket.create_connection(('127.0.0.1', {port})); sys.stdin.read()"
        environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
        process = await asyncio.create_subprocess_exec(
            link, "-I", "-S", "-c", script, stdin=asyncio.subprocess.PIPE, env=environment
        )
        try:
            accepted, peer = listener.accept()
            with accepted:
                client = f"{peer[0]}:{peer[1]}"
                programs = ClientPrograms(lambda: port)
                assert await programs.of(client) == "my-browser"
                link.unlink()
                programs.cached.clear()
                assert await programs.of(client) == "my-browser"
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()


@pytest.mark.parametrize(("client", "program"), [("127.0.0.1:9", None), ("[::1]:9", None), ("192.0.2.7:5000", "")])
async def test_a_client_elsewhere_is_no_program_of_ours_and_one_that_left_is_unknown(
    client: str, program: str | None
) -> None:
    assert await ClientPrograms(lambda: 8119).of(client) == program


ROWS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1388 0100007F:1FB7 01 00000000:00000000 00:00000000 00000000  {uid}        0 4711 1 0
"""


def made_up(folder: Path, *, uid: int) -> ClientPrograms:
    (folder / "net").mkdir()
    (folder / "net" / "tcp").write_text(ROWS.format(uid=uid))
    for pid, target in (("7", "socket:[4711]"), ("8", "socket:[1]")):
        (folder / pid / "fd").mkdir(parents=True)
        (folder / pid / "fd" / "3").symlink_to(target)
        (folder / pid / "exe").symlink_to(f"/usr/lib/program{pid}/Program{pid}")
    return ClientPrograms(lambda: 8119, proc=folder)


async def test_another_user_s_program_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    programs = made_up(tmp_path, uid=1001)
    assert await programs.of("127.0.0.1:5000") is None
    (tmp_path / "net" / "tcp").write_text(ROWS.format(uid=1000))
    programs.cached.clear()
    assert await programs.of("127.0.0.1:5000") == "program7"


async def test_a_client_is_looked_up_once_while_it_is_connected(tmp_path: Path) -> None:
    programs = made_up(tmp_path, uid=os.geteuid())
    assert await programs.of("127.0.0.1:5000") == "program7"
    (tmp_path / "net" / "tcp").unlink()
    assert await programs.of("127.0.0.1:5000") == "program7"
    programs.cached.clear()
    assert await programs.of("127.0.0.1:5000") is None


# -- all that hold the socket of a client ------------------------------------------------------------------------------


async def test_all_processes_that_hold_the_socket_of_a_client_are_found(listener: socket.socket) -> None:
    address = listener.getsockname()[:2]
    programs = ClientPrograms(lambda: address[1])
    with socket.socket(listener.family) as client:
        client.connect(address)
        alone = await programs.holders(name_of(client))
        assert alone is not None
        assert [holder.path for holder in alone] == [os.readlink("/proc/self/exe")]
        process = await asyncio.create_subprocess_exec(SLEEP, "60", pass_fds=[client.fileno()])
        try:
            assert await programs.holders(name_of(client)) == alone, "looked up once while it is connected"
            programs.held.clear()
            both = await programs.holders(name_of(client))
            assert both is not None
            assert {holder.path for holder in both} == {alone[0].path, SLEEP}
        finally:
            process.kill()
            await process.wait()


async def test_clients_that_come_during_a_search_wait_for_one_more_together(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = listener.getsockname()[:2]
    programs = ClientPrograms(lambda: address[1])
    searches: list[int] = []
    find = programs._find_holders

    def counted(clients: set[str]) -> object:
        searches.append(len(clients))
        return find(clients)

    monkeypatch.setattr(programs, "_find_holders", counted)
    clients = [socket.create_connection(address) for _ in range(20)]
    try:
        found = await asyncio.gather(*(programs.holders(name_of(client)) for client in clients))
        assert all(found)
        assert len(searches) <= 2
        assert sum(searches) == 20
    finally:
        for client in clients:
            client.close()


async def test_holders_of_a_client_elsewhere_and_of_one_that_left() -> None:
    programs = ClientPrograms(lambda: 8119)
    assert await programs.holders("192.0.2.7:5000") == ()
    assert await programs.holders("127.0.0.1:9") is None


async def test_several_sockets_with_the_address_of_a_client_all_count(tmp_path: Path) -> None:
    """One may be a bait: held by a named program, and connected to another address on our port."""
    programs = made_up(tmp_path, uid=os.geteuid())
    bait = (
        ROWS.format(uid=os.geteuid())
        .splitlines()[1]
        .replace(" 4711 ", " 1 ")
        .replace("0: 0100007F:1388 01", "1: 0100007F:1388 02")
    )
    with (tmp_path / "net" / "tcp").open("a") as table:
        table.write(f"{bait}\n")
    for pid in ("7", "8"):
        program = tmp_path / f"program{pid}"
        program.touch()
        (tmp_path / pid / "exe").unlink()
        (tmp_path / pid / "exe").symlink_to(program)
    found = await programs.holders("127.0.0.1:5000")
    assert found is not None
    assert {Path(holder.path).name for holder in found} == {"program7", "program8"}


@pytest.mark.parametrize("gone", ["exe", "socket", "user"])
async def test_what_cannot_be_found_out_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    programs = made_up(tmp_path, uid=4711 if gone == "user" else os.geteuid() or 1000)
    us = os.geteuid() or 1000
    monkeypatch.setattr(os, "geteuid", lambda: us)
    if gone == "socket":
        (tmp_path / "7" / "fd" / "3").unlink()
    assert await programs.holders("127.0.0.1:5000") is None  # of exe: the link leads nowhere


async def test_a_process_that_no_descriptor_is_left_to_look_at_may_hold_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = made_up(tmp_path, uid=os.geteuid())
    program = tmp_path / "program"
    program.touch()
    (tmp_path / "7" / "exe").unlink()
    (tmp_path / "7" / "exe").symlink_to(program)
    assert await programs.holders("127.0.0.1:5000")
    programs.held.clear()
    read = client_programs._targets

    def short_of_descriptors(folder: Path) -> set[str]:
        if folder.parent.name == "8":
            raise OSError(errno.EMFILE, "too many open files")
        return read(folder)

    monkeypatch.setattr(client_programs, "_targets", short_of_descriptors)
    assert await programs.holders("127.0.0.1:5000") is None


def test_where_nothing_can_be_found_out_is_said(tmp_path: Path) -> None:
    assert unreadable() == ""
    assert "Linux only" in unreadable(platform="darwin")
    assert f"{tmp_path} cannot be read" in unreadable(tmp_path)


def test_other_systems_have_no_such_tables() -> None:
    assert unsupported("linux") == ""
    assert "Linux only" in unsupported("darwin")
