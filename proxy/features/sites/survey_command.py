"""`byway test`: many sites, each measured briefly on the chosen routes by the running Byway.

Few sites are tested at once, each after a random delay. A result is saved as soon as it is known, so an interrupted
test loses nothing and can be continued.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.model.errors import BywayError
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_sites, paths_typed, starting
from proxy.terminal.exit_codes import Exit, Misused, NotAllowed, NotRunning
from proxy.terminal.options import number, whole
from proxy.terminal.output import say

if TYPE_CHECKING:
    from proxy.features.sites.survey_output import View
    from proxy.features.sites.survey_state import Row, SurveyFile
    from proxy.terminal.client import Client

AT_ONCE = 4
JITTER_S = 0.3

_NO_NETWORK = ("no network", "portal")
_WAIT_S = 0.5


def _complete_surveys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the ids of tests that can be continued."""
    names: list[str] = []
    with contextlib.suppress(Exception):
        names += [file.stem for file in sorted((paths_typed(ctx).state_dir / "surveys").glob("*.jsonl"))]
    return starting(names, incomplete)


@root_command(example="byway test --file sites.txt -o out.csv")
def survey(
    call: Invocation,
    sites: Annotated[
        list[str] | None, typer.Argument(metavar="URL", help="Sites to test.", autocompletion=complete_sites)
    ] = None,
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
    resume: Annotated[
        str | None,
        typer.Option("--resume", metavar="ID", help="Continue an interrupted test.", autocompletion=_complete_surveys),
    ] = None,
    matrix: Annotated[bool, typer.Option("--matrix", help="Show a column for each route.")] = False,
    out: Annotated[Path | None, typer.Option("-o", metavar="FILE", help="Write the results to a CSV file.")] = None,
) -> Exit | None:
    """Test many sites.

    Ctrl-C keeps the results so far. Exit code 6: there was no network."""
    from proxy.features.sites.survey_output import View, check_writable, write_csv
    from proxy.features.sites.survey_sites import read_sites
    from proxy.features.sites.survey_state import SurveyFile, drop_old

    paths = call.paths
    if resume is None:
        chosen = read_sites(sites or [], file, listed, paths.config_dir)
        call.output.hint(*chosen.skipped[:5])
        if (more := len(chosen.skipped) - 5) > 0:
            call.output.hint(f"{more} more lines were skipped")
        survey = SurveyFile.begin(paths.state_dir, chosen.urls, routes.split(",") if routes else [])
    elif sites or file or listed or routes:
        raise Misused("--resume continues with the same sites and routes; do not name others")
    else:
        survey = SurveyFile.resume(paths.state_dir, resume)
    client = call.client()
    drop_old(paths.state_dir, days=client.get("/v1/config")["settings"]["log"]["keep_days"])
    if out is not None:
        check_writable(out)  # now, and not after hours
    view = View(call.output, survey, matrix=matrix, written=out)
    try:
        ended = _run(view, client, survey, at_once=at_once, jitter=jitter)
    finally:  # also after an error: the results so far are written
        rows = [survey.rows[url] for url in survey.urls if url in survey.rows]
        if out is not None:
            write_csv(out, rows)
    view.finish(rows)
    if ended is None:
        survey.finish()
    elif survey.is_on_disk:
        call.output.hint(f"Continue with `byway test --resume {survey.id}`.")
    if ended is None and rows and all(row["verdict"]["words"] in _NO_NETWORK for row in rows):
        return Exit.NO_NETWORK
    return ended


def _run(view: View, client: Client, survey: SurveyFile, *, at_once: int, jitter: float) -> Exit | None:
    """Measures the remaining sites. Returns None when all are measured, otherwise the exit code. Raises the BywayError
    that ends it."""
    remaining = survey.remaining
    workers = _WorkerPool(client, remaining, survey.routes, jitter=jitter)
    workers.start(min(at_once, len(remaining)))
    try:
        with view:
            for _ in remaining:
                answer = workers.next()
                if isinstance(answer, BaseException):
                    if survey.is_on_disk:
                        say(f"The results so far are kept: continue with `byway test --resume {survey.id}`.")
                    raise answer
                survey.add(answer, keep=answer["kept"])
                view.add(answer)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    finally:
        workers.stop()
    return None


class _WorkerPool:
    """Threads, each of which makes the running Byway test one site after another. They are daemons: an interrupt does
    not wait for the tests under way."""

    def __init__(self, client: Client, urls: Sequence[str], routes: Sequence[str], *, jitter: float) -> None:
        self._client = client
        self._routes = list(routes)
        self._jitter = jitter
        self._waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Row | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        for url in urls:
            self._waiting.put(url)

    def start(self, count: int) -> None:
        for place in range(count):
            threading.Thread(target=self._work, name=f"test {place}", daemon=True).start()

    def stop(self) -> None:
        """Starts no more tests. Those under way end with this process."""
        self._stopped.set()

    def next(self) -> Row | BaseException:
        """Returns the next result, or the error of a worker."""
        while True:  # a wait without a timeout cannot be interrupted by Ctrl-C on all platforms
            with contextlib.suppress(queue.Empty):
                return self._results.get(timeout=_WAIT_S)

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                url = self._waiting.get_nowait()
            except queue.Empty:
                return
            if self._stopped.wait(random.uniform(0, self._jitter)):  # noqa: S311 - no secret, only no lock-step
                return
            try:
                self._results.put(self._ask(url))
            except (NotRunning, NotAllowed, Misused) as error:  # it would be the same for every site
                self._results.put(error)
                return
            except (BywayError, OSError) as error:
                self._results.put(_not_measured(url, str(error)))
            except BaseException as error:  # the main thread raises it
                self._results.put(error)
                return

    def _ask(self, url: str) -> Row:
        body: dict[str, Any] = {"site": url}
        if self._routes:
            body["routes"] = self._routes
        answer = self._client.post("/v1/test", body)
        fields = ("url", "host", "port", "kept", "verdict", "routes", "measured_at", "measured_s")
        return {"asked": url, **{name: answer[name] for name in fields}}


def _not_measured(url: str, error: str) -> Row:
    """Returns the row of a site that the running Byway could not measure."""
    verdict = {"words": "not tested", "glyph": "·", "cause": "", "plain": "", "because": "", "confidence": "none",
               "anomaly": False, "confirmed": False, "seen": error}  # fmt: skip
    return {"asked": url, "url": url, "kept": False, "verdict": verdict, "routes": [],
            "measured_at": time.time(), "measured_s": 0.0}  # fmt: skip
