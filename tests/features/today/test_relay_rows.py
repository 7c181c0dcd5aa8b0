"""A subscription, and a chain by a group, are one row of the status."""

from __future__ import annotations

from proxy.features.today.relay_rows import relay_rows


def test_a_group_stands_for_its_members_where_the_first_of_them_was() -> None:
    relays = ["tor", "shop/DE", "shop/NL", "vps", "shop/FR", "far/tor"]
    assert relay_rows(relays, ["eu", "shop", "far"], str) == ["tor", "shop", "vps", "far"]


def test_other_relays_stay_also_those_of_a_group() -> None:
    assert relay_rows(["tor", "vps"], ["eu"], str) == ["tor", "vps"]
    assert relay_rows(["gone/DE"], ["eu"], str) == ["gone/DE"]
