"""Prints the results and hints of commands.

Results go to stdout: a table on a terminal, tab-separated lines with a header elsewhere or with --plain, a JSON
document with --json. Hints and progress go to stderr. Text from outside (hosts, errors, relay names) is made inert: no
character of it can move the cursor, colour the line or reverse the direction of the text beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from proxy.config.command_name import as_typed, typed_here
from proxy.languages.amounts import ago, clock
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import Phrase, _, commas
from proxy.terminal.table import lay_out, wrap
from proxy.terminal.terminal import width
from proxy.wire.inert_text import inert

if TYPE_CHECKING:
    from proxy.languages.catalogue import Catalogue

Cell = str | int | float | None


@frozen_dataclass
class Output:
    """Where and how one command prints."""

    as_json: bool = False
    plain: bool = False
    quiet: bool = False
    verbose: int = 0
    spoken: Catalogue | None = None
    """The language of phrases; None: English."""

    def shown(self, text: str) -> str:
        """Returns a text for the terminal: a phrase in the language of the command, text from outside inert."""
        if self.spoken is None or not isinstance(text, Phrase):
            return _typed(inert(text))
        return _typed(self.spoken.say(text.mapped(inert)))

    @property
    def fancy(self) -> bool:
        """Whether stdout is a terminal, and neither --plain nor --json is given."""
        return not self.plain and not self.as_json and sys.stdout is not None and sys.stdout.isatty()

    def document(self, content: Any) -> None:
        """Prints one JSON document, on a single line unless stdout is a terminal."""
        is_terminal = sys.stdout is not None and sys.stdout.isatty()
        print(json.dumps(content, indent=2 if is_terminal else None))

    def answered(self, content: Any) -> bool:
        """With --json, prints the document, which is then all of the answer. Returns whether it did."""
        if self.as_json:
            self.document(content)
        return self.as_json

    def json_line(self, content: Any) -> None:
        """Prints one of many JSON objects on its own line, at once."""
        print(json.dumps(content), flush=True)

    def line(self, text: str = "", *, before: str = "") -> None:
        """Prints a sentence or a paragraph of the result after `before`, wrapped on a terminal."""
        print("\n".join(_wrapped(self._lines(text, before), wide=not self.fancy)))

    def hint(self, *texts: str) -> None:
        """Prints sentences that are no part of the result to stderr; --quiet drops them."""
        for text in texts if not self.quiet else ():
            _to_stderr(self._lines(text))

    def error(self, text: str) -> None:
        """Prints the error that ends the command to stderr."""
        _to_stderr(self._lines(text, "byway: "))

    def _lines(self, text: str, before: str = "") -> list[str]:
        if self.spoken is not None and isinstance(text, Phrase):
            return [before + self.shown(text)]
        return [_typed(inert(line)) for line in (before + text).split("\n")]

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, empty: str = "") -> None:
        """Prints rows under headings; for an empty table also the hint `empty`."""
        cells = [[self.shown(_text(cell)) for cell in row] for row in rows]
        if not cells and empty:
            self.hint(empty)
        if self.fancy:
            if cells:
                print("\n".join(lay_out([self.shown(heading) for heading in headings], cells, width())))
            return
        for row in ([*headings], *cells):
            print("\t".join(row))

    def row(self, cells: Sequence[Cell]) -> None:
        """Prints one row of an endless table for programs, at once."""
        print("\t".join(inert(_text(cell)) for cell in cells), flush=True)

    def now(self, text: str) -> None:
        """Prints one line of an endless list for people, at once. The caller makes its parts inert."""
        print(text, flush=True)

    def facts(self, facts: Iterable[tuple[str, str]]) -> None:
        """Prints names and values as two columns; entries without a value are left out."""
        rows = [(self.shown(name), self.shown(value)) for name, value in facts if value]
        if rows:
            print("\n".join(lay_out(("", ""), rows, width())))


def say(text: str) -> None:
    """Prints lines to stderr, wrapped on a terminal."""
    _to_stderr([_typed(inert(line)) for line in text.split("\n")])


def _typed(text: str) -> str:
    """Returns a text in which commands have the name under which this Byway is started."""
    return as_typed(text, typed_here())


def _to_stderr(lines: Sequence[str]) -> None:
    if sys.stderr is not None:
        print("\n".join(_wrapped(lines, wide=not sys.stderr.isatty())), file=sys.stderr)


def _wrapped(lines: Sequence[str], *, wide: bool) -> Iterator[str]:
    for line in lines:
        yield from [line] if wide else wrap(line, width())


def action_of(document: Mapping[str, Any]) -> str:
    """Returns the action of a rule or an override, with its relay if it names one: `RELAY:tor`."""
    return f"{document['action']}:{document['relay']}" if document["relay"] else str(document["action"])


def override_of(document: Mapping[str, Any], *, fancy: bool) -> str:
    """Returns an override, with its end if it has one: `RELAY:tor, ends in 20 min`."""
    until, action = document["until"], action_of(document)
    if not until:
        return action
    return commas([action, _("ends {when}", when=ago(until) if fancy else clock(until))])


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    return f"{cell:.3f}".rstrip("0").rstrip(".") if isinstance(cell, float) else str(cell)
