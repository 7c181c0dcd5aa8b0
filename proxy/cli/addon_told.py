"""What a check and a replay of an addon show to a person.

Rows go to stdout and what explains them to stderr, also what could not be replayed: a list that is silent about that
would be taken for the whole week.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proxy.cli.command import Invocation
from proxy.cli.output import clock
from proxy.model import Destination

Document = dict[str, Any]


def show_checked(call: Invocation, found: Sequence[Mapping[str, Any]]) -> None:
    rows = []
    for it in found:
        rows.append((it["name"], in_short(it), " ".join(option["name"] for option in it["options"]), it["file"]))
        if not (it["hooks"] or it["inspects"]):
            call.output.hint(f"{it['file']}: has no hook, so it does nothing; `byway addons docs` lists them")
    call.output.table(("addon", "hooks", "options", "file"), rows, empty="No addon is on.")


def in_short(addon: Mapping[str, Any]) -> str:
    """Its hooks; that it starts and stops says nothing of what it does."""
    hooks = [name for name in addon["hooks"] if name not in ("start", "stop")]
    return " ".join([*hooks, *(f"mitmproxy:{name}" for name in addon["inspects"])])


def show_replayed(call: Invocation, told: Document) -> None:
    rows = [
        (clock(it["at"]), str(Destination(it["host"], it["port"])), _in_words(it["was"]), _in_words(it["would_be"]))
        for kind in ("decisions", "weighings")
        for it in told[kind]
    ]
    call.output.table(("at", "site", "was", "would be"), rows)
    call.output.hint(
        f"{len(told['decisions'])} of {told['connections']} decisions would change, and what"
        f" {len(told['weighings'])} failures count for; {told['signals']} signs of blocking were gone over."
    )
    for sentence in (*told["faults"], *told["notes"], *_not_replayed(told["left_out"])):
        call.output.hint(sentence)


def _in_words(decided: Any) -> str:
    """A plan, or what addons made of signals."""
    if isinstance(decided, list):
        return "; ".join(decided) or "left as it is"
    routes = " → ".join(decided["routes"])
    return " ".join(filter(None, (decided["action"], routes, "INSPECT" if decided["intercept"] else "")))


def _not_replayed(left_out: Document) -> Iterator[str]:
    """What of the time is missing, a sentence each."""
    yield "Not kept: who asked, and what plain HTTP requests asked for; `GET /` stands in."
    sentences = {
        "unnamed": "about {} connections that went direct; `[log] hosts` keeps them as counts only",
        "older": "{} connections that an earlier Byway wrote down without their plan",
        "senseless": "{} lines of the log that are damaged",
        "guarded": "{} requests that the address guard refused; no addon is asked about these",
        "signals": "{} signs whose weight depends on other sites",
    }
    for name, sentence in sentences.items():
        if left_out[name]:
            yield f"Not replayed: {sentence.format(f'{left_out[name]:,}')}."
    if left_out["cut"]:
        yield "Not replayed: the older part of the time; there are too many connections for one replay."
