"""PAC files: scripts that choose a proxy for each URL. They are read as data and never run.

Sites that a script sends to a proxy are listed; sites that it sends DIRECT before that are exceptions. The parser
supports conditions on the host (`dnsDomainIs`, `shExpMatch`, `host ==`, `endsWith`, `isInNet`, …) that lead to a
`return`, and arrays and dictionaries of domains: those of gfwlist2pac, of similar scripts with Adblock filters, and
hand-written ones. Other conditions are skipped and counted. A script without a supported condition is refused, and so
is one that sends all sites to a proxy except some, which a list cannot express.

`dnsDomainIs(host, "example.com")` compares only the end of a name, so it is true for `notexample.com` too. Here it
means the site, as its name and documentation say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.domain_list import Skip
from proxy.routing.lists.first_match import OrderedExceptions
from proxy.routing.lists.list_builder import ListBuilder
from proxy.routing.lists.pac_conditions import Names, Reading, Strings, Test, each_of, shown, site_of
from proxy.routing.lists.script_parser import Node, Part, parse_script
from proxy.routing.lists.script_tokens import Token, are_plain, names, tokens
from proxy.routing.lists.url_filters import HostFilter, add_filter, add_hosts

_MAIN = "FindProxyForURL"
_INLINE_LIMIT = 5
"""Nested calls of functions at most."""

_HAS_MAIN = re.compile(rf"\b(?:function\s++{_MAIN}\s*+\(|(?:var|let|const)\s++{_MAIN}\s*+=)")
_BEGINS_WITH_VALUE = re.compile(
    r"(?:[\ufeff\s]++|//[^\n]*+\n|/\*(?:[^*]|\*(?!/))*+\*/)*+(?:var|let|const)\s++[\w$]++\s*+=\s*+[\"'\[{]"
)


@frozen_dataclass
class _Condition:
    """A condition of the script, or another part of it that was skipped."""

    line: int
    test: Test
    shown: str
    """The text for messages."""
    is_needed: bool = False
    """True if the list is incomplete without it: it is one of several alternative conditions, or may lead to the
    proxy."""
    names: tuple[Token, ...] = ()
    """The strings of the array or dictionary that it tests."""


@frozen_dataclass
class _Decision:
    """A condition with its result: hosts for which it is true are listed, or are exceptions."""

    condition: _Condition
    listed: bool


def recognizes(text: str) -> bool:
    """Whether the beginning of a file may be that of a PAC script, whose function may stand at the very end."""
    return _HAS_MAIN.search(text) is not None or _BEGINS_WITH_VALUE.match(text) is not None


def parse_pac(pieces: Iterator[str], builder: ListBuilder) -> None:
    """Parses a PAC file, as `formats.ParseList` says."""
    script = _Script(parse_script(tokens(pieces, builder.source), builder.source), builder)
    script.read()


class _Script:
    def __init__(self, tree: Node, builder: ListBuilder) -> None:
        self._tree = tree
        self._builder = builder
        self._names = Names()
        self._functions: dict[str, Node] = {}
        self._decisions: list[_Decision] = []
        self._others: list[_Condition] = []
        self._default_listed = False
        self._inlined = 0
        self._entered: set[tuple[int, int]] = set()  # functions that were read, with the index of their host parameter
        self._branches = 0  # conditional statements around the present one

    def read(self) -> None:
        self._declare(self._tree.parts)
        filters = [value for value in self._names.values.values() if value.part is Part.ARRAY and _are_filters(value)]
        if filters:  # the rest of such a script is the engine for the filters
            for value in filters:
                for token in value.strings:
                    for text in names(token):
                        if text and not text.startswith("!"):
                            add_filter(self._builder, token.line, text.replace("\\/", "/"))
            return
        main = self._functions.get(_MAIN)
        if main is None:
            fault = (
                f"its {_MAIN} is made by another function, which Byway does not run; it is probably what SwitchyOmega "
                "or ZeroOmega exported as PAC: export the rule list there, or a backup, and import that"
                if _MAIN in self._names.values
                else f"has no function {_MAIN}, so it is no PAC file, or is cut short"
            )
            raise ConfigError(f"{self._builder.source}: {fault}")
        self._enter(main)
        for name, value in self._names.values.items():
            if value.part in (Part.ARRAY, Part.OBJECT) and id(value) not in self._names.used and _named_hosts(value):
                self._others.append(_Condition(value.line, Skip.SCRIPT, name, is_needed=True))
        listed = [one for one in self._decisions if one.listed and not isinstance(one.condition.test, Skip)]
        if not listed or self._default_listed:
            fault = (
                "sends every site to a proxy but those that it names, which no list can say; write rules instead"
                if self._default_listed
                else "is a script of which nothing is understood; Byway reads domains in it and never runs it"
            )
            raise ConfigError(f"{self._builder.source}: {fault}")
        self._add()

    def _add(self) -> None:
        exceptions = OrderedExceptions(self._builder.source, [one.condition.line for one in self._decisions])
        for place, one in enumerate(self._decisions):
            if not one.listed:
                for hosts in each_of(one.condition.test):
                    if isinstance(hosts, HostFilter) and not hosts.narrow:
                        exceptions.add(place, hosts, one.condition.shown)
        for place, one in enumerate(self._decisions):
            test, line, text = one.condition.test, one.condition.line, one.condition.shown
            self._builder.is_needed = one.listed and (one.condition.is_needed or test is Skip.SCRIPT)
            if one.listed and isinstance(test, Strings):
                self._add_strings(place, test, exceptions)
                continue
            for hosts in each_of(test):
                if isinstance(hosts, Skip):
                    self._builder.skip(line, text, hosts)
                elif one.listed:
                    exceptions.note(place, hosts)
                    add_hosts(self._builder, line, hosts, exception=False, shown=text)
                elif hosts.narrow:
                    self._builder.skip(line, text, Skip.NARROW_EXCEPTION)
        tests = [one.condition.test for one in self._decisions if one.listed]
        listed = {id(test.tokens) for test in tests if isinstance(test, Strings)}
        for other in self._others:
            assert isinstance(other.test, Skip)
            self._builder.is_needed = other.is_needed and not (other.names and id(other.names) in listed)
            self._builder.skip(other.line, other.shown, other.test)
        self._builder.is_needed = False
        exceptions.add_to(self._builder)

    def _add_strings(self, place: int, test: Strings, exceptions: OrderedExceptions) -> None:
        covers = {Reading.HOST: Covers.HOST, Reading.SITE: Covers.SITE, Reading.DNS_DOMAIN: Covers.SITE}
        for token in test.tokens:
            texts = names(token)
            is_plain = test.reading in covers and not test.before and not test.behind
            if is_plain and place > exceptions.last_place and are_plain(texts, dots=False):
                self._builder.add_many(token.line, texts, covers[test.reading])
                continue
            for name in texts:
                one = test.meaning(name)
                if isinstance(one, Skip):
                    self._builder.skip(token.line, name, one)
                else:
                    exceptions.note(place, one)
                    add_hosts(self._builder, token.line, one, exception=False, shown=name)

    # -- statements ----------------------------------------------------------------------------------------------------

    def _declare(self, statements: Sequence[Node]) -> None:
        """Notes functions and variables that are declared outside of functions."""
        for node in statements:
            if node.part is Part.FUNCTION:
                self._functions[node.text] = node
            elif node.part is Part.BLOCK:
                self._declare(node.parts)
            elif node.part is Part.BINARY and node.text == "=":
                self._assign(node)

    def _assign(self, node: Node) -> None:
        target, *_, value = node.parts
        if target.part is Part.WORD:
            if value.part is Part.UNARY and value.text == "new" and len(value.parts[0].parts) == 2:
                value = value.parts[0].parts[1]  # new Set([…])
            if value.part is Part.FUNCTION:
                self._functions[target.text] = value._replace(text=target.text)
            elif self._names.is_host(value) or self._names.is_shortened(value):
                self._names.hosts.add(target.text)
                if self._names.is_shortened(value) or self._names.says_shortened(value):
                    self._names.shortened.add(target.text)
            elif self._branches and (target.text in self._names.values or value.part not in (Part.ARRAY, Part.OBJECT)):
                self._names.values.pop(target.text, None)  # its value depends on the branch
            else:
                self._names.values[target.text] = value

    def _enter(self, function: Node) -> None:
        """Reads the body of a function. The parameters of the main function are the URL and the host."""
        self._inlined += 1
        if self._inlined <= _INLINE_LIMIT:
            if function.text == _MAIN and len(function.parts) == 3:
                self._names.urls, self._names.hosts = {function.parts[0].text}, {function.parts[1].text}
            self._read(function.parts[-1], looping=False, guarded=False)
        self._inlined -= 1

    def _read(self, node: Node, *, looping: bool, guarded: bool) -> bool:
        """Reads a statement. `guarded`: it runs only under an unsupported condition. Returns whether the statements
        after it are never reached."""
        self._builder.line = node.line
        match node.part:
            case Part.BLOCK:
                return any(self._read(part, looping=looping, guarded=guarded) for part in node.parts)
            case Part.LOOP:
                if len(node.parts) == 3:
                    self._names.walk(node.parts[1].text, node.parts[2].text, keys=node.text == "in")
                self._read(node.parts[0], looping=True, guarded=guarded)
            case Part.BINARY if node.text == "=":
                self._assign(node)
                self._call(node.parts[-1], guarded=guarded)
            case Part.IF:
                self._branches += 1
                ends = self._branch(node, looping=looping, guarded=guarded)
                self._branches -= 1
                return ends
            case Part.RETURN:
                self._return(node, looping=looping, guarded=guarded)
                return not guarded
            case Part.CALL if self._changes_data(node):
                self._others.append(_Condition(node.line, Skip.SCRIPT, shown(node), is_needed=True))
            case Part.UNKNOWN:
                self._others.append(_Condition(node.line, Skip.SCRIPT, node.text, is_needed=True))
            case _:
                pass
        return False

    def _branch(self, node: Node, *, looping: bool, guarded: bool) -> bool:
        *pairs, last = node.parts if len(node.parts) % 2 else (*node.parts, None)
        ends = last is not None
        for condition, then in zip(pairs[::2], pairs[1::2], strict=True):
            assert condition is not None
            assert then is not None
            result = self._result(_returned(then))
            in_the_end = self._result(_returned_last(then))
            alternatives = list(self._tests(condition, looping=looping, direct=result is False))
            if _returned(then) is not None and _alternates(_returned(then)):
                self._add_alternating(alternatives)
            elif result is None and in_the_end and not guarded:  # the statements before the last one are skipped
                self._decisions += [_Decision(one, True) for one in alternatives]
                before = len(self._others)
                self._read(then, looping=looping, guarded=True)
                self._others[before:] = [replace(other, is_needed=False) for other in self._others[before:]]
            elif result is None or guarded:
                self._skip(alternatives, may_list=result is not False)
                returned = _returned(then)
                if not guarded and self._is_unknown(returned) and not any(map(self._names_hosts, alternatives)):
                    self._others.append(_Condition(node.line, Skip.SCRIPT, shown(condition), is_needed=True))
                self._read(then, looping=looping, guarded=True)
                ends = False
            else:
                self._decisions += [_Decision(one, result) for one in alternatives]
        return last is not None and self._read(last, looping=looping, guarded=guarded) and ends

    def _skip(self, conditions: Sequence[_Condition], *, may_list: bool) -> None:
        """Notes conditions that cannot be used. `may_list`: they may lead to the proxy."""
        for one in conditions:
            if self._names_hosts(one):
                names_of = one.test.tokens if isinstance(one.test, Strings) else ()
                self._others.append(_Condition(one.line, Skip.SCRIPT, one.shown, is_needed=may_list, names=names_of))

    def _return(self, node: Node, *, looping: bool, guarded: bool) -> None:
        value = node.parts[0] if node.parts else None
        if value is not None and value.part is Part.WORD:
            value = self._names.values.get(value.text, value)
        while value is not None and value.part is Part.CHOICE:
            condition, then, value = value.parts
            result = self._result(then)
            alternatives = list(self._tests(condition, looping=looping, direct=result is False))
            if result is None or looping or guarded:
                self._skip(alternatives, may_list=result is not False)
            else:
                self._decisions += [_Decision(one, result) for one in alternatives]
        if value is None or guarded:
            return
        if self._is_unknown(value):
            self._others.append(_Condition(node.line, Skip.SCRIPT, shown(value), is_needed=True))
        if self._result(value) and not looping and not self._inlined > 1:
            self._default_listed = True
        self._call(value, guarded=guarded)

    def _call(self, node: Node, *, guarded: bool) -> None:
        """Reads a function of the script that is called with the host."""
        if node.part is Part.CALL and node.parts[0].part is Part.WORD and not guarded:
            function = self._functions.get(node.parts[0].text)
            places = [place for place, part in enumerate(node.parts[1:]) if self._names.is_host(part)]
            if function is not None and places and places[0] < len(function.parts) - 1:
                self._names.hosts.add(function.parts[places[0]].text)
                # A second reading would give the same decisions, so each function is read once: functions may call
                # each other again and again.
                if (id(function), places[0]) not in self._entered:
                    self._entered.add((id(function), places[0]))
                    self._enter(function)

    def _result(self, node: Node | None) -> bool | None:
        """Returns whether a returned value names a proxy; None: that is not known."""
        for _ in range(_INLINE_LIMIT):
            if node is None:
                return None
            if node.part is Part.STRING:
                first = node.text.strip().partition(";")[0].split()
                return first[0].upper() != "DIRECT" if first else None
            if node.part is Part.BINARY and node.text == "+":
                node = node.parts[0]
            elif node.part is Part.WORD:
                node = self._names.values.get(node.text)
            else:
                return None
        return None

    def _is_unknown(self, value: Node | None) -> bool:
        """Whether a returned value may be a proxy for hosts that were not read."""
        if value is None or self._result(value) is not None:
            return False
        if value.part is Part.WORD and value.text in self._names.values:
            value = self._names.values[value.text]
        if value.part is Part.CALL:
            return value.parts[0].text not in self._functions
        return value.part in (Part.BINARY, Part.INDEX, Part.MEMBER)

    def _changes_data(self, call: Node) -> bool:
        """Whether a call adds to an array that conditions may use."""
        method = call.parts[0]
        adds = method.part is Part.MEMBER and method.text in ("push", "unshift", "splice", "set", "add", "forEach")
        return adds and method.parts[0].text in self._names.values

    def _add_alternating(self, conditions: Sequence[_Condition]) -> None:
        """Reads the array of gfwlist2pac, which holds pairs of arrays: for DIRECT, and for the proxy."""
        for value in self._names.values.values():
            groups = value.parts if value.part is Part.ARRAY else ()
            if groups and all(group.part is Part.ARRAY and len(group.parts) == 2 for group in groups) and conditions:
                self._names.used.add(id(value))
                for group in groups:
                    for listed, array in enumerate(group.parts):
                        test = Strings(array.strings, Reading.SITE)
                        self._decisions.append(_Decision(_Condition(array.line, test, "rules"), bool(listed)))

    def _tests(self, node: Node, *, looping: bool, direct: bool) -> Iterator[_Condition]:
        """Yields the conditions that are joined by `||`. `direct`: they lead to DIRECT."""
        if node.part is Part.BINARY and node.text == "||":
            for part in node.parts:
                yield from (replace(one, is_needed=True) for one in self._tests(part, looping=looping, direct=direct))
            return
        test = self._names.test(node, looping=looping)
        if self._names.shortened and not direct and not looping and self._names.says_shortened(node):
            test = site_of(test)
        yield _Condition(node.line, Skip.SCRIPT if test is None else test, shown(node))

    def _names_hosts(self, condition: _Condition) -> bool:
        return not isinstance(condition.test, Skip) or condition.test is Skip.REGULAR_EXPRESSION


def _returned(node: Node | None) -> Node | None:
    """Returns the value that a branch returns; None: it returns none, or has conditions, loops or returns before
    that."""
    while node is not None and node.part is Part.BLOCK and node.parts:
        if any(part.part in (Part.IF, Part.LOOP, Part.RETURN) for part in node.parts[:-1]):
            return None
        node = node.parts[-1]
    return node.parts[0] if node is not None and node.part is Part.RETURN and node.parts else None


def _returned_last(node: Node) -> Node | None:
    """Returns the value in the last statement of a branch, if that is a return; earlier statements do not matter."""
    last = node.parts[-1] if node.part is Part.BLOCK and node.parts else node
    return last.parts[0] if last.part is Part.RETURN and last.parts else None


def _alternates(node: Node | None) -> bool:
    """Whether a node is `i % 2 == 0 ? "DIRECT" : …`."""
    if node is None or node.part is not Part.CHOICE:
        return False
    condition, then, _ = node.parts
    if condition.part is not Part.BINARY or len(condition.parts) != 2:
        return False
    remainder, zero = condition.parts
    return (
        condition.text in ("==", "===")
        and (remainder.part, remainder.text, len(remainder.parts)) == (Part.BINARY, "%", 2)
        and remainder.parts[1].text == "2"
        and zero.text == "0"
        and then.part is Part.STRING
        and then.text.upper().startswith("DIRECT")
    )


def _are_filters(array: Node) -> bool:
    """Whether more than half of the first strings of an array are Adblock filters."""
    first = [text for token in array.strings[:50] for text in names(token)[:50]]
    return sum(text.startswith(("||", "|http", "@@")) for text in first) > len(first) / 2


def _named_hosts(value: Node) -> bool:
    texts = [text for token in value.strings[:50] for text in names(token)[:50]]
    return sum("." in text for text in texts) > len(texts) / 2
