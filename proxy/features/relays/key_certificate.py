"""`byway relay add KEY --pin ask`: the certificate that the server of a key shows now.

Nothing is verified and nothing of the key is sent: the handshake ends the connection. So the certificate may be that of
anyone on the way, until it was compared with one from the key's owner.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from proxy.config.edit import NewRelay, free_name, settings_after, with_additions
from proxy.config.load import load
from proxy.model import Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.relay_handshake import Handshake
from proxy.net.dialers.tls import TlsStream, trusting_all
from proxy.net.poller import make_poller
from proxy.setup.checked import Parts
from proxy.setup.steps import make
from proxy.terminal.exit_codes import Misused, as_misuse
from proxy.wire import relay_url

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.config.schema import Settings
    from proxy.wire.keys.values import Key

_FROM_ITS_OWNER = "ask the key's owner for the SHA-256 of its certificate"


def shown_certificate(paths: Paths, new: NewRelay) -> bytes:
    """Returns the SHA-256 of the certificate of the server of a key, which has some pin. Connects to that server alone,
    as a visit through the key would: under the guard of relays, its name looked up as for relays. Raises Misused for a
    relay that shows no certificate or none over TCP, ConfigError for one that cannot be added, and DialError."""
    key = None if ">" in new.url else relay_url.parse(new.url, new.allowed).key
    if key is None:
        raise Misused("--pin ask is for one key; in a chain, and for many keys, write the SHA-256")
    _check_shows(key)
    file = paths.config_file
    with as_misuse():
        there = load(paths.config_to_read, env=os.environ).settings.relay
        named = replace(new, name=free_name(new, {relay.name for relay in there}))
        settings = settings_after(file, with_additions(file, [named], []))
    return asyncio.run(_shown(paths, settings, settings.relay[-1].name, key))


def _check_shows(key: Key) -> None:
    """Raises Misused for a key whose server shows no certificate over TCP, or only to its own clients."""
    tls = key.outer_tls
    if tls is None or tls.reality is not None:
        raise Misused("a key of this kind has no certificate, so --pin is not for it")
    if key.protocol.is_over_udp:
        raise Misused(f"the server of this key is reached over UDP, where Byway sees no certificate: {_FROM_ITS_OWNER}")
    if tls.ech or not tls.sends_sni:
        raise Misused(f"this key hides its server's name, which --pin ask would show to the network: {_FROM_ITS_OWNER}")


async def _shown(paths: Paths, settings: Settings, name: str, key: Key) -> bytes:
    loaded = load(paths.config_to_read, env=os.environ)
    others = (relay for relay in loaded.settings.relay if relay.name != name)
    added = next(relay for relay in settings.relay if relay.name == name)
    loaded = replace(loaded, settings=replace(loaded.settings, relay=(*others, added)))
    with closing(make_poller(asyncio.get_running_loop())) as poller:
        parts = Parts(poller, paths, loaded.settings.listen.port)
        setup = make(parts, loaded, {})
        inner = await setup.registry.connect(name)
        with Handshake(inner, name, loaded.settings.limits.handshake_timeout_s):
            stream = TlsStream(inner, trusting_all(), key.tls_name)
            try:
                await stream.handshake()
            except ssl.SSLError as error:
                text = f"relay {name}: its server does not answer as a TLS server ({error.reason or error})"
                raise DialError(text, stage=Stage.RELAY, symptom=Symptom.RELAY_GARBAGE) from error
            certificate = stream.certificate()
        stream.abort()
    return hashlib.sha256(certificate).digest()
