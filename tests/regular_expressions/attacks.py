"""Texts that an expression takes longest for: what gets into a repetition, what fills it, and what then fails.

They are derived from the expression as Python parses it. A repetition that is entered in many ways, or begins at many
places, shows itself with one of them: its own body, its beginning over and over, or a fixed filler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations, islice, product
from typing import Any, NamedTuple

_parser: Any = re._parser  # type: ignore[attr-defined]  # the parser of expressions has no public name
_MAX: Any = re._constants  # type: ignore[attr-defined]

FIXED = (
    " ", "\t", ".", "/", '"', "'", "`", "/**/", "/*", "//", "(", "[", "{", "()", "[]", "<", ">", "<>", "\\", "a", "A",
    "-", "_", "0", "9", "a0", "\n", "\r\n", "\r\n ", " \n", ":", "::", ",", ";", "=", "@", "#", "%", "&", "*", "\x00",
    "a.", "a,", "a:", "a ", "1.", '""', "''", '"a"', '"a",', "\\\\", "\\a", "éa",
)  # fmt: skip
"""Fillers that every expression gets."""
SUFFIXES = ("", "\x00", "\n", "!")
_OWN_SUFFIXES = 8
_SAMPLES = 6
_PREFIXES = 8
_MANY = 16
"""A repetition up to fewer times is no repetition here."""


_LEAST = 15
"""So often is a long filler repeated at least: what doubles with each shows itself by then."""


class Attack(NamedTuple):
    """A text: the prefix, the filler as often as it takes, and the suffix."""

    prefix: str
    filler: str
    suffix: str

    def text(self, size: int) -> str:
        return self.prefix + self.filler * (max(size // len(self.filler), _LEAST) + 1) + self.suffix


def attacks(pattern: str | bytes, flags: int) -> list[Attack]:
    """Returns the attacks on an expression, each once."""
    tree = _parser.parse(pattern, flags)
    suffixes = [
        *SUFFIXES,
        *islice((sign for sign in dict.fromkeys(_literals(tree)) if sign not in SUFFIXES), _OWN_SUFFIXES),
    ]
    found: dict[Attack, None] = {}
    for prefixes, bodies in _repetitions(tree, [""]):
        for prefix in ["", *prefixes]:
            fillers = [*bodies, *([prefix, *(prefix + body for body in bodies)] if prefix else [])]
            fillers += [one + other for one, other in combinations(bodies[:3], 2)]  # the other order is one shift away
            for filler, suffix in product(fillers, suffixes):
                if filler:
                    found[Attack(prefix, filler, suffix)] = None
    characters = sorted({character for sample in _samples(tree, 3) for character in sample})
    starts = list(dict.fromkeys(prefix for prefixes, _ in _repetitions(tree, [""]) for prefix in prefixes))[:_PREFIXES]
    for filler in dict.fromkeys((*FIXED, *characters)):
        for prefix, suffix in product(("", *starts), ("", "\x00")):
            found[Attack(prefix, filler, suffix)] = None
    return list(found)


def _literals(tree: Any) -> Iterator[str]:
    """Yields the characters that an expression names: what a class leaves out ends a repetition of it."""
    for operator, value in tree:
        name = str(operator)
        if name in ("LITERAL", "NOT_LITERAL"):
            yield chr(value)
        elif name == "IN":
            negated = str(value[0][0]) == "NEGATE"
            yield from (chr(sign) for kind, sign in value if negated and str(kind) == "LITERAL")
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            yield from _literals(value[2])
        elif name == "SUBPATTERN":
            yield from _literals(value[-1])
        elif name == "ATOMIC_GROUP":
            yield from _literals(value)
        elif name in ("ASSERT", "ASSERT_NOT"):
            yield from _literals(value[1])
        elif name == "BRANCH":
            for branch in value[1]:
                yield from _literals(branch)


def _repetitions(tree: Any, before: Sequence[str]) -> Iterator[tuple[list[str], list[str]]]:
    """Yields each repetition of a tree: what may stand before it, and samples of its body."""
    for operator, value in tree:
        name = str(operator)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            _, most, body = value
            if most == _MAX.MAXREPEAT or most >= _MANY:
                yield list(before), [sample for sample in _samples(body, _SAMPLES) if sample]
            yield from _repetitions(body, before)
        elif name == "SUBPATTERN":
            yield from _repetitions(value[-1], before)
        elif name == "ATOMIC_GROUP":
            yield from _repetitions(value, before)
        elif name in ("ASSERT", "ASSERT_NOT"):
            yield from _repetitions(value[1], before)
        elif name == "BRANCH":
            for branch in value[1]:
                yield from _repetitions(branch, before)
        after = _of_one(operator, value, _SAMPLES)
        before = list(dict.fromkeys(one + other for one in before for other in after))[:_PREFIXES]


def _samples(tree: Any, most: int) -> list[str]:
    """Returns some texts that a tree matches, about."""
    found = [""]
    for operator, value in tree:
        parts = _of_one(operator, value, most)
        found = list(dict.fromkeys(one + other for other in parts for one in found))[: most * 2]
    return found


def _of_one(operator: Any, value: Any, most: int) -> list[str]:
    name = str(operator)
    if name == "LITERAL":
        return [chr(value)]
    if name == "NOT_LITERAL":
        return [character for character in "a .0/-\"'" if ord(character) != value][:most]
    if name == "ANY":
        return ["a", " ", "."][:most]
    if name == "IN":
        return _of_class(value)[:most]
    if name == "BRANCH":
        return list(dict.fromkeys(islice((s for branch in value[1] for s in _samples(branch, 2)), most * 2)))
    if name == "SUBPATTERN":
        return _samples(value[-1], most)
    if name == "ATOMIC_GROUP":
        return _samples(value, most)
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, _, body = value
        bodies = _samples(body, most)
        if least:
            return [sample * least for sample in bodies][:most]
        return ["", *bodies][:most]
    return [""]


def _of_class(items: Any) -> list[str]:
    """Returns some characters of a class: of those that mean something, and the ends of its ranges."""
    negated = any(str(kind) == "NEGATE" for kind, _ in items)
    own: list[str] = []
    tests = []
    for kind, value in items:
        match str(kind):
            case "LITERAL":
                own.append(chr(value))
            case "RANGE":
                own += [chr(value[0]), chr(value[1])]
                tests.append(value)
            case "CATEGORY":
                own += {"SPACE": [" ", "\n", "\t"], "DIGIT": ["0"], "WORD": ["a", "0", "_"]}.get(
                    str(value).removeprefix("CATEGORY_").removeprefix("UNI_"), ["a", " "]
                )
    if not negated:
        order = [character for character in " .a0/-" if character in own or any(_in(character, it) for it in tests)]
        return list(dict.fromkeys((*order, *own)))
    spaces = any("SPACE" in str(value) for kind, value in items if str(kind) == "CATEGORY")
    return [
        character
        for character in "a .0/-:,\"'(*"
        if character not in own and not any(_in(character, it) for it in tests) and not (spaces and character == " ")
    ]


def _in(character: str, ends: tuple[int, int]) -> bool:
    return ends[0] <= ord(character) <= ends[1]
