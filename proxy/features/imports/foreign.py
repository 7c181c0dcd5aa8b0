"""What a configuration of another program says, in one form for all programs: relays, groups, and rules in their order.

All texts are a stranger's. A value keeps the names as the file has them, since groups and rules refer to them;
sentences have them cut and without invisible characters. Nothing here opens a file or an address that the configuration
names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TypeVar

from proxy.config.relay_input import relay_of
from proxy.config.suggestions import quoted
from proxy.model import Action, GroupPolicy
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.keys.fields import KeyRefused, Nested, clean_name, shown
from proxy.wire.keys.pasted import Form
from proxy.wire.keys.reader import KEYS_LIMIT, read_entry
from proxy.wire.keys.values import Key, RelayLink

T = TypeVar("T")

RULES_LIMIT = 20_000
"""Rules of one configuration."""

LIST_TYPES = ("GEOSITE", "GEOIP", "RULE-SET", "RULE-LIST")
"""Types of tests that name a list which the configuration does not contain."""

PRIVATE = (
    "IP-CIDR,10.0.0.0/8", "IP-CIDR,172.16.0.0/12", "IP-CIDR,192.168.0.0/16", "IP-CIDR,100.64.0.0/10",
    "IP-CIDR,127.0.0.0/8", "IP-CIDR,169.254.0.0/16", "IP-CIDR,::1/128", "IP-CIDR,fc00::/7", "IP-CIDR,fe80::/10",
)  # fmt: skip
"""The tests for private addresses, which all of these programs know under a name."""

ADDRESSES_ONLY = "only for addresses in requests: Byway resolves no name to match a rule"

UDP_ONLY = "it is about UDP, which Byway does not carry"


@frozen_dataclass
class ForeignRelay:
    """A server. Without a URL it is not taken, and `why` is the reason; with one, `why` is a note."""

    name: str
    url: str
    why: str = ""

    def __repr__(self) -> str:
        return f"<ForeignRelay {self.name!a}>"


@frozen_dataclass
class ForeignGroup:
    """A choice between members: relays, other groups and policies. `is_chain`: one behind the other. With `why` it is
    not taken."""

    name: str
    policy: GroupPolicy
    members: tuple[str, ...]
    is_chain: bool = False
    why: str = ""
    note: str = ""


@frozen_dataclass
class ForeignRule:
    """A rule: it applies where one of its tests does. A test is a rule of Byway without its action, such as
    `DOMAIN,example.org` or `MATCH`, or one of LIST_TYPES with its name.

    With `why` the rule is not taken; if it is `idle`, nothing is lost by that. `note`: what the rule of Byway lacks."""

    place: str
    text: str
    policy: str = ""
    tests: tuple[str, ...] = ()
    why: str = ""
    note: str = ""
    idle: bool = False


@frozen_dataclass
class Foreign:
    """A whole configuration. `policies` are names beside those of relays and groups: what each does, or the reason why
    that cannot be said. `notes` are sentences about the whole file."""

    form: str
    relays: tuple[ForeignRelay, ...] = ()
    groups: tuple[ForeignGroup, ...] = ()
    rules: tuple[ForeignRule, ...] = ()
    policies: Mapping[str, Action | str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Unreadable(ValueError):
    """A configuration that cannot be read as a whole. The sentence names no secret."""


def unbroken(value: T) -> T:
    """Returns a value of JSON or YAML. Raises Unreadable for one with half a character (a surrogate), which JSON can
    write and nothing else can hold."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Unreadable("it has half a character (a surrogate)") from None
    return value


def named(name: str) -> str:
    """Returns a name of the file for a sentence."""
    return quoted(clean_name(name) or "(no name)")


def shown_rule(text: str) -> str:
    """Returns a rule of the file for people: on one line, without invisible characters, and not too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return line if len(line) <= 80 else f"{line[:79]}…"


def about_addresses(tests: Sequence[str]) -> str:
    """Returns what rules about addresses lack, where the other program resolves names for them; empty for others."""
    return ADDRESSES_ONLY if any(test.startswith(("IP-CIDR,", "GEOIP,")) for test in tests) else ""


def in_words(rule: Mapping[str, Nested]) -> str:
    """Returns a rule on one line, as people write them."""
    words = []
    for name, value in rule.items():
        if isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(each, str) for each in value)):
            value = "…"
        listed = ", ".join(map(str, value)) if isinstance(value, list) else value
        words.append(f"{shown(name)}: {listed}")
    return "; ".join(words)


def maps_in(value: Mapping[str, Nested], name: str, *, most: int = KEYS_LIMIT) -> list[dict[str, Nested]]:
    """Returns the maps of a list; empty for none. Raises Unreadable."""
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Unreadable(f"its {name} is not a list")
    if len(found) > most:
        raise Unreadable(f"its {name} has {len(found):,} entries, and Byway takes at most {most:,}")
    for number, each in enumerate(found, 1):
        if not isinstance(each, dict):
            raise Unreadable(f"entry {number} of its {name} is not a map")
    return [each for each in found if isinstance(each, dict)]


def text_in(value: Mapping[str, Nested], name: str) -> str:
    """Returns a text of a map; empty for none, and for a list or a map."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


def texts_in(value: Mapping[str, Nested], name: str) -> list[str]:
    """Returns a list of texts, which may also be one text. Raises Unreadable."""
    found = value.get(name)
    if found is None:
        return []
    items = found if isinstance(found, list) else [found]
    if not all(isinstance(item, str) for item in items):
        raise Unreadable(f"its {name} is not a list of texts")
    return [item for item in items if isinstance(item, str)]


def of_item(name: str, item: Key | RelayLink | KeyRefused, link: str = "") -> ForeignRelay:
    """Returns what was read of one server. `link` is its link, if it has one."""
    try:
        return ForeignRelay(name, relay_of(item, link).url)
    except ValueError as error:
        return ForeignRelay(name, "", str(error))


def of_entry(form: Form, name: str, entry: Mapping[str, Nested]) -> ForeignRelay:
    """Reads one server of a Clash or sing-box configuration."""
    return of_item(name, read_entry(form, entry))


def distinct(relays: Sequence[ForeignRelay]) -> Iterator[ForeignRelay]:
    """Yields the relays; of those with one name only the first may be meant by a rule, so no other is taken."""
    names = set[str]()
    for relay in relays:
        is_again = relay.name in names
        names.add(relay.name)
        yield ForeignRelay(relay.name, "", "an entry before it has the same name") if is_again else relay


def of_tests(
    place: str, text: str, policy: str, read: Callable[[], tuple[str, ...] | None], *, resolves: bool
) -> ForeignRule:
    """Makes a rule of the tests that `read` returns (None: it is about UDP alone); for tests that cannot be read,
    returns the reason. `resolves`: the other program resolves names for tests of addresses, which Byway does not."""
    try:
        tests = read()
    except ValueError as error:
        return ForeignRule(place, text, policy, why=str(error))
    if tests is None:
        return ForeignRule(place, text, policy, why=UDP_ONLY, idle=True)
    return ForeignRule(place, text, policy, tests, note=about_addresses(tests) if resolves else "")


def rule_of(place: str, text: str, make: Callable[[], ForeignRule]) -> ForeignRule:
    """Makes a rule; for one that cannot be read, returns the reason."""
    try:
        return make()
    except ValueError as error:
        return ForeignRule(place, text, why=str(error))
