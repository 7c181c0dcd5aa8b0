"""Control pages: well, failed, a portal in their place, re-signed; on real servers over loopback."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Iterator
from email.utils import format_datetime

import pytest
import trustme

from proxy.config.schema import Auto
from proxy.model import ConnectivityResult, Destination, Evidence, SignalId, Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.stream import Stream
from proxy.probe.control_page import check_control_page, portal_page
from tests.lab.authorities import Authority
from tests.support.answering import answering, babbling
from tests.support.late import TLS_LATE_S, stalling
from tests.support.rows import each_row

PAGE = "https://www.control.test/some/page?x=1"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def page_with(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def office() -> Iterator[Authority]:
    with Authority("Office") as authority:
        yield authority


@pytest.mark.parametrize("status", ["200 OK", "302 Found", "404 Not Found", "503 Busy"])
async def test_every_answer_that_nobody_else_can_give_is_well(
    to_relays: TcpDialer, public: Authority, status: str
) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nLocation: https://elsewhere.test/\r\n\r\n".encode()
    async with answering(to_relays, answer, public.server()) as dialer:
        assert (
            await check_control_page(dialer, PAGE, timeout_s=10, trust=public.client())
        ).result is ConnectivityResult.WELL
    assert [str(asked) for asked in dialer.dialed] == ["www.control.test:443"]


async def test_an_issuer_that_is_trusted_and_logs_nothing_has_re_signed(
    to_relays: TcpDialer, office: Authority
) -> None:
    async with answering(to_relays, OK, office.server()) as dialer:
        sounded = await check_control_page(dialer, PAGE, timeout_s=10, trust=office.client())
    assert sounded.result is ConnectivityResult.RESIGNED
    assert "Office" in sounded.detail
    assert len(sounded.issuer) == 64


async def test_a_certificate_for_somebody_else_is_a_portals(to_relays: TcpDialer, public: Authority) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("login.portal.test").configure_cert(server)
    async with answering(to_relays, OK, server) as dialer:
        sounded = await check_control_page(dialer, PAGE, timeout_s=10, trust=public.client())
    assert sounded.result is ConnectivityResult.PORTAL
    assert "wrong certificate" in sounded.detail


async def test_a_forged_certificate_for_the_page_is_no_portal(
    to_relays: TcpDialer, public: Authority, office: Authority
) -> None:
    async with answering(to_relays, OK, office.server()) as dialer:
        assert (
            await check_control_page(dialer, PAGE, timeout_s=10, trust=public.client())
        ).result is ConnectivityResult.FAILED


async def test_our_own_clock_makes_no_portal(to_relays: TcpDialer) -> None:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=9)
    authority.issue_cert("www.control.test", not_before=past, not_after=past).configure_cert(server)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with answering(to_relays, OK, server) as dialer:
        sounded = await check_control_page(dialer, PAGE, timeout_s=10, trust=trust)
    assert sounded.result is ConnectivityResult.FAILED
    assert "clock" in sounded.detail


@each_row(
    ("answer", "expected"),
    [
        (OK, ConnectivityResult.WELL),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ConnectivityResult.WELL),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://control.test/\r\n\r\n", ConnectivityResult.WELL),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", ConnectivityResult.WELL),
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/login\r\n\r\n", ConnectivityResult.PORTAL),
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", ConnectivityResult.PORTAL),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n", ConnectivityResult.FAILED),
        (b"HTTP/1.1 302 Found\r\nLocation: https://www.control.test.evil.test/\r\n\r\n", ConnectivityResult.PORTAL),
        (page_with(b"<!doctype html><title>Control</title>"), ConnectivityResult.WELL),
        (page_with(b"<!doctype html><title>Guest network</title>"), ConnectivityResult.PORTAL),
        (page_with(b"<html><form action=/?from=www.control.test><input type=password>"), ConnectivityResult.PORTAL),
        (page_with(b"success\n"), ConnectivityResult.WELL),
        (page_with(b""), ConnectivityResult.WELL),
        (page_with(b"<html>" + b" " * 300_000), ConnectivityResult.PORTAL),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>", ConnectivityResult.WELL),
        (b"SSH-2.0-OpenSSH\r\n\r\n", ConnectivityResult.FAILED),
        (b"", ConnectivityResult.FAILED),
    ],
)
async def test_over_plain_http(to_relays: TcpDialer, answer: bytes, expected: ConnectivityResult) -> None:
    async with answering(to_relays, answer) as dialer:
        assert (await check_control_page(dialer, "http://www.control.test:8080", timeout_s=10)).result is expected
    assert dialer.dialed[0].port == 8080


@pytest.mark.parametrize(
    ("answer", "login"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/login?mac=02:00:5e\r\n\r\n", "http://10.0.0.1/"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://Login.test:8443/x\r\n\r\n", "https://login.test:8443/"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[fd00::1]/\r\n\r\n", "http://[fd00::1]/"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://a b.test/\r\n\r\n", "http://www.control.test/"),
        (b"HTTP/1.1 511 Network Authentication Required\r\n\r\n", "http://www.control.test/"),
        (page_with(b"<html><title>Guest network</title>"), "http://www.control.test/"),
        (OK, ""),
    ],
)
async def test_the_login_page_is_named_without_what_may_identify_this_computer(
    to_relays: TcpDialer, answer: bytes, login: str
) -> None:
    async with answering(to_relays, answer) as dialer:
        assert (await check_control_page(dialer, "http://www.control.test/", timeout_s=10)).portal == login


@pytest.mark.parametrize("page", [PAGE, "http://www.control.test/"])
async def test_a_private_address_in_place_of_a_control_is_a_portals(page: str) -> None:
    class Forged:
        async def dial(self, _: Destination) -> Stream:
            evidence: Evidence = {"dns": SignalId.DNS_BOGON, "forged": "10.1.2.3"}
            raise DialError("forged", stage=Stage.RESOLVE, symptom=Symptom.FORGED, evidence=evidence)

    checked = await check_control_page(Forged(), page, timeout_s=10)
    assert (checked.result, checked.portal) == (ConnectivityResult.PORTAL, "http://10.1.2.3/")


async def test_a_plain_page_tells_by_how_much_this_clock_is_wrong(to_relays: TcpDialer) -> None:
    day = datetime.timedelta(days=400)
    for ahead in (day, -day):
        date = format_datetime(datetime.datetime.now(datetime.UTC) - ahead, usegmt=True)
        answer = f"HTTP/1.1 204 No Content\r\nDate: {date}\r\n\r\n".encode()
        async with answering(to_relays, answer) as dialer:
            checked = await check_control_page(dialer, "http://www.control.test/", timeout_s=10)
        assert checked.clock_s == pytest.approx(ahead.total_seconds(), abs=60)
    async with answering(to_relays, b"HTTP/1.1 204 No Content\r\nDate: yesterday\r\n\r\n") as dialer:
        assert (await check_control_page(dialer, "http://www.control.test/", timeout_s=10)).clock_s is None


@each_row(
    ("auto", "url"),
    [
        (Auto(), "http://example.com/"),
        (Auto(controls=("https://www.one.test:8443/x?y",)), "http://www.one.test/"),
        (Auto(portal_page="http://captive.test/hotspot"), "http://captive.test/hotspot"),
        (Auto(controls=(), portal_page="http://captive.test/hotspot"), None),
    ],
)
def test_the_page_of_plain_http_is_the_first_control_unless_it_is_set(auto: Auto, url: str | None) -> None:
    page = portal_page(auto)
    assert (page and page.url) == url


async def test_what_breaks_off_or_cannot_be_reached_failed(to_relays: TcpDialer, public: Authority) -> None:
    async with babbling(to_relays, b"") as dialer:
        assert (
            await check_control_page(dialer, PAGE, timeout_s=10, trust=public.client())
        ).result is ConnectivityResult.FAILED
    assert (
        await check_control_page(dialer, PAGE, timeout_s=10, trust=public.client())
    ).result is ConnectivityResult.FAILED


async def test_silence_has_an_end(to_relays: TcpDialer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the kernel connects, and nobody ever answers
        page = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert (await check_control_page(to_relays, page, timeout_s=0.1)).result is ConnectivityResult.FAILED


@pytest.mark.parametrize("page", ["https:///path", "https://a..b/"])
async def test_what_is_no_page_is_said(to_relays: TcpDialer, page: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await check_control_page(to_relays, page, timeout_s=1)


async def test_a_page_that_came_while_the_loop_was_late_is_in_time(to_relays: TcpDialer, public: Authority) -> None:
    async with answering(to_relays, OK, stalling(public.server(), TLS_LATE_S)) as dialer:
        assert (
            await check_control_page(dialer, PAGE, timeout_s=10, trust=public.client())
        ).result is ConnectivityResult.WELL
