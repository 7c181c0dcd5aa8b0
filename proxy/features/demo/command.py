"""`byway demo`: shows Byway at work, in a few seconds."""

from __future__ import annotations

from proxy.terminal.command import Invocation, root_command
from proxy.terminal.exit_codes import Exit


@root_command(example="byway demo")
def demo(call: Invocation) -> Exit:
    """Show what Byway does, in a few seconds, on this computer alone."""
    from proxy.features.demo import demo  # it imports TLS, cryptography and asyncio, which no other command needs

    return Exit(demo.main(as_json=call.output.as_json))
