"""Single settings by name: every one can be set to its default, and words mean what the file would."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.edit import change_settings
from proxy.config.load import load
from proxy.config.one_setting import find_setting, read_value, settings_by_name, written
from proxy.config.schema import Settings
from tests.support.rows import each_row


@each_row("name", settings_by_name())
def test_every_setting_can_be_set_to_its_default(name: str) -> None:
    setting = find_setting(name)
    default = getattr(getattr(Settings(), setting.table), setting.key)
    value = read_value(setting, [written(default)])
    assert (tuple(value) if isinstance(value, list) else value) == default
    assert setting.meaning().startswith(name)


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("log.keep_days", ["1.5"], 1.5),
        ("auto.retest", ["TRUE"], True),
        ("listen.user", ["1234"], "1234"),
        ("listen.user", [""], ""),
        ("dns.local", ["lan", "corp"], ["lan", "corp"]),
        ("dns.local", ["lan, corp"], ["lan", "corp"]),
        ("dns.local", ['["lan"]'], ["lan"]),
        ("dns.local", [""], []),
        ("auto.ladder", ["tlsrec|split"], ["tlsrec|split"]),
        ("detect.retest_blocked_s", ["1", "2.5"], [1, 2.5]),
        ("detect.retest_blocked_s", ["1,2"], [1, 2]),
        ("networks.home", ["0123456789abcdef"], "0123456789abcdef"),
    ],
)
def test_words_mean_a_value(name: str, words: list[str], value: Any, tmp_path: Any) -> None:
    setting = find_setting(name)
    read = read_value(setting, words)
    assert read == value
    file = tmp_path / "config.toml"
    if name != "listen.user":  # which needs a password
        change_settings(file, {(setting.table, setting.key): read})
        assert load(file)


@pytest.mark.parametrize("words", [["[*.bank.example]"], ["[a.example,", "b.example]"], ["[a.example,b.example]"]])
def test_an_array_that_the_file_could_not_have_is_refused(words: list[str]) -> None:
    """A pattern with the brackets in it would keep nothing out of the log."""
    with pytest.raises(ValueError, match=r"log\.never: write its values with spaces or commas between them"):
        read_value(find_setting("log.never"), words)


def test_an_address_in_brackets_is_no_array() -> None:
    assert read_value(find_setting("safety.allow"), ["[2001:db8::1]"]) == ["[2001:db8::1]"]


def test_the_unit_is_said_once() -> None:
    assert find_setting("log.keep_days").meaning() == (
        "log.keep_days (in days): how many days log entries are kept; default: 14"
    )
    assert "(in seconds)" not in find_setting("detect.throttled_bytes_s").meaning()
