"""`byway open`: signs this user's browser in to the dashboard."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Annotated

import typer

from proxy.features.table import FEATURES
from proxy.model.errors import BywayError
from proxy.model.feature import pages_of
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.completion import complete_words
from proxy.terminal.exit_codes import Exit

_PAGES = tuple(pages_of(FEATURES))

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")

_FILES = "open-*.html"

_FORM = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Byway</title>
<form method="post" action="{url}"><input type="hidden" name="code" value="{code}"><button>Open the dashboard</button>
</form><script>document.forms[0].submit()</script></html>
"""
"""The page that the browser opens. It posts the code, which in an address would stay in the browser's history."""


@root_command(example="byway open sites")
def open_page(
    call: Invocation,
    page: Annotated[
        str,
        typer.Argument(metavar="PAGE", help=f"{', '.join(_PAGES)}.", autocompletion=complete_words(_PAGES)),
    ] = "today",
    print_only: Annotated[
        bool, typer.Option("--print", help="Print the address and a code to type, for another browser.")
    ] = False,
) -> Exit | None:
    """Open the dashboard in your browser.

    A one-time code signs the browser in. It is valid once and for 60 seconds, and only on this computer."""
    client = call.client()
    url = f"http://{client.proxy}/sign-in"
    answers = client.post_and_follow("/v1/sign-in", {"page": page})
    given = next(answers)
    code = str(given["code"])
    if call.output.as_json:
        call.output.document({**given, "url": url})
    elif print_only:
        call.output.now(f"Open {url} and type: {code}")
        call.output.hint(f"The code is valid once, for {given['valid_s']:.0f} s.")
    else:
        with _forwarding_file(call.paths.state_dir if not client.ephemeral else None, url, code) as file:
            _show(file)
            if not next(answers)["used"]:
                raise BywayError(
                    f"the browser did not open the dashboard within {given['valid_s']:.0f} s; `byway open --print` "
                    "shows a code to type"
                )
        call.output.hint("The dashboard is open in your browser.")
    return None


@contextlib.contextmanager
def _forwarding_file(folder: Path | None, url: str, code: str) -> Iterator[Path]:
    """Writes a page of mode 0600 that leads the browser to the dashboard. Removes it at the end, and at the start those
    of killed commands. Without a `folder`, it is a temporary file."""
    import tempfile

    from proxy.config.paths import write_private

    page = _FORM.format(url=escape(url), code=escape(code))
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="byway-") as made:
            file = Path(made) / "open.html"
            write_private(file, page)
            yield file
        return
    for left in folder.glob(_FILES):
        left.unlink(missing_ok=True)
    file = folder / f"open-{os.getpid()}.html"
    try:
        write_private(file, page)
        yield file
    finally:
        file.unlink(missing_ok=True)


def _show(file: Path) -> None:
    """Opens a file in the default browser. Raises BywayError when there is none."""
    import webbrowser

    has_display = sys.platform != "linux" or any(map(os.environ.get, _DISPLAYS))
    if not has_display or not webbrowser.open(file.as_uri()):
        why = "no browser can be started" if has_display else "this terminal has no graphical display"
        raise BywayError(f"{why}; `byway open --print` shows a code to type in any browser of this computer")
