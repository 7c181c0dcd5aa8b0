"""Tables of a TOML text edited by lines."""

from __future__ import annotations

import itertools
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.toml_tables import Tables

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


def relay_names(text: str) -> list[str]:
    return [relay["name"] for relay in tomllib.loads(text).get("relay", [])]


def test_a_key_stands_behind_the_last_one() -> None:
    tables = Tables(TEXT, "relay")
    assert 'name = "a"\nenabled = false\n\n# of b' in tables.set(0, "enabled", "false")
    assert tables.set(2, "enabled", "false").endswith('name = "c" \nenabled = false\n')


def test_a_table_stands_behind_the_last_one_and_its_comments() -> None:
    assert Tables(TEXT, "relay").append('[[relay]]\nname = "d"\n').endswith('"c" \n\n[[relay]]\nname = "d"\n')
    text = "[[relay]]\nname = 1\n# behind\n\n[log]\n"
    assert Tables(text, "relay").append("[[relay]]\n") == "[[relay]]\nname = 1\n# behind\n\n[[relay]]\n\n[log]\n"


@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 1], [0, 1, 2]])
def test_tables_are_removed(gone: list[int]) -> None:
    text = Tables(TEXT, "relay").remove(gone)
    assert relay_names(text) == [name for place, name in enumerate("abc") if place not in gone]
    assert tomllib.loads(text)["log"] == {"hosts": "all"}
    assert all(comment in text for comment in ("# top", "# of b", "# behind b"))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_tables_change_places_with_the_comments_above_them(order: tuple[int, ...]) -> None:
    text = Tables(TEXT, "relay").reorder(order)
    assert relay_names(text) == ["abc"[place] for place in order]
    assert "# of b\n[[relay]] # here" in text
    assert tomllib.loads(text)["log"] == {"hosts": "all"}


@pytest.mark.parametrize(
    "text", ["", "[log]\n", "relay = []\n", 'relay = [{ name = "a" }]\n', 'relay = [\n{ name = "a" }\n]\n']
)
def test_without_tables_it_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r"no \[\[relay\]\] tables"):
        Tables(text, "relay")


ONCE = ["[log]\nhosts = 'all'\n", "[ dns . hosts ]\n"]
OFTEN = [
    "# note\n", "\n", "[[list]]\nname = 'l' # x\n", "[[relay]]\nname = 'N'\nx = [\n [1],\n]\n",
    "  [[relay]]\nname = 'N'  # it\n",
]  # fmt: skip


@given(st.lists(st.sampled_from(OFTEN), max_size=10), st.permutations(ONCE), st.integers(0, 10))
def test_fuzz_what_is_left_is_the_same(often: list[str], once: list[str], place: int) -> None:
    pieces = [*often[:place], *once, *often[place:]]
    text = "".join(piece.replace("'N'", f"'{number}'") for number, piece in enumerate(pieces))
    names = relay_names(text)
    if not names:
        return
    tables = Tables(text, "relay")
    others = {key: value for key, value in tomllib.loads(text).items() if key != "relay"}
    turned = tables.reorder(range(len(names))[::-1])
    assert relay_names(turned) == names[::-1]
    removed = tables.remove([0])
    assert relay_names(removed) == names[1:]
    longer = tables.append("[[relay]]\nname = 'new'\n")
    assert relay_names(longer) == [*names, "new"]
    for changed in (turned, removed, longer):
        assert {key: value for key, value in tomllib.loads(changed).items() if key != "relay"} == others
        assert changed.count("# note\n") == text.count("# note\n")
