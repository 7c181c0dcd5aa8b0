from __future__ import annotations

import pytest

from proxy.testing import request, signal
from tests.addons.shipped import shipped


def test_on_the_lossy_network_a_lost_packet_weighs_less() -> None:
    addon = shipped("lossy", {"networks": ["train"]}, network="train")
    assert addon.signal(request(), signal("tcp_timeout")).weight == pytest.approx(0.375)
    assert addon.signal(request(), signal("http_block_page")) is None
    addon.api.on("home")
    assert addon.signal(request(), signal("tcp_timeout")) is None


def test_a_share_beyond_sense_is_held_within_bounds() -> None:
    for share, weight in ((7.0, 0.7), (-1.0, 0.0)):
        addon = shipped("lossy", {"networks": ["train"], "share": share}, network="train")
        assert addon.signal(request(), signal("tls_silent")).weight == weight
