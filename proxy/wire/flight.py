"""The client's first bytes: when they are enough to plan and send, whether they may be sent twice, what answers them.

A ClientHello without early data may be sent twice, and so may GET, HEAD or OPTIONS requests without a body, if nothing
follows them. A flight in doubt (an odd header, a partial second request) may not. The bytes are never changed: in a
tunnel they belong to the client.
"""

from __future__ import annotations

import re

from proxy.model import Protocol
from proxy.wire import hostnames as names
from proxy.wire.tls import Verdict, is_server_answer, parse_client_hello

FLIGHT_LIMIT = 16 * 1024
"""Bytes of the longest flight that may be sent twice."""

NAME_LIMIT = 64 * 1024
"""Bytes after which a flight no longer waits for a name: the longest ClientHello or head of a request."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_METHODS = tuple(f"{method} ".encode() for method in (*_SAFE, "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"))
_METHOD_BEGINNINGS = frozenset(method[:size] for method in _METHODS for size in range(1, len(method)))
_REQUEST_LINE = re.compile(rb"([A-Z]+) [\x21-\x7e]+ HTTP/1\.[01]\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([^\r\n\0]*+)\Z")
_BODY_FIELDS = (b"content-length", b"transfer-encoding", b"expect")
_STATUS_LINE = b"HTTP/1."


class Flight:
    """Feed it with `receive_data`; the attributes then describe the bytes so far. Callers never set them.

    `data` keeps all bytes received: a caller that wants to keep no more stops feeding.
    """

    __slots__ = (
        "_head_start", "_searched", "complete", "data", "ech", "ended", "protocol", "replayable", "server_name",
    )  # fmt: skip

    def __init__(self) -> None:
        self.data = b""
        self.protocol = Protocol.NONE
        self.complete = False
        """Enough has come to plan and send: a whole ClientHello, a whole HTTP head, or any bytes of another
        protocol."""
        self.replayable = False
        """The flight, as it is now, may be sent again on another route. Later bytes may revoke this."""
        self.server_name: str | None = None
        """The canonical name in the ClientHello or the Host header; never an address."""
        self.ech = False
        """The ClientHello holds an encrypted one, or GREASE that looks like it: browsers always send one of them."""
        self.ended = False
        """The client will send no more."""
        self._head_start = 0  # offset of the HTTP head that is not read yet; 0 also when no more heads will be read
        self._searched = 0  # bytes in which its end was not found

    @classmethod
    def of_http(cls, head: bytes, method: str, *, bodiless: bool) -> Flight:
        """Returns the flight of a plain HTTP request whose head was parsed and written anew. The request's destination
        has the name, so `server_name` stays None."""
        flight = cls()
        flight.data = head
        flight.protocol = Protocol.HTTP
        flight.complete = True
        flight.replayable = bodiless and method in _SAFE and len(head) <= FLIGHT_LIMIT
        flight._head_start = len(head) if flight.replayable else 0
        return flight

    def receive_data(self, data: bytes) -> None:
        """Adds bytes that the client sent; b"": it has finished sending."""
        if not data:
            self.ended = True
            self.complete = bool(self.data)
            return
        self.data = self.data + data if self.data else data
        if not self.complete:
            self._read()
        elif self.replayable or self._head_start:
            self.replayable = self.protocol is Protocol.HTTP and self._read_heads()
        if len(self.data) > FLIGHT_LIMIT:
            self.replayable = False
        if len(self.data) > NAME_LIMIT and not self.complete:
            self._give_up()

    def judge(self, answer: bytes | bytearray) -> Verdict:
        """Returns whether `answer`, the server's bytes from the first one on, answers this flight."""
        if not answer:
            return Verdict.MORE
        if self.protocol is Protocol.TLS:
            return is_server_answer(answer)
        if self.protocol is not Protocol.HTTP:
            return Verdict.VALID
        if len(answer) <= len(_STATUS_LINE):
            return Verdict.MORE if _STATUS_LINE.startswith(answer) else Verdict.GARBAGE
        valid = answer.startswith(_STATUS_LINE) and answer[len(_STATUS_LINE) : len(_STATUS_LINE) + 1].isdigit()
        return Verdict.VALID if valid else Verdict.GARBAGE

    def _read(self) -> None:
        if self.data[0] == 0x16:
            try:
                hello = parse_client_hello(self.data)
            except ValueError:
                self._is_opaque()
                return
            self.protocol = Protocol.TLS
            if hello is not None:
                self.complete = True
                self.server_name = hello.server_name
                self.ech = hello.ech
                self.replayable = not hello.early_data and hello.size == len(self.data)
        elif self.data.startswith(_METHODS) or self.data in _METHOD_BEGINNINGS:
            self.protocol = Protocol.HTTP
            self.replayable = self._read_heads()
        else:
            self._is_opaque()

    def _read_heads(self) -> bool:
        """Reads the heads after the last whole one. Returns True if all heads may be sent twice, and the last one ends
        with the data."""
        while self._head_start < len(self.data):
            end = self.data.find(b"\r\n\r\n", max(self._head_start, self._searched - 3))
            if not self.complete and b"\n" in self.data and _REQUEST_LINE.match(self.data) is None:
                self._is_opaque()
                return False
            if end < 0:
                self._searched = len(self.data)
                return False
            safe, host = _read_head(self.data[self._head_start : end + 2])
            if not self.complete:
                self.complete = True
                self.server_name = host
            if not safe:
                self._head_start = 0  # a body follows, or unknown bytes: they must not be read as a head
                return False
            self._head_start = end + 4
        return True

    def _give_up(self) -> None:
        """Stops waiting for the end of the head. A name that has come still counts: a rule may allow it relays only."""
        self.complete = True
        self.replayable = False
        if self.protocol is Protocol.HTTP:
            _, self.server_name = _read_head(self.data[: self.data.rfind(b"\r\n") + 2])

    def _is_opaque(self) -> None:
        self.protocol = Protocol.OTHER
        self.complete = True
        self.replayable = False

    def __repr__(self) -> str:
        words = [self.protocol or "empty", self.server_name or "", f"{len(self.data)} bytes"]
        words += [word for word in ("complete", "replayable", "ended") if getattr(self, word)]
        return f"<Flight {' '.join(filter(None, words))}>"


def _read_head(head: bytes) -> tuple[bool, str | None]:
    """Returns whether a request may be sent twice, and the name in its only Host header. `head` ends with one CRLF."""
    request_line = _REQUEST_LINE.match(head)
    if request_line is None:
        return False, None
    hosts = []
    safe = request_line[1].decode() in _SAFE
    for line in head[request_line.end() : -2].split(b"\r\n") if request_line.end() < len(head) else ():
        field = _FIELD.match(line)
        if field is None:
            safe = False  # but go on: a filter on the path reads the name in another line
            continue
        name = field[1].lower()
        if name == b"host":
            hosts.append(field[2].rstrip(b" \t"))
        elif name in _BODY_FIELDS:
            safe = False
    if len(hosts) != 1:
        return safe, None
    try:
        destination = names.authority(hosts[0], 80)
    except ValueError:
        return safe, None
    return safe, destination.host if destination.address is None else None
