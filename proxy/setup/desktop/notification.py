"""Shows a notification by the desktop's own service. It is transient: no history of notifications keeps it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping

from proxy.setup.desktop.programs import DesktopError, RunProgram, find_program, run_program

_SERVICE = "org.freedesktop.Notifications"
_SCRIPT = "on run argv\ndisplay notification (item 2 of argv) with title (item 1 of argv)\nend run"
_SHOWN_MS = "10000"


def has_desktop(env: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether there is a desktop session that can show one. Runs no program."""
    if platform != "linux":
        return platform == "darwin"
    if address := env.get("DBUS_SESSION_BUS_ADDRESS"):
        return address != "disabled:"
    return os.path.exists(os.path.join(env.get("XDG_RUNTIME_DIR", "/nonexistent"), "bus"))


def show_notification(
    title: str,
    text: str,
    *,
    run: RunProgram = run_program,
    which: Callable[[str], str | None] = find_program,
    platform: str = sys.platform,
) -> None:
    """Shows it, where there is a program for that; on Windows nothing is shown. `title` and `text` cannot become an
    option or a script. Raises DesktopError."""
    if platform == "darwin":
        run("osascript", "-e", _SCRIPT, title, text)
    elif platform != "linux":
        return
    elif which("gdbus"):
        place = ("--dest", _SERVICE, "--object-path", "/org/freedesktop/Notifications")
        words = (json.dumps(word, ensure_ascii=False) for word in (title, text))  # as GVariant writes strings
        method = ("--method", f"{_SERVICE}.Notify", "Byway", "0", "", *words, "[]", "{'transient': <true>}")
        run("gdbus", "call", "--session", *place, *method, _SHOWN_MS)
    elif which("notify-send"):
        run(
            "notify-send", "--app-name=Byway", "--hint=int:transient:1", f"--expire-time={_SHOWN_MS}", "--", title, text
        )


log = logging.getLogger(__name__)

Show = Callable[[str, str], None]
"""Shows a title and a text. Raises DesktopError."""


async def show_aside(show: Show, title: str, text: str) -> None:
    """Shows it in a thread. A desktop that shows none is no fault of Byway's: only -vv says so."""
    try:
        await asyncio.to_thread(show, title, text)
    except DesktopError as error:
        log.debug("no notification is shown: %s", error)
