"""Shows notifications by the desktop's service. They are transient: the desktop's history does not keep them."""

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
    """Whether there is a desktop session that can show notifications. Runs no program."""
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
    """Shows a notification. Does nothing on Windows, or without a program for it. `title` and `text` cannot become an
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
"""Shows a notification with a title and a text. Raises DesktopError."""


async def show_aside(show: Show, title: str, text: str) -> None:
    """Shows a notification in a thread. A failure of the desktop is logged with -vv only."""
    try:
        await asyncio.to_thread(show, title, text)
    except DesktopError as error:
        log.debug("no notification is shown: %s", error)
