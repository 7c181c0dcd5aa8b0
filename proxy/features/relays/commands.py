"""`byway relay`: lists and tests relays, edits them in the configuration, and selects one in a group."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from proxy.config.relays import is_member
from proxy.features.relays.additions import about_passwords, added_document, show_added, test_added, warn_of_withheld
from proxy.features.relays.display import show_listeners, show_results, show_table, state_words, visits_cells
from proxy.features.relays.edit import configuration_at, named_in, run_edit
from proxy.languages.amounts import ago, clock
from proxy.model.document_version import VERSION
from proxy.terminal.command import Invocation, command
from proxy.terminal.completion import complete_relays, complete_selections
from proxy.terminal.exit_codes import Exit, Misused, NotRunning, as_misuse
from proxy.terminal.in_use import edited_configuration, hint_saved, take_into_use
from proxy.terminal.terminal import confirm
from proxy.wire.relay_url import is_key

if TYPE_CHECKING:
    from proxy.config.edit import Added, NewRelay
    from proxy.config.paths import Paths
    from proxy.model.document import Document
    from proxy.wire.keys.fields import Allowed

_MEMBERS_SHOWN = 5
"""Members of a subscription in the list of groups, unless all are asked for."""

group = typer.Typer(help="Relays and groups of relays: list, find, test, edit, select.", no_args_is_help=True)

Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Relay names.", autocompletion=complete_relays)]


@command(group, "list", example="byway relay list")
def list_relays(
    call: Invocation,
    everything: Annotated[bool, typer.Option("--all", help="Also show each relay of a subscription.")] = False,
) -> None:
    """List the relays, the preferred first, and the groups.

    Success, handshake and last fault are those of visits in the last 24 hours: nothing is sent to find them. `when` is
    when the state was found; the handshake is the median time in which the relay opened a path to a site."""
    try:
        shown = call.reader().get("/v1/relays")
    except NotRunning:
        from proxy.terminal.stored import Stored

        configuration_at(call.paths)  # which says what is wrong with it
        shown = Stored(call.paths, call.features, needs_log=False).get("/v1/relays")
        call.output.hint("No Byway is running. This is from its configuration.")
    if call.output.answered(shown):
        return
    when = ago if call.output.fancy else clock
    hide = {each["name"] for each in shown["subscriptions"]} if call.output.fancy and not everything else set()
    rows = [
        (
            relay["name"],
            state_words(relay),
            when(relay["found_at"]) if relay["found_at"] else "",
            *visits_cells(call, relay),
            relay["url"],
        )
        for relay in shown["relays"]
        if relay["name"].partition("/")[0] not in hide or "/" not in relay["name"]
    ]
    visits = ("success", "handshake", "last fault")
    if rows or not shown["relays"]:
        show_table(call, ("relay", "state", "when", *visits, "url"), rows)
    if len(rows) < len(shown["relays"]):
        call.output.hint("Relays of subscriptions, each by itself: `byway relay list --all`")
    if groups := shown["groups"]:
        call.output.line()
        rows = [
            (
                group["name"],
                group["policy"],
                group["words"],
                *visits_cells(call, group),
                _members(group, shortened=group["name"] in hide),
            )
            for group in groups
        ]
        show_table(call, ("group", "policy", "state", *visits, "relays"), rows)
        for problem in dict.fromkeys(group["problem"] for group in groups if group["problem"]):
            call.output.hint(f"{problem[0].upper()}{problem[1:]}.")
    if shown["subscriptions"]:
        from proxy.features.relays.subscriptions import show_subscriptions

        show_subscriptions(call, shown["subscriptions"])


def _members(group: Document, *, shortened: bool) -> str:
    names = list(group["relays"])
    if shortened and len(names) > _MEMBERS_SHOWN + 1:
        names[_MEMBERS_SHOWN:] = [f"and {len(names) - _MEMBERS_SHOWN} more"]
    return ", ".join(names)


@command(group, "scan", example="byway relay scan")
def scan_local(
    call: Invocation,
    ports: Annotated[
        str | None,
        typer.Option("--ports", metavar="PORT,…", help="Ask only these ports (default: known ones of other programs)."),
    ] = None,
    try_out: Annotated[
        bool,
        typer.Option(
            "--try-out",
            help="Open two connections through each (by Byway and by PySocks), to the first of `[auto] controls`.",
        ),
    ] = False,
    add_found: Annotated[bool, typer.Option("--add", help="Add the proxies found as relays.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: as with --try-out and --add.")] = False,
) -> None:
    """Find SOCKS and HTTP proxies on this computer, such as Tor, Clash, v2rayN or `ssh -D`.

    Known ports of 127.0.0.1 are asked what they are, with questions that no proxy passes on: nothing leaves this
    computer. At a terminal you are asked before a connection is opened through them, and before a relay is added."""
    from proxy.features.relays.local_scan import LocalScan

    paths, client = edited_configuration(call)
    try_out, add_found = try_out or yes, add_found or yes
    running = client.get("/v1/status") if client is not None else None
    local = LocalScan(
        configuration_at(paths).settings, own_port=None if running is None else running["live"].get("port")
    )
    asks = call.output.fancy and not call.output.as_json and sys.stdin is not None and sys.stdin.isatty()
    local.ask(ports)
    if not call.output.as_json and not (asks and local.proxies):
        left = "" if try_out else "; nothing left it"
        call.output.hint(f"Asked {len(local.asked)} ports of this computer{left}.")
    if asks and local.proxies:
        show_listeners(call, local)
        if not try_out:
            question = f"Open two connections to {local.destination} through each, to see whether it leads out?"
            try_out = confirm(question)
    if try_out:
        local.try_out()
    added: list[Added] = []
    if not call.output.as_json and (try_out or not (asks and local.proxies)):
        show_listeners(call, local)
    if asks and not add_found and local.addable:
        names = ", ".join(str(listener.known.port) for listener in local.addable)
        add_found = confirm(f"Add as relays: {names}?")
    if add_found and local.addable:
        from proxy.config.edit import NewRelay, add_relays

        with as_misuse():
            added = add_relays(paths.config_file, [NewRelay(each.url, label=each.known.name) for each in local.addable])
        take_into_use(call, client, paths.config_file)
    if call.output.answered(local.document([each.name for each in added])):
        return
    if added:
        call.output.line(f"Added: {', '.join(each.name for each in added)}")
        hint_saved(call, paths, running=client is not None)
    call.output.hint(*local.hints())


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
) -> None:
    """Select the relay of a group whose policy is "select".

    It is used from the next connection on, also after a restart. The group uses no other relay: if the selected one
    fails, what a rule sends to the group does not open."""
    from proxy.config.relays import check_selection, group_to_select_in

    if len(names) > 2:
        raise typer.BadParameter("one relay can be selected, after its group")
    relay, group_name = names[-1], names[0] if len(names) == 2 else ""
    fault = None
    client = call.running()
    if client is None:
        from proxy.config.paths import private_folder
        from proxy.features.relays.answers import SelectionAnswer
        from proxy.model.document import document
        from proxy.store.relay_selection import read_selection, write_selection

        settings = configuration_at(call.paths).settings
        with as_misuse():
            selectable = {each.name: each.relays for each in settings.group if each.policy == "select"}
            group_name = group_name or group_to_select_in(selectable, relay)
            check_selection(settings, group_name, relay)
        file = call.paths.relay_selection_file
        private_folder(file.parent)
        write_selection(file, {**read_selection(file), group_name: relay})
        answer = document(SelectionAnswer(group_name, relay))
    else:
        shown = client.get("/v1/relays")
        fault = next((each["fault"] for each in shown["relays"] if each["name"] == relay), None)
        if not group_name:
            with as_misuse():
                group_name = group_to_select_in(
                    {each["name"]: each["relays"] for each in shown["groups"] if each["selects_by"] == each["name"]},
                    relay,
                )
        answer = client.put(f"/v1/groups/{quote(group_name, safe='')}", {"use": relay})
    if not call.output.answered(answer):
        call.output.line(f"Group {answer['group']} uses {answer['use']}")
    if fault is not None:
        call.output.hint(f"Relay {relay} fails: {fault['text']}. To do: {fault['do']}")


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

    Without a running Byway, PySocks also tests each relay whose URL has an IP address."""
    client = call.running()
    if client is None:
        from proxy.features.relays.offline_test import try_offline

        paths = call.paths
        warn_of_withheld(call, paths)
        results = try_offline(call.paths, names or [], to, features=call.features)
    else:
        paths = call.for_config_of(client).paths
        warn_of_withheld(call, paths)
        results = client.post("/v1/relays/test", {"names": names or [], **({} if to is None else {"to": to})})
    if not call.output.answered(results):
        call.output.hint(f"Connecting to {results['to']['host']}:{results['to']['port']} through each relay:")
        show_results(call, results["results"], [item.name for item in configuration_at(paths).settings.subscription])
    return None if all(result["ok"] for result in results["results"]) else Exit.BAD


