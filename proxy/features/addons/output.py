"""Prints the result of a check and of a replay for people.

Rows go to stdout, explanations to stderr. These name everything that could not be replayed: otherwise the list would
seem complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.languages.amounts import clock
from proxy.model import Destination
from proxy.terminal.command import Invocation

Document = dict[str, Any]


def show_checked(call: Invocation, checked: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for it in checked:
        rows.append((it["name"], hooks_in_short(it), " ".join(option["name"] for option in it["options"]), it["file"]))
        if not (it["hooks"] or it["inspects"]):
            call.output.hint(f"{it['file']}: has no hook, so it does nothing; `byway addons docs` lists the hooks")
    call.output.table(("addon", "hooks", "options", "file"), rows, empty="No addon is enabled.")


def hooks_in_short(addon: Mapping[str, Any]) -> str:
    """Returns the hooks of an addon in one line, without start and stop, which have nothing to do with its purpose."""
    hooks = [name for name in addon["hooks"] if name not in ("start", "stop")]
    return " ".join([*hooks, *(f"mitmproxy:{name}" for name in addon["inspects"])])


def show_replayed(call: Invocation, document: Document) -> None:
    rows = [
        (clock(it["at"]), str(Destination(it["host"], it["port"])), _describe(it["was"]), _describe(it["would_be"]))
        for kind in ("decisions", "weighings")
        for it in document[kind]
    ]
    call.output.table(("at", "site", "was", "would be"), rows)
    call.output.hint(
        f"Replayed {document['connections']} connections and {document['signals']} signals: "
        f"{len(document['decisions'])} routes and {len(document['weighings'])} weights would change."
    )
    for sentence in (*document["faults"], *document["notes"], *_not_replayed(document["left_out"])):
        call.output.hint(sentence)


def _describe(decided: Any) -> str:
    """Returns a plan, or the changes of signals, in words."""
    if isinstance(decided, list):
        return "; ".join(decided) or "unchanged"
    routes = " → ".join(decided["routes"])
    return " ".join(filter(None, (decided["action"], routes, "INSPECT" if decided["intercept"] else "")))


def _not_replayed(left_out: Document) -> Iterator[str]:
    """Yields a sentence for each kind of log entry that could not be replayed."""
    yield "Client addresses and HTTP paths are not logged; replay uses GET /."
    sentences = {
        "unnamed": "about {} direct connections; `[log] hosts` logs only their number",
        "older": "{} connections logged by an older version, without their plan",
        "senseless": "{} damaged log entries",
        "guarded": "{} requests refused by the address guard; no addon sees these",
        "signals": "{} signals whose weight depends on other sites",
    }
    for name, sentence in sentences.items():
        if left_out[name]:
            yield f"Not replayed: {sentence.format(f'{left_out[name]:,}')}."
    if left_out["cut"]:
        yield "Not replayed: the oldest connections; there are too many for one replay."
