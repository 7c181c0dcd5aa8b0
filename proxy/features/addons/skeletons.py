"""The templates of `byway addons new`: for each kind, an addon that works and does nothing yet.

A kind is a hook, or `inspect` for an addon that reads pages. The documentation of the hook (`hooks.py`) is above it, so
that an author needs nothing else offline.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from types import MappingProxyType

from proxy.extend.hooks import HOOKS

_WIDTH = 100

_IMPORTS: Mapping[str, str] = MappingProxyType(
    {
        "admit": "from proxy.model import Request",
        "plan": "from proxy.model import Plan, Request",
        "signal": "from dataclasses import replace\n\nfrom proxy.model import Request, Signal",
        "classify": "",
        "attempt": "from proxy.model import Attempt, Request",
        "outcome": "from proxy.model import Outcome",
        "change": "from proxy.extend.api import Api\nfrom proxy.model import Change, State",
        "unreachable": "from proxy.model import Outcome, Request",
        "dial": "from proxy.extend.api import Api\nfrom proxy.model import Destination, Route\n"
        "from proxy.net.stream import Stream",
        "inspect": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from mitmproxy.http import HTTPFlow",
    }
)

_BODIES: Mapping[str, str] = MappingProxyType(
    {
        "admit": """
def admit(request: Request) -> str | None:
    if request.destination.host.endswith(".tracker.example"):
        return "it is a tracker"
    return None
""",
        "plan": """
def plan(request: Request, plan: Plan) -> Plan | None:
    if request.destination.host.endswith(".blocked.example"):
        return plan.via("tor")  # or plan.prefer("tor"), plan.direct(), plan.block("why"), plan.inspect()
    return None
""",
        "signal": """
def signal(request: Request, signal: Signal) -> Signal | None:
    if signal.id == "tls_silent" and request.destination.host.endswith(".slow.example"):
        return replace(signal, weight=signal.weight / 2)
    return None
""",
        "classify": """
def classify(head: str, body: bytes) -> str | bool | None:
    if b"blocked by order no. 0000" in body:
        return "my-provider"
    return None
""",
        "attempt": """
class Count:
    def __init__(self) -> None:
        self.tries: dict[str, int] = {}

    def attempt(self, request: Request, attempt: Attempt) -> None:
        route = str(attempt.route)
        self.tries[route] = self.tries.get(route, 0) + 1


addons = [Count()]
""",
        "outcome": """
class Count:
    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}

    def outcome(self, outcome: Outcome) -> None:
        route = str(outcome.winner or "none")
        self.bytes[route] = self.bytes.get(route, 0) + outcome.bytes_up + outcome.bytes_down


addons = [Count()]
""",
        "change": """
class Tell:
    def start(self, api: Api) -> None:
        self.api = api

    def change(self, change: Change) -> None:
        if change.after is State.BLOCKED and change.before is not State.BLOCKED:
            self.api.notify("blocked", f"{change.scope}: {change.why}")


addons = [Tell()]
""",
        "unreachable": """
def unreachable(request: Request, outcome: Outcome) -> str | None:
    if request.http is not None and request.destination.host.endswith(".blocked.example"):
        return f"https://mirror.example{request.http.target}"
    return None
""",
        "dial": """
# A relay of your own kind. In config.toml: [[relay]], name = "mine", url = "addon://NAME" with this file's name.
class Mine:
    def start(self, api: Api) -> None:
        self.api = api

    async def dial(self, route: Route, destination: Destination) -> Stream | None:
        return await self.api.dial("socks5h://127.0.0.1:1080", destination)


addons = [Mine()]
""",
        "inspect": """
# Called as mitmproxy calls it, for what a rule INSPECTs: DOMAIN-SUFFIX,example.org,AUTO,INSPECT
def request(flow: HTTPFlow) -> None:
    if flow.request.host == "api.example":
        flow.request.headers["Accept-Language"] = "kk"
""",
    }
)

KINDS = tuple(_BODIES)


def skeleton(name: str, kind: str) -> str:
    """Returns the text of a new file."""
    parts = [
        f'"""{name}: say here in a sentence what it is for; `byway addons list` shows it."""',
        "from __future__ import annotations",
        _IMPORTS[kind],
        f"{_explained(kind)}{_BODIES[kind].strip()}",
    ]
    return "\n\n".join(part for part in parts[:-1] if part) + f"\n\n\n{parts[-1]}\n"


def _explained(kind: str) -> str:
    """Returns the hook's documentation as comments."""
    hook = HOOKS.get(kind)
    if hook is None:
        return ""
    text = " ".join(hook.doc.split())
    return "".join(f"# {line}\n" for line in textwrap.wrap(f"{kind}: {text}", _WIDTH))
