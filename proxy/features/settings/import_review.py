"""The changes of an import of a configuration that its user should know before, in words.

A file from somebody else can send all traffic through their relay, make Byway decrypt it, or open the local network to
web pages. Each such change is a sentence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from proxy.config.schema import Settings
from proxy.model import Action, Destination, literal
from proxy.routing.rule import Rule, RuleType
from proxy.wire import relay_url
from proxy.wire.relay_url import redact
from proxy.wire.url_secrets import hide_secrets

_SHOWN = 5
"""The most sentences about rules of one kind; the others are counted."""


def review(after: Settings, before: Settings, rules: Sequence[Rule], old_rules: Sequence[Rule]) -> Iterator[str]:
    """Yields the sentences, without a full stop. `before` and `old_rules` are those in use now."""
    yield from _reach(after, before)
    yield from _relays(after, before)
    yield from _names(after, before)
    yield from _rules(rules, old_rules)
    yield from _traces(after, before)


def _reach(after: Settings, before: Settings) -> Iterator[str]:
    for allowed in after.safety.allow:
        if allowed not in before.safety.allow:
            yield f"web pages may reach {redact(allowed)} although it is private ([safety] allow)"
    listen = after.listen
    address = literal(listen.address)
    if listen.address != before.listen.address and not (address is not None and address.is_loopback):
        user = f"with the password of {listen.user}" if listen.user else "without a password"
        yield f"other computers may use Byway, at {listen.address}, {user}"


def _relays(after: Settings, before: Settings) -> Iterator[str]:
    old = {relay.name: relay for relay in before.relay}
    for relay in after.relay:
        was = old.pop(relay.name, None)
        if was is None or _places(was.url) != _places(relay.url):
            verb = "is new and sends" if was is None else "now sends"
            yield f"relay {relay.name} {verb} traffic to {', then '.join(_places(relay.url))}"
        if relay.allow_plaintext_credentials and not (was is not None and was.allow_plaintext_credentials):
            yield f"relay {relay.name} may get its password without encryption"
        if was is not None and was.enabled and not relay.enabled:
            yield f"relay {relay.name} is not used any more"
    for name in old:
        yield f"relay {name} is removed"
    if after.auto.never_relay != before.auto.never_relay and after.auto.never_relay:
        yield f"AUTO never uses a relay for {', '.join(after.auto.never_relay)}"


def _places(chain: str) -> list[str]:
    """Returns the relays of a chain, each as its address or its name."""
    try:
        return [hop if isinstance(hop, str) else _place(hop) for hop in relay_url.parse_hops(chain)]
    except ValueError:
        return [redact(chain)]  # the check of the whole file reports the error


def _place(url: relay_url.RelayUrl) -> str:
    return str(Destination(url.host, url.port))


def _names(after: Settings, before: Settings) -> Iterator[str]:
    if after.dns.servers != before.dns.servers:
        yield f"encrypted DNS asks {', '.join(map(hide_secrets, after.dns.servers)) or 'no server'}"
    if after.dns.secure != before.dns.secure:
        yield f"encrypted DNS is used {after.dns.secure.replace('-', ' ')}"
    for host, address in after.dns.hosts.items():
        if before.dns.hosts.get(host) != address:
            yield f"{host} is taken to be at {address} ([dns.hosts])"
    old = {listed.name: listed.source for listed in before.list}
    for listed in after.list:
        if listed.url and old.get(listed.name) != listed.source:
            yield f"list {listed.name} is fetched from {urlsplit(listed.source).hostname}"
    followed = {item.name: item.source for item in before.subscription}
    for item in after.subscription:
        if followed.get(item.name) != item.source:
            yield f"group {item.name} sends traffic to the relays of a file at {urlsplit(item.source).hostname}"


def _rules(rules: Sequence[Rule], old_rules: Sequence[Rule]) -> Iterator[str]:
    new = _lines(rules) - _lines(old_rules)
    added = [rule for rule in rules if new[rule.text] > 0]
    kinds = (
        ("Byway decrypts the connections of {rule}", [rule for rule in added if rule.intercept]),
        ("{rule} decides about all other sites", [rule for rule in added if rule.type is RuleType.MATCH]),
    )
    for sentence, matching in kinds:
        for rule in matching[:_SHOWN]:
            yield sentence.format(rule=f"{rule.source}:{rule.line} {rule.text}")
        if len(matching) > _SHOWN:
            yield f"{len(matching) - _SHOWN} more rules like these"
    lost = (_lines(old_rules) - _lines(rules)).total()
    relayed = {rule.text for rule in old_rules if rule.action is Action.RELAY}
    if gone := sum(count for text, count in (_lines(old_rules) - _lines(rules)).items() if text in relayed):
        yield f"of {lost} rules that are removed, {gone} send sites through relays only"


def _lines(rules: Sequence[Rule]) -> Counter[str]:
    return Counter(rule.text for rule in rules)


def _traces(after: Settings, before: Settings) -> Iterator[str]:
    if after.log.hosts != before.log.hosts:
        what = {"all": "all visited hosts are logged by name", "off": "no host is logged by name"}
        yield what.get(after.log.hosts, "hosts are logged by name where Byway decided something")
    if after.log.keep_days > before.log.keep_days:
        yield f"the log is kept for {after.log.keep_days:g} days"
    if gone := [pattern for pattern in before.log.never if pattern not in after.log.never]:
        yield f"hosts like {', '.join(gone)} may be logged and tested"
