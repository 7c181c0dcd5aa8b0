"""Translates rules with actions from other programs into Byway's syntax. A user then decides about the result.

It reads rules of Clash and its relatives (`DOMAIN-SUFFIX,example.com,PROXY`, alone or under `rules:` in a
configuration), conditions of SwitchyOmega with results (`*.example.com +proxy`), and its backup (OmegaOptions.bak): the
switch profile that is used at the start, else the only one. DIRECT stays, REJECT becomes BLOCK, PROXY becomes RELAY,
and so does a profile of a backup that has a proxy. The other program defines a policy such as `Streaming` elsewhere, so
a rule with one is left out, unless a relay has that name.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

from proxy.config.suggestions import one_of, quoted
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.lines import split_lines
from proxy.routing.lists.switchyomega import is_backup
from proxy.wire.relay_url import redact

CLASH_TYPES = {
    **{word: word for word in ("DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD", "DOMAIN-REGEX", "IP-CIDR", "DST-PORT")},
    **{word: word for word in ("PROCESS-NAME", "NETWORK", "LIST")},
    "HOST": "DOMAIN",
    "HOST-SUFFIX": "DOMAIN-SUFFIX",
    "HOST-KEYWORD": "DOMAIN-KEYWORD",
    "IP-CIDR6": "IP-CIDR",
    "IP6-CIDR": "IP-CIDR",
    "DEST-PORT": "DST-PORT",
}
"""Types of rules of Clash, with those of Byway that mean the same."""

LAST_TYPES = ("MATCH", "FINAL")
_POLICIES = {
    "DIRECT": "DIRECT",
    "PROXY": "RELAY",
    **dict.fromkeys(("REJECT", "REJECT-DROP", "REJECT-NO-DROP", "REJECT-TINYGIF", "REJECT-200", "DROP"), "BLOCK"),
    **{action: action for action in ("AUTO", "RELAY", "PREFER-RELAY", "BLOCK")},
}
_OPTIONS = ("no-resolve", "src", "extended-matching", "pre-matching", "dns-failed")

_TYPED = re.compile(r"([A-Za-z][A-Za-z0-9-]+)\s*+,\s*+(.+)")
_ITEM = re.compile(r"\s*-\s+(.*)")
_RULES_KEY = re.compile(r"rules:\s*(?:#.*)?")
_SECTION = re.compile(r"\s*\[([\w ]+)\]\s*")
_RULE_SECTIONS = ("rule", "filter_local")
"""Sections with rules, of Surge, Loon and Shadowrocket, and of Quantumult X. Other sections hold proxies with their
passwords."""
_TOP_KEY = re.compile(r"[\w-]+:(?:\s.*)?")
_COMMENT = re.compile(r"(?:^|\s)(?:#|//|;).*")

_OMEGA_HEADER = "[SwitchyOmega Conditions]"
_OMEGA_RESULTS = "@with result"
_JSON_STRING = re.compile(r"\"((?:[^\"\\]|\\.)*+)\"")
_OMEGA_LINE = re.compile(r"(?:(\w+):\s+)?(\S+)\s+\+(.+)")

_SAMPLE = 200
"""Entries that are examined to recognize rules."""


@frozen_dataclass
class ForeignRules:
    """Rules in Byway's syntax, which are not checked yet, and the entries that were left out."""

    rules: tuple[tuple[int, str], ...]
    """The number of the line, and the rule."""
    not_taken: tuple[tuple[int, str], ...]
    """The number of the line, and a sentence with the reason."""


def recognizes(text: str) -> bool:
    """Whether a text has rules with actions, and is not a list: most of its lines with a type name an action."""
    if _is_omega(text) or is_backup(text):
        return True
    typed = [*islice((entry for _, entry in _entries(text) if _TYPED.fullmatch(entry)), _SAMPLE)]
    return sum(map(_has_policy, typed)) * 2 > len(typed)


