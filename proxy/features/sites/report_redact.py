"""Removes from a report what may harm its user: relays, networks, rules, and addresses that are not the site's own.

`full` leaves only what concerns the site; `relay` removes the relays alone; `none` removes nothing. No answer of a
running Byway has passwords of relays, so no report has. What the user has written is removed by its value, as the
configuration has it, wherever it stands. Why a route was not tested is left out, since a rule or an override is often
the reason, and so is the text of a relay's error: the relay may name itself in ways that cannot be foreseen.
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
from proxy.features.sites.report_sites import Document, Examination, Site, is_direct
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
    """Returns the sites without what `how` removes; `relays` are the configured ones, as in the answer to
    `/v1/relays`, and `private` what else of the configuration may not be told."""
    if how is Redact.NONE:
        return list(sites)
    redactor = _Redactor(relays, sites, private, full=how is Redact.FULL)
    return [redactor.site(site) for site in sites]


def private_values(settings: Settings) -> Collection[str]:
    """Returns what the user has written in the configuration that may say who he is: names, places and users."""
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
        used = {name for site in sites for name in _relays_used(site)}  # not all of them are configured still
        self._names = _any_of({*self._relays, *places, *used})
        self._private = _any_of(private if full else ())

    def site(self, site: Site) -> Site:
        own = frozenset().union(*(_own_addresses(one.steps) for one in site.examinations))
        return replace(
            site,
            belief=self._document(site.belief, own),
            timeline=tuple(self._document(spell, own) for spell in site.timeline),
            examinations=tuple(self._examination(one, own) for one in site.examinations),
        )

    def _document(self, document: Mapping[str, Any], own: frozenset[str]) -> Document:
        return {key: self._value(key, value, own) for key, value in document.items()}

    def _value(self, key: str, value: Any, own: frozenset[str]) -> Any:
        if isinstance(value, Mapping):
            return self._document(value, own)
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
        """A redirect of a censor may hold a number by which the provider knows its customer."""
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
    {"scope", "site", "state", "words", "glyph", "cause", "because", "stored_words", "stored_cause", "source"}
)
"""Keys of a status whose text is a word of ours, or the site."""

_REASON = re.compile(r"\b(direct was not tested|relays only): [^;]*")
"""In the words of a verdict: why something was not tested."""

_RULE = re.compile(rf"\b(?:{'|'.join(RuleType)}),(?=\S)[^;]*|\bsite set [^;]*", re.IGNORECASE)
"""A rule or an override. By its form: those that decided may have been changed since, and there may be 100,000."""


def _any_of(values: Collection[str]) -> re.Pattern[str] | None:
    """Returns what finds any of these values as a whole, the longest first; None without values."""
    longest = sorted(filter(None, values), key=len, reverse=True)
    return re.compile("|".join(rf"(?<![\w.-]){re.escape(each)}(?![\w-])" for each in longest)) if longest else None


def _relays_used(site: Site) -> Iterator[str]:
    """Yields the names of the relays of all routes that a site's report names."""
    routes = [site.belief["last_good"] or "direct"]
    routes += (step["route"] for one in site.examinations for step in (*one.steps, *one.routes))
    for route in routes:
        if not is_direct(route):
            yield from route.split("|", 1)[0].split(">")


def _without_reasons(one: Examination) -> str:
    """Returns what a measurement saw, without the reasons for which routes were not tested."""
    seen = one.seen
    for step in (*one.steps, *one.routes):
        if step["result"] == "not_tested" and step["text"]:
            seen = seen.replace(step["text"], "[reason]")
    return seen


def _hosts(url: str) -> list[str]:
    """Returns the hosts of a relay's URL or chain, without loopback, which identifies no one."""
    hosts = (parts.hostname for part in url.split(">") if (parts := _split(part)) is not None)
    return [host for host in hosts if host and host not in ("127.0.0.1", "localhost", "::1")]


def _split(url: str) -> SplitResult | None:
    """None: it is no URL."""
    try:
        return urlsplit(url.strip())
    except ValueError:
        return None


def _own_addresses(steps: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Returns the addresses of the site: those that were dialed direct, and those that its name resolved to."""
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
    """Returns an address in canonical spelling; empty for what is none, such as a time of day."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return ""
