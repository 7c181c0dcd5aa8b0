"""Each place that names a relay is found, and nothing else."""

from __future__ import annotations

from pathlib import Path

from proxy.config.load import load
from proxy.model import Action, Override
from proxy.routing.relay_references import references
from proxy.routing.rule_parser import parse_rules

CONFIG = """\
[[relay]]
name = "a"
url = "h:1"
[[relay]]
name = "b"
url = "h:2"
[[relay]]
name = "ab"
url = "a > b"
[[group]]
name = "eu"
relays = ["ab"]
[addons.one]
relay = "b"
[addons.two]
relays = ["a>ab", "direct"]
other = "bb"
number = 1
"""


def test_every_place_is_found(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    text = "MATCH,AUTO\nDOMAIN,b,RELAY:a\nDOMAIN,c,PREFER-RELAY:b\nDOMAIN,d,RELAY\n"
    rules = parse_rules(text, source="rules.txt", relays=("a", "b", "ab", "eu")).rules
    overrides = {"x.example": Override(Action.RELAY, "ab"), "y.example": Override(Action.RELAY)}

    def found(*names: str) -> list[tuple[str, str]]:
        return list(references(names, load(file), rules, overrides))

    assert found("a") == [
        ("a", "rules.txt:2 (DOMAIN,b,RELAY:a)"),
        ("a", f"{file}:9 (chain of relay ab)"),
        ("a", f"{file}:16 (option relays of addon two)"),
    ]
    assert found("b") == [
        ("b", "rules.txt:3 (DOMAIN,c,PREFER-RELAY:b)"),
        ("b", f"{file}:9 (chain of relay ab)"),
        ("b", f"{file}:14 (option relay of addon one)"),
    ]
    assert found("ab") == [
        ("ab", f"{file}:12 (group eu)"),
        ("ab", "override (site set x.example RELAY:ab)"),
        ("ab", f"{file}:16 (option relays of addon two)"),
    ]
    assert ("a", f"{file}:9 (chain of relay ab)") not in found("a", "ab"), "they are removed together"
