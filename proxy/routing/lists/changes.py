"""Writes changes to a list as a diff of its text, for the publisher of the list.

Every line is checked by parsing it. A line is removed only if, parsed alone, it names exactly the domain. A new line is
a copy of an existing line with another domain, and must name exactly that, so it works for every format with an entry a
line. The model is the most frequent kind of line, without its comment, since a comment is about its own domain. In the
end the whole list is parsed with the new lines: lines above them may change their meaning. A hosts file lists only the
domain itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.autoproxy import unpacked
from proxy.routing.lists.clash import head_of_lines, lines_of_list
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.hosts import leads_nowhere
from proxy.routing.lists.matcher import Entry, EntryKind

_TEMPLATES_TRIED = 2000
"""Lines that are examined to find a model for new lines."""

_COMMENT = re.compile(r"(?<![\x20\t])[\x20\t]++(?:\#|//|;)[^\r]*")

_NO_NEWLINE = "\\ No newline at end of file"


@frozen_dataclass
class ListDiff:
    """A diff for `patch`, empty if nothing changes, and the domains that it leaves out."""

    text: str
    unwritten: tuple[str, ...] = ()
    """Domains to remove that have no line of their own, and domains to add for which there is no model."""


def write_diff(
    name: str, text: str, list_format: ListFormatName, *, remove: Collection[str], add: Sequence[str]
) -> ListDiff:
    """Returns a diff that removes the domains `remove` from a list and adds the domains `add` at its end, with their
    subdomains if the format can say that. Where something must be last, such as the default of SwitchyOmega, they are
    added after the last line of the same kind. All domains are in canonical spelling; `name` is the file's name in the
    diff. For a list in base64, it is the diff of the decoded text."""
    if list_format == "autoproxy" and (filters := unpacked(text)) is not None:
        name, text = f"{name} (decoded from base64)", filters
    head = head_of_lines(text) if list_format == "clash" else ""
    lines = text.split("\n")
    is_ended = lines[-1] == ""
    if is_ended:
        lines.pop()
    part = lines_of_list(text) if list_format == "clash" else range(len(lines))
    unwritten: list[str] = []
    removed: list[int] = []
    for domain in sorted(remove):
        numbers = [number for number in _lines_naming(text, list_format, head, domain) if number in part]
        removed += numbers
        if not numbers:
            unwritten.append(domain)
    added: dict[str, str] = {}  # domain → line
    own_lines = lines[part.start : part.stop]
    template = _usual_template(own_lines, list_format, head) if add else None
    first = own_lines[:_TEMPLATES_TRIED] if add and template is None else []
    entries = (_single_entry(line, list_format, head) for line in first)
    is_of_addresses = any(entry is not None and entry.kind is EntryKind.PREFIX for entry in entries)
    for domain in add:
        line = domain if template is None else template.line.replace(template.domain, domain)
        if not is_of_addresses and _single_entry(line, list_format, head) == _entry(domain, list_format):
            added[domain] = line
        else:
            unwritten.append(domain)
    has_an_end = list_format in ("clash", "switchyomega")  # the last lines must stay last: a YAML key, the default
    last_alike = next(_templates(own_lines, list_format, head, backwards=True), None) if added and has_an_end else None
    at = min(part.stop, len(lines)) if last_alike is None else part.start + last_alike.number + 1
    if added and not _reads([*lines[:at], *added.values(), *lines[at:]], list_format, added):
        unwritten += added
        added = {}
    hunks = list(_hunks(lines, sorted(set(removed)), [*added.values()], at, is_ended=is_ended))
    header = [f"--- {name}", f"+++ {name}"] if hunks else []
    return ListDiff("".join(f"{line}\n" for line in (*header, *hunks)), tuple(unwritten))


def _hunks(
    lines: Sequence[str], removed: Sequence[int], added: Sequence[str], at: int, *, is_ended: bool
) -> Iterator[str]:
    """Yields the lines of hunks without context. `removed` are line numbers from 0 on; `added` come before line
    `at`."""
    edits: list[tuple[int, int, Sequence[str]]] = [(number, 1, ()) for number in removed]
    last = len(lines) - 1
    if added and at > last >= 0 and not is_ended:  # the last line has no newline, so it is written anew with one
        edits = [edit for edit in edits if edit[0] != last]
        edits.append((last, 1, added if last in removed else (lines[last], *added)))
    elif added:
        edits.append((at, 0, added))
    shift = 0
    for start, gone, come in sorted(edits, key=lambda edit: edit[:2]):
        old = f"{start + 1}" if gone else f"{start},0"
        begin = start + shift + bool(come)
        yield f"@@ -{old} +{begin}{f',{len(come)}' if len(come) != 1 else ''} @@"
        if gone:
            yield f"-{lines[start]}"
        if gone and start == last and not is_ended:
            yield _NO_NEWLINE
        yield from (f"+{line}" for line in come)
        shift += len(come) - gone


def _lines_naming(text: str, list_format: ListFormatName, head: str, domain: str) -> Iterator[int]:
    """Yields the numbers, from 0 on, of the lines that name exactly this domain and nothing else."""
    folded = text.lower() if not text.islower() else text
    at = folded.find(domain)
    while at >= 0:
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        entry = _single_entry(text[start:end], list_format, head)
        if entry is not None and entry.kind is EntryKind.DOMAIN and entry.text == domain:
            yield text.count("\n", 0, start)
        at = folded.find(domain, end)


def _entry(domain: str, list_format: ListFormatName) -> Entry:
    """Returns the entry that a new line must have."""
    return Entry(EntryKind.DOMAIN, domain, Covers.HOST if list_format == "hosts" else Covers.SITE)


class _Template(NamedTuple):
    """A model for new lines: a line that names one domain, with its subdomains if the format can say that."""

    number: int
    """The number of the line, from 0 on."""
    line: str
    domain: str
    """The domain as the line spells it."""


def _usual_template(lines: Sequence[str], list_format: ListFormatName, head: str) -> _Template | None:
    """Returns the first line of the most frequent kind; comments at the end of lines are ignored. None: there is no
    model."""
    alike: dict[str, list[_Template]] = {}
    for template in _templates(lines, list_format, head):
        line = _COMMENT.sub("", template.line)
        if line != template.line and _single_entry(line, list_format, head) == _entry(template.domain, list_format):
            template = template._replace(line=line)
        alike.setdefault(template.line.replace(template.domain, "\n"), []).append(template)
    return max(alike.values(), key=len)[0] if alike else None


def _templates(
    lines: Sequence[str], list_format: ListFormatName, head: str, *, backwards: bool = False
) -> Iterator[_Template]:
    numbers = range(len(lines))
    for number in (numbers[::-1] if backwards else numbers)[:_TEMPLATES_TRIED]:
        line = lines[number]
        entry = _single_entry(line, list_format, head)
        if entry is None or entry != _entry(entry.text, list_format) or line.count(entry.text) != 1:
            continue
        if list_format != "hosts" or leads_nowhere(line):
            yield _Template(number, line, entry.text)


def _reads(lines: Sequence[str], list_format: ListFormatName, domains: Collection[str]) -> bool:
    """Whether a list with these lines has the entries that new lines for `domains` must have."""
    read = _read("".join(f"{line}\n" for line in lines), list_format)
    if read is None:
        return False
    wanted = {_entry(domain, list_format) for domain in domains}
    return wanted == wanted.intersection(read.entries())


def _single_entry(line: str, list_format: ListFormatName, head: str) -> Entry | None:
    """Returns the entry of a line that, parsed alone after `head`, has exactly one and nothing that is skipped, an
    exception or widened; else None."""
    read = _read(f"{head}{line}\n", list_format)
    if read is None:
        return None
    entries = [entry for entry, _ in zip(read.entries(), range(2), strict=False)]
    if len(entries) != 1 or len(read.exceptions) or read.lines_skipped or read.lines_widened or read.included:
        return None
    return entries[0]


def _read(text: str, list_format: ListFormatName) -> DomainList | None:
    try:
        return parse_list(iter([text]), size=len(text), source="", format=list_format)
    except ConfigError:
        return None
