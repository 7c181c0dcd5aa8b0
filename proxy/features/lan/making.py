"""Makes the one Lan of a running Byway, and lets `status` show it."""

from __future__ import annotations

from functools import partial

from proxy.control.frame import Frame
from proxy.features.lan.answers import lan_answer
from proxy.features.lan.lan import Lan
from proxy.features.lan.phone_page import PhonePage
from proxy.setup.reload import steady_clock


def make_lan(frame: Frame) -> Lan:
    """See `Frame.one`."""
    lan = Lan(frame.parts, PhonePage(lambda: frame.parts.settings.ui.language).adopt, steady_clock)
    frame.lan = partial(lan_answer, lan)
    return lan
