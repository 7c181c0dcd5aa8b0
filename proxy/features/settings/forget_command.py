"""`byway forget`: removes visited names from memory and disk, with and without a running Byway."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from proxy.config.paths import Paths
from proxy.config.suggestions import quoted, suggestion
from proxy.model.feature import BrokenFeature, Feature
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_sites
from proxy.terminal.exit_codes import Misused, as_misuse
from proxy.terminal.options import moment


@root_command(example="byway forget --all")
def forget(
    call: Invocation,
    everything: Annotated[bool, typer.Option("--all", help="Everything that names a visited site.")] = False,
    host: Annotated[
        str | None,
        typer.Option("--host", metavar="HOST", help="This host and its subdomains.", autocompletion=complete_sites),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="What came since TIME: 30m, 2h or a date.")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="NAME|ID", help="What was learned and logged on this network.")
    ] = None,
    _yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; this command never does.")] = False,
) -> None:
    """Delete visited names: log, stored status, caches, interrupted tests, browser profile.

    Nothing of them stays in Byway's files. Your settings stay: configuration, rules and overrides of
    `byway site set`. --all also deletes configurations that `byway config import` has kept. --host, --since and
    --network keep those and the browser profile."""
    from proxy.terminal.offline import read_configuration

    if sum((everything, host is not None, since is not None, bool(network))) != 1:
        raise Misused("say what to forget: --all, --host HOST, --since TIME or --network NAME")
    request: dict[str, Any] = {"all": True}
    if host is not None:
        request = {"host": host}
    elif since is not None:
        request = {"since": max(1.0, moment(since, now=time.time()))}
    running = call.running()
    paths = call.for_config_of(running).paths
    if network is not None:
        request = {"network": _network_id(network, read_configuration(paths).settings.networks)}
    hints = [*_hints(call.features, paths)]
    answer = running.post("/v1/forget", request) if running is not None else _without_byway(call, request)
    if call.output.answered(answer):
        return
    if everything:
        what = "All visited sites were"
    elif host:
        what = f"{host} was"
    else:
        what = f"Everything since {since} was" if since else f"Everything on network {network} was"
    call.output.line(f"{what} deleted from the log, the stored status and the caches.")
    if answer["deleted"]:
        call.output.line(f"Also deleted: {', '.join(answer['deleted'])}.")
    call.output.hint("Overrides of `byway site set` and rules stay: see `byway site list` and `byway rule list`.")
    if not everything and (backups := paths.backups):
        call.output.hint(f"What earlier imports have replaced stays in {backups[-1]}: `byway forget --all` deletes it.")
    call.output.hint(*hints)


def _hints(features: Sequence[Feature], paths: Paths) -> Iterator[str]:
    """Yields a sentence for each thing that cannot be deleted."""
    for feature in features:
        try:
            yield from feature.load(feature.hints)(paths) if feature.hints else ()
        except BrokenFeature as error:
            yield f"{error}. What it keeps was not looked at."


def _network_id(text: str, names: Mapping[str, str]) -> str:
    """Returns the id of a network, given by its name in `[networks]` or by its id. Raises Misused."""
    if text not in names and re.fullmatch(r"[0-9a-f]{16}", text) is None:
        hint = suggestion(text, names) if names else "; no network has a name"
        raise Misused(f"there is no network {quoted(text)}{hint}")
    return names.get(text, text)


def _without_byway(call: Invocation, request: dict[str, Any]) -> dict[str, Any]:
    """Forgets in the files, with the lock of the state folder, so that no Byway starts meanwhile. Returns the answer of
    a running one. Raises Misused and BywayError."""
    from proxy.config.state_lock import alone
    from proxy.features.settings.answers import ForgetAnswer
    from proxy.model.document import document
    from proxy.probe.site_name import scope
    from proxy.store.forgetting import Forgotten, forget_files
    from proxy.store.store import Store

    with as_misuse():
        what = Forgotten(
            scope(request["host"]) if "host" in request else "", request.get("since", 0.0), request.get("network", "")
        )
    paths = call.paths
    if not paths.state_dir.is_dir():
        return document(ForgetAnswer(tuple(forget_files(paths, what))))
    with alone(paths):
        if paths.store_file.exists():
            store = Store(paths.store_file)
            store.start()
            try:
                store.forget(what)
            finally:
                store.close()
        return document(ForgetAnswer(tuple(forget_files(paths, what))))
