"""The rules of rules.txt as rows of the page: in words, with their hits, and with the places to which they can move.
Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from markupsafe import Markup

from proxy.config.suggestions import quoted
from proxy.model import literal
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _, pgettext
from proxy.probe.site_name import site
from proxy.routing.rule import INSPECT, RuleType
from proxy.routing.rules_text import RuleLine
from proxy.session.rule_hits import Hits

ROWS = 50
"""Rules on a page."""

_MATCHES: Mapping[str, Phrase] = {
    RuleType.DOMAIN: _("{value} alone"),
    RuleType.DOMAIN_SUFFIX: _("{value} and its subdomains"),
    RuleType.DOMAIN_KEYWORD: _("names with {value} in them"),
    RuleType.DOMAIN_REGEX: _("names that match {value}"),
    RuleType.IP_CIDR: _("addresses {value}"),
    RuleType.DST_PORT: _("port {value}"),
    RuleType.LIST: _("list {value}"),
    RuleType.PROCESS_NAME: _("program {value}"),
    RuleType.NETWORK: _("network {value}"),
    RuleType.MATCH: _("everything else"),
}

TYPES: Mapping[str, str] = {
    "": _("a site and its subdomains"),
    RuleType.DOMAIN: _("this name alone"),
    RuleType.DOMAIN_KEYWORD: _("names with this text"),
    RuleType.DOMAIN_REGEX: _("names that match this pattern"),
    RuleType.IP_CIDR: _("addresses"),
    RuleType.DST_PORT: _("a port"),
    RuleType.LIST: _("a list"),
    RuleType.PROCESS_NAME: _("a program"),
    RuleType.NETWORK: _("a network"),
    RuleType.MATCH: _("everything else"),
}
"""What a new rule is about, by its type; empty: what the value is."""

ACTIONS: Mapping[str, tuple[str, Phrase]] = {
    "AUTO": ("quiet", pgettext("rule", "auto")),
    "DIRECT": ("direct", pgettext("rule", "direct")),
    "RELAY": ("relay", _("a relay, never direct")),
    "PREFER-RELAY": ("relay", _("a relay first, then direct")),
    "BLOCK": ("failed", pgettext("rule", "blocked")),
}
"""For each action, the class of its chip, and its words."""

_BY_RELAY: Mapping[str, Phrase] = {
    "RELAY": _("{relay}, never direct"),
    "PREFER-RELAY": _("{relay} first, then direct"),
}


@frozen_dataclass
class RuleRow:
    """A rule. `number` is that of its line, `place` its place among the rules, from 1 on. `matches` and `action` say it
    in words, `kind` is the class of the chip of its action. `share` is that of its hits in those of the most used rule
    beside it, in percent. `up` and `down` are the lines before which it moves (0: to the end); None: it cannot."""

    number: int
    place: int
    text: str
    matches: str
    action: str
    kind: str
    is_inspected: bool
    is_on: bool
    comment: str
    list: str
    hits: int
    share: int
    last_hit_at: float
    up: int | None
    down: int | None


@frozen_dataclass
class RuleRows:
    """A page of the rules that contain `find`, of `pages`. `all` is the number of rules in the file, `on` that of those
    that are on, `unused` that of those that decided nothing."""

    rows: Sequence[RuleRow]
    page: int
    pages: int
    find: str
    found: int
    all: int
    on: int
    unused: int


def rule_rows(rules: Sequence[RuleLine], hits: Callable[[str], Hits], *, page: int = 1, find: str = "") -> RuleRows:
    """Returns a page of the rules; one behind the last is the last. `hits` returns those of a rule by its text. Of two
    rules with the same text only the first decides, so that one has the hits."""
    seen: set[str] = set()
    counted: list[Hits] = []
    for rule in rules:
        counts = rule.is_on and rule.text not in seen
        counted.append(hits(rule.text) if counts else Hits())
        if counts:
            seen.add(rule.text)
    wanted = find.lower()
    found = [place for place, rule in enumerate(rules) if wanted in rule.text.lower() or wanted in rule.comment.lower()]
    pages = max(1, -(-len(found) // ROWS))
    page = min(max(page, 1), pages)
    shown = found[(page - 1) * ROWS : page * ROWS]
    most = max((counted[place].count for place in shown), default=0) or 1
    rows = [_row(rules, place, counted[place], most) for place in shown]
    on = [place for place, rule in enumerate(rules) if rule.is_on]
    unused = sum(not counted[place].count for place in on)
    return RuleRows(rows, page, pages, find, len(found), len(rules), len(on), unused)


def move_of(rules: Sequence[RuleLine], order: Sequence[int]) -> tuple[int, int] | None:
    """Returns the line of the rule that was dragged, and the line before which it moves (0: to the end), by the new
    `order` of the lines of a page. None: more than one was moved, or a line is not one of the rules."""
    numbers = [rule.number for rule in rules]
    if not {*order} <= {*numbers} or len({*order}) != len(order):
        return None
    old, new = sorted(order), [*order]
    places = [place for place, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    for line in (new[places[0]], old[places[0]]) if places else ():
        if [each for each in old if each != line] == [each for each in new if each != line]:
            place = new.index(line)
            if place + 1 < len(new):
                return line, new[place + 1]
            return line, next((each for each in numbers if each > old[-1]), 0)
    return None


def _row(rules: Sequence[RuleLine], place: int, hits: Hits, most: int) -> RuleRow:
    rule, last = rules[place], len(rules) - 1
    kind, value, action, is_inspected = parts_of(rule.text)
    word, _colon, relay = action.partition(":")
    class_, in_words = ACTIONS.get(word, ("quiet", None))
    words: str = action if in_words is None else in_words
    if relay and word in _BY_RELAY:
        words = _BY_RELAY[word].given(relay=_isolated(relay))
    matches = _MATCHES[kind].given(value=_isolated(value)) if kind in _MATCHES else _isolated(value)
    after = rules[place + 2].number if place + 2 <= last else 0
    return RuleRow(
        number=rule.number,
        place=place + 1,
        text=rule.text,
        matches=matches,
        action=words,
        kind=class_,
        is_inspected=is_inspected,
        is_on=rule.is_on,
        comment=rule.comment,
        list=value if kind == RuleType.LIST else "",
        hits=hits.count,
        share=round(100 * hits.count / most),
        last_hit_at=hits.last_at,
        up=rules[place - 1].number if place else None,
        down=None if place == last else after,
    )


def parts_of(text: str) -> tuple[str, str, str, bool]:
    """Returns the type, the value and the action of a rule, and whether it INSPECTs. The text is not checked: a rule
    with a mistake is its own value."""
    words = [word.strip() for word in text.split(",")]
    is_inspected = len(words) > 1 and words[-1].upper() == INSPECT
    words = words[:-1] if is_inspected else words
    if len(words) < 2:
        return "", text, "", is_inspected
    kind, action = words[0].upper(), words[-1]
    word, colon, relay = action.partition(":")
    kind = RuleType.IP_CIDR if kind == "IP-CIDR6" else kind
    value = ",".join(words[1:-1])
    if kind == RuleType.IP_CIDR and action.lower() == "no-resolve" and len(words) > 3:
        value, (word, colon, relay) = ",".join(words[1:-2]), words[-2].partition(":")
    return kind, value, f"{word.strip().upper()}{colon}{relay.strip()}", is_inspected


def rule_of(kind: str, value: str, action: str) -> str:
    """Returns the rule that a form says. Without a `kind`, a whole rule is taken as it is, an address or a prefix is
    one, a URL is its host, and anything else is a site with its subdomains. Raises ValueError with a sentence."""
    value = value.strip()
    if kind == RuleType.MATCH:
        return f"MATCH,{action}"
    if not value:
        raise ValueError("there is nothing to match; type a site such as example.org")
    if kind and kind not in TYPES:
        raise ValueError(f"unknown rule type {quoted(kind)}")
    if kind:
        return f"{kind},{value},{action}"
    if "," in value and "://" not in value:
        return value
    host = site(value).host if "://" in value else value.rstrip("/")
    if (address := literal(host.strip("[]"))) is not None:
        return f"IP-CIDR,{address}/{address.max_prefixlen},{action}"
    if "/" in host:
        return f"IP-CIDR,{host},{action}"
    for begin in ("*.", "+.", "."):
        host = host.removeprefix(begin)
    return f"{RuleType.DOMAIN_SUFFIX},{host},{action}"


def action_values(relays: Sequence[str]) -> Mapping[str, Phrase]:
    """Returns the actions of a new rule in words, by what stands in the rule."""
    named = {f"RELAY:{relay}": _BY_RELAY["RELAY"].given(relay=relay) for relay in relays}
    words = {action: words for action, (_kind, words) in ACTIONS.items()}
    return {"RELAY": words.pop("RELAY"), **named, **words}


def _isolated(text: str) -> Markup:
    return Markup('<bdi dir="ltr">{}</bdi>').format(text)
