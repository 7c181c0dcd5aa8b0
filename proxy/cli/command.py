"""What every command shares: the common flags, the paths, and how its errors become sentences and exit codes.

`@command(group, "name", example="…")` makes a typer command of a function whose first parameter is an Invocation. The
common flags may stand before or behind the command's name; behind is stronger.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.exits import Exit, exit_for
from proxy.cli.output import Output, say
from proxy.errors import BywayError, ConfigError

if TYPE_CHECKING:
    from proxy.cli.client import Client
    from proxy.config.paths import Paths

Body = Callable[..., Exit | None]
"""A command's own function: an Invocation and its parameters in, how it ended out."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The common flags."""

    config: Path | None = None
    state: Path | None = None
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0

    def over(self, weaker: Flags) -> Flags:
        """These where they say something, else the weaker ones."""
        return replace(weaker, **{name: value for name in FLAG_NAMES if (value := getattr(self, name))})


FLAG_NAMES = ("config", "state", "json", "plain", "quiet", "verbose")

_ANNOTATIONS: dict[str, Any] = {
    "config": Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.", show_default=False)
    ],
    "state": Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="State folder of the byway meant.", show_default=False)
    ],
    "json": Annotated[bool, typer.Option("--json", help="Print JSON.")],
    "plain": Annotated[bool, typer.Option("--plain", help="No boxes: tab-separated lines.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="No hints.")],
    "verbose": Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more; twice: still more.", show_default=False)
    ],
}


@dataclass(frozen=True, slots=True)
class Invocation:
    """One command being run."""

    flags: Flags
    output: Output

    @property
    def paths(self) -> Paths:
        """Where this user's files lie. Raises BywayError without a home."""
        from proxy.config.paths import Paths

        return Paths.locate(os.environ, config=self.flags.config, state=self.flags.state)

    def client(self) -> Client:
        """The running Byway. Raises NotRunning, NotAllowed."""
        from proxy.cli.client import Client

        start = f"byway run --state {self.flags.state}" if self.flags.state else "byway run"
        return Client.find(self.paths.state_dir, hint=start)


def common_parameters() -> list[inspect.Parameter]:
    """The common flags as parameters of a typer function."""
    defaults = Flags()
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=_ANNOTATIONS[name]
        )
        for name in FLAG_NAMES
    ]


def command(group: typer.Typer, name: str, *, example: str) -> Callable[[Body], Body]:
    """Adds the decorated function to `group`; its docstring is the help."""

    def add(body: Body) -> Body:
        own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]

        def run(ctx: typer.Context, **given: Any) -> None:
            flags = Flags(**{flag: given.pop(flag) for flag in FLAG_NAMES}).over(ctx.obj or Flags())
            output = Output(as_json=flags.json, plain=flags.plain, quiet=flags.quiet)
            raise typer.Exit(translated(lambda: body(Invocation(flags, output), **given)))

        context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
        parameters = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *common_parameters()]
        dress(run, parameters)
        run.__doc__ = body.__doc__
        group.command(name, epilog=f"Example: {example}")(run)
        return body

    return add


def dress(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Gives a function the parameters that typer shall see."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what inspect looks for
    function.__annotations__ = {p.name: p.annotation for p in parameters}


def translated(body: Callable[[], Exit | None]) -> Exit:
    """Runs a command's body. Errors that are meant for the user are said on stderr; the exit code tells their kind."""
    try:
        ended = body() or Exit.DONE
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        return stdout_closed()
    except ConfigError as error:
        for problem in error.problems:
            say(problem)
        return Exit.CONFIG
    except BywayError as error:
        say(f"byway: {error}")
        return exit_for(error)
    return ended


def stdout_closed() -> Exit:
    """Who reads our output has had enough (`| head`): that is no error, and nothing more can be said there."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.close(devnull)
    return Exit.DONE
