"""`byway test`: many sites, each measured briefly on the chosen routes by the running Byway.

Polite to the network: a few at once, each begun after a moment of its own. What came of a site is kept as soon as it is
known, so an interrupted survey loses nothing and can be gone on with.
"""

from __future__ import annotations

import contextlib
import queue
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exits import Exit, Misused, NotAllowed, NotRunning
from proxy.cli.help import number, whole
from proxy.cli.output import Output, inert, span
from proxy.control.version import VERSION
from proxy.errors import BywayError

if TYPE_CHECKING:
    from proxy.cli.client import Client
    from proxy.cli.survey_state import Row, SurveyFile

AT_ONCE = 4
JITTER_S = 0.3

_COLUMNS = ("url", "verdict", "cause", "confidence", "anomaly", "confirmed", "seen")
_NO_NETWORK = ("no network", "portal")
_PROGRESS_S = 0.5


def add_to(app: typer.Typer) -> None:
    command(app, "test", example="byway test --file sites.txt -o out.csv")(_test)


def _test(
    call: Invocation,
    sites: Annotated[list[str] | None, typer.Argument(metavar="URL", help="Sites to test.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", metavar="FILE", help="One URL per line, or a CSV with a column `url`.")
    ] = None,
    listed: Annotated[
        str | None,
        typer.Option("--list", metavar="NAME", help="Test list lists/NAME.csv beside config.toml, or a file."),
    ] = None,
    routes: Annotated[
        str | None, typer.Option("--routes", metavar="R,...", help="Comma-separated routes (default: all).")
    ] = None,
    at_once: Annotated[
        int, typer.Option("-c", metavar="N", parser=whole(1, 32), help="Sites tested at the same time.")
    ] = AT_ONCE,
    jitter: Annotated[
        float,
        typer.Option(
            "--jitter", metavar="S", parser=number(0, 60), help="Random delay before each site, at most S seconds."
        ),
    ] = JITTER_S,
    resume: Annotated[str | None, typer.Option("--resume", metavar="ID", help="Continue an interrupted test.")] = None,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write the results to a CSV file.")] = None,
) -> Exit | None:
    """Test many sites.

    Ctrl-C keeps the results so far. Exit code 6: there was no network."""
    from proxy.cli.survey_sites import read_sites
    from proxy.cli.survey_state import SurveyFile, drop_old

    paths = call.paths
    if resume is None:
        found = read_sites(sites or [], file, listed, paths.config_dir)
        for sentence in (*found.skipped[:5], *_and_more(len(found.skipped) - 5)):
            call.output.hint(sentence)
        survey = SurveyFile.begin(paths.state_dir, found.urls, routes.split(",") if routes else [])
    elif sites or file or listed or routes:
        raise Misused("--resume goes on with the sites and the routes that it began with: name no others")
    else:
        survey = SurveyFile.resume(paths.state_dir, resume)
    client = call.client()
    drop_old(paths.state_dir, days=client.get("/v1/config")["settings"]["log"]["keep_days"])
    if out is not None:
        with _open(out, "a"):  # said now, and not after hours
            pass
    try:
        ended = _run(call.output, client, survey, at_once=at_once, jitter=jitter)
    finally:  # what has come is worth having, whatever ended it
        rows = [survey.rows[url] for url in survey.urls if url in survey.rows]
        if out is not None:
            write_csv(out, rows)
    _show(call.output, rows, survey, written=out)
    if ended is None:
        survey.finish()
    elif survey.is_kept:
        call.output.hint(f"Go on with `byway test --resume {survey.id}`.")
    if ended is None and rows and all(row["verdict"]["words"] in _NO_NETWORK for row in rows):
        return Exit.NO_NETWORK
    return ended


def _run(out: Output, client: Client, survey: SurveyFile, *, at_once: int, jitter: float) -> Exit | None:
    """Measures what is left. None: all of it; else how it ended. Raises the BywayError that ends it."""
    left = survey.left
    crew = _Crew(client, left, survey.routes, jitter=jitter)
    progress = _Progress(out, survey, len(left))
    crew.start(min(at_once, len(left)))
    try:
        for _ in left:
            told = crew.next(progress.show)
            if isinstance(told, BaseException):
                if survey.is_kept:
                    out.hint(f"What has come is kept: go on with `byway test --resume {survey.id}`.")
                raise told
            survey.add(told, keep=told["kept"])
            progress.show()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    finally:
        crew.stop()
        progress.end()
    return None


