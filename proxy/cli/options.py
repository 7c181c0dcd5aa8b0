"""Options that several commands have, and the parsers of their values.

A value that an option cannot take is refused with a sentence that says which values it can.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import typer

from proxy.cli.completion import complete_words
from proxy.cli.exit_codes import Misused

Number = TypeVar("Number", int, float)

_LENGTH = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|m|min|h|d|w)")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


def choice_option(flag: str, metavar: str, choices: Iterable[str], help_text: str) -> Any:
    """Declares an option that takes one of `choices`, in any case, and completes them."""
    known = tuple(choices)
    return typer.Option(
        flag, metavar=metavar, parser=one_of(known), autocompletion=complete_words(known), help=help_text
    )


def since_option(examples: str) -> Any:
    """Declares `--since TIME`; the command reads its value with `moment`."""
    return typer.Option("--since", metavar="TIME", help=f"Only since TIME: {examples} or a date.")


def length(text: str) -> float:
    """Parses a length of time: `30s`, `15m`, `2h`, `1d`. Returns seconds. Raises Misused."""
    found = _LENGTH.fullmatch(text.strip().lower())
    if found is None or not float(found[1]):
        raise Misused(f"{text!r} is not a length of time: use 30s, 15m, 2h or 1d")
    return float(found[1]) * _UNITS[found[2]]


def moment(text: str, *, now: float) -> float:
    """Parses `--since`: a length of time before now (`30m`, `2h`, `1d`), or a date or ISO 8601 time, local without an
    offset. Returns seconds since the epoch. Raises Misused."""
    if found := _LENGTH.fullmatch(text.strip().lower()):
        return max(0.0, now - float(found[1]) * _UNITS[found[2]])
    try:
        return max(0.0, datetime.fromisoformat(text.strip()).timestamp())
    except (ValueError, OverflowError, OSError):
        raise Misused(f"{text!r} is not a time: use a length (30m, 2h, 7d) or a date (2008-10-07)") from None


def length_s(text: str) -> int:
    """Parses a length of time (`90s`, `30m`, `2h`, `7d`). Returns whole seconds, at least one. Raises Misused."""
    found = _LENGTH.fullmatch(text.strip().lower())
    seconds = int(float(found[1]) * _UNITS[found[2]]) if found else 0
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
    known = tuple(choices)

    def parse(value: Any) -> str:
        text = str(value).lower()
        if text in known:
            return text
        from proxy.config.suggestions import quoted, suggestion

        raise typer.BadParameter(f"unknown value {quoted(str(value))}{suggestion(text, known)}")

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
