"""Classifies a certificate chain: the site's own, or made by TLS interception.

A known interception root of a state is recognized by its certificate, by its key, or by a certificate that its key
signed: most servers do not send the root itself, and seven roots of Kazakhstan share one name. Any other issuer is
suspect if the system does not trust it. If the system trusts it, but no public log has the certificate, it belongs to a
company proxy or an antivirus. `beliefs` decides what follows for a site.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from proxy.model.errors import ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import certificates

CHAIN_LIMIT = 10
"""Certificates of a chain that are read. OpenSSL's default depth is 100; public chains have 2 to 4."""

_HASH = re.compile(r"[0-9a-f]{64}\Z")


class CertificateKind(StrEnum):
    """The kinds of certificates, by issuer and fault."""

    SITE = "site"  # trusted, and in a public log: the site's own
    KNOWN_ROOT = "known_root"  # a state's interception root
    UNTRUSTED = "untrusted"  # an issuer outside the trust store
    WRONG_NAME = "wrong_name"  # for another host: a captive portal, or a server that is not set up
    EXPIRED = "expired"  # not valid today; or this computer's clock is wrong
    RESIGNED = "resigned"  # the system trusts it, but it is in no public log
    NONE = "none"  # no certificate came


@frozen_dataclass
class Root:
    """A root certificate that is known to intercept."""

    sha256: str  # of the certificate, hex
    spki_sha256: str  # of its public key
    what: str  # one phrase: its owner, and when it was in use
    key: bytes = b""  # the SubjectPublicKeyInfo, to verify its signatures


@frozen_dataclass
class ClassifiedChain:
    """The result for a chain. `fingerprint` is the known root's SHA-256, else that of the topmost issuer's name."""

    kind: CertificateKind
    fingerprint: str = ""
    detail: str = ""  # half a sentence

    @property
    def is_foreign(self) -> bool:
        """Whether the certificate is not the site's own: TLS interception."""
        return self.kind in (CertificateKind.KNOWN_ROOT, CertificateKind.UNTRUSTED, CertificateKind.RESIGNED)


class KnownRoots:
    """The root certificates that are known to intercept."""

    def __init__(self, roots: Iterable[Root] = ()) -> None:
        self._roots = tuple(roots)
        self._by_hash = {digest: root for root in self._roots for digest in (root.sha256, root.spki_sha256)}

    @classmethod
    def parse(cls, text: str, source: str) -> KnownRoots:
        """Parses `certs/known_roots.json`. Raises ConfigError."""
        try:
            return cls(_root(row) for row in json.loads(text)["roots"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{source}: not a list of known interception roots: {error!r}") from None

    def __len__(self) -> int:
        return len(self._roots)

    def find(self, chain: Sequence[bytes]) -> Root | None:
        """Returns the known root in a chain, or the one whose key signed a certificate of the chain; None: there is
        none. An interceptor whose root is trusted here need not send it, and may send anything in its place."""
        for der in chain[:CHAIN_LIMIT]:
            root = self._by_hash.get(certificates.sha256(der))
            if root is None and (key := certificates.public_key(der)):
                root = self._by_hash.get(hashlib.sha256(key).hexdigest())
            if root is not None:
                return root
        signed = ((der, root) for der in chain[:CHAIN_LIMIT] for root in self._roots if root.key)
        return next((root for der, root in signed if certificates.signed_by(der, root.key)), None)


def classify_chain(
    chain: Sequence[bytes], host: str, *, verified: bool, expired: bool, roots: KnownRoots
) -> ClassifiedChain:
    """Classifies the `chain` (DER, the site's own certificate first) that was presented for `host`. `verified`: the
    system's trust store accepts it for this host. `expired`: it would accept it on another day."""
    if not chain:
        return ClassifiedChain(CertificateKind.NONE)
    if (root := roots.find(chain)) is not None:
        return ClassifiedChain(
            CertificateKind.KNOWN_ROOT, root.sha256, f"certificate signed by a known interception root ({root.what})"
        )
    fingerprint = certificates.issuer_id(chain[min(len(chain), CHAIN_LIMIT) - 1])
    issuer = certificates.issuer(chain[0])[:200] or "an unreadable issuer"
    if verified and certificates.is_logged(chain[0]):
        return ClassifiedChain(CertificateKind.SITE, fingerprint)
    if verified:
        detail = f"certificate issued by {issuer}, which this system trusts but no public certificate log lists"
        return ClassifiedChain(CertificateKind.RESIGNED, fingerprint, detail)
    if not certificates.is_for(chain[0], host):
        return ClassifiedChain(
            CertificateKind.WRONG_NAME, fingerprint, f"certificate issued by {issuer}, not for {host}"
        )
    if expired:
        days = certificates.validity(chain[0])
        valid = f"valid from {days}, not today" if days else "not valid today"
        return ClassifiedChain(CertificateKind.EXPIRED, fingerprint, f"certificate {valid}; issued by {issuer}")
    return ClassifiedChain(
        CertificateKind.UNTRUSTED, fingerprint, f"certificate issued by {issuer}, which this system does not trust"
    )


def _root(row: dict[str, str]) -> Root:
    """Raises ValueError, KeyError or TypeError."""
    for name in ("sha256", "spki_sha256"):
        if not _HASH.match(row[name]):
            raise ValueError(f"{name} {row[name]!r} is not 64 hex digits")
    try:
        key = base64.b64decode(row.get("spki", ""), validate=True)
    except binascii.Error:
        raise ValueError(f"the key of {row['sha256']} is not base64") from None
    if key and hashlib.sha256(key).hexdigest() != row["spki_sha256"]:
        raise ValueError(f"the key of {row['sha256']} is not the one of its hash")
    return Root(row["sha256"], row["spki_sha256"], row["what"], key)
