"""`byway list`: shows lists, fetches those whose source is a URL, and compares a list with visits.

A running Byway fetches them itself. Without one, this process does, as Byway would: through the configured relays only,
unless the list has `via = "direct"`. So a list that a rule needs can be fetched before the first start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from proxy.languages.amounts import ago, clock, size
from proxy.model.document import Document
from proxy.terminal.command import Invocation, command
from proxy.terminal.completion import complete_lists
from proxy.terminal.exit_codes import Exit, Misused, NotRunning, as_misuse
from proxy.terminal.output import Output
from proxy.wire.inert_text import inert

if TYPE_CHECKING:
    from proxy.config.paths import Paths

group = typer.Typer(help="Lists: show, fetch, compare with your visits.", no_args_is_help=True)

Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Lists (default: all).", autocompletion=complete_lists)
]


@command(group, "show", example="byway list show gfwlist")
def show(call: Invocation, names: Names = None) -> Exit | None:
    """Show where lists come from, what they name, and which lines are skipped.

    Exit code 5: a list could not be fetched, or covers almost nothing."""
    try:
        answer = call.client().get("/v1/lists")
    except NotRunning:
        call.output.hint("No Byway is running. This is from the files.")
        answer = _described_offline(call.paths)
    by_name = {item["name"]: item for item in answer["lists"]}
    for name in names or ():
        if name not in by_name:
            from proxy.config.suggestions import quoted, suggestion

            raise Misused(f"unknown list {quoted(name)}{suggestion(name, by_name)}")
    chosen = [by_name[name] for name in dict.fromkeys(names or by_name)]
    if call.output.as_json:
        call.output.document({**answer, "lists": chosen})
    elif names and call.output.fancy:
        for number, item in enumerate(chosen):
            if number:
                call.output.line()
            call.output.facts(list_facts(item))
    elif names:
        call.output.table(("list", "what", "value"), ((it["name"], *fact) for it in chosen for fact in list_facts(it)))
    else:
        _overview(call.output, chosen)
    is_bad = any(item["problem"] or (item["fetch"] or {}).get("error") for item in chosen)
    return Exit.BAD if is_bad else None


@command(group, "report", example="byway list report gfwlist --diff > gfwlist.diff")
def report(
    call: Invocation,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The list.", autocompletion=complete_lists)],
    diff: Annotated[
        bool, typer.Option("--diff", help="Print a diff of the list, in its own format, for `patch`.")
    ] = False,
) -> None:
    """Compare a list with your own visits on this network. Nothing is sent.

    Shows the sites that are listed and worked direct here, and those that are blocked here and in no list. A diff
    removes and adds them; it names sites that you visited, so read it before you send it."""
    answer = call.client().get(f"/v1/lists/{quote(name, safe='')}/report", **({"diff": 1} if diff else {}))
    if call.output.answered(answer):
        return
    if diff:
        made = answer["diff"] or {"text": "", "unwritten": []}
        lines = made["text"].split("\n")[:-1]  # a carriage return is a part of the list's line
        for line in lines:
            call.output.now(inert(line) if call.output.fancy else line)
        if not lines:
            call.output.hint("Nothing to change.")
        for domain in made["unwritten"]:
            call.output.hint(f"{domain}: left out, because the list has no line for it alone, or to model one on.")
        return
    when = ago if call.output.fancy else clock
    rows = [("free", it["host"], f"listed as {it['entry']}", when(it["at"])) for it in answer["free"]]
    rows += [
        ("blocked", site["site"], f"{site['words']}: {site['plain']}" if site["plain"] else site["words"],
         when(site["since"]) if site["since"] else "")
        for site in answer["blocked"]
    ]  # fmt: skip
    call.output.table(
        ("here", "site", "why", "when"), rows, empty=f"Your visits on this network say nothing about list {name}."
    )
    if answer["network_state"] in ("offline", "portal"):
        call.output.hint("There is no internet access now, so it is not known which sites are blocked.")
    if relayed := [action for action in answer["rules"] if action in ("RELAY", "BLOCK")]:
        call.output.hint(f"A {relayed[0]} rule uses the list, so its sites are not tried direct.")


def _overview(out: Output, lists: Sequence[Document]) -> None:
    when = ago if out.fancy else clock
    rows = [
        (
            it["name"],
            _state(it),
            it["entries"],
            it["lines_skipped"],
            when(it["fetch"]["fetched_at"]) if it["fetch"] and it["fetch"]["fetched_at"] else "",
            it["source"],
        )
        for it in lists
    ]
    empty = "There is no list. Add one with a [[list]] table in the configuration: `byway config path`."
    out.table(("list", "state", "entries", "skipped", "fetched", "source"), rows, empty=empty)


def _state(item: Document) -> str:
    fetch = item["fetch"]
    if fetch and not fetch["has_copy"]:
        return "cannot be read" if fetch["error"] and not fetch["failures"] else "not fetched yet"
    if not item["in_use"]:
        return "not in use"
    if fetch and fetch["error"]:
        return "last fetch failed"
    if item["problem"]:
        return "covers almost nothing"
    return "out of date" if fetch and fetch["stale"] else "in use"


_COVERED = {
    "site": "with subdomains",
    "host": "without subdomains",
    "subdomains": "only their subdomains",
    "children": "only one label below",
}
"""The words for the hosts that domains of a list cover."""


def list_facts(item: Document) -> Iterator[tuple[str, str]]:
    """Yields the facts about a list (`list_answers.ListJson`), as names and values."""
    yield "list", item["name"]
    yield "state", _state(item)
    yield "source", item["source"]
    yield "format", item["format"]
    kinds = ", ".join(f"{count:,} {kind}{'' if count == 1 else 'es' if kind == 'prefix' else 's'}"
                      for kind, count in item["kinds"].items())  # fmt: skip
    yield "entries", f"{item['entries']:,}{f' ({kinds})' if kinds else ''}"
    if covers := ", ".join(f"{count:,} {_COVERED[kind]}" for kind, count in item["covers"].items()):
        yield "domains", covers
    if item["exceptions"]:
        yield "exceptions", f"{item['exceptions']:,}"
    if item["problem"]:
        yield "problem", item["problem"]
    for skipped in item["skipped"]:
        explained = "" if skipped["examples"] else f", since it {skipped['text']}"
        yield "skipped", f"{_lines(skipped['lines'])}: {skipped['reason'].replace('-', ' ')}{explained}"
        for example in skipped["examples"]:
            yield "", example
    if item["lines_widened"]:
        yield "widened", f"{_lines(item['lines_widened'])}: a scheme or path, read as its whole host"
        for example in item["widened"]:
            yield "", example
    if item["bytes"]:
        yield "size", size(item["bytes"])
    if (fetch := item["fetch"]) is not None:
        yield from _fetch_facts(fetch)
    elif item["written_at"]:
        yield "changed", f"{clock(item['written_at'])} ({ago(item['written_at'])})"


def _lines(count: int) -> str:
    return "1 line" if count == 1 else f"{count:,} lines"


def _fetch_facts(fetch: Document) -> Iterator[tuple[str, str]]:
    yield "fetched", f"{clock(fetch['fetched_at'])} ({ago(fetch['fetched_at'])})" if fetch["fetched_at"] else "never"
    if fetch["changed_at"]:
        yield "changed", clock(fetch["changed_at"])
    yield "through", "relays only" if fetch["via"] == "relay" else "direct"
    if fetch["due_at"] is None:
        yield "next", "only by `byway list refresh`"
    else:
        yield "next", f"with a visit after {clock(fetch['due_at'])} (refresh {fetch['refresh']})"
    if fetch["error"]:
        yield "last error", fetch["error"] + (f" ({ago(fetch['failed_at'])})" if fetch["failed_at"] else "")


@command(group, "refresh", example="byway list refresh gfwlist")
def refresh(
    call: Invocation,
    names: Names = None,
    accept_smaller: Annotated[
        bool, typer.Option("--accept-smaller", help="Take a list that has shrunk below half.")
    ] = False,
) -> Exit | None:
    """Fetch lists whose source is an https:// URL.

    What arrives is checked first: the last good copy stays in use when a web page came, or less than half of the
    entries. Exit code 5: a list could not be fetched."""
    results: list[Document] = []
    problem = ""

    def take(line: Document) -> None:
        results.append({key: value for key, value in line.items() if key != "version"})
        if not call.output.as_json:
            _say(call.output, line)

    client = call.running()
    if client is None:
        call.output.hint("No Byway is running. This command fetches the lists itself.")
        asyncio.run(_refresh_offline(call, names or [], take, accept_smaller=accept_smaller))
    else:
        request = {"names": names or [], "accept_smaller": accept_smaller}
        for line in client.post_and_follow("/v1/lists/refresh", request):
            if "problem" in line:
                problem = line["problem"]
            else:
                take(line)
    if call.output.as_json:
        from proxy.model.document import versioned

        call.output.document(versioned(results=results, problem=problem))
    elif problem:
        call.output.hint(f"The edited configuration is not in use: {problem}")
    return Exit.BAD if any(line["result"] == "failed" for line in results) else None


def _say(out: Output, line: Document) -> None:
    if not out.fancy:
        out.row((line["list"], line["result"], line["entries"], line["why"]))
        return
    entries = f"{line['entries']:,} entr{'y' if line['entries'] == 1 else 'ies'}"
    if line["result"] != "failed":
        out.line(f"{line['list']}: {'fetched' if line['result'] == 'replaced' else 'unchanged'}; {entries}")
        return
    out.line(f"{line['list']}: not fetched: {line['why']}")
    if line["entries"]:
        out.line(f"  The last good copy stays in use: {entries}.")


def _described_offline(paths: Paths) -> Document:
    """Returns the answer of a running Byway."""
    from proxy.features.rules import lists
    from proxy.features.rules.list_answers import ListsAnswer
    from proxy.model.document import document
    from proxy.setup.rule_files import read_lists
    from proxy.store.list_copies import ListCopies
    from proxy.terminal.offline import read_configuration

    configured = read_configuration(paths).settings.list
    copies = ListCopies(paths.lists_dir)
    in_use = read_lists(configured, paths, copies=copies)
    return document(ListsAnswer(asyncio.run(lists.describe(configured, in_use, copies, time.time()))))


async def _refresh_offline(
    call: Invocation, names: Sequence[str], take: Callable[[Document], None], *, accept_smaller: bool
) -> None:
    """Fetches lists as a running Byway would, by its rules, overrides and relays, and passes each result to `take`.
    Raises ConfigError and Misused."""
    from proxy.features.rules import lists
    from proxy.features.rules.list_answers import RefreshedLine
    from proxy.model.document import to_json
    from proxy.probe.list_refresh import ListRefresh
    from proxy.store.list_copies import ListCopies
    from proxy.terminal.fetching import fetching
    from proxy.terminal.offline import read_configuration

    with as_misuse():
        fetched = lists.wanted_lists(read_configuration(call.paths).settings.list, names)
    copies = ListCopies(call.paths.lists_dir)
    async with fetching(call.paths, copies, call.features) as context:
        refresh = ListRefresh(context, copies)
        async for result in refresh.refresh(fetched, asked=True, accept_smaller=accept_smaller):
            take(to_json(RefreshedLine.of(result)))
