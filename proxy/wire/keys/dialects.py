"""Links in which a client says in words of its own what the standards have words for, rewritten to these.

Shadowrocket writes `base64(cipher:user@host:port)` and fields of its own; it and Hiddify name plugins otherwise. What
is not rewritten stays, and the tables of fields decide about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from proxy.wire.keys import shadowsocks
from proxy.wire.keys.fields import Fault, KeyRefused, Value, flattened
from proxy.wire.keys.notations import json_map, percent_decoded, query_of
from proxy.wire.keys.pasted import decoded_text

_WHOLE = re.compile(r"(?:(?P<cipher>[^:@]*):)?(?P<user>[^:@]+)@(?P<location>[^@/?#]+:[0-9]{1,5})\Z")
_NETWORKS = {"none": "tcp", "websocket": "ws", "mkcp": "kcp"}
_FLOWS = {"1": "xtls-rprx-direct", "2": "xtls-rprx-vision"}
_ON = ("1", "true")
_OPTIONS = ("obfs", "obfs-host", "mode", "path", "host", "tls", "mux", "sni", "skip-cert-verify")


def of_shadowrocket(text: str) -> str:
    """Returns a VLESS or VMess link of Shadowrocket as one of Xray's standard; any other link unchanged. Raises
    KeyRefused."""
    body, mark, name = text.partition("#")
    scheme, _, rest = body.partition("://")
    encoded, _, query = rest.partition("?")
    if "@" in encoded:
        return text
    whole = _WHOLE.match(decoded_text(percent_decoded(encoded.strip("/ "), "the link")) or "")
    if whole is None:
        return text
    given, fields = _apart(query_of(query), "obfs", "obfsparam", "tls", "xtls", "path")
    if scheme.lower() == "vmess" and whole["cipher"]:
        fields["encryption"] = whole["cipher"]
    if (network := given.get("obfs", "").lower()) == "http":
        fields |= {"type": "tcp", "headerType": "http"}
    elif network:
        fields["type"] = _NETWORKS.get(network, network)
    fields["serviceName" if network == "grpc" else "path"] = given.get("path", "")
    if host := given.get("obfsparam", ""):
        fields["host"] = _host(host)
    if (tls := given.get("tls", "")) in _ON:
        fields["security"] = "reality" if fields.get("pbk") else "tls"
    elif tls not in ("", "0", "false"):
        fields["security"] = tls
    if (flow := given.get("xtls", "")) not in ("", "0"):
        fields["flow"] = _FLOWS.get(flow, flow)
    written = "&".join(f"{field}={quote(str(value), safe='')}" for field, value in fields.items())
    return f"{scheme}://{quote(whole['user'], safe='')}@{whole['location']}?{written}{mark}{name}"


def _apart(query: Mapping[str, Value], *names: str) -> tuple[dict[str, str], dict[str, Value]]:
    """Returns the fields with one of these names, by it, and the others."""
    given = {field.lower(): str(value) for field, value in query.items() if field.lower() in names}
    return given, {field: value for field, value in query.items() if field.lower() not in names}


def _host(text: str) -> str:
    """Returns the host in a text or in a map of headers. Raises KeyRefused for other headers."""
    if not text.startswith("{"):
        return text
    headers = json_map(text)
    host = next((value for header, value in headers.items() if header.lower() == "host"), None)
    if len(headers) != 1 or not isinstance(host, str):
        raise KeyRefused("field obfsParam: headers beside Host are not supported", Fault.UNSUPPORTED, "obfsParam")
    if not host.isprintable():  # also half a character, which JSON can write and no link
        raise KeyRefused("field obfsParam is not printable text", field="obfsParam")
    return host


def trojan(query: Mapping[str, Value]) -> dict[str, Value]:
    """Returns the fields of a Trojan link. WebSocket may be named as a plugin, or by the fields ws and wspath."""
    given, fields = _apart(query, "plugin", "ws", "wspath")
    if not {"type", "host", "path"} & set(map(str.lower, fields)):
        name, *options = given.get("plugin", "").split(";")
        of_plugin = dict(option.partition("=")[::2] for option in options if option)
        if name == "obfs-local" and of_plugin.pop("obfs", "") == "websocket" and "ws" not in given:
            fields |= {"type": "ws", "host": of_plugin.pop("obfs-host", ""), "path": of_plugin.pop("obfs-uri", "")}
            return fields | {f"plugin.{option}": value for option, value in of_plugin.items()}
        if given.get("ws") in ("", *_ON) and "plugin" not in given:
            return fields | {"type": "ws", "path": given.get("wspath", "")}
    return dict(query)


def plugin(query: Mapping[str, Value]) -> dict[str, Value]:
    """Returns the fields of a Shadowsocks link. Shadowrocket writes the options of a plugin as JSON in base64, Hiddify
    as fields of the link. Raises KeyRefused."""
    own, fields = _apart(query, "v2ray-plugin")
    named, others = _apart(query, "plugin", *_OPTIONS)
    name = named.pop("plugin", "")
    if own and not name:
        options = flattened(json_map(decoded_text(own["v2ray-plugin"]) or ""), shadowsocks.OPTIONS)
        return fields | {"plugin": "v2ray-plugin"} | {f"plugin.{option}": value for option, value in options.items()}
    if name in ("", "none") or ";" in name:
        return dict(query)
    if named.get("tls") == "":
        named["tls"] = "true"
    return others | {"plugin": name} | {f"plugin.{option}": value for option, value in named.items()}