@command(group, "add", example="byway relay add socks5h://127.0.0.1:9050 --name tor")
def add(
    call: Invocation,
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL|FILE|-",
            help="socks5h://HOST:PORT, http://…, https://…, a key (vless://…, ss://…, trojan://…), a chain A>B; a file "
            "or - for standard input, with one URL a line, or of Clash, sing-box or WireGuard; or a subscription, "
            "https://HOST/PATH or ssconf://….",
        ),
    ],
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name for rules and the log.")] = None,
    no_test: Annotated[bool, typer.Option("--no-test", help="Add it without a test.")] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Fetch a subscription direct: your provider sees its host.")
    ] = False,
    allow_plaintext_credentials: Annotated[
        bool,
        typer.Option(
            "--allow-plaintext-credentials", help="Send user and password unencrypted, over any network, if need be."
        ),
    ] = False,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore",
            metavar="FIELD",
            help="Take a key with this field, though the connection may be weaker without it; may be given again.",
        ),
    ] = None,
    pin: Annotated[
        str | None,
        typer.Option(
            "--pin",
            metavar="SHA256|ask",
            help="Take a key that switches the check of certificates off: its server must show this certificate. With "
            "`ask`, you are shown the one that its server shows now; compare it with one from the key's owner.",
        ),
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Allow that the server of a key is in the local network.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: keep what --pin ask shows.")] = False,
) -> Exit | None:
    """Add relays to the configuration and test them. A running Byway uses them at once.

    A relay that fails its test is added all the same, with a warning. One that is there already is not added again.
    For a user without a password, the password is asked for and stored in the configuration file, which only you can
    read; `password_cmd` there takes it from elsewhere. A key is a secret as a whole, and is stored there too; an engine
    uses it (`byway[keys]`, or mihomo on PATH). The certificate that --pin ask shows may be that of anyone on the way to
    the server, so it must be compared with one from the key's owner. A subscription is fetched through your relays; its
    relays are a group, which follows the file."""
    from proxy.config.edit import add_relays, relays_in
    from proxy.features.relays.input import STANDARD_INPUT, ask_password, read_given, read_piped, subscription_in

    if url == STANDARD_INPUT and sys.stdin is not None and sys.stdin.isatty():
        call.output.hint(f"Paste it, press Enter, then {'Ctrl-Z and Enter' if sys.platform == 'win32' else 'Ctrl-D'}.")
    piped = read_piped(url)
    if address := subscription_in(url if piped is None else piped):
        from proxy.features.relays.subscriptions import subscribe

        subscribe(call, address, name, direct=direct, from_arguments=piped is None)
        return None
    if direct:
        raise Misused("--direct is for a subscription, https://HOST/PATH")
    given = read_given(url, _allowed(ignore or [], pin), piped=piped)
    if name is not None and len(given.relays) + len(given.problems) > 1:
        raise Misused("--name is for one relay, and several were given")
    paths, client = edited_configuration(call)
    is_there = relays_in(paths.config_file)
    news = [
        replace(
            new if is_there(new) else ask_password(new),
            name=name,
            allow_plaintext_credentials=allow_plaintext_credentials,
            local=local and is_key(new.url),
        )
        for new in given.relays
    ]
    if pin == _ASK:
        kept = _with_shown_pin(call, paths, news, yes=yes)
        if kept is None:
            return None
        news = [kept]
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
    running = take_into_use(call, client, paths.config_file) if new_relays else client is not None
    call.output.hint(*about_passwords(given.from_arguments, [new.url for new in given.relays], paths, new_relays))
    tests = {} if no_test else dict(test_added(call, client, paths, new_relays))
    if not call.output.answered(added_document(paths, added, tests, given.problems, running=running)):
        show_added(call, added, tests)
        if new_relays:
            hint_saved(call, paths, running=running)
    call.output.hint(*given.problems)
    return Exit.USAGE if given.problems else None


