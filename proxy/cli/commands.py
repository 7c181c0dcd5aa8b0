"""The tree of all commands. A command's module is imported when it is looked up, and its dependencies when it runs:
`byway status` is typed often."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.main import get_group

from proxy import __version__
from proxy.features.table import FEATURES
from proxy.model.feature import BrokenFeature
from proxy.terminal.command import FLAG_NAMES, Flags, Invocation, RootCommand, command, common_parameters, dress
from proxy.terminal.exit_codes import translated
from proxy.terminal.help import Group

if TYPE_CHECKING:
    from typer import _click as click

_ORDER = (
    *("run", "stop", "restart", "status", "why", "test", "report", "demo", "browser", "open", "pac", "env", "lan"),
    *("log", "relay", "rule", "list", "import", "site", "mode", "pause", "resume", "system", "doctor", "forget"),
    *("addons", "config", "ca", "service"),
)
"""The order of commands in the help. Commands that it does not have come last."""

_OWN = {"run": "run:run", "open": "open:open_page"}
"""Commands of no feature, as `Feature.commands` has those of features, in modules beside this one."""


def names() -> list[str]:
    """Returns the names of all commands but `help` and `version`, in the order of the help."""
    unsorted = {*_OWN}.union(*(feature.commands for feature in FEATURES))
    return sorted(unsorted, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


def _add(name: str, to: typer.Typer) -> None:
    """Imports a command, or a group of commands, and adds it."""
    try:
        if name in _OWN:
            module, _, attribute = _OWN[name].partition(":")
            made = getattr(import_module(f"proxy.cli.{module}"), attribute)
        else:
            made = next(each.load(each.commands[name]) for each in FEATURES if name in each.commands)
        if isinstance(made, RootCommand):
            made.add_to(to, name)
        else:
            to.add_typer(made, name=name, cls=Group)
    except BrokenFeature as error:
        _add_broken(name, to, error)


def _add_broken(name: str, to: typer.Typer, error: BrokenFeature) -> None:
    """Adds a command that fails with this error, whatever its arguments."""

    def run() -> None:
        def fail() -> None:
            raise error

        raise typer.Exit(translated(fail))

    words = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    to.command(name, help="(does not work)", context_settings=words, add_help_option=False)(run)


class _Commands(Mapping[str, "click.Command"]):
    """The commands of the root by name: those of features, each imported at its first use, and then `others`."""

    def __init__(self, others: Mapping[str, click.Command]) -> None:
        self._others = others
        self._names = names()
        self._imported: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name in self._others:
            return self._others[name]
        if name not in self._imported:
            if name not in self._names:
                raise KeyError(name)
            alone = typer.Typer(rich_markup_mode=None)
            _add(name, alone)
            self._imported |= get_group(alone).commands
        return self._imported[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._names
        yield from self._others

    def __len__(self) -> int:
        return len(self._names) + len(self._others)


class _Root(Group):
    features = FEATURES

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
