"""Relays that speak SOCKS: 5 (RFC 1928, 1929), 4 and 4a.

The bytes are the business of `wire.socks`; here is their order. A name is sent as a name or not at all: a relay that
wants addresses does not get names resolved by us, since the query would tell the network what the relay was to hide.
"""

from __future__ import annotations

from collections.abc import Callable

from proxy.errors import DialError
from proxy.model import Destination, Stage, Symptom
from proxy.net.dialer import Dialer
from proxy.net.handshake import (
    HANDSHAKE_TIMEOUT_S,
    Handshake,
    SendCredentials,
    handshake,
    nothing_early,
    reach,
    tunnelled,
)
from proxy.net.stream import Stream, read_with
from proxy.wire import socks
from proxy.wire.relay_url import RelayUrl


class Socks5Dialer:
    """Dials through one SOCKS5 relay, reached by `via`. With `names` it resolves there (socks5h)."""

    def __init__(
        self,
        via: Dialer,
        relay: RelayUrl,
        *,
        name: str = "",
        send_credentials: SendCredentials = SendCredentials.TO_LOOPBACK,
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> None:
        """Raises ValueError for a user or password that SOCKS5 cannot carry (over 255 bytes)."""
        self._via = via
        self._relay = relay
        self._name = name or str(relay)
        self._send_credentials = send_credentials
        self._timeout_s = timeout_s
        self._credentials = socks.socks5_credentials(relay.user, relay.password) if relay.sends_credentials else b""

    def carries(self, destination: Destination) -> bool:
        """Names only when they are resolved at the relay."""
        return not self._relay.needs_address or destination.address is not None

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. SKIPPED, with nothing sent, for what the relay cannot carry."""
        request = _request(self._name, self.carries(destination), lambda: socks.socks5_connect(destination))
        stream = await reach(self._via, self._relay.endpoint, self._name)
        async with handshake(stream, self._name, self._timeout_s) as state:
            await self._sign_in(stream, state)
            await stream.send(request)
            state.asked = True
            await read_with(stream, state.reader, socks.read_socks5_reply(state.reader))
        return tunnelled(stream, state)

    async def _sign_in(self, stream: Stream, state: Handshake) -> None:
        with_password = bool(self._credentials)
        if with_password:
            self._send_credentials.check(stream)
        await stream.send(socks.socks5_greeting(with_password))
        choice = socks.read_socks5_method(state.reader, with_password=with_password)
        method = await read_with(stream, state.reader, choice)
        nothing_early(state)
        if method == socks.PASSWORD:
            await stream.send(self._credentials)
            await read_with(stream, state.reader, socks.read_socks5_auth(state.reader))
            nothing_early(state)

    def __repr__(self) -> str:
        return f"<Socks5Dialer {self._name}>"


class Socks4Dialer:
    """Dials through one SOCKS4 or 4a relay, reached by `via`. 4 carries IPv4 addresses, 4a names as well."""

    def __init__(
        self,
        via: Dialer,
        relay: RelayUrl,
        *,
        name: str = "",
        send_credentials: SendCredentials = SendCredentials.TO_LOOPBACK,
        timeout_s: float = HANDSHAKE_TIMEOUT_S,
    ) -> None:
        """Raises ValueError for a relay with a password, which SOCKS4 knows nothing of."""
        if relay.password:
            raise ValueError("SOCKS4 knows a user id but no password")
        self._via = via
        self._relay = relay
        self._name = name or str(relay)
        self._send_credentials = send_credentials
        self._timeout_s = timeout_s

    def carries(self, destination: Destination) -> bool:
        """IPv4 addresses; 4a everything else as a name."""
        address = destination.address
        return not self._relay.needs_address or (address is not None and address.version == 4)

    async def dial(self, destination: Destination) -> Stream:
        """See Dialer. SKIPPED, with nothing sent, for what the relay cannot carry."""
        user = self._relay.user
        request = _request(self._name, self.carries(destination), lambda: socks.socks4a_connect(destination, user))
        stream = await reach(self._via, self._relay.endpoint, self._name)
        async with handshake(stream, self._name, self._timeout_s) as state:
            if user:
                self._send_credentials.check(stream)
            await stream.send(request)
            state.asked = True
            await read_with(stream, state.reader, socks.read_socks4_reply(state.reader))
        return tunnelled(stream, state)

    def __repr__(self) -> str:
        return f"<Socks4Dialer {self._name}>"


def _request(name: str, carried: bool, write: Callable[[], bytes]) -> bytes:
    """Made before anything is dialed. Raises DialError when this relay has no bytes for the destination."""
    reason = "it wants addresses of its own kind, and names are not resolved for it"
    if carried:
        try:
            return write()
        except ValueError as error:
            reason = str(error)
    raise DialError(f"relay {name} is skipped: {reason}", stage=Stage.RELAY, symptom=Symptom.SKIPPED)
