"""A TOML text edited in place: what is not edited stays as it was, to the character."""

from __future__ import annotations

import copy
import itertools
import tomllib
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.toml_edit import TomlText, literal
from proxy.config.toml_lines import Path, positions
from tests.config.test_toml_lines import documents
from tests.support.rows import each_row

TEXT = """\
# top
[[relay]]
name = "a"

# of b
[[relay]] # here
name = "b"
# behind b

[log]
hosts = "all"
[[relay]]
name = "c" """

KEPT = File(__file__).parents[1] / "whole" / "fixtures" / "8f95f8b1" / "config" / "config.toml"


def changed(text: str, path: Path, value: Any) -> str:
    edited = TomlText(text)
    edited.set(path, value)
    return edited.finished()


def without(text: str, path: Path) -> str:
    edited = TomlText(text)
    edited.remove(path)
    return edited.finished()


def relay_names(text: str) -> list[str]:
    return [relay["name"] for relay in tomllib.loads(text).get("relay", [])]


# -- keys --------------------------------------------------------------------------------------------------------------


@each_row(
    ("text", "path", "value", "expected"),
    [
        ("[a]\nx = 1 # one\ny = 2\n", ("a", "x"), 3, "[a]\nx = 3 # one\ny = 2\n"),
        ("[a]\nx=[ 1, # one\n 2 ]#\n", ("a", "x"), ["b"], '[a]\nx=["b"]#\n'),
        ("a.x = '''\n# '''  # of it", ("a", "x"), True, "a.x = true  # of it"),
        ("[[r]]\n[[r]]\nx = 1\n[b]\n[[r]]\n", ("r", 1, "x"), 2, "[[r]]\n[[r]]\nx = 2\n[b]\n[[r]]\n"),
        # of an array, what differs
        ("[a]\nx = ['b', 'c'] # one\n", ("a", "x"), ["c", "d"], "[a]\nx = ['c', \"d\"] # one\n"),
        ("a.x = [\n 'b', # b\n # c\n 'c',\n]\n", ("a", "x"), ["c"], "a.x = [\n # c\n 'c',\n]\n"),
        ("a.x = [\n 'b', # b\n 'c' # c\n]\n", ("a", "x"), ["b"], "a.x = [\n 'b', # b\n]\n"),
        ("a.x = [\r\n 'b', # b\r\n]\r\n", ("a", "x"), ["b", "c"], "a.x = [\r\n 'b', # b\r\n \"c\",\r\n]\r\n"),
        ("a.x = ['b', # b\n 'c',\n]\n", ("a", "x"), ["c"], "a.x = ['c',\n]\n"),
        ("a.x = ['b', 'c']\n", ("a", "x"), ["c", "b"], "a.x = ['c', \"b\"]\n"),
        ("a.x = [1,\n 2\n ,3]\n", ("a", "x"), [1, 3], "a.x = [1,\n 3]\n"),
        ("a.x = ['b']\n", ("a", "x"), [], "a.x = []\n"),
        ("a.x = []\n", ("a", "x"), ["b"], 'a.x = ["b"]\n'),
        # added behind the last key of its table
        ("[a]\nx = 1\n\n# of b\n[b]\n", ("a", "y"), 2, "[a]\nx = 1\ny = 2\n\n# of b\n[b]\n"),
        ("[a]\n# of b\n[b]\n", ("a", "y"), 2, "[a]\ny = 2\n# of b\n[b]\n"),
        ("[a]\r\nx = 1\r\n[b]\r\n", ("a", "y"), 2, "[a]\r\nx = 1\r\ny = 2\r\n[b]\r\n"),
        ("[a]\nx = '''\n# '''\n# of b\n[b]", ("a", "y"), 2, "[a]\nx = '''\n# '''\ny = 2\n# of b\n[b]"),
        ("[a]\nx = 1", ("a", "y"), 2, "[a]\nx = 1\ny = 2\n"),
        ("[a.b]\nx = 1\n[a]\n[a.c]\n", ("a", "y"), 2, "[a.b]\nx = 1\n[a]\ny = 2\n[a.c]\n"),
        # of dotted keys
        ("a.x = 1 # one\nb = 2\n", ("a", "y"), 2, "a.x = 1 # one\na.y = 2\nb = 2\n"),
        ("[a]\nb.c.x = 1\nz = 1\n", ("a", "b", "y"), 2, "[a]\nb.c.x = 1\nb.y = 2\nz = 1\n"),
        ("[a]\n'b c'.x = 1\n", ("a", "b c", "y"), 2, "[a]\n'b c'.x = 1\n\"b c\".y = 2\n"),
        # inline
        ("a = {x = 1} # one\n", ("a", "y"), 2, "a = {x = 1, y = 2} # one\n"),
        ("a = { x = 1 }\n", ("a", "y"), 2, "a = { x = 1, y = 2 }\n"),
        ("a = {}\n", ("a", "y"), 2, "a = { y = 2 }\n"),
        ("a = { b = { x = 1 } }\n", ("a", "b", "y"), 2, "a = { b = { x = 1, y = 2 } }\n"),
        ("a = { b = 1 }\n", ("a", "c", "d", "y"), 2, "a = { b = 1, c.d.y = 2 }\n"),
        ("r = [{ x = 1 }, {}]\n", ("r", 1, "y"), 2, "r = [{ x = 1 }, { y = 2 }]\n"),
        ("a = { b.x = 1 }\n", ("a", "b", "y"), 2, "a = { b.x = 1, b.y = 2 }\n"),
        # in a table that there is not
        ("", ("a", "y"), 2, "[a]\ny = 2\n"),
        ("# end", ("a", "y"), 2, "# end\n\n[a]\ny = 2\n"),
        ("x = 1\n\n", ("a", "y"), 2, "x = 1\n\n[a]\ny = 2\n"),
        ("x = 1\r\n", ("a", "y"), 2, "x = 1\r\n\r\n[a]\r\ny = 2\r\n"),
        ("[a.b]\nx = 1\n", ("a", "y"), 2, "[a.b]\nx = 1\n\n[a]\ny = 2\n"),
        ("[a]\nx = 1\n", ("a", "b c", "y"), 2, '[a]\nx = 1\n\n[a."b c"]\ny = 2\n'),
        ("a.x.z = 1\n", ("a", "b", "y"), 2, "a.x.z = 1\n\n[a.b]\ny = 2\n"),
    ],
)
def test_a_key_is_set_and_all_else_stays(text: str, path: Path, value: Any, expected: str) -> None:
    assert changed(text, path, value) == expected


