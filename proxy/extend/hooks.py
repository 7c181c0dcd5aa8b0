"""Every hook that an addon may have, declared once: what it gets, when it runs, what it may answer, and how long.

An addon is an object, or a module, that has some of these as methods. The class below is their documentation and their
type: no addon needs to inherit from it. `HOOKS` is made from it, and so are the checks of an addon's signatures and
`byway addons docs`.

What a hook raises, answers wrongly or takes too long for is caught, counted and said; what the addon last kept to
relays or refused stays so meanwhile. Three things cannot be guarded against: `os._exit` ends Byway, C code that does
not come back stops it (the log names the hook), and so does Python that catches everything it is broken off with.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from proxy.model import Attempt, Change, Destination, Outcome, Plan, Request, Route, Signal

if TYPE_CHECKING:
    from proxy.extend.api import Api
    from proxy.net.stream import Stream

_T = TypeVar("_T")
Now: TypeAlias = _T | Awaitable[_T]
"""What a hook answers that may be `async`."""

BUDGET_S = 0.05
"""A hook on the way of a request that takes longer is slow, and that counts as a fault."""
LIMIT_S = 1.0
"""A hook that keeps the whole of Byway waiting for so long is broken off (Unix)."""
PATIENCE_S = 10.0
"""What an `async` hook may wait for. A `dial` has a handshake's time, which is a setting."""
FAULTS_MAX = 3
"""With so many faults an addon is switched off until it is edited."""


class Hooks:
    """All hooks. Values are frozen; to answer, return a new one. None always means: as if there were no such hook."""

    def start(self, api: Api) -> Now[None]:
        """Once, when the addon is loaded, and again after each edit. `api` has its options and what it may ask of
        Byway. A fault here is a fault of the whole file: it is not taken, and the version before it goes on.

        Budget: 1 s of computing at a stretch; `async`, it may wait for 10 s."""

    def stop(self) -> Now[None]:
        """Once, before the addon is left: at the end, when it was edited, or switched off. Whatever it started with
        `api.spawn` is cancelled by itself.

        Budget: 1 s of computing at a stretch; `async`, it may wait for 2 s."""

    def admit(self, request: Request) -> Now[str | None]:
        """Before a request is planned. A sentence refuses it, and is what the client is told where that can be shown;
        None lets it go on. Of several addons the first that refuses decides. In `request.destination` the host is the
        name, also where a client gave an address and named the host in its first bytes; then it is asked again.

        Budget: 50 ms of computing; `async`, it may wait for 10 s."""

    def plan(self, request: Request, plan: Plan) -> Now[Plan | None]:
        """After rules, overrides and beliefs have made a plan. What it returns replaces the plan, even one of RELAY or
        BLOCK, and the log names the addon: `plan.via("tor")`, `plan.prefer("tor")`, `plan.direct()`,
        `plan.block("why")`, `plan.inspect()`. None leaves it. Addons are asked in the order of their names, each sees
        the plan of the one before. The address guard comes first and is not asked again: what it refused stays so.

        Budget: 50 ms of computing; `async`, it may wait for 10 s."""

    def signal(self, request: Request, signal: Signal) -> Signal | None:
        """When something was seen that speaks for blocking, before it counts. Return it with another `weight` (0 to
        100; 0: it does not count) or `cause`; None leaves it. Never `async`: signals are learned immediately.

        Budget: 50 ms."""

    def classify(self, head: str, body: bytes) -> str | bool | None:
        """When a page or a redirect came in plain HTTP, whether fingerprints know it or not. `head` is the status line
        and the fields, `body` what has come of it, 32 KiB at most, decoded from chunks and gzip. A name says that it is
        a block page and which one, False that it is the site's own whatever fingerprints say, None that the addon does
        not know. Never `async`: the client waits.

        Budget: 50 ms."""

    def attempt(self, request: Request, attempt: Attempt) -> Now[None]:
        """When a try of one route was judged: it delivered, or failed and how. Nobody waits.

        Budget: 50 ms of computing; `async`, it may wait for 10 s."""

    def outcome(self, outcome: Outcome) -> Now[None]:
        """When a connection or a plain request is over and is written down, if it is: hosts of `[log] never` are not
        told. Nobody waits.

        Budget: 50 ms of computing; `async`, it may wait for 10 s."""

    def change(self, change: Change) -> Now[None]:
        """When what is believed of a site has changed, with the evidence. Nobody waits.

        Budget: 50 ms of computing; `async`, it may wait for 10 s."""

    def unreachable(self, request: Request, outcome: Outcome) -> Now[str | None]:
        """When no route brought an answer to a plain HTTP request. A URL sends the client there in place of the error
        page; None shows the page. From https nobody can be sent elsewhere: nothing is signed in the name of a site
        that has not shown its certificate.

        Budget: 50 ms of computing; `async`, it may wait for 10 s."""

    def dial(self, route: Route, destination: Destination) -> Now[Stream | None]:
        """For relays of a kind of one's own, with the URL `addon://NAME`, NAME being this addon's: open a path to
        `destination`, by its name, and return the stream, for which `api.dial` helps. None, DialError or OSError, which
        count as no fault, and a fault mean that the relay is down; they never mean that something goes direct.

        Budget: 50 ms of computing; `async`, it may wait as long as a handshake with a relay may take."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One of them."""

    name: str
    parameters: tuple[str, ...]  # their names, without self
    doc: str
    may_be_async: bool
    waited_for: bool
    """Somebody waits for its answer, so it has a budget."""


_WAITED_FOR = frozenset({"admit", "plan", "signal", "classify", "unreachable"})
_NEVER_ASYNC = frozenset({"signal", "classify"})


def _declared() -> dict[str, Hook]:
    found = {}
    for name, function in vars(Hooks).items():
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        parameters = tuple(inspect.signature(function).parameters)[1:]
        doc = inspect.getdoc(function) or ""
        found[name] = Hook(name, parameters, doc, name not in _NEVER_ASYNC, name in _WAITED_FOR)
    return found


HOOKS: Mapping[str, Hook] = MappingProxyType(_declared())
