"""Draws a Setup as text: what was made of a configuration, down to the dialers, lookups and numbers.

One object is drawn once. Where it stands a second time, its mark stands: so a picture also shows what is shared.
Nothing is drawn that differs by machine: this computer's own addresses and name, its files, what the kernel offers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from proxy.model import DIRECT, DOH, Belief, Destination, Inbound, NetworkId, Request, Route
from proxy.model.errors import ConfigError
from proxy.net.dialers.tcp import GuardAddress
from proxy.routing.rule import Situation
from proxy.session.setup import Setup

HOSTS = (
    "example.org",
    "www.listed.test",
    "never.test",
    "nas.lan",
    "inspected.test",
    "overridden.test",
    "hidden.onion",
    "192.168.77.1",
)
"""Destinations that are planned; port 443."""

_ADDRESSES = tuple(
    map(ipaddress.ip_address, ("8.8.8.8", "10.77.0.1", "127.0.0.1", "169.254.1.1", "2001:4860:4860::8888"))
)
"""Addresses that guards judge."""

_DRAWN: Mapping[str, Sequence[str]] = {
    "TcpDialer": ("connect_timeout_s", "stagger_s", "_cached", "_look_up", "_guard_address"),
    "FragmentingDialer": ("_strategy", "_dialer"),
    "PaceDialer": ("_pause_s", "_dialer"),
    "DisorderDialer": ("_dialer",),
    "Socks5Dialer": ("_relay", "_name", "_send_credentials", "_timeout_s", "_path_timeout_s", "_slots", "_via"),
    "Socks4Dialer": ("_relay", "_name", "_send_credentials", "_timeout_s", "_path_timeout_s", "_slots", "_via"),
    "HttpConnectDialer": ("_relay", "_name", "_send_credentials", "_timeout_s", "_path_timeout_s", "_slots", "_via"),
    "Http2ConnectDialer": ("_relay", "_name", "_send_credentials", "_timeout_s", "_path_timeout_s", "_slots", "_via"),
    "AddonDialer": ("_addon", "_relay", "_timeout_s"),
    "TlsDialer": ("server_name", "_pin", "_relay", "_timeout_s", "_via"),
    "RelayWaysDialer": ("endpoints", "relay", "_timeout_s", "road", "_tls", "_via"),
    "RoadToRelays": ("strategies", "retests", "lookup"),
    "Slots": ("_handshakes", "_paths", "_wait_s", "spacing"),
    "Semaphore": ("_value",),
    "HelloSpacing": (),
    "Resolver": (
        *("_hosts", "_timeout_s", "_keep_s", "_encrypted_for", "_local", "_has_exceptions"),
        *("_tampering", "_system", "_encrypted"),
    ),
    "EncryptedLookup": ("_resolver",),
    "_NoResolver": (),
    "TamperingChecks": ("_controls", "_keep_s"),
    "StubResolver": ("_retry_s", "_second_answer_s", "_files_every_s"),
    "EncryptedDns": ("_timeout_s", "_stagger_s", "_down_s", "_idle_s", "_servers", "_paths", "_reserve"),
    "RelayLookup": ("_patience_s", "_public_only", "_is_public", "_resolver"),
    "RelayUrl": ("password", "ca"),
}
"""By the name of a class, which of its attributes are drawn."""


class Drawing:
    """The lines of one picture."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        self._setup = setup
        self._folder = str(folder)
        self._marks: dict[int, str] = {}
        self._kept: list[object] = []
        """What was drawn, so that no id is used again."""

    def text(self) -> str:
        return "".join(f"{line.replace(self._folder, 'FOLDER').rstrip()}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        setup = self._setup
        registry = setup.registry
        yield f"own url: {setup.own_url}"
        credentials = setup.inbound.credentials
        yield f"clients: {'anyone' if credentials is None else f'{credentials.user} {credentials.password}'}"
        ours = ("localhost:8119", "127.0.0.1:8119", "127.0.0.1:80", "byway.internal", "byway.test", "192.0.2.1:8119")
        yield f"we are: {[name for name in ours if setup.inbound._is_ours(name)]}"
        yield f"groups: {[(group.name, group.members, str(group.policy)) for group in setup.groups]}"
        yield f"relays: {registry.relay_names}, with alternatives: {self._short(registry.with_alternatives)}"
        for name in registry.relay_names:
            missing = [host for host in HOSTS if not registry.carries(Route((name,)), Destination(host, 443))]
            yield f"relay {name}: to {registry.first_endpoint(name)}, carries all{f' but {missing}' * bool(missing)}"
            if why := registry.addresses_only(name):
                yield f"  {why}"
        routes = [DIRECT, DOH, Route((), ("doh", "ipv4", "tlsrec")), Route((), ("disorder",))]
        routes += [Route((name,)) for name in registry.relay_names]
        routes += [Route((registry.relay_names[-1],), ("split",))] if registry.relay_names else []
        for route in routes:
            yield from self._drawn(registry.dialer(route), f"route {route}")
        yield from self._drawn(registry._road, "road")
        yield from self._drawn(setup.resolver, "resolver")
        plans: dict[str, list[str]] = {}
        for host in HOSTS:
            plans.setdefault("\n".join(self._plan(host)), []).append(host)
        for plan, hosts in plans.items():
            yield f"plan of {', '.join(hosts)}:"
            yield from plan.splitlines()
        yield f"overrides: {self._short(setup.router.overrides)}"
        yield f"rules: {[rule.why for rule in setup.router.rules.rules]}, lists {sorted(setup.router.rules.lists)}"

    def _plan(self, host: str) -> Iterator[str]:
        setup, destination = self._setup, Destination(host, 443)
        yield f"  home {setup.router.is_home(destination, host)}, refused: {setup.guard.refuse_host(destination)}"
        network = NetworkId("00000000000cafe0")
        plan = setup.router.plan(
            Request(1, destination, Inbound.CONNECT, client=""),
            Belief(host, network),
            relays=setup.registry.relay_names,
            now=1_700_000_000.0,
            situation=Situation(network),
        )
        yield f"  {plan.action} by {plan.why}: {' '.join(map(str, plan.routes))}{' inspected' * plan.intercept}"
        for step in setup.router.trace(destination, now=1_700_000_000.0):
            yield f"  {step}"

    def _drawn(self, value: Any, name: str, depth: int = 0) -> Iterator[str]:
        """Draws a value, its plain attributes in its line, and below it those that are objects themselves."""
        value, through = _behind(value)
        kind = type(value).__name__
        line = f"{'  ' * depth}{name.lstrip('_')}: {through}"
        if kind not in _DRAWN:
            yield f"{line}{self._short(value)}"
            return
        is_new = id(value) not in self._marks
        line += self._marks.setdefault(id(value), f"{kind} #{len(self._marks) + 1}")
        if not is_new:
            yield line
            return
        self._kept.append(value)
        line += f" {value}" if kind == "RelayUrl" else ""
        below: list[tuple[str, Any]] = []
        for attribute in _DRAWN[kind]:
            held = getattr(value, attribute)
            if attribute == "_is_public":
                public = None if held is None else [address for address in _ADDRESSES if held(address)]
                line += f", is_public {self._short(public)}"
            elif attribute == "_guard_address":
                line += f", guard_address {self._refusals(held)}"
            elif type(_behind(held)[0]).__name__ in _DRAWN:
                below.append((attribute, held))
            elif isinstance(held, Sequence) and any(type(item).__name__ in _DRAWN for item in held):
                below += [(f"{attribute} {number}", item) for number, item in enumerate(held, 1)]
            else:
                line += f", {attribute.lstrip('_')} {self._short(held)}"
        yield line
        for attribute, held in below:
            yield from self._drawn(held, attribute, depth + 1)

    def _short(self, value: object) -> str:
        if isinstance(value, Mapping):
            return f"({', '.join(f'{key} → {self._short(item)}' for key, item in value.items())})"
        if isinstance(value, list | tuple | frozenset) and not hasattr(value, "_fields"):
            items = sorted(value) if isinstance(value, frozenset) else value
            return f"({', '.join(map(self._short, items))})"
        name = getattr(value, "__name__", None)
        return str(name or self._marks.get(id(value)) or value)

    def _refusals(self, refusal: GuardAddress) -> str:
        """Draws which addresses a guard refuses, also at Byway's own port."""
        refused = [
            [address for address in _ADDRESSES if refusal(Destination("example.org", port), address)]
            for port in (443, 8119)
        ]
        return f"refuses {self._short(refused[0])}, at its own port {self._short(refused[1])}"


def _behind(value: Any) -> tuple[Any, str]:
    """Returns the object of a bound method or of a partial function, and the function's name."""
    if isinstance(value, partial) and value.args:
        return value.args[0], f"{value.func.__name__} of "
    owner = getattr(value, "__self__", None)
    if owner is not None and type(owner).__name__ in _DRAWN:
        return owner, f"{value.__name__} of "
    return value, ""


def problems(error: ConfigError, folder: Path) -> str:
    """Draws what is wrong with a configuration, in its order."""
    return "".join(f"{problem.replace(str(folder), 'FOLDER')}\n" for problem in error.problems)
