"""`byway why`: one site, every route tested, the verdict with its evidence, and what to do.

A person gets at most 14 lines: verdict, cause, evidence, a row for each route, since when, what to do. -v adds the
steps as they are made and the reasons, -vv everything. For programs there is one document, or one table of facts, at
the end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.completion import complete_sites
from proxy.cli.exit_codes import Exit
from proxy.cli.mode_text import mode_sentences
from proxy.cli.output import Output
from proxy.cli.table import GAP, row_lines, wrap
from proxy.cli.terminal import bold, columns_of, width
from proxy.control.amounts import ago, clock, span
from proxy.control.attempts import attempt
from proxy.control.inert_text import inert
from proxy.control.measurement_text import PARTS, grouped_routes, route_result, step_cells
from proxy.model.errors import BywayError

LINES_MAX = 14
"""Of the answer for people, in a terminal of 80 columns."""

_EVIDENCE_LINES = 2
_DO_LINES = 2
_HEADINGS = ("what", "value")

Document = Mapping[str, Any]


def add_to(app: typer.Typer) -> None:
    command(app, "why", example="byway why user.livejournal.com")(_why)


def _why(
    call: Invocation,
    site: Annotated[str, typer.Argument(metavar="URL|HOST", help="The site to test.", autocompletion=complete_sites)],
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not use the result of the last minutes.")] = False,
) -> Exit | None:
    """Test all routes to a site and explain the result."""
    coming = call.client().post_and_follow("/v1/why", {"site": site, "fresh": fresh})
    answer = _follow_steps(call.output, coming, site)
    if call.output.as_json:
        call.output.document(answer)
    elif not call.output.fancy:
        call.output.table(_HEADINGS, [(name, value) for name, value in _facts(answer) if value])
    elif call.output.verbose > 1:
        call.output.line(_headline(answer))
        call.output.facts([fact for fact in _facts(answer) if fact[0] not in ("url", "verdict", "step")])
    else:
        for line in brief(answer, width()):
            print(line)
        if call.output.verbose:
            call.output.line()
            call.output.facts(_reasons(answer))
        if not answer["measured_again"]:
            call.output.hint(
                f"Measured {ago(answer['measured_at'])}; `byway why --fresh {answer['host']}` tests again."
            )
    for text, do in mode_sentences(answer.get("mode")):
        call.output.hint(f"{text} → {do}")
    return Exit.NO_NETWORK if answer["verdict"]["words"] in ("no network", "portal") else None


def _follow_steps(out: Output, coming: Iterator[dict[str, Any]], site: str) -> dict[str, Any]:
    """Shows the progress of a measurement: each step with -v, otherwise one line that disappears. Returns the last
    object, which is the answer. Raises BywayError when none comes."""
    status = _StatusLine(out)
    try:
        for answer in coming:
            if "verdict" in answer:
                return answer
            if out.fancy and out.verbose:
                for line in row_lines(list(map(inert, step_cells(answer["step"]))), (19, 25, width() - 48)):
                    out.line(line)
            else:
                status.show(answer["step"])
    finally:
        status.clear()
    raise BywayError(f"the running Byway ended while it was testing {site}")


class _StatusLine:
    """The status line of a terminal while a site is tested."""

    def __init__(self, out: Output) -> None:
        self._shown = out.fancy and not out.quiet and not out.verbose and sys.stderr is not None and sys.stderr.isatty()

    def show(self, step: Document) -> None:
        if self._shown:
            what = PARTS.get(step["part"], str(step["part"]))
            # \r to the first column, ESC[K erases the rest of the line: a shorter text leaves nothing of a longer one.
            print(f"\r\x1b[KTesting {inert(step['route'])}: {what}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def step_line(step: Document) -> str:
    """One step in a line."""
    route, what, ended = step_cells(step)
    return f"{route}: {what}: {ended}"


# -- for people --------------------------------------------------------------------------------------------------------


def brief(answer: Document, columns: int) -> list[str]:
    """Returns the answer in at most LINES_MAX lines of `columns` columns. A URL is never broken and may be longer."""
    verdict = answer["verdict"]
    before = [
        *wrap(inert(_headline(answer)), columns),
        *_fact("cause", verdict["because"], columns, 1),
        *_fact("evidence", _evidence(verdict), columns, _EVIDENCE_LINES),
        *_fact("relays", "; ".join(_about_relays(answer)), columns, 1),
    ]
    after = [
        *_fact("since", _since(answer), columns, 1),
        *_fact("do", verdict["do"], columns, _DO_LINES),
    ]
    return [*before, *_route_table(answer["routes"], columns, LINES_MAX - len(before) - len(after)), *after]


def _about_relays(answer: Document) -> list[str]:
    """What is wrong with relays, and what is in the way to them on this network."""
    return [
        *(f"{name}: {fault}" for name, fault in answer["verdict"]["relay_faults"].items()),
        *(f"{found['relay']}: {found['words']}" for found in answer["relay_obstacles"]),
    ]


def _headline(answer: Document) -> str:
    verdict = answer["verdict"]
    return f"{verdict['glyph']} {verdict['words']}: {answer['url']}"


def _evidence(verdict: Document) -> str:
    """The evidence of the verdict, its confidence, and the first reason for it."""
    seen = verdict["seen"].removeprefix(f"{verdict['because']}: ").rstrip(".")  # the cause stands above it
    sure = "" if verdict["confidence"] == "none" else f"confidence: {verdict['confidence']}"
    reasons = "; ".join(verdict["reasons"][:1])
    return "; ".join(filter(None, (seen, sure, reasons)))


def _since(answer: Document) -> str:
    """When the stored status began, or when a result before this one came."""
    belief = answer["belief"]
    if belief["since"] is None or belief["state"] == "unknown":
        return ""
    return f"{clock(belief['since'])} ({ago(belief['since'])}) on this network"


def _route_table(routes: Sequence[Document], columns: int, lines_max: int) -> list[str]:
    """One line for each route, tested ones first; routes beyond the room are counted."""
    if not routes:
        return []
    rows = grouped_routes(routes)
    room = lines_max - 1  # the heading
    shown = rows if len(rows) <= room else rows[: max(1, room - 1)]
    more = len(rows) - len(shown)
    names = max(6, *(columns_of(row["route"]) for row in shown))
    result_room = columns - names - 2 * GAP - len("100 ms")
    lines = [bold(f"{'route':<{names}}  {'result':<{result_room}}    time")]
    for row in shown:
        took = span(row["elapsed_s"]) if row["result"] != "not_tested" else ""
        cell = _cut(inert(route_result(row)), result_room)
        lines.append(f"{inert(row['route']):<{names}}  {cell:<{result_room}}  {took:>6}".rstrip())
    if more:
        lines.append(f"{more} more route{'' if more == 1 else 's'}: byway why -v")
    return lines


def _fact(name: str, value: str, columns: int, lines_max: int) -> list[str]:
    """Lays out `name` and its value in at most `lines_max` lines."""
    if not value:
        return []
    lines = wrap(inert(value), columns - 10)
    if len(lines) > lines_max:
        lines = [*lines[: lines_max - 1], _cut(" ".join(lines[lines_max - 1 :]), columns - 10)]
    return [f"{name if place == 0 else '':<10}{line}" for place, line in enumerate(lines)]


def _cut(text: str, columns: int) -> str:
    return text if columns_of(text) <= columns else f"{text[: columns - 1].rstrip()}…"


def _reasons(answer: Document) -> list[tuple[str, str]]:
    """The facts that -v adds."""
    verdict, belief, plan = answer["verdict"], answer["belief"], answer["plan"]
    return [
        *(("reason", reason) for reason in verdict["reasons"]),
        *(
            ("signal", f"{signal['id']}: {signal['text']} (weight {signal['weight']:g})")
            for signal in verdict["signals"]
        ),
        ("other explanation", verdict["instead"]),
        ("stored status", belief["words"] if belief["state"] != "unknown" else ""),
        ("stored evidence", belief["evidence"]),
        ("last working route", belief["last_good"]),
        ("next re-test", _moment(belief["retest_at"])),
        ("plan", f"{' → '.join(plan['routes']) or 'no route'} ({plan['why']})"),
        *(("connection", f"{clock(row['at'])} {result(row)}") for row in answer["connections"]),
    ]


# -- for programs, and -vv ---------------------------------------------------------------------------------------------


def _facts(answer: Document) -> list[tuple[str, str]]:
    verdict, belief, plan = answer["verdict"], answer["belief"], answer["plan"]
    again = "" if answer["measured_again"] else "; `--fresh` tests again"
    return [
        ("host", answer["host"]),
        ("url", answer["url"]),
        ("verdict", verdict["words"]),
        ("cause", verdict["cause"]),
        ("evidence", verdict["seen"]),
        ("confidence", verdict["confidence"] if verdict["confidence"] != "none" else ""),
        *(("relay", about) for about in _about_relays(answer)),
        *(("reason", reason) for reason in verdict["reasons"]),
        *(("signal", f"{signal['id']} {signal['weight']:g}: {signal['text']}") for signal in verdict["signals"]),
        ("other explanation", verdict["instead"]),
        *(("route", _route(row)) for row in answer["routes"]),
        (
            "measured",
            f"{clock(answer['measured_at'])}, {ago(answer['measured_at'])}, in {span(answer['measured_s'])}{again}",
        ),
        ("network", answer["measured_on"]),
        ("stored status", belief["words"] if belief["state"] != "unknown" else ""),
        ("stored evidence", belief["evidence"]),
        ("since", _moment(belief["since"])),
        ("last working route", belief["last_good"]),
        ("next re-test", _moment(belief["retest_at"])),
        ("plan", " → ".join(plan["routes"]) or "none"),
        ("plan reason", plan["why"]),
        *(
            ("change", f"{clock(change['at'])} {change['before']} → {change['after']}: {change['why']}")
            for change in answer["changes"][:5]
        ),
        *(("step", step_line(step)) for step in answer["steps"]),
        *(
            ("attempt", f"{clock(row['at'])} {attempt(tried, row['protocol'])}")
            for row in answer["connections"]
            for tried in row["attempts"]
        ),
        ("what to do", verdict["do"]),
    ]


def _route(row: Document) -> str:
    """How one route ended, in a line."""
    if row["result"] == "ok":
        status = f" HTTP {row['status']}" if row["status"] else ""
        return f"{row['route']}: delivered{status} in {span(row['elapsed_s'])}"
    if row["result"] == "not_tested":
        return f"{row['route']}: not tested: {row['text']}"
    return f"{row['route']}: failed at {PARTS.get(row['stage'], row['stage'])}: {row['text']}"


def result(row: Document) -> str:
    """How one connection ended."""
    if row["winner"] is not None:
        return f"delivered by {row['winner']}"
    return f"failed: {row['error']}" if row["error"] else "failed"


def _moment(at: float | None) -> str:
    return "" if at is None else f"{clock(at)}, {ago(at)}"
