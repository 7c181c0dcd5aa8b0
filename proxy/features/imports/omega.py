"""Backups of SwitchyOmega and ZeroOmega (`.bak`): profiles with a proxy are relays, a switch profile is rules.

A profile with a proxy has a list of hosts that go direct all the same. Behind the default of a switch profile these are
rules of their own, since all other rules come before them. Behind a single rule they are only where it can be said
which of the rule's hosts they are; else the rule is not taken. PAC scripts are not run, and no address is opened.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import quote

from proxy.config.relay_input import relay_of
from proxy.features.imports.foreign import (
    RULES_LIMIT,
    Foreign,
    ForeignRelay,
    ForeignRule,
    Unreadable,
    about_addresses,
    in_words,
    maps_in,
    named,
    rule_of,
    shown_rule,
    text_in,
)
from proxy.model import Action, bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.foreign_rules import host_wildcard, omega_tests, prefix
from proxy.wire.keys.fields import Nested, shown
from proxy.wire.keys.values import RelayLink

_SCHEMES = {"socks5": "socks5h", "socks4": "socks4", "http": "http", "https": "https"}
_PROXIES = ("fallbackProxy", "proxyForHttps", "proxyForHttp")
_NO_RULES = {
    "UrlRegex": "it is about URLs, which TLS hides",
    "Keyword": "it is about URLs of plain HTTP",
    "Weekday": "Byway has no rules about days",
    "Time": "Byway has no rules about hours",
}
_SWITCHES = ("SwitchProfile", "VirtualProfile", "RuleListProfile", "SwitchyRuleListProfile", "AutoProxyRuleListProfile")
_LISTS = _SWITCHES[2:]
_DEPTH_LIMIT = 8
_LOCAL = ("127.0.0.1", "::1", "[::1]", "localhost", "<local>", "<-loopback>")
"""Entries of the list of direct hosts that Byway sends to no relay anyway."""

RULE_LIST = "RULE-LIST,omega"
"""The test for the rule list of a switch profile."""


@frozen_dataclass
class _Bypass:
    """The hosts of a profile with a proxy that go direct: their tests, and the entries that no rule can express."""

    tests: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def is_backup(value: Mapping[str, Nested]) -> bool:
    """Whether a map is that of a backup."""
    return any(name.startswith("+") and isinstance(it, dict) and "profileType" in it for name, it in value.items())


def read_backup(value: Mapping[str, Nested], profile: str | None = None) -> Foreign:
    """Reads a backup. `profile` is the name of the profile whose rules are meant; None: the one that is used at the
    start, else the only switch profile. Raises Unreadable."""
    profiles = {
        text_in(it, "name") or key[1:]: it
        for key, it in value.items()
        if key.startswith("+") and isinstance(it, dict) and text_in(it, "profileType")
    }
    return _Backup(profiles, text_in(value, "-startupProfileName")).read(profile)


class _Backup:
    def __init__(self, profiles: Mapping[str, Mapping[str, Nested]], start: str) -> None:
        self._profiles = profiles
        self._start = start
        self._bypasses: dict[str, _Bypass] = {}
        self._policies: dict[str, Action | str] = {
            "direct": Action.DIRECT,
            "system": "it is the setting of the system, which is not in the backup",
        }

    def read(self, profile: str | None) -> Foreign:
        relays = []
        for name, it in self._profiles.items():
            kind = text_in(it, "profileType")
            if kind == "FixedProfile":
                if (relay := _relay(name, it)) is None:
                    self._policies[name] = Action.DIRECT
                else:
                    relays.append(relay)
                    self._bypasses[name] = _bypass(it)
            elif kind == "DirectProfile":
                self._policies[name] = Action.DIRECT
            elif kind in _SWITCHES:
                self._policies[name] = "a profile with rules of its own cannot stand behind a rule"
            else:
                self._policies[name] = f"a profile of type {shown(kind)} is not read"
        chosen, notes = self._chosen(profile)
        rules = tuple(self._rules(chosen)) if chosen else ()
        if len(rules) > RULES_LIMIT:
            raise Unreadable(f"it has {len(rules):,} rules, and Byway takes at most {RULES_LIMIT:,}")
        return Foreign("a backup of SwitchyOmega or ZeroOmega", tuple(relays), (), rules, self._policies, notes)

    def _chosen(self, profile: str | None) -> tuple[str, tuple[str, ...]]:
        """Returns the profile whose rules are meant, and sentences about that."""
        switches = [name for name, it in self._profiles.items() if text_in(it, "profileType") == "SwitchProfile"]
        if profile is not None:
            if profile not in self._profiles:
                names = ", ".join(map(named, switches)) or "none with rules"
                raise Unreadable(f"it has no profile {named(profile)}; there is: {names}")
            return profile, ()
        if self._start in self._profiles:
            return self._start, (f"the rules are those of {named(self._start)}, the profile used at the start",)
        if len(switches) == 1:
            return switches[0], (f"the rules are those of {named(switches[0])}, the only switch profile",)
        if switches:
            names = ", ".join(map(named, switches[:10]))
            return "", (f"it has {len(switches)} switch profiles: no rule is read. Choose one with --profile: {names}",)
        return "", ("it has no switch profile, and so no rules",)

    def _rules(self, name: str, depth: int = 0) -> Iterator[ForeignRule]:
        """Yields what a profile does with all that is not decided yet."""
        it = self._profiles.get(name)
        kind = text_in(it, "profileType") if it is not None else ""
        place = f"default of {named(name)}" if kind in _SWITCHES else f"all else: {named(name)}"
        if depth > _DEPTH_LIMIT:
            yield ForeignRule(place, "all else", why="its profiles lead to each other", policy=name)
        elif it is None or kind not in _SWITCHES:
            yield from self._final(name)
        elif kind in _LISTS:
            yield from self._listed(name, it, depth)
        else:
            rules = maps_in(it, "rules", most=RULES_LIMIT)
            for number, rule in enumerate(rules, 1):
                yield from self._of_rule(f"rule {number}", rule)
            yield from self._rules(text_in(it, "defaultProfileName") or "direct", depth + 1)

    def _final(self, name: str) -> Iterator[ForeignRule]:
        """Yields the rules for all else: first the hosts that go direct all the same."""
        bypass = self._bypasses.get(name, _Bypass())
        for test in bypass.tests:
            note = about_addresses([test])
            yield ForeignRule(f"direct in {named(name)}", shown_rule(test), "direct", (test,), note=note)
        for entry in bypass.others:
            why = "Byway has no rules for such hosts"
            yield ForeignRule(f"direct in {named(name)}", shown_rule(entry), "direct", why=why)
        yield ForeignRule("all else", f"all else → {named(name)}", name, ("MATCH",))

    def _listed(self, name: str, it: Mapping[str, Nested], depth: int) -> Iterator[ForeignRule]:
        match, default = text_in(it, "matchProfileName") or "direct", text_in(it, "defaultProfileName") or "direct"
        yield from self._behind(f"rule list of {named(name)}", f"rule list → {named(match)}", match, (RULE_LIST,))
        yield from self._rules(default, depth + 1)

    def _of_rule(self, place: str, rule: Mapping[str, Nested]) -> Iterator[ForeignRule]:
        condition, policy = rule.get("condition"), text_in(rule, "profileName")
        if not isinstance(condition, dict):
            yield ForeignRule(place, "a rule without a condition", policy, why="it has no condition")
            return
        kind = text_in(condition, "conditionType").removesuffix("Condition")
        values = {name: value for name, value in condition.items() if name != "conditionType"}
        text = shown_rule(f"{kind}: {text_in(condition, 'pattern') or in_words(values)} → {policy}")
        if kind == "False":
            yield ForeignRule(place, text, policy, why="it is switched off", idle=True)
            return
        made = rule_of(place, text, partial(_of_condition, place, text, policy, kind, condition))
        if made.why:
            yield ForeignRule(place, text, policy, why=made.why)
        else:
            yield from self._behind(place, text, policy, made.tests)

    def _behind(self, place: str, text: str, policy: str, tests: tuple[str, ...]) -> Iterator[ForeignRule]:
        """Yields a rule whose profile may send some of its hosts direct."""
        bypass = self._bypasses.get(policy, _Bypass())
        if unclear := [*bypass.others, *(each for each in bypass.tests if any(_is_unclear(each, it) for it in tests))]:
            why = (
                f"{named(policy)} sends some of its hosts direct ({shown_rule(unclear[0])}), which no rule can express"
            )
            yield ForeignRule(place, text, policy, why=why)
            return
        inside = [each for each in bypass.tests if any(_covers(it, each) for it in tests)]
        if inside:
            yield ForeignRule(f"{place}, direct", f"{text}, of which direct", "direct", tuple(inside))
        yield ForeignRule(place, text, policy, tests, note=about_addresses(tests))


def _of_condition(place: str, text: str, policy: str, kind: str, condition: Mapping[str, Nested]) -> ForeignRule:
    """Reads a condition. Raises ValueError with half a sentence."""
    pattern = text_in(condition, "pattern")
    if kind in _NO_RULES:
        raise ValueError(_NO_RULES[kind])
    if kind == "True":
        tests = ["MATCH"]
    elif kind == "Ip":
        tests = omega_tests("ip", f"{text_in(condition, 'ip')}/{text_in(condition, 'prefixLength')}")
    elif kind == "HostLevels":
        low, high = text_in(condition, "minValue"), text_in(condition, "maxValue")
        if not (low.isdecimal() and high.isdecimal() and int(low) <= int(high) <= 32):
            raise ValueError("its number of dots is not one")
        tests = [f"DOMAIN-REGEX,^[^.]*(?:\\.[^.]*){{{low},{high}}}$" if int(high) else "DOMAIN-REGEX,^[^.]*$"]
    elif kind == "UrlWildcard":
        tests = [_of_url_wildcard(part) for part in pattern.split("|") if part]
    elif kind == "Bypass":
        tests = [_of_bypass(pattern)]
    else:
        tests = omega_tests(kind, pattern)
    if not tests:
        raise ValueError("it has no pattern")
    return ForeignRule(place, text, policy, tuple(tests))


def _of_url_wildcard(pattern: str) -> str:
    """Only a pattern of a whole site, for any scheme, is one of hosts."""
    host = pattern.removeprefix("*://").removesuffix("/*")
    if pattern != f"*://{host}/*" or not host or any(sign in host for sign in "/:@#"):
        raise ValueError(_NO_RULES["UrlRegex"])
    return host_wildcard(host.lower())


def _bypass(profile: Mapping[str, Nested]) -> _Bypass:
    tests, others = list[str](), list[str]()
    for entry in maps_in(profile, "bypassList", most=RULES_LIMIT):
        pattern = text_in(entry, "pattern").strip()
        if not pattern or pattern in _LOCAL:
            continue
        try:
            tests.append(_of_bypass(pattern))
        except ValueError:
            others.append(pattern)
    return _Bypass(tuple(dict.fromkeys(tests)), tuple(dict.fromkeys(others)))


def _of_bypass(pattern: str) -> str:
    """Translates an entry as Chromium's list of hosts without a proxy has them. Raises ValueError."""
    pattern = pattern.lower()
    if pattern in _LOCAL:
        return "DOMAIN,localhost"
    if "://" in pattern:
        raise ValueError("it is about a scheme")
    if "/" in pattern:
        return f"IP-CIDR,{prefix(pattern)}"
    bare = pattern.removeprefix("[").removesuffix("]") if pattern.startswith("[") else pattern
    try:
        return f"IP-CIDR,{ipaddress.ip_network(bare)}"
    except ValueError:
        if ":" in pattern:
            raise ValueError("it is about a port") from None
    return host_wildcard(f"*{pattern}" if pattern.startswith(".") else pattern)


