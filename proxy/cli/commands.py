"""All commands in one tree. What a command needs is imported when it runs: `byway status` is typed often."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any

import typer

from proxy import __version__
from proxy.cli import config, log, rule, site, status, why
from proxy.cli import run as serve
from proxy.cli.addons import commands as addons
from proxy.cli.ca import commands as ca
from proxy.cli.command import FLAG_NAMES, Flags, Invocation, command, common_parameters, dress, stdout_closed
from proxy.cli.exit_codes import Exit
from proxy.cli.help import Group
from proxy.cli.relay import commands as relay
from proxy.cli.report import report
from proxy.cli.survey import survey
from proxy.cli.terminal import prepare_streams

app = typer.Typer(
    name="byway",
    cls=Group,
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


def _demo(call: Invocation) -> Exit:
    """Show what Byway does, in a few seconds, on this computer alone."""
    from proxy.cli.demo import demo  # TLS, cryptography and asyncio: no other command pays for them

    return Exit(demo.main(as_json=call.output.as_json))


def _help(
    _call: Invocation,
    names: Annotated[list[str] | None, typer.Argument(metavar="COMMAND", help="Default: all commands.")] = None,
) -> None:
    """Show the help of a command."""
    app([*(names or ()), "--help"], prog_name="byway")


def _version(call: Invocation) -> None:
    """Show the version."""
    if call.output.as_json:
        from proxy.control.serialize import versioned

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
serve.add_to(app)
status.add_to(app)
why.add_to(app)
survey.add_to(app)
report.add_to(app)
for name, group in (
    ("log", log.group),
    ("relay", relay.group),
    ("rule", rule.group),
    ("site", site.group),
    ("addons", addons.group),
    ("config", config.group),
    ("ca", ca.group),
):
    app.add_typer(group, name=name, cls=Group)
command(app, "demo", example="byway demo")(_demo)
command(app, "version", example="byway version --json")(_version)
command(app, "help", example="byway help relay add")(_help)


def run() -> None:
    """Ends the process: SystemExit with the command's exit code."""
    prepare_streams()
    try:
        app(prog_name="byway")
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer printed a help text into a closed pipe
            sys.exit(stdout_closed())
        raise
    finally:
        _flush()


def _flush() -> None:
    """Writes what is still buffered. Here a closed pipe is no error; at the interpreter's exit it would be one."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        stdout_closed()
