"""The sight of a censor: five views of the same packets, from a search for a string to complete reassembly.

`Said` follows one flow and reassembles its client's bytes. `server_name` and `requested_host` are the names that the
weaker views read from the same bytes. The evasion matrix measures which way of cutting passes which view.
"""

from __future__ import annotations

from enum import StrEnum

from tests.lab import messages
from tests.lab.packets import Packet

REMEMBERED = 64 * 1024
"""The most bytes of one client that are kept."""

_WAITING = 64  # segments that came too early
_HALF = 1 << 31  # sequence numbers from here on are in the past (RFC 9293 section 3.4)
_HANDSHAKE = 0x16
_FIRST_LETTERS = frozenset(method[0] for method in messages.METHODS)


class View(StrEnum):
    """The part of the traffic that a censor examines, the weakest view first."""

    STRING = "string"  # the name anywhere in one packet
    PACKET = "packet"  # a ClientHello or request that begins with the packet; the Host field as browsers write it
    PACKET_RECORDS = "packet-records"  # the same, with the handshake put together from the records in the packet
    TCP = "tcp"  # the client's bytes in order, up to the end of the first TLS record
    RECORDS = "records"  # and the handshake in them put together from its records


class Names:
    """Names, and all names below them; `*` is every name."""

    def __init__(self, *names: str) -> None:
        self.names = tuple(name.lower().rstrip(".") for name in names)
        self._bytes = tuple(b"" if name == "*" else name.encode() for name in self.names)
        self._endings = tuple("." + name for name in self.names)
        self._every = "*" in self.names

    def __repr__(self) -> str:
        return f"Names{self.names}"

    def __contains__(self, name: str | None) -> bool:
        return name is not None and (self._every or name in self.names or name.endswith(self._endings))

    def within(self, data: bytes) -> bool:
        """Returns whether `data` contains one of them."""
        lower = data.lower()
        return any(name in lower for name in self._bytes)


class Said:
    """The bytes that the opening side of a TCP flow sent, in order, as far as they are a ClientHello or requests."""

    __slots__ = ("_ahead", "_base", "_bytes", "first_record", "host", "listening", "records")

    def __init__(self) -> None:
        self.first_record: str | None = None  # the SNI that stands in the first record
        self.records: str | None = None  # the SNI, over however many records
        self.host: str | None = None  # of the latest request
        self.listening = True
        self._base: int | None = None
        self._bytes = bytearray()
        self._ahead: dict[int, bytes] = {}

    def begin(self, seq: int) -> None:
        """Begins the flow; `seq` is the number of the first byte."""
        self._base = seq
        self._bytes.clear()
        self._ahead.clear()
        self.listening = True

    def feed(self, seq: int, payload: bytes) -> str | None:
        """Takes a segment in. Returns the name that is known from now on, if this segment completed one."""
        if not self.listening:
            if not payload.startswith((*messages.METHODS, b"\x16\x03")):
                return None
            self.begin(seq)
        if self._base is None:
            self._base = seq
        offset = (seq - self._base) % (1 << 32)
        if offset >= _HALF:
            return None
        if offset > len(self._bytes):
            if len(self._ahead) < _WAITING:
                self._ahead[offset] = payload
            return None
        self._bytes += payload[len(self._bytes) - offset :]
        while early := [at for at in self._ahead if at <= len(self._bytes)]:
            for at in early:
                self._bytes += self._ahead.pop(at)[len(self._bytes) - at :]
        return self._understand()

    def _understand(self) -> str | None:
        data = bytes(self._bytes)
        if not data or len(data) > REMEMBERED:
            self.listening = not data
        elif data[0] == _HANDSHAKE:
            return self._read_hello(data)
        elif data[0] in _FIRST_LETTERS:
            return self._read_request(data)
        else:
            self.listening = False
        return None

    def _read_hello(self, data: bytes) -> str | None:
        self.first_record = messages.hello(data, records=False).name
        whole = messages.hello(data, records=True)
        self.records = whole.name
        self.listening = not whole.over
        return whole.name

    def _read_request(self, data: bytes) -> str | None:
        self.host = messages.host(data)
        self.listening = self.host is None and b"\r\n\r\n" not in data
        return self.host


def server_name(view: View, packet: Packet, said: Said) -> str | None:
    """Returns the SNI that a censor with this view knows when `packet` passes, which `said` has been fed."""
    if view is View.RECORDS:
        return said.records
    if view is View.TCP:
        return said.first_record
    return messages.hello(packet.payload, records=view is View.PACKET_RECORDS).name


def requested_host(view: View, packet: Packet, said: Said) -> str | None:
    """Returns the same for the host of a plain request. There are no records, so the strongest two views read the
    same."""
    if view in (View.RECORDS, View.TCP):
        return said.host
    return messages.host(packet.payload, as_browsers_write_it=True)
