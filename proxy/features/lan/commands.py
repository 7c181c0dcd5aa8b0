"""`byway lan`: lets phones and other devices of the network use Byway for a while."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.features.lan.qr import qr_code
from proxy.languages.amounts import ago, clock, size
from proxy.terminal.command import Invocation, command
from proxy.terminal.exit_codes import Misused
from proxy.terminal.options import length
from proxy.terminal.terminal import confirm

if TYPE_CHECKING:
    from proxy.terminal.client import Client

Document = Mapping[str, Any]

group = typer.Typer(help="Phones and other devices in your network that use Byway.", no_args_is_help=True)

_POLL_S = 1.0

Address = Annotated[str, typer.Argument(metavar="ADDRESS", help="Address of the device, such as 192.168.1.23.")]
Hardware = Annotated[
    str, typer.Option("--hardware", metavar="HW", help="Its hardware address, where two devices claim the address.")
]


@command(group, "on", example="byway lan on --for 2h")
def turn_on(
    call: Invocation,
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h, at most 1d.")] = "2h",
    interface: Annotated[
        str, typer.Option("--interface", metavar="NAME", help="Interface; default: that of this network.")
    ] = "",
    client: Annotated[
        list[str] | None,
        typer.Option("--client", metavar="ADDRESS", help="A device that is let in without a question; repeatable."),
    ] = None,
) -> None:
    """Let devices of this network use Byway for a while.

    Only on networks that [lan] only_on names. At a terminal it then asks about each new device until Ctrl-C, after
    which devices that were let in go on. A device reaches public addresses only, by your rules; it ends by itself, also
    when you leave the network, and when Byway restarts."""
    running = call.client()
    asked = {"for_s": length(for_), "interface": interface, "clients": client or []}
    answer = running.put("/v1/lan", asked)
    if call.output.answered(answer):
        return
    _show(call, answer)
    if call.output.fancy and answer["is_on"] and (code := qr_code(answer["url"])) is not None:
        call.output.line(code.text)
    if call.output.fancy and sys.stdin is not None and sys.stdin.isatty():
        _ask_about_devices(call, running)


@command(group, "off", example="byway lan off")
def turn_off(call: Invocation) -> None:
    """Serve no devices any more, and close their connections."""
    _done(call, call.client().delete("/v1/lan"))


@command(group, "status", example="byway lan status")
def status(call: Invocation) -> None:
    """Show whether devices are served, which use it, and which wait."""
    _done(call, call.client().get("/v1/lan"))


@command(group, "allow", example="byway lan allow 192.168.1.23")
def allow(call: Invocation, address: Address, hardware: Hardware = "") -> None:
    """Let a device in that waits, or the first one that will have this address."""
    _done(call, call.client().post("/v1/lan/allow", {"address": address, "hardware": hardware}))


@command(group, "deny", example="byway lan deny 192.168.1.23")
def deny(call: Invocation, address: Address, hardware: Hardware = "") -> None:
    """Refuse a device that waits. It is not asked about again."""
    _done(call, call.client().post("/v1/lan/deny", {"address": address, "hardware": hardware}))


@command(group, "remove", example="byway lan remove 192.168.1.23")
def remove(call: Invocation, address: Address) -> None:
    """Let a device in no more, and close its connections."""
    _done(call, call.client().post("/v1/lan/remove", {"address": address}))


def _done(call: Invocation, answer: Document) -> None:
    if not call.output.answered(answer):
        _show(call, answer)


def _show(call: Invocation, answer: Document) -> None:
    out = call.output
    if not answer["is_on"]:
        out.line(f"No device of the network is served. {answer['ended']}".strip())
        return
    until = clock(answer["ends_at"])
    out.line(
        f"Devices of {answer['network']} may use Byway by {answer['address']} ({answer['interface']}) until {until}."
    )
    out.line(f"Open {answer['url']} on the device: the page says how to set it up.")
    rows = [
        (
            guest["address"],
            guest["hardware"],
            "allowed",
            ago(guest["since"], now=time.time()) if out.fancy else clock(guest["since"]),
            str(guest["open"]),
            str(guest["visits"]),
            size(guest["bytes_up"] + guest["bytes_down"]),
        )
        for guest in answer["guests"]
    ]
    rows += [(each["address"], each["hardware"], "waits", "", "", "", "") for each in answer["waiting"]]
    rows += [(address, "", "expected", "", "", "", "") for address in answer["expected"]]
    if rows:
        out.table(("device", "hardware", "state", "since", "open", "visits", "data"), rows)
    for each in answer["waiting"]:
        out.hint(f"To let it in: `byway lan allow {each['address']}`")


def _ask_about_devices(call: Invocation, running: Client) -> None:
    """Asks about each device that waits, until it is off or Ctrl-C."""
    call.output.hint("Byway asks here about each new device. Ctrl-C ends the questions; `byway lan off` ends it all.")
    try:
        while (answer := running.get("/v1/lan"))["is_on"]:
            for each in answer["waiting"]:
                answered = confirm(f"Allow this device? {each['address']} ({each['hardware']})")
                device = {"address": each["address"], "hardware": each["hardware"]}
                try:
                    answer = running.post(f"/v1/lan/{'allow' if answered else 'deny'}", device)
                except Misused as error:  # it did not wait any longer
                    call.output.hint(f"{error}.")
            time.sleep(_POLL_S)
        _show(call, answer)
    except KeyboardInterrupt:
        call.output.hint("Devices that were let in go on. For others: `byway lan allow ADDRESS`")
