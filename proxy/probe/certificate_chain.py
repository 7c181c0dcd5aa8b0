"""What certificates a name is answered with: hellos of our own, over any dialer, and nothing after them.

First one that is held to the trust store. Where that fails, a second one on another connection, which verifies nothing,
to see the whole chain that somebody presents: OpenSSL keeps none that it refused. What the chain means is the business
of `detect.interception`.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from proxy.model import Destination, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.deadline import deadline
from proxy.net.dialers.dialer import Dialer
from proxy.net.dialers.tls import TlsStream, clock_may_be_wrong, context_trusting, trusting_all

_ALERTS = ("TLSV1_", "TLSV13_", "SSLV3_ALERT_")  # how OpenSSL names the alerts that a peer sent


@dataclass(frozen=True, slots=True)
class FetchedChain:
    """What came. `chain` is what was presented, DER, the site's own certificate first; empty when none came."""

    chain: tuple[bytes, ...] = ()
    verified: bool = False
    """The trust store vouches for it and for the name."""
    expired: bool = False
    """It is not of today, by this machine's clock, which may be wrong."""
    error: str = ""  # one sentence: what was wrong with it, or why none came
    stage: Stage = Stage.DONE  # how far it came when there is no chain
    symptom: Symptom = Symptom.NONE  # what stopped it then


async def fetch_chain(
    dialer: Dialer, destination: Destination, name: str, *, timeout_s: float, trust: ssl.SSLContext | None = None
) -> FetchedChain:
    """Asks `destination` for the certificate of `name`, a canonical host. `timeout_s` is for all of it; `trust` is what
    it is held to (None: the system's roots). Closes what it opened; raises nothing but a cancellation."""
    try:
        with deadline(timeout_s):
            return await _fetch(dialer, destination, name, trust or context_trusting(None))
    except TimeoutError:
        return _failed(f"no certificate came within {timeout_s:g} s", Symptom.SILENT)


async def _fetch(dialer: Dialer, destination: Destination, name: str, trust: ssl.SSLContext) -> FetchedChain:
    try:
        return FetchedChain(await _handshake(dialer, destination, name, trust), verified=True)
    except ssl.SSLCertVerificationError as error:
        refused = error
    except DialError as error:
        return FetchedChain(error=str(error), stage=error.stage, symptom=error.symptom)
    except OSError as error:
        return _handshake_failure(error)
    expired = clock_may_be_wrong(refused)
    text = refused.verify_message.rstrip(".")
    if expired:
        text += f"; or this computer's clock is wrong: it shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    try:
        chain = await _handshake(dialer, destination, name, trusting_all())
    except (DialError, OSError):  # it was refused all the same
        chain = ()
    return FetchedChain(chain, expired=expired, error=text, symptom=Symptom.CERTIFICATE)


async def _handshake(dialer: Dialer, destination: Destination, name: str, context: ssl.SSLContext) -> tuple[bytes, ...]:
    """The chain that came. Raises DialError and OSError, of which ssl.SSLError is one."""
    stream = await dialer.dial(destination)
    try:
        tls = TlsStream(stream, context, name)
        await tls.handshake()
        return tls.presented_chain()
    finally:
        stream.abort()


def _handshake_failure(error: OSError) -> FetchedChain:
    """The handshake broke off."""
    if isinstance(error, ssl.SSLEOFError):
        return _failed("closed during the TLS handshake", Symptom.EOF)
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        symptom = Symptom.ALERT if reason.startswith(_ALERTS) else Symptom.GARBAGE
        return _failed(f"the TLS handshake failed ({reason.lower().replace('_', ' ')})", symptom)
    if isinstance(error, TimeoutError):
        return _failed("ClientHello not acknowledged", Symptom.DROPPED)
    return _failed(f"connection failed during the TLS handshake: {error.strerror or error}", Symptom.RESET)


def _failed(text: str, symptom: Symptom) -> FetchedChain:
    return FetchedChain(error=text, stage=Stage.FIRST_BYTE, symptom=symptom)