def translate(text: str, *, relays: Collection[str] = ()) -> ForeignRules:
    """Translates the rules of a text. A policy with the name of one of `relays` becomes RELAY by that relay. Raises
    ConfigError, with a sentence, for a backup that cannot be read."""
    relay_names = {name.upper(): name for name in relays}
    if is_backup(text):
        return _of_backup(text, relay_names)
    rules: list[tuple[int, str]] = []
    not_taken: list[tuple[int, str]] = []
    entries, translated = (_omega_entries, _omega) if _is_omega(text) else (_entries, _clash)
    for number, entry in entries(text):
        try:
            rules += [(number, line) for line in translated(entry, relay_names)]
        except ValueError as error:
            not_taken.append((number, f"{quoted(entry)}: {error}"))
    return ForeignRules(tuple(rules), tuple(not_taken))


def _entries(text: str) -> Iterator[tuple[int, str]]:
    """Yields each entry with its line: in YAML the items under `rules:`, in a file with sections the lines in sections
    with rules, else all lines."""
    lines = split_lines(text.removeprefix("\ufeff"))
    is_yaml = any(_RULES_KEY.fullmatch(line) for line in lines)
    sections = [_SECTION.fullmatch(line) for line in lines]
    has_sections = any(section and section[1].lower() in _RULE_SECTIONS for section in sections)
    in_rules = not (is_yaml or has_sections)
    for number, (line, section) in enumerate(zip(lines, sections, strict=True), 1):
        if has_sections and section:
            in_rules = section[1].lower() in _RULE_SECTIONS
            continue
        if is_yaml and _TOP_KEY.fullmatch(line):
            in_rules = _RULES_KEY.fullmatch(line) is not None
            continue
        item = _ITEM.fullmatch(line)
        if not in_rules or (is_yaml and item is None):
            continue
        entry = _COMMENT.sub("", item[1] if item else line).strip()
        if len(entry) > 1 and entry[0] == entry[-1] and entry[0] in "'\"":
            entry = entry[1:-1]
        if entry:
            yield number, entry


def _has_policy(entry: str) -> bool:
    """Whether an entry of Clash ends with a policy."""
    parts = [part.strip() for part in entry.split(",")]
    while parts and parts[-1].lower() in _OPTIONS:
        parts.pop()
    return len(parts) >= (2 if parts and parts[0].upper() in LAST_TYPES else 3)


@frozen_dataclass
class ClashRule:
    """A line of Clash's rules: `TYPE,value,policy,option`. The value is empty for MATCH."""

    type: str  # in upper case
    value: str
    policy: str
    options: frozenset[str]


def clash_rule(entry: str) -> ClashRule:
    """Splits a rule of Clash. Raises ValueError with half a sentence."""
    word, *parts = [part.strip() for part in entry.split(",")]
    options = set[str]()
    while parts and parts[-1].lower() in _OPTIONS:
        options.add(parts.pop().lower())
    if word.upper() in LAST_TYPES and parts:
        return ClashRule("MATCH", "", parts[-1], frozenset(options))
    if len(parts) < 2:
        raise ValueError("it has no action")
    return ClashRule(word.upper(), ",".join(parts[:-1]), parts[-1], frozenset(options))


def clash_part(text: str) -> ClashRule:
    """As `clash_rule`, for a condition without a policy: a part of AND or OR. Raises ValueError with half a
    sentence."""
    parts = [part.strip() for part in text.split(",")]
    options = [parts.pop() for _ in range(len(parts)) if parts and parts[-1].lower() in _OPTIONS]
    return clash_rule(",".join((*parts, "", *options)))