class _Crew:
    """Threads that each ask the running Byway about one site after the other."""

    def __init__(self, client: Client, urls: Sequence[str], routes: Sequence[str], *, jitter: float) -> None:
        self._client = client
        self._routes = list(routes)
        self._jitter = jitter
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._told: queue.SimpleQueue[Row | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for url in urls:
            self._waiting.put(url)

    def start(self, count: int) -> None:
        for place in range(count):
            threading.Thread(target=self._work, name=f"test {place}", daemon=True).start()

    def stop(self) -> None:
        """Begins nothing more. What is under way is given up with this process."""
        self._stopped.set()

    def next(self, meanwhile: Callable[[], None]) -> Row | BaseException:
        """What came next; `meanwhile` is called about twice a second. An interrupt comes through."""
        while True:
            try:
                return self._told.get(timeout=_PROGRESS_S)
            except queue.Empty:
                meanwhile()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                url = self._waiting.get_nowait()
            except queue.Empty:
                return
            if self._stopped.wait(random.uniform(0, self._jitter)):  # noqa: S311 - no secret, only no lock-step
                return
            try:
                self._told.put(self._ask(url))
            except (NotRunning, NotAllowed, Misused) as error:  # it would be so for every site
                self._told.put(error)
                return
            except (BywayError, OSError) as error:
                self._told.put(_not_measured(url, str(error)))
            except BaseException as error:  # the main thread tells it
                self._told.put(error)
                return

    def _ask(self, url: str) -> Row:
        body: dict[str, Any] = {"site": url}
        if self._routes:
            body["routes"] = self._routes
        told = self._client.post("/v1/test", body)
        kept = ("url", "host", "port", "kept", "verdict", "routes", "measured_at", "measured_s")
        return {"asked": url, **{name: told[name] for name in kept}}


def _not_measured(url: str, error: str) -> Row:
    """A site about which the running Byway could not be asked."""
    verdict = {"words": "not tested", "glyph": "·", "cause": "", "confidence": "none", "anomaly": False,
               "confirmed": False, "seen": error}  # fmt: skip
    return {"asked": url, "url": url, "kept": False, "verdict": verdict, "routes": [],
            "measured_at": time.time(), "measured_s": 0.0}  # fmt: skip


class _Progress:
    """N of M and how long it may still take, on a terminal's last line."""

    def __init__(self, out: Output, survey: SurveyFile, left: int) -> None:
        self._shown = not out.quiet and sys.stderr is not None and sys.stderr.isatty()
        self._survey = survey
        self._left = left
        self._began = time.monotonic()

    def show(self) -> None:
        if not self._shown:
            return
        done, whole = len(self._survey.rows), len(self._survey.urls)
        print(f"\r\x1b[K{done} of {whole}{self._eta(done, whole)}", end="", file=sys.stderr, flush=True)

    def _eta(self, done: int, whole: int) -> str:
        now_done = done - (whole - self._left)
        if not now_done or done == whole:
            return ""
        each_s = (time.monotonic() - self._began) / now_done
        return f", about {span(each_s * (whole - done))} left"

    def end(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _show(out: Output, rows: Sequence[Row], survey: SurveyFile, *, written: Path | None) -> None:
    if out.as_json:
        out.document({"version": VERSION, "sites": len(survey.urls), "results": list(rows)})
    elif written is None:
        routes = _routes_of(rows)
        headings = (*_COLUMNS[:4], *routes, "seen")
        out.table(headings, [_short(row, routes, fancy=out.fancy) for row in rows])
    else:
        out.hint(f"{len(rows)} rows are in {written}.")
    counts = Counter(row["verdict"]["words"] for row in rows)
    told = ", ".join(f"{count} {word}" for word, count in counts.most_common())
    out.hint(f"{len(rows)} of {len(survey.urls)} sites{': ' if told else ''}{told}.")


def _short(row: Row, routes: Sequence[str], *, fancy: bool) -> list[str]:
    verdict = row["verdict"]
    word = f"{verdict['glyph']} {verdict['words']}" if fancy else verdict["words"]
    ended = {route["route"]: _ended(route) for route in row["routes"]}
    confidence = verdict["confidence"].replace("none", "")
    cells = [ended.get(route, "") for route in routes]
    return [row["url"], word, verdict["cause"], confidence, *cells, verdict["seen"]]


def _ended(route: dict[str, Any]) -> str:
    """How a route ended, in a word or two: an answer's status, `connect timeout`, or `not tested`."""
    if route["result"] == "ok":
        return f"ok {route['status']}" if route["status"] else "ok"
    return "not tested" if route["result"] == "not_tested" else f"{route['stage']} {route['symptom']}".strip()


def _routes_of(rows: Sequence[Row]) -> list[str]:
    """All routes, in the order they were first told of; relays last."""
    found = dict.fromkeys(route["route"] for row in rows for route in row["routes"])
    return sorted(found, key=lambda route: not route.startswith("direct"))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line a site, a column for each route. Raises BywayError."""
    import csv

    routes = _routes_of(rows)
    with _open(path, "w") as file:
        writer = csv.writer(file)
        writer.writerow((*_COLUMNS, *routes, "measured_at", "measured_s"))
        for row in rows:
            verdict = row["verdict"]
            told = {**verdict, "url": row["url"], "verdict": verdict["words"]}
            ended = {route["route"]: _ended(route) for route in row["routes"]}
            cells = (*(told[name] for name in _COLUMNS), *(ended.get(route, "") for route in routes))
            writer.writerow([*map(_cell, cells), round(row["measured_at"], 3), row["measured_s"]])


@contextlib.contextmanager
def _open(path: Path, mode: Literal["w", "a"]) -> Iterator[TextIO]:
    """Raises BywayError when nothing can be written there."""
    try:
        with path.open(mode, encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise BywayError(f"{path} cannot be written: {(error.strerror or str(error)).lower()}") from None


def _cell(value: str | bool) -> str:
    """Inert in a terminal, and no formula in a spreadsheet."""
    if isinstance(value, bool):
        return str(value).lower()
    text = inert(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _and_more(count: int) -> list[str]:
    return [f"{count} more lines were left out"] if count > 0 else []
