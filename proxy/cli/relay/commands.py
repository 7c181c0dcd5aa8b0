"""`byway relay`: list and test relays; add, remove, order, enable and disable them in the configuration; select one in
a group."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.completion import complete_relays, complete_selections
from proxy.cli.exit_codes import Exit, Misused, NotRunning, as_misuse
from proxy.cli.help import Group
from proxy.cli.output import ago, clock, span
from proxy.model.errors import BywayError, ConfigError

if TYPE_CHECKING:
    from proxy.cli.client import Client
    from proxy.cli.configure import Added
    from proxy.cli.relay.local_scan import LocalScan
    from proxy.config.load import Loaded
    from proxy.config.paths import Paths

group = typer.Typer(help="Relays and groups of relays: list, find, test, edit, select.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="relay", cls=Group)


Document = dict[str, Any]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Relay names.", autocompletion=complete_relays)]

_NO_RELAY = "There is no relay. Add one with `byway relay add URL`."
_TESTED_AT_ONCE = 8


@command(group, "list", example="byway relay list")
def list_relays(call: Invocation) -> Exit | None:
    """List the relays, the preferred first, and the groups.

    Success, handshake and last fault are those of visits in the last 24 hours: nothing is sent to find them. `when` is
    when the state was found; the handshake is the median time in which the relay opened a path to a site.
    """
    try:
        shown = call.reader().get("/v1/relays")
    except NotRunning:
        shown = _configured(call.paths)
        call.output.hint("No Byway is running. This is from its configuration.")
    if call.output.as_json:
        call.output.document(shown)
        return None
    when = ago if call.output.fancy else clock
    rows = [
        (
            relay["name"],
            _words(relay),
            when(relay["found_at"]) if relay["found_at"] else "",
            *_visits(call, relay),
            relay["url"],
        )
        for relay in shown["relays"]
    ]
    visits = ("success", "handshake", "last fault")
    _show_table(call, ("relay", "state", "when", *visits, "url"), rows)
    if groups := shown["groups"]:
        call.output.line()
        rows = [
            (group["name"], group["policy"], group["words"], *_visits(call, group), ", ".join(group["relays"]))
            for group in groups
        ]
        _show_table(call, ("group", "policy", "state", *visits, "relays"), rows)
        for problem in dict.fromkeys(group["problem"] for group in groups if group["problem"]):
            call.output.hint(f"{problem[0].upper()}{problem[1:]}.")
    return None


@command(group, "scan", example="byway relay scan")
def scan_local(
    call: Invocation,
    ports: Annotated[
        str | None,
        typer.Option("--ports", metavar="PORT,…", help="Ask only these ports (default: known ones of other programs)."),
    ] = None,
    try_out: Annotated[
        bool,
        typer.Option("--try-out", help="Open one connection through each, to the first of `[auto] controls`."),
    ] = False,
    add_found: Annotated[bool, typer.Option("--add", help="Add the proxies found as relays.")] = False,
) -> Exit | None:
    """Find SOCKS and HTTP proxies on this computer, such as Tor, Clash, v2rayN or `ssh -D`.

    Known ports of 127.0.0.1 are asked what they are, with questions that no proxy passes on: nothing leaves this
    computer. At a terminal you are asked before a connection is opened through them, and before a relay is added.
    """
    from proxy.cli.relay.local_scan import LocalScan

    paths, client = _target(call)
    running = client.get("/v1/status") if client is not None else None
    local = LocalScan(_loaded(paths).settings, own_port=None if running is None else running["live"].get("port"))
    asks = call.output.fancy and not call.output.as_json and sys.stdin is not None and sys.stdin.isatty()
    local.ask(ports)
    if not call.output.as_json and not (asks and local.proxies):
        call.output.hint(f"Asked {len(local.asked)} ports of this computer; nothing left it.")
    if asks and local.proxies:
        _show_listeners(call, local)
        if not try_out:
            question = f"Open one connection to {local.destination} through each, to see whether it leads out?"
            try_out = typer.confirm(question, default=False, err=True)
    if try_out:
        local.try_out()
    added: list[Added] = []
    if not call.output.as_json and (try_out or not (asks and local.proxies)):
        _show_listeners(call, local)
    if asks and not add_found and local.addable:
        names = ", ".join(str(listener.known.port) for listener in local.addable)
        add_found = typer.confirm(f"Add as relays: {names}?", default=False, err=True)
    if add_found and local.addable:
        from proxy.cli.configure import NewRelay, add_relays

        with as_misuse():
            added = add_relays(paths.config_file, [NewRelay(each.url, label=each.known.name) for each in local.addable])
        _reload(call, client, paths.config_file)
    if call.output.as_json:
        call.output.document(local.document([each.name for each in added]))
        return None
    if added:
        call.output.line(f"Added: {', '.join(each.name for each in added)}")
        _hint_saved(call, paths, running=client is not None)
    for sentence in local.hints():
        call.output.hint(sentence)
    return None


@command(group, "use", example="byway relay use vps")
def use(
    call: Invocation,
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="[GROUP] RELAY",
            help='A relay, after its group where several groups have it. The group has policy = "select".',
            autocompletion=complete_selections,
        ),
    ],
) -> Exit | None:
    """Select the relay of a group whose policy is "select".

    It is used from the next connection on, also after a restart. The group uses no other relay: if the selected one
    fails, what a rule sends to the group does not open.
    """
    from proxy.config.relays import check_selection, group_to_select_in

    if len(names) > 2:
        raise typer.BadParameter("one relay can be selected, after its group")
    relay, group_name = names[-1], names[0] if len(names) == 2 else ""
    try:
        client = call.client()
    except NotRunning:
        from proxy.config.paths import private_folder
        from proxy.control import serialize
        from proxy.store.relay_selection import read_selection, write_selection

        settings = _loaded(call.paths).settings
        with as_misuse():
            selectable = {each.name: each.relays for each in settings.group if each.policy == "select"}
            group_name = group_name or group_to_select_in(selectable, relay)
            check_selection(settings, group_name, relay)
        file = call.paths.relay_selection_file
        private_folder(file.parent)
        write_selection(file, {**read_selection(file), group_name: relay})
        answer = serialize.versioned(group=group_name, use=relay)
    else:
        if not group_name:
            groups = client.get("/v1/relays")["groups"]
            with as_misuse():
                group_name = group_to_select_in(
                    {each["name"]: each["relays"] for each in groups if each["selects_by"] == each["name"]}, relay
                )
        answer = client.put(f"/v1/groups/{quote(group_name, safe='')}", {"use": relay})
    if call.output.as_json:
        call.output.document(answer)
    else:
        call.output.line(f"Group {answer['group']} uses {answer['use']}")
    return None


@command(group, "test", example="byway relay test tor --to example.org:443")
def try_relays(
    call: Invocation,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Relays to test (default: all).", autocompletion=complete_relays),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="HOST:PORT", help="Destination to connect to; default: the first of `[auto] controls`."
        ),
    ] = None,
) -> Exit | None:
    """Connect to a destination through each relay. The result is saved for `relay list`. Exit code 5 if a relay fails.

    Without a running Byway, PySocks tests each relay as well.
    """
    try:
        client = call.client()
    except NotRunning:
        from proxy.cli.relay.offline_test import try_offline

        _warn_of_withheld(call, call.paths)
        results = try_offline(call.paths, names or [], to)
    else:
        _warn_of_withheld(call, call.for_config_of(client).paths)
        results = client.post("/v1/relays/test", {"names": names or [], **({} if to is None else {"to": to})})
    if call.output.as_json:
        call.output.document(results)
    else:
        call.output.hint(f"Connecting to {results['to']['host']}:{results['to']['port']} through each relay:")
        _show_results(call, results["results"])
    return None if all(result["ok"] for result in results["results"]) else Exit.BAD


@command(group, "add", example="byway relay add socks5h://127.0.0.1:9050 --name tor")
def add(
    call: Invocation,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL|FILE|-",
            help="socks5h://HOST:PORT, http://…, https://…, a chain A>B; or a file, or - for standard input, "
            "with one URL a line.",
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name for rules and the log.")] = None,
    no_test: Annotated[bool, typer.Option("--no-test", help="Add it without a test.")] = False,
    allow_plaintext_credentials: Annotated[
        bool,
        typer.Option(
            "--allow-plaintext-credentials", help="Send user and password unencrypted, over any network, if need be."
        ),
    ] = False,
) -> Exit | None:
    """Add relays to the configuration and test them. A running Byway uses them at once.

    A relay that fails its test is added all the same, with a warning. One that is there already is not added again.
    For a user without a password, the password is asked for and stored in the configuration file, which only you can
    read; `password_cmd` there takes it from elsewhere.
    """
    from proxy.cli.configure import add_relays, relays_in
    from proxy.cli.relay.input import ask_password, read_given

    given = read_given(url)
    if name is not None and len(given.relays) + len(given.problems) > 1:
        raise Misused("--name is for one relay, and several were given")
    paths, client = _target(call)
    is_there = relays_in(paths.config_file)
    news = [
        replace(
            new if is_there(new) else ask_password(new),
            name=name,
            allow_plaintext_credentials=allow_plaintext_credentials,
        )
        for new in given.relays
    ]
    with as_misuse():
        added = add_relays(paths.config_file, news)
    if given.from_arguments and ":" in url and "/" not in url and ">" not in url:
        call.output.hint(f"Read as {added[0].url}. For an HTTP proxy, write http:// before the host.")
    if any(new.url != asked.url for new, asked in zip(given.relays, news, strict=True)):
        call.output.hint(
            f"The password is stored in {paths.config_file}, which only you can read. To keep it elsewhere, use "
            "password_cmd there."
        )
    new_relays = [each for each in added if each.was_there is None]
    running = _reload(call, client, paths.config_file) if new_relays else client is not None
    for sentence in _about_passwords(given.from_arguments, [new.url for new in given.relays], paths, new_relays):
        call.output.hint(sentence)
    tests = {} if no_test else dict(_tested(call, client, paths, new_relays))
    if call.output.as_json:
        call.output.document(_added_document(paths, added, tests, given.problems, running=running))
    else:
        _show_added(call, added, tests)
        if new_relays:
            _hint_saved(call, paths, running=running)
    for problem in given.problems:
        call.output.hint(problem)
    return Exit.USAGE if given.problems else None


@command(group, "rm", example="byway relay rm vps")
def remove(call: Invocation, names: Names) -> Exit | None:
    """Remove relays from the configuration.

    Refused while a rule, a chain, a group, an override or an addon names one."""
    from proxy.cli.configure import remove_relays

    def edit(paths: Paths) -> None:
        if named := _references(call, paths, names):
            lines = "\n".join(f"  {place} names {relay}" for relay, place in named)
            raise Misused(f"not removed, because other settings need it; change these first:\n{lines}")
        remove_relays(paths.config_file, names)

    return _edited(call, names, edit, f"Removed: {', '.join(names)}")


@command(group, "order", example="byway relay order vps tor")
def order(call: Invocation, names: Names) -> Exit | None:
    """Put these relays first, in this order. The others follow in their old order."""
    from proxy.cli.configure import order_relays

    return _edited(call, names, lambda paths: order_relays(paths.config_file, names), "")


@command(group, "enable", example="byway relay enable vps")
def enable(call: Invocation, names: Names) -> Exit | None:
    """Use these relays again."""
    from proxy.cli.configure import enable_relays

    return _edited(
        call, names, lambda paths: enable_relays(paths.config_file, names, True), f"Enabled: {', '.join(names)}"
    )


@command(group, "disable", example="byway relay disable vps")
def disable(call: Invocation, names: Names) -> Exit | None:
    """Keep these relays in the configuration and do not use them, nor chains that name them."""
    from proxy.cli.configure import enable_relays

    def edit(paths: Paths) -> None:
        for relay, place in _references(call, paths, names):
            call.output.hint(f"Warning: {place} names {relay}, which is not used now.")
        enable_relays(paths.config_file, names, False)

    return _edited(call, names, edit, f"Disabled: {', '.join(names)}")


# -- editing -----------------------------------------------------------------------------------------------------------


def _target(call: Invocation) -> tuple[Paths, Client | None]:
    """Returns the paths of the configuration to edit, and the running Byway that uses it, if any."""
    client = call.running()
    return call.for_config_of(client).paths, client


def _reload(call: Invocation, client: Client | None, file: Path) -> bool:
    """Reloads the running Byway after an edit. Returns whether one runs. Raises ConfigError when it refuses."""
    if client is None:
        return False
    problems = client.post("/v1/reload", {})["problems"]
    if problems:
        call.output.hint(f"{file} is saved, but the running Byway keeps its previous configuration:")
        raise ConfigError(problems)
    return True


def _edited(call: Invocation, names: Sequence[str], edit: Callable[[Paths], object], done: str) -> Exit | None:
    """Runs an edit, reloads a running Byway, and shows the result."""
    paths, client = _target(call)
    with as_misuse():
        edit(paths)
    running = _reload(call, client, paths.config_file)
    relays = _loaded(paths).settings.relay
    if call.output.as_json:
        from proxy.control import serialize

        shown = [{"name": relay.name, "enabled": relay.enabled} for relay in relays]
        call.output.document(serialize.versioned(relays=shown, config=str(paths.config_file), running=running))
        return None
    call.output.line(done or f"Order: {', '.join(relay.name for relay in relays)}")
    _hint_saved(call, paths, running=running)
    return None


def _hint_saved(call: Invocation, paths: Paths, *, running: bool) -> None:
    call.output.hint(f"Saved in {paths.config_file}" + ("; the running Byway uses it." if running else "."))


def _references(call: Invocation, paths: Paths, names: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the references to these relays, each with its place. Raises Misused for an unknown relay."""
    from proxy.cli.overrides import overrides_now
    from proxy.cli.relay.references import check_name, references

    loaded = _loaded(paths)
    for name in names:
        check_name(name, [relay.name for relay in loaded.settings.relay])
    return list(references(set(names), loaded, paths, overrides_now(call)))


