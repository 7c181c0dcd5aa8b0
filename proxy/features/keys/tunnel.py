"""Where an opening through WireGuard leads: its packets have addresses, and its server resolves no names.

So Byway resolves the destination, by encrypted DNS through the key itself, and asks the engine for an address: given a
name, the engine would ask the system's resolver, in plain text and past Byway.
"""

from __future__ import annotations

import ipaddress

from proxy.model import Destination, IPAddress, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.key_relay import DestinationLookup, KeyRelay
from proxy.wire.keys.values import Key, WireGuard


def leads_to(key: Key, address: IPAddress) -> bool:
    """Whether packets to an address pass a key: of WireGuard, it is among the allowed IPs, and of a family in which
    this computer has an address there."""
    if not isinstance(key, WireGuard):
        return True
    return any(ipaddress.ip_interface(own).version == address.version for own in key.addresses) and any(
        address in ipaddress.ip_interface(allowed).network for allowed in key.allowed_ips
    )


async def asked_of_engine(relay: KeyRelay, lookup: DestinationLookup | None, destination: Destination) -> Destination:
    """Returns the destination that the engine is asked for: the destination itself, or for a key that needs addresses
    one of its addresses, IPv4 first, since a server need not carry the IPv6 that it gives. `lookup` is that through
    the key. Raises DialError, which blames the relay only where `lookup` does, and never the site."""
    if not relay.key.protocol.needs_address:
        return destination
    name = f"relay {relay.name}"
    if destination.address is not None:
        if leads_to(relay.key, destination.address):
            return destination
        raise DialError(f"{name} does not lead to {destination}", stage=Stage.RELAY, symptom=Symptom.SKIPPED)
    if lookup is None:
        text = f"{name} takes addresses only, and no encrypted DNS server is configured that Byway may ask for them"
        raise DialError(text, stage=Stage.RELAY, symptom=Symptom.SKIPPED)
    try:
        found = await lookup(destination)
    except DialError as error:
        if error.symptom in (Symptom.RELAY_DOWN, Symptom.RELAY_AUTH):
            raise
        symptom = error.symptom if error.symptom in (Symptom.FORBIDDEN, Symptom.LOCAL) else Symptom.SKIPPED
        raise DialError(f"{name} takes addresses only: {error}", stage=Stage.RELAY, symptom=symptom) from None
    for address in sorted(found, key=lambda address: address.version):
        if leads_to(relay.key, address):
            return Destination(str(address), destination.port)
    text = f"{name} leads to no address of {destination.host}: its allowed IPs, or its own addresses, do not cover one"
    raise DialError(text, stage=Stage.RELAY, symptom=Symptom.SKIPPED)
