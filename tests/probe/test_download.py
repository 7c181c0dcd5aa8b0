"""One file over https: what is sent, what is taken, and what ends a download, on real servers over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import cast

import pytest
import trustme

from proxy.model import Stage, Symptom
from proxy.model.errors import DialError
from proxy.net.dialers.tcp import TcpDialer
from proxy.net.stream import Stream
from proxy.net.tasks import spawn
from proxy.probe import download as module
from proxy.probe.download import Downloaded, DownloadFailed, download
from proxy.wire import https_url
from proxy.wire.http1_response import take_response_head
from proxy.wire.https_url import HttpsUrl
from proxy.wire.reader import Reader
from tests.support.answering import LeadsTo, babbling
from tests.support.list_source import LONG_AGO, Answer, ListSource, endless, page, redirect, silent, zipped

pytestmark = pytest.mark.waits

URL = "https://lists.test/list.txt"
TEXT = b"blocked.test\nother.test\n"
LIMIT = 100_000


@pytest.fixture
async def source() -> AsyncIterator[ListSource]:
    async with ListSource() as source:
        yield source


async def allow(_: HttpsUrl, _is_redirect: bool) -> str:
    return ""


class Fetch:
    """Downloads from one source, whatever host the URL names."""

    def __init__(self, to_relays: TcpDialer, source: ListSource) -> None:
        self.dialer = LeadsTo(to_relays, source.port)
        self.source = source
        self.asked: list[tuple[str, bool]] = []

    async def __call__(self, answer: Answer, known_at: float = 0.0, *, url: str = URL) -> Downloaded | None:
        self.source.answers.setdefault("/list.txt", answer)

        async def refuse(url: HttpsUrl, is_redirect: bool) -> str:
            self.asked.append((str(url), is_redirect))
            return "is refused here" if url.host == "refused.test" else ""

        return await download(
            self.dialer,
            https_url.parse(url),
            known_at,
            limit=LIMIT,
            refuse=refuse,
            trust=self.source.authority.client(),
        )

    async def failure(self, answer: Answer) -> str:
        with pytest.raises(DownloadFailed) as failed:
            await self(answer)
        return str(failed.value)


@pytest.fixture
def fetch(to_relays: TcpDialer, source: ListSource) -> Fetch:
    return Fetch(to_relays, source)


NOON, DAY = 1_700_049_600.0, 86_400  # 2023-11-15


async def test_what_is_sent_is_the_same_for_everybody(fetch: Fetch) -> None:
    found = await fetch(page(TEXT, etag='"1"', last_modified=LONG_AGO))
    assert found == Downloaded(TEXT, "text/plain")
    assert fetch.source.heads == [
        "GET /list.txt HTTP/1.1\r\nHost: lists.test\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\n"
        "Accept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    ]


async def test_what_has_not_changed_is_not_sent_again(fetch: Fetch) -> None:
    assert await fetch(page(TEXT, last_modified=LONG_AGO)) is not None
    assert await fetch(b"", NOON + 61.5) is None
    assert fetch.source.fields()["if-modified-since"] == "Wed, 15 Nov 2023 00:00:00 GMT"


async def test_what_changed_on_the_day_is_sent_again(fetch: Fetch) -> None:
    answer = page(TEXT, last_modified="Wed, 15 Nov 2023 11:00:00 GMT")
    assert await fetch(answer, NOON) == Downloaded(TEXT, "text/plain")
    assert await fetch(answer, NOON + DAY) is None


async def test_nothing_that_the_source_said_comes_back_to_it(fetch: Fetch) -> None:
    """It would be a cookie, on each relay."""
    said = {"etag": '"mark-1"', "last_modified": "Tue, 07 Oct 2008 09:41:37 GMT", "set_cookie": "mark=2"}
    for moment in (0.0, NOON, NOON + 1):
        await fetch(page(TEXT, **said), moment)
    heads = "".join(fetch.source.heads)
    assert [each for each in ("mark", "09:41:37", "If-None-Match", "Cookie") if each in heads] == []
    assert fetch.source.heads[1] == fetch.source.heads[2], "all who ask on a day ask the same"


@pytest.mark.parametrize(
    "answer",
    [
        page(TEXT),
        zipped(TEXT),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + TEXT,
        b"HTTP/1.1 100 Continue\r\n\r\n" + page(TEXT),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n" + TEXT + b"\r\n0\r\n\r\n",
    ],
    ids=["length", "gzip", "until the end", "interim", "chunked"],
)
async def test_every_framing(fetch: Fetch, answer: bytes) -> None:
    if b"Connection: close" in answer:  # its end must be told by TLS, which this server does only in an orderly way

        async def until_the_end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            await writer.drain()

        found = await fetch(until_the_end)
    else:
        found = await fetch(answer)
    assert found is not None
    assert found.content == TEXT


async def test_redirects_are_followed_over_https(fetch: Fetch) -> None:
    fetch.source.answers |= {
        "/list.txt": redirect("/a", "301 Moved Permanently"),
        "/a": redirect("https://cdn.test/b?x=1", "307 Temporary Redirect"),
        "/b?x=1": page(TEXT),
    }
    found = await fetch(b"")
    assert found is not None
    assert found.content == TEXT
    assert fetch.asked == [(URL, False), ("https://lists.test/a", True), ("https://cdn.test/b?x=1", True)]
    assert [str(destination) for destination in fetch.dialer.dialed] == [
        "lists.test:443",
        "lists.test:443",
        "cdn.test:443",
    ]


@pytest.mark.parametrize(("redirects", "is_found"), [(5, True), (6, False)])
async def test_five_redirects_are_followed(fetch: Fetch, redirects: int, is_found: bool) -> None:
    fetch.source.answers |= {f"/{number}": redirect(f"/{number + 1}") for number in range(redirects - 1)}
    fetch.source.answers |= {"/list.txt": redirect("/0"), f"/{redirects - 1}": page(TEXT)}
    if is_found:
        assert await fetch(b"") is not None
    else:
        assert await fetch.failure(b"") == "redirects more than 5 times"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (redirect("http://lists.test/list.txt"), "redirects to http://, which is not encrypted"),
        (redirect("//lists.test:0/"), "redirects to a URL that cannot be used: '0' is not a port (1-65535)"),
        (redirect("https://me:pw@lists.test/"), "redirects to a URL that cannot be used: it has a user name or password"
                                                ", which Byway does not send"),
        (redirect("ftp://lists.test/"), "redirects to ftp://, which is not encrypted"),
        (redirect("https://refused.test/"), "is refused here"),
        (redirect(""), "redirects without saying where"),
        (redirect("/list.txt"), "redirects more than 5 times"),
        (page(b"", status="404 Not Found"), "answered 404"),
        (page(b"", status="503 Busy"), "answered 503"),
        (page(b"", status="204 No Content"), "answered 204"),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", "answered 304"),
        (page(TEXT, content_length="100001"), "is larger than 100,000 bytes"),
        (page(b"x" * (LIMIT + 1)), "is larger than 100,000 bytes"),
        (page(TEXT, content_length="5"), "goes on after the length that it declares"),
        (page(TEXT, content_length="500"), "the peer closed 476 bytes before the end of its body"),
        (endless, "is larger than 100,000 bytes"),
        (zipped(b"0" * 50_000_000), "decompresses to more than 100,000 bytes"),
        (page(b"no gzip", content_encoding="gzip"), "is not the gzip that it claims to be"),
        (page(TEXT, content_encoding="br"), "is compressed in a way that was not asked for"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "The server's answer is not proper HTTP: it does not begin with a status line."),
    ],
)  # fmt: skip
async def test_each_bad_answer_is_one_sentence(fetch: Fetch, answer: Answer, reason: str) -> None:
    assert await fetch.failure(answer) == reason


async def test_a_list_that_is_gone_is_gone_on_every_route(fetch: Fetch) -> None:
    with pytest.raises(DownloadFailed) as failed:
        await fetch(page(b"", status="410 Gone"))
    assert failed.value.is_final


async def test_what_stalls_ends(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.05)
    assert await fetch.failure(silent) == "stalls within 0.05 s"


async def test_what_comes_byte_by_byte_ends(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait is short, and all of them together have a limit too."""
    monkeypatch.setattr(module, "TOTAL_S", 0.3)

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(0.01)

    assert await fetch.failure(drip) == "took longer than 0.3 s"


