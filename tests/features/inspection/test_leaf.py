"""Leaves: taken by strangers' verifiers for their hosts and for no other, whatever names come, and few at a time."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from proxy.features.inspection.authority import Authority, certificate_file, make_authority, open_authority
from proxy.features.inspection.leaf import LEAVES_MAX, LIFETIME, NAMES_MAX, Leaf, Leaves
from proxy.model.errors import BywayError
from proxy.wire import certificates, hostnames
from tests.support import programs

NOW = time.time()
DAY = 86_400.0
YEAR = 365 * DAY


class Clock:
    """A wall clock that stands where it is put."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


_ONE = make_authority(now=NOW)
hosts = st.one_of(
    st.text(max_size=80),
    st.text("abz019-_.*\0%:[]xnй。", max_size=80),
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9]{1,63}(\.[a-z0-9]{1,63}){0,3}", fullmatch=True),
)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make_authority(now=NOW)


@pytest.fixture
def leaves(authority: Authority) -> Leaves:
    return Leaves(authority, now=lambda: NOW)


def hosts_of(leaf: Leaf) -> list[str]:
    names = leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in names]


def common_names(leaf: Leaf) -> list[str]:
    return [str(part.value) for part in leaf.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


# -- what a leaf is ----------------------------------------------------------------------------------------------------


def test_a_leaf_is_a_servers_certificate_by_the_authority(leaves: Leaves) -> None:
    leaf = leaves.leaf("example.org")
    found = {extension.oid._name: extension for extension in leaf.certificate.extensions}
    assert set(found) == {
        *("subjectAltName", "basicConstraints", "keyUsage"),
        *("extendedKeyUsage", "subjectKeyIdentifier", "authorityKeyIdentifier"),
    }
    assert (found["basicConstraints"].critical, found["subjectAltName"].critical) == (True, False)
    issuer = leaves.authority.certificate
    issuers_key = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    named = leaf.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert named.key_identifier == issuers_key
    assert leaf.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest != issuers_key
    leaf.certificate.verify_directly_issued_by(issuer)
    assert leaf.chain == (issuer,)
    assert isinstance(leaf.key.curve, ec.SECP256R1)
    assert leaf.key.public_key() == leaf.certificate.public_key()
    assert x509.load_pem_x509_certificates(leaf.pem) == [leaf.certificate, issuer]


def test_it_holds_no_more_than_199_days_and_never_outlives_its_authority() -> None:
    clock = Clock()
    leaves = Leaves(make_authority(now=NOW), now=clock)
    certificate = leaves.leaf("example.org").certificate
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == LIFETIME == datetime.timedelta(199)
    assert 3600 <= NOW - certificate.not_valid_before_utc.timestamp() <= 2 * 3600 + 1
    clock.now = NOW + 700 * DAY
    late = leaves.leaf("example.org").certificate
    assert late.not_valid_after_utc == leaves.authority.certificate.not_valid_after_utc
    assert late.not_valid_before_utc.timestamp() <= clock.now


def test_it_never_begins_before_its_authority() -> None:
    authority = make_authority(now=NOW + DAY - 60)  # which begins a minute before now
    certificate = Leaves(authority, now=lambda: NOW).leaf("example.org").certificate
    assert certificate.not_valid_before_utc == authority.certificate.not_valid_before_utc


@pytest.mark.parametrize("years", [-1, 3])
def test_J8_no_leaf_outside_the_authoritys_time(years: int) -> None:
    clock = Clock()
    leaves = Leaves(make_authority(now=NOW), now=clock)
    leaves.leaf("example.org")
    clock.now = NOW + years * YEAR
    with pytest.raises(BywayError, match="the date of this computer's clock"):
        leaves.leaf("example.org")
    clock.now = NOW
    leaves.leaf("example.org")


def test_leaves_of_one_run_share_a_key_that_is_nobody_elses(authority: Authority, leaves: Leaves) -> None:
    key = leaves.leaf("a.example").key.private_numbers()
    assert leaves.leaf("b.example").key.private_numbers() == key
    assert authority.key.private_numbers() != key
    assert Leaves(authority).leaf("a.example").key.private_numbers() != key


def test_serial_numbers_are_random(leaves: Leaves) -> None:
    serials = {leaves.leaf(f"{number}.example").certificate.serial_number for number in range(100)}
    assert len(serials) == 100
    assert max(serial.bit_length() for serial in serials) > 150


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("Example.ORG.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("my_blog.livejournal.com", "my_blog.livejournal.com"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("0x7f.1", "127.0.0.1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        (f"{'a' * 60}.example", f"{'a' * 60}.example"),
    ],
)
def test_J3_a_host_is_named_in_its_one_spelling(leaves: Leaves, asked: str, named: str) -> None:
    leaf = leaves.leaf(asked)
    assert hosts_of(leaf) == [named]
    assert common_names(leaf) == ([named] if len(named) <= 64 else [])
    names = leaf.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical is (not common_names(leaf))


