"""What a check finds, in this process: the rest is in test_addons and test_addon_apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.features.addons.check import check
from proxy.model.errors import ConfigError


def ask(tmp_path: Path, text: str, config: str = "") -> dict[str, Any]:
    file, configuration = tmp_path / "mine.py", tmp_path / "config.toml"
    file.write_text(text)
    configuration.write_text(config)
    return check({"file": str(file), "config": str(configuration), "state": str(tmp_path), "load_s": 10})


def test_what_a_module_merely_imported_is_no_hook(tmp_path: Path) -> None:
    told = ask(tmp_path, "from json import load\nfrom proxy.testing import request\ndef response(flow): ...\n")
    assert (told["hooks"], told["inspects"]) == ([], ["response"])


def test_objects_have_their_hooks_by_class(tmp_path: Path) -> None:
    text = "class A:\n    def request(self, flow): ...\n    def outcome(self, outcome): ...\n\naddons = [A()]\n"
    told = ask(tmp_path, text)
    assert (told["hooks"], told["inspects"]) == (["outcome"], ["request"])


def test_options_that_json_cannot_hold_are_written_as_text(tmp_path: Path) -> None:
    text = (
        "from dataclasses import dataclass\nfrom pathlib import Path\n\n"
        "@dataclass\nclass Options:\n    file: Path = Path('/x')\n    must: int = 0\n"
    )
    told = ask(tmp_path, text, "[addons.mine]\nmust = 5\n")
    assert [(it["default"], it["value"]) for it in told["options"]] == [("/x", "/x"), (0, 5)]


def test_a_faulty_configuration_is_said_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config\.toml:2"):
        ask(tmp_path, "1 / 0\n", "[listen]\nport = 'x'\n")