@command(group, "refresh", example="byway relay refresh shop")
def refresh(
    call: Invocation,
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Subscriptions (default: all).")] = None,
    accept_smaller: Annotated[
        bool, typer.Option("--accept-smaller", help="Take a file with less than half of the relays.")
    ] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Fetch them direct, this time: your provider sees their hosts.")
    ] = False,
) -> Exit | None:
    """Fetch subscriptions again, through relays.

    What arrives is checked first: the last good copy stays in use when a web page came, or less than half of the
    relays. Names of relays stay, and so does what is disabled. If no relay reaches a subscription, you are asked once
    whether to fetch it direct. Exit code 5: a subscription could not be fetched."""
    from proxy.features.relays.subscriptions import asked_to_go_direct
    from proxy.features.relays.subscriptions import refresh as fetch_again

    results: list[Document] = []

    def take(line: Document) -> None:
        results.append({key: value for key, value in line.items() if key != "version"})

    fetch_again(call, names or [], accept_smaller=accept_smaller, direct=direct, take=take)
    if not call.output.answered({"version": VERSION, "results": results}):
        _show_refreshed(call, results)
        if again := asked_to_go_direct(call, results):
            results = [line for line in results if line["subscription"] not in again]
            fetched_before = len(results)
            fetch_again(call, again, accept_smaller=accept_smaller, direct=True, take=take)
            _show_refreshed(call, results[fetched_before:])
    return Exit.BAD if any(line["result"] == "failed" for line in results) else None


