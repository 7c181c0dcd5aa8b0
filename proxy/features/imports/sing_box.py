"""Configurations of sing-box: `outbounds`, and the rules of `route`.

https://sing-box.sagernet.org/configuration/route/rule/: within a rule, what names destinations is joined by *or*, and
that by *and* with ports, programs and all else. Rule-sets, geodata and other servers that it names are not opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from proxy.features.imports.foreign import (
    PRIVATE,
    RULES_LIMIT,
    Foreign,
    ForeignGroup,
    ForeignRelay,
    ForeignRule,
    distinct,
    in_words,
    maps_in,
    of_entry,
    of_tests,
    rule_of,
    shown_rule,
    text_in,
    texts_in,
)
from proxy.model import Action, GroupPolicy
from proxy.routing.foreign_rules import host_regex, prefix
from proxy.wire.keys.fields import Nested, shown
from proxy.wire.keys.pasted import Form

_NO_SERVERS: Mapping[str, Action | str] = {
    "direct": Action.DIRECT,
    "block": Action.BLOCK,
    "dns": "it answers DNS queries",
}
_GROUPS = {"selector": GroupPolicy.SELECT, "urltest": GroupPolicy.FASTEST}
_DESTINATIONS = {
    "domain": "DOMAIN",
    "domain_keyword": "DOMAIN-KEYWORD",
    "domain_regex": "DOMAIN-REGEX",
    "geosite": "GEOSITE",
    "geoip": "GEOIP",
    "rule_set": "RULE-SET",
}
_WITHOUT_MEANING = ("type", "outbound", "action", "override_address", "override_port", "udp_disable_domain_unmapping",
                    "udp_connect", "udp_timeout", "method", "no_drop", "rule_set_ip_cidr_match_source",
                    "rule_set_ipcidr_match_source", "network_strategy", "fallback_delay", "tls_fragment",
                    "tls_record_fragment", "tls_fragment_fallback_delay")  # fmt: skip
"""Fields that say nothing about which connections a rule is for."""
_DEPTH_LIMIT = 4
REJECT = "action: reject"
"""The name of what rules with this action do: no outbound has it."""
_OVERRIDES = ("override_address", "override_port")
_IDLE_ACTIONS = {
    "sniff": "it reads names from connections, which Byway does by itself",
    "resolve": "it resolves names for its other rules",
    "route-options": "it sets options of that program",
    "hijack-dns": "it answers DNS queries, which Byway does not carry",
}
_UDP_PROTOCOLS = frozenset(("quic", "dns", "stun", "dtls", "ntp"))


def read_sing_box(value: Mapping[str, Nested]) -> Foreign:
    """Reads a configuration. Raises Unreadable."""
    policies: dict[str, Action | str] = {REJECT: Action.BLOCK}
    relays: list[ForeignRelay] = []
    groups: list[ForeignGroup] = []
    outbounds = [*maps_in(value, "outbounds"), *maps_in(value, "endpoints")]
    tags: list[str] = []
    for number, entry in enumerate(outbounds, 1):
        name, kind = text_in(entry, "tag") or f"entry {number}", text_in(entry, "type").lower()
        tags.append(name)
        if kind in _NO_SERVERS:
            policies.setdefault(name, _NO_SERVERS[kind])
        elif kind in _GROUPS:
            groups.append(_group(name, entry, _GROUPS[kind]))
        else:
            relays.append(of_entry(Form.SING_BOX, name, entry))
    route = value.get("route")
    rules: list[ForeignRule] = []
    notes: list[str] = []
    if isinstance(route, dict):
        rules = list(rules_of(maps_in(route, "rules", most=RULES_LIMIT)))
        if final := text_in(route, "final") or (tags[0] if tags else ""):
            rules.append(ForeignRule("final", f"final: {shown_rule(final)}", final, ("MATCH",)))
    if sections := [name for name in ("dns", "experimental", "inbounds", "ntp", "services") if value.get(name)]:
        notes.append(f"not read: {', '.join(sections)}")
    return Foreign(
        "a sing-box configuration", tuple(distinct(relays)), tuple(groups), tuple(rules), policies, tuple(notes)
    )


def _group(name: str, entry: Mapping[str, Nested], policy: GroupPolicy) -> ForeignGroup:
    members = list(dict.fromkeys(texts_in(entry, "outbounds")))
    default = text_in(entry, "default")
    if default in members:  # what is selected at the start; else the first
        members.insert(0, members.pop(members.index(default)))
    if not members:
        return ForeignGroup(name, policy, (), why="it has no outbounds")
    return ForeignGroup(name, policy, tuple(members))


def rules_of(rules: list[dict[str, Nested]]) -> Iterator[ForeignRule]:
    """Yields the rules."""
    resolves = any(rule.get("action") == "resolve" for rule in rules)
    for number, rule in enumerate(rules, 1):
        place, text = f"rule {number}", shown_rule(in_words(rule))
        yield rule_of(place, text, partial(_rule, place, text, rule, resolves))


def _rule(place: str, text: str, rule: Mapping[str, Nested], resolves: bool) -> ForeignRule:
    """Reads one rule. `resolves`: names are resolved for rules about addresses. Raises ValueError."""
    action = text_in(rule, "action") or "route"
    policy = REJECT if action == "reject" else text_in(rule, "outbound")
    if action in _IDLE_ACTIONS:
        return ForeignRule(place, text, why=_IDLE_ACTIONS[action], idle=True)
    if action not in ("route", "reject") or not policy:
        raise ValueError(f"Byway has no action {shown(action)}" if policy else "it has no outbound")
    if any(rule.get(field) for field in _OVERRIDES):
        return ForeignRule(place, text, policy, why="it sends connections to another address than they ask for")
    return of_tests(place, text, policy, partial(_tests, rule), resolves=resolves)


def _tests(rule: Mapping[str, Nested], depth: int = 0) -> tuple[str, ...] | None:
    """Returns the tests of a rule; None for one that is about UDP alone. Raises ValueError with half a sentence."""
    if text_in(rule, "type").lower() == "logical":
        if depth == _DEPTH_LIMIT:
            raise ValueError("it has too many rules in each other")
        return _logical(rule, depth + 1)
    if rule.get("invert") == "true":
        raise ValueError("Byway has no rules for all but some sites")
    parts: dict[str, list[str]] = {"sites": [], "ports": [], "programs": []}
    for field, value in rule.items():
        if field in _WITHOUT_MEANING or value in (None, "", [], "false"):
            continue
        if field in _DESTINATIONS:
            parts["sites"] += [f"{_DESTINATIONS[field]},{each}" for each in texts_in(rule, field)]
        elif field == "domain_suffix":
            parts["sites"] += map(_suffix, texts_in(rule, field))
        elif field == "ip_cidr":
            parts["sites"] += [f"IP-CIDR,{prefix(each)}" for each in texts_in(rule, field)]
        elif field == "ip_is_private":
            parts["sites"] += PRIVATE
        elif field == "port":
            parts["ports"] += [f"DST-PORT,{each}" for each in texts_in(rule, field)]
        elif field == "port_range":
            parts["ports"] += map(_range, texts_in(rule, field))
        elif field == "process_name":
            parts["programs"] += [f"PROCESS-NAME,{each}" for each in texts_in(rule, field)]
        elif field == "network":
            if "tcp" not in texts_in(rule, field):
                return None
        elif field == "protocol" and set(texts_in(rule, field)) <= _UDP_PROTOCOLS:
            return None
        else:
            raise ValueError(f"Byway has no rules about {shown(field)}")
    asked = [tests for tests in parts.values() if tests]
    if len(asked) > 1:
        raise ValueError("Byway has no rules for several conditions at once")
    return tuple(asked[0]) if asked else ("MATCH",)


def _logical(rule: Mapping[str, Nested], depth: int) -> tuple[str, ...] | None:
    if rule.get("invert") == "true":
        raise ValueError("Byway has no rules for all but some sites")
    parts = [_tests(part, depth) for part in maps_in(rule, "rules")]
    if text_in(rule, "mode") == "or":
        found = [test for tests in parts if tests is not None for test in tests]
        return tuple(found) if found else None
    if None in parts:
        return None
    narrow = [tests for tests in parts if tests is not None and tests != ("MATCH",)]
    if len(narrow) > 1 or not parts:
        raise ValueError("Byway has no rules for several conditions at once")
    return narrow[0] if narrow else ("MATCH",)


def _suffix(text: str) -> str:
    """A leading dot leaves the domain itself out."""
    if text.startswith("."):
        return f"DOMAIN-REGEX,{host_regex(f'*{text}')}"
    return f"DOMAIN-SUFFIX,{text}"


def _range(text: str) -> str:
    low, colon, high = text.partition(":")
    return f"DST-PORT,{low or '1'}-{high or '65535'}" if colon else f"DST-PORT,{text}"
