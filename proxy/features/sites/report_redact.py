"""Removes private data from a report: relays, networks, rules, and addresses that are not the site's own.

`full` leaves only data about the site; `relay` removes only relays; `none` removes nothing. No answer of a running
Byway has passwords of relays, so no report has. Values of the configuration are removed wherever they occur. The reason
for which a route was not tested is left out, since it is often a rule or an override, and so is the text of a relay's
error: a relay may name itself in ways that cannot be foreseen.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from proxy.config.schema import Settings
from proxy.features.sites.report_sites import Examination, Site, is_direct
from proxy.model.document import Document
from proxy.routing.rule import RuleType

_ADDRESS = re.compile(r"\[?(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3})\]?")
_HIDDEN = "[address]"
_PRIVATE = "[private]"


class Redact(StrEnum):
    FULL = "full"
    RELAY = "relay"
    NONE = "none"


def redacted(
    sites: Sequence[Site], relays: Sequence[Mapping[str, Any]], how: Redact, private: Collection[str] = ()
) -> list[Site]:
    """Returns the sites without the data that `how` removes. `relays` are the configured ones, as in the answer to
    `/v1/relays`, and `private` are other private values of the configuration."""
    if how is Redact.NONE:
        return list(sites)
    redactor = _Redactor(relays, sites, private, full=how is Redact.FULL)
    return [redactor.site(site) for site in sites]


def private_values(settings: Settings) -> Collection[str]:
    """Returns the values of the configuration that may identify the user: names, places and users."""
    urls = [relay.url for relay in settings.relay]
    users = (url.username for url in map(_split, (part for chain in urls for part in chain.split(">"))) if url)
    values = {
        *settings.networks,
        *urls,
        *(user for user in users if user),
        *(relay.name for relay in settings.relay),
        *(host for url in urls for host in _hosts(url)),
        *(group.name for group in settings.group),
        *(text for listed in settings.list for text in (listed.name, listed.source)),
        *settings.addons,
        settings.listen.user,
        str(Path.home()),
    }
    return values - {"", "/"}


class _Redactor:
    """Gives relays and networks numbers instead of names, the same ones throughout a report."""

    def __init__(
        self, relays: Sequence[Mapping[str, Any]], sites: Sequence[Site], private: Collection[str], *, full: bool
    ) -> None:
        self._full = full
        self._relays = {relay["name"]: f"relay-{place}" for place, relay in enumerate(relays, 1)}
        self._networks: dict[str, str] = {}
        places = {host for relay in relays for host in _hosts(relay["url"])}
        used = {name for site in sites for name in _relays_used(site)}  # some may not be configured any more
        self._names = _any_of({*self._relays, *places, *used})
        self._private = _any_of(private if full else ())

    def site(self, site: Site) -> Site:
        own = frozenset().union(*(_own_addresses(one.steps) for one in site.examinations))
        return replace(
            site,
            belief=self._value(site.belief, own),
            timeline=tuple(self._value(spell, own) for spell in site.timeline),
            examinations=tuple(self._examination(one, own) for one in site.examinations),
        )

    def _value(self, value: Any, own: frozenset[str], key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {name: self._value(part, own, name) for name, part in value.items()}
        if not isinstance(value, str) or key in _OURS:
            return value
        if key == "network":
            return self._network(value)
        if key == "last_good":
            return self._route(value) if value else ""
        return self._text(value, own)

    def _examination(self, one: Examination, own: frozenset[str]) -> Examination:
        return replace(
            one,
            url=one.url.partition("?")[0] if self._full else one.url,
            words=self._text(one.words, own),
            seen=self._text(_without_reasons(one), own),
            network=self._network(one.network),
            steps=tuple(self._step(step, own) for step in one.steps),
            routes=tuple(
                {**route, "route": self._route(route["route"]), "text": self._message(route, own)}
                for route in one.routes
            ),
        )

    def _step(self, step: Mapping[str, Any], own: frozenset[str]) -> Document:
        relayed = not is_direct(step["route"])
        if self._full and step["part"] == "control":  # which sites are domestic shows the country
            return {**step, "address": "", "text": "another site", "evidence": {}}
        evidence = {
            key: self._fact(key, value, own) if isinstance(value, str) else value
            for key, value in step["evidence"].items()
            if not (relayed and isinstance(value, str) and key not in _OF_THE_SITE)
            if not (self._full and key == "addons")  # names and texts of the user's own addons
        }
        return {
            **step,
            "route": self._route(step["route"]),
            "address": "" if relayed else step["address"],
            "text": self._message(step, own),
            "evidence": evidence,
        }

    def _fact(self, key: str, value: str, own: frozenset[str]) -> str:
        """Redacts a value of the evidence. A redirect of a censor may hold a number that identifies the customer."""
        return self._text(value.partition("?")[0] if self._full and key in _URLS else value, own)

    def _message(self, step: Mapping[str, Any], own: frozenset[str]) -> str:
        if step["result"] == "not_tested" or not is_direct(step["route"]):
            return ""
        return self._text(step["text"], own)

    def _route(self, route: str) -> str:
        path, *wrap = route.split("|")
        if path != "direct":
            path = ">".join(self._relays.get(name, "relay") for name in path.split(">"))
        return "|".join((path, *wrap))

    def _network(self, network: str) -> str:
        if not self._full:
            return network
        return self._networks.setdefault(network, f"network-{len(self._networks) + 1}")

    def _text(self, text: str, own: frozenset[str]) -> str:
        text = _RULE.sub("[rule]", _REASON.sub(r"\1", text))
        if self._private is not None:
            text = self._private.sub(lambda match: self._relays.get(match[0], _PRIVATE), text)
        if self._names is not None:
            text = self._names.sub(lambda match: self._relays.get(match[0], "relay"), text)
        if not self._full:
            return text
        return _ADDRESS.sub(lambda match: match[0] if _canonical(match[0]) in ("", *own) else _HIDDEN, text)


_OF_THE_SITE = frozenset({"location", "elsewhere", "page"})
"""Evidence whose text comes from the site, or from the censor in its place, and not from a relay."""

_URLS = frozenset({"location", "elsewhere"})

_OURS = frozenset(
    {"scope", "site", "state", "words", "glyph", "cause", "plain", "because", "stored_words", "stored_cause", "source"}
)
"""Keys of a status whose text is a fixed word, or the site."""

_REASON = re.compile(r"\b(direct was not tested|relays only): [^;]*")
"""The reason in the words of a verdict for which a route was not tested."""

_RULE = re.compile(rf"\b(?:{'|'.join(RuleType)}),(?=\S)[^;]*|\bsite set [^;]*", re.IGNORECASE)
"""A rule or an override, by its form: the one that decided may have changed since, and there may be 100,000."""


def _any_of(values: Collection[str]) -> re.Pattern[str] | None:
    """Returns a pattern for any of these values as a whole, the longest first; None without values."""
    longest = sorted(filter(None, values), key=len, reverse=True)
    return re.compile("|".join(rf"(?<![\w.-]){re.escape(each)}(?![\w-])" for each in longest)) if longest else None


def _relays_used(site: Site) -> Iterator[str]:
    """Yields the names of the relays in all routes of a site's report."""
    routes = [site.belief["last_good"] or "direct"]
    routes += (step["route"] for one in site.examinations for step in (*one.steps, *one.routes))
    for route in routes:
        if not is_direct(route):
            yield from route.split("|", 1)[0].split(">")


