"""Parses the user's rules: `TYPE,value,ACTION[,INSPECT]`, one a line.

The parser reports every fault at once, each with its line, the wrong word and a similar valid one. `rule_values` checks
the value of a rule.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from proxy.config.suggestions import one_of, quoted, suggestion
from proxy.model import Action, NetworkId, literal
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.rule import INSPECT, RuleType, spelled
from proxy.routing.rule_table import RuleKind, RuleTable
from proxy.routing.rule_values import PatternBudget, canonical_value
from proxy.routing.rules import PROBLEMS_SHOWN, Rules
from proxy.wire import hostnames

if TYPE_CHECKING:
    from proxy.routing.lists.domain_list import DomainList

RULES_LIMIT = 8 * 1024 * 1024
LINE_LIMIT = 2048

_LINE = re.compile(rf"^(?:(DOMAIN(?:-SUFFIX)?),({hostnames.DOMAIN}),([^\s,#/]++)$|.*)", re.MULTILINE)
"""Matches each line. The groups are the words of a rule for a domain in canonical spelling, as most lines of a large
file are; for other lines they are None."""

_PIECE = 8192
"""Characters of a text, up to the next line end, that are examined together."""

_Alike = dict[tuple[str | Any, str | Any], int]
"""The numbers of kinds by the words before and after a domain. Most lines are parsed with them."""

_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")
_NAMES_RELAY = re.compile(r"(?:PREFER-)?RELAY[\s(=\[]++(?P<name>[^\s)\]]+)[)\]]?", re.IGNORECASE)

_TYPES = {str(rule_type): rule_type for rule_type in RuleType} | {"IP-CIDR6": RuleType.IP_CIDR}
_CLASH_TYPES = ("GEOIP", "GEOSITE", "PROCESS-PATH", "RULE-SET", "SRC-IP-CIDR", "SRC-PORT", "IP-ASN")
"""Types of Clash that are not supported. They get a message of their own."""

_ACTIONS = {str(action): action for action in Action}
_CLASH_ACTIONS = {"PROXY": Action.RELAY, "REJECT": Action.BLOCK, "DROP": Action.BLOCK, "DENY": Action.BLOCK}


def parse_rules(
    text: str,
    *,
    source: str,
    lists: Mapping[str, DomainList] | None = None,
    relays: Collection[str] | None = None,
    networks: Mapping[str, NetworkId] | None = None,
) -> Rules:
    """Parses the text of a rules file. `source` is the name of the file in messages.

    `relays` are the names that RELAY:name may have; None: any name. `networks` are the names for NETWORK rules, with
    their ids. Raises ConfigError with all problems, each beginning with `source:line: `.
    """
    if len(text) > RULES_LIMIT:
        raise ConfigError(f"{source}: a rules file can have at most {RULES_LIMIT // 1024 // 1024} million characters")
    context = _Context(lists or {}, networks or {}, relays, PatternBudget(), {})
    rules = RuleTable(source)
    alike: _Alike = {}
    problems: list[str] = []
    unified = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for first_line, piece in _pieces(unified):
        if _take_alike(piece, first_line, rules, alike):
            continue
        for line, match in enumerate(_LINE.finditer(piece), first_line):
            rule_type, domain, action = match.groups()
            if (number := alike.get((rule_type, action))) is not None:
                rules.add_alike((line,), number, (domain,))
            elif words := _without_comment(match[0]):
                try:
                    kind, value, written = _parse_line(words, context)
                except ValueError as error:
                    problems.append(f"{source}:{line}: {error}")
                    continue
                number = rules.add(line, kind, value, written=written)
                if domain == value and not written:
                    alike[rule_type, action] = number
    if problems:
        if (more := len(problems) - PROBLEMS_SHOWN) > 0:
            problems[PROBLEMS_SHOWN:] = [f"{source}: and {more} more problems"]
        raise ConfigError(problems)
    return Rules(rules, lists=lists, networks=networks)


def parse_action(text: str, *, relays: Collection[str] | None = None) -> tuple[Action, str]:
    """Parses an action such as `AUTO` or `relay:tor`, in any case. Returns the action and the relay, "" for any relay.
    Raises ValueError with a sentence."""
    word, colon, relay = [part.strip() for part in text.partition(":")]
    action = _ACTIONS.get(word.upper())
    if action is None:
        equivalent = _CLASH_ACTIONS.get(word.upper())
        hint = f"; did you mean {equivalent}?" if equivalent else suggestion(word, list(Action))
        hint = _relay_form(word, relays) or hint or f"; it can be {one_of(list(Action))}"
        raise ValueError(f"unknown action {quoted(word)}{hint}")
    if not colon:
        return action, ""
    if action not in (Action.RELAY, Action.PREFER_RELAY):
        raise ValueError(f"{quoted(text)} names a relay; only RELAY:name and PREFER-RELAY:name can")
    if not relay:
        raise ValueError(f"{quoted(text)} has no relay name after the colon")
    if relays is not None and relay not in relays:
        none = "; no relay is configured" if not relays else suggestion(relay, relays)
        raise ValueError(f"unknown relay {quoted(relay)}{none}")
    return action, relay


def _relay_form(word: str, relays: Collection[str] | None) -> str:
    """Returns a hint how to write the relay in `tor`, `RELAY(tor)` or `RELAY tor`; "": `word` names no relay."""
    inside = _NAMES_RELAY.fullmatch(word)
    name = inside["name"] if inside else word
    return f"; a relay is written as RELAY:{name}" if name in (relays or ()) else ""


@frozen_dataclass
class _Context:
    """The names that the rules of one file may use, the budget of their patterns, and their actions."""

    lists: Mapping[str, DomainList]
    networks: Mapping[str, NetworkId]
    relays: Collection[str] | None
    patterns: PatternBudget
    actions: dict[str, tuple[Action, str]]  # a cache by text: many lines have the same action


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yields pieces of whole lines, without the last line end, each with the number of its first line."""
    start, line = 0, 1
    while start < len(text):
        end = text.find("\n", start + _PIECE)
        piece = text[start : end if end >= 0 else len(text)]
        yield line, piece
        line += piece.count("\n") + 1
        start += len(piece) + 1


