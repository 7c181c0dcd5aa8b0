"""Parses the part of JavaScript that PAC files use: declarations, functions, branches, loops, expressions.

It makes a tree and runs nothing. A statement with other syntax becomes UNKNOWN, and parsing goes on after it. Strings
in a row stay one token, so an array of a million names is a thousand tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from proxy.model.errors import ConfigError
from proxy.routing.lists.script_tokens import Kind, Token

DEPTH_LIMIT = 50
"""Nested brackets and statements at most: the parser recurses, up to ten calls for each."""

NODES_LIMIT = 400_000
"""Nodes of a tree at most. 100,000 single conditions on domains have as many."""


class Part(Enum):
    """The kinds of nodes."""

    STRING = auto()
    NUMBER = auto()
    WORD = auto()
    PATTERN = auto()
    """A regular expression."""
    ARRAY = auto()
    OBJECT = auto()
    CALL = auto()
    """The first part is the function; arguments follow."""
    MEMBER = auto()
    """`part.text`"""
    INDEX = auto()
    """`first[second]`"""
    UNARY = auto()
    BINARY = auto()
    """Two or more parts, with the operator `text` between them; also an assignment."""
    CHOICE = auto()
    """`first ? second : third`"""
    FUNCTION = auto()
    """Its parameters, as WORD, and its body."""
    IF = auto()
    """Conditions and statements in turn; a last statement without a condition is the `else`."""
    LOOP = auto()
    """The repeated statement. For `for (x in y)` and `for (x of y)`, the text is `in` or `of`, and both words
    follow."""
    RETURN = auto()
    BLOCK = auto()
    UNKNOWN = auto()


class Node(NamedTuple):
    part: Part
    text: str
    line: int
    parts: tuple[Node, ...] = ()
    strings: tuple[Token, ...] = ()
    """The strings of an array, or the keys of an object."""


class _NotUnderstoodError(Exception):
    """The statement has syntax that this parser does not support."""


_LEVELS = (
    ("=", "+=", "-=", "*=", "%="), ("?",), ("||",), ("&&",), ("|",), ("^",), ("&",),
    ("==", "!=", "===", "!=="), ("<", ">", "<=", ">=", "in", "instanceof"), ("+", "-"), ("*", "/", "%"),
)  # fmt: skip
_PRECEDENCE = {operator: level for level, operators in enumerate(_LEVELS) for operator in operators}
_ASSIGNS, _CHOOSES = 0, 1
_CALCULATES = 2
_UNARY = frozenset(("!", "-", "+", "~", "++", "--", "typeof", "new", "void", "delete"))
_OPENING, _CLOSING = frozenset("([{"), frozenset(")]}")
_NO_EXPRESSION = frozenset(("switch", "try", "class", "throw", "async", "import", "export", "with"))


def parse_script(tokens: Iterator[Token], source: str) -> Node:
    """Returns the BLOCK of a script. Raises ConfigError when it is too large or cut short."""
    parser = _Parser(tokens, source)
    statements = []
    while parser.next.kind is not Kind.END:
        statements.append(parser.statement())
    return Node(Part.BLOCK, "", 1, tuple(statements))


class _Parser:
    def __init__(self, tokens: Iterator[Token], source: str) -> None:
        self._tokens = tokens
        self._source = source
        self._open = 0  # brackets
        self._depth = 0
        self._nodes = 0
        self.next = next(tokens)

    def statement(self) -> Node:
        """Parses one statement, whose first token is `next`."""
        first, opened, depth = self.next, self._open, self._depth
        self._nest(1)
        try:
            return self._statement()
        except _NotUnderstoodError:
            self._leave(opened)
            return self._node(Part.UNKNOWN, first.text, first.line)
        finally:
            self._depth = depth

    def _statement(self) -> Node:
        first = self.next
        word = first.text if first.kind in (Kind.WORD, Kind.MARK) else ""
        if word == "{":
            return self._block()
        if word == ";":
            self._take()
            return self._node(Part.BLOCK, "", first.line)
        if word in ("var", "let", "const"):
            self._take()
            declared = [self._expression(_ASSIGNS)]
            while self._skip(","):
                declared.append(self._expression(_ASSIGNS))
            self._skip(";")
            return self._node(Part.BLOCK, "", first.line, *declared)
        if word == "function":
            self._take()
            return self._function(self._take(Kind.WORD).text, first.line)
        if word == "if":
            return self._branches()
        if word in ("for", "while"):
            self._take()
            head = self._parentheses()
            if len(head) == 3 and head[1] in ("in", "of"):
                walked = (self._node(Part.WORD, name, first.line) for name in (head[0], head[2]))
                return self._node(Part.LOOP, head[1], first.line, self.statement(), *walked)
            return self._node(Part.LOOP, word, first.line, self.statement())
        if word == "do":
            self._take()
            body = self.statement()
            self._expect("while")
            self._parentheses()
            self._skip(";")
            return self._node(Part.LOOP, word, first.line, body)
        if word == "return":
            self._take()
            returned = [] if self._is(";") or self._is("}") else [self._expression(_ASSIGNS)]
            self._skip(";")
            return self._node(Part.RETURN, "", first.line, *returned)
        values = [self._expression(_ASSIGNS)]
        while self._skip(","):
            values.append(self._expression(_ASSIGNS))
        self._skip(";")
        return values[0] if len(values) == 1 else self._node(Part.BLOCK, "", first.line, *values)

    def _block(self) -> Node:
        line = self._expect("{").line
        statements = []
        while not self._is("}"):
            if self.next.kind is Kind.END:
                raise ConfigError(f"{self._source}: the script ends within a block that begins in line {line}")
            statements.append(self.statement())
        self._take()
        return self._node(Part.BLOCK, "", line, *statements)

    def _branches(self) -> Node:
        line = self.next.line
        parts: list[Node] = []
        while True:
            self._expect("if")
            self._expect("(")
            parts.append(self._expression(_ASSIGNS))
            self._expect(")")
            parts.append(self.statement())
            if not self._skip("else"):
                break
            if not self._is("if"):
                parts.append(self.statement())
                break
        return self._node(Part.IF, "", line, *parts)

    def _function(self, name: str, line: int) -> Node:
        self._expect("(")
        parameters = []
        while not self._skip(")"):
            parameters.append(self._node(Part.WORD, self._take(Kind.WORD).text, line))
            self._skip(",")
        return self._node(Part.FUNCTION, name, line, *parameters, self._block())

    def _expression(self, level: int) -> Node:
        depth = self._depth
        self._nest(1)
        left = self._operand()
        while True:
            operator = self.next.text if self.next.kind in (Kind.MARK, Kind.WORD) else ""
            precedence = _PRECEDENCE.get(operator, -1)
            if precedence < level:
                break
            line = self.next.line
            if precedence == _CHOOSES:
                self._take()
                chosen = self._expression(_ASSIGNS)
                self._expect(":")
                left = self._node(Part.CHOICE, "", line, left, chosen, self._expression(_ASSIGNS))
                continue
            parts = [left]
            while self._skip(operator):
                parts.append(self._expression(precedence if precedence == _ASSIGNS else precedence + 1))
            left = self._node(Part.BINARY, operator, line, *parts)
            self._nest(1)  # the left side becomes a part of the new node
        self._depth = depth
        return left

    def _operand(self) -> Node:
        token = self._take()
        text, line = token.text, token.line
        match token.kind:
            case Kind.STRING | Kind.NUMBER | Kind.PATTERN:
                node = self._node(Part[token.kind.name], text, line)
            case Kind.WORD if text == "function":
                node = self._function("" if self._is("(") else self._take(Kind.WORD).text, line)
            case Kind.WORD | Kind.MARK if text in _UNARY:
                return self._node(Part.UNARY, text, line, self._expression(_CALCULATES + len(_LEVELS)))
            case Kind.WORD if text not in _NO_EXPRESSION:
                node = self._node(Part.WORD, text, line)
            case Kind.MARK if text == "(":
                node = self._expression(_ASSIGNS)
                self._expect(")")
            case Kind.MARK if text == "[":
                node = self._array(line)
            case Kind.MARK if text == "{":
                node = self._object(line)
            case _:
                raise _NotUnderstoodError
        return self._suffixed(node)

    def _suffixed(self, node: Node) -> Node:
        depth = self._depth
        while True:
            line = self.next.line
            if self._skip("."):
                node = self._node(Part.MEMBER, self._take(Kind.WORD).text, line, node)
            elif self._skip("["):
                node = self._node(Part.INDEX, "", line, node, self._expression(_ASSIGNS))
                self._expect("]")
            elif self._skip("("):
                arguments = []
                while not self._skip(")"):
                    arguments.append(self._expression(_ASSIGNS))
                    if not self._is(")"):
                        self._expect(",")
                node = self._node(Part.CALL, "", line, node, *arguments)
            elif not (self._skip("++") or self._skip("--")):
                self._depth = depth
                return node
            self._nest(1)

    def _array(self, line: int) -> Node:
        strings, others = [], []
        while not self._skip("]"):
            if self.next.kind in (Kind.STRING, Kind.STRINGS):
                strings.append(self._take())
                if strings[-1].kind is Kind.STRINGS:
                    continue
                if not (self._is(",") or self._is("]")):
                    raise _NotUnderstoodError
            else:
                others.append(self._expression(_ASSIGNS))
            if not self._is("]"):
                self._expect(",")
        return Node(Part.ARRAY, "", line, tuple(others), tuple(strings))

    def _object(self, line: int) -> Node:
        keys, values = [], []
        while not self._skip("}"):
            key = self._take()
            if key.kind is Kind.KEYS:
                keys.append(key)
                continue
            if key.kind not in (Kind.STRING, Kind.WORD, Kind.NUMBER):
                raise _NotUnderstoodError
            keys.append(Token(Kind.STRING, key.text, key.line))
            self._expect(":")
            if self.next.kind is Kind.NUMBER:
                self._take()
            else:
                values.append(self._expression(_ASSIGNS))
            if not self._is("}"):
                self._expect(",")
        return Node(Part.OBJECT, "", line, tuple(values), tuple(keys))

    # -- tokens --------------------------------------------------------------------------------------------------------

    def _is(self, text: str) -> bool:
        return self.next.text == text and self.next.kind in (Kind.MARK, Kind.WORD)

    def _skip(self, text: str) -> bool:
        """Takes a mark or a word, if it is the next token."""
        if self._is(text):
            self._take()
            return True
        return False

    def _expect(self, text: str) -> Token:
        if not self._is(text):
            raise _NotUnderstoodError
        return self._take()

    def _take(self, kind: Kind | None = None) -> Token:
        token = self.next
        if kind is not None and token.kind is not kind:
            raise _NotUnderstoodError
        if token.kind is Kind.END:
            raise ConfigError(f"{self._source}: the script ends within a statement")
        if token.kind is Kind.MARK:
            self._open += (token.text in _OPENING) - (token.text in _CLOSING)
        self.next = next(self._tokens)
        return token

    def _parentheses(self) -> list[str]:
        """Takes the parentheses that come next with all tokens in them. Returns the first words, without `var`, `let`
        and `const`."""
        opened, words = self._open, list[str]()
        self._expect("(")
        while self._open > opened:
            token = self._take()
            if self._open > opened and len(words) < 4 and token.text not in ("var", "let", "const"):
                words.append(token.text if token.kind is Kind.WORD else "")
        return words

    def _leave(self, opened: int) -> None:
        """Takes the rest of a statement that began with `opened` open brackets."""
        while self.next.kind is not Kind.END:
            if self._open <= opened and self._is("}"):
                if opened:
                    return
                self._take()  # closes nothing
                return
            token = self._take()
            if self._open <= opened and token.kind is Kind.MARK and token.text in (";", "}"):
                return

    def _nest(self, step: int) -> None:
        self._depth += step
        if self._depth > DEPTH_LIMIT * 2:
            raise ConfigError(
                f"{self._source}:{self.next.line}: has more than {DEPTH_LIMIT} nested statements or brackets"
            )

    def _node(self, part: Part, text: str, line: int, *parts: Node) -> Node:
        self._nodes += 1
        if self._nodes > NODES_LIMIT:
            raise ConfigError(f"{self._source}: the script is too long; write the domains as an array, or one a line")
        return Node(part, text, line, parts)
