"""Reads keys: one link, or a text with many in any notation that clients write.

`read_key` reads a link. `read_collection` reads links in lines, also as a base64 bundle, configurations of Clash
(mihomo) and sing-box, lists by SIP008, Outline's JSON and configurations of WireGuard. Sizes, counts and depths have
limits, and the time is linear in the size of the text. The only exception is KeyRefused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.keys import dialects, in_tls, pasted, shadowsocks, streams, tunnels, v2ray
from proxy.wire.keys.fields import (
    NOTHING_ALLOWED,
    Allowed,
    Fault,
    Fields,
    Given,
    KeyRefused,
    Nested,
    Refused,
    Rows,
    Value,
    flattened,
    make,
    merged,
    shown,
)
from proxy.wire.keys.notations import (
    LINK_LIMIT,
    Link,
    json_map,
    json_value,
    percent_decoded,
    sections,
    split_link,
    yaml_value,
)
from proxy.wire.keys.pasted import TEXT_LIMIT, Form, decoded_text, form_of, lines_of
from proxy.wire.keys.streams import Network
from proxy.wire.keys.values import Key, KeyProtocol, OutlineAddress, RelayLink

KEYS_LIMIT = 2000
"""Keys in one text."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

T = TypeVar("T")
Build = Callable[[Fields, Destination, str], Key]


@frozen_dataclass
class Collection:
    """The keys and relays of a text in their order; in place of one that is not taken, why."""

    form: Form
    items: tuple[Key | RelayLink | KeyRefused, ...]
    links: tuple[str, ...] = field(default=(), repr=False)
    """The links of the items, if they are links."""

    @property
    def entries(self) -> tuple[tuple[Key | RelayLink | KeyRefused, str], ...]:
        """The items, each with its link; empty where the items are no links."""
        return tuple(zip(self.items, self.links or ("",) * len(self.items), strict=True))


SCHEMES = {
    "vless": KeyProtocol.VLESS,
    "vmess": KeyProtocol.VMESS,
    "trojan": KeyProtocol.TROJAN,
    "ss": KeyProtocol.SHADOWSOCKS,
    "hysteria2": KeyProtocol.HYSTERIA2,
    "hy2": KeyProtocol.HYSTERIA2,
    "tuic": KeyProtocol.TUIC,
    "anytls": KeyProtocol.ANYTLS,
    "wireguard": KeyProtocol.WIREGUARD,
    "wg": KeyProtocol.WIREGUARD,
    "ssh": KeyProtocol.SSH,
    "ssconf": KeyProtocol.OUTLINE,
}
"""Protocols by the scheme of a link."""


# -- one link ----------------------------------------------------------------------------------------------------------


def read_key(text: str, allowed: Allowed = NOTHING_ALLOWED) -> Key:
    """Reads a link with one of SCHEMES. Raises KeyRefused, with what is known of the key."""
    protocol = SCHEMES.get(pasted.scheme_of(text.strip()))
    if protocol is None:
        raise KeyRefused("it is not a link of a protocol that Byway knows", Fault.UNSUPPORTED)
    try:
        if len(text) > LINK_LIMIT or not _is_unicode(text):
            raise KeyRefused(f"it is not a link of at most {LINK_LIMIT} characters")
        if _CONTROL.search(text.strip().partition("#")[0]):
            raise KeyRefused("the link contains a control character: remove it")
        return _LINKS[protocol](text.strip(), allowed)
    except KeyRefused as error:
        error.protocol = protocol
        raise


def _of_link(text: str) -> tuple[Link, dict[str, str]]:
    """Splits a link whose path says nothing. Returns it, and the parts that every key has."""
    link = split_link(text, spaced=("extra", "fm"))
    if link.path not in ("", "/"):
        raise KeyRefused("the link has a path behind its port, which no such link has")
    return link, {"server": percent_decoded(link.host, "host"), "port": link.port} | (
        {"name": link.name} if link.name else {}
    )


def _with_user(
    text: str, allowed: Allowed, protocol: KeyProtocol, rows: Rows, build: Build, *, part: str, port: str = ""
) -> Key:
    """Reads a link whose user is `part` of the key: its only secret."""
    link, parts = _of_link(text)
    _check_secret(link, rows, part)
    if link.user:
        parts[part] = percent_decoded(link.user, part)
    return make(Given(protocol, {**parts, "port": link.port or port}, link.query, rows), allowed, build)


def _check_secret(link: Link, rows: Rows, part: str) -> None:
    """Raises KeyRefused for a link without its secret: in a damaged one it may stand in place of the host, which would
    be shown."""
    if not link.user and not any(rows.get(field.lower()) == part for field in link.query):
        raise KeyRefused(f"the key has no {part.replace('_', ' ')}", field=part)


