"""The ways of blocking a site that Byway has to see through, one row each."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.country import Country
from tests.support.censor import Behaviour


@dataclass(frozen=True)
class Case:
    """One way of blocking, and what the log and the belief have to say of it."""

    id: str
    behaviour: Behaviour
    stage: str
    symptoms: tuple[str, ...]
    signal: str
    cause: str
    scheme: str = "https"

    @property
    def name(self) -> str:
        return f"{self.id}.test"

    def url(self, country: Country) -> str:
        port = country.origin.https_port if self.scheme == "https" else country.origin.http_port
        return f"{self.scheme}://{self.name}:{port}/"


BY_FAILURE = [
    Case("a-reset", Behaviour.RESET, "first_byte", ("reset",), "tls_reset", "sni_reset"),
    Case("a-closed", Behaviour.EOF, "first_byte", ("eof",), "tls_eof", "sni_reset"),
    Case("a-garbage", Behaviour.GARBAGE, "first_byte", ("garbage",), "tls_garbage", "sni_reset"),
    Case("a-alert", Behaviour.ALERT, "first_byte", ("alert",), "tls_alert", "sni_reset"),
    Case("c-refused", Behaviour.REFUSE, "connect", ("refused",), "tcp_refused", "ip"),
    Case("e-http-reset", Behaviour.RESET, "first_byte", ("reset",), "http_reset", "http_host", "http"),
    Case("e-http-in-tunnel", Behaviour.RESET, "first_byte", ("reset",), "http_reset", "http_host", "tunnel"),
    Case("f-no-name", Behaviour.PASS, "resolve", ("no_name", "resolve_failed"), "dns_failed", "dns"),
]
DROPPED = [
    Case("b1-dropped", Behaviour.DROP, "first_byte", ("dropped",), "tls_dropped", "sni_drop"),
    Case("b1-dropped-http", Behaviour.DROP, "first_byte", ("dropped",), "http_dropped", "http_host", "http"),
]
SILENT = [
    Case("b2-silent", Behaviour.SILENT, "first_byte", ("silent",), "tls_silent", "sni_drop"),
    Case("b2-silent-http", Behaviour.SILENT, "first_byte", ("silent",), "http_silent", "http_host", "http"),
]
FULL = [Case("d-full-queue", Behaviour.FULL, "connect", ("timeout",), "tcp_timeout", "ip")]
CASES = [*BY_FAILURE, *DROPPED, *SILENT, *FULL]
