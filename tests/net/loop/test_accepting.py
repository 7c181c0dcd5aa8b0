"""A client is the same whatever Python lets a server accept: a descriptor, or a socket."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from proxy.net.loop.accepting import accept_of
from tests.support.rows import each_row
from tests.support.sockets import descriptors, public_alone


def as_it_is(sock: socket.socket) -> Any:
    return sock


@each_row("seen", [as_it_is, public_alone])
@each_row("address", ["127.0.0.1", "::1"])
def test_a_client_is_a_descriptor_of_the_caller_and_an_address(
    seen: Callable[[socket.socket], Any], address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    before = descriptors()
    with socket.create_server((address, 0), family=family) as listener:
        accept = accept_of(seen(listener))
        with socket.create_connection(listener.getsockname()[:2]) as client:
            descriptor, peer = accept()
            assert peer[:2] == client.getsockname()[:2]
            with socket.socket(fileno=descriptor) as accepted:
                assert not accepted.get_inheritable()
                accepted.send(b"hello")
                assert client.recv(16) == b"hello"
    assert descriptors() == before


@pytest.mark.parametrize("seen", [as_it_is, public_alone])
def test_where_nobody_waits_it_raises_as_accept_does(seen: Callable[[socket.socket], Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        with pytest.raises(BlockingIOError) as raised:
            accept_of(seen(listener))()
    assert raised.value.errno == errno.EAGAIN


def test_a_python_that_lets_us_makes_no_socket_object_of_a_client() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert accept_of(listener) == listener._accept  # type: ignore[attr-defined]  # what is borrowed