def _vless(text: str, allowed: Allowed) -> Key:
    build, text = partial(v2ray.vless, http=Network.H2), dialects.of_shadowrocket(text)
    return _with_user(text, allowed, KeyProtocol.VLESS, v2ray.VLESS_LINK, build, part="user")


def _vmess(text: str, allowed: Allowed) -> Key:
    """A link of Xray's standard, or v2rayN's: JSON in base64."""
    text = dialects.of_shadowrocket(text)
    body = text.partition("://")[2]
    build = partial(v2ray.vmess, http=Network.H2)
    encoded, _, name = body.partition("#")
    json = decoded_text(percent_decoded(encoded.strip(), "the link"))
    if json is None or not json.lstrip().startswith("{"):
        if "@" not in encoded:
            raise KeyRefused("it is neither a link with UUID@HOST:PORT nor JSON in base64")
        return _with_user(text, allowed, KeyProtocol.VMESS, v2ray.VMESS_LINK, build, part="user")
    given = flattened(json_map(json), v2ray.VMESS_JSON)
    fields = v2ray.as_link({field: value for field, value in given.items() if isinstance(value, str)})
    lists = {field: value for field, value in given.items() if not isinstance(value, str)}
    has_name = any(fields.get(field) for field in ("ps", "remark", "remarks"))
    parts = {} if has_name else {"name": percent_decoded(name, "name")}
    return make(Given(KeyProtocol.VMESS, parts, {**fields, **lists}, v2ray.VMESS_JSON), allowed, build)


def _trojan(text: str, allowed: Allowed) -> Key:
    link, parts = _of_link(text)
    _check_secret(link, v2ray.TROJAN_LINK, "password")
    if link.user:
        parts["password"] = percent_decoded(link.user, "password")
    fields = dialects.trojan(link.query)
    return make(Given(KeyProtocol.TROJAN, parts, fields, v2ray.TROJAN_LINK), allowed, v2ray.trojan)


def _shadowsocks(text: str, allowed: Allowed) -> Key:
    """SIP002 has cipher and password before @, in base64 or percent-encoded; the older form is base64 as a whole."""
    body, mark, name = text.partition("#")
    before, question, query = body.partition("://")[2].partition("?")
    if "@" not in before:
        whole = decoded_text(percent_decoded(before, "the link").rstrip("/"))
        if whole is None or "@" not in whole:
            raise KeyRefused("it is neither a link with HOST:PORT nor such a link in base64")
        user, _, location = whole.rpartition("@")
        text = f"ss://{quote(user, safe='')}@{location}{question}{query}{mark}{name}"
    link, parts = _of_link(text)
    user = percent_decoded(link.user, "what stands before @")
    if ":" not in user:
        user = decoded_text(user) or ""
    cipher, colon, password = user.partition(":")
    if not colon:
        raise KeyRefused("what stands before @ is not a cipher and a password, in base64 or with a colon between them")
    fields = shadowsocks.with_options(dialects.plugin(link.query), "")
    parts |= {"cipher": cipher, "password": password}
    return make(Given(KeyProtocol.SHADOWSOCKS, parts, fields, shadowsocks.LINK), allowed, shadowsocks.shadowsocks)


def _hysteria2(text: str, allowed: Allowed) -> Key:
    link, parts = _of_link(text)
    _check_secret(link, in_tls.HYSTERIA2_LINK, "password")
    fields = dict(link.query)
    if link.user:
        parts["password"] = percent_decoded(link.user, "password")
    if "," in link.port or "-" in link.port:
        parts["port"], fields["ports"] = re.split("[,-]", link.port)[0], link.port
    parts["port"] = parts["port"] or "443"
    return make(Given(KeyProtocol.HYSTERIA2, parts, fields, in_tls.HYSTERIA2_LINK), allowed, in_tls.hysteria2)


def _with_password(text: str, allowed: Allowed, protocol: KeyProtocol, rows: Rows, build: Build, port: str = "") -> Key:
    """Reads a link with `user:password@`."""
    link, parts = _of_link(text)
    _check_secret(link, rows, "user")
    user, colon, password = percent_decoded(link.user, "what stands before @").partition(":")
    parts |= {"user": user, "port": link.port or port} | ({"password": password} if colon else {})
    return make(Given(protocol, parts, link.query, rows), allowed, build)


def _tuic(text: str, allowed: Allowed) -> Key:
    return _with_password(text, allowed, KeyProtocol.TUIC, in_tls.TUIC_LINK, in_tls.tuic)


