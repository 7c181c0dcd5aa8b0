"""Fetches the certificate chain for a name, by Byway's own TLS handshakes over any dialer.

The first handshake verifies the certificate. When it is refused, a second handshake on another connection verifies
nothing and gets the whole chain, since OpenSSL keeps no chain that it refused. No data follows a handshake.
`detect.tls_interception` decides what the chain means.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from datetime import UTC, datetime
from importlib import import_module

from proxy.detect.tls_interception import ClassifiedChain, KnownRoots, classify_chain
from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, clock_may_be_wrong, context_trusting, handshake_symptom, trusting_all
from proxy.net.race.hello_ledger import HelloTurn, no_turn


@frozen_dataclass
class FetchedChain:
    """The chain that was presented, or the reason why none was."""

    chain: tuple[bytes, ...] = ()
    """DER, the site's own certificate first; empty when none came."""
    verified: bool = False
    """The trust store accepts the chain for the name."""
    expired: bool = False
    """The certificate is not valid today by this computer's clock, which may be wrong."""
    error: str = ""  # one sentence: why the chain is refused, or why none came
    stage: Stage = Stage.DONE  # of the failure, when there is no chain
    symptom: Symptom = Symptom.NONE  # of the failure

    def classified(self, host: str, roots: KnownRoots) -> ClassifiedChain:
        """Returns the meaning of the chain for `host`."""
        return classify_chain(self.chain, host, verified=self.verified, expired=self.expired, roots=roots)


async def fetch_chain(
    dialer: Dialer,
    destination: Destination,
    name: str,
    *,
    timeout_s: float,
    trust: ssl.SSLContext | None = None,
    turn: HelloTurn = no_turn,
) -> FetchedChain:
    """Returns the chain that `destination` presents for `name`, a canonical host. `timeout_s` limits both handshakes
    together, and `turn` is awaited before each; `trust` verifies the chain (None: with the system's roots). Closes its
    connections; raises only CancelledError."""
    try:
        with deadline(timeout_s):
            fetched = await _fetch(dialer, destination, name, trust or context_trusting(None), turn)
    except TimeoutError:
        return _failed(f"no certificate came within {timeout_s:g} s", Symptom.SILENT)
    if fetched.chain:
        await load_certificate_reader()
    return fetched


async def load_certificate_reader() -> None:
    """Imports cryptography, which `wire.certificates` needs. That takes 50 ms, so it runs in a thread, and connections
    go on meanwhile."""
    if "cryptography.x509" not in sys.modules:
        await asyncio.to_thread(import_module, "cryptography.x509")


async def _fetch(
    dialer: Dialer, destination: Destination, name: str, trust: ssl.SSLContext, turn: HelloTurn
) -> FetchedChain:
    await turn(name)
    try:
        return FetchedChain(await _handshake(dialer, destination, name, trust), verified=True)
    except ssl.SSLCertVerificationError as error:  # not kept: its traceback would hold the connection
        expired, text = clock_may_be_wrong(error), error.verify_message.rstrip(".")
    except DialError as error:
        return FetchedChain(error=str(error), stage=error.stage, symptom=error.symptom)
    except OSError as error:
        return _handshake_failure(error)
    if expired:
        text += f"; or this computer's clock is wrong: it shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    await turn(name)
    try:
        chain = await _handshake(dialer, destination, name, trusting_all())
    except (DialError, OSError):  # the first handshake has shown that the certificate is refused
        chain = ()
    return FetchedChain(chain, expired=expired, error=text, symptom=Symptom.CERTIFICATE)


async def _handshake(dialer: Dialer, destination: Destination, name: str, context: ssl.SSLContext) -> tuple[bytes, ...]:
    """Returns the chain. Raises DialError and OSError (ssl.SSLError is one)."""
    stream = await dialer.dial(destination)
    try:
        stream = tls = TlsStream(stream, context, name)
        await tls.handshake()
        return tls.presented_chain()
    finally:
        stream.abort()


def _handshake_failure(error: OSError) -> FetchedChain:
    match symptom := handshake_symptom(error):
        case Symptom.EOF:
            text = "closed during the TLS handshake"
        case Symptom.ALERT | Symptom.GARBAGE:
            reason = (error.reason if isinstance(error, ssl.SSLError) else None) or str(error)
            text = f"the TLS handshake failed ({reason.lower().replace('_', ' ')})"
        case Symptom.DROPPED:
            text = "ClientHello not acknowledged"
        case _:
            text = f"connection failed during the TLS handshake: {error.strerror or error}"
    return _failed(text, symptom)


def _failed(text: str, symptom: Symptom) -> FetchedChain:
    return FetchedChain(error=text, stage=Stage.FIRST_BYTE, symptom=symptom)
