"""What is signed for and what never is: eight upstreams with a bad certificate, each refused and taken once mended."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from proxy.detect.tls_interception import CHAIN_LIMIT, KnownRoots, Root
from proxy.features.inspection.origin_check import CertificateCheck, CertificateStatus, OriginChecks, OriginKey
from proxy.model import DIRECT, UNKNOWN_NETWORK, Destination, Symptom
from proxy.probe.certificate_chain import FetchedChain
from tests.features.inspection.mitm.inspecting import inspecting
from tests.features.inspection.mitm.site import Site
from tests.support.authority import Authority

HOST = "www.inside.test"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@dataclass
class Issued:
    """A certificate and its key, and who signed it."""

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes
    above: tuple[x509.Certificate, ...] = ()

    def context(self, folder: Path, *, whole: bool = True) -> ssl.SSLContext:
        """A server's; without the intermediates unless it is `whole`."""
        file = folder / "chain.txt"
        chain = (self.certificate, *self.above) if whole else (self.certificate,)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(key + b"".join(part.public_bytes(Encoding.PEM) for part in chain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # a server may be as weak as it likes
        context.load_cert_chain(file)
        file.unlink()
        return context


_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def issue(
    name: str,
    by: Issued | None,
    *,
    ca: bool = False,
    key: CertificateIssuerPrivateKeyTypes | None = None,
    begins: datetime.datetime = NOW - DAY,
    ends: datetime.datetime = NOW + 30 * DAY,
) -> Issued:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if by is not None:
        issuer = by.certificate.public_key()
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)  # type: ignore[arg-type]  # one that signs
        builder = builder.add_extension(identifier, critical=False)
    if ca:
        builder = builder.add_extension(_SIGNS, critical=True)
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    above = () if by is None or not by.above else (by.certificate, *by.above[:-1])
    return Issued(certificate, key, above or ((by.certificate,) if by else ()))


@dataclass
class Authorities:
    """One that the system trusts, one below it, one that nobody trusts, and one that a state intercepts with."""

    trusted: Issued = field(default_factory=lambda: issue("trusted", None, ca=True))
    stranger: Issued = field(default_factory=lambda: issue("stranger", None, ca=True))
    state: Issued = field(default_factory=lambda: issue("state", None, ca=True))

    def __post_init__(self) -> None:
        below = issue("below", self.trusted, ca=True)
        self.below = Issued(below.certificate, below.key, (below.certificate,))

    def write(self, folder: Path) -> Path:
        """What the system trusts: the state made everybody trust its root."""
        path = folder / "system.txt"
        trusted = (self.trusted, self.state)
        path.write_bytes(b"".join(issued.certificate.public_bytes(Encoding.PEM) for issued in trusted))
        return path

    def known_roots(self) -> KnownRoots:
        certificate = self.state.certificate
        spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        digest = certificate.fingerprint(hashes.SHA256()).hex()
        return KnownRoots([Root(digest, hashlib.sha256(spki).hexdigest(), "of a test", spki)])


def _short_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 1024)


@dataclass(frozen=True)
class Bad:
    """How it is bad, and what the refusal says."""

    id: str
    make: Callable[[Authorities, Path], ssl.SSLContext]
    says: str


BAD = [
    Bad("expired", lambda a, f: issue(HOST, a.trusted, ends=NOW - DAY / 2).context(f), "certificate has expired"),
    Bad("not-yet-valid", lambda a, f: issue(HOST, a.trusted, begins=NOW + DAY).context(f), "not yet valid"),
    Bad("self-signed", lambda a, f: issue(HOST, None).context(f), "self-signed certificate"),
    Bad("another-host", lambda a, f: issue("www.elsewhere.test", a.trusted).context(f), "not valid for"),
    Bad("untrusted-issuer", lambda a, f: issue(HOST, a.stranger).context(f), "self-signed certificate in"),
    Bad("missing-intermediate", lambda a, f: issue(HOST, a.below).context(f, whole=False), "issuer certificate"),
    Bad(
        "1024-bit",
        lambda a, f: issue(HOST, a.trusted, key=rsa.generate_private_key(65537, 1024)).context(f),
        "too weak",
    ),
    Bad("known-root", lambda a, f: issue(HOST, a.state).context(f), "known interception CA (of a test)"),
]


