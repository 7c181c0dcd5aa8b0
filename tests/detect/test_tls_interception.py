"""Whose certificate a chain is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.config.bundled import bundled
from proxy.detect.tls_interception import (
    CHAIN_LIMIT,
    CertificateKind,
    ClassifiedChain,
    KnownRoots,
    Root,
    classify_chain,
)
from proxy.model.errors import ConfigError
from proxy.wire import certificates
from tests.lab.authorities import STATE_ROOT, Authority
from tests.support.rows import each_row

HOST = "www.example.test"
STATE = STATE_ROOT.public_bytes(Encoding.DER)
SHIPPED = KnownRoots.parse(bundled("certs/known_roots.json").read_text(), "known_roots.json")


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def leaf(authority: Authority, host: str = HOST) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    return der(authority._sign(name, key, authority._key, names=[host]))


@pytest.fixture(scope="module")
def public() -> Iterator[Authority]:
    with Authority("Public", logged=True) as authority:
        yield authority


@pytest.fixture(scope="module")
def office() -> Iterator[Authority]:
    with Authority("Office") as authority:
        yield authority


def judged(
    chain: list[bytes], *, verified: bool = False, expired: bool = False, roots: KnownRoots = SHIPPED
) -> ClassifiedChain:
    return classify_chain(chain, HOST, verified=verified, expired=expired, roots=roots)


def test_kazakhstans_ten_are_shipped() -> None:
    assert len(SHIPPED) == 10
    assert judged([STATE]).fingerprint == "c530fadc9bfa265e63b755cc6ee04c2d70d60bb916ce2f331dc7359362571b25"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_known_root_anywhere_in_the_chain(office: Authority, place: int) -> None:
    chain = [leaf(office), der(office.root)]
    chain.insert(place, STATE)
    for verified in (True, False):  # it is one, even where somebody made this system trust it
        found = judged(chain, verified=verified)
        assert (found.kind, found.is_foreign) == (CertificateKind.KNOWN_ROOT, True)
        assert "Kazakhstan: ISCA, seen in October and November 2023" in found.detail


def test_its_key_in_another_certificate(office: Authority) -> None:
    spki = hashlib.sha256(certificates.public_key(der(office.root))).hexdigest()
    roots = KnownRoots([Root("0" * 64, spki, "somebody's")])
    assert judged([leaf(office), der(office.root)], roots=roots).kind is CertificateKind.KNOWN_ROOT
    assert judged([leaf(office)], roots=roots).kind is CertificateKind.UNTRUSTED


def test_what_its_key_signed_when_it_is_left_out(office: Authority, public: Authority) -> None:
    key = office.root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    roots = KnownRoots([Root("0" * 64, hashlib.sha256(key).hexdigest(), "somebody's", key)])
    assert judged([leaf(office)], roots=roots).kind is CertificateKind.KNOWN_ROOT
    assert judged([leaf(public)], roots=roots).kind is CertificateKind.UNTRUSTED
    for verified in (True, False):  # and something else put in its place
        found = judged([leaf(office), der(public.root), b"x"], verified=verified, roots=roots)
        assert found.kind is CertificateKind.KNOWN_ROOT


def test_a_name_alone_makes_no_known_root() -> None:
    with Authority("x") as impostor:
        impostor.name = STATE_ROOT.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value  # type: ignore[assignment]
        assert judged([leaf(impostor)]).kind is CertificateKind.UNTRUSTED


def test_the_sites_own(public: Authority) -> None:
    found = judged([leaf(public)], verified=True)
    assert (found.kind, found.is_foreign) == (CertificateKind.SITE, False)


def test_an_issuer_outside_the_trust_store(public: Authority, office: Authority) -> None:
    found = judged([leaf(office)])
    assert (found.kind, found.is_foreign) == (CertificateKind.UNTRUSTED, True)
    assert "by CN=Office, which this system does not trust" in found.detail
    assert found.fingerprint == judged([leaf(office), der(office.root)]).fingerprint, "with its root and without"
    assert found.fingerprint != judged([leaf(public)]).fingerprint


def test_an_office_that_the_system_trusts(office: Authority) -> None:
    found = judged([leaf(office)], verified=True)
    assert (found.kind, found.is_foreign) == (CertificateKind.RESIGNED, True)


def test_somebody_elses_and_yesterdays_are_no_interception(office: Authority) -> None:
    assert judged([leaf(office, "portal.test")]).kind is CertificateKind.WRONG_NAME
    assert judged([leaf(office, "portal.test")], expired=True).kind is CertificateKind.WRONG_NAME
    found = judged([leaf(office)], expired=True)
    assert (found.kind, found.is_foreign) == (CertificateKind.EXPIRED, False)
    first_to_last = r"certificate valid from \d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d, not today; issued by CN=Office"
    assert re.match(first_to_last, found.detail)


def test_no_chain_and_nonsense() -> None:
    assert judged([]) == ClassifiedChain(CertificateKind.NONE)
    assert judged([b"x"]).kind is CertificateKind.WRONG_NAME
    assert judged([b"x"] * 1000 + [STATE]).kind is CertificateKind.WRONG_NAME, (
        f"beyond {CHAIN_LIMIT} nothing is looked at"
    )


ROW = {"sha256": "a" * 64, "spki_sha256": hashlib.sha256(b"key").hexdigest(), "what": "made up"}


def test_a_list_is_read() -> None:
    text = json.dumps({"version": 1, "roots": [ROW, ROW | {"spki": base64.b64encode(b"key").decode()}]})
    assert len(KnownRoots.parse(text, "x.json")) == 2


@each_row(
    "rows",
    [
        "nonsense",
        [{}],
        [ROW | {"sha256": "A" * 64}],
        [ROW | {"spki_sha256": "a"}],
        [ROW | {"spki": "***"}],
        [ROW | {"spki": base64.b64encode(b"another").decode()}],
    ],
)
def test_a_list_that_cannot_be_used_is_said(rows: object) -> None:
    with pytest.raises(ConfigError, match=r"x\.json: not a list of known interception roots"):
        KnownRoots.parse(json.dumps({"roots": rows}), "x.json")
    with pytest.raises(ConfigError):
        KnownRoots.parse("{", "x.json")