def _show_refreshed(call: Invocation, results: Sequence[Document]) -> None:
    headings = ("subscription", "result", "relays", "why")
    call.output.table(headings, [[line[name] for name in headings] for line in results])
    for line in results:
        if line["remedy"] == "accept_smaller":
            again = f"byway relay refresh {line['subscription']} --accept-smaller"
            call.output.hint(f"If {line['subscription']} has become that small: `{again}`")


def _allowed(ignore: list[str], pin: str | None) -> Allowed | None:
    """Returns what the options say to keys. Raises Misused."""
    if not ignore and pin is None:
        return None
    from proxy.wire.keys.fields import Allowed

    digits = "00" * 32 if pin == _ASK else (pin or "").removeprefix("sha256:").replace(":", "")
    if pin is not None and not re.fullmatch("[0-9A-Fa-f]{64}", digits):
        raise Misused("--pin takes the SHA-256 of the certificate, in 64 hexadecimal digits, or ask")
    return Allowed(frozenset(map(str.lower, ignore)), bytes.fromhex(digits) or None)


_ASK = "ask"
"""In place of a pin: the one that the server shows is told, and kept if the user says so."""


def _with_shown_pin(call: Invocation, paths: Paths, news: Sequence[NewRelay], *, yes: bool) -> NewRelay | None:
    """Returns the relay with the pin of the certificate that its server shows now; None: the user does not keep it.
    Raises Misused, also where nobody can be asked."""
    from proxy.features.relays.key_certificate import shown_certificate

    if len(news) != 1:
        raise Misused("--pin ask is for one key; for many keys, write the SHA-256")
    (new,) = news
    pin = shown_certificate(paths, new)
    call.output.hint(
        f"The server shows a certificate with the SHA-256 {pin.hex()}. Compare it with one from the key's owner: "
        "anyone on the way to the server could show another."
    )
    if not yes:
        if call.output.as_json or sys.stdin is None or not sys.stdin.isatty():
            raise Misused("no person can be asked here: to keep it, write it after --pin, or add --yes")
        if not confirm("Keep it, as the only certificate that this server may show?"):
            return None
    assert new.allowed is not None
    return replace(new, allowed=replace(new.allowed, pin=pin))


@command(group, "rm", example="byway relay rm vps")
def remove(call: Invocation, names: Names) -> None:
    """Remove relays and subscriptions from the configuration.

    Refused while a rule, a chain, a group, an override or an addon names one."""
    from proxy.config.edit import remove_relays, remove_subscriptions

    def edit(paths: Paths) -> None:
        if member := next(filter(is_member, names), ""):
            raise Misused(f"relay {member} is of a subscription: `byway relay disable {member}`")
        if named := named_in(call, paths, names):
            lines = "\n".join(f"  {place} names {relay}" for relay, place in named)
            raise Misused(f"not removed, because other settings need it; change these first:\n{lines}")
        subscriptions = [item.name for item in configuration_at(paths).settings.subscription if item.name in names]
        if subscriptions:
            remove_subscriptions(paths.config_file, subscriptions)
        if relays := [name for name in names if name not in subscriptions]:
            remove_relays(paths.config_file, relays)

    run_edit(call, names, edit, f"Removed: {', '.join(names)}")


@command(group, "order", example="byway relay order vps tor")
def order(call: Invocation, names: Names) -> None:
    """Put these relays first, in this order. The others follow in their old order."""
    from proxy.config.edit import order_relays

    def edit(paths: Paths) -> None:
        _check_members(call, paths, names)
        order_relays(paths.config_file, names)

    run_edit(call, names, edit, f"Order: {', '.join(names)}" if any(map(is_member, names)) else "")


@command(group, "enable", example="byway relay enable vps")
def enable(call: Invocation, names: Names) -> None:
    """Use these relays again."""
    from proxy.config.edit import enable_relays

    def edit(paths: Paths) -> None:
        _check_members(call, paths, names)
        enable_relays(paths.config_file, names, True)

    run_edit(call, names, edit, f"Enabled: {', '.join(names)}")


@command(group, "disable", example="byway relay disable vps")
def disable(call: Invocation, names: Names) -> None:
    """Keep these relays in the configuration and do not use them, nor chains that name them."""
    from proxy.config.edit import enable_relays

    def edit(paths: Paths) -> None:
        for relay, place in named_in(call, paths, names):
            call.output.hint(f"Warning: {place} names {relay}, which is not used now.")
        enable_relays(paths.config_file, names, False)

    run_edit(call, names, edit, f"Disabled: {', '.join(names)}")


def _check_members(call: Invocation, paths: Paths, names: Sequence[str]) -> None:
    """Raises Misused for a name of a subscription's relay that is none; edits check the names of other relays."""
    if members := [*filter(is_member, names)]:
        named_in(call, paths, members)
