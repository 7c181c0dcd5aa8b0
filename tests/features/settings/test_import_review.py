"""The sensitive differences that an import of a configuration shows."""

from __future__ import annotations

from proxy.config.schema import RelayConfig, Settings
from proxy.features.settings.import_review import review
from tests.support.rows import each_row


def with_relay(*, enabled: bool) -> Settings:
    return Settings(relay=(RelayConfig(name="vps", url="socks5h://198.51.100.1:1080", enabled=enabled),))


@each_row(
    ("before", "after", "shown"),
    [
        (True, False, ["relay vps is not used any more"]),
        (True, True, []),
        (False, False, []),
        (False, True, []),
    ],
)
def test_a_relay_that_is_switched_off(before: bool, after: bool, shown: list[str]) -> None:
    assert list(review(with_relay(enabled=after), with_relay(enabled=before), (), ())) == shown


def test_a_relay_that_is_removed_or_leads_elsewhere() -> None:
    elsewhere = Settings(relay=(RelayConfig(name="vps", url="socks5h://198.51.100.2:1080"),))
    assert list(review(Settings(), with_relay(enabled=True), (), ())) == ["relay vps is removed"]
    assert list(review(elsewhere, with_relay(enabled=True), (), ())) == [
        "relay vps now sends traffic to 198.51.100.2:1080"
    ]
