"""`byway stop` and `byway restart`: end the running Byway, through its control socket.

No signal is sent: a stored pid may belong to another process by now.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.config.state_lock import is_locked
from proxy.model.errors import BywayError, ConfigError
from proxy.model.feature import BrokenFeature
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.exit_codes import Exit

if TYPE_CHECKING:
    from proxy.terminal.client import Client

Document = dict[str, Any]

_ENDS_WITHIN_S = 15.0
"""The time for an end, after that for open tunnels: addons and a desktop that does not answer take seconds."""

_STARTS_WITHIN_S = 30.0
"""The time for a start: the largest lists take seconds to read, more on a busy computer."""

_POLL_S = 0.05
"""The time between two checks of the lock or the socket, which the next command needs: neither notifies of a change. To
wait for the process instead is not safe: its pid may belong to another one by now, or be of another namespace."""


AtOnce = Annotated[bool, typer.Option("--now", help="Close open connections at once.")]


@root_command(example="byway stop")
def stop(call: Invocation, now: AtOnce = False) -> Exit | None:
    """Stop the running Byway, as Ctrl-C in its terminal does.

    It restores the system proxy and lets open connections finish for a few seconds. When this ends, its port and its
    state directory are free. Exit code 3: none runs."""
    client = call.client()
    answer = client.post("/v1/stop", {"at_once": now})
    _wait_for_end(client, answer)
    if call.output.as_json:
        call.output.document({**answer, "stopped": True})
        return None
    call.output.line(f"Byway (process {answer['pid']}) has stopped. Port {answer['port']} is free.")
    return None


@root_command(example="byway restart")
def restart(call: Invocation, now: AtOnce = False) -> Exit | None:
    """Restart the running Byway with the same options.

    It stays in its terminal, or the same service. The configuration, the addons and the password commands are checked
    first: with an error, nothing is stopped. Exit code 3: none runs."""
    from proxy.terminal.offline import make_setup

    client = call.client()
    before = client.get("/v1/status")
    there = call.for_config_of(client)
    make_setup(there.paths, call.features, runs_password_commands=True)
    problems = list[str]()
    for feature in call.features:
        with contextlib.suppress(BrokenFeature):  # one that does not work prevents no start
            found = feature.load(feature.checks)(there) if feature.checks else ()
            problems += (each.text for each in found if each.prevents_start)
    if problems:
        raise ConfigError(problems)
    answer = client.post("/v1/stop", {"restart": True, "at_once": now})
    after = _wait_for_start(call, answer, float(before["live"].get("started_at", 0.0)))
    if call.output.as_json:
        call.output.document({**answer, "restarted": True, "listen": after["listen"]})
        return None
    call.output.line(f"Byway (process {after['pid']}) has restarted. It listens on {after['listen']}.")
    return None


def _wait_for_end(client: Client, answer: Document) -> None:
    """Waits for the end of the process, which releases the lock of the state folder. Raises BywayError."""
    assert client.folder is not None  # it was found by its run.json
    ends_at = time.monotonic() + answer["drain_s"] + _ENDS_WITHIN_S
    while is_locked(client.folder / "lock"):
        if time.monotonic() > ends_at:
            raise BywayError(
                f"Byway (process {answer['pid']}) is asked to stop and has not ended yet; to close open connections at "
                "once: `byway stop --now`"
            )
        time.sleep(_POLL_S)


def _wait_for_start(call: Invocation, answer: Document, started_at: float) -> Document:
    """Waits for a Byway that started after `started_at`, and returns its status. Raises BywayError when none answers in
    time."""
    ends_at = time.monotonic() + answer["drain_s"] + _ENDS_WITHIN_S + _STARTS_WITHIN_S
    while time.monotonic() < ends_at:
        try:
            client = call.running()
            status = None if client is None else client.get("/v1/status")
        except BywayError:  # it is just ending
            status = None
        if status is not None and float(status["live"].get("started_at", 0.0)) > started_at:
            return status
        time.sleep(_POLL_S)
    raise BywayError("Byway has stopped and does not answer again; its terminal says why, or the log of its service")
