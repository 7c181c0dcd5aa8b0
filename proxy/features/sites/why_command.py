"""`byway why`: tests every route to one site, and prints the verdict with its evidence and a remedy.

A person gets at most 14 lines: verdict, cause, evidence, a row for each route, the start of the status, the remedy. -v
adds the reasons, and the steps as they are made; -vv adds everything. Programs get one document, or one table of facts,
at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

import typer

from proxy.control.attempts import attempt
from proxy.detect.verdict.confidence import Confidence, confidence_in_words
from proxy.detect.verdict.site_status import status_in_words
from proxy.features.sites.measurement_text import PARTS, grouped_routes, route_result, step_cells
from proxy.languages.amounts import ago, clock, span
from proxy.model.document import Document, from_json
from proxy.model.errors import BywayError
from proxy.model.phrase import _, commas, ngettext, pgettext, semicolons
from proxy.store.logged import LoggedConnection
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_sites
from proxy.terminal.exit_codes import Exit
from proxy.terminal.mode_text import mode_sentences
from proxy.terminal.output import Output
from proxy.terminal.table import GAP, row_lines, wrap
from proxy.terminal.terminal import bold, columns_of, padded, width
from proxy.wire.inert_text import inert

LINES_MAX = 14
"""The most lines of the answer for people, in a terminal of 80 columns."""

_EVIDENCE_LINES = 4
_DO_LINES = 4
"""Enough for a command in the remedy, even with a long path of the program."""
_BOTH_LINES = 6
_HEADINGS = ("what", "value")


@root_command(example="byway why user.livejournal.com", is_translated=True)
def why(
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
        for line in brief(answer, width(), call.output.shown):
            print(line)
        if call.output.verbose:
            call.output.line()
            call.output.facts(_reasons(answer))
        if not answer["measured_again"]:
            call.output.hint(
                _(
                    "Measured {ago}; `byway why --fresh {host}` tests again.",
                    ago=ago(answer["measured_at"]),
                    host=answer["host"],
                )
            )
    for text, do in mode_sentences(answer.get("mode")):
        call.output.hint(_("{text} → {do}", text=text, do=do))
    return Exit.NO_NETWORK if answer["verdict"]["words"] in ("no network", "portal") else None


def _follow_steps(out: Output, coming: Iterator[dict[str, Any]], site: str) -> dict[str, Any]:
    """Shows the progress of a measurement: each step with -v, otherwise one line that disappears. Returns the last
    object, the answer. Raises BywayError without one."""
    status = _StatusLine(out)
    try:
        for answer in coming:
            if "verdict" in answer:
                return answer
            if out.fancy and out.verbose:
                for line in row_lines(list(map(out.shown, step_cells(answer["step"]))), (19, 25, width() - 48)):
                    out.line(line)
            else:
                status.show(answer["step"])
    finally:
        status.clear()
    raise BywayError(_("the running Byway ended while it was testing {site}", site=site))


class _StatusLine:
    """The status line of a terminal while a site is tested."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._shown = out.fancy and not out.quiet and not out.verbose and sys.stderr is not None and sys.stderr.isatty()

    def show(self, step: Document) -> None:
        if self._shown:
            what = PARTS.get(step["part"], str(step["part"]))
            # \r goes to the first column, ESC[K erases the line: a shorter text leaves no rest of a longer one.
            text = self._out.shown(_("Testing {route}: {step}", route=step["route"], step=what))
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def step_line(step: Document) -> str:
    """Returns one step in a line."""
    route, what, ended = step_cells(step)
    return _("{route}: {step}: {result}", route=route, step=what, result=ended)


# -- for people --------------------------------------------------------------------------------------------------------


def brief(answer: Document, columns: int, shown: Callable[[str], str] = inert) -> list[str]:
    """Returns the answer in at most LINES_MAX lines of `columns` columns. A URL is never broken and may be longer.
    `shown` converts a text for the terminal."""
    verdict = answer["verdict"]
    first = [
        *wrap(shown(_headline(answer)), columns),
        *_fact(shown(pgettext("fact", "cause")), shown(verdict["plain"]), columns, 1),
    ]
    relays = _fact(shown(pgettext("fact", "relays")), shown(semicolons(_about_relays(answer))), columns, 1)
    do = _fact(shown(pgettext("fact", "do")), shown(verdict["do"]), columns, _DO_LINES)
    after = [*_fact(shown(pgettext("fact", "since")), shown(_since(answer)), columns, 1), *do]
    rows = len(grouped_routes(answer["routes"]))
    # The evidence gets the lines that the routes leave free, so that it loses its last fact only when it must.
    room = LINES_MAX - len(first) - len(relays) - len(after) - (rows + 1 if rows else 0)
    evidence = _fact(
        shown(pgettext("fact", "evidence")),
        shown(_evidence(verdict)),
        columns,
        max(min(_EVIDENCE_LINES, _BOTH_LINES - len(do)), room),
    )
    before = [*first, *evidence, *relays]
    return [*before, *_route_table(answer["routes"], columns, LINES_MAX - len(before) - len(after), shown), *after]


