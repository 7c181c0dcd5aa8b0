"""What `[addons.NAME]` may say is what the addon's `Options` declares, and faults are said with the place."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from proxy.extend.loading.options import describe, read
from proxy.model.errors import ConfigError
from tests.support.rows import each_row

DECLARED = """
    from dataclasses import dataclass, field
    from datetime import time
    from pathlib import Path
    from typing import Annotated, Literal

    @dataclass(frozen=True)
    class Options:
        relay: Annotated[str, "the relay to pin"] = "tor"
        share: float = 0.5
        after: time = time(22)
        days: list[str] = field(default_factory=list)
        key: Path | None = None
        when: Literal["home", "away"] = "home"
"""


def module(text: str = DECLARED) -> ModuleType:
    made = ModuleType("addon of a test")
    exec(compile(textwrap.dedent(text), "pin.py", "exec", dont_inherit=True), vars(made))
    return made


def place(*path: Any) -> str:
    return f"config.toml:{len(path)}"


def problems(table: dict[str, Any], text: str = DECLARED) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(module(text), "pin", table, place)
    return list(caught.value.problems)


def test_what_is_not_set_has_its_default() -> None:
    options = read(module(), "pin", {}, place)
    assert (options.relay, options.share, options.days) == ("tor", 0.5, [])


def test_values_have_the_types_that_are_declared() -> None:
    table = {"relay": "vps", "share": 1, "after": "06:30:00", "days": ("mo", "tu"), "key": "/k", "when": "away"}
    options = read(module(), "pin", table, place)
    assert (options.relay, options.share, options.after.hour) == ("vps", 1.0, 6)
    assert (options.days, options.key, options.when) == (["mo", "tu"], Path("/k"), "away")


@each_row(
    ("table", "expected"),
    [
        ({"relay": 3}, "config.toml:3: addons.pin.relay: input should be a valid string"),
        ({"share": "0.5"}, "config.toml:3: addons.pin.share: input should be a valid number"),
        ({"share": True}, "config.toml:3: addons.pin.share: input should be a valid number"),
        ({"days": ("mo", 2)}, "config.toml:4: addons.pin.days[2]: input should be a valid string"),
        ({"when": "never"}, "config.toml:3: addons.pin.when: input should be 'home' or 'away'"),
        ({"relais": "tor"}, 'config.toml:3: unknown key "relais" in [addons.pin]; did you mean relay?'),
    ],
)
def test_what_does_not_fit_is_said_with_its_place(table: dict[str, Any], expected: str) -> None:
    assert problems(table) == [expected]


def test_all_faults_are_said_at_once() -> None:
    assert len(problems({"relais": 1, "relay": 2, "share": "x"})) == 3


def test_one_that_must_be_set_is_missed() -> None:
    text = "from dataclasses import dataclass\n@dataclass\nclass Options:\n    relay: str\n"
    assert problems({}, text) == ["config.toml:3: addons.pin.relay: field required"]


def test_an_addon_without_options_takes_none() -> None:
    assert read(module(""), "pin", {}, place) is None
    assert problems({"relay": "tor"}, "") == [
        'config.toml:3: unknown key "relay" in [addons.pin]; this addon takes no options'
    ]


def test_what_post_init_refuses_is_a_fault_of_the_table() -> None:
    text = """
        from dataclasses import dataclass
        @dataclass
        class Options:
            share: float = 0.5
            def __post_init__(self):
                if self.share > 1:
                    raise ValueError("share is at most 1")
    """
    assert problems({"share": 2.0}, text) == ["config.toml:2: addons.pin: value error, share is at most 1"]


def test_they_describe_themselves() -> None:
    described = {option.name: option for option in describe(module())}
    assert (described["relay"].kind, described["relay"].default, described["relay"].help) == (
        "str",
        "tor",
        "the relay to pin",
    )
    assert described["days"].default == []
    assert described["share"].help == ""
    assert describe(module("")) == ()
    text = "from dataclasses import dataclass\n@dataclass\nclass Options:\n    relay: str\n"
    assert describe(module(text))[0].default is dataclasses.MISSING
