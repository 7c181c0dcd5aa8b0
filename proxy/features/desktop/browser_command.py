"""`byway browser`: opens a browser window with its own profile; nothing else on this computer changes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proxy.model.errors import BywayError
from proxy.model.feature import Role, provided
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_words
from proxy.terminal.exit_codes import Misused

if TYPE_CHECKING:
    from proxy.features.desktop.browsers import Browser
    from proxy.features.desktop.profiles import Launch
    from proxy.terminal.client import Client

_KINDS = ("chromium", "firefox", "brave", "chrome", "edge")
_HOME_PAGE = "http://byway.internal/"
_START_S = 1.5
"""A browser that ends with an error within this time did not start."""

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_CLOSE_S = 10.0


@root_command(example="byway browser firefox https://example.org")
def browser(
    call: Invocation,
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help=f"{', '.join(_KINDS[:-1])} or {_KINDS[-1]} (default: the first that is installed).",
            autocompletion=complete_words(_KINDS),
        ),
    ] = None,
    url: Annotated[str | None, typer.Argument(metavar="URL", help="Page to open.")] = None,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="OPTION", help="Options for the browser itself, after `--`.")
    ] = None,
    print_only: Annotated[bool, typer.Option("--print", help="Prepare the profile and print the command.")] = False,
) -> None:
    """Open a browser window that uses Byway, with its own profile.

    Nothing else on this computer changes. QUIC, the browser's own DNS and WebRTC around the proxy are off. With
    `byway run --ephemeral` the profile is removed when the window closes."""
    from proxy.model.document_version import VERSION

    requested, page, own = _arguments([word for word in (kind, url, *(options or ())) if word is not None])
    client = call.client()
    browser = _find(requested)
    _check_user(browser, own)
    if client.ephemeral and print_only:
        raise Misused("the running Byway stores nothing (--ephemeral): its profile ends with the window; leave --print")
    with _profile(call, client, browser) as (folder, inherited):
        ready = _prepare(call, client, browser, folder, page, own)
        if call.output.as_json:
            call.output.document(
                {
                    "version": VERSION,
                    "browser": str(browser.kind),
                    "profile": str(folder),
                    "temporary": client.ephemeral,
                    "command": list(ready.command),
                }
            )
        elif print_only:
            call.output.now(str(ready))
        else:
            call.output.hint(f"{browser.kind.brand} uses Byway at {client.proxy}. Profile: {folder}")
        if not print_only:
            _start(ready, inherited, wait=client.ephemeral, verbose=bool(call.flags.verbose))


def _arguments(words: list[str]) -> tuple[str | None, str, list[str]]:
    """Returns the kind, the page and the browser's own options of `[KIND] [URL] [-- OPTION…]`. Raises Misused."""
    if words and words[0].startswith(("/", "~", "./", "../")):
        from proxy.config.suggestions import one_of, quoted

        raise Misused(f"unknown browser {quoted(words[0])}: a program by its path is not opened; use {one_of(_KINDS)}")
    kind = words.pop(0).lower() if words and words[0].lower() in _KINDS else None
    page = words.pop(0) if words and not words[0].startswith("-") else _HOME_PAGE
    if words and not words[0].startswith("-"):
        from proxy.config.suggestions import quoted

        raise Misused(f"{quoted(words[0])} is neither a browser nor an option; give one page, then `--` and options")
    return kind, _page(page, is_only=kind is None), words


def _page(text: str, *, is_only: bool) -> str:
    """Returns the URL to open; a host alone means https. Raises Misused. With `is_only`, a word may be a misspelt
    browser."""
    from proxy.config.suggestions import one_of, quoted, suggestion

    scheme, separator, rest = text.partition("://")
    if not separator:
        if is_only and not any(sign in text for sign in ".:/") and text != "localhost":
            raise Misused(f"unknown browser {quoted(text)}{suggestion(text.lower(), _KINDS)}")
        return f"https://{text}"
    if scheme.lower() not in ("http", "https") or not rest:
        raise Misused(f"{quoted(text)} cannot be opened: it must begin with {one_of(['http://', 'https://'])}")
    return text


