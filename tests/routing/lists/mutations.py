"""Lines of lists with something wrong in them: whatever stands in a list, it is read, skipped or refused by a sentence.

    python -m tests.routing.lists.mutations [--lines 100000] [--seed 1] [--format NAME]

Made-up lists of each format are damaged line by line, some as base64 too, and read as the format that they were and as
the one that their text is taken for: in pieces, and each line by the parser of lines, which must come to the same. What
is raised then, but for ConfigError, is a crash, and ends this.
"""

from __future__ import annotations

import argparse
import base64
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise

import pytest

from proxy.config.schema import ListFormatName
from proxy.model.errors import ConfigError
from proxy.routing.lists import adblock, autoproxy, clash, dnsmasq, hosts, plain, v2fly
from proxy.routing.lists.domain_list import SKIPPED_SHOWN, DomainList
from proxy.routing.lists.formats import FORMATS, parse_list
from proxy.routing.lists.lines import READ_LIMIT, BulkLines, numbered
from proxy.wire import hostnames
from tests.routing.lists.judges import adblocker, pac, rule_providers, sing_box

LINES = 40
"""Of a list that is damaged: few, so that a line that refuses a whole list keeps few others from being read."""

_PIECES = (
    "", " ", "\t", "\r", "\0", "\x1b", "\x85", "\u2028", "\ufeff", "é", "ß", "İ", "\ud7ff", "😀", "．", "。", "*",
    "**", ".", "..", "|", "||", "^", "@", "@@", "!", "!#if", "#", "##", "//", "/*", "*/", "$", "$third-party,",
    "\\", "\\u0000", "\\ud800", '"', "'", "`", "{", "}", "[", "]", "(", ")", ":", "::", ",", ";", "+", "-",
    "=", "&", "?", "%", "%00", "/", "0", "1.2.3.4", "/33", "0x7f.1", "xn--", "xn--a", "a" * 70, "a." * 130,
    "b" * 3000, "include:", "full:", "+.", "- ", "payload:", "return", "if (", "function ", "null", "-1e9",
    "999999999999999999999",
)  # fmt: skip
_V2FLY = (
    "# comment\nsite.example\nfull:www.site.example @ads\nkeyword:word @cn\nregexp:^a$\ninclude:other @cn @-ads\n"
    "domain:a.b.example &x # y\ninclude:main\n"
)
_SWITCHY = (
    "[SwitchyOmega Conditions]\n@with result\n!*.a.example\n*.b.example +proxy\n*.c.example +direct\n"
    "H: d|e.example +x\nU: *://f.example/* +x\nHR: ^g +x\nLv: 1~2 +x\nIp: 192.0.2.0/24 +x\nB: [::1]:80 +x\n"
    "[AutoProxy]\n||h.example\n; RuleList: AutoProxy\n@@||i.example\n* +direct\n#BEGIN\n[Wildcard]\n@*://j.example/*\n#END\n"
)
_SIMPLE: Mapping[ListFormatName, str] = {
    "v2fly": _V2FLY,
    "switchyomega": _SWITCHY,
    "hosts": "0.0.0.0 a.example b.example # c\n::1 d.example\n127.0.0.1 localhost\n",
    "dnsmasq": "server=/a.example/b.example/192.0.2.1\naddress=/c.example/\nbogus-nxdomain=192.0.2.1\nlocal=/d/\n",
    "plain": "a.example\n*.b.example # c\n192.0.2.0/24\n192.0.2.7/24\n192.0.2.7\n2001:db8::/32\n2001:db8::/31\n! d\n",
}


def samples(seed: int) -> dict[ListFormatName, list[str]]:
    """Returns lists of each format, the same for a seed."""
    made: dict[ListFormatName, list[str]] = {name: [text] for name, text in _SIMPLE.items()}
    made["autoproxy"] = [adblocker.made_filters("autoproxy", lines=LINES, seed=seed)]
    made["adblock"] = [adblocker.made_filters("adblock", lines=LINES, seed=seed)]
    made["sing-box"] = [sing_box.made_rule_set(lines=LINES, seed=seed)]
    made["pac"] = [pac.made_script(kind, lines=LINES, seed=seed) for kind in pac.KINDS]
    made["clash"] = [
        rule_providers.rule_provider("classical", "yaml", lines=LINES, seed=seed),
        rule_providers.rule_provider("domain", "text", lines=LINES, seed=seed),
        rule_providers.rule_provider("ipcidr", "yaml", lines=LINES, seed=seed),
    ]
    return made