@each_row(
    ("text", "path", "expected"),
    [
        ("[a]\n# of x\nx = 1 # one\n# of y\ny = 2\n", ("a", "x"), "[a]\n# of x\n# of y\ny = 2\n"),
        ("[a]\nx = [\n 1,\n]\ny = 2\n", ("a", "x"), "[a]\ny = 2\n"),
        ("[a]\nx = 1", ("a", "x"), "[a]\n"),
        ("a.x = 1\nb = 2\n", ("a", "x"), "b = 2\n"),
        ("[a]\nb.c.x = 1\n", ("a", "b", "c", "x"), "[a]\n"),
        ("a = { x = 1, y = 2 }\n", ("a", "x"), "a = { y = 2 }\n"),
        ("a = { x = 1, y = 2 }\n", ("a", "y"), "a = { x = 1 }\n"),
        ("a = { x = 1 }\n", ("a", "x"), "a = {  }\n"),
        # a whole table, however it is written
        ("[a.b]\nx = 1\n# of c\n[a.c]\n[[a.b.d]]\n", ("a", "b"), "# of c\n[a.c]\n"),
        ("[a]\nb.x = 1\nb.y.z = 2\nc = 3\n", ("a", "b"), "[a]\nc = 3\n"),
    ],
)
def test_a_key_is_removed_and_all_else_stays(text: str, path: Path, expected: str) -> None:
    assert without(text, path) == expected


@each_row(
    "value",
    [True, 0, -7, 2.5, 1e16, 1e-7, float("inf"), "", "a", 'a"b\\', "\n\r\t\x00\x1f\x7f", "é𝄞\u2028", [], ["a", 'b"']],
)
def test_a_value_is_written_as_tomllib_reads_it(value: Any) -> None:
    assert "\n" not in literal(value)
    read = tomllib.loads(f"x = {literal(value)}")["x"]
    assert (read, type(read)) == (value, type(value))


