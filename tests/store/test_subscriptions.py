"""The relays of subscriptions, from the copies on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.subscriptions import names_of, read_entries
from proxy.store.list_copies import CopyInfo, ListCopies
from proxy.store.subscriptions import with_subscriptions

URL = "https://h.example/s"
CONFIG = f'[[subscription]]\nname = "shop"\nsource = "{URL}"\n'


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    return file


def test_the_relays_of_a_copy_have_their_kept_names(config: Path, tmp_path: Path) -> None:
    copies = ListCopies(tmp_path / "lists")
    copies.replace(CopyInfo(URL, fetched_at=1.0), b"socks5h://a.example:1#A\nsocks5h://b.example:1#B\n")
    loaded = with_subscriptions(load(config), copies)
    assert [relay.name for relay in loaded.relays.in_use] == ["shop/A", "shop/B"]
    assert [group.members for group in loaded.relays.groups] == [("shop/A", "shop/B")]
    assert with_subscriptions(loaded, copies) is loaded
    names = {place: name.replace("A", "Z") for place, name in _names(b"socks5h://a.example:1#A\n").items()}
    copies.keep_names(URL, names)
    assert [relay.name for relay in with_subscriptions(load(config), copies).relays.in_use] == ["shop/Z", "shop/B"]


def _names(content: bytes) -> dict[str, str]:
    return names_of("shop", read_entries(content.decode()), {})


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\x00", b"proxies: [&a {}, *a]", b"<html>"])
def test_a_damaged_copy_is_a_group_without_relays(
    config: Path, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    copies = ListCopies(tmp_path / "lists")
    copies.replace(CopyInfo(URL, fetched_at=1.0), content)
    loaded = with_subscriptions(load(config), copies)
    assert [(group.name, group.members) for group in loaded.relays.groups] == [("shop", ())]
    assert "Subscription shop has no relays: its copy cannot be used" in caplog.text


def test_a_configuration_without_subscriptions_is_left_alone(config: Path, tmp_path: Path) -> None:
    config.write_text("config_version = 1\n")
    loaded = load(config)
    assert with_subscriptions(loaded, ListCopies(tmp_path / "lists")) is loaded
    assert not (tmp_path / "lists").exists()
