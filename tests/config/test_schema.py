"""The schema itself: it holds its own defaults to its own rules, and says what each key is for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from proxy.config.schema import AddonConfig, Dns, ListConfig, Listen, RelayConfig, Settings


def models(model: type[BaseModel] = Settings) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from models(field.annotation)


def _is_time(field: FieldInfo) -> bool:
    """`Seconds` is what nothing else has as its upper bound."""
    return any(getattr(bound, "le", None) == 315_360_000 for bound in field.metadata)


def test_every_key_says_what_it_is_for() -> None:
    described: list[type[BaseModel]] = [*models(), RelayConfig, ListConfig, AddonConfig]
    for model in described:
        assert model.__doc__
        for name, field in model.model_fields.items():
            assert field.description, (model, name)
            assert not field.description.endswith("."), (model, name)


def test_every_default_would_be_accepted() -> None:
    assert Settings.model_validate(Settings().model_dump()) == Settings()


def test_times_carry_their_unit() -> None:
    lengths = {name for model in models() for name, field in model.model_fields.items() if _is_time(field)}
    assert "syn_s" in lengths
    assert {name for name in lengths if not name.endswith("_s")} == set()


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().listen.port = 1


def test_nothing_is_converted_silently() -> None:
    for value in ("8119", 8119.0, True, None):
        with pytest.raises(ValidationError):
            Listen.model_validate({"port": value})
    assert Settings.model_validate({"detect": {"syn_s": 3}}).detect.syn_s == 3


def test_C3_names_and_addresses_are_kept_in_one_spelling() -> None:
    dns = Dns.model_validate({"local": ("*.Corp.", ".Lan"), "hosts": {"A.Example.": "127.1", "b.example": "[::1]"}})
    assert dns.local == ("corp", "lan")
    assert dns.hosts == {"a.example": "127.0.0.1", "b.example": "::1"}


def test_a_relay_s_url_is_not_shown() -> None:
    relay = RelayConfig(name="vps", url="https://user:sesame@relay.example")
    assert "sesame" not in repr(relay)
    assert "sesame" not in repr(Settings(relay=(relay,)))