@pytest.mark.parametrize("length", [64, 65])
def test_J3_the_common_name_stops_at_64_characters(leaves: Leaves, length: int) -> None:
    host = f"{'a' * (length - len('.example'))}.example"
    assert len(common_names(leaves.leaf(host))) == (1 if length == 64 else 0)


HOSTILE = [
    *("", ".", "a\0.example", "example.org\0.evil.example", "*.example.org", "*", "exa mple.org", "a..b"),
    *("\N{GRINNING FACE}.example", "-a.example", "x" * 64, "a" * 5000, "xn--" + "9" * 5000, "\u0660" * 2000),
    *(
        "fe80::1%eth0",
        "1.2.3.4.5",
        "example.org/",
        "user@example.org",
        "example.org:443",
        "\ud800.example",
        "1.2.3.4/8",
    ),
]


@pytest.mark.parametrize("host", HOSTILE, ids=range(len(HOSTILE)))
def test_J3_what_is_no_host_is_refused_in_one_sentence(leaves: Leaves, host: str) -> None:
    with pytest.raises(BywayError, match="no certificate can be created for it: ") as caught:
        leaves.leaf(host)
    said = str(caught.value)
    assert said.isprintable()
    assert said.isascii()
    assert len(said) < 300
    assert len(leaves) == 0


def test_J3_of_further_names_only_plain_hosts_are_taken(leaves: Leaves) -> None:
    leaf = leaves.leaf("example.org", [*HOSTILE, "www.example.org", "EXAMPLE.org", "192.0.2.1", "bücher.example"])
    assert hosts_of(leaf) == ["example.org", "www.example.org", "192.0.2.1", "xn--bcher-kva.example"]


def test_J3_of_300_names_few_are_taken_and_no_more_than_a_bound_is_read(leaves: Leaves) -> None:
    read = 0

    def endless() -> Iterable[str]:
        nonlocal read
        while True:
            read += 1
            yield "*"

    assert hosts_of(leaves.leaf("example.org", (f"n{number}.example" for number in range(300)))) == [
        "example.org",
        *(f"n{number}.example" for number in range(NAMES_MAX)),
    ]
    assert hosts_of(leaves.leaf("example.org", endless())) == ["example.org"]
    assert read <= 1000


@given(host=hosts, names=st.lists(hosts, max_size=5))
def test_J3_whatever_is_asked_a_leaf_is_made_or_it_is_refused(host: str, names: list[str]) -> None:
    leaves = Leaves(_ONE, now=lambda: NOW)
    try:
        leaf = leaves.leaf(host, names)
    except BywayError:
        return
    read = x509.load_der_x509_certificate(leaf.certificate.public_bytes(Encoding.DER))
    assert hostnames.host(host) == hosts_of(leaf)[0]
    assert certificates.is_for(read.public_bytes(Encoding.DER), hostnames.host(host))


# -- kept, and how many ------------------------------------------------------------------------------------------------


def test_a_leaf_is_made_once_and_again_when_it_nears_its_end() -> None:
    clock = Clock()
    leaves = Leaves(make_authority(now=NOW), now=clock)
    first = leaves.leaf("example.org")
    assert leaves.leaf("EXAMPLE.org") is first
    assert leaves.leaf("example.org", ["www.example.org"]) is not first
    clock.now += 197 * DAY
    assert leaves.leaf("example.org") is first
    clock.now += 1.5 * DAY
    assert leaves.leaf("example.org") is not first


def test_those_used_last_are_kept(leaves: Leaves) -> None:
    first, second = leaves.leaf("first.example"), leaves.leaf("second.example")
    for number in range(LEAVES_MAX - 1):
        leaves.leaf(f"{number}.example")
        assert leaves.leaf("first.example") is first
    assert len(leaves) == LEAVES_MAX
    assert leaves.leaf("second.example") is not second


