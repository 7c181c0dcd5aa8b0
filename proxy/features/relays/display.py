"""Prints relays, groups and results of tests. A person sees rough times, and no empty column."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from textwrap import shorten
from typing import TYPE_CHECKING

from proxy.languages.amounts import ago, clock, span
from proxy.model.document import Document
from proxy.terminal.command import Invocation

if TYPE_CHECKING:
    from proxy.features.relays.local_scan import LocalScan

_DETAILS_LENGTH = 120
"""Characters of the details of a test."""

_NO_RELAY = "There is no relay. Add one with `byway relay add URL`."


def state_words(relay: Document) -> str:
    """Returns the state of a relay, with its usual time to the first byte or the time of the last test, and the
    obstacle to it."""
    tested = relay["test"]["elapsed_s"] if relay["test"] is not None and relay["test"]["ok"] else None
    took_s = relay["usual_s"] or tested
    words = f"{relay['words']} ({span(took_s)})" if relay["words"] in ("works", "slow") and took_s else relay["words"]
    return words if relay["obstacle"] is None else f"{words}; {relay['obstacle']['words']}"


def show_listeners(call: Invocation, local: LocalScan) -> None:
    rows = [local.row(listener) for listener in local.found]
    empty = "No proxy was found. If one listens on another port: `byway relay scan --ports PORT`."
    call.output.table(("port", "usually", "found", "leads out", "relay"), rows, empty=empty)


def show_table(call: Invocation, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints relays or groups. A person does not see empty columns."""
    used = [place for place in range(len(headings)) if not call.output.fancy or any(row[place] for row in rows)]
    call.output.table(
        [headings[place] for place in used], [[row[place] for place in used] for row in rows], empty=_NO_RELAY
    )


def visits_cells(call: Invocation, row: Document) -> tuple[str, str, str]:
    """Returns the results of the visits of a relay or a group: the delivered share, the median handshake, and the last
    fault."""
    visits, fault = row["visits"], row["last_fault"]
    count = visits["delivered"] + visits["failed"]
    share = f"{visits['share']:.0%} of {count}" if count else ""
    handshake = span(visits["handshake_s"]) if visits["handshake_s"] else ""
    if fault is None or (call.output.fancy and row["words"].endswith(f": {fault['text']}")):
        return share, handshake, ""  # the state has it already
    member = "" if fault["relay"] == row["name"] else f"{fault['relay']}: "
    return share, handshake, f"{member}{fault['text']}, {(ago if call.output.fancy else clock)(fault['seen_at'])}"


def show_results(call: Invocation, results: Sequence[Document], subscriptions: Collection[str] = ()) -> None:
    """Prints results of tests. The person can do nothing about one relay of the `subscriptions`."""
    rows = [
        (
            result["relay"],
            result["words"],
            span(result["elapsed_s"]) if call.output.fancy else result["elapsed_s"],
            _for_person(call, result) if call.output.fancy else details(result),
        )
        for result in results
    ]
    call.output.table(("relay", "result", "time", "details"), rows, empty=_NO_RELAY)
    followed = {name: [each["ok"] for each in results if _is_of(each, name)] for name in subscriptions}
    for name, answered in followed.items():
        if answered and any(answered):
            call.output.hint(f"{sum(answered)} of {len(answered)} relays of {name} work.")
        elif answered:
            call.output.hint(f"None of {len(answered)} relays of {name} works. To do: byway relay refresh {name}")
    for result in results:
        if not result["ok"] and result["do"] and not any(_is_of(result, name) for name in followed):
            call.output.hint(f"To do: {result['do']}")
        if result.get("obstacle"):
            call.output.hint(result["obstacle"]["text"])
            call.output.hint(f"To do: {result['obstacle']['do']}")
        if result.get("disagreement"):
            call.output.hint(f"{result['relay']}: {result['disagreement']}")


def _is_of(test: Document, group: str) -> bool:
    return str(test["relay"]).startswith(f"{group}/")


def _for_person(call: Invocation, test: Document) -> str:
    """Returns the details for a person: without what the result says already, and not longer than two lines unless
    asked for."""
    text = details(test)
    if text == test["fault"]:
        return ""
    return text if call.output.verbose else shorten(text, _DETAILS_LENGTH, placeholder="…")


def details(test: Document) -> str:
    """Returns the error of a failed test without the relay's name, which the caller prints before it; of another one,
    the version of HTTP."""
    return str(test["error"]).removeprefix(f"relay {test['relay']}").lstrip(": ") or str(test["protocol"])
