"""Options of several commands, and the parsers of their values.

An invalid value is refused with a sentence that names the valid ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import typer

from proxy.languages.time_words import parse_length, parse_moment
from proxy.terminal.completion import complete_words
from proxy.terminal.exit_codes import Misused, as_misuse

Number = TypeVar("Number", int, float)


def choice_option(flag: str, metavar: str, choices: Iterable[str], help_text: str) -> Any:
    """Declares an option that takes one of `choices`, in any case, and completes them."""
    words = tuple(choices)
    return typer.Option(
        flag, metavar=metavar, parser=one_of(words), autocompletion=complete_words(words), help=help_text
    )


def since_option(examples: str) -> Any:
    """Declares `--since TIME`; the command reads its value with `moment`."""
    return typer.Option("--since", metavar="TIME", help=f"Only since TIME: {examples} or a date.")


def until_option() -> Any:
    """Declares `--until TIME`; the command reads its value with `moment`, as an end."""
    return typer.Option("--until", metavar="TIME", help="Only before TIME; a day includes all of it.")


def length(text: str) -> float:
    """Parses a length of time: `30s`, `15m`, `2h`, `1d`. Returns seconds. Raises Misused."""
    seconds = parse_length(text)
    if not seconds:
        raise Misused(f"{text!r} is not a length of time: use 30s, 15m, 2h or 1d")
    return seconds


def moment(text: str, *, now: float, is_end: bool = False) -> float:
    """Parses `--since` or, as an end, `--until`, as `time_words.parse_moment` does. Raises Misused."""
    with as_misuse():
        return parse_moment(text, now=now, is_end=is_end)


def length_s(text: str) -> int:
    """Parses a length of time (`90s`, `30m`, `2h`, `7d`). Returns whole seconds, at least one. Raises Misused."""
    seconds = int(parse_length(text) or 0)
    if seconds < 1:
        raise Misused(f"{text!r} is not a length of time: use 30m, 2h or 7d")
    return seconds


def whole(least: int, most: int) -> Callable[[Any], int]:
    """Returns a parser of whole numbers within bounds, for `parser=` of an option. It raises typer.BadParameter."""
    return _number(int, "a whole number", least, most)


def number(least: float, most: float) -> Callable[[Any], float]:
    """Returns a parser of numbers within bounds, for `parser=` of an option. It raises typer.BadParameter."""
    return _number(float, "a number", least, most)


def one_of(choices: Iterable[str]) -> Callable[[Any], str]:
    """Returns a parser of one of the choices, in any case, for `parser=` of an option. It raises typer.BadParameter."""
    words = tuple(choices)

    def parse(value: Any) -> str:
        text = str(value).lower()
        if text in words:
            return text
        from proxy.config.suggestions import quoted, suggestion

        raise typer.BadParameter(f"unknown value {quoted(str(value))}{suggestion(text, words)}")

    return parse


def _number(kind: type[Number], name: str, least: Number, most: Number) -> Callable[[Any], Number]:
    def parse(value: Any) -> Number:
        try:
            parsed = kind(value)
        except ValueError:
            parsed = None
        if parsed is None or not least <= parsed <= most:  # NaN fails the comparison, too
            from proxy.config.suggestions import quoted

            raise typer.BadParameter(f"{quoted(str(value))} is not {name} from {least:g} to {most:g}")
        return parsed

    return parse
