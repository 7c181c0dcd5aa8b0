"""No text takes a regular expression for ever: each one in the code is tried with what it takes longest for."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.routing.lists import clash, plain, public_suffixes
from proxy.routing.lists.list_builder import ListBuilder
from proxy.wire import hostnames, relay_url
from tests.regular_expressions.found import ROOT, Finding, Made, find
from tests.support.rows import each_row

pytestmark = pytest.mark.slow


def _compiled(*expressions: object) -> list[tuple[str | bytes, int]]:
    return [(each.pattern, each.flags) for each in expressions]  # type: ignore[attr-defined]


def _of_clash() -> list[re.Pattern[str]]:
    """What the reader of Clash's lists compiles for YAML, and for text."""
    found: list[re.Pattern[str]] = []
    made = clash._lines_of

    def lines_of(entry: str, *, is_yaml: bool) -> re.Pattern[str]:
        found.append(made(entry, is_yaml=is_yaml))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clash, "_lines_of", lines_of)
        for text in ("payload:\n  - DOMAIN,a.example\n", "DOMAIN,a.example\n"):
            clash.parse_clash(iter([text]), ListBuilder("l"))
    return found


MADE: Made = {
    # Of the paths of our own pages: one run of characters for each name in braces.
    ("proxy.control.dashboard.routes", r"re.sub('\\\\\\{(\\w+)\\\\\\}', '(?P<\\1>[^/]+)', re.escape(route.path))"): [
        (r"/site/(?P<host>[^/]+)/of/(?P<network>[^/]+)", 0)
    ],
    # Of names of relays, lists, groups and networks: plain text, each as a whole.
    (
        "proxy.features.sites.report_redact",
        r"'|'.join((f'(?<![\\w.-]){re.escape(each)}(?![\\w-])' for each in longest))",
    ): [(r"(?<![\w.-])office(?![\w-])|(?<![\w.-])of\-fice\.2(?![\w-])", 0)],
    # A word for a day in the language of the reader, between words.
    ("proxy.languages.time_words", r"f'(?<!\\w){re.escape(name)}(?=$|[\\s-]|t\\d)'"): [
        (r"(?<!\w)the\ day\ before(?=$|[\s-]|t\d)", 0)
    ],
    # Plain text and single dots: `_PIECE` lets nothing else in.
    ("proxy.detect.pages.block_pages", "run"): [(r"a..a\.\*", 0), ("." * 50, 0)],
    ("proxy.net.uplink.network_id", r"f'^[ \\t]*+{name}: (\\S++)[ \\t\\r]*+$'"): [
        (r"^[ \t]*+interface: (\S++)[ \t\r]*+$", 8)
    ],
    ("proxy.net.uplink.network_id", r"f'^[ \\t]*+{re.escape(gateway)}[ \\t]++([0-9a-f-]{{17}})\\s'"): [
        (r"^[ \t]*+192\.0\.2\.1[ \t]++([0-9a-f-]{17})\s", 8)
    ],
    (
        "proxy.routing.lists.clash",
        r"f'^[\\x20\\t]*+(?:{entry}[\\x20\\t]*+(?:(?<=[\\x20\\t]){comment})?|(?:{comment})?)\\r?$'",
    ): _compiled(*_of_clash()),
    (
        "proxy.routing.lists.plain",
        r"f'^[\\x20\\t]*(?:{entry}(?:[\\x20\\t]+(?:{comment})?)?|(?:{comment}|![\\x20-\\x7e\\t]*)?)\\r?$'",
    ): _compiled(plain._DOMAINS, plain._IPV4, plain._IPV6),
    # Of the public suffix list, which is installed.
    ("proxy.routing.lists.public_suffixes", r"f'\\.(?:{last_labels})$(?:{behind})'"): _compiled(
        public_suffixes._icann().some_child
    ),
    # Of patterns that the user wrote in `[log] never`; `fnmatch` makes atomic groups of stars.
    ("proxy.store.privacy", "'|'.join(map(fnmatch.translate, patterns))"): [
        (r"(?s:(?>.*?a)(?>.*?b)(?>.*?c).*)\Z|(?s:x\.example)\Z", 0, "match")
    ],
    ("proxy.wire.hostnames", "expression"): _compiled(*hostnames._NO_DOMAIN),
    ("proxy.wire.relay_url", r"""f'\\b({others})://(?=[^\\s\\"<>)])(?!{_SHOWN_KEY})[^\\s\\"<>]*'"""): _compiled(
        relay_url._secrets()[0][0]
    ),
}
"""What is compiled from values, by module and argument: why it is linear, and examples, which are tried."""


