"""Relays that an addon implements: the addon opens the path.

The addon gets names unresolved, and returns a stream that leads to the destination. Without such an addon, or when it
opens no path, the relay is down; nothing goes direct instead.
"""

from __future__ import annotations

from proxy.model import Destination, Route, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import AskAddon
from proxy.net.stream import Stream


class AddonDialer:
    """Dials through `relay`, which `addon` implements."""

    def __init__(self, ask: AskAddon, addon: str, relay: str, *, timeout_s: float) -> None:
        self._ask = ask
        self._addon = addon
        self._relay = relay
        self._timeout_s = timeout_s

    def carries(self, destination: Destination) -> bool:
        """Returns True: the addon decides."""
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
        """Returns the error. A symptom of the path beyond the relay becomes RELAY_DOWN: this computer did not observe
        it."""
        if not symptom.blames_relay and symptom is not Symptom.RELAY_REFUSED:
            symptom = Symptom.RELAY_DOWN
        text = f"relay {self._relay}: addon {self._addon} {what}"
        return DialError(text, stage=Stage.RELAY, symptom=symptom, evidence={"relay": "addon"})

    def __repr__(self) -> str:
        return f"<relay {self._relay} by addon {self._addon}>"
