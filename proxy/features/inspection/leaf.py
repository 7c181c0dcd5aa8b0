"""Leaf certificates for sites, signed by the local CA, for clients whose connection is inspected.

A leaf is normally for the requested host only: a browser may send requests for every name of a certificate over the
connection that presented it (RFC 9113 section 9.1.1), past the rules for those names. All leaves of one run share a key
in memory, which is never written. One key per leaf would protect nothing: all keys are in the same process as the CA's.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterable
from dataclasses import field
from itertools import islice

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.features.inspection.authority import Authority, key_usage
from proxy.model import literal
from proxy.model.bounded import Bounded
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames

LIFETIME = datetime.timedelta(days=199)
"""The whole validity. Since March 2026, browsers refuse public certificates of more than 200 days (CA/Browser Forum
SC-081); the limit for a local authority differs today, and may follow."""

SLACK = datetime.timedelta(hours=2)
"""The validity begins this long ago, for slow clocks; never before that of the authority."""

RENEW_BEFORE = datetime.timedelta(days=1)
"""A leaf that expires within this time is issued again: connections last."""

LEAVES_MAX = 500
"""Cached leaves; the least recently used is dropped. One takes about 3 KB, and issuing one 0.2 ms."""

NAMES_MAX = 32
"""The most further names in one leaf."""

_NAMES_READ = 1000  # of an untrusted certificate, valid or not
_COMMON_NAME_LIMIT = 64  # RFC 5280, ub-common-name


@frozen_dataclass
class Leaf:
    """The certificate, chain and key of a TLS server for a host."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    """Its issuers: the authority."""
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        """The certificate and its issuers."""
        return b"".join(part.public_bytes(Encoding.PEM) for part in (self.certificate, *self.chain))

    def key_pem(self) -> bytes:
        """The key; for libraries that take nothing else."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class Leaves:
    """Issues the leaves of one CA, and caches them."""

    def __init__(self, authority: Authority, *, now: Callable[[], float] = time.time) -> None:
        self.authority = authority
        self._now = now
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._cache: Bounded[tuple[str, ...], Leaf] = Bounded(LEAVES_MAX)

    def __len__(self) -> int:
        return len(self._cache)

    def leaf(self, host: str, names: Iterable[str] = ()) -> Leaf:
        """Returns the leaf for a host: a name or an address, in any spelling. `names` are further hosts, which may come
        from an untrusted certificate: wildcards and invalid names are left out.

        Raises BywayError when `host` is invalid or the CA has expired."""
        try:
            hosts = tuple(dict.fromkeys((hostnames.host(host), *_plain_hosts(names))))
        except ValueError as error:
            raise BywayError(f"no certificate can be created for it: {error}") from None
        now = datetime.datetime.fromtimestamp(int(self._now()), datetime.UTC)
        leaf = self._cache.get(hosts)
        if leaf is None or not _is_current(leaf, now):
            leaf = self._issue(hosts, now)
        self._cache[hosts] = leaf  # written again, so that the least recently used is dropped first
        return leaf

    def forget(self, meant: Callable[[str], bool]) -> None:
        """Forgets the leaves with any host for which `meant` returns True."""
        for hosts in [hosts for hosts in self._cache if any(map(meant, hosts))]:
            del self._cache[hosts]

    def _issue(self, hosts: tuple[str, ...], now: datetime.datetime) -> Leaf:
        issuer = self.authority.certificate
        begin = max(now - SLACK, issuer.not_valid_before_utc)
        end = min(begin + LIFETIME, issuer.not_valid_after_utc)
        if not begin <= now < end:
            raise BywayError(f"the local CA is not valid on {now:%Y-%m-%d}, the date of this computer's clock")
        subject = [hosts[0]] if len(hosts[0]) <= _COMMON_NAME_LIMIT else []
        public = self._key.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in subject]))
            .issuer_name(issuer.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            # critical where there is no subject (RFC 5280 section 4.2.1.6)
            .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=not subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.key.public_key()), critical=False
            )
            .sign(self.authority.key, hashes.SHA256())
        )
        return Leaf(certificate, (issuer,), self._key)


def _is_current(leaf: Leaf, now: datetime.datetime) -> bool:
    """Whether it is valid for the next day. The start is checked, too, since the clock may have been set back."""
    begin, end = leaf.certificate.not_valid_before_utc, leaf.certificate.not_valid_after_utc
    return begin <= now < end - RENEW_BEFORE


def _plain_hosts(names: Iterable[str]) -> list[str]:
    """Returns the valid hosts among names, without wildcards, at most NAMES_MAX."""
    hosts: list[str] = []
    for name in islice(names, _NAMES_READ):
        try:
            hosts.append(hostnames.host(name))
        except ValueError:
            continue
        if len(hosts) == NAMES_MAX:
            break
    return hosts


def _general_name(host: str) -> x509.GeneralName:
    address = literal(host)
    return x509.DNSName(host) if address is None else x509.IPAddress(address)
