"""What leaves a computer that uses keys, on its link: see tests/lab/key_capture.py, which runs it at full length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import places
from tests.lab.key_capture import capture
from tests.lab.key_relays import NEEDED, PROTOCOLS
from tests.support.at_once import AtOnce

pytestmark = [pytest.mark.namespaces, pytest.mark.needs(*NEEDED), pytest.mark.waits, pytest.mark.slow]

at_once = AtOnce(most=2)

VISITS = 3 * len(PROTOCOLS)
"""Each protocol by each way to Byway."""

IDLE_S = 12.0
"""Longer than the ten seconds after which QUIC shows that its connection lives."""


@at_once
async def test_only_the_keys_server_and_encrypted_dns_are_addressed(folder: Path) -> None:
    captured = await capture(folder, visits=VISITS, idle_s=IDLE_S)
    assert captured.broken == [], captured.report
    assert captured.pages == VISITS
    visits, _ = captured.phases
    servers = {target for target, what in captured.may.items() if what.startswith("the server of")}
    assert servers <= visits.packets.keys(), "a protocol was not in use"
    dns = {address for address, _, _ in visits.packets} & {places.DOH, places.DOT}
    assert dns, "the server's name was not asked for"


@at_once
async def test_the_control_for_that_what_goes_direct_is_found(folder: Path) -> None:
    captured = await capture(folder, visits=4, idle_s=0.1, only=("trojan", "hysteria2"), is_leaky=True)
    broken = "\n".join(captured.broken)
    assert "page0.trojan.test was asked for in plain DNS" in broken
    assert f"packets to udp {places.PROVIDER_RESOLVER}:53" in broken
    assert f"packets to tcp {places.site_address(101)}:443" in broken
