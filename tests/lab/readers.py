"""Every place that shows the state of a site: its word, cause and beginning in each of them.

These are commands, documents, a report and pages of a real Byway in the country. They rest on one state, so all of them
must show the same for a site at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tests.lab.country import Running
from tests.support.dashboard import Browser, Pages, time_on_page

NEWS = frozenset({"blocked", "likely blocked", "intercepted", "slow"})
"""The words that the page Home marks as new."""


@dataclass(frozen=True)
class Said:
    """The statement of one place about a site. `since` is None where it is not known."""

    words: str
    cause: str
    since: float | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Said:
        return cls(document["words"], document["cause"], document["since"])


NOTHING = Said("", "", None)
"""The site is not listed."""

States = Mapping[str, Said]
Disagreements = dict[str, dict[str, Any]]
"""The deviating statements, by host and place."""


async def states(byway: Running, hosts: Collection[str]) -> States:
    """Returns the API's statement about each site."""
    return {host: Said.of((await byway.ask(f"/v1/sites/{host}"))["belief"]) for host in hosts}


async def disagreements(byway: Running, hosts: Collection[str]) -> tuple[States, Disagreements]:
    """Returns the statement about each site, and the places where another one stands."""
    before = await states(byway, hosts)
    tested = [host for host in hosts if before[host].words != "not tested"]
    documents, read = await asyncio.gather(_documents(byway, hosts, tested), _pages(byway, hosts))
    said = await states(byway, hosts)
    settled = {host for host in hosts if before[host] == said[host]}  # else it changed while it was read
    found: Disagreements = {}
    for host in settled:
        shown = (await byway.ask(f"/v1/sites/{host}"))["belief"]
        wanted = dict.fromkeys(documents, said[host])
        if not shown["is_trouble"]:
            wanted |= dict.fromkeys(("status", "site list", "/v1/status", "/v1/sites"), NOTHING)
        if shown["words"] == "not tested":
            wanted["report"] = NOTHING
        told = {place: by_host.get(host, NOTHING) for place, by_host in documents.items()}
        wrong: dict[str, Any] = {place: told[place] for place in documents if told[place] != wanted[place]}
        wrong |= _misread(read, host, shown)
        if wrong:
            found[host] = {"": said[host], **wrong}
    return {host: said[host] for host in settled}, found


async def _documents(byway: Running, hosts: Collection[str], tested: Collection[str]) -> Mapping[str, States]:
    """Returns the statement of each command and document, by its place and the site. A report contains the tested sites
    alone."""

    async def known(host: str) -> Said:
        return Said.of((await byway.ask("/v1/why", host=host))["belief"])

    done = await byway.commands(
        *(("site", "show", host, "--json") for host in hosts),
        ("site", "list", "--json"),
        ("status", "--json"),
        ("report", *tested, "--format", "json", "--redact", "none", "--exact-times"),
    )
    *shown, listed, status, report = (json.loads(each.stdout) for each in done)
    return {
        "site show": {host: Said.of(site["belief"]) for host, site in zip(hosts, shown, strict=True)},
        "site list": _by_host(listed["sites"]),
        "status": _by_host(status["sites"]),
        "report": {site["host"]: Said.of(site["belief"]) for site in report["sites"]},
        "/v1/why": {host: await known(host) for host in hosts},
        "/v1/sites": _by_host((await byway.ask("/v1/sites"))["sites"]),
        "/v1/status": _by_host((await byway.ask("/v1/status"))["sites"]),
    }


def _by_host(sites: Collection[Mapping[str, Any]]) -> States:
    return {site["site"]: Said.of(site) for site in sites if site["is_trouble"]}


@dataclass(frozen=True)
class _Read:
    """The text of the pages."""

    home: str
    sites: str
    site: Mapping[str, str]


async def _pages(byway: Running, hosts: Collection[str]) -> _Read:
    async with signed_in(byway) as browser:
        site = {host: await browser.text(f"sites/{host}") for host in hosts}
        return _Read(await browser.text(), await browser.text("sites"), site)


def _misread(read: _Read, host: str, shown: Mapping[str, Any]) -> dict[str, str]:
    """Returns the pages that do not show the same as the document of a site."""
    found, text = {}, read.site[host]
    said = f"{shown['glyph']} {shown['words']}"
    since = time_on_page(shown["since"]) if shown["since"] else ""
    headed = f"{re.escape(said)} on .{{1,60}}?{f' · since {since} ' if since else ''}"
    if not re.search(headed, text) or shown["plain"] not in text:
        found["site page"] = text[:600]
    if shown["is_trouble"]:
        _, is_there, row = read.sites.partition(f" {host} {said} ")
        if not is_there or not re.search(f" {re.escape(shown['plain'] or '–')} {since or '–'} ", row[:1500]):
            found["Sites"] = row[:300] if is_there else "no row"
    cause = f"{re.escape(shown['plain'])} " if shown["plain"] else "no cause is known"
    new = re.search(f" {re.escape(host)} became blocked: {cause}, {since}", read.home)
    if (new is not None) is not (shown["words"] in NEWS):
        _, is_there, row = read.home.partition(f" {host} ")
        found["Home"] = row[:200] if is_there else "no row"
    return found


@contextlib.asynccontextmanager
async def signed_in(byway: Running) -> AsyncIterator[Browser]:
    """Yields a browser with a session of the dashboard."""
    async with byway.door(), byway.api() as api, Pages(byway.port, api).signed_in() as browser:
        yield browser
