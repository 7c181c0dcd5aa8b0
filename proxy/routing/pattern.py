"""A regular expression engine for host names. A match takes time linear in the length of the name.

Python's `re` backtracks: `(a+)+$` takes minutes on forty letters, and a web page chooses the names. Here a pattern is
compiled to its Glushkov automaton: an NFA without empty transitions, with one state for each character position of the
pattern. A set of states is an integer with one bit a state, so a step is a few lookups; a cache of steps is the used
part of the DFA. The alphabet is that of canonical host names. `^` and `$` are consumed like characters before and after
the name, so an anchor written twice never matches. Back references and look-around, which need backtracking, are
refused. Glushkov, The abstract theory of automata, 1961; Navarro and Raffinot, Compact DFA representation, 2001.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce

from proxy.model.frozen_dataclass import frozen_dataclass

PATTERN_LIMIT = 512
POSITIONS_LIMIT = 256
"""With these two limits a match takes less than a millisecond: 255 steps of at most 32 lookups."""

WORK_LIMIT = POSITIONS_LIMIT * POSITIONS_LIMIT
"""Steps to compile one pattern stay below this: links of each position to each other, and as many again for nesting."""

DEPTH_LIMIT = 30
"""Nested groups at most, since parser and compiler recurse."""

CACHE_LIMIT = 512
"""Steps of the DFA that one pattern caches. A pattern can have exponentially many, so the cache is bounded."""

ALPHABET = frozenset(string.ascii_lowercase + string.digits + "-_.")
START = "^"
END = "$"

_ESCAPES = {
    "d": frozenset(string.digits),
    "D": ALPHABET - frozenset(string.digits),
    "w": ALPHABET - frozenset("-."),
    "W": frozenset("-."),
}


@frozen_dataclass
class _Chars:
    chars: frozenset[str]
    size: int = 1


@frozen_dataclass
class _Sequence:
    parts: tuple[_Node, ...]
    size: int


@frozen_dataclass
class _Choice:
    branches: tuple[_Node, ...]
    size: int


@frozen_dataclass
class _Repeat:
    node: _Node
    low: int
    high: int | None
    size: int


_Node = _Chars | _Sequence | _Choice | _Repeat
"""A node of the syntax tree. `size` is its number of positions, with counted repeats written out. Only `_EMPTY` has 0:
so the work to compile a tree is bounded by its size and depth."""

_EMPTY = _Sequence((), 0)


class Pattern:
    """A compiled pattern. The constructor raises ValueError, with one sentence, for syntax that is not supported."""

    __slots__ = ("_automaton", "_cache", "_matches_all", "text", "work")

    def __init__(self, text: str) -> None:
        self.text = text
        self._automaton = _Automaton()
        nullable, self._automaton.first, self._automaton.last = self._automaton.add(_Parser(text).parse())
        self._matches_all = nullable
        self.work = self._automaton.work
        """Steps that compiling took: nodes added and positions linked. Below WORK_LIMIT, since the size of the tree is
        checked before it is compiled."""
        self._cache: dict[tuple[int, str], int] = {}  # (states, character) → states: the used part of the DFA

    def search(self, host: str) -> bool:
        """Returns whether the pattern matches anywhere in a host in canonical spelling."""
        if self._matches_all:
            return True
        states = 0
        for char in (START, *host, END):
            reached = self._cache.get((states, char))
            if reached is None:
                if len(self._cache) >= CACHE_LIMIT:
                    self._cache.clear()
                reached = self._cache[states, char] = self._automaton.step(states, char)
            states = reached
            if states & self._automaton.last:
                return True
        return False

    def __repr__(self) -> str:
        return f"<Pattern {self.text!a}>"


class _Automaton:
    """A Glushkov automaton, in his terms: positions in `first` may begin a match, positions in `last` may end one, and
    those in `_follow[p]` may come after position p. Sets of positions are integers: bit p is position p."""

    __slots__ = ("_follow", "_follow_of_byte", "_positions", "first", "last", "work")

    def __init__(self) -> None:
        self.first = 0
        self.last = 0
        self.work = 0
        self._follow: list[int] = []
        self._positions: dict[str, int] = {}  # character → positions that accept it
        self._follow_of_byte: dict[tuple[int, int], int] = {}  # cache: (byte of a set, its bits) → union of `_follow`

    def step(self, states: int, char: str) -> int:
        """Returns the positions that accept `char` after any of `states`, or at the beginning of a match."""
        reached = self.first  # a match may begin at each character: the search is not anchored
        for byte, bits in enumerate(states.to_bytes(POSITIONS_LIMIT // 8, "little")):
            if not bits:
                continue
            follow = self._follow_of_byte.get((byte, bits))
            if follow is None:
                follow = _union(self._follow[8 * byte + bit] for bit in range(8) if bits >> bit & 1)
                self._follow_of_byte[byte, bits] = follow
            reached |= follow
        return reached & self._positions.get(char, 0)

    def add(self, node: _Node) -> tuple[bool, int, int]:
        """Adds a node's positions. Returns whether the node is nullable (matches the empty text), its first and its
        last positions."""
        self.work += 1
        match node:
            case _Chars(chars):
                position = 1 << len(self._follow)
                self._follow.append(0)
                for char in chars:
                    self._positions[char] = self._positions.get(char, 0) | position
                return False, position, position
            case _Sequence(parts):
                return self._add_sequence(parts)
            case _Choice(branches):
                added = [self.add(branch) for branch in branches]
                nullable = any(nullable for nullable, _, _ in added)
                return nullable, _union(first for _, first, _ in added), _union(last for _, _, last in added)
            case _Repeat(inner, low, high):
                return self._add_repeat(inner, low, high)

    def _add_sequence(self, parts: Sequence[_Node]) -> tuple[bool, int, int]:
        nullable, first, last = True, 0, 0
        for part in parts:
            part_nullable, part_first, part_last = self.add(part)
            self._link(last, part_first)
            first |= part_first if nullable else 0
            last = part_last | (last if part_nullable else 0)
            nullable = nullable and part_nullable
        return nullable, first, last

    def _add_repeat(self, node: _Node, low: int, high: int | None) -> tuple[bool, int, int]:
        """Writes a counted repeat out: `a{2,4}` is `aaa?a?`, and `a{2,}` is `aa` with the last copy in a loop."""
        copies = max(low, 1) if high is None else high
        nullable, first, last = True, 0, 0
        for copy in range(copies):
            inner_nullable, inner_first, inner_last = self.add(node)
            optional = inner_nullable or copy >= low
            self._link(last, inner_first)
            first |= inner_first if nullable else 0
            last = inner_last | (last if optional else 0)
            nullable = nullable and optional
        if high is None:
            self._link(inner_last, inner_first)  # the loop
        return nullable, first, last

    def _link(self, before: int, after: int) -> None:
        """Lets the positions `after` follow each of the positions `before`."""
        self.work += before.bit_count()
        while before:
            lowest = before & -before
            self._follow[lowest.bit_length() - 1] |= after
            before ^= lowest


def _union(sets: Iterator[int]) -> int:
    return reduce(int.__or__, sets, 0)


class _Parser:
    """A recursive descent parser: a choice of sequences of repeats of atoms. Raises ValueError with a sentence."""

    __slots__ = ("_at", "_depth", "_text")

    def __init__(self, text: str) -> None:
        if not text:
            raise ValueError("it is empty")
        if len(text) > PATTERN_LIMIT:
            raise ValueError(f"it is longer than {PATTERN_LIMIT} characters")
        self._text = text.removeprefix("(?i)")  # hosts are in lower case anyway
        self._at = 0
        self._depth = 0

    def parse(self) -> _Node:
        node = self._choice()
        if self._at < len(self._text):
            raise ValueError("a ) has no matching (")
        return node

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _accept(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _next(self, what: str) -> str:
        if self._at >= len(self._text):
            raise ValueError(f"it ends inside {what}")
        self._at += 1
        return self._text[self._at - 1]

    def _choice(self) -> _Node:
        branches = [self._sequence()]
        while self._accept("|"):
            branch = self._sequence()
            if branch is not _EMPTY or _EMPTY not in branches:
                branches.append(branch)
        return branches[0] if len(branches) == 1 else _Choice(tuple(branches), _total(branches))

    def _sequence(self) -> _Node:
        parts = []
        while self._peek() not in ("", "|", ")"):
            part = self._repeat()
            if part is not _EMPTY:
                parts.append(part)
        if not parts:
            return _EMPTY
        return parts[0] if len(parts) == 1 else _Sequence(tuple(parts), _total(parts))

    def _repeat(self) -> _Node:
        anchor = self._peek() in (START, END)
        node = self._atom()
        bounds = self._bounds()
        if bounds is None:
            return node
        if anchor:
            raise ValueError("^ and $ cannot be repeated")
        if node is _EMPTY:
            raise ValueError("an empty group cannot be repeated")
        self._accept("?")  # a lazy repeat finds the same hosts
        if self._peek() in ("*", "+", "?"):
            raise ValueError(f"{self._peek()} follows another repetition")
        low, high = bounds
        return _Repeat(node, low, high, _checked_size(node.size * (max(low, 1) if high is None else high)))

    def _bounds(self) -> tuple[int, int | None] | None:
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        bounds = simple.get(self._peek())
        if bounds is not None:
            self._at += 1
            return bounds
        return self._count() if self._accept("{") else None

    def _count(self) -> tuple[int, int | None]:
        """Reads the rest of a counted repeat after its {: `m}`, `m,}`, `,n}` or `m,n}`."""
        end = self._text.find("}", self._at, self._at + 10)
        low, comma, high = self._text[self._at : max(end, self._at)].partition(",")
        if end < 0 or not (low or high) or not all(part.isascii() and part.isdigit() for part in (low, high) if part):
            raise ValueError("write a count as {m}, {m,} or {m,n}")
        self._at = end + 1
        least = int(low or 0)
        most = least if not comma else int(high) if high else None
        if most is not None and (most < least or most == 0):
            raise ValueError("the maximum of a count is 0 or less than its minimum")
        return least, most

    def _atom(self) -> _Node:
        char = self._next("a pattern")
        if char == "(":
            return self._group()
        if char == "[":
            return _Chars(self._class())
        if char == ".":
            return _Chars(ALPHABET)
        if char in (START, END):
            return _Chars(frozenset(char))
        if char == "\\":
            return _Chars(self._escape())
        if char in "*+?{":
            raise ValueError(f"{char} has nothing to repeat; write \\{char} for the character itself")
        return _Chars(frozenset(_letter(char)))

    def _group(self) -> _Node:
        if self._peek() == "?" and not self._accept("?:"):
            raise ValueError("(? (look-around, flags, named groups) is not supported")
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise ValueError(f"groups are nested more than {DEPTH_LIMIT} deep")
        node = self._choice()
        self._depth -= 1
        if not self._accept(")"):
            raise ValueError("a ( is not closed")
        return node

    def _escape(self) -> frozenset[str]:
        char = self._next("an escape")
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char.isalnum():
            raise ValueError(f"\\{char} is not supported; \\d, \\w and escaped punctuation are")
        return frozenset(_letter(char))

    def _class(self) -> frozenset[str]:
        negated = self._accept("^")
        listed: set[str] = set()
        while not self._accept("]"):
            listed |= self._class_item()
        chars = ALPHABET - listed if negated else frozenset(listed)
        if not chars:
            raise ValueError("[] contains no character that occurs in a host name")
        return chars

    def _class_item(self) -> frozenset[str]:
        low = self._next("a []")
        if low == "\\":
            return self._escape()
        if not (self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]")):
            return frozenset(_letter(low))
        self._at += 1
        high = self._next("a []")
        if high == "\\" or high < low:
            raise ValueError(f"{low}-{high} is not a range")
        return frozenset(c for c in ALPHABET if low <= c <= high or low <= c.upper() <= high)


def _total(nodes: Iterable[_Node]) -> int:
    return _checked_size(sum(node.size for node in nodes))


def _checked_size(size: int) -> int:
    """Returns the size. Raises ValueError when it is too large, before the automaton is made: `((a{9}){9}){9}` is small
    as a tree and large as an automaton."""
    if size > POSITIONS_LIMIT:
        raise ValueError(f"it has more than {POSITIONS_LIMIT} characters when its counts are expanded")
    return size


def _letter(char: str) -> str:
    lower = char.lower()
    if lower not in ALPHABET:
        raise ValueError(f"{char!a} never occurs in a host name (international names are matched as xn--…)")
    return lower
