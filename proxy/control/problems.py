"""What is wrong at the moment, each in a sentence and with the one thing to do about it.

This is what `byway status` opens with. A problem is something that its user can end: a file to mend, a relay to add, a
certificate to trust. What Byway gets over by itself is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.control.serialize import Document
from proxy.detect.verdict.labels import network_in_words
from proxy.detect.verdict.site_status import SiteStatus
from proxy.extend.manager import AddonState
from proxy.model import NetworkState
from proxy.wire.relay_url import redact

Problems = Iterator[tuple[str, str]]
"""What is wrong, and what to do."""

_NAMED = 3  # sites that a sentence names


@dataclass(frozen=True, slots=True)
class StatusSnapshot:
    """How everything is. Relays and sites are as `documents` writes them down."""

    live: Mapping[str, int | float | str]
    """Counters of the moment."""
    network: NetworkState
    relays: Sequence[Document]
    troubled: Sequence[Document]
    """Beliefs about sites that are in trouble on this network."""
    addons: Sequence[AddonState]
    log_trouble: str
    """Why the log cannot be written; empty when it can."""


def problems(standing: StatusSnapshot) -> list[Document]:
    """Relays that fail first, since nothing is rescued without them; then what the user wrote, the network, the sites,
    the log."""
    parts = (_of_relays, _of_files, _of_network, _of_sites, _of_log)
    return [{"text": text, "do": do} for part in parts for text, do in part(standing)]


def _of_files(standing: StatusSnapshot) -> Problems:
    if rejected := standing.live.get("config_problem"):
        yield f"The edited configuration is not in use: {redact(str(rejected))}", "byway config check"
    for problem in str(standing.live.get("list_problems", "")).splitlines():
        yield f"{problem}.", "byway rule check"
    for addon in standing.addons:
        if addon.problems:
            goes_on = "; the previous version keeps running" if addon.running else ""
            yield f"Addon {addon.name} does not load: {redact(addon.problems[0])}{goes_on}.", "byway addons list"
        elif addon.is_off:
            fault = redact(addon.last_fault)
            yield f"Addon {addon.name} was disabled after repeated faults: {fault}.", f"edit {addon.file.path}"
    if lost := standing.live.get("addons_missing"):
        yield redact(str(lost)), "byway addons list"


def _of_network(standing: StatusSnapshot) -> Problems:
    if passing := standing.live.get("uninspected"):
        text = f"{passing}: a client rejected Byway's certificate; inspection is off for 6 h."
        yield text, "byway ca trust, or remove INSPECT from its rule"
    if problem := network_in_words(standing.network):
        yield problem


def _of_sites(standing: StatusSnapshot) -> Problems:
    read = [site["scope"] for site in standing.troubled if SiteStatus.INTERCEPTED in _called(site)]
    if read:
        only = "Using relays only" if standing.relays else "Without a relay it is not opened"
        names = f"{', '.join(read[:_NAMED])}{' and others' if read[_NAMED:] else ''}"
        yield f"TLS interception: {names}. {only}.", f"byway why {read[0]}"
    blocked = [site for site in standing.troubled if not _BLOCKED.isdisjoint(_called(site))]
    if blocked and not standing.relays:
        many = "1 site is" if len(blocked) == 1 else f"{len(blocked)} sites are"
        yield f"{many} blocked, and there is no relay.", "byway relay add URL"


_BLOCKED = frozenset({SiteStatus.BLOCKED, SiteStatus.LIKELY_BLOCKED, SiteStatus.SLOW, SiteStatus.INTERCEPTED})


def _called(site: Document) -> tuple[str, str]:
    """What it is called now, and by what is stored: behind a portal the former says nothing of the site."""
    return site["words"], site["stored_words"]


def _of_relays(standing: StatusSnapshot) -> Problems:
    for relay in standing.relays:
        if (fault := relay["fault"]) is not None:
            yield f"Relay {relay['name']} fails: {fault['text']}.", fault["do"]
        elif relay["state"] == "failing":
            yield f"Relay {relay['name']} keeps failing: {relay['error']}", f"byway relay test {relay['name']}"


def _of_log(standing: StatusSnapshot) -> Problems:
    if not_stored := standing.live.get("not_stored"):
        yield f"Nothing is stored: {not_stored}", "free space or make the folder writable, then restart Byway"
    if standing.log_trouble:
        yield f"The log cannot be written: {standing.log_trouble}", "check whether the disk is full"
    elif dropped := standing.live.get("dropped_rows"):
        yield f"{dropped} log entries were lost.", "nothing: new ones are written again"
