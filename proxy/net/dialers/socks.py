"""Relays that speak SOCKS: 5 (RFC 1928, 1929), 4 and 4a.

`wire.socks` makes the bytes; this module sends them in order. A name is sent as a name or not at all. Byway does not
resolve names for a relay that wants addresses, since the query would tell the network the name that the relay hides.
"""

from __future__ import annotations

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.relay_handshake import Handshake, HandshakeDialer
from proxy.net.stream import Stream, read_with
from proxy.wire import socks

_GREETINGS = {with_password: socks.socks5_greeting(with_password) for with_password in (False, True)}


class Socks5Dialer(HandshakeDialer):
    """Dials through a SOCKS5 relay. It resolves names (socks5h), or does not take them (socks5)."""

    def _authenticate(self, user: str, password: str) -> bytes:
        """Returns the bytes of RFC 1929. Raises ValueError for an empty user, and for more than 255 bytes of either."""
        return socks.socks5_credentials(user, password)

    def carries(self, destination: Destination) -> bool:
        """Whether the relay takes it: addresses always, names only with socks5h."""
        return not self._relay.needs_address or destination.address is not None

    def _request(self, destination: Destination) -> bytes:
        return socks.socks5_connect(destination)

    async def _shake_hands(self, stream: Stream, state: Handshake, request: bytes) -> None:
        reader, with_password = state.reader, bool(self._credentials)
        await stream.send(_GREETINGS[with_password])
        state.is_socks = self._is_first
        answer, method = await stream.receive(), socks.NO_AUTH
        state.is_answered = bool(answer)
        if answer != socks.SOCKS5_NO_AUTH_CHOSEN:
            reader.receive_data(answer)
            method = await read_with(stream, reader, socks.read_socks5_method(reader, with_password=with_password))
        if method == socks.PASSWORD and not reader:
            await stream.send(self._credentials)
            await read_with(stream, reader, socks.read_socks5_auth(reader))
        if reader:  # an answer to the request cannot come before it
            text = "the relay sent data before the request"
            raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_GARBAGE)
        await stream.send(request)
        state.request_sent()
        answer = await stream.receive()
        if not socks.is_usual_grant(answer):
            reader.receive_data(answer)
            await read_with(stream, reader, socks.read_socks5_reply(reader))


class Socks4Dialer(HandshakeDialer):
    """Dials through a SOCKS4 relay, which takes IPv4 addresses, or a SOCKS4a relay, which takes names as well."""

    def _authenticate(self, user: str, password: str) -> bytes:
        if password:
            raise ValueError("SOCKS4 supports a user id but no password")
        return user.encode()  # the request contains the user id

    def carries(self, destination: Destination) -> bool:
        """Whether the relay takes it: SOCKS4 IPv4 addresses only; 4a everything, IPv6 addresses as a name."""
        address = destination.address
        return not self._relay.needs_address or (address is not None and address.version == 4)

    def _request(self, destination: Destination) -> bytes:
        return socks.socks4a_connect(destination, self._relay.user)

    async def _shake_hands(self, stream: Stream, state: Handshake, request: bytes) -> None:
        await stream.send(request)
        state.is_socks = self._is_first
        state.request_sent()
        await read_with(stream, state.reader, socks.read_socks4_reply(state.reader))
