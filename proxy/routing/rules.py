"""The user's rules: `TYPE,value,ACTION[,INSPECT]`, one a line, the first that matches wins.

The syntax is that of Clash. Parsing reports every fault at once, each with its line, the wrong word and the one that
may have been meant. Values are normalised like destinations, so `Bücher.Example.` and `xn--bcher-kva.example` are one
rule. The `router` decides what follows from a rule.
"""

from __future__ import annotations

import ipaddress
import re
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from proxy.config.suggestions import one_of, quoted, suggestion
from proxy.model import UNKNOWN_NETWORK, Action, Destination, NetworkId, literal
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.match import NO_RULE, Index
from proxy.wire import hostnames

if TYPE_CHECKING:
    from proxy.routing.lists.domain_list import DomainList
    from proxy.routing.pattern import Pattern

RULES_LIMIT = 8 * 1024 * 1024
LINE_LIMIT = 2048
REGEX_RULES_LIMIT = 256
"""Patterns are tried one after another for each new host."""

REGEX_WORK_LIMIT = 1 << 20
"""Steps to compile all patterns of one file: about a tenth of a second."""

PROBLEMS_SHOWN = 50

_LINE = re.compile(r"^.*", re.MULTILINE)
_COMMENT = re.compile(r"(?:^|\s)(?:#|//).*")
_LEADING = (".", "*.", "+.")
_OPTION = "INSPECT"
_NAMES_RELAY = re.compile(r"(?:PREFER-)?RELAY[\s(=\[]+(?P<name>[^\s)\]]+)[)\]]?", re.IGNORECASE)
_NETWORK_ID = re.compile(f"[0-9a-f]{{16}}|{UNKNOWN_NETWORK}")


class RuleType(StrEnum):
    """What a rule matches: the first word of its line."""

    DOMAIN = "DOMAIN"
    DOMAIN_SUFFIX = "DOMAIN-SUFFIX"
    DOMAIN_KEYWORD = "DOMAIN-KEYWORD"
    DOMAIN_REGEX = "DOMAIN-REGEX"
    IP_CIDR = "IP-CIDR"
    DST_PORT = "DST-PORT"
    LIST = "LIST"
    PROCESS_NAME = "PROCESS-NAME"
    NETWORK = "NETWORK"
    MATCH = "MATCH"


_TYPES = {str(rule_type): rule_type for rule_type in RuleType} | {"IP-CIDR6": RuleType.IP_CIDR}
_CLASH_TYPES = ("GEOIP", "GEOSITE", "PROCESS-PATH", "RULE-SET", "SRC-IP-CIDR", "SRC-PORT", "IP-ASN")
"""Types of Clash that are not supported; the message names them."""

_ACTIONS = {str(action): action for action in Action}
_CLASH_ACTIONS = {"PROXY": Action.RELAY, "REJECT": Action.BLOCK, "DROP": Action.BLOCK, "DENY": Action.BLOCK}


@frozen_dataclass
class Rule:
    """One line. `relay` is empty for any relay. A file may have many thousands, so a rule keeps no text that its other
    values tell."""

    line: int
    type: RuleType
    value: str  # in canonical spelling; empty for MATCH
    action: Action
    relay: str
    intercept: bool
    source: str
    written: str = ""
    """The line as it is in the file, when its spelling is not the canonical one."""
    note: str = ""
    """What is to be added to `why`."""

    @property
    def text(self) -> str:
        """The line as it is in the file, without its comment."""
        return self.written or _spelled(self.type, self.value, self.action, self.relay, intercept=self.intercept)

    @property
    def why(self) -> str:
        """The reason in the log when this rule decides."""
        return f"{self.source}:{self.line} {self.text}{self.note}"

    def __str__(self) -> str:
        return self.text


def _spelled(rule_type: RuleType, value: str, action: Action, relay: str, *, intercept: bool) -> str:
    """The canonical spelling of a rule."""
    matched = f"{rule_type},{value}" if value else rule_type
    return f"{matched},{action}{relay and ':'}{relay}{',' + _OPTION if intercept else ''}"


@frozen_dataclass
class Situation:
    """What rules may depend on beside the destination."""

    network: NetworkId = UNKNOWN_NETWORK
    """The network in use."""
    program: str | None = ""
    """The name of the client's program, in lower case. Empty: the client is none of this computer's programs. None: it
    could not be found out which one it is."""


ANYWHERE = Situation()


