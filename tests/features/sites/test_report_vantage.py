"""What a person types about where a report was made."""

from __future__ import annotations

import pytest

from proxy.features.sites.report_vantage import PROVIDER_LENGTH, UNTOLD, Vantage
from tests.support.rows import each_row


@each_row(
    ("provider", "country", "vantage"),
    [
        ("", "", UNTOLD),
        ("AS12345", "KZ", Vantage("AS12345", "", "KZ")),
        ("12345", "kz", Vantage("AS12345", "", "KZ")),
        (" as12389  Rostelecom ", " ru ", Vantage("AS12389", "Rostelecom", "RU")),
        ("AS12389, Rostelecom", "", Vantage("AS12389", "Rostelecom", "")),
        ("Mobile Telecom", "", Vantage("", "Mobile Telecom", "")),
        ("2degrees", "NZ", Vantage("", "2degrees", "NZ")),
        ("AS-Net", "", Vantage("", "AS-Net", "")),
        ("همراه اول", "IR", Vantage("", "همراه اول", "IR")),
        ("AS4294967295", "", Vantage("AS4294967295")),
    ],
)
def test_what_is_read(provider: str, country: str, vantage: Vantage) -> None:
    assert Vantage.parse(provider, country) == vantage


@each_row(
    ("provider", "country"),
    [
        ("", "XX"), ("", "KAZ"), ("", "К3"), ("", "Kazakhstan"), ("", "K Z"), ("AS4294967296", ""),
        ("x" * (PROVIDER_LENGTH + 1), ""), ("a\x1b[31m", ""), ("a\u202eb", ""),
    ],
)  # fmt: skip
def test_what_is_refused(provider: str, country: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        Vantage.parse(provider, country)
