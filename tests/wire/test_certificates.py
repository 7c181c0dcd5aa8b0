"""What certificates say, true ones and broken ones."""

from __future__ import annotations

import datetime
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from proxy.wire import certificates
from tests.lab.authorities import STATE_ROOT, Authority
from tests.support.rows import each_row

STATE = STATE_ROOT.public_bytes(Encoding.DER)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def made(key: Key, *names: x509.GeneralName) -> bytes:
    """A certificate that signs itself."""
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Somebody")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + datetime.timedelta(days=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.DER)


def public_bytes(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


EC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)


def test_fingerprint_key_and_issuer() -> None:
    assert certificates.sha256(STATE) == "c530fadc9bfa265e63b755cc6ee04c2d70d60bb916ce2f331dc7359362571b25"
    spki = hashlib.sha256(certificates.public_key(STATE)).hexdigest()
    assert spki == "02a95f43431019e9dc225f05f419330190deb4a3f1869caac9842b403dcbee77"
    assert "Information Security Certification Authority" in certificates.issuer(STATE)
    today = datetime.datetime.now(datetime.UTC).date()
    assert certificates.validity(STATE) == "2020-02-28 to 2050-02-28"
    assert certificates.validity(made(EC)).startswith(f"{today} to ")
    assert certificates.validity(b"x") == ""
    assert certificates.issuer_id(made(EC)) == certificates.issuer_id(made(RSA)) != certificates.issuer_id(STATE)


def test_public_logs() -> None:
    with Authority("A", logged=True) as logged, Authority("B") as hidden:
        leaves = [
            authority._sign(authority.root.subject, authority._key, authority._key) for authority in (logged, hidden)
        ]
    found = [certificates.is_logged(leaf.public_bytes(Encoding.DER)) for leaf in leaves]
    assert found == [True, False]


@each_row(
    ("host", "expected"),
    [
        ("example.test", True),
        ("a.example.org", True),
        ("example.org", False),
        ("a.b.example.org", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", False),
        ("other.test", False),
    ],
)
def test_whom_it_is_for(host: str, expected: bool) -> None:
    import ipaddress

    names = (
        x509.DNSName("Example.test"),
        x509.DNSName("*.example.org"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    )
    assert certificates.is_for(made(EC, *names), host) is expected
    assert not certificates.is_for(made(EC), host)


@pytest.mark.parametrize("key", [EC, RSA], ids=["ec", "rsa"])
def test_who_signed_it(key: Key) -> None:
    assert certificates.signed_by(made(key), public_bytes(key))
    assert not certificates.signed_by(made(EC), public_bytes(RSA))
    assert not certificates.signed_by(made(RSA), public_bytes(EC))
    assert not certificates.signed_by(made(key), public_bytes(ec.generate_private_key(ec.SECP256R1())))
    assert not certificates.signed_by(made(key), public_bytes(rsa.generate_private_key(65537, 2048)))
    assert not certificates.signed_by(made(key), b"no key")
    assert certificates.signed_by(STATE, certificates.public_key(STATE))


def test_a_kind_of_signature_that_no_site_has_is_nobodys() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert not certificates.signed_by(made(key), public_bytes(key))


@pytest.mark.filterwarnings("ignore::UserWarning")  # of cryptography, about odd serial numbers
@given(st.binary(max_size=200), st.integers(0, 1800), st.integers(0, 255))
def test_nothing_makes_it_raise(junk: bytes, place: int, value: int) -> None:
    bent = bytearray(STATE)
    bent[min(place, len(bent) - 1)] = value
    for der in (junk, bytes(bent), STATE[:place], STATE + b" " * certificates.SIZE_LIMIT):
        certificates.public_key(der)
        certificates.issuer(der)
        certificates.issuer_id(der)
        certificates.is_logged(der)
        certificates.is_for(der, "example.test")
        certificates.signed_by(der, certificates.public_key(STATE))


def test_what_cannot_be_read_says_nothing() -> None:
    assert certificates.public_key(b"x") == b""
    assert certificates.issuer(b"x") == certificates.issuer_id(b"x") == ""
    assert not certificates.is_logged(b"x")
    assert not certificates.is_for(b"x", "example.test")
    assert not certificates.signed_by(b"x", public_bytes(EC))
