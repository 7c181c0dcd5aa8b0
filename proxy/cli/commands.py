"""All commands in one tree. A command's module is imported when it is looked up, and what it needs when it runs:
`byway status` is typed often."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.main import get_group

from proxy import __version__
from proxy.terminal.command import FLAG_NAMES, Flags, Invocation, command, common_parameters, dress
from proxy.terminal.help import Group

if TYPE_CHECKING:
    from typer import _click as click

_MODULES = {
    "run": "proxy.cli.run",
    "stop": "proxy.features.today.stop_commands",
    "restart": "proxy.features.today.stop_commands",
    "status": "proxy.features.today.commands",
    "why": "proxy.features.sites.why_command",
    "test": "proxy.features.sites.survey_command",
    "report": "proxy.features.sites.report_command",
    "demo": "proxy.features.demo.command",
    "browser": "proxy.features.desktop.browser_command",
    "open": "proxy.features.desktop.open_command",
    "pac": "proxy.features.desktop.pac_command",
    "env": "proxy.features.desktop.env_command",
    "log": "proxy.features.traffic.commands",
    "relay": "proxy.features.relays.commands",
    "rule": "proxy.features.rules.commands",
    "list": "proxy.features.rules.list_commands",
    "site": "proxy.features.sites.commands",
    "mode": "proxy.features.today.mode_commands",
    "pause": "proxy.features.today.mode_commands",
    "resume": "proxy.features.today.mode_commands",
    "system": "proxy.features.desktop.system_command",
    "doctor": "proxy.features.doctor.command",
    "forget": "proxy.features.settings.forget_command",
    "addons": "proxy.features.addons.commands",
    "config": "proxy.features.settings.commands",
    "ca": "proxy.features.inspection.commands",
    "service": "proxy.features.desktop.service_command",
}
"""The module of each command, in the order of the help. Its `add_to` adds the command to a Typer."""


class _Commands(Mapping[str, "click.Command"]):
    """The commands of the root by name: those of _MODULES, which are imported one by one, and after them others."""

    def __init__(self, others: Mapping[str, click.Command]) -> None:
        self._others = others
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name in self._others:
            return self._others[name]
        if name not in self._imported:
            alone = typer.Typer(rich_markup_mode=None)
            import_module(_MODULES[name]).add_to(alone)
            self._imported |= get_group(alone).commands
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        yield from _MODULES
        yield from self._others

    def __len__(self) -> int:
        return len(_MODULES) + len(self._others)


class _Root(Group):
    def __init__(self, *, commands: Mapping[str, click.Command], **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands(commands)  # type: ignore[assignment]  # nothing adds commands to the root later


app = typer.Typer(
    name="byway",
    cls=_Root,
    help="A local proxy that detects which sites your network blocks, and opens them through your relays.",
    epilog="New here? `byway demo` shows what Byway does, `byway run` starts it.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"byway {__version__}")
        raise typer.Exit()


def _root(ctx: typer.Context, **given: Any) -> None:
    """The common flags, before the command."""
    ctx.obj = Flags(**{name: given[name] for name in FLAG_NAMES})
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


def _help(
    _call: Invocation,
    names: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Default: all commands.")] = None,
    man: Annotated[bool, typer.Option("--man", help="Print the manual page, byway(1), in roff.")] = False,
) -> None:
    """Show the help of a command."""
    if man:
        from proxy.cli.manual import manual

        print(manual(app), end="")
        return
    app([*(names or ()), "--help"], prog_name="byway")


def _version(call: Invocation) -> None:
    """Show the version."""
    if call.output.as_json:
        from proxy.model.document import versioned

        call.output.document(versioned(byway=__version__))
    else:
        call.output.line(f"byway {__version__}")


dress(
    _root,
    [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        inspect.Parameter(
            "version",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[
                bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
            ],
        ),
        *common_parameters(),
    ],
)
app.callback(invoke_without_command=True)(_root)
command(app, "version", example="byway version --json")(_version)
command(app, "help", example="byway help relay add")(_help)
