"""Files of nekoray: a profile, the routes of `routes_box`, and its own links, `nekoray://TYPE#BASE64`.

A profile of another protocol than SOCKS and HTTP is not taken: its common link, which nekoray copies as well, is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from proxy.config.relay_input import relay_of
from proxy.features.imports import sing_box, xray
from proxy.features.imports.foreign import (
    ADDRESSES_ONLY,
    RULES_LIMIT,
    Foreign,
    ForeignRelay,
    ForeignRule,
    Unreadable,
    maps_in,
    shown_rule,
    text_in,
    unbroken,
)
from proxy.model import Action, bracketed
from proxy.wire.keys.fields import KeyRefused, Nested, clean_name, shown
from proxy.wire.keys.notations import json_map
from proxy.wire.keys.pasted import decoded_text
from proxy.wire.keys.values import RelayLink

LINK = re.compile(r"nekoray://([A-Za-z0-9_-]{1,32})/?#([A-Za-z0-9+/_=-]+)\Z", re.IGNORECASE)

_SCHEMES = {("socks", "5"): "socks5h", ("socks", ""): "socks5h", ("socks", "4"): "socks4", ("http", "-80"): "http",
            ("http", ""): "http", ("http", "5"): "http"}  # fmt: skip
_ROUTES = ("block", "proxy", "direct")
"""The lists of a file of routes, in the order in which they apply."""
_FINAL = {"proxy": Action.RELAY, "bypass": Action.DIRECT, "direct": Action.DIRECT, "block": Action.BLOCK}


def read_profile(value: Mapping[str, Nested]) -> Foreign:
    """Reads the file of a profile."""
    bean = value.get("bean")
    kind = text_in(value, "type")
    relay = relay_in(kind, bean) if isinstance(bean, dict) else ForeignRelay(kind, "", "it has no server")
    return Foreign("a profile of nekoray", (relay,))


def read_link(line: str) -> ForeignRelay:
    """Reads one of nekoray's own links, which LINK matches."""
    match = LINK.match(line)
    assert match is not None
    text = decoded_text(match[2])
    try:
        return relay_in(match[1].lower(), unbroken(json_map(text if text is not None else "")))
    except (KeyRefused, Unreadable) as error:
        return ForeignRelay(f"a link of {shown(match[1])}", "", str(error))


def relay_in(kind: str, bean: Mapping[str, Nested]) -> ForeignRelay:
    """Reads the server of a profile."""
    name = clean_name(text_in(bean, "name")) or f"a profile of {shown(kind)}"
    scheme = _SCHEMES.get((kind, text_in(bean, "v")))
    if scheme is None:
        why = f"{shown(kind)} is not read from nekoray's own files; copy its link there, and import that"
        return ForeignRelay(name, "", why)
    stream = bean.get("stream")
    tls = stream if isinstance(stream, dict) else {}
    if text_in(tls, "sec") == "tls":
        if scheme != "http":
            return ForeignRelay(name, "", "SOCKS in TLS is not supported")
        if tls.get("insecure") == "true":
            return ForeignRelay(name, "", "its certificate would not be checked; add it with pin=")
        scheme = "https"
    sni = text_in(tls, "sni") if scheme == "https" else ""
    user, password = (quote(text_in(bean, field), safe="") for field in ("username", "password"))
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    location = f"{bracketed(text_in(bean, 'addr'))}:{text_in(bean, 'port')}"
    url = f"{scheme}://{credentials}{location}{f'?sni={quote(sni)}' if sni else ''}"
    try:
        return ForeignRelay(name, relay_of(RelayLink(url, "")).url)
    except ValueError as error:
        return ForeignRelay(name, "", str(error))


def read_routes(value: Mapping[str, Nested]) -> Foreign:
    """Reads a file of `routes_box`. Raises Unreadable."""
    rules = [*_custom(value), *_listed(value)]
    final = text_in(value, "def_outbound") or "proxy"
    if final in _FINAL:
        rules.append(ForeignRule("def_outbound", f"all else: {final}", final, ("MATCH",)))
    else:
        rules.append(
            ForeignRule("def_outbound", f"all else: {shown_rule(final)}", why="it is not known what that does")
        )
    if len(rules) > RULES_LIMIT:
        raise Unreadable(f"it has {len(rules):,} rules, and Byway takes at most {RULES_LIMIT:,}; put them in a list")
    return Foreign("routes of nekoray", rules=tuple(rules), policies={**xray.POLICIES, sing_box.REJECT: Action.BLOCK})


def _custom(value: Mapping[str, Nested]) -> Iterator[ForeignRule]:
    """Yields the rules that come first: those of sing-box or Xray, as JSON in a text."""
    text = text_in(value, "custom")
    if not text.strip():
        return
    try:
        rules = maps_in(unbroken(json_map(text)), "rules", most=RULES_LIMIT)
    except KeyRefused as error:
        raise Unreadable(f"its custom rules: {error}") from None
    if any("outboundTag" in rule for rule in rules):
        yield from xray.rules_of(rules, resolves=True)
    else:
        yield from sing_box.rules_of(rules)


def _listed(value: Mapping[str, Nested]) -> Iterator[ForeignRule]:
    for word in _ROUTES:
        for kind in ("ip", "domain"):
            field = f"{word}_{kind}"
            for number, line in enumerate(text_in(value, field).splitlines(), 1):
                entry = line.strip()
                if entry and not entry.startswith("#"):
                    yield _of_line(f"{field}, line {number}", entry, word, is_address=kind == "ip")


def _of_line(place: str, entry: str, policy: str, *, is_address: bool) -> ForeignRule:
    text = shown_rule(f"{entry} → {policy}")
    try:
        if is_address:
            return ForeignRule(place, text, policy, tuple(xray.addresses_of(entry)), note=ADDRESSES_ONLY)
        if ":" not in entry:
            raise ValueError(
                "a name alone is one host to its sing-box core and a part of a name to its Xray core; write full: or "
                "keyword: before it"
            )
        return ForeignRule(place, text, policy, (xray.site_of(entry),))
    except ValueError as error:
        return ForeignRule(place, text, policy, why=str(error))