def test_what_cannot_be_edited_is_an_error_and_not_another_meaning() -> None:
    with pytest.raises(ValueError, match=r"in a way that cannot be edited|Cannot"):
        changed("[[r]]\na.x = 1\n[[r]]\nb = 1\n", ("r", 0, "c", "y"), 2)
    edited = TomlText("relay = [{ name = 'a' }, { name = 'b' }]\n")
    edited.reorder_tables("relay", [1, 0])
    with pytest.raises(ValueError, match="cannot be edited"):
        edited.finished()


# -- arrays of tables --------------------------------------------------------------------------------------------------

NEW: dict[str, str | bool] = {"name": "d", "on": True}


@each_row(
    ("text", "expected"),
    [
        ("", '[[relay]]\nname = "d"\non = true\n'),
        ("relay = [] # none\n[log]\n", '[log]\n[[relay]]\nname = "d"\non = true\n'),
        (
            "[[relay]]\nx = 1\n# behind\n\n[log]",
            '[[relay]]\nx = 1\n# behind\n\n[[relay]]\nname = "d"\non = true\n\n[log]',
        ),
        ("[[relay]]\r\nx = 1\r\n", '[[relay]]\r\nx = 1\r\n\r\n[[relay]]\r\nname = "d"\r\non = true\r\n'),
        ("relay = [{ x = 1 }]\n", 'relay = [{ x = 1 }, { name = "d", on = true }]\n'),
        ("relay = [{ x = 1 }, ]\n", 'relay = [{ x = 1 }, { name = "d", on = true }, ]\n'),
        (
            "relay = [\n  {}, # mine\n  { x = 1 } # the last, so far\n]\n",
            'relay = [\n  {}, # mine\n  { x = 1 }, # the last, so far\n  { name = "d", on = true }\n]\n',
        ),
        (
            "relay = [\n\t{ x = 1 }, # mine\n\t# no more\n]\n",
            'relay = [\n\t{ x = 1 }, # mine\n\t# no more\n\t{ name = "d", on = true },\n]\n',
        ),
    ],
)
def test_a_table_is_added_behind_the_others(text: str, expected: str) -> None:
    edited = TomlText(text)
    edited.append("relay", NEW)
    assert edited.finished() == expected


@each_row("gone", [[0], [1], [2], [0, 1], [0, 1, 2]])
def test_tables_are_removed(gone: list[int]) -> None:
    edited = TomlText(TEXT)
    edited.remove_tables("relay", gone)
    text = edited.finished()
    assert relay_names(text) == [name for place, name in enumerate("abc") if place not in gone]
    assert tomllib.loads(text)["log"] == {"hosts": "all"}
    assert all(comment in text for comment in ("# top", "# of b", "# behind b"))


@each_row("order", list(itertools.permutations(range(3))))
def test_tables_change_places_with_the_comments_above_them(order: tuple[int, ...]) -> None:
    edited = TomlText(TEXT)
    edited.reorder_tables("relay", order)
    text = edited.finished()
    assert relay_names(text) == ["abc"[place] for place in order]
    assert "# of b\n[[relay]] # here" in text
    assert tomllib.loads(text)["log"] == {"hosts": "all"}


@pytest.mark.parametrize(
    "text", ["relay = []\n", 'relay = [{ name = "a" }]\n', 'relay = [\n{ name = "a" }\n]\n']
)  # fmt: skip
def test_without_headers_it_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"no \[\[relay\]\] tables"):
        TomlText(text).written("relay", 0)


