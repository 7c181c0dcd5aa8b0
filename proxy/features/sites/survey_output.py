"""Prints the results of `byway test`: one by one above a progress bar, as a table at the end, or as a CSV.

A person sees the row of each site at once; with --matrix, a table at the end has a column for each tested route.
Programs always get a column for each route.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TextIO

from proxy.features.sites.measurement_text import glyph
from proxy.model import Cause
from proxy.model.document import versioned
from proxy.model.errors import BywayError, reason_of
from proxy.terminal.output import Output
from proxy.terminal.table import GAP, row_lines
from proxy.terminal.terminal import bold, columns_of, width
from proxy.wire.inert_text import csv_cell, inert

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from proxy.features.sites.survey_state import Row, SurveyFile

_COLUMNS = ("url", "verdict", "cause", "confidence", "anomaly", "confirmed", "seen")
_HEADINGS = ("site", "verdict", "cause", "works by")
_VERDICT, _CAUSE, _ROUTE = 20, 21, 10
"""The widths of the longest verdict, of the causes below, and of most routes."""

_IN_THE_VERDICT = frozenset(
    {
        Cause.DOWN,
        Cause.NO_SUCH_NAME,
        Cause.RELAYS_FAIL,
        Cause.OFFLINE,
        Cause.PORTAL,
        Cause.INTERCEPTION,
    }
)
"""Causes that the verdict names already."""

_STAGES: Mapping[str, str] = {
    "resolve": "DNS",
    "secure": "encrypted DNS",
    "connect": "TCP",
    "relay": "relay",
    "hello": "TLS",
    "neutral": "TLS",
    "certificate": "certificate",
    "answer": "HTTP",
}


class View:
    """The output of one test. Enter it while sites are tested."""

    def __init__(self, out: Output, survey: SurveyFile, *, matrix: bool, written: Path | None) -> None:
        self._out = out
        self._survey = survey
        self._written = written
        self._streams = out.fancy and not matrix and written is None
        self._widths = _widths(survey.urls)
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._streams:
            for line in row_lines(_HEADINGS, self._widths):
                print(bold(line), flush=True)
            for url in self._survey.urls:
                if url in self._survey.rows:
                    self._print(self._survey.rows[url])
        self._progress = _progress_bar(self._out)
        if self._progress is not None:
            self._progress.start()
            self._task = self._progress.add_task("", total=len(self._survey.urls), completed=len(self._survey.rows))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def add(self, row: Row) -> None:
        """Shows the result of one site."""
        if self._streams:
            self._print(row)
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)

    def finish(self, rows: Sequence[Row]) -> None:
        """Shows the summary; without streaming, all results first, in the order of the sites."""
        if self._out.as_json:
            self._out.document(versioned(sites=len(self._survey.urls), results=list(rows)))
        elif self._written is not None:
            self._out.hint(f"{len(rows)} rows are in {self._written}.")
        elif self._out.fancy and not self._streams:
            routes = _tested(rows)
            names = (route.removeprefix("direct|") for route in routes)
            self._out.table(("site", "verdict", *names), [_matrix_row(row, routes) for row in rows])
        elif not self._streams:
            routes = _routes_of(rows)
            headings = (*_COLUMNS[:4], *routes, "seen")
            self._out.table(headings, [_plain_row(row, routes) for row in rows])
        counts = Counter(row["verdict"]["words"] for row in rows)
        summary = ", ".join(f"{count} {word}" for word, count in counts.most_common())
        self._out.hint(f"{len(rows)} of {len(self._survey.urls)} sites{': ' if summary else ''}{summary}.")

    def _print(self, row: Row) -> None:
        lines = row_lines(list(map(inert, _short_row(row))), self._widths)
        if self._progress is None:
            print("\n".join(lines), flush=True)
        else:
            from rich.text import Text

            for line in lines:
                self._progress.console.print(Text(line), soft_wrap=True)


def _progress_bar(out: Output) -> Progress | None:
    """Returns a progress bar with N of M and the time left; None with --quiet and without a terminal."""
    import sys

    stream = sys.stdout if out.fancy else sys.stderr
    if out.quiet or stream is None or not stream.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    columns = (BarColumn(bar_width=24), MofNCompleteColumn(" of "), TextColumn("time left"), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


def _widths(urls: Sequence[str]) -> list[int]:
    longest = max((columns_of(_site(url)) for url in urls), default=0)
    room = width() - _VERDICT - _CAUSE - _ROUTE - 3 * GAP
    return [max(len(_HEADINGS[0]), min(longest, room)), _VERDICT, _CAUSE, _ROUTE]


def _site(url: str) -> str:
    """Returns a URL without `https://` and the last slash."""
    return url.removeprefix("https://").removesuffix("/")


def _short_row(row: Row) -> Sequence[str]:
    verdict = row["verdict"]
    cause = "" if verdict["cause"] in _IN_THE_VERDICT else verdict["plain"]
    through = next(iter(verdict.get("through", ())), "")
    return _site(row["asked"]), f"{verdict['glyph']} {verdict['words']}", cause, through


def _tested(rows: Sequence[Row]) -> list[str]:
    """Returns the routes that were tested for at least one site: a terminal has no room for columns of "not tested"."""
    tested = {route["route"] for row in rows for route in row["routes"] if route["result"] != "not_tested"}
    return [route for route in _routes_of(rows) if route in tested]


def _matrix_row(row: Row, routes: Sequence[str]) -> list[str]:
    verdict = row["verdict"]
    return [_site(row["asked"]), f"{verdict['glyph']} {verdict['words']}", *_route_cells(row, routes, _in_matrix)]


def _in_matrix(route: Mapping[str, Any]) -> str:
    """Returns the result of a route in one or two words."""
    if route["result"] == "ok":
        return f"{glyph(route)} {route['status'] or ''}".rstrip()
    if route["result"] == "not_tested":
        return "·"
    return f"✗ {_STAGES.get(route['stage'], route['stage'])}"


def _plain_row(row: Row, routes: Sequence[str]) -> list[str]:
    verdict = row["verdict"]
    confidence = verdict["confidence"].replace("none", "")
    cells = _route_cells(row, routes, _ended)
    return [row["url"], verdict["words"], verdict["cause"], confidence, *cells, verdict["seen"]]


def _route_cells(row: Row, routes: Sequence[str], said: Callable[[Mapping[str, Any]], str]) -> list[str]:
    """Returns a cell for each of `routes`; empty for one that the site does not have."""
    cells = {route["route"]: said(route) for route in row["routes"]}
    return [cells.get(route, "") for route in routes]


def _ended(route: Mapping[str, Any]) -> str:
    """Returns the result of a route for programs: an answer's status, `connect timeout`, or `not tested`."""
    if route["result"] == "ok":
        return f"ok {route['status']}" if route["status"] else "ok"
    return "not tested" if route["result"] == "not_tested" else f"{route['stage']} {route['symptom']}".strip()