def _about_relays(answer: Document) -> list[str]:
    """Returns the faults of relays, and the obstacles to them on this network."""
    return [
        *(_("{relay}: {state}", relay=name, state=fault) for name, fault in answer["verdict"]["relay_faults"].items()),
        *(_("{relay}: {state}", relay=each["relay"], state=each["words"]) for each in answer["relay_obstacles"]),
    ]


def _headline(answer: Document) -> str:
    verdict = answer["verdict"]
    return _(
        "{glyph} {status}: {url}", glyph=verdict["glyph"], status=status_in_words(verdict["words"]), url=answer["url"]
    )


def _evidence(verdict: Document) -> str:
    """Returns the evidence of the verdict, its confidence, and the first reason for it."""
    seen = verdict["seen"]
    sure = (
        ""
        if verdict["confidence"] == Confidence.NONE
        else _("confidence: {confidence}", confidence=confidence_in_words(verdict["confidence"]))
    )
    return semicolons([part for part in (seen, sure, *verdict["reasons"][:1]) if part])


def _since(answer: Document) -> str:
    """Returns the start of the status, if the measurement confirmed it; otherwise empty."""
    belief = answer["belief"]
    if belief["since"] is None or belief["words"] != answer["verdict"]["words"]:
        return ""
    return _("{moment} ({ago}) on this network", moment=clock(belief["since"]), ago=ago(belief["since"]))


def _route_table(routes: Sequence[Document], columns: int, lines_max: int, shown: Callable[[str], str]) -> list[str]:
    """Returns a row for each route, tested ones first. A last line counts the routes for which there is no room. A row
    has several lines if there is room."""
    if not routes:
        return []
    rows = grouped_routes(routes)
    room = lines_max - 1  # the heading
    listed = rows if len(rows) <= room else rows[: max(1, room - 1)]
    more = len(rows) - len(listed)
    cells = [
        (
            shown(row["route"]),
            shown(route_result(row)),
            shown(span(row["elapsed_s"])) if row["result"] != "not_tested" else "",
        )
        for row in listed
    ]
    headings = tuple(
        map(shown, (pgettext("column", "route"), pgettext("column", "result"), pgettext("column", "time")))
    )
    names = max(columns_of(row[0]) for row in (headings, *cells))
    times = max(len("100 ms"), *(columns_of(row[2]) for row in cells))
    result_room = columns - names - times - 2 * GAP
    spare = room - len(listed) - bool(more)  # the reason of a failure stands at the end of its row
    lines = []
    for route, ended, took in (headings, *cells):
        first, *others = (_cut(it, result_room) for it in _in_lines(ended, result_room, 1 + max(0, spare)))
        spare -= len(others)
        lines.append(f"{padded(route, names)}  {padded(first, result_room)}  {padded(took, -times)}".rstrip())
        lines += [f"{padded('', names)}  {line}" for line in others]
    lines[0] = bold(lines[0])
    if more:
        lines.append(shown(ngettext("{count} more route: byway why -v", "{count} more routes: byway why -v", more)))
    return lines


def _fact(name: str, value: str, columns: int, lines_max: int) -> list[str]:
    """Returns `name` and its value in at most `lines_max` lines."""
    if not value:
        return []
    lines = _in_lines(value, columns - 10, lines_max)
    return [f"{padded(name if place == 0 else '', 10)}{line}" for place, line in enumerate(lines)]


def _in_lines(text: str, columns: int, lines_max: int) -> list[str]:
    """Wraps a text into at most `lines_max` lines, of which the last one is cut. A line of one long word is longer."""
    lines = wrap(text, columns) or [""]
    if len(lines) > lines_max:
        return [*lines[: lines_max - 1], _cut(" ".join(lines[lines_max - 1 :]), columns)]
    return lines


def _cut(text: str, columns: int) -> str:
    return text if columns_of(text) <= columns else f"{text[: columns - 1].rstrip()}…"


