"""`byway pac`: the URL and the text of the proxy configuration file for browsers."""

from __future__ import annotations

from typing import Annotated

import typer

from proxy.terminal.command import Invocation, root_command


@root_command(example="byway pac --strict")
def pac(
    call: Invocation,
    strict: Annotated[bool, typer.Option("--strict", help="The file that names no direct route.")] = False,
) -> None:
    """Show the PAC file for browsers: its URL and its text.

    While Byway does not run, browsers go direct. The file of --strict names no direct route, but a browser that cannot
    load a PAC file goes direct as well: only the address of the proxy, as `byway browser` sets it, prevents that."""
    from proxy.control.pac import Pac, pac_text
    from proxy.features.desktop.proxy_address import proxy_address
    from proxy.model.document_version import VERSION

    proxy, running = proxy_address(call)
    variant = Pac.STRICT if strict else Pac.LENIENT
    url, text = f"http://{proxy}{variant}", pac_text(variant, proxy)
    if call.output.answered({"version": VERSION, "url": url, "running": running, "strict": strict, "text": text}):
        return
    call.output.now(f"// {url}\n{text.rstrip()}")