class Rules:
    """All rules of a file, in its order, compiled for matching. Immutable. In the index a rule's number is its line, an
    object that there is already."""

    __slots__ = (
        "_first_if_unknown", "_index", "_lines", "_networks", "_unused_lists", "depend_on_situation",
        "first_program_line", "list_problems", "lists", "notices", "rules",
    )  # fmt: skip

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        lists: Mapping[str, DomainList] | None = None,
        networks: Mapping[str, NetworkId] | None = None,
    ) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._lines = array("L", [rule.line for rule in self.rules])
        self.lists: Mapping[str, DomainList] = lists or {}
        self._networks: Mapping[str, NetworkId] = networks or {}
        used = {rule.value for rule in self.rules if rule.type is RuleType.LIST}
        self._unused_lists = tuple(listed for name, listed in self.lists.items() if name not in used)
        self._index = Index()
        unreachable = [rule for rule in self.rules if not self._add(self._index, rule)]
        programs = [rule for rule in self.rules if rule.type is RuleType.PROCESS_NAME]
        closed = (rule for rule in programs if rule.action in (Action.RELAY, Action.BLOCK))
        self._first_if_unknown: Rule | None = next(closed, None)
        self.first_program_line: int = programs[0].line if programs else NO_RULE
        """The line of the first PROCESS-NAME rule; NO_RULE: there is none."""
        self.depend_on_situation = bool(self._index.programs or self._index.uplinks)
        """Whether some rule matches by more than the destination."""
        problems = (listed.problem for listed in self.lists.values())
        self.list_problems: tuple[str, ...] = tuple(filter(None, problems))
        """One sentence for each list of which more lines were skipped than read."""
        self.notices: tuple[str, ...] = (
            *self.list_problems,
            *(suffix for listed in self.lists.values() for suffix in listed.suffixes),
            *_notices(self.rules, unreachable),
        )
        """One sentence for each list or rule that is valid but covers less, or more, than it seems to."""

    def __len__(self) -> int:
        return len(self.rules)

    def match(self, destination: Destination, name: str | None = None, situation: Situation = ANYWHERE) -> Rule | None:
        """Returns the first rule that matches the destination; None when none does. `name` is the host name in the
        client's first bytes when the destination is a literal address; rules that match either count.

        A client whose program is unknown may be the one that a rule names. So PROCESS-NAME rules that keep it from
        going direct (RELAY, BLOCK) then match, and no others."""
        if not self.rules:
            return None
        number = self._index.first(destination)
        if name is not None and name != destination.host:
            by_name = self._index.first(Destination(name, destination.port))
            number = min((n for n in (number, by_name) if n is not None), default=None)
        if self.depend_on_situation:
            return self._match_in(situation, NO_RULE if number is None else number)
        return None if number is None else self.rules[bisect_left(self._lines, number)]

    def _match_in(self, situation: Situation, number: int) -> Rule | None:
        """Returns the first rule in a situation, when the first one by the destination has this number."""
        number = min(number, self._index.uplinks.get(situation.network, NO_RULE))
        if situation.program is not None:
            number = min(number, self._index.programs.get(situation.program, NO_RULE))
        elif self._first_if_unknown is not None and self._first_if_unknown.line < number:
            return replace(self._first_if_unknown, note=", as it is not known which program asks")
        return None if number == NO_RULE else self.rules[bisect_left(self._lines, number)]

    def is_listed(self, host: str) -> bool:
        """Whether a list that no rule uses names the host: such a list says which sites are blocked somewhere."""
        return any(listed.contains(host) for listed in self._unused_lists)

    def entries(self, rule: Rule) -> int | None:
        """Returns how many entries the list of a LIST rule has; None for another rule."""
        return len(self.lists[rule.value].listed) if rule.type is RuleType.LIST else None

    @property
    def texts(self) -> tuple[str, ...]:
        """`file:line TYPE,value,ACTION` of each rule, in order."""
        return tuple(rule.why for rule in self.rules)

    def trace(self, destination: Destination, situation: Situation = ANYWHERE) -> list[Rule]:
        """Returns every rule that matches the destination, the one that decides first. Tries all of them."""
        return [rule for rule in self.rules if self.applies(rule, destination, situation)]

    def applies(self, rule: Rule, destination: Destination, situation: Situation = ANYWHERE) -> bool:
        """Whether one of the rules, alone, matches the destination."""
        return Rules([rule], lists=self.lists, networks=self._networks).match(destination, None, situation) is not None

    def _add(self, index: Index, rule: Rule) -> bool:
        """Adds a rule to an index. Returns whether it can ever decide."""
        value, number = rule.value, rule.line
        match rule.type:
            case RuleType.DOMAIN:
                return index.add_exact(value, number)
            case RuleType.DOMAIN_SUFFIX:
                return index.add_suffix(value, number)
            case RuleType.DOMAIN_KEYWORD:
                return index.add_name_test(lambda host: value in host, number)
            case RuleType.DOMAIN_REGEX:
                return index.add_name_test(_pattern(value).search, number)
            case RuleType.IP_CIDR:
                return index.add_network(ipaddress.ip_network(value), number)
            case RuleType.DST_PORT:
                return index.add_ports(ports_of(value), number)
            case RuleType.LIST:
                return index.add_test(self.lists[value].test, number)
            case RuleType.PROCESS_NAME:
                return index.add_program(value, number)
            case RuleType.NETWORK:
                return index.add_uplink(self._networks.get(value, value), number)
            case RuleType.MATCH:
                return index.add_always(number)

    def __repr__(self) -> str:
        return f"<Rules {len(self.rules)}>"


