"""Changes to a list as a diff of its own text, to be sent to those who publish it.

Nothing is written that was not read back: a line goes only when it, read alone, names exactly the entry; a line comes
only when it is an existing one with another domain in it, and names exactly that. So the diff is in the format of the
list, whatever that is, as long as it has an entry a line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.formats import parse_list
from proxy.routing.lists.matcher import Entry, EntryKind

_TEMPLATES_TRIED = 2000
"""Lines that are tried as the model of a new one."""

_NO_NEWLINE = "\\ No newline at end of file"


@frozen_dataclass
class ListDiff:
    """A diff that `patch` takes, empty when nothing changes; and what it leaves out."""

    text: str
    unwritten: tuple[str, ...] = ()
    """Entries that the list does not have on a line of their own, and domains for which it has no model."""


def write_diff(
    name: str, text: str, list_format: ListFormatName, *, remove: Collection[str], add: Sequence[str]
) -> ListDiff:
    """Returns the diff that takes the domains `remove` from a list and adds the domains `add` at its end. All are in
    canonical spelling; `name` is how the diff calls the file."""
    lines = text.split("\n")
    is_ended = lines[-1] == ""
    if is_ended:
        lines.pop()
    unwritten: list[str] = []
    removed: list[int] = []
    for domain in sorted(remove):
        found = list(_lines_naming(text, list_format, domain))
        removed += found
        if not found:
            unwritten.append(domain)
    added: list[str] = []
    template = next(_templates(lines, list_format), None) if add else None
    for domain in add:
        line = domain if template is None else template[0].replace(template[1], domain)
        if _single_entry(line, list_format) == Entry(EntryKind.DOMAIN, domain, Covers.SITE):
            added.append(line)
        else:
            unwritten.append(domain)
    hunks = list(_hunks(lines, sorted(set(removed)), added, is_ended=is_ended))
    header = [f"--- {name}", f"+++ {name}"] if hunks else []
    return ListDiff("".join(f"{line}\n" for line in (*header, *hunks)), tuple(unwritten))


def _hunks(lines: Sequence[str], removed: Sequence[int], added: Sequence[str], *, is_ended: bool) -> Iterator[str]:
    """Hunks without context lines. `removed` are numbers of lines from 0 on."""
    last = len(lines) - 1
    for gone, number in enumerate(removed):
        if number == last and not is_ended:
            continue  # it is a part of the last hunk
        yield f"@@ -{number + 1} +{number - gone},0 @@"
        yield f"-{lines[number]}"
    rewritten = lines and not is_ended and (bool(added) or last in removed)
    if rewritten:  # the last line has no end: what follows it begins by ending it
        kept = [lines[last]] if last not in removed else []
        before = len(removed) - (last in removed)
        new = [*kept, *added]
        start = last + 1 - before if new else last - before
        yield f"@@ -{last + 1} +{start}{f',{len(new)}' if len(new) != 1 else ''} @@"
        yield f"-{lines[last]}"
        yield _NO_NEWLINE
        yield from (f"+{line}" for line in new)
    elif added:
        yield f"@@ -{len(lines)},0 +{len(lines) - len(removed) + 1},{len(added)} @@"
        yield from (f"+{line}" for line in added)


def _lines_naming(text: str, list_format: ListFormatName, domain: str) -> Iterator[int]:
    """The numbers, from 0 on, of the lines that name exactly this domain and nothing else."""
    folded = text.lower() if not text.islower() else text
    at = folded.find(domain)
    while at >= 0:
        start = text.rfind("\n", 0, at) + 1
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        entry = _single_entry(text[start:end], list_format)
        if entry is not None and entry.kind is EntryKind.DOMAIN and entry.text == domain:
            yield text.count("\n", 0, start)
        at = folded.find(domain, end)


def _templates(lines: Sequence[str], list_format: ListFormatName) -> Iterator[tuple[str, str]]:
    """Yields lines that name one domain with its subdomains, and how they spell it: models of new lines."""
    for line in lines[:_TEMPLATES_TRIED]:
        entry = _single_entry(line, list_format)
        if entry is not None and entry[::2] == (EntryKind.DOMAIN, Covers.SITE) and line.count(entry.text) == 1:
            yield line, entry.text


def _single_entry(line: str, list_format: ListFormatName) -> Entry | None:
    """The entry of a line that, read alone, has just one and nothing that is skipped, excepted or read more widely."""
    try:
        read = parse_list(iter([f"{line}\n"]), size=len(line) + 1, source="", format=list_format)
    except ConfigError:
        return None
    entries = [entry for entry, _ in zip(read.entries(), range(2), strict=False)]
    if len(entries) != 1 or len(read.exceptions) or read.lines_skipped or read.lines_widened or read.included:
        return None
    return entries[0]
