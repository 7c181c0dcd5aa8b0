"""`frozen_dataclass` against the standard library's own."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from proxy.model.frozen_dataclass import frozen_dataclass


@frozen_dataclass
class Hop:
    """One hop."""

    host: str
    port: int = 1080
    password: str = field(default="", repr=False)
    options: dict[str, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StandardHop:
    """One hop."""

    host: str
    port: int = 1080
    password: str = field(default="", repr=False)
    options: dict[str, int] = field(default_factory=dict)


@frozen_dataclass
class Nothing:
    pass


@frozen_dataclass
class TlsHop(Hop):
    sni: str = ""

    def __repr__(self) -> str:
        return "a hop"


@frozen_dataclass
class Measured:
    text: str
    length: int = field(init=False, compare=False)

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "length", len(text))


def same(hop: Any, standard: Any) -> bool:
    return str(hop).replace("Hop(", "StandardHop(") == str(standard) and asdict(hop) == asdict(standard)


def test_it_is_made_and_shown_as_the_standard_librarys() -> None:
    assert same(Hop("a"), StandardHop("a"))
    assert same(Hop("a", 1, password="x"), StandardHop("a", 1, password="x"))
    assert same(replace(Hop("a"), port=2), replace(StandardHop("a"), port=2))
    assert [str(it) for it in fields(Hop)] == [str(it) for it in fields(StandardHop)]
    assert list(inspect.signature(Hop).parameters) == list(inspect.signature(StandardHop).parameters)
    assert Hop.__doc__ == StandardHop.__doc__
    assert "secret" not in repr(Hop("a", password="secret"))
    assert Hop("a").address == "a:1080"


@pytest.mark.parametrize("arguments", [{}, {"host": "a", "prot": 1}])
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    for kind in (Hop, StandardHop):
        with pytest.raises(TypeError):
            kind(**arguments)


def test_a_class_without_values_has_compiled_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    run = builtins.exec

    def note(source: str, names: dict[str, Any]) -> None:
        compiled.append(source)
        run(source, names)

    monkeypatch.setattr(builtins, "exec", note)

    @frozen_dataclass
    class Point:
        x: int = 0

    @frozen_dataclass
    class Place(Point):
        y: int = 0

    made = Point.__init__
    assert compiled == []
    assert Place(1, 2) == Place(x=1, y=2)
    assert Point.__init__ is made, "that of a class below it was compiled"
    assert Point() == Point(0)
    assert Point.__init__ is not made
    value = Point()
    made(value, 3)  # a thread that had taken it before another one made the first value
    assert value == Point(3)


def test_it_is_frozen_and_has_no_other_attributes() -> None:
    hop: Any = Hop("a")
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'port'"):
        hop.port = 2
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'odd'"):
        hop.odd = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'port'"):
        del hop.port
    assert not hasattr(hop, "__dict__")
    assert hop == Hop("a")


def test_values_are_equal_when_all_their_fields_are() -> None:
    for _ in range(2):  # the first comparison compiles the next ones
        assert Hop("a") == Hop("a")
        assert Hop("a") != Hop("a", password="x")
        assert Hop("a") not in [StandardHop("a"), "a"]
        assert Nothing() == Nothing()
        assert TlsHop("a") != Hop("a")
        assert TlsHop("a", sni="b") != TlsHop("a", sni="c")


def test_what_is_equal_has_one_hash() -> None:
    @frozen_dataclass
    class Point:
        x: int
        y: int

    for _ in range(2):
        assert {Point(1, 2): "here"}[Point(1, 2)] == "here"
        assert len({Point(1, 2), Point(2, 1), Point(1, 2)}) == 2
        assert hash(Nothing()) == hash(Nothing())
        with pytest.raises(TypeError, match="unhashable"):
            hash(Hop("a"))


def test_what_a_default_makes_belongs_to_one_value() -> None:
    first = Hop("a")
    first.options["x"] = 1
    assert Hop("a").options == {}


def test_copies_are_equal() -> None:
    hop = Hop("a", options={"x": 1})
    assert copy.copy(hop) == copy.deepcopy(hop) == pickle.loads(pickle.dumps(hop)) == hop
    assert copy.deepcopy(hop).options is not hop.options


def test_inherited_fields_come_first() -> None:
    hop = TlsHop("a", 1, sni="b")
    assert (hop.host, hop.port, hop.sni, hop.address) == ("a", 1, "b", "a:1")
    assert repr(hop) == "a hop"


def test_an_init_of_its_own_may_find_out_fields() -> None:
    measured = Measured("abc")
    assert measured.length == 3
    assert copy.copy(measured) == measured == replace(measured, text="abc")
    assert hash(measured) == hash(Measured("abc"))
    longer = Measured("abc")
    object.__setattr__(longer, "length", 4)
    assert measured == longer


def test_patterns_match_it() -> None:
    match Hop("a", 1):
        case Hop(host, port):
            assert (host, port) == ("a", 1)
        case _:
            pytest.fail("no match")