def damaged(line: str, chance: random.Random) -> str:
    """Returns a line with one to three things wrong."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(len(line) + 1)
        end = min(len(line), at + chance.choice((0, 0, 1, 1, 2, 10)))
        line = line[:at] + chance.choice((*_PIECES, line[end:], line[:at])) + line[end:]
    return line[:20_000]


def read_damaged(
    lines: int, *, seed: int, formats: Sequence[ListFormatName] = (), said: Callable[[str], object]
) -> int:
    """Damages about so many lines, reads them, and returns how many lists were refused. `said` gets a word on each
    format."""
    chosen = formats or tuple(FORMATS)
    refused = 0
    for name in chosen:
        chance = random.Random(f"{name} {seed}")
        count = 0
        while count < lines // len(chosen):
            for text in samples(chance.randrange(1000))[name]:
                kept = text.split("\n")
                places = chance.sample(range(len(kept)), max(1, len(kept) // chance.choice((2, 10, 40))))
                for place in places:
                    kept[place] = damaged(kept[place], chance)
                count += len(places)
                whole = "\n".join(kept)
                if name == "autoproxy" and chance.random() < 0.3:
                    whole = base64.encodebytes(whole.encode(errors="replace")).decode()
                    whole = damaged(whole, chance) if chance.random() < 0.5 else whole
                refused += sum(not _is_read(whole, form, chance) for form in (name, "auto"))
        said(f"{name}: {count:,} damaged lines")
    return refused


def _is_read(text: str, form: ListFormatName, chance: random.Random) -> bool:
    """Whether a list is not refused. It comes in up to four pieces."""
    cuts = sorted({0, len(text), *(text.find("\n", chance.randrange(len(text) + 1)) + 1 for _ in range(3))})

    def read() -> DomainList | str:
        try:
            return parse_list(
                (text[start:end] for start, end in pairwise(cuts)),
                size=len(text),
                source="l",
                format=form,
                siblings=lambda name: (name, iter([text])) if name != "missing" else None,
            )
        except ConfigError as error:
            if error.__cause__ is not None:  # a fault of the reader, which `parse_list` made a sentence of
                raise error.__cause__ from None
            return str(error)

    found = read()
    with pytest.MonkeyPatch.context() as patch:
        for module in (adblock, autoproxy, clash, dnsmasq, hosts, plain, v2fly):
            patch.setattr(module, "parse_lines", _parse_each_line)
        assert _told(read()) == _told(found)
    if isinstance(found, str):
        assert found.isprintable(), found
        return False
    for host in ("a.example", "192.0.2.1", "2001:db8::1", "www.site1.example"):
        found.covering(host)
    assert found.problem.isprintable()
    assert all(sentence.isprintable() for sentence in (*found.skipped, *found.widened, *found.suffixes))
    assert len(found.skipped) == min(found.lines_skipped, SKIPPED_SHOWN)
    assert sum(1 for _ in found.entries()) == len(found.listed)
    for matcher in (found.listed, found.exceptions):
        for domain, _ in matcher.domains.entries():
            assert hostnames.host(domain) == domain
    return True


def _parse_each_line(
    pieces: Iterator[str],
    kinds: Sequence[BulkLines],
    parse_line: Callable[[int, str], None],
    *,
    limit: int = READ_LIMIT,
) -> None:
    """`parse_lines` without its short ways."""
    for number, line in numbered(pieces, limit=limit):
        parse_line(number, line)


def _told(found: DomainList | str) -> object:
    """All that is known of a list: what it names, and how it was read."""
    if isinstance(found, str):
        return found
    entries = [list(matcher.entries()) for matcher in (found.listed, found.exceptions)]
    return (
        entries, found.lines_read, found.skips, found.skipped, found.suffixes, found.lines_widened, found.widened,
        found.included, found.format,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Reads damaged lists")
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--format", choices=tuple(FORMATS), action="append", default=[])
    asked = parser.parse_args()
    refused = read_damaged(asked.lines, seed=asked.seed, formats=asked.format, said=print)
    print(f"No crash. {refused:,} lists were refused as a whole, by a sentence.")


if __name__ == "__main__":
    main()
