"""The output of `byway relay add`: the tests of the added relays, warnings about passwords, and the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from proxy.features.relays.display import details
from proxy.features.relays.edit import configuration_at
from proxy.model.document import Document
from proxy.model.errors import BywayError
from proxy.terminal.command import Invocation

if TYPE_CHECKING:
    from proxy.config.edit import Added
    from proxy.config.paths import Paths
    from proxy.terminal.client import Client

_TESTED_AT_ONCE = 8


def about_passwords(from_arguments: bool, urls: Sequence[str], paths: Paths, added: Sequence[Added]) -> Iterator[str]:
    """Yields warnings about passwords, one sentence each."""
    from proxy.wire.relay_url import is_key, redact

    if from_arguments and any(redact(url) != url for url in urls):
        what = "key" if any(map(is_key, urls)) else "password"
        leave = "" if what == "key" else "leave it out of the URL: Byway asks for it. Or "
        yield f"Warning: the {what} is now in your shell's history. Next time {leave}use `byway relay add -`."
    yield from _withheld(paths, [each.name for each in added])


def _withheld(paths: Paths, names: Sequence[str] | None = None) -> Iterator[str]:
    from proxy.config.relays import withheld_credentials

    for relay in configuration_at(paths).settings.relay:
        if (names is None or relay.name in names) and (sentence := withheld_credentials(relay)):
            yield f"Warning: {sentence}."


def warn_of_withheld(call: Invocation, paths: Paths) -> None:
    call.output.hint(*_withheld(paths))


def test_added(
    call: Invocation, client: Client | None, paths: Paths, added: Sequence[Added]
) -> Iterator[tuple[str, Document]]:
    """Tests each new relay and yields its name and result. Prints a hint when a test cannot run."""
    from proxy.features.relays.offline_test import try_offline

    names = [each.name for each in added]
    for start in range(0, len(names), _TESTED_AT_ONCE):
        some = names[start : start + _TESTED_AT_ONCE]
        call.output.hint(f"Testing {', '.join(some)}…")
        try:
            if client is not None:
                results = client.post("/v1/relays/test", {"names": some})
            else:
                results = try_offline(paths, some, None, features=call.features, ask_pysocks=False)
        except (BywayError, OSError) as error:
            call.output.hint(f"Not tested: {error}")
            return
        yield from ((result["relay"], result) for result in results["results"])


def show_added(call: Invocation, added: Sequence[Added], tests: Mapping[str, Document]) -> None:
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
            call.output.hint(f"Warning: relay {each.name} is added but fails ({details(tests[each.name])}).")
            call.output.hint(f"To do: {tests[each.name]['do']}")


def _was_there(each: Added) -> str:
    assert each.was_there is not None
    if not each.was_there.enabled:
        return f"Relay {each.name} has the same host, port and user, and is disabled: `byway relay enable {each.name}`."
    return (
        f"Relay {each.name} has the same host, port and user; nothing was added. To replace it, remove it first: "
        f"`byway relay rm {each.name}`."
    )


def added_document(
    paths: Paths, added: Sequence[Added], tests: Mapping[str, Document], problems: Sequence[str], *, running: bool
) -> Document:
    from proxy.model.document import versioned

    relays = [
        {"name": each.name, "url": each.url, "added": each.was_there is None, "test": tests.get(each.name)}
        for each in added
    ]
    return versioned(relays=relays, config=str(paths.config_file), running=running, problems=list(problems))
