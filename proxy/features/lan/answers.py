"""The answer about devices of the network, made from the state."""

from __future__ import annotations

import time

from proxy.control.answers.lan import GuestJson, LanJson, WaitingJson
from proxy.features.lan.admission import WAIT_S
from proxy.features.lan.lan import Lan


def lan_answer(lan: Lan) -> LanJson:
    """Returns the present state."""
    on = lan.on
    if on is None:
        return LanJson(is_on=False, ended=lan.ended or "")
    admission, now, epoch = on.listener.admission, lan.clock(), time.time()
    address = f"{on.interface.address}:{on.listener.port}"
    return LanJson(
        is_on=True,
        network=on.name,
        interface=on.interface.name,
        address=address,
        url=f"http://{address}/",
        ends_at=epoch + on.ends_at - now,
        guests=tuple(
            GuestJson(
                address=str(guest.client.address),
                hardware=guest.client.hardware_text,
                since=epoch - (now - guest.since),
                open=on.listener.open_connections(guest.client.address),
                visits=guest.visits,
                bytes_up=guest.bytes_up,
                bytes_down=guest.bytes_down,
            )
            for guest in admission.guests.values()
        ),
        waiting=tuple(
            WaitingJson(str(client.address), client.hardware_text, max(0.0, WAIT_S - (now - since)))
            for client, since in admission.waiting.items()
        ),
        expected=tuple(map(str, sorted(admission.expected))),
    )
