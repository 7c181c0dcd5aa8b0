"""The layout of `--help`.

Help names values as a person types them (PORT, URL, FILE), never a Python type. The common flags have their own section
after the command's options. Commands in the text can be copied: they have the name under which Byway is started.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from typer._click import Context, HelpFormatter
from typer.core import TyperArgument, TyperCommand, TyperGroup

from proxy.config.command_name import as_typed, typed_here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer import _click as click
    from typer._click import Parameter

COMMON_FLAGS = frozenset({"config", "state", "json", "plain", "quiet", "verbose", "help"})
"""Names of the parameters that every command has."""

_FEW = 12
"""The most commands of a group that an error lists."""

_NEGATIVE = re.compile(r"-[0-9]")


class _Formatter(HelpFormatter):
    def write_text(self, text: str) -> None:
        typed = as_typed(text, typed_here())
        if text.startswith("Example: "):  # a command that is cut at a hyphen cannot be copied
            self.write(f"{'':>{self.current_indent}}{typed}\n")
        else:
            super().write_text(typed)

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(term, as_typed(text, typed_here())) for term, text in rows], col_max, col_spacing)


class _Context(Context):
    formatter_class = _Formatter

    @property
    def command_path(self) -> str:
        """The command with its groups, for the usage and for "Try … for help". `info_name` stays `byway`, since
        completion depends on it."""
        return super().command_path if self.parent is not None else typed_here()


class Command(TyperCommand):
    """A command whose help has two sections of options: its own, and the common ones."""

    context_class = _Context

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parses `-5m` as a value, which the command refuses with its own message: no option begins with a digit."""
        if any(_NEGATIVE.match(word) for word in args):
            ctx.ignore_unknown_options = True
        if not any(isinstance(it, TyperArgument) and "URL" in (it.metavar or "") for it in self.params):
            return super().parse_args(ctx, args)
        # The rest of a URL that was cut at a space may be a password: no message repeats it.
        ctx.allow_extra_args = True
        is_cut = any(word.startswith("-") and "@" in word.partition("=")[0] for word in args)
        rest = args if is_cut else super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            ctx.fail("too many arguments; a URL with a space in it needs quotation marks: 'URL'")
        return rest

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        return [*_options_piece(self.get_params(ctx)), *_arguments_pieces(self.get_params(ctx))]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_parameters(self.get_params(ctx), ctx, formatter)


class Group(TyperGroup):
    """A group of commands, with the same layout of help. Without arguments, the root prints its help and ends."""

    context_class = _Context

    def resolve_command(self, ctx: Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Lists the commands in the error for an unknown one, if they are few: the most similar one may mean something
        else."""
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and args[0].isalpha():
            names = self.list_commands(ctx)
            if len(names) <= _FEW:
                from proxy.config.suggestions import one_of

                ctx.fail(f"there is no `{ctx.command_path} {args[0]}`; there is {one_of(names)}")
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        command = "[COMMAND]" if self.invoke_without_command else "COMMAND"
        return [*_options_piece(self.get_params(ctx)), command, "..."]

    def format_options(self, ctx: Context, formatter: HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        _write_parameters(self.get_params(ctx), ctx, formatter)


def _options_piece(parameters: Iterable[Parameter]) -> list[str]:
    return ["[OPTIONS]"] if any(not isinstance(it, TyperArgument) for it in parameters) else []


def _arguments_pieces(parameters: Iterable[Parameter]) -> list[str]:
    pieces = []
    for it in parameters:
        if isinstance(it, TyperArgument):
            name = _shown_name(it) if it.required else f"[{_shown_name(it)}]"
            pieces.append(name if it.nargs == 1 else f"{name}...")
    return pieces


def _shown_name(argument: TyperArgument) -> str:
    return argument.metavar or argument.name or ""


def _write_parameters(parameters: Iterable[Parameter], ctx: Context, formatter: HelpFormatter) -> None:
    arguments, own, common = list[tuple[str, str]](), list[tuple[str, str]](), list[tuple[str, str]]()
    for it in parameters:
        if isinstance(it, TyperArgument):
            arguments.append((_shown_name(it), it.help or ""))
        elif (record := it.get_help_record(ctx)) is not None:
            (common if it.name in COMMON_FLAGS else own).append(record)
    for title, records in (("Arguments", arguments), ("Options", own), ("Common options", common)):
        if records:
            with formatter.section(title):
                formatter.write_dl(records)