def _routes_of(rows: Sequence[Row]) -> list[str]:
    """Returns all routes, in the order of their first result; relays last."""
    routes = dict.fromkeys(route["route"] for row in rows for route in row["routes"])
    return sorted(routes, key=lambda route: not route.startswith("direct"))


# -- the CSV -----------------------------------------------------------------------------------------------------------


def check_writable(path: Path) -> None:
    """Raises BywayError when the file cannot be written."""
    with _open(path, "a"):
        pass


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes a line for each site, with a column for each route. Raises BywayError."""
    import csv

    routes = _routes_of(rows)
    with _open(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow((*_COLUMNS, *routes, "measured_at", "measured_s"))
        for row in rows:
            verdict = row["verdict"]
            fields = {**verdict, "url": row["url"], "verdict": verdict["words"]}
            fields |= {name: str(verdict[name]).lower() for name in ("anomaly", "confirmed")}
            cells = (*(fields[name] for name in _COLUMNS), *_route_cells(row, routes, _ended))
            writer.writerow([*map(csv_cell, cells), round(row["measured_at"], 3), row["measured_s"]])


@contextlib.contextmanager
def _open(path: Path, mode: Literal["w", "a"]) -> Iterator[TextIO]:
    """Raises BywayError when the file cannot be written."""
    try:
        with path.open(mode, encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise BywayError(f"{path} cannot be written: {reason_of(error)}") from None
