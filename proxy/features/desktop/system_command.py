"""`byway system`: the system proxy, which most programs of a desktop follow.

The running Byway turns it on, so that the same process can restore the earlier setting. `off` and `show` also work
without one: after a crash, the user must get Internet access back.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.terminal.command import Invocation, command
from proxy.terminal.options import choice_option

if TYPE_CHECKING:
    from proxy.setup.desktop.proxy_settings import Values
    from proxy.setup.desktop.system_proxy import Saved, SystemProxy

group = typer.Typer(help="The system proxy of this desktop.", no_args_is_help=True)

_DESKTOPS = ("gnome", "kde", "macos", "windows")
Desktop = Annotated[
    str | None, choice_option("--desktop", "DESKTOP", _DESKTOPS, "gnome, kde, macos or windows (default: this one).")
]


@command(group, "on", example="byway system on")
def turn_on(call: Invocation, desktop: Desktop = None) -> None:
    """Make the running Byway the system proxy, until it ends.

    What was set before is restored by `byway system off`, when Byway ends, and after a crash when it starts again.
    While a rule or override is RELAY or BLOCK it is strict, a kill switch: if Byway crashes, no site opens."""
    from proxy.setup.desktop.proxy_settings import DesktopName, this_desktop

    name = desktop or this_desktop(os.environ)
    answer = call.client().put("/v1/system-proxy", {"on": True, "desktop": str(name)})
    if call.output.answered(answer):
        return
    out = call.output
    out.line(f"The system proxy of {DesktopName(answer['desktop']).label} is now {answer['url']}.")
    if answer["strict_by"]:
        out.line(
            f"It is strict, because of `{answer['strict_by']}`: if Byway crashes, no site opens until "
            "`byway system off` or the next start of Byway."
        )
    else:
        out.line("It is lenient: while Byway is not running, programs connect direct.")
    if answer["asks_password"]:
        out.line(
            "[listen] user is set, so every program asks for the user name and the password. Programs that cannot ask "
            "get no connection."
        )
    if not ipaddress.ip_address(answer["listen"]).is_loopback:
        out.line(
            f"Byway listens on {answer['listen']}, for other computers too. This setting is for this computer only."
        )
    for proxy in _proxies_before(call):
        out.line(
            f"Before, the system proxy was {proxy}. Byway does not use that one: where only it leads out, add it with "
            "`byway relay add http://HOST:PORT`."
        )
    out.hint("Undo with `byway system off`. Programs that are open may have to be restarted.")


@command(group, "off", example="byway system off")
def turn_off(
    call: Invocation,
    if_dead: Annotated[
        bool, typer.Option("--if-dead", help="Only if no Byway is running; for ExecStopPost of a service.")
    ] = False,
) -> None:
    """Restore the system proxy that was set before `byway system on`.

    A newer value of another program is kept."""
    from proxy.features.desktop.answers import RESTORED, SystemProxyOffAnswer
    from proxy.setup.desktop.system_proxy import Restored

    client = call.running()
    if client is None:
        from proxy.model.document import document

        answer = document(SystemProxyOffAnswer(on=False, restored=_system_proxy(call).restore()))
    else:
        if if_dead:
            call.output.hint("A Byway is running; nothing was changed.")
            return
        answer = client.put("/v1/system-proxy", {"on": False})
    if call.output.as_json:
        call.output.document(answer)
    elif not (if_dead and answer["restored"] == Restored.NOTHING):
        call.output.line(RESTORED[answer["restored"]])


@command(group, "show", example="byway system show --json")
def show(call: Invocation, desktop: Desktop = None) -> None:
    """Show the system proxy, and whether it is Byway."""
    from proxy.setup.desktop.proxy_settings import MODE, DesktopName, settings_of, this_desktop

    saved = _system_proxy(call).load()
    name = DesktopName(desktop) if desktop else saved.desktop if saved is not None else this_desktop(os.environ)
    places: list[dict[str, Any]] = [
        {"place": place, "byway": _kind(saved, values), "mode": values[MODE], "values": values}
        for place, values in settings_of(name).read().items()
    ]
    running = call.running() is not None
    if call.output.as_json:
        from proxy.model.document_version import VERSION

        call.output.document({"version": VERSION, "desktop": name, "running": running, "places": places})
        return
    if call.output.fancy:
        for place in places:
            call.output.line(_sentence(name.label, place, running=running))
    else:
        rows = [(name, it["place"], it["byway"], it["mode"]) for it in places]
        call.output.table(("desktop", "place", "byway", "mode"), rows)
    if not running and any(place["byway"] != "no" for place in places):
        call.output.hint("No Byway is running. `byway system off` restores the earlier setting.")


def _system_proxy(call: Invocation) -> SystemProxy:
    from proxy.setup.desktop.system_proxy import SystemProxy

    return SystemProxy(call.paths.system_proxy_file)


def _proxies_before(call: Invocation) -> list[str]:
    """Returns the proxies and PAC files that programs used before Byway was the system proxy, each once."""
    from proxy.setup.desktop.proxy_settings import settings_of
    from proxy.wire.inert_text import inert
    from proxy.wire.relay_url import redact

    saved = _system_proxy(call).load()
    if saved is None:
        return []
    in_use = map(settings_of(saved.desktop).in_use, saved.before.values())
    return list(dict.fromkeys(inert(redact(proxy)) for proxy in in_use if proxy))


def _kind(saved: Saved | None, values: Values) -> str:
    """Returns the PAC file of Byway that a place uses: "lenient", "strict" or "no"."""
    from proxy.setup.desktop.system_proxy import LENIENT_PAC, is_in_use

    for own in () if saved is None else saved.ours:
        if is_in_use(values, own):
            return "lenient" if next(iter(own.values())).endswith(LENIENT_PAC) else "strict"
    return "no"


def _sentence(desktop: str, place: Mapping[str, Any], *, running: bool) -> str:
    where = f"{desktop}, {place['place']}" if place["place"] else desktop
    if place["byway"] == "no":
        return f"{where}: not Byway (mode {place['mode'] or 'not set'})."
    without = "no site opens without Byway" if place["byway"] == "strict" else "programs connect direct without Byway"
    return f"{where}: Byway{'' if running else ', which is not running'} ({place['byway']}: {without})."
