"""`byway why`: one site, from what is known: the word for it, the evidence, the plan, what was tried, what to do."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit
from proxy.cli.output import Output, ago, clock, span

_HEADINGS = ("what", "value")


def add_to(app: typer.Typer) -> None:
    command(app, "why", example="byway why user.livejournal.com")(_why)


def _why(call: Invocation, site: Annotated[str, typer.Argument(metavar="URL|HOST", help="The site.")]) -> Exit | None:
    """Say what is known about a site, and what would be done with it now."""
    told = call.client().get("/v1/why", host=site)
    if call.output.as_json:
        call.output.document(told)
    elif call.output.fancy:
        _tell(call.output, told)
    else:
        call.output.table(_HEADINGS, [(name, value) for name, value in _facts(told) if value])
    return None


def _tell(out: Output, told: dict[str, Any]) -> None:
    belief, plan = told["belief"], told["plan"]
    because = f": {belief['because']}" if belief["because"] else ""
    out.line(f"{belief['glyph']} {told['host']} — {belief['words']}{because}")
    for name, value in _facts(told):
        if value and name not in ("host", "state", "cause", "attempt"):
            out.line(f"  {name:<12} {value}")
    if not plan["routes"]:
        out.line("  (no route: it is refused)")
    for row in told["connections"]:
        out.line(f"  {clock(row['at'])}  {result(row)}")
        for tried in row["attempts"]:
            out.line(f"      {attempt(tried)}")


def _facts(told: dict[str, Any]) -> list[tuple[str, str]]:
    belief, plan = told["belief"], told["plan"]
    return [
        ("host", told["host"]),
        ("state", belief["words"]),
        ("cause", belief["cause"]),
        ("evidence", belief["evidence"]),
        ("since", _moment(belief["since"])),
        ("network", belief["network"]),
        ("went through", belief["last_good"]),
        ("next re-test", _moment(belief["retest_at"])),
        ("plan", " → ".join(plan["routes"]) or "none"),
        ("by", plan["why"]),
        *(
            ("attempt", f"{clock(row['at'])} {attempt(tried)}")
            for row in told["connections"]
            for tried in row["attempts"]
        ),
        ("what to do", told["advice"]),
    ]


def attempt(tried: dict[str, Any]) -> str:
    """One try of one route, in a line."""
    ended = "delivered" if tried["stage"] == "done" else f"{tried['symptom'] or 'not judged'} at {tried['stage']}"
    error = f": {tried['error']}" if tried["error"] else ""
    return f"{tried['route']} {ended} after {span(tried['elapsed_s'])}{error}"


def result(row: dict[str, Any]) -> str:
    """How one connection went."""
    if row["winner"] is not None:
        return f"through {row['winner']}"
    return f"failed: {row['error']}" if row["error"] else "failed"


def _moment(at: float | None) -> str:
    return "" if at is None else f"{clock(at)}, {ago(at)}"