def _reasons(answer: Document) -> list[tuple[str, str]]:
    """Returns the facts that -v adds."""
    verdict, belief, plan = answer["verdict"], answer["belief"], answer["plan"]
    return [
        (pgettext("fact", "in detail"), verdict["because"]),
        *((pgettext("fact", "reason"), reason) for reason in verdict["reasons"]),
        *(
            (
                pgettext("fact", "signal"),
                _("{id}: {text} (weight {weight:g})", id=signal["id"], text=signal["text"], weight=signal["weight"]),
            )
            for signal in verdict["signals"]
        ),
        (pgettext("fact", "other explanation"), verdict["instead"]),
        (pgettext("fact", "stored status"), status_in_words(belief["words"]) if belief["state"] != "unknown" else ""),
        (pgettext("fact", "stored evidence"), belief["evidence"]),
        (pgettext("fact", "last working route"), belief["last_good"]),
        (pgettext("fact", "next re-test"), _moment(belief["retest_at"])),
        (
            pgettext("fact", "plan"),
            _("{routes} ({why})", routes=" → ".join(plan["routes"]) or _("no route"), why=plan["why"]),
        ),
        *(
            (pgettext("fact", "connection"), _("{moment} {what}", moment=clock(row.at), what=result(row)))
            for row in _connections(answer)
        ),
    ]


# -- for programs, and -vv ---------------------------------------------------------------------------------------------


def _facts(answer: Document) -> list[tuple[str, str]]:
    verdict, belief, plan = answer["verdict"], answer["belief"], answer["plan"]
    measured = commas([clock(answer["measured_at"]), ago(answer["measured_at"])])
    measured = _("{when}, in {time}", when=measured, time=span(answer["measured_s"]))
    if not answer["measured_again"]:
        measured = semicolons([measured, _("`--fresh` tests again")])
    return [
        (pgettext("fact", "host"), answer["host"]),
        (pgettext("fact", "url"), answer["url"]),
        (pgettext("fact", "verdict"), status_in_words(verdict["words"])),
        (pgettext("fact", "cause"), verdict["cause"]),
        (pgettext("fact", "evidence"), verdict["seen"]),
        (
            pgettext("fact", "confidence"),
            confidence_in_words(verdict["confidence"]) if verdict["confidence"] != Confidence.NONE else "",
        ),
        *((pgettext("fact", "relay"), about) for about in _about_relays(answer)),
        *((pgettext("fact", "reason"), reason) for reason in verdict["reasons"]),
        *(
            (
                pgettext("fact", "signal"),
                _("{id} {weight:g}: {text}", id=signal["id"], weight=signal["weight"], text=signal["text"]),
            )
            for signal in verdict["signals"]
        ),
        (pgettext("fact", "other explanation"), verdict["instead"]),
        *((pgettext("fact", "route"), _route(row)) for row in answer["routes"]),
        (pgettext("fact", "measured"), measured),
        (pgettext("fact", "network"), answer["measured_on"]),
        (pgettext("fact", "stored status"), status_in_words(belief["words"]) if belief["state"] != "unknown" else ""),
        (pgettext("fact", "stored evidence"), belief["evidence"]),
        (pgettext("fact", "since"), _moment(belief["since"])),
        (pgettext("fact", "last working route"), belief["last_good"]),
        (pgettext("fact", "next re-test"), _moment(belief["retest_at"])),
        (pgettext("fact", "plan"), " → ".join(plan["routes"]) or pgettext("routes", "none")),
        (pgettext("fact", "plan reason"), plan["why"]),
        *(
            (
                pgettext("fact", "change"),
                f"{clock(change['at'])} {change['before']} → {change['after']}: {change['why']}",
            )
            for change in answer["changes"][:5]
        ),
        *((pgettext("fact", "step"), step_line(step)) for step in answer["steps"]),
        *(
            (pgettext("fact", "attempt"), f"{clock(row.at)} {attempt(tried, row.protocol)}")
            for row in _connections(answer)
            for tried in row.attempts
        ),
        (pgettext("fact", "what to do"), verdict["do"]),
    ]


def _route(row: Document) -> str:
    """Returns the result of one route in a line."""
    if row["result"] == "ok":
        text = _("{route}: delivered HTTP {status} in {time}") if row["status"] else _("{route}: delivered in {time}")
        return text.given(route=row["route"], status=str(row["status"]), time=span(row["elapsed_s"]))
    if row["result"] == "not_tested":
        return _("{route}: not tested: {reason}", route=row["route"], reason=row["text"])
    return _(
        "{route}: failed at {step}: {reason}",
        route=row["route"],
        step=PARTS.get(row["stage"], row["stage"]),
        reason=row["text"],
    )


def _connections(answer: Document) -> list[LoggedConnection]:
    return [from_json(LoggedConnection, row) for row in answer["connections"]]


def result(row: LoggedConnection) -> str:
    """Returns the result of one connection in words."""
    if row.winner is not None:
        return _("delivered by {route}", route=row.winner)
    failed = pgettext("connection", "failed")
    return _("{what}: {reason}", what=failed, reason=row.error) if row.error else failed


def _moment(at: float | None) -> str:
    return "" if at is None else commas([clock(at), ago(at)])