async def test_a_wrong_certificate_is_said(to_relays: TcpDialer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("lists.test").configure_cert(context)
    async with ListSource(context=context) as source:
        said = await Fetch(to_relays, source).failure(page(TEXT))
    assert said.startswith("has a bad certificate: ")
    assert source.heads == [], "the request was not sent to it"


async def test_a_certificate_for_another_name_is_said(to_relays: TcpDialer) -> None:
    source = ListSource()
    source.context = source.authority.server("portal.test")
    async with source:
        assert "certificate" in await Fetch(to_relays, source).failure(page(TEXT))


async def test_what_does_not_speak_tls_is_said(to_relays: TcpDialer) -> None:
    async with babbling(to_relays, b"220 ready\r\n") as dialer:
        with pytest.raises(DownloadFailed, match="failed in the TLS handshake"):
            await download(dialer, https_url.parse(URL), 0.0, limit=LIMIT, refuse=allow)


async def test_a_path_that_does_not_open_is_said_by_its_dialer() -> None:
    class Dead:
        async def dial(self, destination: object) -> object:
            raise DialError(f"relay vps refused {destination}", stage=Stage.RELAY, symptom=Symptom.RELAY_REFUSED)

    with pytest.raises(DownloadFailed, match=r"^relay vps refused lists\.test:443$"):
        await download(Dead(), https_url.parse(URL), 0.0, limit=LIMIT, refuse=allow)  # type: ignore[arg-type]


async def test_no_connection_stays_open(to_relays: TcpDialer) -> None:
    """An answer that is refused is left at once: the server sees the end of its connection."""
    ended = asyncio.Event()
    source = ListSource()

    async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(page(b"", status="503 Busy"))
        await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    async with source:
        await Fetch(to_relays, source).failure(watch)
        async with asyncio.timeout(10):
            await ended.wait()


async def test_plain_http_answers_are_not_taken(to_relays: TcpDialer) -> None:
    async with babbling(to_relays, page(TEXT)) as dialer:
        with pytest.raises(DownloadFailed, match="failed in the TLS handshake"):
            await download(dialer, https_url.parse(URL), 0.0, limit=LIMIT, refuse=allow)


class _AlwaysReady:
    """A stream whose bytes lie ready: to receive them is no wait."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    async def receive(self) -> bytes:
        return self.pieces.pop(0)


async def test_everything_else_goes_on_while_bytes_lie_ready() -> None:
    """Chunk extensions, which are no content and so meet no limit."""
    passes = 0

    async def others() -> None:
        nonlocal passes
        while True:
            passes += 1
            await asyncio.sleep(0)

    pieces = [b"1;" + b"x" * 200 + b"\r\na\r\n"] * 500
    reader = Reader()
    reader.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    head = take_response_head(reader, "GET")
    assert head is not None
    task = spawn(others(), name="others")
    stream = cast(Stream, _AlwaysReady(*pieces, b"0\r\n\r\n"))
    assert (await module._body(stream, reader, head, LIMIT)).content == b"a" * 500
    task.cancel()
    assert passes >= 500