def _loaded(paths: Paths) -> Loaded:
    from proxy.cli.offline import read_configuration

    return read_configuration(paths)


# -- adding ------------------------------------------------------------------------------------------------------------


def _about_passwords(from_arguments: bool, urls: Sequence[str], paths: Paths, added: Sequence[Added]) -> Iterator[str]:
    """Yields warnings about passwords, one sentence each."""
    from proxy.wire.relay_url import redact

    if from_arguments and any(redact(url) != url for url in urls):
        yield (
            "Warning: the password is now in your shell's history. Next time leave it out of the URL: Byway asks for "
            "it. Or use `byway relay add -`."
        )
    yield from _withheld(paths, [each.name for each in added])


def _withheld(paths: Paths, names: Sequence[str] | None = None) -> Iterator[str]:
    from proxy.config.relays import withheld_credentials

    for relay in _loaded(paths).settings.relay:
        if (names is None or relay.name in names) and (sentence := withheld_credentials(relay)):
            yield f"Warning: {sentence}."


def _warn_of_withheld(call: Invocation, paths: Paths) -> None:
    for sentence in _withheld(paths):
        call.output.hint(sentence)


def _tested(
    call: Invocation, client: Client | None, paths: Paths, added: Sequence[Added]
) -> Iterator[tuple[str, Document]]:
    """Tests each new relay and yields its name and result. A test that cannot run is a hint, not a failure."""
    from proxy.cli.relay.offline_test import try_offline

    names = [each.name for each in added]
    for start in range(0, len(names), _TESTED_AT_ONCE):
        some = names[start : start + _TESTED_AT_ONCE]
        call.output.hint(f"Testing {', '.join(some)}…")
        try:
            if client is not None:
                results = client.post("/v1/relays/test", {"names": some})
            else:
                results = try_offline(paths, some, None, ask_pysocks=False)
        except (BywayError, OSError) as error:
            call.output.hint(f"Not tested: {error}")
            return
        yield from ((result["relay"], result) for result in results["results"])


