"""The results of `byway relay scan`: which listeners are relays already, which can be tried and added, and their rows
and document."""

from __future__ import annotations

from collections.abc import Iterator

from proxy.config.relays import is_loopback, is_name
from proxy.config.schema import Settings
from proxy.config.suggestions import quoted
from proxy.features.relays.scan import TryOut, scan, try_out
from proxy.languages.amounts import span
from proxy.model import Destination
from proxy.model.document import Document, versioned
from proxy.probe.local_proxies import LOOPBACK, KnownPort, Listener, known_ports
from proxy.probe.site_name import site
from proxy.terminal.exit_codes import Misused, as_misuse
from proxy.wire import relay_url

PORTS_MAX = 256


class LocalScan:
    """One scan, from the ports to the relays that may be added."""

    def __init__(self, settings: Settings, *, own_port: int | None) -> None:
        """`own_port` is the port of the running Byway; None: none runs."""
        self._settings = settings
        self._own = {settings.listen.port, *(() if own_port is None else (own_port,))}
        self._relays = dict(_local_relays(settings))
        self._tried: dict[Listener, TryOut] = {}
        self._named: list[int] = []
        self.asked: list[KnownPort] = []
        self.found: list[Listener] = []

    def ask(self, ports: str | None) -> None:
        """Scans the ports in the text of `--ports`; None: the known ones. Raises Misused for an invalid text."""
        scanned = known_ports()
        if ports is not None:
            by_number = {each.port: each for each in scanned}
            self._named = _ports(ports)
            scanned = [by_number.get(port, KnownPort(port)) for port in self._named]
        self.asked = [each for each in scanned if each.port not in self._own]
        self.found = scan(scanned, own=self._own)

    @property
    def proxies(self) -> list[Listener]:
        """The listeners through which a connection may be tried: they speak a protocol, and need no user."""
        return [each for each in self.found if each.kind is not None and not each.wants_user]

    @property
    def addable(self) -> list[Listener]:
        """The proxies that are no relays yet, without those through which a connection failed. An HTTP server counts
        only after a connection through it opened."""
        return [
            each
            for each in self.proxies
            if each.known.port not in self._relays
            and (self._tried[each].trial.ok if each in self._tried else each.is_proxy)
        ]

    @property
    def destination(self) -> Destination:
        """The destination of tried connections. Raises Misused when no control page is configured."""
        controls = self._settings.auto.controls
        if not controls:
            raise Misused("`[auto] controls` is empty: there is nowhere to connect to")
        with as_misuse():
            return site(controls[0])

    def try_out(self) -> None:
        """Opens two connections through each of `proxies`: one by PySocks, as a check."""
        proxies = self.proxies
        self._tried = dict(zip(proxies, try_out(proxies, self.destination), strict=True))

    def row(self, listener: Listener) -> tuple[int, str, str, str, str]:
        """Returns the port, its usual programs, the kind of listener, whether it leads out, and its relay if it has
        one."""
        tried = self._tried.get(listener)
        if tried is None:
            out = "" if listener in self.proxies else "not tried"
        else:
            out = f"yes ({span(tried.trial.elapsed_s)})" if tried.trial.ok else f"no: {tried.trial.fault}"
        known = listener.known
        return known.port, known.programs, listener.words, out, self._relays.get(known.port, "")

    def hints(self) -> Iterator[str]:
        """Yields sentences about ports that were left out, disagreements and next steps."""
        if own := [str(port) for port in self._named if port in self._own]:
            yield f"Byway's own port was not asked: {', '.join(own)}."
        for each in self.found:
            tried = self._tried.get(each)
            if tried is not None and tried.pysocks_ok is not None and tried.pysocks_ok is not tried.trial.ok:
                error = tried.pysocks_error or tried.trial.error
                yield f"Port {each.known.port}: Byway and PySocks disagree ({error})."
            if each.wants_user and each.known.port not in self._relays:
                scheme = each.url.partition("://")[0]
                yield f"To add port {each.known.port}: `byway relay add {scheme}://USER@{LOOPBACK}:{each.known.port}`"
        if not self._tried and any(not each.is_proxy for each in self.proxies):
            yield "Whether an HTTP server is a proxy shows `--try-out`."

    def document(self, added: list[str]) -> Document:
        """Serializes all listeners. `leads_out` is null when no connection was tried."""
        listeners = []
        for each in self.found:
            tried = self._tried.get(each)
            listeners.append(
                {
                    "port": each.known.port,
                    "programs": each.known.programs,
                    "kind": None if each.kind is None else str(each.kind),
                    "url": each.url or None,
                    "is_proxy": each.is_proxy,
                    "wants_user": each.wants_user,
                    "words": each.words,
                    "relay": self._relays.get(each.known.port),
                    "leads_out": None if tried is None else tried.trial.ok,
                    "error": "" if tried is None else tried.trial.error,
                    "pysocks_leads_out": None if tried is None else tried.pysocks_ok,
                }
            )
        return versioned(asked=[each.port for each in self.asked], listeners=listeners, added=added)


def _local_relays(settings: Settings) -> Iterator[tuple[int, str]]:
    """Yields the port on this computer and the name of each relay that is no chain."""
    for relay in settings.relay:
        if ">" not in relay.url and not is_name(relay.url) and not relay_url.is_key(relay.url):
            url = relay_url.parse(relay.url)
            if is_loopback(url.host):
                yield url.port, relay.name


def _ports(text: str) -> list[int]:
    """Parses numbers of ports, separated by commas. Raises Misused."""
    ports = []
    for word in text.split(","):
        if not (word.strip().isascii() and word.strip().isdecimal() and 0 < int(word) < 65536):
            raise Misused(f"{quoted(word.strip())} is not a port: use numbers from 1 to 65535, such as 1080,9050")
        ports.append(int(word))
    if len(ports) > PORTS_MAX:
        raise Misused(f"at most {PORTS_MAX} ports can be asked at once")
    return list(dict.fromkeys(ports))