def _without_reasons(one: Examination) -> str:
    """Returns the evidence of a measurement, without the reasons for which routes were not tested."""
    seen = one.seen
    for step in (*one.steps, *one.routes):
        if step["result"] == "not_tested" and step["text"]:
            seen = seen.replace(step["text"], "[reason]")
    return seen


def _hosts(url: str) -> list[str]:
    """Returns the hosts of a relay's URL or chain, without loopback, which identifies nobody."""
    hosts = (parts.hostname for part in url.split(">") if (parts := _split(part)) is not None)
    return [host for host in hosts if host and host not in ("127.0.0.1", "localhost", "::1")]


def _split(url: str) -> SplitResult | None:
    """Returns the parts of a URL; None for a text that is none."""
    try:
        return urlsplit(url.strip())
    except ValueError:
        return None


def _own_addresses(steps: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Returns the addresses of the site: those dialed direct, and those of its name."""
    addresses = set()
    for step in steps:
        if not is_direct(step["route"]) or step["part"] == "control":
            continue
        texts = [step["address"]]
        if step["part"] in ("resolve", "secure") and step["result"] == "ok":
            texts.append(step["text"])
        addresses |= {_canonical(match[0]) for text in texts for match in _ADDRESS.finditer(text)}
    return frozenset(addresses - {""})


def _canonical(text: str) -> str:
    """Returns an address in canonical spelling; empty for another text, such as a time of day."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return ""
