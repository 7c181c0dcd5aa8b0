"""Which certificates come: trusted ones, somebody else's, none; on real TLS over loopback."""

from __future__ import annotations

import datetime
import socket
import ssl
import sys
import threading
from collections.abc import Iterator

import pytest
import trustme

from proxy.model import Destination, Stage, Symptom
from proxy.net.dialers.tcp import TcpDialer
from proxy.probe import certificate_chain
from proxy.probe.certificate_chain import FetchedChain, fetch_chain
from proxy.wire import certificates
from tests.lab.authorities import STATE_ROOT, Authority
from tests.support.answering import answering, babbling
from tests.support.late import TLS_LATE_S, stalling
from tests.support.tls_objects import none_left_behind

SITE = Destination("www.example.test", 443)

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def state() -> Iterator[Authority]:
    with Authority("State", shown=(STATE_ROOT,)) as authority:
        yield authority


async def _probe(via: TcpDialer, context: ssl.SSLContext, trust: ssl.SSLContext, name: str = SITE.host) -> FetchedChain:
    async with answering(via, b"", context) as dialer:
        return await fetch_chain(dialer, SITE, name, timeout_s=10, trust=trust)


async def test_a_trusted_one(to_relays: TcpDialer, public: Authority) -> None:
    found = await _probe(to_relays, public.server(), public.client())
    assert (found.verified, found.expired, found.error, found.symptom) == (True, False, "", Symptom.NONE)
    (leaf,) = found.chain
    assert certificates.is_for(leaf, SITE.host)


async def test_one_of_somebody_else_is_seen_with_its_whole_chain(
    to_relays: TcpDialer, public: Authority, state: Authority
) -> None:
    async with answering(to_relays, b"", state.server()) as dialer:
        found = await fetch_chain(dialer, SITE, SITE.host, timeout_s=10, trust=public.client())
    assert (found.verified, found.expired, found.symptom) == (False, False, Symptom.CERTIFICATE)
    assert len(found.chain) == 3
    assert certificates.sha256(found.chain[2]).startswith("c530fadc")
    assert "certificate" in found.error
    assert dialer.dialed == [SITE, SITE]


async def test_its_connections_are_not_left_to_the_collection_of_garbage(
    to_relays: TcpDialer, public: Authority, state: Authority
) -> None:
    with none_left_behind():
        assert (await _probe(to_relays, public.server(), public.client())).verified
        assert not (await _probe(to_relays, state.server(), public.client())).verified


async def test_what_reads_certificates_is_loaded_in_a_thread(
    to_relays: TcpDialer, public: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def load(name: str) -> None:
        loaded.append((name, threading.current_thread() is threading.main_thread()))

    monkeypatch.delitem(sys.modules, "cryptography.x509")
    monkeypatch.setattr(certificate_chain, "import_module", load)
    assert (await _probe(to_relays, public.server(), public.client())).verified
    assert loaded == [("cryptography.x509", False)]


async def test_one_for_another_name(to_relays: TcpDialer) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("portal.test").configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    found = await _probe(to_relays, server, trust)
    assert (found.verified, found.expired, len(found.chain)) == (False, False, 1)
    assert not certificates.is_for(found.chain[0], SITE.host)


@pytest.mark.parametrize("days", [-2, 2])
async def test_one_of_another_day_may_be_our_clock(to_relays: TcpDialer, days: int) -> None:
    authority = trustme.CA()
    now = datetime.datetime.now(datetime.UTC)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    begins = now + datetime.timedelta(days=days) - datetime.timedelta(days=1)
    leaf = authority.issue_cert(SITE.host, not_before=begins, not_after=begins + datetime.timedelta(days=2))
    leaf.configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    found = await _probe(to_relays, server, trust)
    assert (found.verified, found.expired, len(found.chain)) == (False, True, 1)
    assert "or this computer's clock is wrong: it shows 20" in found.error


@pytest.mark.parametrize(
    ("said", "symptom"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x70", Symptom.ALERT),  # fatal, unrecognized_name
        (b"\x15\x03\x03\x00\x02\x02\x28", Symptom.ALERT),  # fatal, handshake_failure
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Symptom.GARBAGE),
        (b"", Symptom.EOF),
    ],
)
async def test_what_came_in_place_of_one(
    to_relays: TcpDialer, public: Authority, said: bytes, symptom: Symptom
) -> None:
    async with babbling(to_relays, said) as dialer:
        found = await fetch_chain(dialer, SITE, SITE.host, timeout_s=10, trust=public.client())
    assert (found.chain, found.verified, found.stage, found.symptom) == ((), False, Stage.FIRST_BYTE, symptom)


async def test_a_path_that_cannot_be_opened(to_relays: TcpDialer, public: Authority) -> None:
    async with babbling(to_relays, b"") as dialer:
        pass
    found = await fetch_chain(dialer, SITE, SITE.host, timeout_s=10, trust=public.client())
    assert (found.chain, found.stage, found.symptom) == ((), Stage.CONNECT, Symptom.REFUSED)


async def test_silence_has_an_end(to_relays: TcpDialer, public: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel connects, and nobody ever answers
        site = Destination("127.0.0.1", silent.getsockname()[1])
        found = await fetch_chain(to_relays, site, SITE.host, timeout_s=0.1, trust=public.client())
    assert (found.stage, found.symptom) == (Stage.FIRST_BYTE, Symptom.SILENT)


async def test_the_trust_store_is_the_systems(to_relays: TcpDialer, public: Authority) -> None:
    async with answering(to_relays, b"", public.server()) as dialer:
        found = await fetch_chain(dialer, SITE, SITE.host, timeout_s=10)
    assert not found.verified
    assert len(found.chain) == 1


async def test_a_certificate_that_came_while_the_loop_was_late_is_in_time(
    to_relays: TcpDialer, public: Authority
) -> None:
    found = await _probe(to_relays, stalling(public.server(), TLS_LATE_S), public.client())
    assert (found.verified, found.symptom) == (True, Symptom.NONE)