def _anytls(text: str, allowed: Allowed) -> Key:
    return _with_user(text, allowed, KeyProtocol.ANYTLS, in_tls.ANYTLS_LINK, in_tls.anytls, part="password", port="443")


def _wireguard(text: str, allowed: Allowed) -> Key:
    return _with_user(
        text, allowed, KeyProtocol.WIREGUARD, tunnels.WIREGUARD_LINK, tunnels.wireguard, part="private_key"
    )


def _ssh(text: str, allowed: Allowed) -> Key:
    return _with_password(text, allowed, KeyProtocol.SSH, tunnels.SSH_LINK, tunnels.ssh, port="22")


def _outline(text: str, allowed: Allowed) -> Key:
    """An address by https, of which only the scheme is another."""
    link = split_link(text)
    if link.user:
        raise KeyRefused("the address of an Outline key has no user", field="user")
    path = text.partition("#")[0].partition("://")[2].partition("/")[2]
    if len(path) > 2048 or not path.isascii() or not path.isprintable() or " " in path:
        raise KeyRefused("the path of the address is not one of https")
    parts = {"server": link.host, "port": link.port or "443", "name": link.name}
    return make(
        Given(KeyProtocol.OUTLINE, parts, {}, {}),
        allowed,
        lambda _, server, name: OutlineAddress(server, name, f"/{path}"),
    )


_LINKS: Mapping[KeyProtocol, Callable[[str, Allowed], Key]] = {
    KeyProtocol.VLESS: _vless,
    KeyProtocol.VMESS: _vmess,
    KeyProtocol.TROJAN: _trojan,
    KeyProtocol.SHADOWSOCKS: _shadowsocks,
    KeyProtocol.HYSTERIA2: _hysteria2,
    KeyProtocol.TUIC: _tuic,
    KeyProtocol.ANYTLS: _anytls,
    KeyProtocol.WIREGUARD: _wireguard,
    KeyProtocol.SSH: _ssh,
    KeyProtocol.OUTLINE: _outline,
}

# -- ordinary relays among keys ----------------------------------------------------------------------------------------

_RELAY_CLASH: Rows = merged(
    streams.CLASH,
    {
        "username": "user",
        "password": "password",
        "tls": "tls",
        "sni": "sni",
        "skip-cert-verify": "insecure",
        **dict.fromkeys(("fingerprint", "certificate", "private-key", "name-cert-verify"), streams.OWN_TRUST),
        "headers": Refused("headers of a relay are not supported"),
    },
)
_RELAY_SING_BOX: Rows = merged(
    streams.SING_BOX,
    {field: row for field, row in streams.SING_BOX_TLS.items() if not field.startswith("tls.utls")},
    {"username": "user", "password": "password", "version": "version"},
    dict.fromkeys(("path", "headers"), Refused("headers and paths of a relay are not supported")),
)


def _relay(fields: Fields, server: Destination, name: str, *, scheme: str) -> RelayLink:
    """Reads a SOCKS or HTTP proxy of a configuration."""
    if scheme == "socks5h":
        scheme = fields.choice("version", {"": scheme, "5": scheme, "4a": "socks4a", "4": "socks4"})
    options = ""
    if fields.flag("tls"):
        if scheme != "http":
            raise fields.unsupported("tls", "SOCKS in TLS is not supported")
        if fields.flag("insecure"):
            raise fields.unsupported("insecure", "the certificate would not be checked; write an https relay with pin=")
        scheme, sni = "https", fields.host("sni")
        options = f"?sni={sni}" if sni and sni != server.host else ""
    user, password = (quote(fields.text(field), safe="") for field in ("user", "password"))
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    return RelayLink(f"{scheme}://{credentials}{server}{options}", name)


# -- texts -------------------------------------------------------------------------------------------------------------

_NO_KEYS = frozenset(
    ("direct", "block", "dns", "selector", "urltest", "reject", "reject-drop", "pass", "compatible", "rematch")
)
"""Types of outbounds in configurations that are no servers."""

