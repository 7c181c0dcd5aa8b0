"""Relays that addons open: names are carried, and whatever goes wrong is the relay's trouble."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.config.relays import Relay
from proxy.model import Destination, Route, Stage, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.net.dialers.addon_relay import AddonDialer
from proxy.net.dialers.dialer import AskAddon
from proxy.net.dialers.registry import Registry
from proxy.net.knowledge import NothingKnown
from proxy.net.stream import Stream

THERE = Destination("far.test", 443)
STREAM: Any = object()
NOBODY: Any = None


def dialer(ask: AskAddon, timeout_s: float = 10.0) -> AddonDialer:
    return AddonDialer(ask, "ways", "own", timeout_s=timeout_s)


async def test_what_the_addon_opens_is_the_path() -> None:
    asked: list[tuple[str, Route, Destination]] = []

    async def ask(*args: Any) -> Any:
        asked.append(args)
        return STREAM

    made = dialer(ask)
    assert made.carries(THERE)
    assert repr(made) == "<relay own by addon ways>"
    assert await made.dial(THERE) is STREAM
    assert asked == [("ways", Route(("own",)), THERE)]


@pytest.mark.parametrize(
    ("error", "symptom", "words"),
    [
        (None, Symptom.RELAY_DOWN, "relay own: addon ways is not running, or opened no connection"),
        (
            ConnectionRefusedError(111, "Connection refused"),
            Symptom.RELAY_DOWN,
            "opened no connection: connection refused",
        ),
        (
            DialError("no", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED),
            Symptom.RELAY_REFUSED,
            "opened no connection: no",
        ),
        (
            DialError("no", stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH),
            Symptom.RELAY_AUTH,
            "opened no connection: no",
        ),
        (DialError("x", stage=Stage.CONNECT, symptom=Symptom.REFUSED), Symptom.RELAY_DOWN, "opened no connection: x"),
    ],
)
async def test_what_goes_wrong_is_the_relays_trouble(error: BaseException | None, symptom: Symptom, words: str) -> None:
    async def ask(*_: Any) -> Any:
        if error is not None:
            raise error

    with pytest.raises(DialError) as caught:
        await dialer(ask).dial(THERE)
    assert (caught.value.stage, caught.value.symptom) == (Stage.RELAY, symptom)
    assert words in str(caught.value)


async def test_what_never_answers_has_a_handshakes_time() -> None:
    async def ask(*_: Any) -> Any:
        await asyncio.Event().wait()

    with pytest.raises(DialError, match=r"opened no connection within 0\.01 s"):
        await dialer(ask, 0.01).dial(THERE)


class ByAddon(NothingKnown):
    """An addon opens the paths; None: there is no addon."""

    def __init__(self, ask: AskAddon | None) -> None:
        super().__init__()
        self._ask = ask

    async def dial_by_addon(self, addon: str, route: Route, destination: Destination) -> Stream | None:
        return None if self._ask is None else await self._ask(addon, route, destination)


def registry(*relays: str, ask: AskAddon | None = None) -> Registry:
    made = [Relay.parse(f"r{number}", url) for number, url in enumerate(relays)]
    return Registry(made, direct=NOBODY, to_relays=NOBODY, knowledge=ByAddon(ask))


async def test_a_relays_url_names_the_addon() -> None:
    async def ask(*_: Any) -> Any:
        return STREAM

    made = registry("addon://my_ways-2", ask=ask)
    assert made.carries(Route(("r0",)), THERE)
    assert made.addresses_only("r0") == ""
    assert await made.dialer(Route(("r0",))).dial(THERE) is STREAM
    assert "by addon my_ways-2" in repr(made.dialer(Route(("r0",))))
    with pytest.raises(DialError, match="is not running"):
        await registry("addon://ways").dialer(Route(("r0",))).dial(THERE)


def test_another_relay_may_follow_an_addons_and_none_may_lead_to_it() -> None:
    registry("addon://ways", "r0>socks5h://relay.test:1080")
    with pytest.raises(ConfigError, match=r"relay r0: addon://ways must be first in the chain"):
        registry("socks5h://127.0.0.1:1080>addon://ways")


def test_relays_that_are_not_configured_are_dialed_by_their_url() -> None:
    made = registry("socks5h://127.0.0.1:1080")
    assert made.dialer_for_url("r0") is made.dialer(Route(("r0",)))
    other = made.dialer_for_url("http://127.0.0.1:3128")
    assert made.dialer_for_url("http://127.0.0.1:3128") is other
    assert made.dialer_for_url("r0>http://127.0.0.1:3128") is not other
    for number in range(40):
        made.dialer_for_url(f"socks5h://127.0.0.1:{2000 + number}")
    assert len(made._by_url) <= 16
    with pytest.raises(ValueError, match='unknown scheme "gopher"'):
        made.dialer_for_url("gopher://127.0.0.1:70")
    with pytest.raises(ConfigError, match="there is no relay 'nobody'"):
        made.dialer_for_url("nobody>socks5h://127.0.0.1:1")