def _too_slow(findings: Sequence[Finding]) -> list[str]:
    jobs = [
        [it.place, {"bytes": it.pattern.decode("latin-1")} if isinstance(it.pattern, bytes) else it.pattern,
         it.flags, it.methods]
        for it in findings
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.regular_expressions.work"],
        input="\n".join(map(json.dumps, jobs)), capture_output=True, text=True, cwd=ROOT, check=True, timeout=1200,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(jobs), done.stderr
    return [f"{place}: {pattern} {told}" for place, pattern, told in rows if told]


@pytest.fixture(scope="module")
def findings() -> Sequence[Finding]:
    return find(made=MADE)


def test_the_check_sees_every_expression(findings: Sequence[Finding]) -> None:
    """A pattern that is no literal is told in MADE, with the reason why it is linear."""
    assert [f"{it.place}: {it.fault}" for it in findings if it.fault] == []
    assert len(findings) > 200
    rooms = {Path(it.place).parts[1] for it in findings}
    assert {"wire", "routing", "detect", "config", "control", "net"} <= rooms


def test_time_grows_no_faster_than_the_text(findings: Sequence[Finding]) -> None:
    different = {(it.pattern, it.flags, it.methods): it for it in findings if it.pattern is not None}
    assert _too_slow([*different.values()]) == []


@each_row(
    ("pattern", "method"),
    [
        (r"(?:\s|/\*.*?\*/)*var", "match"),  # exponential: a list of 161 bytes
        (r"(?:a|a)*b", "fullmatch"),
        (r"charset[ \t]*=[ \t]*[\"']?[ \t]*([A-Za-z0-9]{1,40})", "search"),  # cubic, of one kind of blanks
        (r"[ \t]*\r\n[ \t]+", "sub"),  # quadratic: begins at each blank
        (r"([^\s/\"]+\.[^\s/\"]+)(?:/[^\s\"]*)?", "fullmatch"),
        (r"(?:^|[\s{,])-?\s*type\s*:", "search"),  # `re` lets no signal interrupt this one
        (rb"[^\n]*\r?\n[ \t]*Host", "search"),
    ],
)
def test_a_slow_one_is_found(pattern: str | bytes, method: str) -> None:
    """The control, with what was in the code; each is stopped."""
    assert len(_too_slow([Finding("planted", pattern, 0, (method,))])) == 1


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import re\nA = re.compile(r'x+y')\ndef f(t):\n    return A.sub('', t)", ("x+y", ("sub",))),
        ("import re\nX = 'x+'\nA = re.compile(f'{X}y', re.M)\nB = [A]", ("x+y", ("findall", "fullmatch"))),
        ("import re\ndef f(t):\n    return re.search(b'z*', t)", (b"z*", ("search",))),
    ],
)
def test_an_expression_is_found_with_how_it_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, found: tuple[object, ...]
) -> None:
    assert [(it.pattern, it.methods) for it in _found_in(source, tmp_path, monkeypatch)] == [found]


@pytest.mark.parametrize(
    "source",
    [
        "import re\ndef f(p, t):\n    return re.match(p, t)",
        "from re import compile",
        "import re as r",
        "import re\nA = list(map(re.compile, ['a*']))",
        "import re\nA = re.Scanner([])",
    ],
)
def test_what_would_escape_the_check_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    assert any(it.fault for it in _found_in(source, tmp_path, monkeypatch))


def _found_in(source: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    name = f"planted_{abs(hash(source))}"
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(source)
    monkeypatch.syspath_prepend(folder)
    return find(folder / name, name)