def _find(kind: str | None) -> Browser:
    """Returns the installed browser of this kind; None: the first one. Raises BywayError."""
    from proxy.features.desktop.browsers import BrowserKind, closed_folders, installed_browsers

    installed = list(installed_browsers(os.environ, sys.platform))
    browser = next((one for one in installed if kind in (None, one.kind)), None)
    if browser is not None:
        return browser
    closed = ", ".join(closed_folders(os.environ, sys.platform))
    unread = f"; not looked into, because you may not read it: {closed}" if closed else ""
    if kind is None:
        raise BywayError(f"no browser found on this computer: install Chromium or Firefox, or see `byway pac`{unread}")
    instead = f"; installed: {', '.join(one.kind for one in installed)}" if installed else ""
    raise BywayError(f"{BrowserKind(kind).brand} is not installed{instead}{unread}")


def _check_user(browser: Browser, options: Sequence[str]) -> None:
    """Raises BywayError for root: browsers of Chromium's kind run as root only without their sandbox."""
    from proxy.features.desktop.browsers import BrowserKind

    if sys.platform == "win32" or os.geteuid() != 0 or browser.kind is BrowserKind.FIREFOX:
        return
    if "--no-sandbox" not in options:
        raise BywayError(
            f"{browser.kind.brand} does not run as root: its sandbox would be off; run `byway browser` as your own user"
        )


@contextlib.contextmanager
def _profile(call: Invocation, client: Client, browser: Browser) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """Yields the folder of the profile and the files that the browser must inherit. The profile is in the state folder;
    for a Byway that stores nothing, it is temporary and removed at the end."""
    from proxy.features.desktop.browsers import Packaging
    from proxy.features.desktop.profiles import profile_folder
    from proxy.features.desktop.temporary_profiles import places, remove_left_over, temporary_profile

    home = Path(os.path.expanduser("~"))
    folder = profile_folder(browser, client.state, home)
    usual, *others = places(call.paths.runtime_dir, home)
    for place in (usual, *others):
        remove_left_over(place)
    if not client.ephemeral:
        yield folder, ()
        return
    with temporary_profile(folder.parent if browser.packaging is Packaging.SNAP else usual) as made:
        yield made.folder, (made.lock,)


def _prepare(
    call: Invocation, client: Client, browser: Browser, folder: Path, page: str, options: Sequence[str]
) -> Launch:
    from proxy.features.desktop.browsers import BrowserKind
    from proxy.features.desktop.profiles import launch, make_profile

    make_profile(browser, folder, client.proxy)
    spki = ""
    inspects = any(rule["text"].upper().endswith(",INSPECT") for rule in client.get("/v1/rules")["rules"])
    if inspects and (trust := provided(call.features, Role.PROFILE_TRUST)) is not None:
        firefox = folder if browser.kind is BrowserKind.FIREFOX else None
        spki, problem = trust(call.paths, firefox, ephemeral=client.ephemeral)
        if problem:
            call.output.hint(f"Inspected sites show a warning: {problem}")
    return launch(browser, folder, client.proxy, page, spki=spki, options=options)


def _start(ready: Launch, inherited: tuple[int, ...], *, wait: bool, verbose: bool) -> None:
    """Starts the browser; with `wait`, returns when it has ended. Raises BywayError when it does not start."""
    output = None if verbose else subprocess.DEVNULL
    detached = not wait and not verbose  # otherwise Ctrl-C here also ends the browser
    try:
        process = subprocess.Popen(
            ready.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=detached,
            pass_fds=inherited if os.name == "posix" else (),
        )
    except OSError as error:
        raise BywayError(f"{ready.browser.program} cannot be started: {error.strerror or error}") from None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(None if wait else _START_S)
    except KeyboardInterrupt:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_CLOSE_S)
        raise
    if process.returncode:
        ended = f"{ready.browser.kind.brand} ended with exit code {process.returncode}"
        is_windowless = any(word.startswith(("--headless", "-headless")) for word in ready.command)
        if sys.platform == "linux" and not is_windowless and not any(map(os.environ.get, _DISPLAYS)):
            raise BywayError(f"{ended}: this terminal has no graphical display; use a terminal of your desktop")
        raise BywayError(f"{ended}; `-v` shows what it prints")
