"""Relays of a kind of the user's own: an addon opens the path.

Names are carried as names, and what the addon returns is taken as a path to the destination. When there is no such
addon, or it opens nothing, the relay is down: that never means that something goes direct.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from proxy.model import Destination, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.net.stream import Stream

AskAddon = Callable[[str, Route, Destination], Awaitable[Stream | None]]
"""Asks the addon of that name for a path over this route; None: there is no such addon, or it had a fault. Raises
DialError and OSError."""


async def no_addon(_name: str, _route: Route, _destination: Destination) -> Stream | None:
    """Where there are no addons."""
    return None


class AddonDialer:
    """Through the relay `relay`, which is addon `addon`."""

    def __init__(self, ask: AskAddon, addon: str, relay: str, *, timeout_s: float) -> None:
        self._ask = ask
        self._addon = addon
        self._relay = relay
        self._timeout_s = timeout_s

    def carries(self, destination: Destination) -> bool:
        """Everything."""
        return True

    async def dial(self, destination: Destination) -> Stream:
        try:
            with deadline(self._timeout_s):
                stream = await self._ask(self._addon, Route((self._relay,)), destination)
        except TimeoutError:
            raise self._down(f"opened no connection within {self._timeout_s:g} s") from None
        except DialError as error:
            raise self._down(f"opened no connection: {error}", error.symptom) from None
        except OSError as error:
            raise self._down(f"opened no connection: {(error.strerror or type(error).__name__).lower()}") from None
        if stream is None:
            raise self._down("is not running, or opened no connection")
        return stream

    def _down(self, what: str, symptom: Symptom = Symptom.RELAY_DOWN) -> DialError:
        """What is wrong beyond the relay is nothing that this computer saw."""
        if not symptom.blames_relay and symptom is not Symptom.RELAY_REFUSED:
            symptom = Symptom.RELAY_DOWN
        text = f"relay {self._relay}: addon {self._addon} {what}"
        return DialError(text, stage=Stage.RELAY, symptom=symptom, evidence={"relay": "addon"})

    def __repr__(self) -> str:
        return f"<relay {self._relay} by addon {self._addon}>"
