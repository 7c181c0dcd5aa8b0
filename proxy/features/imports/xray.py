"""Rules of v2rayN, and configurations of Xray and v2ray: `outbounds` with `protocol`, and `routing`.

https://xtls.github.io/en/config/routing.html: the fields of a rule are joined by *and*, the entries of a field by *or*.
v2rayN exports its rules as a list of such rules. Files of geodata are not opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from urllib.parse import quote

from proxy.config.relay_input import relay_of
from proxy.features.imports.foreign import (
    PRIVATE,
    RULES_LIMIT,
    Foreign,
    ForeignRelay,
    ForeignRule,
    Unreadable,
    distinct,
    in_words,
    maps_in,
    of_tests,
    rule_of,
    shown_rule,
    text_in,
    texts_in,
)
from proxy.model import Action, bracketed
from proxy.routing.foreign_rules import prefix
from proxy.wire.keys.fields import Nested, shown
from proxy.wire.keys.values import RelayLink

POLICIES: Mapping[str, Action | str] = {
    "direct": Action.DIRECT,
    "bypass": Action.DIRECT,
    "block": Action.BLOCK,
    "blocked": Action.BLOCK,
    "proxy": Action.RELAY,
}
"""What the tags of v2rayN and nekoray stand for, in rules without their outbounds."""

_PROTOCOLS: Mapping[str, Action | str] = {
    "freedom": Action.DIRECT,
    "blackhole": Action.BLOCK,
    "dns": "it answers DNS queries",
    "loopback": "it leads back into that program",
}
_SITES = {"domain": "DOMAIN-SUFFIX", "full": "DOMAIN", "keyword": "DOMAIN-KEYWORD", "regexp": "DOMAIN-REGEX"}
_WITHOUT_MEANING = ("type", "outboundtag", "remarks", "enabled", "id", "ruletype", "domainmatcher", "ruletag",
                    "locked", "customicon", "sort")  # fmt: skip


def read_xray(value: Mapping[str, Nested]) -> Foreign:
    """Reads a configuration. Raises Unreadable."""
    policies: dict[str, Action | str] = {}
    relays: list[ForeignRelay] = []
    tags: list[str] = []
    for number, entry in enumerate(maps_in(value, "outbounds"), 1):
        name, protocol = text_in(entry, "tag") or f"entry {number}", text_in(entry, "protocol").lower()
        tags.append(name)
        if protocol in _PROTOCOLS:
            policies.setdefault(name, _PROTOCOLS[protocol])
        else:
            relays.append(server_of(name, protocol, entry))
    rules: list[ForeignRule] = []
    routing = value.get("routing")
    if isinstance(routing, dict):
        resolves = text_in(routing, "domainStrategy").lower() not in ("", "asis")
        rules = list(rules_of(maps_in(routing, "rules", most=RULES_LIMIT), resolves=resolves))
        if tags:
            rules.append(ForeignRule("the rest", f"all else: {shown_rule(tags[0])}", tags[0], ("MATCH",)))
    return Foreign("an Xray configuration", tuple(distinct(relays)), (), tuple(rules), policies)


def read_rules(rules: list[dict[str, Nested]]) -> Foreign:
    """Reads rules as v2rayN exports them. Raises Unreadable."""
    if len(rules) > RULES_LIMIT:
        raise Unreadable(f"it has {len(rules):,} rules, and Byway takes at most {RULES_LIMIT:,}; put them in a list")
    return Foreign("rules of v2rayN", rules=tuple(rules_of(rules, resolves=True)), policies=POLICIES)


def server_of(name: str, protocol: str, entry: Mapping[str, Nested]) -> ForeignRelay:
    """Reads the server of an outbound, if that is a SOCKS or HTTP proxy."""
    if protocol not in ("socks", "http"):
        words = shown(protocol) if protocol else "an entry without a protocol"
        return ForeignRelay(name, "", f"{words} is not read from a configuration of Xray; import the link of the key")
    if any(entry.get(field) for field in ("proxySettings", "sendThrough")):
        return ForeignRelay(name, "", "it names a second server or an address of this computer")
    stream = entry.get("streamSettings")
    if isinstance(stream, dict) and text_in(stream, "security") not in ("", "none"):
        return ForeignRelay(name, "", "TLS around a proxy is not read from a configuration of Xray; add its URL")
    settings = entry.get("settings")
    settings = settings if isinstance(settings, dict) else {}
    servers = maps_in(settings, "servers") or [settings]
    if len(servers) > 1:
        return ForeignRelay(name, "", "it has several servers in one entry")
    users = maps_in(servers[0], "users") or [servers[0]]
    user, password = (quote(text_in(users[0], field), safe="") for field in ("user", "pass"))
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    scheme = "socks5h" if protocol == "socks" else "http"
    location = f"{bracketed(text_in(servers[0], 'address'))}:{text_in(servers[0], 'port')}"
    try:
        return ForeignRelay(name, relay_of(RelayLink(f"{scheme}://{credentials}{location}", "")).url)
    except ValueError as error:
        return ForeignRelay(name, "", str(error))


def rules_of(rules: Sequence[Mapping[str, Nested]], *, resolves: bool) -> Iterator[ForeignRule]:
    """Yields the rules. `resolves`: names are resolved for rules about addresses."""
    for number, given in enumerate(rules, 1):
        rule = {field.lower(): value for field, value in given.items()}  # v2rayN has written both cases
        place, text = f"rule {number}", shown_rule(in_words(given))
        yield rule_of(place, text, partial(_rule, place, text, rule, resolves))


def _rule(place: str, text: str, rule: Mapping[str, Nested], resolves: bool) -> ForeignRule:
    """Reads one rule. Raises ValueError."""
    policy = text_in(rule, "outboundtag")
    if rule.get("enabled") == "false":
        return ForeignRule(place, text, policy, why="it is switched off", idle=True)
    if text_in(rule, "ruletype").lower() in ("dns", "2"):
        return ForeignRule(place, text, policy, why="it is about DNS servers alone", idle=True)
    if not policy:
        raise ValueError("it has no outboundTag")
    return of_tests(place, text, policy, partial(_tests, rule), resolves=resolves)


def _tests(rule: Mapping[str, Nested]) -> tuple[str, ...] | None:
    """Returns the tests of a rule; None for one that is about UDP alone. Raises ValueError with half a sentence."""
    parts: list[list[str]] = []
    for field, value in rule.items():
        if field in _WITHOUT_MEANING or value in (None, "", []):
            continue
        if field == "domain" or field == "domains":
            parts.append([site for each in _texts(rule, field) if (site := site_of(each))])
        elif field == "ip":
            parts.append([test for each in _texts(rule, field) for test in addresses_of(each)])
        elif field == "port":
            ports = [each.strip() for text in _texts(rule, field) for each in text.split(",")]
            if not any(each in ("0-65535", "1-65535") for each in ports):
                parts.append([f"DST-PORT,{each}" for each in ports])
        elif field == "network":
            if "tcp" not in ",".join(_texts(rule, field)).lower().split(","):
                return None
        elif field == "process":
            parts.append([f"PROCESS-NAME,{each}" for each in _texts(rule, field)])
        else:
            raise ValueError(f"Byway has no rules about {shown(field)}")
    if not all(parts):
        raise ValueError("it names no site")
    if len(parts) > 1:
        raise ValueError("Byway has no rules for several conditions at once")
    return tuple(parts[0]) if parts else ("MATCH",)


def _texts(rule: Mapping[str, Nested], field: str) -> list[str]:
    return [each.strip() for each in texts_in(rule, field) if each.strip() and not each.strip().startswith("#")]


def site_of(text: str, *, bare: str = "DOMAIN-KEYWORD") -> str:
    """Returns the test for an entry such as `full:example.org`. `bare` is the type of one without a prefix. Raises
    ValueError with half a sentence."""
    kind, colon, value = text.partition(":")
    if not colon:
        return f"{bare},{text}"
    if kind in _SITES:
        return f"{_SITES[kind]},{value}"
    if kind == "geosite":
        return f"GEOSITE,{value}"
    raise ValueError(f"Byway has no rules about {shown(kind)}:")


def addresses_of(text: str) -> Sequence[str]:
    """Returns the tests for an address, a prefix or `geoip:name`. Raises ValueError with half a sentence."""
    if text in ("geoip:private", "geoip:lan"):
        return PRIVATE
    if text.startswith("geoip:"):
        if text.startswith("geoip:!"):
            raise ValueError("Byway has no rules for all but some addresses")
        return (f"GEOIP,{text.removeprefix('geoip:')}",)
    if text.startswith("!") or (":" in text and not _is_address(text)):
        raise ValueError(f"Byway has no rules about {shown(text.partition(':')[0])}:")
    return (f"IP-CIDR,{prefix(text)}",)


def _is_address(text: str) -> bool:
    return prefix(text) != text or "/" in text or text.count(":") > 1
