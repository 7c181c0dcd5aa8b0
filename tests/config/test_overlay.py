"""Variables and flags: one value of one key each, whatever their text holds."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.config.overlay import Overlay, from_environment, from_flags
from tests.support.rows import each_row


def overlaid(env: dict[str, str], document: dict[str, Any] | None = None) -> dict[str, Any]:
    overlay = Overlay(document or {})
    assert from_environment(overlay, env) == []
    return overlay.document


@each_row(
    ("name", "text", "value"),
    [
        ("LISTEN__PORT", "8120", 8120),
        ("LISTEN__PORT", " 8120 ", 8120),
        ("LISTEN__PORT", "http", "http"),  # for validation to refuse
        ("LISTEN__USER", "1234", "1234"),
        ("LISTEN__USER", "", ""),
        ("AUTO__RETEST", "false", False),
        ("LOG__HOSTS", "off", "off"),
        ("LOG__KEEP_DAYS", "1.5", 1.5),
        ("DNS__LOCAL", "lan, corp", ("lan", "corp")),
        ("DNS__LOCAL", "lan", ("lan",)),
        ("DNS__LOCAL", '["lan", "corp"]', ("lan", "corp")),
        ("DNS__LOCAL", "[]", ()),
        ("DNS__HOSTS", '{"a.test" = "127.0.0.1"}', {"a.test": "127.0.0.1"}),
        ("DETECT__WEIGHTS__TLS_RESET", "3", 3),
        ("DETECT__RETEST_BLOCKED_S", "[1, 2]", (1, 2)),
        ("ADDONS__PIN__ENABLED", "true", True),
        ("RELAY", '[{name = "a", url = "h:1"}]', ({"name": "a", "url": "h:1"},)),
        ("CONFIG_VERSION", "1", 1),
    ],
)
def test_values_are_read_by_the_type_of_their_key(name: str, text: str, value: object) -> None:
    found: Any = overlaid({f"BYWAY_{name}": text})
    for key in name.lower().split("__"):
        found = found[key]
    assert found == value
    assert type(found) is type(value)


def test_an_empty_number_is_not_set() -> None:
    assert overlaid({"BYWAY_LISTEN__PORT": "", "BYWAY_DNS__LOCAL": " "}) == {}


def test_other_people_s_variables_are_left_alone() -> None:
    assert overlaid({"BYWAY_STATE": "/s", "BYWAY_CONFIG": "/c", "BYWAY_VERSION": "3", "LISTEN__PORT": "1"}) == {}


def test_a_lacking_underscore_is_noticed() -> None:
    overlay = Overlay({})
    from_environment(overlay, {"BYWAY_LISTEN_PORT": "1"})
    assert overlay.notices == ["environment BYWAY_LISTEN_PORT: unknown setting; did you mean BYWAY_LISTEN__PORT?"]


@each_row(
    ("name", "says"),
    [
        ("BYWAY_LISTEN__PROT", "unknown setting prot in [listen]; did you mean port?"),
        ("BYWAY_LISTNE__PORT", "unknown setting listne; did you mean listen?"),
        ("BYWAY_LISTEN__PORT__X", "listen.port is a value and has no key x"),
        ("BYWAY_DETECT__WEIGHTS__X", "unknown setting x in [detect.weights]"),
        ("BYWAY_LISTEN__", "unknown setting  in [listen]"),
    ],
)
def test_a_key_that_is_not_there(name: str, says: str) -> None:
    (problem,) = from_environment(Overlay({}), {name: "1"})
    assert problem.startswith(f"environment {name}: {says}")


@given(st.text(max_size=30))
def test_G7_no_text_sets_a_second_key(text: str) -> None:
    for key in ("PORT", "USER", "ADDRESS"):
        overlay = Overlay({})
        from_environment(overlay, {f"BYWAY_LISTEN__{key}": text})
        assert overlay.document in ({}, {"listen": {key.lower(): overlay.get(("listen", key.lower()))}})
    assert overlaid({"BYWAY_LISTEN__USER": text}) == {"listen": {"user": text}}


@each_row("text", ['1\nuser = "x"', "1\n[safety]\nallow = []", '"a"\r\nport = 1', "{"])
def test_G7_line_breaks_and_quotes_are_text(text: str) -> None:
    assert overlaid({"BYWAY_LISTEN__PORT": text}) == {"listen": {"port": text}}


def test_G7_a_value_is_bounded() -> None:
    (problem,) = from_environment(Overlay({}), {"BYWAY_DNS__LOCAL": "a" * 70_000})
    assert "longer than 65536 characters" in problem
    assert overlaid({"BYWAY_DNS__LOCAL": "[" * 60_000}) == {"dns": {"local": ("[" * 60_000,)}}


def test_the_file_s_own_tables_are_not_changed() -> None:
    document = {"listen": {"port": 1, "user": "a"}, "log": 3}
    found = overlaid({"BYWAY_LISTEN__PORT": "2", "BYWAY_LOG__HOSTS": "off"}, document)
    assert found == {"listen": {"port": 2, "user": "a"}, "log": 3}  # validation says what is wrong with `log`
    assert document["listen"] == {"port": 1, "user": "a"}


def test_flags() -> None:
    overlay = Overlay({"safety": {"allow": ("a:1",)}})
    from_flags(overlay, {"listen.port": 3, "listen.address": None, "safety.allow": ["b:2"], "dns.local": ["x"]})
    assert overlay.document == {"safety": {"allow": ("a:1", "b:2")}, "listen": {"port": 3}, "dns": {"local": ("x",)}}
    assert overlay.places[("listen", "port")] == "command line"
