"""Reads fields of a DER certificate: public key, issuer, validity, names, and certificate transparency (CT).

The peer may have sent any bytes: the functions return their content, and only `signed_by` proves anything. A
certificate that cannot be parsed yields an empty value.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from proxy.model.remembered import remembered

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

T = TypeVar("T")

SIZE_LIMIT = 64 * 1024
"""Bytes of the largest certificate that is parsed; usual ones have 1 to 3 KiB."""


def sha256(der: bytes) -> str:
    """The fingerprint that browsers show, in hex."""
    return hashlib.sha256(der).hexdigest()


def public_key(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo, DER; empty when it cannot be read."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return _field(der, lambda c: c.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), b"")


def issuer(der: bytes) -> str:
    """The name of the issuer (RFC 4514); empty when it cannot be read."""
    return _field(der, lambda c: c.issuer.rfc4514_string(), "")


def validity(der: bytes) -> str:
    """The first and the last day of validity in UTC, `2024-01-01 to 2025-01-01`; empty when they cannot be read."""
    return _field(der, lambda c: f"{c.not_valid_before_utc:%Y-%m-%d} to {c.not_valid_after_utc:%Y-%m-%d}", "")


def issuer_id(der: bytes) -> str:
    """The SHA-256 of the issuer's name, in hex; empty when it cannot be read. For the last certificate of a chain it is
    the same whether the root was sent or not."""
    return _field(der, lambda c: hashlib.sha256(c.issuer.public_bytes()).hexdigest(), "")


def is_logged(der: bytes) -> bool:
    """Whether it carries signed certificate timestamps (RFC 6962 section 3.3). Since 2018 Chrome and Safari require
    them of public authorities. Certificates that an office's or an antivirus's own authority signs cannot have them."""
    from cryptography.x509 import PrecertificateSignedCertificateTimestamps as Timestamps

    return _field(der, lambda c: len(c.extensions.get_extension_for_class(Timestamps).value) > 0, otherwise=False)


def is_for(der: bytes, host: str) -> bool:
    """Whether it is for a canonical host (RFC 6125: a `*` stands for the first label only)."""
    return _field(der, lambda c: _names(c, host), otherwise=False)


def signed_by(der: bytes, key: bytes) -> bool:
    """Whether the owner of a public key (SubjectPublicKeyInfo, DER) signed it."""
    return _field(der, lambda c: _verifies(c, key), otherwise=False)


def _names(certificate: Certificate, host: str) -> bool:
    from cryptography.x509 import DNSName, IPAddress, SubjectAlternativeName

    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    try:
        return ipaddress.ip_address(host) in names.get_values_for_type(IPAddress)
    except ValueError:
        hosts = {name.lower().rstrip(".") for name in names.get_values_for_type(DNSName)}
        return host in hosts or f"*.{host.partition('.')[2]}" in hosts


def _verifies(certificate: Certificate, key: bytes) -> bool:
    """Raises InvalidSignature, ValueError and TypeError."""
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    signer, digest = load_der_public_key(key), certificate.signature_hash_algorithm
    parameters = certificate.signature_algorithm_parameters
    signature, text = certificate.signature, certificate.tbs_certificate_bytes
    if isinstance(signer, rsa.RSAPublicKey) and isinstance(parameters, padding.PKCS1v15 | padding.PSS) and digest:
        signer.verify(signature, text, parameters, digest)
        return True
    if isinstance(signer, ec.EllipticCurvePublicKey) and isinstance(parameters, ec.ECDSA):
        signer.verify(signature, text, parameters)
        return True
    return False


def _field(der: bytes, read: Callable[[Certificate], T], otherwise: T) -> T:
    """Returns `read` of a certificate, or `otherwise` when it cannot be parsed. cryptography parses a field only when
    the field is read, and raises the errors below then."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.x509 import DuplicateExtension, ExtensionNotFound

    certificate = _read(der)
    if certificate is None:
        return otherwise
    try:
        return read(certificate)
    except (ValueError, KeyError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return otherwise
    except (ExtensionNotFound, DuplicateExtension):
        return otherwise


@remembered(64)
def _read(der: bytes) -> Certificate | None:
    from cryptography import x509  # 50 ms to import, and only probes need it

    if len(der) > SIZE_LIMIT:
        return None
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion):
        return None
