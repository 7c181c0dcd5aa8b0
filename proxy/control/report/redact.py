"""Removes from a report what may harm its user: relays, networks, and addresses that are not the site's own.

`full` leaves only what concerns the site; `relay` removes the relays alone; `none` removes nothing. No answer of a
running Byway has passwords of relays, so no report has. The text of a relay's error is left out rather than searched:
the relay may name itself in ways that cannot be foreseen.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from proxy.control.report.sites import Document, Examination, Site, is_direct

_ADDRESS = re.compile(r"\[?(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3})\]?")
_HIDDEN = "[address]"


class Redact(StrEnum):
    FULL = "full"
    RELAY = "relay"
    NONE = "none"


def redacted(sites: Sequence[Site], relays: Sequence[Mapping[str, Any]], how: Redact) -> list[Site]:
    """Returns the sites without what `how` removes; `relays` are the configured ones, as in the answer to
    `/v1/relays`."""
    if how is Redact.NONE:
        return list(sites)
    redactor = _Redactor(relays, full=how is Redact.FULL)
    return [redactor.site(site) for site in sites]


class _Redactor:
    """Gives relays and networks numbers instead of names, the same ones throughout a report."""

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
                {**route, "route": self._route(route["route"]), "text": self._message(route, own)}
                for route in one.routes
            ),
        )

    def _step(self, step: Mapping[str, Any], own: frozenset[str]) -> Document:
        relayed = not is_direct(step["route"])
        if self._full and step["part"] == "control":  # which sites are domestic shows the country
            return {**step, "address": "", "text": "another site", "evidence": {}}
        evidence = {
            key: self._text(value, own) if isinstance(value, str) else value
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

    def _message(self, step: Mapping[str, Any], own: frozenset[str]) -> str:
        return self._text(step["text"], own) if is_direct(step["route"]) else ""

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
            text = self._names.sub(lambda match: self._relays.get(match[0], "relay"), text)
        if not self._full:
            return text
        return _ADDRESS.sub(lambda match: match[0] if _canonical(match[0]) in ("", *own) else _HIDDEN, text)


_OF_THE_SITE = frozenset({"location", "elsewhere", "page"})
"""Evidence whose text comes from the site, or from the censor in its place, and not from a relay."""


def _hosts(url: str) -> list[str]:
    """Returns the hosts of a relay's URL or chain, without loopback, which identifies no one."""
    hosts = []
    for part in url.split(">"):
        try:
            host = urlsplit(part.strip()).hostname
        except ValueError:
            host = None
        if host and host not in ("127.0.0.1", "localhost", "::1"):
            hosts.append(host)
    return hosts


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
