"""`byway rule export`: prints the domains and prefixes of the rules, of a list, or of blocked sites in the format of
another program. Entries that the format cannot express are counted on standard error."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from proxy.config.relays import relay_names
from proxy.config.suggestions import quoted, suggestion
from proxy.model import State, literal
from proxy.model.document import versioned
from proxy.routing.domain_set import Covers
from proxy.routing.lists.export import Changed, Exported, ExportFormat, export
from proxy.routing.lists.matcher import Entry, EntryKind
from proxy.routing.rule import Rule, RuleType
from proxy.routing.rule_parser import parse_action
from proxy.routing.rules import Rules
from proxy.setup.rule_files import read_rules
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import Misused, as_misuse
from proxy.terminal.offline import read_configuration

_CHANGED = {
    Changed.WIDENED: "{} written with their subdomains, since the format has no single hosts",
    Changed.NARROWED: "{} written without their subdomains, which the format cannot name",
    Changed.COMPLETED: "{} written with the domain itself, since the format cannot name its subdomains alone",
}


def write_export(
    call: Invocation,
    format: ExportFormat,  # noqa: A002
    *,
    list_name: str | None,
    action: str | None,
    learned: bool,
) -> None:
    """Prints the entries of a list, of the rules with an action, or of blocked sites. Raises Misused, ConfigError and
    NotRunning."""
    if sum((list_name is not None, action is not None, learned)) > 1:
        raise Misused("give one of --list, --action and --learned")
    exceptions: Iterator[Entry] = iter(())
    unsaid: Counter[str] = Counter()
    if learned:
        entries = _learned(call)
    else:
        paths = call.for_config_of(call.running()).paths
        settings = read_configuration(paths).settings
        rules = read_rules(settings, paths)
        if list_name is None:
            with as_misuse():
                exported_action, relay = parse_action(action or "RELAY", relays=relay_names(settings))
            chosen = [r for r in rules.rules if r.action is exported_action and relay in ("", r.relay)]
            entries = _of_rules(rules, chosen, unsaid)
            lists = [rules.lists[rule.value] for rule in chosen if rule.type is RuleType.LIST]
            exceptions = (entry for listed in lists for entry in listed.exceptions.entries())
        else:
            if list_name not in rules.lists:
                raise Misused(f"unknown list {quoted(list_name)}{suggestion(list_name, rules.lists)}")
            entries = rules.lists[list_name].entries()
            exceptions = rules.lists[list_name].exceptions.entries()
    exported = export(format, entries, exceptions)
    left_out = Counter(exported.left_out) + unsaid
    if call.output.as_json:
        document = {"format": str(format), "text": exported.text, "entries": exported.written}
        counts = {"changed": dict(exported.changed), "left_out": dict(left_out)}
        call.output.document(versioned(**document, **counts))
        return
    typer.echo(exported.text, nl=False)
    call.output.hint(*_summary(exported, left_out, format))


def _of_rules(rules: Rules, chosen: list[Rule], unsaid: Counter[str]) -> Iterator[Entry]:
    """Yields the entries of these rules. Counts the rules without a domain or prefix in `unsaid`, by their type."""
    for rule in chosen:
        match rule.type:
            case RuleType.DOMAIN if literal(rule.value) is None:
                yield Entry(EntryKind.DOMAIN, rule.value, Covers.HOST)
            case RuleType.DOMAIN_SUFFIX:
                yield Entry(EntryKind.DOMAIN, rule.value, Covers.SITE)
            case RuleType.DOMAIN_KEYWORD:
                yield Entry(EntryKind.KEYWORD, rule.value, Covers.HOST)
            case RuleType.DOMAIN | RuleType.IP_CIDR:
                yield _prefix(rule.value)
            case RuleType.LIST:
                yield from rules.lists[rule.value].entries()
            case _:
                unsaid[f"{rule.type} rule"] += 1


def _learned(call: Invocation) -> Iterator[Entry]:
    """Yields the sites with the stored status blocked: on the present network if Byway runs, otherwise on any."""
    answer: Mapping[str, Any] = call.reader().get("/v1/sites")
    here = answer.get("network")
    for site in answer["sites"]:
        if site["state"] != State.BLOCKED or site["network"] != (here or site["network"]):
            continue
        scope: str = site["scope"]
        if scope.startswith("*."):
            yield Entry(EntryKind.DOMAIN, scope.removeprefix("*."), Covers.SITE)
        elif "/" in scope or literal(scope) is not None:
            yield _prefix(scope)
        else:
            yield Entry(EntryKind.DOMAIN, scope, Covers.HOST)


def _prefix(text: str) -> Entry:
    network = ipaddress.ip_network(text)
    value = str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
    return Entry(EntryKind.PREFIX, value, Covers.HOST)


def _summary(exported: Exported, left_out: Mapping[str, int], format: ExportFormat) -> Iterator[str]:  # noqa: A002
    """Yields the sentences for standard error: the numbers of exported, changed and left out entries."""
    yield f"{exported.written:,} {'entry' if exported.written == 1 else 'entries'} in format {format}."
    for change, count in exported.changed.items():
        yield f"{_CHANGED[change].format(f'{count:,}')}."
    for kind, count in sorted(left_out.items()):
        yield f"Not exported, since the format cannot say it: {kind}: {count:,}."
