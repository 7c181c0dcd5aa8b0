"""The frame of every command: the common flags, the paths, and the translation of errors to sentences and exit codes.

`@command(group, "name", example="…")` makes a typer command of a function whose first parameter is an Invocation. The
common flags may stand before or after the command's name; those after it win.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.languages.language import Language, language_of_terminal
from proxy.model.feature import Role, offers
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.terminal.exit_codes import Exit, Misused, NotRunning, translated
from proxy.terminal.help import Command
from proxy.terminal.output import Output, say

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.languages.catalogue import Catalogue
    from proxy.model.feature import Feature
    from proxy.terminal.client import Client
    from proxy.terminal.stored import Stored

Body = Callable[..., Exit | None]
"""The function of a command: it takes an Invocation and its parameters, and returns the exit code; None: done."""


@frozen_dataclass
class Flags:
    """The common flags."""

    config: Path | None = None
    state: Path | None = None
    json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0

    def over(self, weaker: Flags) -> Flags:
        """Returns these flags, with those of `weaker` in place of flags that are not given."""
        return replace(weaker, **{name: value for name in FLAG_NAMES if (value := getattr(self, name))})


_LANGUAGE_VARIABLE = "BYWAY_UI__LANGUAGE"

FLAG_NAMES = ("config", "state", "json", "plain", "quiet", "verbose")

_ANNOTATIONS: dict[str, Any] = {
    "config": Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Configuration file.", show_default=False)
    ],
    "state": Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="State directory of the instance.", show_default=False)
    ],
    "json": Annotated[bool, typer.Option("--json", help="Print JSON.")],
    "plain": Annotated[bool, typer.Option("--plain", help="Print tab-separated lines.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Print no hints.")],
    "verbose": Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Verbose output (-vv: debug).", show_default=False)
    ],
}


@frozen_dataclass
class Invocation:
    """One run of a command."""

    flags: Flags
    output: Output
    features: Sequence[Feature] = ()

    @property
    def inspects(self) -> bool:
        """Whether a feature can INSPECT."""
        return offers(self.features, Role.INSPECTOR)

    @property
    def paths(self) -> Paths:
        """The paths of this user's files. Raises BywayError when the user has no home folder."""
        from proxy.config.paths import Paths

        return Paths.locate(os.environ, config=self.flags.config, state=self.flags.state)

    def client(self) -> Client:
        """Connects to the running Byway. Raises NotRunning, NotAllowed."""
        from proxy.terminal.client import Client

        start = f"byway run --state {self.flags.state}" if self.flags.state else "byway run"
        client = Client.find(self.paths.state_dir, hint=start)
        if self.output.spoken is not None:
            client = replace(client, asks_phrases=True)
        self.detail(f"Asking the running Byway of {self.paths.state_dir}.")
        return client

    def running(self) -> Client | None:
        """Returns the client of the running Byway; None when none runs. Raises NotAllowed."""
        try:
            return self.client()
        except NotRunning:
            return None

    def for_config_of(self, running: Client | None) -> Invocation:
        """Returns this command for the configuration of the running Byway, if there is one. With --config, returns it
        unchanged."""
        if running is None or self.flags.config is not None:
            return self
        try:
            used = running.get("/v1/config")["path"]
        except Misused:  # without the feature settings there is no such path
            return self
        return self if used is None else replace(self, flags=replace(self.flags, config=Path(used)))

    def reader(self) -> Client | Stored:
        """Returns the source of read-only answers: the running Byway, otherwise the log, with a hint. Raises NotRunning
        when there is neither, and NotAllowed."""
        try:
            return self.client()
        except NotRunning as none:
            from proxy.terminal.stored import Stored

            try:
                stored = Stored(self.paths, self.features)
            except NotRunning:
                raise none from None
            self.output.hint("No Byway is running. This is from its log.")
            return stored

    def detail(self, text: str) -> None:
        """Prints one line to stderr, with -v only."""
        if self.flags.verbose:
            say(text)


