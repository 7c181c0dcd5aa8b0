"""All commands in one tree. What a command needs is imported when it runs: `byway status` is typed often."""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any

import typer

from proxy import __version__
from proxy.cli import addons, ca, config, demonstrate, log, relay, report, rule, serve, site, status, survey, why
from proxy.cli.command import FLAG_NAMES, Flags, common_parameters, dress, stdout_closed

app = typer.Typer(
    name="byway",
    help="A local proxy that finds out which sites your network blocks, and goes around through your own relays.",
    no_args_is_help=True,
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


dress(
    _root,
    [
        inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        inspect.Parameter(
            "version",
            inspect.Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[
                bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Say which version it is.")
            ],
        ),
        *common_parameters(),
    ],
)
app.callback()(_root)
serve.add_to(app)
status.add_to(app)
why.add_to(app)
survey.add_to(app)
report.add_to(app)
log.add_to(app)
app.add_typer(relay.group, name="relay")
app.add_typer(rule.group, name="rule")
app.add_typer(site.group, name="site")
app.add_typer(addons.group, name="addons")
app.add_typer(config.group, name="config")
app.add_typer(ca.group, name="ca")
demonstrate.add_to(app)


def run() -> None:
    """Ends the process: SystemExit with the command's exit code."""
    try:
        app(prog_name="byway")
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # typer's own printing, of a help
            sys.exit(stdout_closed())
        raise
    finally:
        _flush()


def _flush() -> None:
    """What is still buffered goes out here, where a reader that has left is no error; later it would be."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        stdout_closed()
