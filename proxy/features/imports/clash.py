"""Configurations of Clash and mihomo: `proxies`, `proxy-groups` and `rules`.

https://wiki.metacubex.one/en/config/rules and …/proxy-groups. Files and addresses that it names (providers, geodata,
the controller) are not opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial

from proxy.features.imports.foreign import (
    ADDRESSES_ONLY,
    PRIVATE,
    RULES_LIMIT,
    UDP_ONLY,
    Foreign,
    ForeignGroup,
    ForeignRelay,
    ForeignRule,
    Unreadable,
    distinct,
    maps_in,
    of_entry,
    rule_of,
    shown_rule,
    text_in,
    texts_in,
)
from proxy.model import Action, GroupPolicy
from proxy.routing.foreign_rules import CLASH_TYPES, ClashRule, clash_part, clash_rule, host_wildcard, prefix
from proxy.wire.keys.fields import Nested, shown
from proxy.wire.keys.pasted import Form

_POLICIES: Mapping[str, Action | str] = {
    "DIRECT": Action.DIRECT,
    "COMPATIBLE": Action.DIRECT,
    **dict.fromkeys(("REJECT", "REJECT-DROP", "REJECT-NO-DROP", "REJECT-TINYGIF", "REJECT-200", "DROP"), Action.BLOCK),
    "PASS": "PASS goes on with the rule after it, which no rule of Byway does",
    "GLOBAL": "GLOBAL is what is selected in the window of Clash",
}
_GROUPS = {
    "select": GroupPolicy.SELECT,
    "url-test": GroupPolicy.FASTEST,
    "fallback": GroupPolicy.FALLBACK,
    "load-balance": GroupPolicy.STICKY,
    "relay": GroupPolicy.FALLBACK,  # a chain
}
_NO_SERVERS: Mapping[str, Action | str] = {
    "direct": Action.DIRECT,
    "reject": Action.BLOCK,
    "reject-drop": Action.BLOCK,
    "dns": "it answers DNS queries",
    "pass": "it goes on with the rule after it",
    "compatible": Action.DIRECT,
    "rematch": "it starts again with the first rule",
}
_PROVIDERS = ("use", "include-all", "include-all-proxies", "include-all-providers")
_ABOUT_CLIENT = ("SRC-", "IN-", "UID", "DSCP")
_OTHERS = frozenset(
    (
        "IP-SUFFIX", "IP-ASN", "NOT", "SUB-RULE", "SCRIPT", "PROCESS-PATH", "PROCESS-PATH-REGEX",
        "PROCESS-PATH-WILDCARD", "PROCESS-NAME-REGEX", "PROCESS-NAME-WILDCARD", "USER-AGENT", "URL-REGEX", "PROTOCOL",
    )
)  # fmt: skip
_PAYLOAD = re.compile(r"\((\([^()]*+\)(?:\s*+,\s*+\([^()]*+\))*+)\)")
_PART = re.compile(r"\(([^()]*+)\)")

_SAID = ("proxy-providers", "rule-providers", "sub-rules", "hosts", "dns", "tun", "script", "listeners", "tunnels")


def read_clash(value: Mapping[str, Nested]) -> Foreign:
    """Reads a configuration. Raises Unreadable."""
    policies = dict(_POLICIES)
    relays: list[ForeignRelay] = []
    for number, entry in enumerate(maps_in(value, "proxies"), 1):
        name, kind = text_in(entry, "name") or f"entry {number}", text_in(entry, "type").lower()
        if kind in _NO_SERVERS:
            policies.setdefault(name, _NO_SERVERS[kind])
        else:
            relays.append(of_entry(Form.CLASH, name, entry))
    groups = [_group(number, entry) for number, entry in enumerate(maps_in(value, "proxy-groups"), 1)]
    return Foreign(
        "a Clash configuration",
        tuple(distinct(relays)),
        tuple(groups),
        tuple(rules_of(texts_in(value, "rules"))),
        policies,
        tuple(_notes(value)),
    )


def rules_of(entries: list[str]) -> Iterator[ForeignRule]:
    """Yields the rules. Raises Unreadable."""
    if len(entries) > RULES_LIMIT:
        raise Unreadable(f"it has {len(entries):,} rules, and Byway takes at most {RULES_LIMIT:,}; put them in a list")
    for number, entry in enumerate(entries, 1):
        text, place = shown_rule(entry), f"rule {number}"
        yield rule_of(place, text, partial(_rule, place, text, entry))


def _notes(value: Mapping[str, Nested]) -> Iterator[str]:
    mode = text_in(value, "mode").lower()
    if mode not in ("", "rule"):
        yield f"the file has mode: {shown(mode)}, with which Clash does not use these rules"
    if sections := [name for name in _SAID if value.get(name)]:
        yield f"not read: {', '.join(sections)}"


def _group(number: int, entry: Mapping[str, Nested]) -> ForeignGroup:
    name, kind = text_in(entry, "name") or f"group {number}", text_in(entry, "type").lower()
    policy = _GROUPS.get(kind)
    if policy is None:
        return ForeignGroup(name, GroupPolicy.FALLBACK, (), why=f"its type is {shown(kind) if kind else 'missing'}")
    members = tuple(dict.fromkeys(texts_in(entry, "proxies")))
    provided = [field for field in _PROVIDERS if entry.get(field) not in (None, "false", [])]
    if not members:
        of = "a provider, whose file is not read" if provided else "nowhere"
        return ForeignGroup(name, policy, (), why=f"its members come from {of}")
    note = "without those of its provider, whose file is not read" if provided else ""
    return ForeignGroup(name, policy, members, kind == "relay", note=note)


def _rule(place: str, text: str, entry: str) -> ForeignRule:
    """Reads one rule. Raises ValueError with half a sentence."""
    rule = clash_rule(entry)
    try:
        tests, note = _tests(rule)
    except _Idle as idle:
        return ForeignRule(place, text, rule.policy, why=str(idle), idle=True)
    except ValueError as error:
        return ForeignRule(place, text, rule.policy, why=str(error))
    return ForeignRule(place, text, rule.policy, tests, note=note)


class _Idle(ValueError):
    """A rule that has no effect in Byway."""


def _tests(rule: ClashRule) -> tuple[tuple[str, ...], str]:
    """Returns the tests of a rule, and what they lack. Raises ValueError with half a sentence."""
    value = rule.value
    if rule.type == "MATCH":
        return ("MATCH",), ""
    if "src" in rule.options or rule.type.startswith(_ABOUT_CLIENT):
        raise ValueError("it is about the client, not about the site")
    if rule.type == "NETWORK":
        if value.lower() == "udp":
            raise _Idle(UDP_ONLY)
        if value.lower() == "tcp":
            return ("MATCH",), ""  # all that Byway carries
        raise ValueError(f"Byway has no rules of type NETWORK with {shown(value)}")
    if rule.type == "GEOIP" and value.lower() in ("lan", "private"):
        return PRIVATE, "" if "no-resolve" in rule.options else ADDRESSES_ONLY
    if rule.type in ("GEOSITE", "RULE-SET"):
        return (f"{rule.type},{value}",), ""
    if rule.type == "GEOIP":
        return (f"GEOIP,{value}",), "" if "no-resolve" in rule.options else ADDRESSES_ONLY
    if rule.type == "DOMAIN-WILDCARD":
        return (host_wildcard(value.lower()),), ""
    if rule.type in ("AND", "OR"):
        return _joined(rule)
    kind = CLASH_TYPES.get(rule.type, "")
    if kind == "LIST" or not kind:
        known = rule.type in _OTHERS
        raise ValueError(f"Byway has no rules of type {rule.type if known else shown(rule.type)}")
    if kind == "IP-CIDR":
        return (f"IP-CIDR,{prefix(value)}",), "" if "no-resolve" in rule.options else ADDRESSES_ONLY
    if kind == "DST-PORT":
        return tuple(f"DST-PORT,{ports.strip()}" for ports in re.split("[/,]", value)), ""
    return (f"{kind},{value}",), ""


def _joined(rule: ClashRule) -> tuple[tuple[str, ...], str]:
    """Returns the tests of OR with simple parts, and of AND with one part beside TCP."""
    payload = _PAYLOAD.fullmatch(rule.value.strip())
    if payload is None:
        raise ValueError(f"Byway has no rules of type {rule.type} with such parts")
    tests: list[tuple[tuple[str, ...], str]] = []
    for part in _PART.findall(payload[1]):
        try:
            tests.append(_tests(clash_part(part)))
        except _Idle:
            if rule.type == "AND":
                raise
    if not tests:
        raise _Idle(UDP_ONLY)
    if rule.type == "OR":
        return tuple(test for found, _ in tests for test in found), next((note for _, note in tests if note), "")
    narrow = [found for found in tests if found[0] != ("MATCH",)]
    if len(narrow) > 1:
        raise ValueError("Byway has no rules for several conditions at once")
    return narrow[0] if narrow else (("MATCH",), "")
