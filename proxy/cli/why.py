"""`byway why`: one site, each route measured step by step, the verdict, why it is believed, and what to do.

On a terminal the steps appear as they are made. For programs there is one document, or one table of facts, at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from proxy.cli.attempts import attempt
from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit
from proxy.cli.output import Output, ago, clock, span
from proxy.errors import BywayError

_HEADINGS = ("what", "value")
_GLYPHS = {"ok": "✓", "failed": "✗", "not_tested": "·"}
_RESULTS = {"ok": "ok", "failed": "failed", "not_tested": "not tested"}
_PARTS = {
    "resolve": "name, by the system",
    "secure": "name, by DoH",
    "connect": "connect",
    "relay": "relay",
    "neutral": "hello, harmless name",
    "hello": "hello with the name",
    "certificate": "certificate",
    "answer": "page",
    "control": "another site",
}
"""What each step of a measurement looks at."""


def add_to(app: typer.Typer) -> None:
    command(app, "why", example="byway why user.livejournal.com")(_why)


def _why(
    call: Invocation,
    site: Annotated[str, typer.Argument(metavar="URL|HOST", help="The site.")],
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again what was measured minutes ago.")] = False,
) -> Exit | None:
    """Measure each route to a site, and say what is wrong, why that is believed, and what to do."""
    coming = call.client().post_and_follow("/v1/why", {"site": site, "fresh": fresh})
    told = _show_steps(call.output, coming, site)
    if call.output.as_json:
        call.output.document(told)
    elif call.output.fancy:
        _tell(call.output, told)
    else:
        call.output.table(_HEADINGS, [(name, value) for name, value in _facts(told) if value])
    return Exit.NO_NETWORK if told["verdict"]["words"] in ("no network", "portal") else None


def _show_steps(out: Output, coming: Iterator[dict[str, Any]], site: str) -> dict[str, Any]:
    """Shows steps as they come; the last object is the answer. Raises BywayError when there is none."""
    for told in coming:
        if "verdict" in told:
            return told
        if out.fancy:
            out.line(f"  {step_line(told['step'])}")
    raise BywayError(f"the running byway ended while it was measuring {site}")


def step_line(step: dict[str, Any]) -> str:
    """One step for a person."""
    took = f"  {span(step['elapsed_s'])}" if step["elapsed_s"] else ""
    where = f"  at {step['address']}" if step["address"] else ""
    what = _PARTS.get(step["part"], step["part"])
    return f"{_GLYPHS[step['result']]} {step['route']:<14} {what:<21} {_ended(step)}{where}{took}"


def _ended(step: dict[str, Any]) -> str:
    result = _RESULTS[step["result"]]
    return f"{result}: {step['text']}" if step["text"] and step["result"] != "ok" else step["text"] or result


def _tell(out: Output, told: dict[str, Any]) -> None:
    verdict = told["verdict"]
    out.line()
    out.line(f"{verdict['glyph']} {told['host']} — {verdict['words']}: {verdict['seen']}")
    for name, value in _facts(told):
        if value and name not in ("host", "state", "seen", "step", "attempt"):
            out.line(f"  {name:<14} {value}")
    if not told["plan"]["routes"]:
        out.line("  (no route: it is refused)")
    for row in told["connections"]:
        out.line(f"  {clock(row['at'])}  {result(row)}")
        for tried in row["attempts"]:
            out.line(f"      {attempt(tried)}")


def _facts(told: dict[str, Any]) -> list[tuple[str, str]]:
    verdict, belief, plan = told["verdict"], told["belief"], told["plan"]
    again = "" if told["measured_again"] else "; `--fresh` measures again"
    return [
        ("host", told["host"]),
        ("state", verdict["words"]),
        ("cause", verdict["cause"]),
        ("seen", verdict["seen"]),
        ("confidence", verdict["confidence"] if verdict["confidence"] != "none" else ""),
        *(("because", reason) for reason in verdict["reasons"]),
        *(("signal", f"{signal['id']} {signal['weight']:g}: {signal['text']}") for signal in verdict["signals"]),
        ("or else", verdict["instead"]),
        *(("route", _route(row)) for row in told["routes"]),
        ("measured", f"{clock(told['measured_at'])}, {ago(told['measured_at'])}, in {span(told['measured_s'])}{again}"),
        ("network", told["measured_on"]),
        ("held to be", belief["words"] if belief["state"] != "unknown" else ""),
        ("evidence", belief["evidence"]),
        ("since", _moment(belief["since"])),
        ("went through", belief["last_good"]),
        ("next re-test", _moment(belief["retest_at"])),
        ("plan", " → ".join(plan["routes"]) or "none"),
        ("by", plan["why"]),
        *(("change", _change(change)) for change in told["changes"][:5]),
        *(("step", step_line(step)) for step in told["steps"]),
        *(
            ("attempt", f"{clock(row['at'])} {attempt(tried)}")
            for row in told["connections"]
            for tried in row["attempts"]
        ),
        ("what to do", verdict["do"]),
    ]


def _route(row: dict[str, Any]) -> str:
    """How one route ended, in a line."""
    if row["result"] == "ok":
        status = f"{row['status']} " if row["status"] else ""
        return f"{row['route']}: delivered {status}in {span(row['elapsed_s'])}"
    if row["result"] == "not_tested":
        return f"{row['route']}: not tested, {row['text']}"
    return f"{row['route']}: failed at the {_PARTS.get(row['stage'], row['stage'])}, {row['text']}"


def _change(change: dict[str, Any]) -> str:
    return f"{clock(change['at'])} {change['before']} → {change['after']}: {change['why']}"


def result(row: dict[str, Any]) -> str:
    """How one connection went."""
    if row["winner"] is not None:
        return f"through {row['winner']}"
    return f"failed: {row['error']}" if row["error"] else "failed"


def _moment(at: float | None) -> str:
    return "" if at is None else f"{clock(at)}, {ago(at)}"
