"""What follows from the options of a run."""

from __future__ import annotations

import pytest

from proxy.app.run_options import RunOptions


def test_only_what_was_given_overrides_the_configuration() -> None:
    assert RunOptions().flags == {}
    given = RunOptions(port=0, listen="127.0.0.2", allow=("10.0.0.1:*",))
    assert given.flags == {"listen.port": 0, "listen.address": "127.0.0.2", "safety.allow": ("10.0.0.1:*",)}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RunOptions(), ""),
        (RunOptions(ephemeral=True), "With --ephemeral nothing is stored"),
        (RunOptions(ephemeral=True, not_stored="no space left on device"), "(no space left on device)"),
    ],
)
def test_a_run_that_could_not_restore_the_system_proxy_does_not_set_it(options: RunOptions, said: str) -> None:
    assert said in options.no_system_proxy
    assert bool(options.no_system_proxy) == bool(said)
