"""`byway rule`: tests, lists, checks and edits the rules. All of it works without a running Byway, from the files.

A running one is asked first, because it also has overrides and the learned status; it uses an edit when the command
ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.languages.amounts import ago, clock
from proxy.model.document_version import VERSION
from proxy.routing.lists.export import ExportFormat
from proxy.terminal.command import Invocation, command
from proxy.terminal.exit_codes import Misused, NotRunning, as_misuse
from proxy.terminal.in_use import edited_configuration, hint_in_use, take_into_use
from proxy.terminal.output import Cell, action_of, override_of

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.routing.rule import Rule
    from proxy.terminal.client import Client

group = typer.Typer(help="Rules: test, list, check, add, remove, import, export.", no_args_is_help=True)


@command(group, "test", example="byway rule test https://user.livejournal.com/")
def try_url(
    call: Invocation,
    url: Annotated[str, typer.Argument(metavar="URL|HOST", help="The site to look up.")],
    process: Annotated[
        str | None, typer.Option("--process", metavar="NAME", help="As if this program asked (default: none).")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME", help="As if on this network of [networks].")
    ] = None,
) -> None:
    """Show the plan for a URL and the rules that match it."""
    options = {"process": process, "network": network}
    request = {"url": url, **{name: value for name, value in options.items() if value is not None}}
    try:
        answer = call.client().post("/v1/rules/test", request)
    except NotRunning:
        call.output.hint("No Byway is running. This is from the files, without overrides and learned status.")
        answer = _tested_offline(call, url, process or "", network)
    if call.output.answered(answer):
        return
    plan = answer["plan"]
    rows = [
        ("host", f"{answer['host']}:{answer['port']}"),
        ("action", plan["action"]),
        ("routes", " → ".join(plan["routes"]) or "none"),
        ("why", plan["why"]),
        *(("trace", step) for step in answer["trace"]),
        *(("list", _listed(it)) for it in answer["listed"]),
    ]
    call.output.table(("what", "value"), rows)


def _listed(item: Mapping[str, Any]) -> str:
    """Returns where a list names the host."""
    if item["line"] is None:
        return f"{item['list']}: {item['entry']}"
    return f"{item['list']}, line {item['line']}: {item['text']}"


@command(group, "list", example="byway rule list --plain")
def list_rules(call: Invocation) -> None:
    """List the rules in order; the first match decides.

    Overrides of `site set` come first, since they win. `hits` are the connections that a rule decided about since the
    start of the running Byway; a rule with 0 may be useless."""
    try:
        answer = call.client().get("/v1/rules")
    except NotRunning:
        from proxy.features.rules.answers import RulesAnswer
        from proxy.model.document import document
        from proxy.terminal.offline import make_setup

        call.output.hint("No Byway is running. These are the rules in the file.")
        answer = document(RulesAnswer.of(make_setup(call.paths, call.features).router.rules, {}))
    if call.output.answered(answer):
        return

    def hits(counted: Mapping[str, Any]) -> tuple[int | None, str]:
        count, last = counted["hits"], counted["last_hit_at"]
        if last is None:
            return count, "never" if count == 0 and call.output.fancy else ""
        return count, ago(last) if call.output.fancy else clock(last)

    rows: list[tuple[Cell, ...]] = [
        ("", "site set", "DOMAIN-SUFFIX", it["scope"], None, override_of(it, fancy=call.output.fancy), *hits(it))
        for it in answer["overrides"]
    ]
    rows += [
        (number, f"{rule['source']}:{rule['line']}", rule["type"], rule["value"], rule["entries"], action_of(rule),
         *hits(rule))
        for number, rule in enumerate(answer["rules"], 1)
    ]  # fmt: skip
    headings = ("no", "at", "type", "value", "entries", "action", "hits", "last hit")
    call.output.table(headings, rows, empty="There are no rules. Every site is AUTO.")
    call.output.hint(*answer["notices"])


@command(group, "check", example="byway rule check rules.txt")
def check(
    call: Invocation,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Rules file (default: the configured one).")
    ] = None,
) -> None:
    """Check a rules file.

    Every error is shown with its line. Exit code 7: there are errors."""
    from proxy.setup.checked import check_supported
    from proxy.setup.rule_files import read_rules
    from proxy.terminal.offline import read_configuration

    paths = call.paths
    checked = file or paths.rules_file
    rules = read_rules(read_configuration(paths).settings, paths, file=file)
    check_supported(rules, inspects=call.inspects)
    if call.output.as_json:
        lists = [
            {"name": name, "file": it.source, "lines_read": it.lines_read, "lines_skipped": it.lines_skipped}
            for name, it in rules.lists.items()
        ]
        document = {"file": str(checked), "rules": len(rules), "lists": lists, "notices": list(rules.notices)}
        call.output.document({"version": VERSION, **document})
        return
    for name, it in rules.lists.items():
        source = "" if it.source == f"list {name}" else f"{it.source}: "  # a fetched list has no file
        call.output.line(f"list {name}: {source}lines read: {it.lines_read:,}, skipped: {it.lines_skipped:,}")
    call.output.hint(*rules.notices)
    if file is None and not checked.exists():
        call.output.line(f"{checked}: no such file; every site is AUTO")
    else:
        call.output.line(f"{checked}: {len(rules)} rule{'' if len(rules) == 1 else 's'}, no errors")


@command(group, "add", example="byway rule add DOMAIN-SUFFIX,example.org,RELAY")
def add(
    call: Invocation,
    expr: Annotated[str, typer.Argument(metavar="TYPE,VALUE,ACTION", help="The rule, as a line of rules.txt.")],
    at: Annotated[
        int | None,
        typer.Option(
            "--at", "--before", metavar="N", help="Make it rule N of `rule list`, before the one that has this number."
        ),
    ] = None,
    top: Annotated[bool, typer.Option("--top", help="Make it the first rule.")] = False,
) -> None:
    """Add a rule to rules.txt. A running Byway uses it at once.

    It becomes the last rule, but goes before a MATCH. Everything else in the file stays as it is. Exit code 7: the rule
    or the file has an error, and nothing was written."""
    from proxy.setup.rule_edits import add_rule
    from proxy.terminal.offline import read_configuration

    if top and at is not None:
        raise Misused("give either --top or --at")
    paths, client = edited_configuration(call)
    with as_misuse():
        added = add_rule(paths, read_configuration(paths).settings, expr, at=1 if top else at, inspects=call.inspects)
    running = take_into_use(call, client, paths.rules_file)
    notices = [*added.notices(), *_relay_notices(added.rule, paths, client)]
    if call.output.as_json:
        from proxy.features.rules.answers import RuleJson
        from proxy.model.document import versioned

        document = {"number": added.number, "rule": RuleJson.of(added.rule), "notices": notices}
        call.output.document(versioned(file=str(paths.rules_file), **document, running=running))
        return
    place = "last" if added.following is None else f"before {added.following.text}"
    call.output.line(f"{paths.rules_file}:{added.rule.line}: added as rule {added.number}, {place}: {added.rule.text}")
    hint_in_use(call, running)
    call.output.hint(*notices)


@command(group, "rm", example="byway rule rm 2")
def remove(
    call: Invocation, number: Annotated[int, typer.Argument(metavar="N", help="The rule's number in `rule list`.")]
) -> None:
    """Remove a rule from rules.txt. A running Byway stops using it at once.

    The removed line is printed. Everything else in the file stays as it is."""
    from proxy.setup.rule_edits import remove_rule
    from proxy.terminal.offline import read_configuration

    paths, client = edited_configuration(call)
    with as_misuse():
        removed = remove_rule(paths, read_configuration(paths).settings, number)
    running = take_into_use(call, client, paths.rules_file)
    if call.output.as_json:
        from proxy.features.rules.answers import RuleJson
        from proxy.model.document import versioned

        document = {"number": number, "rule": RuleJson.of(removed.rule), "removed": removed.line}
        call.output.document(versioned(file=str(paths.rules_file), **document, running=running))
        return
    call.output.line(f"{paths.rules_file}:{removed.rule.line}: rule {number} is removed: {removed.line}")
    hint_in_use(call, running)


@command(group, "export", example="byway rule export --format clash --action RELAY")
def export(
    call: Invocation,
    format: Annotated[  # noqa: A002
        ExportFormat, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(ExportFormat)}.")
    ],
    list_name: Annotated[str | None, typer.Option("--list", metavar="NAME", help="The entries of this list.")] = None,
    action: Annotated[
        str | None,
        typer.Option("--action", metavar="ACTION", help="What rules with this action name (default: RELAY)."),
    ] = None,
    learned: Annotated[bool, typer.Option("--learned", help="Sites that were found blocked on this network.")] = False,
) -> None:
    """Export domains and prefixes in the format of another program.

    Standard output has the file. What the format cannot say is counted on standard error. Rules with another action are
    not taken into account, even if they come first."""
    from proxy.features.rules.export import write_export

    write_export(call, format, list_name=list_name, action=action, learned=learned)


@command(group, "import", example="byway rule import gfwlist.txt --list gfw")
def take(
    call: Invocation,
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-|URL", help="A list in any format, rules of Clash or SwitchyOmega, or OONI's block pages."
        ),
    ],
    list_name: Annotated[
        str | None, typer.Option("--list", metavar="NAME", help="Read it as a list, with this name.")
    ] = None,
    list_format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="The list's format.")] = "auto",
    add_them: Annotated[bool, typer.Option("--add", help="Add rules of another program to rules.txt.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Take a list that has shrunk below half, or is hardly readable.")
    ] = False,
) -> None:
    """Import a list, rules of another program, or a list of block pages.

    A list is copied beside the configuration and added to it; importing it again replaces it. It decides nothing until
    a LIST rule names it. Rules with actions are only shown, unless --add is given. Block pages (OONI's
    fingerprints_http.csv) replace those imported before and are stored as block_pages.csv. A running Byway uses all of
    it at once."""
    from typing import get_args

    from proxy.config.schema import ListFormatName
    from proxy.config.suggestions import quoted, suggestion
    from proxy.features.rules.imports import import_source

    formats = get_args(ListFormatName)
    if list_format not in formats:
        raise Misused(f"unknown list format {quoted(list_format)}{suggestion(list_format, formats)}")
    chosen = next(name for name in formats if name == list_format)
    import_source(call, source, name=list_name, format=chosen, add=add_them, force=force)


def _relay_notices(rule: Rule, paths: Paths, client: Client | None) -> Iterator[str]:
    """Yields the warning about a new rule that needs a relay, if none is usable."""
    from proxy.model import Action
    from proxy.terminal.usable import relay_warning, relays_now

    if rule.action in (Action.RELAY, Action.PREFER_RELAY):
        then = "nothing that it matches opens" if rule.action is Action.RELAY else "what it matches goes direct"
        if warning := relay_warning(relays_now(paths, client), relay=rule.relay, then=then):
            yield warning


def _tested_offline(call: Invocation, url: str, process: str, network: str | None) -> dict[str, Any]:
    from proxy.control.answers.plans import PlanJson
    from proxy.features.rules.answers import ListedJson
    from proxy.model import UNKNOWN_NETWORK, NetworkId
    from proxy.model.document import versioned
    from proxy.probe.site_name import site
    from proxy.routing.rule import Situation
    from proxy.routing.rule_values import parse_network
    from proxy.setup.rule_files import read_list_text
    from proxy.store.list_copies import ListCopies
    from proxy.terminal.offline import make_setup, plan_offline

    setup = make_setup(call.paths, call.features)
    networks = setup.settings.networks
    with as_misuse():
        destination = site(url)
        named = UNKNOWN_NETWORK if network is None else parse_network(network, networks)
    situation = Situation(NetworkId(networks.get(named, named)), process.lower())
    copies, listed = ListCopies(call.paths.lists_dir, ephemeral=True), []  # only to read
    for item in setup.settings.list:
        in_use = setup.router.rules.lists[item.name]
        if (entry := in_use.covering(destination.host)) is not None:
            text = read_list_text(item, call.paths, copies)
            listed.append(ListedJson.of(item.name, entry, in_use, text))
    return versioned(
        host=destination.host,
        port=destination.port,
        plan=PlanJson.of(plan_offline(setup, destination, situation)),
        trace=setup.router.trace(destination, situation, now=time.time()),
        listed=listed,
    )