def _clash(entry: str, relays: dict[str, str]) -> list[str]:
    """Translates a rule of Clash. Raises ValueError with half a sentence."""
    rule = clash_rule(entry)
    if rule.type == "MATCH":
        return [f"MATCH,{_action(rule.policy, relays)}"]
    rule_type = CLASH_TYPES.get(rule.type)
    if rule_type is None:
        raise ValueError(f"Byway has no rules of type {quoted(entry.partition(',')[0].strip())}")
    if "src" in rule.options:
        raise ValueError("it is about the client's address")
    if rule_type == "NETWORK" and rule.value.lower() in ("tcp", "udp"):
        raise ValueError("it is about TCP or UDP")
    value = prefix(rule.value) if rule_type == "IP-CIDR" else rule.value
    return [f"{rule_type},{value},{_action(rule.policy, relays)}"]


def prefix(text: str) -> str:
    """Returns a prefix without the bits beyond its length, which other programs ignore; any other text unchanged."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def _action(policy: str, relays: dict[str, str]) -> str:
    if (action := _POLICIES.get(policy.upper())) is not None:
        return action
    if (name := relays.get(policy.upper())) is not None:
        return f"RELAY:{name}"
    word, colon, name = policy.partition(":")
    if colon and word.upper() in ("RELAY", "PREFER-RELAY") and name.upper() in relays:
        return f"{word.upper()}:{relays[name.upper()]}"
    raise ValueError(f"what {quoted(policy)} does is not known here; write DIRECT, RELAY or BLOCK")


# -- SwitchyOmega ------------------------------------------------------------------------------------------------------


def _is_omega(text: str) -> bool:
    """Whether a text has conditions of SwitchyOmega with results. Without results it is a list."""
    lines = [line.strip() for line in split_lines(text.removeprefix("\ufeff"))]
    return _OMEGA_HEADER in lines[:_SAMPLE] and _OMEGA_RESULTS in lines


def _of_backup(text: str, relays: dict[str, str]) -> ForeignRules:
    """Translates the rules of a switch profile, in its order, and its default as MATCH. The line of a rule is the first
    line with its pattern. Raises ConfigError for text that is not JSON or has no such profile."""
    not_taken: list[tuple[int, str]] = []
    try:
        options = json.loads(text.removeprefix("\ufeff"))
        profiles = {it["name"]: it for key, it in options.items() if key.startswith("+")}
        switches = [it for it in profiles.values() if it["profileType"] == "SwitchProfile"]
        first = profiles.get(options.get("-startupProfileName"), {})
        chosen = next((it for it in switches if it is first or len(switches) == 1), None)
        if chosen is None and switches:
            names = one_of(sorted(quoted(it["name"]) for it in switches))
            raise ConfigError(f"the backup has the switch profiles {names}; choose the startup profile in its options")
        if chosen is None:
            raise ConfigError("the backup has no switch profile, and so no rules")
        proxies = {name for name, it in profiles.items() if it["profileType"] == "FixedProfile"}
        entries = [(_condition(rule["condition"]), str(rule["profileName"])) for rule in chosen["rules"]]
        default = str(chosen["defaultProfileName"])
        attached = profiles.get(default, {})
        if attached.get("profileType") == "RuleListProfile":
            not_taken.append((1, _of_attached(attached)))
        else:
            entries.append(("*", default))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ConfigError("the backup of SwitchyOmega is damaged, or of an unknown version") from None
    rules: list[tuple[int, str]] = []
    lines = _lines_of_strings(text)
    for condition, profile in entries:
        pattern = condition.partition(": ")[2]
        number = lines.get(pattern) or lines.get(pattern.rpartition("/")[0], 1)  # a backup has a prefix in two parts
        taken_as = profile if profile.upper() in relays or profile not in proxies else "PROXY"
        try:
            rules += [(number, line) for line in _omega(f"{condition} +{taken_as}", relays)]
        except ValueError as error:
            not_taken.append((number, f"{quoted(f'{condition} +{profile}')}: {error}"))
    return ForeignRules(tuple(rules), tuple(not_taken))


def _lines_of_strings(text: str) -> dict[str, int]:
    """Returns the line on which each string without escapes first stands in a valid JSON text."""
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):  # no JSON string has a line end
        for string in _JSON_STRING.finditer(line):
            lines.setdefault(string[1], number)
    return lines


def _of_attached(profile: Mapping[str, Any]) -> str:
    """Returns a sentence about the rule list that a switch profile consults after its rules. The list is not
    translated, and neither is the default after it: that would then also decide about the sites of the list."""
    url = redact(str(profile.get("sourceUrl") or ""))
    return (
        f"the rule list{url and f' {url}'}: its sites lead to {quoted(profile['matchProfileName'])}, all others to "
        f"{quoted(profile['defaultProfileName'])}; to use it: byway rule import {url or 'FILE'}, then add a LIST rule "
        "and a MATCH"
    )


def _condition(condition: Mapping[str, Any]) -> str:
    """Returns a condition of a backup as a line of a rule list."""
    kind = condition["conditionType"].removesuffix("Condition")
    if kind == "Ip":
        return f"Ip: {condition['ip']}/{condition['prefixLength']}"
    return f"{kind}: {condition.get('pattern') or '-'}"


def _omega_entries(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(split_lines(text.removeprefix("\ufeff")), 1):
        entry = line.strip()
        if entry and not entry.startswith((";", "@", "[")):
            yield number, entry


def _omega(entry: str, relays: dict[str, str]) -> list[str]:
    """Translates a condition with its result. Raises ValueError with half a sentence."""
    match = _OMEGA_LINE.fullmatch(entry)
    if match is None:
        raise ValueError("it has no result such as +proxy")
    result = _action(match[3].strip(), relays)
    return [f"{test},{result}" for test in omega_tests(match[1] or "", match[2])]


def omega_tests(kind: str, pattern: str) -> list[str]:
    """Translates a condition of SwitchyOmega on hosts into rules without an action, such as `DOMAIN,example.org` or
    `MATCH`; any of them may match. Raises ValueError with half a sentence."""
    if kind.lower() in ("ip", "ipcondition"):
        return [f"IP-CIDR,{prefix(pattern)}"]
    if kind.lower() in ("hostregex", "hr", "hregex", "hostr", "regex", "r"):
        return [f"DOMAIN-REGEX,{pattern}"]
    if kind.lower() not in ("", "hostwildcard", "hw", "h"):
        raise ValueError(f"Byway has no rules for conditions of type {quoted(kind)}")
    return [_of_host_wildcard(part.lower()) for part in pattern.split("|") if part]


def _of_host_wildcard(pattern: str) -> str:
    """`*.` at the beginning covers the domain itself as well, and `**.` does not."""
    if pattern.startswith("."):
        pattern = f"*{pattern}"
    if pattern.startswith("*.") and "*" not in pattern[2:] and "?" not in pattern:
        return f"DOMAIN-SUFFIX,{pattern[2:]}"
    if pattern.startswith("*.") and pattern[2:]:
        return f"DOMAIN-REGEX,(?:^|\\.){host_regex(pattern[2:], from_start=False)}"
    return host_wildcard(pattern.removeprefix("*") if pattern.startswith("**.") else pattern)


def host_wildcard(pattern: str) -> str:
    """Translates a pattern of a whole host, in which * stands for any characters and ? for one, into a rule without an
    action."""
    bare = pattern.strip("*")
    if not bare:
        return "MATCH"
    if "*" not in pattern and "?" not in pattern:
        return f"DOMAIN,{pattern}"
    if pattern == f"*{bare}*" and "*" not in bare and "?" not in bare:
        return f"DOMAIN-KEYWORD,{bare}"
    return f"DOMAIN-REGEX,{host_regex(pattern)}"


def host_regex(pattern: str, *, from_start: bool = True) -> str:
    """Returns a pattern with * and ? as a regular expression for a search in a host."""
    begins, ends = pattern.startswith("*"), pattern.endswith("*")
    inside = "".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern.strip("*"))
    return f"{'^' if from_start and not begins else ''}{inside}{'' if ends else '$'}"
