"""Finds every regular expression in the code, with how it is applied, by reading the syntax trees of all modules.

An expression is the first argument of a call of `re`. It is evaluated among the names of its module, so one that is
made of constants is found as it is used. One that is made of other values must be told in `MADE`, with examples: what
is neither is a `Finding` without a pattern, which fails the test.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
FUNCTIONS = frozenset(("match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split"))
HARMLESS = frozenset((
    "Match", "Pattern", "escape", "error", "PatternError", "RegexFlag", "purge",
    "ASCII", "A", "IGNORECASE", "I", "MULTILINE", "M", "DOTALL", "S", "VERBOSE", "X", "UNICODE", "U", "NOFLAG",
))  # fmt: skip


class Finding(NamedTuple):
    """One expression. `pattern` is None when it could not be told; `fault` says why."""

    place: str
    pattern: str | bytes | None
    flags: int
    methods: tuple[str, ...]
    """How it is applied: of FUNCTIONS, each once."""
    fault: str = ""


Made = Mapping[tuple[str, str], Sequence[tuple[str | bytes, int, *tuple[str, ...]]]]
"""By the name of the module and the source of the first argument: examples of the pattern with their flags, and how
each is applied, where the code does not show it."""


def find(root: Path = ROOT / "proxy", package: str = "proxy", made: Made | None = None) -> list[Finding]:
    """Returns the expressions of all modules of a package."""
    sources = {path: list(ast.walk(ast.parse(path.read_text(), str(path)))) for path in sorted(root.rglob("*.py"))}
    names = {path: _module(path, root, package) for path in sources}
    uses = _uses(sources, names)
    return [
        finding
        for path, nodes in sources.items()
        for finding in _of_module(nodes, names[path], str(path.relative_to(root.parent)), uses, made or {})
    ]


def _module(path: Path, root: Path, package: str) -> str:
    return ".".join((package, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def _uses(sources: Mapping[Path, Sequence[ast.AST]], names: Mapping[Path, str]) -> dict[tuple[str, str], set[str]]:
    """Returns which methods of each name of each module are called, or "any" where it is handed on."""
    uses: dict[tuple[str, str], set[str]] = {}
    for path, nodes in sources.items():
        imported = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in nodes
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        owners: dict[int, str] = {
            id(node.value): node.attr
            for node in nodes
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                owner = imported.get(node.id, (names[path], node.id))
                uses.setdefault(owner, set()).add(owners.get(id(node), "any"))
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                module = imported.get(node.value.id)
                if module is not None:  # module.NAME
                    uses.setdefault((f"{module[0]}.{module[1]}", node.attr), set()).add("any")
    return uses


def _of_module(
    nodes: Sequence[ast.AST], module: str, file: str, uses: Mapping[tuple[str, str], set[str]], made: Made
) -> Iterator[Finding]:
    calls = {id(node.func): node for node in nodes if isinstance(node, ast.Call)}
    names = {
        id(node.value): target.id
        for node in nodes
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    namespace: dict[str, Any] | None = None
    for node in nodes:
        place = f"{file}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from (Finding(place, None, 0, (), fault) for fault in _import_faults(node))
        if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re"):
            continue
        call = calls.get(id(node))
        if node.attr in HARMLESS:
            continue
        if call is None or node.attr not in FUNCTIONS | {"compile"}:
            yield Finding(place, None, 0, (), f"re.{node.attr} is not called here: nobody knows with what it will be")
            continue
        if node.attr == "compile":
            used = uses.get((module, names.get(id(call), "")), {"any"})
            known = used & FUNCTIONS and "any" not in used
            methods = tuple(sorted(used & FUNCTIONS)) if known else ("findall", "fullmatch")
        else:
            methods = (node.attr,)
        argument = ast.unparse(call.args[0])
        if (module, argument) in made:
            for pattern, flags, *how in made[module, argument]:
                yield Finding(place, pattern, flags, tuple(how) or methods)
            continue
        namespace = _namespace(module) if namespace is None else namespace
        position = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(node.attr, 2)
        given = [*call.args[position:], *(word.value for word in call.keywords if word.arg == "flags")]
        try:
            pattern = _value(call.args[0], namespace)
            flags = int(_value(given[0], namespace)) if given else 0
        except Exception as error:  # whatever an expression raises that is no constant
            yield Finding(place, None, 0, methods, f"{argument} is made of what is not known here ({error})")
            continue
        if not isinstance(pattern, (str, bytes)):
            yield Finding(place, None, 0, methods, f"{argument} is no pattern")
            continue
        yield Finding(place, pattern, flags, methods)


def _import_faults(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Yields what is wrong with an import: by another name, expressions would escape."""
    for alias in node.names:
        name = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
        if name.split(".")[0] in ("re", "regex", "sre_compile") and (name != "re" or alias.asname):
            yield f"import re as re: {ast.unparse(node)} hides expressions"


def _namespace(module: str) -> dict[str, Any]:
    try:
        return vars(importlib.import_module(module))
    except ImportError:  # mitmproxy is missing on Python 3.11: patterns that are literals need no module
        return {"re": importlib.import_module("re")}


def _value(node: ast.expr, namespace: Mapping[str, Any]) -> Any:
    code: CodeType = compile(ast.Expression(node), "<pattern>", "eval")
    return eval(code, dict(namespace))
