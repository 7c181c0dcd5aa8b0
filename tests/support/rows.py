"""A table of quick rows as one test.

A row that is a test of its own costs pytest 3 to 4 ms, however little it does, and is collected by each worker. Here it
costs nothing. Rows that are slow, marked, or need a fixture of their own stay with `pytest.mark.parametrize`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])

_PARAM = type(pytest.param())
_NAME_MAX = 100  # characters of a value in the name of its row


class Row(NamedTuple):
    """The name of a row in a report, and the arguments that it gives to the test."""

    name: str
    values: Mapping[str, Any]


def each_row(
    names: str | Sequence[str],
    rows: Iterable[Any],
    *,
    ids: Callable[[Any], object] | Iterable[object] | None = None,
) -> Callable[[Test], Test]:
    """Calls a test with each row of a table, as `pytest.mark.parametrize` does, but in one test: all rows have the same
    fixtures. It runs them one after the other, and fails with the traceback of each that failed. Tables above each
    other are multiplied."""
    table = _table(names, rows, ids)

    def decorate(test: Test) -> Test:
        function, others = getattr(test, "each_row", (test, [Row("", {})]))
        product = [
            Row(" | ".join(filter(None, (row.name, other.name))), {**row.values, **other.values})
            for row, other in itertools.product(table, others)
        ]

        @functools.wraps(test)
        def run(**fixtures: Any) -> None:
            with _failures(len(product)) as failures:
                for row in product:
                    with _noted(failures, row.name):
                        function(**fixtures, **row.values)

        @functools.wraps(test)
        async def run_async(**fixtures: Any) -> None:
            with _failures(len(product)) as failures:
                for row in product:
                    with _noted(failures, row.name):
                        await function(**fixtures, **row.values)

        made = cast("Any", run_async if inspect.iscoroutinefunction(test) else run)
        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name not in table[0].values]
        made.__signature__ = signature.replace(parameters=kept)  # pytest reads it for fixtures
        made.each_row = (function, product)
        return cast("Test", made)

    return decorate


def _table(
    names: str | Sequence[str], rows: Iterable[Any], ids: Callable[[Any], object] | Iterable[object] | None
) -> list[Row]:
    columns = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    is_single = isinstance(names, str) and len(columns) == 1
    rows = list(rows)
    given = [None] * len(rows) if ids is None or callable(ids) else ids
    table = []
    for row, name in zip(rows, given, strict=True):
        if isinstance(row, _PARAM):
            if row.marks:
                raise ValueError("each_row takes no marks")
            name, values = row.id or name, row.values
        else:
            values = (row,) if is_single else row
        text = name or " | ".join(_named(value, ids) for value in values)
        table.append(Row(str(text), dict(zip(columns, values, strict=True))))
    if not table:
        raise ValueError("each_row takes a table with rows")
    return table


def _named(value: object, ids: object) -> str:
    name = ids(value) if callable(ids) else None
    return str(name) if name is not None else repr(value)[:_NAME_MAX]


@contextlib.contextmanager
def _failures(rows: int) -> Iterator[list[str]]:
    """Yields a list for the texts of failures, and fails with those that are in it at the end."""
    texts: list[str] = []
    yield texts
    if texts:
        pytest.fail("".join([f"{len(texts)} of {rows} rows fail\n", *texts]), pytrace=False)


@contextlib.contextmanager
def _noted(failures: list[str], name: str) -> Iterator[None]:
    """Adds the failure of a row. To skip one is a failure, since a skipped row is not in the report."""
    try:
        yield
    except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(error), error, frames))
        failures.append(f"\n{name}\n{textwrap.indent(text, '    ')}")
