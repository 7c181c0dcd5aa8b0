"""The Api of an addon that is only tried: nothing happens, and all of it is written down."""

from __future__ import annotations

import inspect
from datetime import datetime

from proxy.extend.api import Api
from proxy.extend.replay.recording_api import SPAWNED_MAX, Dialed, RecordingApi
from proxy.model import Destination


async def test_what_is_asked_of_it_is_written_down() -> None:
    api = RecordingApi("pin", None, relays=("tor",))
    api.notify("blocked", "example.org")
    api.stream = object()

    async def work() -> None: ...

    api.spawn(work())
    assert await api.dial("socks5h://127.0.0.1:1", Destination("example.org", 443)) is api.stream
    assert api.dialed == [Dialed("socks5h://127.0.0.1:1", Destination("example.org", 443))]
    assert api.notified == [("blocked", "example.org")]
    assert len(api.spawned) == 1
    assert api.relays == ("tor",)
    api.close()  # and nothing says that a coroutine was never awaited
    assert api.spawned == []


def test_what_runs_beside_is_kept_within_bounds() -> None:
    api = RecordingApi("pin", None)

    async def work() -> None: ...

    for _ in range(SPAWNED_MAX + 5):
        api.spawn(work())
    assert len(api.spawned) == SPAWNED_MAX
    api.close()


def test_its_clock_and_network_are_set() -> None:
    api = RecordingApi("pin", None)
    assert (api.now(), api.network()) == (0.0, "unknown")
    api.at("2008-10-07 19:30")
    api.on("home")
    assert datetime.fromtimestamp(api.now()).hour == 19  # noqa: DTZ006 - local time, as it was set
    assert api.network() == "home"
    api.at(5)
    assert api.now() == 5


def test_its_folder_is_gone_with_it() -> None:
    api = RecordingApi("pin", None)
    folder = api.folder
    assert folder.is_dir()
    assert api.folder == folder
    api.close()
    assert not folder.exists()


def test_it_stands_in_for_all_of_the_api() -> None:
    """Whatever Api gains must be made still as well."""
    own = {name for name in vars(Api) if not name.startswith("_")}
    assert own <= {name for name in vars(RecordingApi) if not name.startswith("_")}
    for name in own:
        real, still = vars(Api)[name], vars(RecordingApi)[name]
        if inspect.isfunction(real):
            assert list(inspect.signature(real).parameters) == list(inspect.signature(still).parameters)
