"""Relays that speak SOCKS: 5 (RFC 1928, 1929), 4 and 4a.

The bytes are the business of `wire.socks`; here is their order. A name is sent as a name or not at all: a relay that
wants addresses does not get names resolved by us, since the query would tell the network what the relay was to hide.
"""

from __future__ import annotations

from proxy.model import Destination
from proxy.net.dialers.relay_handshake import Handshake, HandshakeDialer, sent_early
from proxy.net.stream import Stream, read_with
from proxy.wire import socks

_GREETINGS = {with_password: socks.socks5_greeting(with_password) for with_password in (False, True)}


class Socks5Dialer(HandshakeDialer):
    """Through a SOCKS5 relay; names are resolved there (socks5h), or are not carried (socks5)."""

    def _authenticate(self, user: str, password: str) -> bytes:
        """At most 255 bytes each."""
        return socks.socks5_credentials(user, password)

    def carries(self, destination: Destination) -> bool:
        """Names only when they are resolved at the relay."""
        return not self._relay.needs_address or destination.address is not None

    def _request(self, destination: Destination) -> bytes:
        return socks.socks5_connect(destination)

    async def _shake_hands(self, stream: Stream, state: Handshake, request: bytes) -> None:
        reader, with_password = state.reader, bool(self._credentials)
        await stream.send(_GREETINGS[with_password])
        state.is_greeting = self._is_first
        answer, method = await stream.receive(), socks.NO_AUTH
        state.is_greeting = self._is_first and not answer
        if answer != socks.SOCKS5_NO_AUTH_CHOSEN:
            reader.receive_data(answer)
            method = await read_with(stream, reader, socks.read_socks5_method(reader, with_password=with_password))
        if method == socks.PASSWORD and not reader:
            await stream.send(self._credentials)
            await read_with(stream, reader, socks.read_socks5_auth(reader))
        if reader:
            raise sent_early()
        await stream.send(request)
        state.request_sent()
        answer = await stream.receive()
        if not socks.is_usual_grant(answer):
            reader.receive_data(answer)
            await read_with(stream, reader, socks.read_socks5_reply(reader))


class Socks4Dialer(HandshakeDialer):
    """Through a SOCKS4 or 4a relay: 4 carries IPv4 addresses, 4a names as well."""

    def _authenticate(self, user: str, password: str) -> bytes:
        if password:
            raise ValueError("SOCKS4 supports a user id but no password")
        return user.encode()  # goes within the request

    def carries(self, destination: Destination) -> bool:
        """IPv4 addresses; 4a everything else as a name."""
        address = destination.address
        return not self._relay.needs_address or (address is not None and address.version == 4)

    def _request(self, destination: Destination) -> bytes:
        return socks.socks4a_connect(destination, self._relay.user)

    async def _shake_hands(self, stream: Stream, state: Handshake, request: bytes) -> None:
        await stream.send(request)
        state.request_sent()
        await read_with(stream, state.reader, socks.read_socks4_reply(state.reader))