def features_of(ctx: typer.Context) -> Sequence[Feature]:
    """Returns the features of the command line."""
    features: Sequence[Feature] = getattr(ctx.find_root().command, "features", ())
    return features


def common_parameters() -> list[inspect.Parameter]:
    """Returns the common flags as parameters of a typer function."""
    defaults = Flags()
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=getattr(defaults, name), annotation=_ANNOTATIONS[name]
        )
        for name in FLAG_NAMES
    ]


def command(group: typer.Typer, name: str, *, example: str, is_translated: bool = False) -> Callable[[Body], Body]:
    """Adds the decorated function to `group`; its docstring is the help. With `is_translated`, it prints in the user's
    language on a terminal."""

    def add(body: Body) -> Body:
        group.command(name, cls=Command, epilog=f"Example: {example}")(_runner(body, is_translated=is_translated))
        return body

    return add


@frozen_dataclass
class RootCommand:
    """A command of no group. It has the name under which the table of features names it."""

    body: Body
    example: str
    is_translated: bool

    def add_to(self, app: typer.Typer, name: str) -> None:
        command(app, name, example=self.example, is_translated=self.is_translated)(self.body)


def root_command(*, example: str, is_translated: bool = False) -> Callable[[Body], RootCommand]:
    """Makes a command of the decorated function, as `command` does."""
    return lambda body: RootCommand(body, example, is_translated)


def default_command(group: typer.Typer, *, example: str) -> Callable[[Body], Body]:
    """Makes `group` run the decorated function when none of its commands is named; the docstring is the group's
    help."""

    def add(body: Body) -> Body:
        group.callback(invoke_without_command=True, epilog=f"Example: {example}")(_runner(body))
        return body

    return add


def _runner(body: Body, *, is_translated: bool = False) -> Callable[..., None]:
    """Returns the function that typer calls for `body`: it removes the common flags, and ends with the exit code."""
    own = list(inspect.signature(body, eval_str=True).parameters.values())[1:]

    def run(ctx: typer.Context, **given: Any) -> None:
        flags = Flags(**{flag: given.pop(flag) for flag in FLAG_NAMES}).over(ctx.obj or Flags())
        if ctx.invoked_subcommand is not None:
            ctx.obj = flags
            return
        output = Output(as_json=flags.json, plain=flags.plain, quiet=flags.quiet, verbose=flags.verbose)
        call = Invocation(flags, output, features_of(ctx))
        if is_translated and output.fancy:
            call = replace(call, output=replace(output, spoken=spoken_here(call.paths)))
        raise typer.Exit(translated(lambda: body(call, **given), debug=flags.verbose > 1, out=call.output))

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *common_parameters()]
    dress(run, parameters)
    run.__doc__ = body.__doc__
    return run


def dress(function: Callable[..., Any], parameters: list[inspect.Parameter]) -> None:
    """Gives a function the parameters that typer reads."""
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect
    function.__annotations__ = {p.name: p.annotation for p in parameters}


def spoken_here(paths: Paths) -> Catalogue | None:
    """Returns the catalogue of the language of commands; None for English. The setting `[ui] language` decides, then
    the locale of the terminal. Where that is English and nothing is set, no catalogue and no configuration is
    parsed."""
    language = language_of_terminal(_language_setting(paths), os.environ)
    if language is Language.ENGLISH:
        return None
    from proxy.languages.catalogue import catalogue

    return catalogue(language).for_terminal()


def _language_setting(paths: Paths) -> str:
    """Returns the setting; empty without one, and when the configuration cannot be used (`byway config check` explains
    it)."""
    if given := os.environ.get(_LANGUAGE_VARIABLE, ""):
        return given if given in list(Language) else ""
    try:
        text = paths.config_to_read.read_text("utf-8") if paths.config_to_read is not None else ""
    except (OSError, UnicodeDecodeError):
        return ""
    if "language" not in text:
        return ""
    import tomllib

    try:
        section = tomllib.loads(text).get("ui")
    except tomllib.TOMLDecodeError:
        return ""
    chosen = section.get("language") if isinstance(section, dict) else ""
    return str(chosen) if chosen in list(Language) else ""
