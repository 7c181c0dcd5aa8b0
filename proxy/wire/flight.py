"""The client's first bytes: when they are enough to plan and send, whether they may be sent twice, what answers them.

Sent twice may be a ClientHello without early data, and GET, HEAD or OPTIONS requests without a body, when nothing comes
behind them. Whatever is in doubt (an odd header, a partial second request) may not. The bytes themselves are never
changed: in a tunnel they are the client's business.
"""

from __future__ import annotations

import re

from proxy.model import Protocol
from proxy.wire import hostnames as names
from proxy.wire.tls import Verdict, is_server_answer, parse_client_hello

FLIGHT_LIMIT = 16 * 1024
"""Bytes of the longest flight that is kept for a second sending."""

NAME_LIMIT = 64 * 1024
"""Bytes after which a name is no longer waited for: as long as a ClientHello or the head of a request may be."""

_SAFE = ("GET", "HEAD", "OPTIONS")
_METHODS = tuple(f"{method} ".encode() for method in (*_SAFE, "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"))
_METHOD_BEGINNINGS = frozenset(method[:size] for method in _METHODS for size in range(1, len(method)))
_REQUEST_LINE = re.compile(rb"([A-Z]+) [\x21-\x7e]+ HTTP/1\.[01]\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*+([^\r\n\0]*+)\Z")
_BODY_FIELDS = (b"content-length", b"transfer-encoding", b"expect")
_STATUS_LINE = b"HTTP/1."


class Flight:
    """Feed it with `receive_data`; the attributes then say what has come. They are read, never set, from outside.

    All that is received is kept in `data`; a caller that wants no more to be kept stops feeding.
    """

    __slots__ = (
        "_head_start", "_searched", "complete", "data", "ech", "ended", "protocol", "replayable", "server_name",
    )  # fmt: skip

    def __init__(self) -> None:
        self.data = b""
        self.protocol = Protocol.NONE
        self.complete = False
        """Enough has come to plan and send: a whole ClientHello, a whole HTTP head, or anything else at once."""
        self.replayable = False
        """May be sent again on another route, as it is now. Later bytes may take this back."""
        self.server_name: str | None = None
        """The canonical name that a ClientHello or a Host header gives; never an address."""
        self.ech = False
        """A ClientHello with an encrypted one inside, or what looks like it: browsers send that always."""
        self.ended = False
        """The client will send no more."""
        self._head_start = 0  # where the HTTP head begins that is not read yet; 0 also when none will be read any more
        self._searched = 0  # how far its end has been searched in vain

    @classmethod
    def of_http(cls, head: bytes, method: str, *, bodiless: bool) -> Flight:
        """The flight of a plain HTTP request whose head was parsed and written anew. Its name is the destination's, so
        `server_name` stays None."""
        flight = cls()
        flight.data = head
        flight.protocol = Protocol.HTTP
        flight.complete = True
        flight.replayable = bodiless and method in _SAFE and len(head) <= FLIGHT_LIMIT
        flight._head_start = len(head) if flight.replayable else 0
        return flight

    def receive_data(self, data: bytes) -> None:
        """Adds what the client sent; b"" says that it has finished sending."""
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
        """Whether what came back, from its first byte on, answers this flight."""
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
        """Reads on from where the last whole head ended. True: all heads are safe ones and end with the data."""
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
                self._head_start = 0  # what follows is a body, or unknown: not to be read as a head
                return False
            self._head_start = end + 4
        return True

    def _give_up(self) -> None:
        """Waits for no end any more. A name that has come counts all the same: it may be one for relays alone."""
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
    """Whether a request may be sent twice, and the name in its only Host header. `head` ends with one CRLF."""
    request_line = _REQUEST_LINE.match(head)
    if request_line is None:
        return False, None
    hosts = []
    safe = request_line[1].decode() in _SAFE
    for line in head[request_line.end() : -2].split(b"\r\n") if request_line.end() < len(head) else ():
        field = _FIELD.match(line)
        if field is None:
            safe = False  # but the name that another line gives is what an onlooker reads
            continue
        name = field[1].lower()
        if name == b"host":
            hosts.append(field[2].rstrip(b" \t"))
        elif name in _BODY_FIELDS:
            safe = False
    if len(hosts) != 1:
        return safe, None
    try:
        found = names.authority(hosts[0], 80)
    except ValueError:
        return safe, None
    return safe, found.host if found.address is None else None
