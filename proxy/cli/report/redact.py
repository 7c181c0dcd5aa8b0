"""Takes out of a report what may harm its user: relays, networks, and addresses that are not the site's own.

`full` leaves only what concerns the site; `relay` hides the relays alone; `none` hides nothing. Passwords of relays
are in no answer of a Byway's, so in no report either. What a relay says in its own words is left out rather than
searched: it may name itself in ways that cannot be foreseen.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from proxy.cli.report.sites import Document, Examination, Site

_ADDRESS = re.compile(r"\[?(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3})\]?")
_HIDDEN = "[address]"


class Redact(StrEnum):
    FULL = "full"
    RELAY = "relay"
    NONE = "none"


def redacted(sites: Sequence[Site], relays: Sequence[Mapping[str, Any]], how: Redact) -> list[Site]:
    """The same sites without what shall not be told; `relays` are those that are configured, as `/v1/relays` has
    them."""
    if how is Redact.NONE:
        return list(sites)
    redactor = _Redactor(relays, full=how is Redact.FULL)
    return [redactor.site(site) for site in sites]


class _Redactor:
    def __init__(self, relays: Sequence[Mapping[str, Any]], *, full: bool) -> None:
        self._full = full
        self._relays = {relay["name"]: f"relay-{place}" for place, relay in enumerate(relays, 1)}
        self._networks: dict[str, str] = {}
        places = {host for relay in relays for host in _hosts(relay["url"])}
        known = sorted((*self._relays, *places), key=len, reverse=True)
        self._names = (
            re.compile("|".join(rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in known)) if known else None
        )

    def site(self, site: Site) -> Site:
        own = frozenset().union(*(_own_addresses(one.steps) for one in site.examinations))
        belief = {
            **site.belief,
            "network": self._network(site.belief["network"]),
            "evidence": self._text(site.belief["evidence"], own),
            "last_good": self._route(site.belief["last_good"]) if site.belief["last_good"] else "",
        }
        if last := site.belief["last_result"]:
            belief["last_result"] = {**last, "text": self._text(last["text"], own)}
        return Site(
            site.host,
            belief,
            tuple(
                {
                    **spell,
                    "network": self._network(spell["network"]),
                    "began": self._text(spell["began"], own),
                    "ended": self._text(spell["ended"], own),
                }
                for spell in site.timeline
            ),
            tuple(self._examination(one, own) for one in site.examinations),
        )

    def _examination(self, one: Examination, own: frozenset[str]) -> Examination:
        return replace(
            one,
            url=one.url.partition("?")[0] if self._full else one.url,
            words=self._text(one.words, own),
            seen=self._text(one.seen, own),
            network=self._network(one.network),
            steps=tuple(self._step(step, own) for step in one.steps),
            routes=tuple(
                {**route, "route": self._route(route["route"]), "text": self._said(route, own)} for route in one.routes
            ),
        )

    def _step(self, step: Mapping[str, Any], own: frozenset[str]) -> Document:
        relayed = not _is_direct(step["route"])
        if self._full and step["part"] == "control":  # which sites are at home here tells where that is
            return {**step, "address": "", "text": "another site", "evidence": {}}
        evidence = {
            key: self._text(value, own) if isinstance(value, str) else value
            for key, value in step["evidence"].items()
            if not (relayed and isinstance(value, str) and key not in _OF_THE_SITE)
            if not (self._full and key == "addons")  # what the user's own rules are called, and say
        }
        return {
            **step,
            "route": self._route(step["route"]),
            "address": "" if relayed else step["address"],
            "text": self._said(step, own),
            "evidence": evidence,
        }

    def _said(self, step: Mapping[str, Any], own: frozenset[str]) -> str:
        return "" if not _is_direct(step["route"]) else self._text(step["text"], own)

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
        if self._names is not None:
            text = self._names.sub(lambda found: self._relays.get(found[0], "relay"), text)
        if not self._full:
            return text
        return _ADDRESS.sub(lambda found: found[0] if _plain(found[0]) in ("", *own) else _HIDDEN, text)


_OF_THE_SITE = frozenset({"location", "elsewhere", "page"})
"""Evidence in words that the site, or who stands in its place, has said."""


def _is_direct(route: str) -> bool:
    return route.split("|", 1)[0] == "direct"


def _hosts(url: str) -> list[str]:
    """The hosts of a relay's URL, or of a chain's; not those that everybody has."""
    found = []
    for part in url.split(">"):
        try:
            host = urlsplit(part.strip()).hostname
        except ValueError:
            host = None
        if host and host not in ("127.0.0.1", "localhost", "::1"):
            found.append(host)
    return found


def _own_addresses(steps: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Addresses that stand for the site: those that were dialed direct, and those that its name led to."""
    found = set()
    for step in steps:
        if not _is_direct(step["route"]) or step["part"] == "control":
            continue
        texts = [step["address"]]
        if step["part"] in ("resolve", "secure") and step["result"] == "ok":
            texts.append(step["text"])
        found |= {_plain(match[0]) for text in texts for match in _ADDRESS.finditer(text)}
    return frozenset(found - {""})


def _plain(text: str) -> str:
    """An address in one spelling; empty when it is none, as a time of day is not."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return ""