_BELOW = re.compile(r"DOMAIN-REGEX,\\\.((?:[a-z0-9_]|\\[.-])+)\$")
"""The test for all that is below a domain, and not for the domain itself."""


def _zone(test: str) -> tuple[str, bool] | None:
    """Returns the domain that a test is about, and whether it is about all that is below it, too; None for other
    tests."""
    kind, _, value = test.partition(",")
    if kind in ("DOMAIN", "DOMAIN-SUFFIX"):
        return value, kind == "DOMAIN-SUFFIX"
    below = _BELOW.fullmatch(test)
    return (below[1].replace("\\", ""), True) if below is not None else None


def _covers(wide: str, narrow: str) -> bool:
    """Whether a test covers all hosts of another one, as far as their texts say."""
    if wide in ("MATCH", narrow):
        return True
    outer, inner = _zone(wide), _zone(narrow)
    if outer is not None and inner is not None:
        is_below = inner[0].endswith(f".{outer[0]}")
        if _BELOW.fullmatch(wide) is not None:
            return is_below
        return outer[1] and (is_below or inner[0] == outer[0])
    if wide.startswith("IP-CIDR,") and narrow.startswith("IP-CIDR,"):
        return _is_inside(narrow.partition(",")[2], wide.partition(",")[2])
    return False


