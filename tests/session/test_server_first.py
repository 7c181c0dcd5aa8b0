"""A server that speaks first: what it says goes on until the client has named whom it meant."""

from __future__ import annotations

import asyncio

import pytest

from proxy.model import DIRECT, ClosedBy
from proxy.net.notify import Notify
from proxy.net.race.race import Winner
from proxy.session.server_first import relay_server_greeting
from tests.support.clock import run as play
from tests.support.scripted import Script, ScriptedStream

GREETING = b"220 mail.example ESMTP\r\n"
LIMIT_S = 30.0


class Talk:
    """A server that has just greeted, and a client of which first words are awaited."""

    def __init__(self) -> None:
        self.client, self.server = ScriptedStream(Script()), ScriptedStream(Script())
        self.notify = Notify()
        self.awaited = True

    def later(self, after_s: float, said: bytes | Exception) -> None:
        asyncio.get_running_loop().call_later(after_s, self.server._arrive, said)

    def named(self, after_s: float) -> None:
        def name() -> None:
            self.awaited = False
            self.client._arrive(b"EHLO")

        asyncio.get_running_loop().call_later(after_s, name)

    async def relay_server_greeting(self) -> tuple[int, ClosedBy]:
        opened = Winner(DIRECT, self.server, GREETING, b"", True)
        return await relay_server_greeting(
            opened, self.client, self.notify, lambda: self.awaited, idle_timeout_s=LIMIT_S
        )


def test_what_the_server_says_goes_on_until_the_client_has_said_enough() -> None:
    async def story() -> None:
        talk = Talk()
        talk.later(1.0, b"220 and more\r\n")
        talk.named(2.0)
        talk.later(3.0, b"too late")
        assert (await talk.relay_server_greeting())[0] == len(GREETING) + 14
        assert talk.client.sent == GREETING + b"220 and more\r\n"
        assert talk.server.sent == b""
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)

    play(story())


def test_a_server_that_ends_is_heard_to_its_end() -> None:
    async def story() -> None:
        talk = Talk()
        talk.later(1.0, b"221 bye\r\n")
        talk.later(2.0, b"")
        assert await talk.relay_server_greeting() == (len(GREETING) + 9, ClosedBy.SERVER)
        assert asyncio.get_running_loop().time() == pytest.approx(2.0)

    play(story())


def test_nobody_is_waited_for_longer_than_for_any_idle_connection() -> None:
    async def story() -> None:
        talk = Talk()
        talk.later(20.0, b"220 still here\r\n")
        assert (await talk.relay_server_greeting())[1] is ClosedBy.IDLE
        assert asyncio.get_running_loop().time() == pytest.approx(20.0 + LIMIT_S)

    play(story())


def test_a_connection_that_breaks_is_told() -> None:
    async def story() -> None:
        talk = Talk()
        talk.later(1.0, ConnectionResetError(104, "Connection reset by peer"))
        assert await talk.relay_server_greeting() == (len(GREETING), ClosedBy.SERVER)

    play(story())


def test_a_client_that_breaks_is_told() -> None:
    class Gone(ScriptedStream):
        def send_nowait(self, data: bytes | memoryview) -> int:
            raise BrokenPipeError

    async def story() -> None:
        talk = Talk()
        talk.client = Gone(Script())
        assert await talk.relay_server_greeting() == (0, ClosedBy.CLIENT)

    play(story())
