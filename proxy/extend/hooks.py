"""Declares every hook of an addon: its parameters, the time of the call, its result, and its time limit.

An addon is an object, or a module, that has some of these as methods. The class below is their documentation and their
type; an addon need not inherit from it. `HOOKS`, the check of signatures and `byway addons docs` are made from it.

A hook that raises, returns a wrong value or takes too long is stopped, logged and counted. Sites that the addon last
refused or sent to relays stay so meanwhile. Three things cannot be stopped: `os._exit` ends Byway; C code that does not
return, and Python that catches every exception, block it (the log names the hook).
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from proxy.model import Attempt, Change, Destination, Outcome, Plan, Request, Route, Signal
from proxy.model.frozen_dataclass import frozen_dataclass

if TYPE_CHECKING:
    from proxy.extend.api import Api
    from proxy.net.stream import Stream

_T = TypeVar("_T")
Now: TypeAlias = _T | Awaitable[_T]
"""The return type of a hook that may be `async`."""


class Hooks:
    """All hooks. Values are frozen; to answer, return a new one. None always means: as if there were no such hook."""

    def start(self, api: Api) -> Now[None]:
        """Called once when the addon is loaded, and again after each edit. `api` holds its options and what it may ask
        of Byway. If it fails, the file is not used and the previous version keeps running.

        Budget: 1 s of computing at a time; an `async` hook may wait for 10 s."""

    def stop(self) -> Now[None]:
        """Called once before the addon is unloaded: at exit, after an edit, or when it is disabled. What it started
        with `api.spawn` is cancelled automatically.

        Budget: 1 s of computing at a time; an `async` hook may wait for 2 s."""

    def admit(self, request: Request) -> Now[str | None]:
        """Called before a request is planned. Return a sentence to refuse the request; the client is shown it where
        possible. Return None to allow the request. With several addons, the first refusal decides. The host in
        `request.destination` is a name, also when the client connected to an address and sent the name in its first
        bytes; then the hook is called again.

        Budget: 50 ms of computing; an `async` hook may wait for 10 s."""

    def plan(self, request: Request, plan: Plan) -> Now[Plan | None]:
        """Called after rules, overrides and the site's stored status have made a plan. The returned plan replaces it,
        even a RELAY or BLOCK plan, and the log names the addon: `plan.via("tor")`, `plan.prefer("tor")`,
        `plan.direct()`, `plan.block("why")`, `plan.inspect()`. None keeps the plan. Addons are called in the order of
        their names; each gets the plan of the previous one. The address guard runs first and is not repeated: what it
        refused stays refused.

        Budget: 50 ms of computing; an `async` hook may wait for 10 s."""

    def signal(self, request: Request, signal: Signal) -> Signal | None:
        """Called when a sign of blocking was observed, before it counts. Return it with another `weight` (0 to 100; 0:
        it does not count) or `cause`; None keeps it. Never `async`: learning is synchronous.

        Budget: 50 ms."""

    def classify(self, head: str, body: bytes) -> str | bool | None:
        """Called when a page or a redirect arrived over plain HTTP, whether a fingerprint matches or not. `head` is the
        status line and the header fields; `body` is what has arrived of the body, 32 KiB at most, with chunks and gzip
        decoded. Return a name if it is a block page, False if it is the site's own page whatever the fingerprints say,
        None if the addon does not know. Never `async`: the client waits.

        Budget: 50 ms."""

    def attempt(self, request: Request, attempt: Attempt) -> Now[None]:
        """Called when an attempt on one route has ended: it delivered, or it failed and how. Nothing waits for this
        hook.

        Budget: 50 ms of computing; an `async` hook may wait for 10 s."""

    def outcome(self, outcome: Outcome) -> Now[None]:
        """Called when a connection or a plain HTTP request has ended. Hosts of `[log] never` are left out. Nothing
        waits for this hook.

        Budget: 50 ms of computing; an `async` hook may wait for 10 s."""

    def change(self, change: Change) -> Now[None]:
        """Called when the stored status of a site has changed, with the evidence. Nothing waits for this hook.

        Budget: 50 ms of computing; an `async` hook may wait for 10 s."""

    def unreachable(self, request: Request, outcome: Outcome) -> Now[str | None]:
        """Called when no route brought an answer to a plain HTTP request. Return a URL to redirect the client there;
        None shows the error page. HTTPS requests cannot be redirected: nothing is signed in the name of a site that has
        not shown its certificate.

        Budget: 50 ms of computing; an `async` hook may wait for 10 s."""

    def dial(self, route: Route, destination: Destination) -> Now[Stream | None]:
        """For relays of your own kind, with the URL `addon://NAME`, where NAME is the addon's name. Open a connection
        to `destination`, by its name, and return the stream; `api.dial` helps. None, DialError or OSError mean that the
        relay is down and are not faults; a fault means the same. The connection is never made direct instead.

        Budget: 50 ms of computing; an `async` hook may wait as long as a relay handshake may take."""


@frozen_dataclass
class Hook:
    """One hook, as Byway calls it."""

    name: str
    parameters: tuple[str, ...]  # their names, without self
    may_be_async: bool
    waited_for: bool
    """Whether a connection waits for its answer, so that a slow call counts as a fault."""

    @property
    def doc(self) -> str:
        """The documentation of the hook in `Hooks`."""
        return inspect.getdoc(getattr(Hooks, self.name)) or ""


_WAITED_FOR = frozenset({"admit", "plan", "signal", "classify", "unreachable"})
_NEVER_ASYNC = frozenset({"signal", "classify"})


# Without `inspect.signature`, and without the documentation: together they took 3 ms of each start.
HOOKS: Mapping[str, Hook] = MappingProxyType(
    {
        name: Hook(name, code.co_varnames[1 : code.co_argcount], name not in _NEVER_ASYNC, name in _WAITED_FOR)
        for name, function in vars(Hooks).items()
        if not name.startswith("_") and inspect.isfunction(function) and (code := function.__code__)
    }
)
