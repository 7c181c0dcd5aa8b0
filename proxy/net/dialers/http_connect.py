"""Relays that speak HTTP CONNECT; `https` is the same dialer around a TlsDialer.

Only a 2xx opens the path (RFC 9110 section 9.3.6). Any other answer is the relay's refusal, and its body is discarded:
if it were shown as the site's, anyone on the path could write that page.
"""

from __future__ import annotations

import base64

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.relay_handshake import Handshake, HandshakeDialer
from proxy.net.stream import Stream, read_with
from proxy.wire.http1 import read_response_head
from proxy.wire.http1_response import ResponseHead
from proxy.wire.reader import Parser, Reader

NO_CONNECT = (405, 501)
"""Statuses of a server that does not support CONNECT, whatever the destination, as most web servers do not."""

INTERIM_LIMIT = 8
"""The most 1xx answers before the final one. A relay has no reason for more than one."""


class HttpConnectDialer(HandshakeDialer):
    """Dials through an HTTP relay. A 407, and a 401 to credentials, are RELAY_AUTH; 101, 405 and 501 are RELAY_GARBAGE;
    any other status but 2xx is RELAY_REFUSED."""

    def _authenticate(self, user: str, password: str) -> bytes:
        """Returns the header line of Basic authentication (RFC 7617). Raises ValueError for a user with a colon. Base64
        makes CR, LF and other characters in a password harmless."""
        if ":" in user:
            raise ValueError("the user of an HTTP relay must not contain a colon")
        return b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(f"{user}:{password}".encode())

    def carries(self, destination: Destination) -> bool:
        """Returns True: the relay resolves names."""
        return True

    def _request(self, destination: Destination) -> bytes:
        head = f"CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n".encode("ascii")
        return head + self._credentials + b"\r\n"

    async def _shake_hands(self, stream: Stream, state: Handshake, request: bytes) -> None:
        await stream.send(request)
        state.request_sent()
        answer = await read_with(stream, state.reader, _read_answer(state.reader))
        check_answer(answer.status, has_page=bool(answer.declared_length), signed_in=bool(self._credentials))


def _read_answer(reader: Reader) -> Parser[ResponseHead]:
    """Returns the final answer, after interim ones. Raises PeerError."""
    for _ in range(INTERIM_LIMIT):
        head = yield from read_response_head(reader, "CONNECT")
        if not head.is_interim:
            return head
    raise _garbage(f"the relay sent {INTERIM_LIMIT} interim answers in a row")


def check_answer(status: int, *, has_page: bool, signed_in: bool) -> None:
    """Raises DialError unless an answer with this status opens the path. `has_page`: it announces a body, `signed_in`:
    we sent credentials."""
    if status == 407:
        text = "the relay requires a user and password (407)"
        if signed_in:
            text = "the relay rejects the user and password, or wants another method than Basic, such as NTLM (407)"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH)
    if status == 401 and signed_in:  # not for proxies (RFC 9110 section 15.5.2), but tinyproxy sends it
        text = "the relay rejects the user and password (401)"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH)
    if status == 101:
        raise _garbage("the relay answers CONNECT with a protocol change (101)")
    if status in NO_CONNECT:
        raise _garbage(f"the relay does not support CONNECT ({status}); it may be a web server")
    if not 200 <= status < 300:
        text = f"the relay refuses the connection ({status})"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
    if has_page:  # a body; 0 and Transfer-Encoding mean nothing here (RFC 9110 section 9.3.6)
        raise _garbage(f"the relay answers CONNECT with {status} and a page")


def _garbage(text: str) -> DialError:
    return DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_GARBAGE)
