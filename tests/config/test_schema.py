"""The settings themselves: they hold their own defaults to their own rules, and say what each key is for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import FrozenInstanceError, asdict, fields
from typing import Annotated, Any, get_args, get_origin

import pytest

from proxy.config.read_settings import read_settings
from proxy.config.schema import AddonConfig, ListConfig, RelayConfig, Settings
from proxy.config.setting_types import Bounds, Section, is_section, keys_of


def read(**document: Any) -> Settings:
    settings = read_settings(document)
    assert isinstance(settings, Settings), settings
    return settings


def sections(section: type[Section] = Settings) -> Iterator[type[Section]]:
    yield section
    for field in keys_of(section).values():
        if is_section(field.type):
            yield from sections(field.type)


def _is_time(kind: Any) -> bool:
    """`Seconds` is what nothing else has as its upper bound."""
    limits = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return any(isinstance(limit, Bounds) and limit.at_most == 315_360_000 for limit in limits)


def test_every_key_says_what_it_is_for() -> None:
    for section in (*sections(), RelayConfig, ListConfig, AddonConfig):
        assert section.__doc__
        for field in fields(section):
            description = field.metadata["description"]
            assert description, (section, field.name)
            assert not description.endswith("."), (section, field.name)


def test_every_default_would_be_accepted() -> None:
    document = asdict(Settings())
    del document["addons"]
    assert read(**document) == Settings()


def test_times_carry_their_unit() -> None:
    lengths = {name for section in sections() for name, field in keys_of(section).items() if _is_time(field.type)}
    assert "syn_s" in lengths
    assert {name for name in lengths if not name.endswith("_s")} == set()


def test_a_refresh_is_from_a_quarter_of_an_hour_to_a_month() -> None:
    for text, seconds in (("", 0), ("15m", 900), ("6h", 21_600), ("1d", 86_400), ("30d", 2_592_000)):
        (found,) = read(list=({"name": "l", "source": "https://l.test/", "refresh": text},)).list
        assert found.refresh_s == seconds
    for text in ("14m", "31d", "1", "1w", "01d", "1.5d", "99999d", "-1d", " 1d", "1d\n"):
        assert isinstance(read_settings({"list": ({"name": "l", "source": "https://l.test/", "refresh": text},)}), list)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().listen.port = 1  # type: ignore[misc]  # what is tried


def test_nothing_is_converted_silently() -> None:
    for value in ("8119", 8119.0, True, None):
        assert isinstance(read_settings({"listen": {"port": value}}), list)
    assert read(detect={"syn_s": 3}).detect.syn_s == 3


def test_C3_names_and_addresses_are_kept_in_one_spelling() -> None:
    dns = read(dns={"local": ("*.Corp.", ".Lan"), "hosts": {"A.Example.": "127.1", "b.example": "[::1]"}}).dns
    assert dns.local == ("corp", "lan")
    assert dns.hosts == {"a.example": "127.0.0.1", "b.example": "::1"}


def test_what_belongs_to_an_addon_is_kept_as_it_is() -> None:
    pin = read(addons={"pin": {"enabled": True, "relay": "tor", "hosts": ("a", 1)}}).addons["pin"]
    assert pin == AddonConfig(enabled=True, options={"relay": "tor", "hosts": ("a", 1)})


def test_a_hundred_thousand_faults_are_found_in_a_moment() -> None:
    faults = read_settings({f"lisen{number}": 1 for number in range(100_000)})
    assert isinstance(faults, list)
    assert len(faults) == 100_000
    assert faults[0].sentence == 'unknown section or key "lisen0"; did you mean listen?'
    assert faults[-1].sentence == 'unknown section or key "lisen99999"'  # looked at for what was meant, each takes time


def test_a_relay_s_url_is_not_shown() -> None:
    relay = RelayConfig(name="vps", url="https://user:sesame@relay.example")
    assert "sesame" not in repr(relay)
    assert "sesame" not in repr(Settings(relay=(relay,)))


def test_a_relay_that_is_silent_for_long_is_tried_beside_before_it_is_given_up() -> None:
    """What opens late is used: both hops of a chain may take that long, and a visit waits for them."""
    settings = Settings()
    assert settings.detect.relay_silent_s < settings.limits.handshake_timeout_s
    assert 2 * settings.limits.handshake_timeout_s <= settings.detect.give_up_s