_Notation = Mapping[str, tuple[KeyProtocol, Rows, Build]]
_CLASH: _Notation = {
    "vless": (KeyProtocol.VLESS, v2ray.VLESS_CLASH, partial(v2ray.vless, http=Network.HTTP)),
    "vmess": (KeyProtocol.VMESS, v2ray.VMESS_CLASH, partial(v2ray.vmess, http=Network.HTTP)),
    "trojan": (KeyProtocol.TROJAN, v2ray.TROJAN_CLASH, v2ray.trojan),
    "ss": (KeyProtocol.SHADOWSOCKS, shadowsocks.CLASH, shadowsocks.shadowsocks),
    "hysteria2": (KeyProtocol.HYSTERIA2, in_tls.HYSTERIA2_CLASH, in_tls.hysteria2),
    "tuic": (KeyProtocol.TUIC, in_tls.TUIC_CLASH, in_tls.tuic),
    "anytls": (KeyProtocol.ANYTLS, in_tls.ANYTLS_CLASH, in_tls.anytls),
    "wireguard": (KeyProtocol.WIREGUARD, tunnels.WIREGUARD_CLASH, tunnels.wireguard),
    "ssh": (KeyProtocol.SSH, tunnels.SSH_CLASH, tunnels.ssh),
}
_SING_BOX: _Notation = {
    "vless": (KeyProtocol.VLESS, v2ray.VLESS_SING_BOX, partial(v2ray.vless, http=None)),
    "vmess": (KeyProtocol.VMESS, v2ray.VMESS_SING_BOX, partial(v2ray.vmess, http=None)),
    "trojan": (KeyProtocol.TROJAN, v2ray.TROJAN_SING_BOX, v2ray.trojan),
    "shadowsocks": (KeyProtocol.SHADOWSOCKS, shadowsocks.SING_BOX, shadowsocks.shadowsocks),
    "hysteria2": (KeyProtocol.HYSTERIA2, in_tls.HYSTERIA2_SING_BOX, in_tls.hysteria2),
    "tuic": (KeyProtocol.TUIC, in_tls.TUIC_SING_BOX, in_tls.tuic),
    "anytls": (KeyProtocol.ANYTLS, in_tls.ANYTLS_SING_BOX, in_tls.anytls),
    "wireguard": (KeyProtocol.WIREGUARD, tunnels.WIREGUARD_SING_BOX, tunnels.wireguard),
    "ssh": (KeyProtocol.SSH, tunnels.SSH_SING_BOX, tunnels.ssh),
}
_RELAY_SCHEMES = ("socks", "socks5", "socks5h", "socks4", "socks4a", "http", "https", "tg")
_RELAYS = {"socks5": "socks5h", "socks": "socks5h", "http": "http"}


_NO_NOTATION = {
    "": "it is of no notation of keys that Byway knows",
    "transport": (
        "it is a key in Outline's own notation (transport:), which can name several servers and ways: ask for a key "
        "that begins with ss://, or start your Outline client"
    ),
    "error": "its server says an error in place of a key, as Outline does: ask the key's owner",
}


def read_collection(text: str, allowed: Allowed = NOTHING_ALLOWED) -> Collection:
    """Reads a text whose `form_of` is known. Raises KeyRefused for one without a key, or unreadable as a whole."""
    if not _is_unicode(text) or len(text.encode()) > TEXT_LIMIT:
        raise KeyRefused(f"it is not text of at most {TEXT_LIMIT // 1024} KiB")
    form = form_of(text)
    text, links = pasted.body_of(text), list[str]()
    match form:
        case None:
            raise KeyRefused(_NO_NOTATION[pasted.outline_part(text)], Fault.UNSUPPORTED)
        case Form.WIREGUARD:
            items = [_taken(partial(_of_sections, text, allowed))]
        case Form.LINKS | Form.BUNDLE:
            lines = text if form is Form.LINKS else decoded_text("".join(text.split()))
            if lines is None:
                raise KeyRefused("it is not base64 of text")
            links = lines_of(lines)
            items = [_taken(partial(_line, line, allowed)) for line in _limited(links)]
        case _:
            form, maps = _maps(text, form)
            items = [_taken(partial(_entry, form, each, allowed)) for each in _limited(maps)]
    if not items:
        raise KeyRefused("it has no key")
    return Collection(form, tuple(items), tuple(links))


def read_entry(
    form: Form, entry: Mapping[str, Nested], allowed: Allowed = NOTHING_ALLOWED
) -> Key | RelayLink | KeyRefused:
    """Reads one server of a configuration of Clash or sing-box, which is a map in its list; in place of one that is not
    taken, returns why."""
    return _taken(partial(_entry, form, entry, allowed))


