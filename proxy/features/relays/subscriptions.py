"""The commands that add a subscription and fetch it.

Its address is a secret: whoever has it has the relays. What is printed of it is what is printed of a list's URL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config.schema import SubscriptionConfig
from proxy.config.subscriptions import FILE_LIMIT, Entry, names_of, read_entries, refusal
from proxy.features.relays.subscription_answers import SubscriptionLine, describe, wanted
from proxy.model import bracketed
from proxy.model.document import Document
from proxy.model.errors import ConfigError
from proxy.store.list_copies import CopyInfo, ListCopies
from proxy.wire.relay_url import shown
from proxy.wire.url_secrets import hide_paths

if TYPE_CHECKING:
    from proxy.terminal.command import Invocation
    from proxy.terminal.fetching import FetchedFile

REFRESH = "1d"
"""The `refresh` of a subscription that `byway relay add` adds."""


def subscribe(call: Invocation, url: str, name: str | None, *, direct: bool, from_arguments: bool) -> None:
    """Fetches a subscription and adds it to the configuration. `from_arguments`: its address stays in the shell's
    history. Raises Misused, ConfigError and BywayError; then nothing is changed."""
    from proxy.config import edit
    from proxy.features.relays.edit import configuration_at
    from proxy.model.document import versioned
    from proxy.terminal.exit_codes import Misused, as_misuse
    from proxy.terminal.fetching import fetch_asking
    from proxy.terminal.in_use import edited_configuration, hint_saved, take_into_use
    from proxy.wire import https_url

    paths, client = edited_configuration(call)
    settings = configuration_at(paths).settings
    with as_misuse():
        host = https_url.parse(url).host
    there = next((item.name for item in settings.subscription if item.url == url), "")
    if there:
        raise Misused(f"subscription {there} has this address: `byway relay refresh {there}` fetches it again")
    taken = {*(it.name for it in settings.relay), *(it.name for it in settings.group)}
    with as_misuse():
        host_url = edit.NewRelay(f"https://{bracketed(host)}")
        name = edit.checked_name(name, taken) if name is not None else edit.free_name(host_url, taken)
    fetched = fetch_asking(
        call, paths, url, limit=FILE_LIMIT, direct=direct, agent=SubscriptionConfig(name, url).user_agent
    )
    entries = _accepted(fetched, hide_paths(url))
    table = {"name": name, "source": url, "refresh": REFRESH}
    names = names_of(name, entries, {})
    copies = ListCopies(paths.lists_dir)
    count, now = len(names), time.time()
    copies.keep_names(url, names)
    info = CopyInfo(url, fetched_at=now, changed_at=now, entries=count, said=fetched.userinfo)
    copies.replace(info, fetched.content)
    edit.add_subscription(paths.config_file, table)
    running = take_into_use(call, client, paths.config_file)
    if from_arguments:
        call.output.hint("Warning: its address is now in your shell's history. Next time use `byway relay add -`.")
    rows = [(names[it.place] if not it.why else it.label, "not taken" if it.why else "added", it.why or shown(it.url))
            for it in entries]  # fmt: skip
    (described,) = describe([SubscriptionConfig(name, url, refresh=REFRESH)], copies, {}, now)
    if call.output.answered(
        versioned(subscription=described, config=str(paths.config_file), running=running,
                  entries=[{"name": name, "result": result, "text": text} for name, result, text in rows])
    ):  # fmt: skip
        return
    call.output.table(("relay", "result", "url, or why not"), rows)
    call.output.line(f"Group {name} follows {described.source}: {count} relay{'' if count == 1 else 's'}.")
    hint_saved(call, paths, running=running)
    if described.account:
        call.output.hint(f"Its server says: {described.account}.")
    call.output.hint(*(problem.text for problem in described.problems))
    call.output.hint(
        f"It is fetched again with a visit after {REFRESH}, through relays. Its address is a secret, like a password."
    )
    call.output.hint(f"To see which of its relays answer: `byway relay test {name}`")


def _accepted(fetched: FetchedFile, source: str) -> tuple[Entry, ...]:
    """Returns the entries of a new file. Raises ConfigError when none can be used."""
    from proxy.config.files import decode
    from proxy.routing.lists.acceptance import is_web_page

    if is_web_page(fetched.content, fetched.content_type):
        raise ConfigError(f"{source}: a web page came in place of the file")
    try:
        entries = read_entries(decode(Path(fetched.host), fetched.content))
    except ConfigError as error:
        raise ConfigError(f"{source}: {error.problems[0]}") from None
    if reason := refusal(entries, 0, accept_smaller=False):
        raise ConfigError(f"{source}: {reason}")
    return entries


def show_subscriptions(call: Invocation, subscriptions: Sequence[Document]) -> None:
    """Prints the subscriptions of an answer."""
    from proxy.languages.amounts import ago, clock

    when = ago if call.output.fancy else clock
    rows = [
        (
            it["name"],
            it["relays"],
            it["answered"],
            it["not_taken"],
            when(it["fetched_at"]) if it["fetched_at"] else "never",
            it["account"],
            it["source"],
        )
        for it in subscriptions
    ]
    call.output.line()
    headings = ("subscription", "relays", "answered, 24 h", "not taken", "fetched", "account", "source")
    call.output.table(headings, rows)
    for it in subscriptions:
        for problem in it["problems"]:
            call.output.hint(f"{problem['text']} To do: {problem['do']}")


def refresh(
    call: Invocation, names: Sequence[str], *, accept_smaller: bool, direct: bool, take: Callable[[Document], None]
) -> None:
    """Fetches subscriptions, by the running Byway or in this process, and passes each result to `take`."""
    client = call.running()
    if client is None:
        call.output.hint("No Byway is running. This command fetches them itself.")
        asyncio.run(_refresh_offline(call, names, accept_smaller=accept_smaller, direct=direct, take=take))
        return
    request = {"names": list(names), "accept_smaller": accept_smaller, "direct": direct}
    for line in client.post_and_follow("/v1/subscriptions/refresh", request):
        take(line)


async def _refresh_offline(
    call: Invocation, names: Sequence[str], *, accept_smaller: bool, direct: bool, take: Callable[[Document], None]
) -> None:
    from proxy.model.document import to_json
    from proxy.probe.list_refresh import ListRefresh
    from proxy.terminal.exit_codes import as_misuse
    from proxy.terminal.fetching import fetching
    from proxy.terminal.offline import read_configuration

    with as_misuse():
        fetched = wanted(read_configuration(call.paths).settings.subscription, names)
    copies = ListCopies(call.paths.lists_dir)
    async with fetching(call.paths, copies, call.features) as context:
        results = ListRefresh(context, copies).refresh(
            fetched, asked=True, accept_smaller=accept_smaller, direct=direct
        )
        async for result in results:
            take(to_json(SubscriptionLine.of(result, fetched)))


def asked_to_go_direct(call: Invocation, results: Sequence[Document]) -> Sequence[str]:
    """Returns the subscriptions which failed through relays and which the person wants to be fetched direct. Asks
    once; where nobody can be asked, prints what to do."""
    import sys

    from proxy.terminal.terminal import confirm

    failed = [it for it in results if it["remedy"] == "direct"]
    if not failed:
        return ()
    hosts = ", ".join(dict.fromkeys(it["host"] for it in failed))
    names = [it["subscription"] for it in failed]
    if call.output.as_json or sys.stdin is None or not sys.stdin.isatty():
        again = f"byway relay refresh {' '.join(names)} --direct"
        call.output.hint(f"To fetch direct, so that your provider sees {hosts}: `{again}`")
        return ()
    return names if confirm(f"Fetch direct? Your provider sees {hosts}.") else ()
