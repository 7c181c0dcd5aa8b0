"""Relays that speak HTTP CONNECT. Over TLS (`https`) it is the same dialer around a TlsDialer.

Only a 2xx opens the path (RFC 9110 section 9.3.6). Anything else is the relay's refusal, and what it sent is thrown
away: a relay's error page shown as the site would be a page that anybody on the way could write.
"""

from __future__ import annotations

import base64

from proxy.errors import DialError
from proxy.model import Destination, Stage, Symptom
from proxy.net.dialer import Dialer
from proxy.net.handshake import HANDSHAKE_TIMEOUT_S, SendCredentials, handshake, reach, tunnelled
from proxy.net.stream import Stream, read_with
from proxy.wire.http1 import read_response_head
from proxy.wire.http1_response import ResponseHead
from proxy.wire.reader import Parser, Reader
from proxy.wire.relay_url import RelayUrl

INTERIM_LIMIT = 8
"""1xx answers before the real one. Nobody has reason for more than one."""


class HttpConnectDialer:
    """Dials through one HTTP relay, reached by `via`."""

    def __init__(
        self,
        via: Dialer,
        relay: RelayUrl,
        *,
        name: str = "",
        send_credentials: SendCredentials = SendCredentials.TO_LOOPBACK,
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> None:
        """Raises ValueError for a user that Basic cannot carry."""
        self._via = via
        self._relay = relay
        self._name = name or str(relay)
        self._send_credentials = send_credentials
        self._timeout_s = timeout_s
        self._authorization = _basic(relay.user, relay.password) if relay.sends_credentials else ""

    def carries(self, destination: Destination) -> bool:
        """Everything: names are resolved at the relay."""
        return True

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. 407 is RELAY_AUTH, and so is 401 to credentials; any other status but 2xx RELAY_REFUSED."""
        stream = await reach(self._via, self._relay.endpoint, self._name)
        async with handshake(stream, self._name, self._timeout_s) as state:
            if self._authorization:
                self._send_credentials.check(stream)
            await stream.send(self._request(destination))
            state.asked = True
            answer = await read_with(stream, state.reader, _read_answer(state.reader))
            _judge(answer, signed_in=bool(self._authorization))
        return tunnelled(stream, state)

    def _request(self, destination: Destination) -> bytes:
        return f"CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n{self._authorization}\r\n".encode("ascii")

    def __repr__(self) -> str:
        return f"<HttpConnectDialer {self._name}>"


def _basic(user: str, password: str) -> str:
    """The header line (RFC 7617); base64 makes CR, LF and all else in a password harmless."""
    if ":" in user:
        raise ValueError("the user of an HTTP relay must not contain a colon")
    return f"Proxy-Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}\r\n"


def _read_answer(reader: Reader) -> Parser[ResponseHead]:
    """The final answer, behind a few interim ones. Raises PeerError."""
    for _ in range(INTERIM_LIMIT):
        head = yield from read_response_head(reader, "CONNECT")
        if not head.is_interim:
            return head
    raise _garbage(f"the relay sent {INTERIM_LIMIT} interim answers in a row")


def _judge(head: ResponseHead, *, signed_in: bool) -> None:
    """Raises DialError unless the answer opens the path. `signed_in`: credentials of ours were sent."""
    if head.status == 407:
        text = "the relay wants a user and password, or others than it got (407)"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH)
    if head.status == 401 and signed_in:  # not for proxies (RFC 9110 section 15.5.2), but tinyproxy's no to a password
        text = "the relay refused our user and password (401)"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_AUTH)
    if head.status == 101:
        raise _garbage("the relay changes protocol instead of answering CONNECT (101)")
    if not 200 <= head.status < 300:
        text = f"the relay will not open the path ({head.status})"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)
    if head.declared_length:  # 0, and Transfer-Encoding, mean nothing here (RFC 9110 section 9.3.6); a page does
        raise _garbage(f"the relay answers CONNECT with {head.status} and a page")


def _garbage(text: str) -> DialError:
    return DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_GARBAGE)
