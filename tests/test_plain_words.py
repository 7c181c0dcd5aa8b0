"""Phrases that do not survive translation do not come back in text that people read: sentences, help, guides.

Docstrings are for engineers, but for those of commands, which are help. Identifiers are not text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "proxy").rglob("*.py"))
GUIDES = [
    ROOT / name for name in ("README.md", "CHANGELOG.md", "addons/README.md", "certs/README.md", "docs/glossary.md")
]

PHRASES = (
    "speaks of it", "was just broken off", "may be asked of no other", "holds nothing of the kind",
    "nothing is held", "something is held", "what is held", "all below it", "asked before any rule",
    "was held about", "is meant too", "not on this one alone", "is believed", "held to be", "or else",
    "went through", "hello, harmless", "hello with the name", "name, by ", "of yours gets around",
    "may as well be blocked", "and ask again", "the network is well", "see to the network", "whoever",
    "cutting the hello", "broken off as soon as", "answered with silence", "comes in its place",
    "lets hardly anything", "no relay gets through either", "somebody opens", "shall not read",
    "who comes this way", "somebody on this network", "by relays alone", "programs refuse our", "troubled alike",
    "is seen to work", "the echo of", "until this is mended", "is another now", "enclose nothing", "is no list of",
    "write down what is known", "mind who reads", "were gone over", "who trusts it trusts",
    "in the place of the old one", "an addon of yours: a small", "switch an addon on", "byway meant", "say more",
    "knows no relays of kind", "told in a terminal", "past the guard", "no route is left for it", "is asked last",
    "asked last for a while", "is read by others", "reads everything on it", "no relay is usable",
    "is said to be at", "nothing got through to it", "the plan says why", "so long before it begins",
    "else all there are", "passes uninspected", "does not come to its end", "an addon is only tried", "nobody",
    "so long as", "and is skipped for", "report hides nothing", "/` stands in",
)  # fmt: skip

ALLOWED = frozenset(
    {
        ("proxy/cli/addon_skeletons.py", "nobody"),  # the text of a block page in an example
    }
)


def _is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether its docstring is help: `_why`, too, which `add_to` makes a command."""
    names = {ast.unparse(it).partition("(")[0] for it in function.decorator_list}
    first = function.args.args[0] if function.args.args else None
    return bool(names & {"command", "default_command"}) or (
        first is not None and first.annotation is not None and ast.unparse(first.annotation) == "Invocation"
    )


def _docstrings(tree: ast.AST) -> set[int]:
    """Lines on which a docstring begins that only an engineer reads; a string below an assignment is one, too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_command(node):
            continue
        for statement in getattr(node, "body", ()) if not isinstance(node, ast.Lambda | ast.IfExp) else ():
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                found.add(statement.value.lineno)
    return found


def _texts(module: Path) -> Iterator[tuple[int, str]]:
    """The literals of a module that may be shown."""
    tree = ast.parse(module.read_text("utf-8"))
    hidden = _docstrings(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.lineno not in hidden:
            yield node.lineno, " ".join(node.value.split())


def _found(text: str) -> list[str]:
    lower = text.lower()
    return [phrase for phrase in PHRASES if re.search(rf"(?<!\w){re.escape(phrase)}", lower)]


@pytest.mark.parametrize("module", MODULES, ids=[str(module.relative_to(ROOT)) for module in MODULES])
def test_the_sentences_of_the_code(module: Path) -> None:
    name = str(module.relative_to(ROOT))
    found = [(line, phrase, text) for line, text in _texts(module) for phrase in _found(text)]
    assert [it for it in found if (name, it[1]) not in ALLOWED] == []


@pytest.mark.parametrize("guide", GUIDES, ids=[str(guide.relative_to(ROOT)) for guide in GUIDES])
def test_the_guides(guide: Path) -> None:
    lines = guide.read_text("utf-8").splitlines()
    assert [(number, _found(line)) for number, line in enumerate(lines, 1) if _found(line)] == []


def test_a_phrase_is_found_where_it_is_shown(tmp_path: Path) -> None:
    """The control."""
    module = tmp_path / "bad.py"
    module.write_text(
        '"""Nobody."""\n\n\ndef show(call: Invocation) -> None:\n    """Say more."""\n'
        '    print(f"{x} is held to be y")\n'
    )
    assert [phrase for _, text in _texts(module) for phrase in _found(text)] == ["say more", "held to be"]