@pytest.mark.slow
def test_J7_ten_thousand_hosts_take_little_memory(tmp_path: Path) -> None:
    """In a process of its own; each leaf has as many long names as it may."""
    script = (
        "import time\n"
        "from proxy.features.inspection.authority import make_authority\n"
        "from proxy.features.inspection.leaf import NAMES_MAX, Leaves\n"
        "def resident():\n"
        "    return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "leaves = Leaves(make_authority(now=time.time()))\n"
        "leaves.leaf('first.example')\n"
        "before = resident()\n"
        "for number in range(10_000):\n"
        "    label = f'n{number}.' + ('x' * 60 + '.') * 3\n"
        "    leaves.leaf(f'{label}example', [f'{name}.{label}example' for name in range(NAMES_MAX)])\n"
        "print(len(leaves), resident() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    kept, grown = map(int, done.stdout.split())
    assert kept == LEAVES_MAX
    assert grown < 50_000_000, f"{grown / 1e6:.0f} MB"


# -- strangers' verifiers ----------------------------------------------------------------------------------------------


def handshake(leaf: Leaf, trust: ssl.SSLContext, host: str, folder: Path) -> None:
    """A TLS handshake in memory. Raises SSLCertVerificationError when the client refuses."""
    (folder / "leaf.pem").write_bytes(leaf.key_pem() + leaf.pem)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "leaf.pem")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = trust.wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert client.version() is not None


def commands_to_trust(authority: Authority) -> ssl.SSLContext:
    pem = authority.certificate.public_bytes(Encoding.PEM).decode()
    context = ssl.create_default_context(cadata=pem)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by default
    return context


HOSTS = ["example.org", "my_blog.livejournal.com", "xn--bcher-kva.example", "192.0.2.7", "2001:db8::1",
         f"{'a' * 60}.{'b' * 60}.example", "localhost"]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_the_ssl_module_takes_a_leaf_for_its_host_and_for_no_other(
    authority: Authority, leaves: Leaves, host: str, tmp_path: Path
) -> None:
    leaf = leaves.leaf(host)
    handshake(leaf, commands_to_trust(authority), host, tmp_path)
    for other in {*HOSTS, "www.example.org", "org", "192.0.2.8"} - {host}:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"mismatch"):
            handshake(leaf, commands_to_trust(authority), other, tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed|unable to get local issuer"):
        handshake(leaf, commands_to_trust(make_authority(now=NOW)), host, tmp_path)


def test_our_own_reader_agrees(leaves: Leaves, authority: Authority) -> None:
    der = leaves.leaf("example.org").certificate.public_bytes(Encoding.DER)
    assert certificates.is_for(der, "example.org")
    assert not certificates.is_for(der, "www.example.org")
    key = certificates.public_key(authority.certificate.public_bytes(Encoding.DER))
    assert certificates.signed_by(der, key)
    assert not certificates.is_logged(der)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("host", HOSTS)
def test_openssl_takes_a_leaf_for_its_host_and_for_no_other(
    authority: Authority, leaves: Leaves, host: str, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "leaf.pem").write_bytes(leaves.leaf(host).pem)

    def verify(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        literal = name[0].isdigit()
        line = [programs.require("openssl"), "verify", "-x509_strict", "-purpose", "sslserver", *options]
        line += ["-CAfile", str(tmp_path / "ca.pem"), "-verify_ip" if literal else "-verify_hostname", name]
        return subprocess.run(
            [*line, str(tmp_path / "leaf.pem")], capture_output=True, text=True, timeout=30, check=False
        )

    taken = verify(host)
    assert taken.returncode == 0, taken.stderr
    for other in {"example.org", "www.example.org", "192.0.2.7", "2001:db8::2"} - {host}:
        refused = verify(other)
        assert refused.returncode != 0
        assert "mismatch" in refused.stderr
    long_after = str(int(NOW + 200 * DAY))
    assert "expired" in verify(host, "-attime", long_after).stderr


@pytest.mark.needs("curl")
@pytest.mark.parametrize("host", ["example.org", "127.0.0.1"])
async def test_curl_fetches_from_a_server_that_shows_a_leaf(host: str, tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", now=NOW)
    leaf = Leaves(authority).leaf(host)
    (tmp_path / "leaf.pem").write_bytes(leaf.key_pem() + leaf.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "leaf.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nshown")
        await writer.drain()
        writer.close()

    async def curl(name: str, *options: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(programs.require("curl"), "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", *options),
            *("--resolve", f"{name}:{port}:127.0.0.1", f"https://{name}:{port}/"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        return process.returncode or 0, said.decode()

    trust = ("--cacert", str(certificate_file(tmp_path / "ca")))
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        assert await curl(host, *trust) == (0, "shown")
        assert (await curl("other.example", *trust))[0] == 60
        assert (await curl(host))[0] == 60


def test_a_leaf_is_forgotten_with_each_of_its_hosts(leaves: Leaves) -> None:
    kept = leaves.leaf("kept.test")
    for host, names in (("gone.test", ()), ("other.test", ("www.gone.test",))):
        leaves.leaf(host, names)
    leaves.forget(lambda host: host.endswith("gone.test"))
    assert len(leaves) == 1
    assert leaves.leaf("kept.test") is kept
