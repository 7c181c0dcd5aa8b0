"""What the person reads of a key, or of a text with keys: what Byway understood, or which field it does not support.

No sentence shows more of a key than its protocol, server and name.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from proxy.wire.keys.pasted import ADD_LOCAL, KEY_SCHEMES, Form, form_of, scheme_of
from proxy.wire.keys.pasted import explain as explain_foreign

if TYPE_CHECKING:
    from proxy.wire.keys.fields import KeyRefused
    from proxy.wire.keys.reader import Collection
    from proxy.wire.keys.values import Key, KeyProtocol

_FETCHED = "It names a file with one key: `byway relay add` fetches that, and follows it as a subscription"
_HOST_KEY = (
    "Add it to the link as host-key=TYPE%20KEY: `ssh-keygen -F HOST` prints the one that your ssh knows already, and "
    "`ssh-keyscan HOST` what it shows now, which you compare with the owner's"
)
_PORTS = "(Clash: 7890, v2rayN: 10808)"


def explain(text: str) -> str:
    """Returns the sentence for a key, a text with keys, or another text that is no relay; empty for what may be one."""
    scheme = scheme_of(text)
    if scheme in KEY_SCHEMES and "\n" not in text.strip():
        return _of_link(text)
    if (scheme in KEY_SCHEMES or not scheme) and (form := form_of(text)) is not None:
        from proxy.wire.keys.fields import KeyRefused
        from proxy.wire.keys.reader import read_collection

        try:
            return of_collection(read_collection(text))
        except KeyRefused as error:
            return of_unreadable(form, error)
    return explain_foreign(text)


def _of_link(text: str) -> str:
    from proxy.wire.keys.fields import KeyRefused  # these two: most relays are none
    from proxy.wire.keys.reader import read_key

    try:
        return without_engine(read_key(text))
    except KeyRefused as error:
        return of_refused(error)


def without_engine(key: Key) -> str:
    """Returns the sentence for a key that was read and that no engine of Byway's gets; empty: an engine gets it."""
    from proxy.wire.keys.values import Obfs, OutlineAddress, Shadowsocks, Ssh, Tuic, WireGuard

    match key:
        case OutlineAddress():
            return f"this {_named(key)} is understood. {_FETCHED}"
        case WireGuard() if any(count > 1 for count in Counter(map(_version, key.addresses)).values()):
            reason = "it has two addresses of one family for this computer, and the engine takes one"
        case WireGuard() if key.amnezia is not None and key.reserved:
            reason = "AmneziaWG and reserved bytes are not supported together"
        case Ssh() if not key.host_keys:
            reason = "it has no host key of its server, so anyone on the way could pretend to be the server"
            return f"this {_named(key)} is not supported: {reason}. {_HOST_KEY}"
        case Ssh() if not key.password and not key.private_key:
            reason = "it has neither a password nor a private key"
        case Ssh() if key.private_key and "PRIVATE KEY" not in key.private_key:  # the engine would read it as a path
            reason = "its private key is not one in PEM"
        case Shadowsocks(plugin=plugin) if plugin is not None and not isinstance(plugin, Obfs):
            tls, host = plugin.tls, plugin.socket.host
            if tls is None or not tls.sni or tls.sni == host:
                return ""
            reason = "another SNI than the host is not supported with v2ray-plugin"
        case _:
            tls = key.outer_tls
            if tls is None or tls.sends_sni or isinstance(key, Tuic):
                return ""
            reason = "leaving out the name (SNI) is not supported with this protocol"
    return f"this {_named(key)} is not supported: {reason}. {_instead(key.protocol)}"


def of_refused(error: KeyRefused) -> str:
    """Returns the sentence for a key that was not taken."""
    from proxy.wire.keys.fields import Fault

    assert error.protocol is not None
    verb = "cannot be read" if error.fault is Fault.DAMAGED else "is not supported"
    sentence = f"this {_named(error)} {verb}: {error}"
    return sentence if error.fault is Fault.DAMAGED else f"{sentence}. {_instead(error.protocol)}"


def of_collection(collection: Collection) -> str:
    """Returns the sentence for a text with keys in the place of one relay."""
    from proxy.wire.keys.fields import KeyRefused
    from proxy.wire.keys.values import Key

    items = collection.items
    read = Counter(item.protocol.words for item in items if isinstance(item, Key))
    refused = [(number, item) for number, item in enumerate(items, 1) if isinstance(item, KeyRefused)]
    parts = [f"{read.total()} understood ({', '.join(f'{words} {count}' for words, count in read.items())})"]
    if not read:
        parts = ["none understood"]
    if refused:
        number, error = refused[0]
        kind = f"{error.protocol.words}, " if error.protocol is not None else ""
        parts.append(f"{len(refused)} not, the first of them number {number} ({kind}{error})")
    count = read.total() + len(refused)
    return (
        f"this is {collection.form} with {count} {'key' if count == 1 else 'keys'}: {' and '.join(parts)}. A relay is "
        "one link: put the text into a file, and run `byway relay add FILE`"
    )


def of_unreadable(form: Form, error: KeyRefused) -> str:
    """Returns the sentence for a text with keys that cannot be read as a whole."""
    return f"this is {form}, and it cannot be read: {error}. Start that client and {ADD_LOCAL} {_PORTS}"


def _named(key: Key | KeyRefused) -> str:
    protocol, server = key.protocol, key.server
    assert protocol is not None
    what = "address of an Outline key" if protocol == "ssconf" else f"{protocol.words} key"
    return f"{what}{f' for {server}' if server is not None else ''}{f' ({key.name})' if key.name else ''}"


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _instead(protocol: KeyProtocol) -> str:
    """Returns what to do with a key that Byway does not take."""
    if protocol == "ssh":
        return "Run `ssh -N -D 1080 USER@HOST` and add it with `byway relay add socks5h://127.0.0.1:1080`"
    return f"Ask for another key, or {_client(protocol)}"


def _client(protocol: KeyProtocol) -> str:
    return f"start your {protocol.words} client and {ADD_LOCAL}"
