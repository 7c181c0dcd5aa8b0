"""`byway import`: takes over relays, groups and rules from the configuration of another program."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.terminal.command import Invocation, root_command
from proxy.terminal.exit_codes import Exit, Misused
from proxy.terminal.in_use import edited_configuration, hint_in_use, take_into_use
from proxy.terminal.terminal import confirm

if TYPE_CHECKING:
    from proxy.config.edit import Change
    from proxy.config.paths import Paths
    from proxy.config.schema import Settings
    from proxy.features.imports.foreign import Foreign
    from proxy.features.imports.plan import Options, Plan, Row


@root_command(example="byway import clash.yaml --list GEOSITE,ru=ru-sites")
def take_over(
    call: Invocation,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|-|URL",
            help="Configuration of Clash (mihomo), sing-box, v2rayN, Xray or nekoray, or a backup (.bak) of ZeroOmega.",
        ),
    ] = None,
    lists: Annotated[
        list[str] | None,
        typer.Option(
            "--list", metavar="GEOSITE,NAME=LIST",
            help="For rules on GEOSITE,NAME (also GEOIP, RULE-SET, RULE-LIST), use your list LIST.",
        ),
    ] = None,
    relay: Annotated[
        str | None,
        typer.Option("--relay", metavar="NAME", help="Your relay in place of servers that are not taken."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", metavar="NAME", help="Profile of the backup whose rules are meant.")
    ] = None,
    local: Annotated[
        bool, typer.Option("--local", help="Also take relays at addresses of the local network.")
    ] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Fetch the URL direct: your provider sees its host.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Undo the last import.")] = False,
) -> Exit | None:  # fmt: skip
    """Take over relays, groups and rules of another program.

    Every entry is shown with what it becomes, or why it is not taken; then you are asked, and nothing is written
    before. Relays and groups are added to config.toml, rules to rules.txt, before MATCH; all else there stays as it is.
    Addresses and files that the configuration names are never opened. Exit code 5: nothing in it can be taken."""
    if undo == (source is not None):
        raise Misused("give either a configuration to import, or --undo")
    paths, client = edited_configuration(call)
    use = partial(take_into_use, call, client)
    if source is None:
        from proxy.features.imports.writing import undo as undo_last

        running = undo_last(paths, use)
        if not call.output.answered({"version": _version(), "undone": True, "running": running}):
            call.output.line(f"The last import is undone: {paths.config_file} and {paths.rules_file} are as before it.")
            hint_in_use(call, running)
        return None
    from proxy.features.imports.foreign import Unreadable
    from proxy.features.imports.reading import read_foreign
    from proxy.features.imports.source import read_source
    from proxy.features.imports.writing import write
    from proxy.model.errors import ConfigError
    from proxy.terminal.offline import read_configuration

    settings = read_configuration(paths).settings
    options = _options(settings, lists or (), relay, local=local)
    text, name = read_source(call, paths, source, direct=direct)
    try:
        found = read_foreign(text, profile=profile)
    except Unreadable as error:
        raise ConfigError(f"{name}: {error}") from None
    made = _Import(call, paths, found, settings, options)
    if not call.output.as_json:
        made.show(name)
    is_new = bool(made.lines or made.plan.relays or made.plan.groups)
    may_ask = sys.stdin is not None and sys.stdin.isatty() and not call.output.as_json
    running = False
    if is_new and (yes or (may_ask and confirm("Import this?"))):
        running = write(paths, made.change, made.settings, made.lines, inspects=call.inspects, use=use)
        is_written = True
    else:
        is_written = False
    if call.output.as_json:
        call.output.document(made.document(written=is_written, running=running))
    elif is_written:
        call.output.line(made.summary())
        hint_in_use(call, running)
        call.output.hint("To undo it: `byway import --undo`")
    if not is_new:
        call.output.hint("Nothing in it is new." if made.has_something else "Nothing in it can be taken.")
        return None if made.has_something else Exit.BAD
    if not is_written and not yes and not may_ask:
        raise Misused("nothing was imported: without a terminal, check what is shown and use --yes")
    if not is_written:
        call.output.hint("Nothing was imported.")
    return None


def _version() -> int:
    from proxy.model.document_version import VERSION

    return VERSION


def _options(settings: Settings, lists: Sequence[str], relay: str | None, *, local: bool) -> Options:
    """Checks what the person says. Raises Misused."""
    from proxy.config.relays import relay_names
    from proxy.config.suggestions import quoted, suggestion
    from proxy.features.imports.foreign import LIST_TYPES
    from proxy.features.imports.plan import Options

    named: dict[str, str] = {}
    configured = [item.name for item in settings.list]
    for each in lists:
        test, equals, name = (part.strip() for part in each.rpartition("="))
        kind = test.partition(",")[0].upper()
        if not equals or kind not in LIST_TYPES or "," not in test:
            raise Misused(f"--list takes TYPE,NAME=LIST, such as GEOSITE,ru=ru-sites, and not {quoted(each)}")
        if name not in configured:
            more = suggestion(name, configured) if configured else "; no list is configured"
            raise Misused(f"--list: unknown list {quoted(name)}{more}; `byway rule import` adds one")
        named[f"{kind},{test.partition(',')[2].strip().upper()}"] = name
    if relay is not None and relay not in (names := relay_names(settings)):
        more = suggestion(relay, names) if names else "; no relay is configured: add it first with `byway relay add`"
        raise Misused(f"--relay: unknown relay {quoted(relay)}{more}")
    return Options(named, relay or "", local)


class _Import:
    """One import, before it is written."""

    def __init__(self, call: Invocation, paths: Paths, found: Foreign, settings: Settings, options: Options) -> None:
        """Plans and checks it. Raises ConfigError, also for faults of the present files."""
        from proxy.config import edit
        from proxy.features.imports import plan, review
        from proxy.routing.rule import RuleType
        from proxy.setup.rule_edits import check_added
        from proxy.setup.rule_files import read_rules

        self._call = call
        self._paths = paths
        self._found = found
        self.plan: Plan = plan.plan(found, settings, options)
        self.change: Change = edit.with_additions(paths.config_file, self.plan.relays, self.plan.groups)
        self.settings = edit.settings_after(paths.config_file, self.change)
        own = read_rules(settings, paths)
        rules = review.checked(self.plan.rules, self.settings, own)
        self.lines = review.new_lines(rules, own)
        if self.lines:
            check_added(paths, self.settings, self.lines, own.lists, inspects=call.inspects)
        self.rows: Sequence[Row] = (
            *self.plan.rows, *plan.rows_of(rules, frozenset(rule.text for rule in own.rules))
        )  # fmt: skip
        closing = next((rule.text for rule in own.rules if rule.type is RuleType.MATCH), "")
        closing = closing or next((line for line in self.lines if line.startswith("MATCH,")), "AUTO")
        self.warnings = (*self.plan.warnings, *plan.warnings_of(rules, closing))
        self._closing = closing

    @property
    def has_something(self) -> bool:
        """Whether an entry is there, now or before."""
        from proxy.features.imports.plan import Taken

        return any(row.taken not in (Taken.NO, Taken.NOT_NEEDED) for row in self.rows)

    def show(self, source: str) -> None:
        """Prints every entry, and what is to be known before it is imported."""
        output = self._call.output
        output.hint(f"{source} is {self._found.form}.")
        output.table(
            ("entry", "in the file", "result", "as, or why not"),
            [
                (*(("", "") if (row.what, row.name) == before else (row.what, row.name)), row.taken, row.text)
                for row, before in zip(self.rows, (("", ""), *((it.what, it.name) for it in self.rows)), strict=False)
            ],
            empty="It has no relay, no group and no rule.",
        )
        output.hint(*(f"{note[0].upper()}{note[1:]}." for note in self._found.notes))
        output.hint(*(f"Warning: {warning}" for warning in self.warnings))
        if self.lines and self._closing.startswith("MATCH,DIRECT"):
            output.hint(
                "MATCH,DIRECT sends all other sites direct, also blocked ones. To let Byway find these out, remove "
                "that rule: `byway rule list`, `byway rule rm N`."
            )

    def summary(self) -> str:
        """Returns what was written, in a sentence."""
        parts = [
            f"{len(items):,} {word}{'' if len(items) == 1 else 's'}"
            for items, word in ((self.plan.relays, "relay"), (self.plan.groups, "group"), (self.lines, "rule"))
            if items
        ]
        return f"Imported: {', '.join(parts)}."

    def document(self, *, written: bool, running: bool) -> Mapping[str, object]:
        """Returns the answer as JSON."""
        from proxy.model.document import versioned
        from proxy.wire.relay_url import redact

        entries = [
            {"entry": row.what, "name": redact(row.name), "result": str(row.taken), "text": redact(row.text)}
            for row in self.rows
        ]
        return versioned(
            form=self._found.form, entries=entries, warnings=[redact(it) for it in self.warnings],
            notes=list(self._found.notes), rules=list(self.lines), written=written,
            config=str(self._paths.config_file), rules_file=str(self._paths.rules_file), running=running,
        )  # fmt: skip
