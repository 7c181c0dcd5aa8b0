"""Keys without an engine. With one: tests/features/keys."""

from __future__ import annotations

import pytest

from proxy.detect.relay_faults import RelayFault, relay_fault
from proxy.model import Destination, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.key_relay import NoEngineDialer


async def test_nothing_goes_direct_in_place_of_a_key() -> None:
    dialer = NoEngineDialer("mine")
    assert dialer.carries(Destination("blocked.test", 443))
    with pytest.raises(DialError, match="relay mine: keys need the feature keys") as caught:
        await dialer.dial(Destination("blocked.test", 443))
    assert caught.value.symptom is Symptom.RELAY_DOWN
    assert relay_fault(caught.value) is RelayFault.ENGINE
