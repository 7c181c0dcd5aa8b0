"""Lines of TOML keys, judged by a writer that knows where it puts them and by tomllib, which knows what there is."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.toml_lines import Path, key_lines

DOCUMENT = '''\
# a comment with = and [brackets]
a = 1
b.c = """first
[not.a.header]
key = "in a string"
ends in quotes""""" # and a comment
"q k".'l.m' = [1, [2, # ]
  3], {z = 1, y.w = 'a#]'}]
[t]
when = 1979-05-27 07:32:00
raw = \'\'\'
'' = 1
\'\'\'
[[r]]
n = "a\\"b"
[r.sub]
x = 1
[[r]]
n = 'b'
[[r.deep]]
v = {}
[[r.deep]]
v = []
'''

EXPECTED: dict[Path, int] = {
    ("a",): 2,
    ("b",): 3,
    ("b", "c"): 3,
    ("q k",): 7,
    ("q k", "l.m"): 7,
    ("q k", "l.m", 0): 7,
    ("q k", "l.m", 1): 7,
    ("q k", "l.m", 1, 0): 7,
    ("q k", "l.m", 1, 1): 8,
    ("q k", "l.m", 2): 8,
    ("q k", "l.m", 2, "z"): 8,
    ("q k", "l.m", 2, "y"): 8,
    ("q k", "l.m", 2, "y", "w"): 8,
    ("t",): 9,
    ("t", "when"): 10,
    ("t", "raw"): 11,
    ("r",): 14,
    ("r", 0): 14,
    ("r", 0, "n"): 15,
    ("r", 0, "sub"): 16,
    ("r", 0, "sub", "x"): 17,
    ("r", 1): 18,
    ("r", 1, "n"): 19,
    ("r", 1, "deep"): 20,
    ("r", 1, "deep", 0): 20,
    ("r", 1, "deep", 0, "v"): 21,
    ("r", 1, "deep", 1): 22,
    ("r", 1, "deep", 1, "v"): 23,
}


def paths(value: Any, path: Path = ()) -> set[Path]:
    """Of everything in a parsed document."""
    found = {path} if path else set()
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        found |= paths(child, (*path, key))
    return found


def test_every_kind_of_key() -> None:
    assert paths(tomllib.loads(DOCUMENT)) == set(EXPECTED)  # the table itself is right
    assert key_lines(DOCUMENT) == EXPECTED


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_line_ends_do_not_matter(end: str) -> None:
    assert key_lines(DOCUMENT.replace("\n", end)) == EXPECTED


def test_a_document_without_a_last_line_end_or_with_nothing() -> None:
    assert key_lines("a = 1") == {("a",): 1}
    assert key_lines("") == {}
    assert key_lines("\n\n# nothing") == {}


def test_what_is_no_document_ends_too() -> None:
    for text in ("a = [", "a = {b", "= 1", "a = [,,", "[[", 'a = "', "a ="):
        with pytest.raises(ValueError, match="is not TOML"):
            key_lines(text)


def test_a_key_has_few_parts() -> None:
    """The time of a long one grows with the square of its parts."""
    assert len(key_lines(f"a{'.a' * 31} = 1")) == 32
    for text in (f"x = 1\na{'.a' * 32} = 1", f"\n[a{' . a' * 100_000}]"):
        with pytest.raises(ValueError, match="line 2: a key has more than 32 parts"):
            key_lines(text)


# -- a writer of documents ---------------------------------------------------------------------------------------------

Draw = Callable[[st.SearchStrategy[Any]], Any]

names = st.text(alphabet="ab-_.\" '#=[]é\\", min_size=0, max_size=4)


def written_key(draw: Draw, name: str) -> str:
    """One of the spellings of a key."""
    spellings = [json.dumps(name)]
    if name and all(c in "ab-_" for c in name):
        spellings.append(name)
    if "'" not in name:
        spellings.append(f"'{name}'")
    return str(draw(st.sampled_from(spellings)))


class Writer:
    """Writes a document and keeps the line of each key as it goes."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Path, int] = {}

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def note(self, path: Path) -> None:
        self.lines.setdefault(path, self.line)

    def gap(self) -> None:
        """What may stand between two elements of an array."""
        self.text += self.draw(st.sampled_from(["", " ", "\n", " # ],= x\n\t"]))

    def value(self, path: Path, depth: int) -> None:
        kind = self.draw(st.sampled_from(["scalar", "scalar", "array", "inline"] if depth < 3 else ["scalar"]))
        if kind == "array":
            self.array(path, depth)
        elif kind == "inline":
            self.inline(path, depth)
        else:
            self.text += self.draw(
                st.sampled_from(
                    [
                        "1",
                        "-1.5e3",
                        "true",
                        "1979-05-27 07:32:00",
                        '""',
                        r'"a\"]} # \\"',
                        "'a\\'",
                        '"""a\n]"" = \\"" b"""',
                        "'''\n'' } #\n'''",
                        '"""x"""""',
                    ]
                )
            )

    def array(self, path: Path, depth: int) -> None:
        self.text += "["
        for number in range(self.draw(st.integers(0, 3))):
            self.gap()
            self.note((*path, number))
            self.value((*path, number), depth + 1)
            self.gap()
            self.text += ","
        self.gap()
        self.text += "]"

    def inline(self, path: Path, depth: int) -> None:
        self.text += "{"
        for number, name in enumerate(self.draw(st.lists(names, max_size=2, unique=True))):
            self.text += ", " if number else " "
            self.assignment(path, name, depth + 1)
        self.text += " }"

    def assignment(self, table: Path, name: str, depth: int) -> None:
        """`name = value`, or `name.inner = value`."""
        dotted = [name, *self.draw(st.lists(names, max_size=2))]
        path = table
        for key in dotted:
            path = (*path, key)
            self.note(path)
        self.text += " . ".join(written_key(self.draw, key) for key in dotted) + " = "
        self.value(path, depth)

    def table(self, path: Path, header: list[str], *, of_array: bool) -> None:
        for length in range(1, len(path) + 1):
            self.note(path[:length])
        dotted = ".".join(written_key(self.draw, key) for key in header)
        self.text += f"[[ {dotted} ]]\n" if of_array else f"[{dotted}]\n"
        for name in self.draw(st.lists(names, max_size=3, unique=True)):
            self.assignment(path, name, 0)
            self.text += self.draw(st.sampled_from(["\n", " # x\n", "\n\n"]))


@st.composite
def documents(draw: Draw) -> tuple[str, dict[Path, int]]:
    """A valid document, with the line of each key."""
    writer = Writer(draw)
    for name in draw(st.lists(names, max_size=3, unique=True)):
        writer.assignment((), f"top {name}", 0)
        writer.text += "\n"
    for name in draw(st.lists(names, max_size=2, unique=True)):
        outer = f"table {name}"
        writer.table((outer, name), [outer, name], of_array=False)
    for name in draw(st.lists(names, max_size=2, unique=True)):
        outer = f"array {name}"
        for number in range(draw(st.integers(1, 3))):
            writer.table((outer, number), [outer], of_array=True)
            for inner in range(draw(st.integers(0, 2))):
                writer.table((outer, number, "in ner", inner), [outer, "in ner"], of_array=True)
    return writer.text, writer.lines


@given(documents())
def test_agrees_with_the_writer_and_with_tomllib(document: tuple[str, dict[Path, int]]) -> None:
    text, lines = document
    assert set(lines) == paths(tomllib.loads(text))
    assert key_lines(text) == lines