ONCE = ["[log]\nhosts = 'all'\n", "[ dns . hosts ]\n"]
OFTEN = [
    "# note\n", "\n", "[[list]]\nname = 'l' # x\n", "[[relay]]\nname = 'N'\nx = [\n [1],\n]\n",
    "  [[relay]]\nname = 'N'  # it\n", "[[relay]]\nname = 'N'\nx = '''\n# '''\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(OFTEN), max_size=10), st.permutations(ONCE), st.integers(0, 10), st.booleans())
def test_fuzz_other_tables_stay_as_they_are(often: list[str], once: list[str], place: int, crlf: bool) -> None:
    pieces = [*often[:place], *once, *often[place:]]
    text = "".join(piece.replace("'N'", f"'{number}'") for number, piece in enumerate(pieces))
    text = text.replace("\n", "\r\n") if crlf else text
    names = relay_names(text)
    if not names:
        return
    turned, removed, longer = TomlText(text), TomlText(text), TomlText(text)
    turned.reorder_tables("relay", range(len(names))[::-1])
    removed.remove_tables("relay", [0])
    longer.append("relay", {"name": "new"})
    assert relay_names(turned.finished()) == names[::-1]
    assert relay_names(removed.finished()) == names[1:]
    assert relay_names(longer.finished()) == [*names, "new"]
    for edited in (turned, removed, longer):
        assert edited.finished().count("# note") == text.count("# note")
        assert (edited.finished().count("\n") == edited.finished().count("\r\n")) is crlf
    turned.reorder_tables("relay", range(len(names))[::-1])
    assert sorted(turned.finished().splitlines()) == sorted(text.splitlines())


# -- every document ----------------------------------------------------------------------------------------------------


def leaves(value: Any, path: Path = ()) -> list[Path]:
    """Paths of all that is no table, where only names lead."""
    if not isinstance(value, dict):
        return [path]
    return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]


def tables(value: Any, path: Path = ()) -> list[Path]:
    """Paths of all tables but the document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    below = [table for key, each in inner for table in tables(each, (*path, key))]
    return [path, *below] if path and isinstance(value, dict) else below


def at(document: Any, path: Path) -> Any:
    for key in path:
        document = document[key]
    return document


def check_every_edit(text: str) -> int:
    """Makes each edit of one key that is possible, and returns how many. tomllib judges which characters are of a
    value."""
    document = tomllib.loads(text)
    written = positions(text).values
    edits = 0
    for path in leaves(document):
        if path not in written:  # an array of tables with headers
            continue
        wanted, (start, value, end, _) = copy.deepcopy(document), written[path]
        assert tomllib.loads(f"x = {text[value:end]}")["x"] == at(document, path)
        at(wanted, path[:-1])[path[-1]] = "new"
        assert changed(text, path, "new") == f'{text[:value]}"new"{text[end:]}'
        assert tomllib.loads(f'{text[:value]}"new"{text[end:]}') == wanted
        shorter = without(text, path)
        before, after = text[:start], text[end:]
        assert shorter.startswith(before.rpartition("\n")[0] if "{" not in before.rpartition("\n")[2] else "")
        assert shorter.endswith(after.partition("\n")[2])
        edits += 2 + check_every_removal_of_an_element(text, path, at(document, path))
    for path in tables(document):
        longer = changed(text, (*path, "a new key"), True)
        first = next((n for n, pair in enumerate(zip(text, longer, strict=False)) if pair[0] != pair[1]), len(text))
        assert longer.endswith(text[first:].lstrip("\r\n")), "one insertion, and nothing else"
        assert longer[:first] == text[:first]
        edits += 1
    return edits


def check_every_removal_of_an_element(text: str, path: Path, value: Any) -> int:
    removals = [value[:number] + value[number + 1 :] for number in range(len(value))] if isinstance(value, list) else []
    for rest in filter(None, removals):
        shorter = changed(text, path, rest)
        same = next((n for n, pair in enumerate(zip(text, shorter, strict=False)) if pair[0] != pair[1]), len(shorter))
        assert text.endswith(shorter[same:]), "one piece is removed, and nothing else"
        assert shorter[:same] == text[:same]
    return len(removals)


@pytest.mark.slow
@given(documents(), st.booleans())
def test_fuzz_every_edit_of_one_key_changes_its_characters_alone(
    document: tuple[str, dict[Path, int]], crlf: bool
) -> None:
    check_every_edit(document[0].replace("\n", "\r\n") if crlf else document[0])


def test_every_edit_of_a_real_file() -> None:
    text = KEPT.read_text("utf-8")
    assert check_every_edit(text) > 60
    assert check_every_edit(text.replace("\n", "\r\n")) > 60