def _is_unicode(text: str) -> bool:
    """Half a character (a surrogate) has no place in any notation."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _limited(items: Sequence[T]) -> Sequence[T]:
    if len(items) > KEYS_LIMIT:
        raise KeyRefused(f"it has {len(items)} keys, and Byway takes at most {KEYS_LIMIT} at once")
    return items


def _taken(read: Callable[[], Key | RelayLink]) -> Key | RelayLink | KeyRefused:
    try:
        return read()
    except KeyRefused as error:
        error.__context__ = None  # a traceback holds what was read
        return error.with_traceback(None)


def _line(line: str, allowed: Allowed) -> Key | RelayLink:
    scheme = line.partition("://")[0].lower()
    if scheme in SCHEMES:
        return read_key(line, allowed)
    if (client := pasted.OTHER_CLIENTS.get(scheme)) is not None:
        raise KeyRefused(f"{client} is not supported", Fault.UNSUPPORTED)
    if scheme not in _RELAY_SCHEMES:
        raise KeyRefused("it is neither a key nor a relay", Fault.UNSUPPORTED)
    try:
        return RelayLink(pasted.to_relay_url(line), "")
    except ValueError as error:
        raise KeyRefused(str(error)) from None


def _maps(text: str, form: Form) -> tuple[Form, Sequence[Mapping[str, Nested]]]:
    """Returns the maps of a configuration, one for each server."""
    if text[:1] in ("{", "["):
        try:
            value = json_value(text)
        except KeyRefused:
            if not pasted.is_yaml(text):
                raise
            value = yaml_value(text)
    else:
        value = yaml_value(text)
    names = {Form.CLASH: ("proxies",), Form.SHADOWSOCKS: ("servers",)}.get(form, ("outbounds", "endpoints"))
    if isinstance(value, dict) and any(name in value for name in names):
        lists = [value[name] for name in names if value.get(name) is not None]
        found = [each for items in lists for each in (items if isinstance(items, list) else [items])]
    else:
        found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, dict) for each in found):
        raise KeyRefused("its list of servers has an entry that is not a map")
    maps = [each for each in found if isinstance(each, dict)]
    return form, [each for each in maps if str(each.get("type", "")).lower() not in _NO_KEYS]


def _entry(form: Form, entry: Mapping[str, Nested], allowed: Allowed) -> Key | RelayLink:
    if form is Form.SHADOWSOCKS:
        return _of_list(entry, allowed)
    kind = entry.get("type")
    if not isinstance(kind, str):
        if "protocol" in entry:
            raise KeyRefused("configurations of Xray are not read; use the link of the key", Fault.UNSUPPORTED)
        raise KeyRefused("an entry has no type", field="type")
    kind, entry = kind.lower(), {field: value for field, value in entry.items() if field != "type"}
    if kind in _RELAYS:
        rows = _RELAY_CLASH if form is Form.CLASH else _RELAY_SING_BOX
        given = Given(None, {}, flattened(entry, rows), rows)
        return make(given, allowed, partial(_relay, scheme=_RELAYS[kind]))
    notation = _CLASH if form is Form.CLASH else _SING_BOX
    if kind not in notation:
        raise KeyRefused(f"type {shown(kind)} is not supported", Fault.UNSUPPORTED, "type")
    protocol, rows, build = notation[kind]
    try:
        fields = flattened(entry, rows)
        if protocol is KeyProtocol.SHADOWSOCKS and form is Form.SING_BOX:
            fields = _with_plugin(fields)
        return make(Given(protocol, {}, fields, rows), allowed, build)
    except KeyRefused as error:
        error.protocol = protocol
        raise


def _of_list(entry: Mapping[str, Nested], allowed: Allowed) -> Key:
    fields = _with_plugin(flattened(entry, shadowsocks.LIST))
    return make(Given(KeyProtocol.SHADOWSOCKS, {}, fields, shadowsocks.LIST), allowed, shadowsocks.shadowsocks)


def _with_plugin(fields: dict[str, Value]) -> dict[str, Value]:
    options = fields.pop("plugin_opts", "")
    return shadowsocks.with_options(fields, options if isinstance(options, str) else "")


def _of_sections(text: str, allowed: Allowed) -> Key:
    found = sections(text)
    peers = [fields for section, fields in found if section == "peer"]
    interface = [fields for section, fields in found if section == "interface"]
    if len(peers) > 1:
        raise KeyRefused("field [Peer] has more than one entry, and Byway takes one", Fault.UNSUPPORTED, "Peer")
    if len(interface) != 1 or not peers or len(found) != 2:
        raise KeyRefused("it has no section [Interface] and one [Peer]")
    peer = {field: value for field, value in peers[0].items() if field.lower() != "endpoint"}
    endpoint = next((value for field, value in peers[0].items() if field.lower() == "endpoint"), "")
    host, _, port = str(endpoint).rpartition(":")
    parts = {"server": host, "port": port}
    fields = {**interface[0], **{f"Peer.{field}": value for field, value in peer.items()}}
    return make(Given(KeyProtocol.WIREGUARD, parts, fields, tunnels.WIREGUARD_CONF), allowed, tunnels.wireguard)