def _show_added(call: Invocation, added: Sequence[Added], tests: Mapping[str, Document]) -> None:
    rows = []
    for each in added:
        if each.was_there is not None:
            rows.append((each.name, "is there already", each.url))
        else:
            rows.append((each.name, tests[each.name]["words"] if each.name in tests else "not tested", each.url))
    call.output.table(("relay", "state", "url"), rows)
    for each in added:
        if each.was_there is not None:
            call.output.hint(_was_there(each))
        elif each.name in tests and not tests[each.name]["ok"]:
            call.output.hint(f"Warning: relay {each.name} is added but fails ({_details(tests[each.name])}).")
            call.output.hint(f"To do: {tests[each.name]['do']}")


def _details(test: Document) -> str:
    """The sentence of a failed test without the relay's name, which the caller prints before it."""
    return str(test["error"]).removeprefix(f"relay {test['relay']}").lstrip(": ")


def _was_there(each: Added) -> str:
    assert each.was_there is not None
    if not each.was_there.enabled:
        return f"Relay {each.name} has the same host, port and user, and is disabled: `byway relay enable {each.name}`."
    return (
        f"Relay {each.name} has the same host, port and user; nothing was added. To replace it, remove it first: "
        f"`byway relay rm {each.name}`."
    )


def _added_document(
    paths: Paths, added: Sequence[Added], tests: Mapping[str, Document], problems: Sequence[str], *, running: bool
) -> Document:
    from proxy.control import serialize

    relays = [
        {"name": each.name, "url": each.url, "added": each.was_there is None, "test": tests.get(each.name)}
        for each in added
    ]
    return serialize.versioned(relays=relays, config=str(paths.config_file), running=running, problems=list(problems))