def _is_unclear(narrow: str, wide: str) -> bool:
    """Whether two tests may have hosts in common, which are not all of the narrow one's."""
    if _covers(wide, narrow):
        return False
    if _covers(narrow, wide):
        return True  # then all would go direct
    is_address = [test.startswith("IP-CIDR,") for test in (narrow, wide)]
    return not any(is_address) and (_zone(narrow) is None or _zone(wide) is None)


def _is_inside(narrow: str, wide: str) -> bool:
    try:
        inner, outer = ipaddress.ip_network(narrow), ipaddress.ip_network(wide)
    except ValueError:
        return False
    return inner.version == outer.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen


def _relay(name: str, profile: Mapping[str, Nested]) -> ForeignRelay | None:
    """Reads a profile with a proxy; None: it has none, and goes direct."""
    given = [(field, proxy) for field in _PROXIES if isinstance(proxy := profile.get(field), dict)]
    if not given:
        return None
    places = {tuple(text_in(proxy, each) for each in ("scheme", "host", "port")) for _, proxy in given}
    if len(places) > 1:
        return ForeignRelay(name, "", "it has different proxies for http and https")
    field, proxy = given[0]
    scheme = _SCHEMES.get(text_in(proxy, "scheme"))
    if scheme is None:
        return ForeignRelay(name, "", f"scheme {shown(text_in(proxy, 'scheme'))} is not supported")
    auth = profile.get("auth")
    found = (auth.get(field) or auth.get("all")) if isinstance(auth, dict) else None
    user, password = (quote(text_in(found, each), safe="") if isinstance(found, dict) else "" for each in
                      ("username", "password"))  # fmt: skip
    credentials = f"{user}:{password}@" if password else f"{user}@" if user else ""
    url = f"{scheme}://{credentials}{bracketed(text_in(proxy, 'host').strip('[]'))}:{text_in(proxy, 'port')}"
    note = "" if field == "fallbackProxy" else "also for what the profile sends direct: it has a proxy for some schemes"
    try:
        return ForeignRelay(name, relay_of(RelayLink(url, "")).url, note)
    except ValueError as error:
        return ForeignRelay(name, "", str(error))
