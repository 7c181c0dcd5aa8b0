"""How an addon is loaded, and what is said of one that cannot be: always with its line."""

from __future__ import annotations

import gc
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.extend.loading.addon import Addon
from proxy.extend.loading.loader import FILE_LIMIT, load
from proxy.model.errors import ConfigError

PIN = """
    class Pin:
        def plan(self, request, plan):
            return plan.via("tor")

    addons = [Pin()]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "addons").mkdir(mode=0o700)
    return tmp_path / "addons"


def write(folder: Path, name: str, text: str = PIN) -> Path:
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(text.removeprefix("\n") if text.startswith("\n ") else text))
    file.chmod(0o600)
    return file


def loaded(folder: Path, text: str, table: Mapping[str, Any] | None = None, **more: Any) -> Addon:
    return load(write(folder, "pin", text), "pin", table or {}, **more)


def problems(folder: Path, text: str, table: Mapping[str, Any] | None = None, **more: Any) -> list[str]:
    """What is wrong, without the folder."""
    before = set(sys.modules)
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, table, **more)
    assert not [name for name in set(sys.modules) - before if name.startswith("byway addon")]
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_objects_and_their_hooks_are_found(folder: Path) -> None:
    addon = loaded(
        folder,
        """
        class First:
            def plan(self, request, plan):
                return "first"

        class Second:
            async def plan(self, request, plan, extra=1):
                return "second"

            def outcome(self, _outcome):
                pass

        addons = [First(), Second()]
        """,
    )
    assert {name: len(functions) for name, functions in addon.hooks.items()} == {"plan": 2, "outcome": 1}
    assert [type(thing).__name__ for thing in addon.objects] == ["First", "Second"]
    assert addon.hooks["plan"][0](None, None) == "first"
    assert addon.options is None


def test_a_plain_module_is_an_addon(folder: Path) -> None:
    addon = loaded(folder, "def admit(request):\n    return 'no'\n")
    assert addon.hooks["admit"][0](None) == "no"
    assert addon.objects == (addon.module,)


def test_an_addon_of_mitmproxys_is_left_alone(folder: Path) -> None:
    addon = loaded(
        folder,
        """
        import signal  # a module is no hook

        class Counter:
            count = 0

            def request(self, flow): ...
            def response(self, flow): ...
            def load(self, loader): ...
            def tls_clienthello(self, data): ...
            def done(self): ...

        addons = [Counter()]
        """,
    )
    assert addon.hooks == {}
    assert len(addon.objects) == 1


def test_what_was_imported_is_somebody_elses(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "library_of_a_test.py").write_text("def plann(request, plan): ...\nclass Options: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    addon = loaded(folder, "from library_of_a_test import Options, plann\n")
    assert (addon.hooks, addon.options) == ({}, None)


def test_dataclasses_work_with_annotations_as_text(folder: Path) -> None:
    addon = loaded(
        folder,
        """
        from __future__ import annotations
        from dataclasses import dataclass, field
        from typing import ClassVar

        @dataclass
        class Pin:
            hosts: list[str] = field(default_factory=list)
            kind: ClassVar[str] = "pin"

            def plan(self, request, plan): ...

        addons = [Pin()]
        """,
    )
    assert "plan" in addon.hooks


def test_it_stands_where_nothing_can_import_it(folder: Path) -> None:
    before = list(sys.path)
    addon = loaded(folder, PIN)
    assert sys.path == before
    assert "pin" not in sys.modules
    assert sys.modules[addon.module.__name__] is addon.module
    other = loaded(folder, PIN)
    assert other.module is not addon.module
    addon.forget()
    assert addon.module.__name__ not in sys.modules
    assert other.module.__name__ in sys.modules
    other.forget()


def test_a_forgotten_one_leaves_nothing_behind(folder: Path) -> None:
    class_name = "class Pin_of_this_test:\n    def plan(self, request, plan): ...\naddons = [Pin_of_this_test()]\n"
    loaded(folder, class_name).forget()
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing).__name__ == "Pin_of_this_test"]


def test_one_cannot_import_another(folder: Path) -> None:
    write(folder, "helper", "x = 1\n")
    (problem,) = problems(folder, "import helper\n")
    assert problem.startswith("pin.py:1: cannot be imported: No module named 'helper'; an addon is a single file and ")


def test_an_edit_is_another_version(folder: Path) -> None:
    first, again = loaded(folder, PIN), loaded(folder, PIN)
    edited = loaded(folder, PIN.replace("tor", "vps"))
    assert first.version == again.version != edited.version


FAULTY = {
    "syntax": ("x = 1\ndef plan(request plan):\n", "pin.py:2: not valid Python: invalid syntax"),
    "nul in a literal": ("x = 1\nx = (\n", "pin.py:2: not valid Python: '(' was never closed"),
    "import": (
        "\nimport no_such_thing\n",
        "pin.py:2: cannot be imported: No module named 'no_such_thing'",
    ),
    "exception": ("x = {}\n\nx['y']\n", "pin.py:3: KeyError: 'y'"),
    "in a function": ("def f():\n    1 / 0\nf()\n", "pin.py:2: ZeroDivisionError: division by zero"),
    "far away": ("import json\njson.loads('{')\n", "pin.py:2: JSONDecodeError: Expecting property name"),
    "exit": ("import sys\nsys.exit(3)\n", "pin.py:2: SystemExit: 3"),
    "interrupt": ("raise KeyboardInterrupt\n", "pin.py:1: KeyboardInterrupt"),
    "speechless": (
        "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd\n",
        "pin.py:4: Odd",
    ),
    "misspelt": (
        "class A:\n    def plann(self, request, plan): ...\naddons = [A()]\n",
        "pin.py:2: plann is not a hook; did you mean plan? (If it is your own function, rename it to _plann)",
    ),
    "misspelt in a module": ("\ndef outcom(outcome): ...\n", "pin.py:2: outcom is not a hook; did you mean outcome?"),
    "one letter of no parameters": (
        "class A:\n    def stopp(self): ...\naddons = [A()]\n",
        "pin.py:2: stopp is not a hook; did you mean stop?",
    ),
    "too few parameters": (
        "class A:\n    def plan(self, request): ...\naddons = [A()]\n",
        "pin.py:2: plan has the wrong parameters; write `def plan(self, request, plan)`",
    ),
    "in another order": (
        "def plan(plan, request): ...\n",
        "pin.py:1: plan has the wrong parameters; write `def plan(request, plan)`",
    ),
    "keyword only": (
        "def admit(request, *, why): ...\n",
        "pin.py:1: admit has the wrong parameters; write `def admit(request)`",
    ),
    "async signal": (
        "async def signal(request, signal): ...\n",
        "pin.py:1: signal must not be async: signals are learned immediately",
    ),
    "async classify": (
        "async def classify(head, body): ...\n",
        "pin.py:1: classify must not be async: the client waits for it",
    ),
    "yield": ("def plan(request, plan):\n    yield 1\n", "pin.py:1: plan must return its answer, and not yield it"),
    "no list": ("x = 1\naddons = 3\n", "pin.py:2: addons must be a list of objects, as in `addons = [Pin()]`"),
    "a class": ("class A: ...\naddons = [A]\n", "pin.py:2: A in addons is a class; write `A()`"),
    "a wild property": (
        "import functools\nclass A:\n    @functools.cached_property\n    def name(self):\n        return self.x\n"
        "addons = [A()]\n",
        "pin.py:5: AttributeError: 'A' object has no attribute 'x'",
    ),
    "options without dataclass": (
        "\nclass Options:\n    relay: str = ''\n",
        "pin.py:2: Options must be a dataclass: write @dataclass above it",
    ),
    "options of a type that is none": (
        "from __future__ import annotations\nimport dataclasses as d\n@d.dataclass\nclass Options:\n    x: Nope = 1\n",
        "pin.py:4: Options cannot be used: name 'Nope' is not defined",
    ),
}


@pytest.mark.parametrize(("text", "expected"), FAULTY.values(), ids=FAULTY)
def test_what_is_wrong_is_said_with_its_line(folder: Path, text: str, expected: str) -> None:
    (problem,) = problems(folder, text)
    assert problem.startswith(expected)


def test_all_hooks_that_do_not_fit_are_named(folder: Path) -> None:
    text = "def plan(plan): ...\ndef admit(): ...\ndef attemt(request, attempt): ...\n"
    assert [problem[:9] for problem in problems(folder, text)] == ["pin.py:2:", "pin.py:3:", "pin.py:1:"]


def test_properties_and_slots_are_left_for_when_they_have_something(folder: Path) -> None:
    text = """
    class A:
        __slots__ = ("api",)

        @property
        def options(self):
            return self.api.options

        def start(self, api):
            self.api = api

    addons = [A()]
    """
    assert list(loaded(folder, text).hooks) == ["start"]


def test_names_of_its_own_are_its_own(folder: Path) -> None:
    text = "def plant(seed): ...\ndef step(self_made): ...\ndef _plann(request, plan): ...\ndef plan(*both): ...\n"
    assert list(loaded(folder, text).hooks) == ["plan"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\n \n", "pin.py: the file is empty"),
        (b"x = '\xff'\n", "pin.py:1: is not UTF-8 text (byte 0xff); if it is text, save it as UTF-8"),
        (b"x = 1\n\0", "pin.py:2: contains a NUL character; is this a text file?"),
        (b"#" * (FILE_LIMIT + 1), "pin.py: is larger than 1,048,576 bytes; is this the right file?"),
    ],
)
def test_what_is_no_text_of_a_sane_size_is_refused(folder: Path, content: bytes, expected: str) -> None:
    (folder / "pin.py").write_bytes(content)
    with pytest.raises(ConfigError, match=r"pin\.py") as caught:
        load(folder / "pin.py", "pin")
    assert str(caught.value) == f"{folder}/{expected}"


def test_deep_nesting_is_no_crash(folder: Path) -> None:
    (problem,) = problems(folder, f"x = {'(' * 150}{')' * 150}\ny = {'-' * 100_000}1\n")
    assert "pin.py" in problem
    assert "not valid Python" in problem