def _take_alike(piece: str, first_line: int, rules: RuleTable, alike: _Alike) -> bool:
    """Adds the rules of a piece if its lines differ only in their domains. Returns whether they do; if not, nothing is
    added."""
    first = _LINE.match(piece)
    number = None if first is None else alike.get((first[1], first[3]))
    if first is None or number is None:
        return False
    before, after = f"{first[1]},", f",{first[3]}"
    between, count = f"{after}\n{before}", piece.count("\n") + 1
    framed = piece[len(before) : len(piece) - len(after)]
    domains = framed.replace(between, "\n")
    if len(framed) - len(domains) != (count - 1) * (len(between) - 1) or not piece.endswith(after):
        return False
    if not hostnames.are_domains(domains):
        return False
    rules.add_alike(range(first_line, first_line + count), number, domains.split("\n"))
    return True


def _without_comment(line: str) -> str:
    """Returns a line without its comment. A line that is too long to be parsed is returned unchanged."""
    if len(line) <= LINE_LIMIT:
        line = (_COMMENT.sub("", line) if "#" in line or "//" in line else line).strip()
    return line


def _parse_line(text: str, context: _Context) -> tuple[RuleKind, str, str]:
    """Parses one line. Returns the kind of its rule, its value, and the line if its spelling is not canonical. Raises
    ValueError with a sentence, to which the caller adds the place."""
    if len(text) > LINE_LIMIT:
        raise ValueError(f"a rule can have at most {LINE_LIMIT} characters")
    type_word, *words = [word.strip() for word in text.split(",")]
    rule_type = _TYPES.get(type_word.upper()) or _refuse_type(type_word)
    intercept = _take_option(words, rule_type, context.relays)
    if rule_type is RuleType.IP_CIDR and words and words[-1].lower() == "no-resolve":
        words.pop()  # an option of Clash; Byway never resolves names to match a rule
    if len(words) < (1 if rule_type is RuleType.MATCH else 2):
        raise ValueError(f"{quoted(text)} has too few parts; write {_form(rule_type)}")
    *value_words, action_word = words  # a regular expression may contain commas
    if rule_type is not RuleType.DOMAIN_REGEX and len(value_words) > (0 if rule_type is RuleType.MATCH else 1):
        raise ValueError(f"{quoted(value_words[-1])} is one part too many; write {_form(rule_type)}")
    if (decision := context.actions.get(action_word)) is None:
        decision = context.actions[action_word] = parse_action(action_word, relays=context.relays)
    action, relay = decision
    value = canonical_value(
        rule_type, ",".join(value_words), lists=context.lists, networks=context.networks, patterns=context.patterns
    )
    if rule_type is RuleType.LIST and action in (Action.RELAY, Action.BLOCK):
        _check_protects(context.lists[value])
    is_canonical = text == spelled(rule_type, value, action, relay, intercept=intercept)
    return RuleKind(rule_type, action, relay, intercept), value, "" if is_canonical else text


def _form(rule_type: RuleType) -> str:
    return "MATCH,ACTION" if rule_type is RuleType.MATCH else f"{rule_type},value,ACTION"


def _refuse_type(word: str) -> NoReturn:
    """Raises ValueError with a sentence about an unknown type."""
    if word.upper() == "FINAL":
        raise ValueError(f"unknown rule type {quoted(word)}; did you mean MATCH?")
    if word.upper() in _CLASH_TYPES:
        raise ValueError(f"rule type {quoted(word)} is not supported; remove the line or put its domains in a LIST")
    if site := _site_in(word.partition(" ")[0]):
        raise ValueError(f"a rule begins with its type; for {site} with its subdomains: DOMAIN-SUFFIX,{site},ACTION")
    raise ValueError(f"unknown rule type {quoted(word)}{suggestion(word, list(RuleType))}")


def _site_in(text: str) -> str:
    """Returns a name of two labels or more in canonical spelling; "": `text` is something else."""
    try:
        host = hostnames.host(text)
    except ValueError:
        return ""
    return host if "." in host and literal(host) is None else ""


def _take_option(words: list[str], rule_type: RuleType, relays: Collection[str] | None) -> bool:
    """Removes INSPECT from the end and returns whether it was there. Raises ValueError for any other word after the
    action."""
    last = words[-1] if words else ""
    if last.upper() == INSPECT:
        words.pop()
        return True
    needed = 1 if rule_type is RuleType.MATCH else 2
    if len(words) > needed and not _is_action(last) and _is_action(words[-2]) and last.lower() != "no-resolve":
        hint = _relay_form(last, relays) or suggestion(last, [INSPECT])
        raise ValueError(f"unknown option {quoted(last)}{hint}")
    return False


def _is_action(word: str) -> bool:
    return word.partition(":")[0].strip().upper() in _ACTIONS


def _check_protects(listed: DomainList) -> None:
    """Raises ValueError when so much of a list could not be read that a RELAY or BLOCK rule on it would protect almost
    no site, or only a part of each."""
    fault = f"cover almost no site: {listed.problem}" if listed.problem else ""
    if not fault and listed.missing:
        fault = f"not cover all sites of the list: {listed.missing}"
    if fault and not listed.allow_empty:
        raise ValueError(f"this rule would {fault}. To use the list anyway, set allow_empty = true in its [[list]]")