# -- showing -----------------------------------------------------------------------------------------------------------


def _configured(paths: Paths) -> Document:
    """Returns the configured relays with their last tests, for when there is no log either."""
    from proxy.cli.stored import stored_groups
    from proxy.config.relays import expanded
    from proxy.control import serialize
    from proxy.detect.relay_health import RelayHealth
    from proxy.store.relay_tests import RelayTests, place

    settings = _loaded(paths).settings
    relays = expanded(settings).relay
    tests = RelayTests(place(paths, settings.log)).of_all(relays)
    shown = serialize.relays(relays, tests, lambda _: RelayHealth(), visits={})
    return serialize.versioned(relays=shown, groups=stored_groups(settings, paths, shown, {}))


def _words(relay: Document) -> str:
    """The state of a relay, with its usual time to the first byte, or the time of the last test; and what is in the way
    to it."""
    tested = relay["test"]["elapsed_s"] if relay["test"] is not None and relay["test"]["ok"] else None
    took_s = relay["usual_s"] or tested
    words = f"{relay['words']} ({span(took_s)})" if relay["words"] in ("works", "slow") and took_s else relay["words"]
    return words if relay["obstacle"] is None else f"{words}; {relay['obstacle']['words']}"


def _show_listeners(call: Invocation, local: LocalScan) -> None:
    rows = [local.row(listener) for listener in local.found]
    empty = "No proxy was found. If one listens on another port: `byway relay scan --ports PORT`."
    call.output.table(("port", "usually", "found", "leads out", "relay"), rows, empty=empty)


