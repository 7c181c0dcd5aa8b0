"""What addons get of an App: the relays of the Setup in use, its network, and paths through its registry."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from proxy.app.addon_backend import AddonBackend
from proxy.model import Destination, NetworkId

WHERE = Destination("a.test", 443)


class Dialing:
    """A registry that notes what is dialed."""

    def __init__(self, *relay_names: str) -> None:
        self.relay_names = relay_names
        self.dialed: list[tuple[str, Destination]] = []

    def dialer_for_url(self, url: str) -> Any:
        async def dial(destination: Destination) -> str:
            self.dialed.append((url, destination))
            return "stream"

        return SimpleNamespace(dial=dial)


async def test_a_reload_replaces_the_relays_and_what_dials_them() -> None:
    before, after = Dialing("tor"), Dialing("tor", "vps")
    setups = [SimpleNamespace(registry=before)]
    watch: Any = SimpleNamespace(current=lambda: NetworkId("home"))
    in_use: Any = lambda: setups[-1]  # noqa: E731
    backend = AddonBackend(in_use, watch, None, None)
    assert (backend.relays, backend.network()) == (("tor",), "home")
    setups.append(SimpleNamespace(registry=after))
    assert backend.relays == ("tor", "vps")
    stream: Any = await backend.dial("vps", WHERE)
    assert (stream, before.dialed, after.dialed) == ("stream", [], [("vps", WHERE)])