def parse_rules(
    text: str,
    *,
    source: str,
    lists: Mapping[str, DomainList] | None = None,
    relays: Collection[str] | None = None,
    networks: Mapping[str, NetworkId] | None = None,
) -> Rules:
    """Parses the text of a rules file; `source` is the name of the file in messages.

    `relays`, when given, are the names that RELAY:name may have; `networks` those of NETWORK rules, with their ids.
    Raises ConfigError with all problems, each beginning with `source:line: `.
    """
    if len(text) > RULES_LIMIT:
        raise ConfigError(f"{source}: a rules file can have at most {RULES_LIMIT // 1024 // 1024} million characters")
    known = _Known(lists or {}, networks or {}, relays, _PatternBudget(), {})
    rules: list[Rule] = []
    problems: list[str] = []
    for line, words in _lines(text):
        try:
            rules.append(_parse_line(words, line, source=source, known=known))
        except ValueError as error:
            problems.append(f"{source}:{line}: {error}")
    if problems:
        if (more := len(problems) - PROBLEMS_SHOWN) > 0:
            problems[PROBLEMS_SHOWN:] = [f"{source}: and {more} more problems"]
        raise ConfigError(problems)
    return Rules(rules, lists=lists, networks=networks)


def parse_action(text: str, *, relays: Collection[str] | None = None) -> tuple[Action, str]:
    """Parses `AUTO`, `relay:tor` and the like, in any case. Returns the action and the relay, "" for any relay.

    Raises ValueError with a sentence.
    """
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
    """Returns how to write the relay that `tor`, `RELAY(tor)` or `RELAY tor` means; "" when it means none."""
    inside = _NAMES_RELAY.fullmatch(word)
    name = inside["name"] if inside else word
    return f"; a relay is written as RELAY:{name}" if name in (relays or ()) else ""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yields number and content of each line that has more than a comment."""
    unified = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for number, found in enumerate(_LINE.finditer(unified), 1):  # not `split`, which makes all lines at once
        line = found[0]
        if len(line) <= LINE_LIMIT:
            line = (_COMMENT.sub("", line) if "#" in line or "//" in line else line).strip()
        if line:
            yield number, line


def _parse_line(text: str, line: int, *, source: str, known: _Known) -> Rule:
    """Parses one line. Raises ValueError with a sentence, to which the caller adds the place."""
    if len(text) > LINE_LIMIT:
        raise ValueError(f"a rule can have at most {LINE_LIMIT} characters")
    type_word, *words = [word.strip() for word in text.split(",")]
    rule_type = _TYPES.get(type_word.upper()) or _refuse_type(type_word)
    intercept = _take_option(words, rule_type, known.relays)
    if rule_type is RuleType.IP_CIDR and words and words[-1].lower() == "no-resolve":
        words.pop()  # Clash's option; names are never resolved for matching here
    if len(words) < (1 if rule_type is RuleType.MATCH else 2):
        raise ValueError(f"{quoted(text)} has too few parts; write {_form(rule_type)}")
    *value_words, action_word = words  # a regular expression may contain commas
    if rule_type is not RuleType.DOMAIN_REGEX and len(value_words) > (0 if rule_type is RuleType.MATCH else 1):
        raise ValueError(f"{quoted(value_words[-1])} is one part too many; write {_form(rule_type)}")
    if (decision := known.actions.get(action_word)) is None:
        decision = known.actions[action_word] = parse_action(action_word, relays=known.relays)
    action, relay = decision
    value = _value(rule_type, ",".join(value_words), known)
    if rule_type is RuleType.LIST and action in (Action.RELAY, Action.BLOCK):
        _check_protects(known.lists[value])
    is_canonical = text == _spelled(rule_type, value, action, relay, intercept=intercept)
    return Rule(line, rule_type, value, action, relay, intercept, source, "" if is_canonical else text)


def _form(rule_type: RuleType) -> str:
    return "MATCH,ACTION" if rule_type is RuleType.MATCH else f"{rule_type},value,ACTION"


def _refuse_type(word: str) -> NoReturn:
    """Raises ValueError with a sentence about an unknown type."""
    if word.upper() in _CLASH_TYPES:
        raise ValueError(f"rule type {quoted(word)} is not supported; remove the line or put its domains in a LIST")
    if site := _site_in(word.partition(" ")[0]):
        raise ValueError(f"a rule begins with its type; for {site} with its subdomains: DOMAIN-SUFFIX,{site},ACTION")
    raise ValueError(f"unknown rule type {quoted(word)}{suggestion(word, list(RuleType))}")


def _site_in(text: str) -> str:
    """Returns the name that `text` is, in canonical spelling; "" when it is none."""
    try:
        host = hostnames.host(text)
    except ValueError:
        return ""
    return host if "." in host and literal(host) is None else ""


def _take_option(words: list[str], rule_type: RuleType, relays: Collection[str] | None) -> bool:
    """Removes INSPECT from the end and returns whether it was there. Raises ValueError for any other word after the
    action."""
    last = words[-1] if words else ""
    if last.upper() == _OPTION:
        words.pop()
        return True
    needed = 1 if rule_type is RuleType.MATCH else 2
    if len(words) > needed and not _is_action(last) and _is_action(words[-2]) and last.lower() != "no-resolve":
        hint = _relay_form(last, relays) or suggestion(last, [_OPTION])
        raise ValueError(f"unknown option {quoted(last)}{hint}")
    return False


def _is_action(word: str) -> bool:
    return word.partition(":")[0].strip().upper() in _ACTIONS


def _value(rule_type: RuleType, text: str, known: _Known) -> str:
    """Returns a rule's value in canonical spelling. Raises ValueError with a sentence."""
    match rule_type:
        case RuleType.DOMAIN:
            return _host(text)
        case RuleType.DOMAIN_SUFFIX:
            return _suffix(text)
        case RuleType.DOMAIN_KEYWORD:
            return _checked_keyword(text)
        case RuleType.DOMAIN_REGEX:
            return known.patterns.compile(text).text
        case RuleType.IP_CIDR:
            return _network(text)
        case RuleType.DST_PORT:
            ports = ports_of(text)
            return f"{ports[0]}-{ports[-1]}" if len(ports) > 1 else str(ports[0])
        case RuleType.LIST:
            if text not in known.lists:
                hint = suggestion(text, known.lists) if known.lists else "; no [[list]] is configured"
                raise ValueError(f"unknown list {quoted(text)}{hint}")
            return text
        case RuleType.PROCESS_NAME:
            return _program(text)
        case RuleType.NETWORK:
            return parse_network(text, known.networks)
        case RuleType.MATCH:
            return ""