@pytest.mark.needs("curl")
@pytest.mark.parametrize("bad", BAD, ids=[bad.id for bad in BAD])
async def test_J2_a_bad_certificate_is_refused_and_never_signed_for_and_taken_once_mended(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorities = Authorities()
    roots = authorities.known_roots()
    monkeypatch.setattr("proxy.app.parts._known_roots", lambda: roots)
    monkeypatch.setattr(Authority, "write", lambda _, folder: authorities.write(folder))
    good = issue(HOST, authorities.below).context(tmp_path)
    shown = bad.make(authorities, tmp_path)

    outer = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def choose(sock: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        sock.context = shown

    outer.sni_callback = choose
    rules = "DOMAIN-SUFFIX,inside.test,DIRECT,INSPECT\n"  # under AUTO it is also learned who reads here, and shut out
    async with Site(Authority(), context=outer) as site, inspecting(tmp_path, Authority(), rules=rules) as byway:
        url = f"{site.url}/"
        for scheme in ("http", "socks5h"):
            done = await byway.curl("--insecure", url, "--verbose", "--proxy", f"{scheme}://127.0.0.1:{byway.proxy[1]}")
            assert done.returncode != 0, done.stdout
            assert b"Server certificate" not in done.stderr, "the client was never shown a certificate"
        answer = await _connect(byway.proxy, f"{HOST}:{site.port}")
        assert answer.startswith(b"HTTP/1.1 502"), answer
        assert bad.says in answer.decode(), answer
        assert not site.asked
        shown = good
        done = await byway.curl(url)
        assert (done.returncode, done.stdout) == (0, b"hello \n"), done.stderr
        shown = bad.make(authorities, tmp_path)  # remembered as good: the engine sees it all the same
        done = await byway.curl("--insecure", url, "--verbose")
        assert done.returncode != 0
        assert b"Server certificate" not in done.stderr, "nor later"
        answer = await _connect(byway.proxy, f"{HOST}:{site.port}")
        assert bad.says in answer.decode(), "and then it is not remembered any more"


async def _connect(proxy: tuple[str, int], where: str) -> bytes:
    reader, writer = await asyncio.open_connection(*proxy)
    try:
        writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        return await reader.read(4096)
    finally:
        writer.close()


ASKED = OriginKey(Destination(HOST, 443), HOST, (DIRECT,), UNKNOWN_NETWORK)
GOOD = FetchedChain((b"chain",), verified=True)


def answering(*probes: FetchedChain) -> tuple[Callable[[], Awaitable[FetchedChain]], list[FetchedChain]]:
    """Gives these, one at each call, and tells which are left."""
    left = list(probes)

    async def probe() -> FetchedChain:
        await asyncio.sleep(0)
        return left.pop(0)

    return probe, left


async def test_a_good_answer_is_kept_for_a_time_and_shared_by_those_who_ask_at_once() -> None:
    vouching = OriginChecks(KnownRoots())
    probe, left = answering(GOOD, GOOD)
    answers = await asyncio.gather(*(vouching.check(ASKED, probe, keep_s=100) for _ in range(5)))
    assert {answer.status for answer in answers} == {CertificateStatus.GOOD}
    assert len(left) == 1
    await vouching.check(ASKED, probe, keep_s=100)
    assert len(left) == 1
    vouching.forget(ASKED.destination)
    await vouching.check(ASKED, probe, keep_s=0)
    assert not left


@pytest.mark.parametrize(
    ("probe", "status", "again"),
    [
        (FetchedChain(error="expired", symptom=Symptom.CERTIFICATE), CertificateStatus.BAD, True),
        (FetchedChain(error="not TLS", symptom=Symptom.GARBAGE), CertificateStatus.NO_TLS, False),
        (FetchedChain(error="an alert", symptom=Symptom.ALERT), CertificateStatus.NO_TLS, False),
        (FetchedChain(error="nothing came", symptom=Symptom.SILENT), CertificateStatus.UNKNOWN, False),
        (FetchedChain(error="reset", symptom=Symptom.RESET), CertificateStatus.UNKNOWN, True),
    ],
)
async def test_what_is_bad_or_broke_off_is_asked_again_each_time(
    probe: FetchedChain, status: CertificateStatus, again: bool
) -> None:
    vouching = OriginChecks(KnownRoots())
    ask, left = answering(probe, GOOD)
    assert (await vouching.check(ASKED, ask, keep_s=100)).status is status
    await vouching.check(ASKED, ask, keep_s=100)
    assert (not left) is again


async def test_one_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    vouching = OriginChecks(KnownRoots())
    release = asyncio.Event()

    async def probe() -> FetchedChain:
        await release.wait()
        return GOOD

    first, second = (asyncio.ensure_future(vouching.check(ASKED, probe, keep_s=1)) for _ in range(2))  # noqa: TID251  # of the test
    await asyncio.sleep(0)
    first.cancel()
    release.set()
    assert await second == CertificateCheck(CertificateStatus.GOOD)


def test_the_key_of_a_root_is_what_the_list_says() -> None:
    """The control: the authority of the test is one that would be known."""
    authorities = Authorities()
    der = authorities.state.certificate.public_bytes(Encoding.DER)
    assert authorities.known_roots().find([der]) is not None
    assert "known interception CA" in OriginChecks(authorities.known_roots()).rejection_reason([der])


async def test_a_chain_with_more_certificates_than_are_looked_at_is_not_vouched_for() -> None:
    """Behind ten of anybody's the one may come that a known root has signed."""
    authorities = Authorities()
    vouching = OriginChecks(authorities.known_roots())
    below = issue("below the state", authorities.state, ca=True)
    leaf = issue(HOST, Issued(below.certificate, below.key, (below.certificate,)))
    others = [issue(f"other {number}", authorities.trusted) for number in range(CHAIN_LIMIT)]
    ders = [one.certificate.public_bytes(Encoding.DER) for one in (leaf, *others, below)]
    padded = FetchedChain(tuple(ders), verified=True)
    assert "12 certificates" in vouching.rejection_reason(ders)
    ask, _ = answering(padded, FetchedChain(tuple(ders[:CHAIN_LIMIT]), verified=True))
    assert (await vouching.check(ASKED, ask, keep_s=100)).status is CertificateStatus.BAD
    assert (await vouching.check(ASKED, ask, keep_s=100)).status is CertificateStatus.GOOD, "the control"
