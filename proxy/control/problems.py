"""What is wrong at the moment, each in a sentence and with the one thing to do about it.

This is what `byway status` opens with. A problem is something that its user can end: a file to mend, a relay to add, a
certificate to trust. What Byway gets over by itself is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from proxy.control.documents import Document
from proxy.detect.words import network_in_words
from proxy.extend.keeper import AddonState
from proxy.model import NetworkState, State
from proxy.wire.relay_url import redact

Said = Iterator[tuple[str, str]]
"""What is wrong, and what to do."""

_NAMED = 3  # sites that a sentence names


@dataclass(frozen=True, slots=True)
class Standing:
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


def problems(standing: Standing) -> list[Document]:
    """The heaviest parts first: what the user wrote, where the user is, which sites, which relays, the log."""
    parts = (_of_files, _of_network, _of_sites, _of_relays, _of_log)
    return [{"text": text, "do": do} for part in parts for text, do in part(standing)]


def _of_files(standing: Standing) -> Said:
    if rejected := standing.live.get("config_problem"):
        yield f"The edited configuration is not in use: {redact(str(rejected))}", "byway config check"
    for addon in standing.addons:
        if addon.problems:
            goes_on = "; the version before it goes on" if addon.running else ""
            yield f"Addon {addon.name} does not load: {redact(addon.problems[0])}{goes_on}.", "byway addons list"
        elif addon.is_off:
            fault = redact(addon.last_fault)
            yield f"Addon {addon.name} is switched off after its faults: {fault}.", f"edit {addon.file.path}"
    if lost := standing.live.get("addons_missing"):
        yield redact(str(lost)), "byway addons list"


def _of_network(standing: Standing) -> Said:
    if passing := standing.live.get("uninspected"):
        text = f"Programs refuse our certificate for {passing}, so that is not inspected for some hours."
        yield text, "byway ca trust, or leave INSPECT off for it"
    if told := network_in_words(standing.network):
        yield told


def _of_sites(standing: Standing) -> Said:
    read = [held["scope"] for held in standing.troubled if held["cause"] == "interception"]
    if read:
        only = "they go by relays alone" if standing.relays else "without a relay they are not opened at all"
        text = f"Somebody on this network reads what is sent to {', '.join(read[:_NAMED])}"
        yield f"{text}{' and others' if read[_NAMED:] else ''}; {only}.", f"byway why {read[0]}"
    blocked = [held for held in standing.troubled if held["state"] != State.DOWN and held["cause"] != "refused"]
    if blocked and not standing.relays:
        many = "1 site is" if len(blocked) == 1 else f"{len(blocked)} sites are"
        yield f"{many} blocked, and there is no relay to go around.", "byway relay add URL"


def _of_relays(standing: Standing) -> Said:
    for relay in standing.relays:
        if relay["state"] == "failing":
            yield f"Relay {relay['name']} keeps failing: {relay['error']}", f"byway relay test {relay['name']}"


def _of_log(standing: Standing) -> Said:
    if standing.log_trouble:
        yield f"The log cannot be written: {standing.log_trouble}", "look whether the disk is full"
    elif dropped := standing.live.get("dropped_rows"):
        yield f"{dropped} lines of the log were lost.", "nothing: new ones are written again"
