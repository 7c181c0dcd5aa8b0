"""Which site a person means, where its pages do not matter."""

from __future__ import annotations

from proxy.model import Destination
from proxy.probe.target import page_of


def site(text: str) -> Destination:
    """The host and port meant by `text`; port 443 unless it says otherwise. Raises ValueError with a sentence."""
    return page_of(text).destination


def scope(text: str) -> str:
    """The host meant by `text`, which stands for all below it too: `*.example.org` and `.example.org` are the same as
    `example.org`. Raises ValueError with a sentence."""
    return site(text.strip().removeprefix("*").removeprefix(".")).host