def _host(text: str) -> str:
    if text.startswith(_LEADING):
        raise ValueError(
            f"{quoted(text)} is more than one host; for a domain and its subdomains write DOMAIN-SUFFIX,{_bare(text)}"
        )
    if "/" in text:
        raise ValueError(f"{quoted(text)} is a URL; a rule takes the host name only")
    return hostnames.parse_host(text)


def _bare(text: str) -> str:
    """Returns what is behind the first dot."""
    return text.partition(".")[2]


def _suffix(text: str) -> str:
    if text.startswith(_LEADING):
        raise ValueError(f"{quoted(text)} needs no dot or star; DOMAIN-SUFFIX,{_bare(text)} includes its subdomains")
    host = _host(text)
    if (host[-1].isdigit() or ":" in host) and literal(host) is not None:  # names are not for the cache of `literal`
        raise ValueError(f"{quoted(text)} is an address; write IP-CIDR,{host}/{128 if ':' in host else 32}")
    return host


def _program(text: str) -> str:
    if not text or "/" in text or "\\" in text:
        raise ValueError(f"{quoted(text)} is not the name of a program; write it without its folder: PROCESS-NAME,curl")
    return text.lower()


def parse_network(text: str, networks: Mapping[str, str]) -> str:
    """Returns a name of `[networks]` in the case that it has there, or an id as it is. Raises ValueError with a
    sentence."""
    names = {name.lower(): name for name in networks}
    if text.lower() in names:
        return names[text.lower()]
    if _NETWORK_ID.fullmatch(text):
        return text
    hint = (
        suggestion(text, names.values())
        if names
        else f'; name it in config.toml under [networks]: {text or "home"} = "ID"'
    )
    raise ValueError(f"unknown network {quoted(text)}{hint}; `byway status` shows the id of the network in use")


