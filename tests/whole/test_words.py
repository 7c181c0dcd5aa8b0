"""What people read is written in plain words: no phrase that was replaced comes back.

Looked at are the string literals of the program and the shipped addons, the docstrings that are shown as help, and the
pages in Markdown. A literal without a space is an identifier (a key, a setting, a signal) and is left alone, as are
docstrings for developers.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

REPLACED = (
    "no rule speaks of it",
    "was just broken off",
    "names that may be asked of no other",
    "holds nothing of the kind",
    "nothing is held about",
    "nothing was held about",
    "of which something is held",
    "what is held about",
    "and all below it; it is asked",
    "all below it is meant",
    "not on this one alone",
    "say what is wrong, why that is believed",
    "held to be",
    "or else",
    "harmless name",
    "hello with the name",
    "name, by the system",
    "name, by DoH",
    "no relay of yours",
    "gets around looks the same",
    "may as well be blocked",
    "only a relay that reaches it would tell",
    "wait, and ask again",
    "the network is well",
    "see to the network",
    "cutting the hello",
    "whoever filters",
    "broken off as soon as",
    "answered with silence",
    "somebody else's certificate",
    "lets hardly anything through",
    "gets through either",
    "opens and re-signs",
    "shall not read",
    "refuses who comes",
    "reads what is sent",
    "go by relays alone",
    "goes by relays alone",
    "programs refuse our certificate",
    "are troubled alike",
    "once another site is seen to work",
    "the echo of another name",
    "stays as it was until this is mended",
    "the network is another now",
    "enclose nothing",
    "is no list of block pages",
    "without what may harm you",
    "hides nothing",
    "mind who reads it",
    "would change, and what",
    "were gone over",
    "who asked, and what plain HTTP",
    "who trusts it trusts",
    "in the place of the old one",
    "begin an addon of yours",
    "when it fits",
    "of the byway meant",
    "say more; twice",
    "is skipped for a name",
    "byway knows no relays of kind",
    "is told in a terminal",
    "past the guard",
    "no route is left",
    "what the plan goes by",
    "is asked last",
    "are asked last",
    "direct is read by others",
    "reads everything on it",
    "no relay is usable",
    "is said to be at",
    "nothing got through to it",
    "it is refused here",
    "waits up to so long",
    "passes uninspected so long",
    "nothing in it may have worked",
    "does not come to its end",
    "nothing leaves a process",
    "else all there are",
    "is believed",
    "all below it",
    "is seen to work",
    "comes in its place",
    "so long as",
    "is read by others",
    "asked before any rule",
    "the plan says why",
    "an addon is only tried",
)
"""Each stood in a text that people read, and is not to stand in one again."""

UNTRANSLATABLE = (
    r"whoever", r"whom", r"nobody", r"somebody", r"of yours", r"speaks? of", r"so long", r"or else", r"asked last",
    r"is told", r"rungs?", r"flights?", r"beliefs?", r"soundings?", r"uplinks?", r"hello",
)  # fmt: skip
"""Words that do not survive a translation, or that are the program's own."""

_BANNED = re.compile("|".join((*map(re.escape, REPLACED), rf"\b(?:{'|'.join(UNTRANSLATABLE)})\b")), re.IGNORECASE)
_FIELD = re.compile(r"\{\w*\}")  # of a template: its name is not shown
_SQL = re.compile(r"\s*(ALTER|CREATE|DELETE|FROM|INSERT|SELECT|UPDATE)\b")
_PAGES = ("*.md", "addons/*.md", "certs/*.md", "docs/**/*.md")
_DEVELOPERS = frozenset({"CONTRIBUTING.md", "docs/architecture.md", "docs/detection.md", "docs/glossary.md"})


def banned(text: str) -> list[str]:
    """The phrases in `text` that may not stand there."""
    return [found[0] for found in _BANNED.finditer(re.sub(r"\s+", " ", _FIELD.sub("", text)))]


def texts(source: str, *, help_too: bool) -> Iterator[tuple[int, str]]:
    """Line and text of the literals of a module that may reach people; `help_too`: docstrings are shown as help."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, documented):
            shown = help_too and isinstance(node, ast.FunctionDef) and _is_command(node)
            docstrings.update(id(part.value) for part in node.body if isinstance(part, ast.Expr) and not shown)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if " " in node.value.strip() and not _SQL.match(node.value):
            yield node.lineno, node.value


def _is_command(node: ast.FunctionDef) -> bool:
    """Whether typer shows its docstring: a command's first parameter is the invocation."""
    return bool(node.args.args) and node.args.args[0].arg == "call"


@pytest.mark.parametrize("folder", ["proxy", "addons"])
def test_no_replaced_phrase_is_in_a_text_of_the_program(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {', '.join(phrases)}: {text[:100]!r}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in texts(path.read_text(), help_too="cli" in path.parts)
        if (phrases := banned(text))
    ]
    assert not found, "\n".join(found)


def test_no_replaced_phrase_is_on_a_page() -> None:
    found = []
    for path in sorted({path for pattern in _PAGES for path in ROOT.glob(pattern)}):
        name = str(path.relative_to(ROOT))
        if name not in _DEVELOPERS:
            found += [f"{name}: {phrase}" for phrase in banned(path.read_text())]
    assert not found, "\n".join(found)


def test_a_phrase_is_found_where_people_read_it_and_nowhere_else() -> None:
    shown = 'def run(call):\n    """See to the network first."""\n    print(f"{1} is told so long")\n'
    assert [banned(text) for _, text in texts(shown, help_too=True)] == [["See to the network"], ["is told", "so long"]]
    assert [banned(text) for _, text in texts(shown, help_too=False)] == [["is told", "so long"]]
    assert [banned(text) for _, text in texts('"""Nobody."""\nkey = "flight"\n', help_too=True)] == []
    assert banned("it may as well\n  be blocked") == ["may as well be blocked"]