def _show_table(call: Invocation, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Shows relays or groups. A person does not see a column in which nothing stands."""
    used = [place for place in range(len(headings)) if not call.output.fancy or any(row[place] for row in rows)]
    call.output.table(
        [headings[place] for place in used], [[row[place] for place in used] for row in rows], empty=_NO_RELAY
    )


def _visits(call: Invocation, shown: Document) -> tuple[str, str, str]:
    """What visits showed of a relay or a group: the share that was delivered, the median handshake, the last fault."""
    visits, fault = shown["visits"], shown["last_fault"]
    count = visits["delivered"] + visits["failed"]
    share = f"{visits['share']:.0%} of {count}" if count else ""
    handshake = span(visits["handshake_s"]) if visits["handshake_s"] else ""
    if fault is None or (call.output.fancy and shown["words"].endswith(f"fails: {fault['text']}")):
        return share, handshake, ""  # a person reads it in the state already
    member = "" if fault["relay"] == shown["name"] else f"{fault['relay']}: "
    return share, handshake, f"{member}{fault['text']}, {(ago if call.output.fancy else clock)(fault['seen_at'])}"


def _show_results(call: Invocation, results: Sequence[Document]) -> None:
    rows = [
        (
            result["relay"],
            result["words"],
            span(result["elapsed_s"]) if call.output.fancy else result["elapsed_s"],
            _details(result),
        )
        for result in results
    ]
    call.output.table(("relay", "result", "time", "details"), rows, empty=_NO_RELAY)
    for result in results:
        if not result["ok"] and result["do"]:
            call.output.hint(f"To do: {result['do']}")
        if result.get("obstacle"):
            call.output.hint(result["obstacle"]["text"])
            call.output.hint(f"To do: {result['obstacle']['do']}")
        if result.get("disagreement"):
            call.output.hint(f"{result['relay']}: {result['disagreement']}")