def _checked_keyword(text: str) -> str:
    word = text.lower()
    if not re.fullmatch(r"[a-z0-9._-]{1,63}", word):
        raise ValueError(
            f"keyword {quoted(text)} can never match: names contain only letters, digits, dots, - and _ "
            "(international names as xn--…)"
        )
    return word


def _check_protects(listed: DomainList) -> None:
    """Raises ValueError when a list is so badly read that a RELAY or BLOCK rule on it would protect almost no site."""
    if listed.problem and not listed.allow_empty:
        raise ValueError(
            f"this rule would cover almost no site: {listed.problem}. "
            "To use the list anyway, set allow_empty = true in its [[list]]"
        )


@lru_cache(maxsize=2 * REGEX_RULES_LIMIT)
def _pattern(text: str) -> Pattern:
    """Compiles a pattern, cached so that checking, matching, tracing and reloads share it. Raises ValueError."""
    from proxy.routing.pattern import Pattern  # a run has it when it has such rules

    return Pattern(text)


@frozen_dataclass
class _Known:
    """What the rules of one file may name, the budget of their patterns, and their actions."""

    lists: Mapping[str, DomainList]
    networks: Mapping[str, NetworkId]
    relays: Collection[str] | None
    patterns: _PatternBudget
    actions: dict[str, tuple[Action, str]]  # what was parsed so far: many lines have the same


class _PatternBudget:
    """Limits the patterns of one file: their number, and the work to compile them."""

    __slots__ = ("_number", "_work")

    def __init__(self) -> None:
        self._number = 0
        self._work = 0

    def compile(self, text: str) -> Pattern:
        """Compiles one more pattern. Raises ValueError for one that cannot be used, and for all beyond the limits."""
        if self._number >= REGEX_RULES_LIMIT:
            raise ValueError(f"more than {REGEX_RULES_LIMIT} DOMAIN-REGEX rules; use DOMAIN-SUFFIX or a LIST instead")
        if self._work >= REGEX_WORK_LIMIT:
            raise ValueError(
                "the DOMAIN-REGEX rules above are too complex together, so this one is not read; "
                "use DOMAIN-SUFFIX or a LIST instead"
            )
        self._number += 1
        try:
            pattern = _pattern(text)
        except ValueError as error:
            raise ValueError(f"pattern {quoted(text)} cannot be used: {error}") from None
        self._work += pattern.work
        return pattern


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        masked = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an address or CIDR such as 192.0.2.0/24") from None
    raise ValueError(f"{quoted(text)} has host bits set; did you mean {masked}?")


def ports_of(text: str) -> range:
    """Returns the ports of `443` or `8000-8100`. Raises ValueError with a sentence."""
    low, dash, high = text.partition("-")
    try:
        ports = range(hostnames.port(low.strip()), hostnames.port(high.strip() if dash else low.strip()) + 1)
    except ValueError:
        ports = range(0)
    if not ports:
        raise ValueError(f"{quoted(text)} is not a port (1-65535) or a range such as 8000-8100")
    return ports


def _notices(rules: tuple[Rule, ...], unreachable: list[Rule]) -> Iterator[str]:
    catch_all = next((rule for rule in rules if rule.type is RuleType.MATCH), None)
    if catch_all is not None and catch_all is not rules[-1]:
        yield f"{catch_all.source}:{catch_all.line}: MATCH applies to everything, so rules below it are never used"
    for rule in unreachable[:PROBLEMS_SHOWN]:
        if catch_all is None or rule.line < catch_all.line:
            yield f"{rule.source}:{rule.line}: {rule.type},{rule.value} is never used: an earlier rule is the same"
