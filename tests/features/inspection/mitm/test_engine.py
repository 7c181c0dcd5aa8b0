"""mitmproxy in process: what programs get through a Byway that INSPECTs, with addons that look and change."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.config.schema import Limits
from proxy.features.inspection.handler import MESSAGES_KEPT
from proxy.model import Outcome
from tests.features.inspection.mitm.inspecting import HOSTS, RULES, Inspecting, inspecting
from tests.features.inspection.mitm.site import Http2Site, Site
from tests.support.authority import Authority
from tests.support.origin import Origin, pattern
from tests.support.relay import Relay
from tests.support.waiting import until


class Rewriter:
    """Changes what a page says, and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.ways: set[tuple[str, str]] = set()

    def request(self, flow: Any) -> None:
        flow.request.headers["X-Added"] = "by-the-addon"

    def response(self, flow: Any) -> None:
        self.seen.append((flow.request.pretty_url, flow.request.http_version))
        self.ways.add((flow.metadata["byway.route"], flow.metadata["byway.plan"]))
        if flow.response.content:
            flow.response.text = flow.response.text.replace("hello", "good-bye")


def rewriting(byway: Inspecting) -> Rewriter:
    rewriter = Rewriter()
    byway.add("rewriter", rewriter)
    return rewriter


@pytest.mark.needs("curl")
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_a_page_is_rewritten_where_the_addon_says(tmp_path: Path, version: str) -> None:
    async with Origin() as origin, inspecting(tmp_path, origin.authority) as byway:
        rewriter = rewriting(byway)
        url = f"https://www.inside.test:{origin.https_port}/"
        done = await byway.curl(version, url)
        assert done.stdout == f"www.inside.test:{origin.https_port} says good-bye\n".encode(), done.stderr
        assert [seen for seen, _ in rewriter.seen] == [url]
        assert dict(origin.requests[-1].headers)["x-added"] == "by-the-addon"
        assert rewriter.ways == {("direct", f"rules.txt:1 {'DOMAIN-SUFFIX,inside.test,AUTO,INSPECT'}")}


@pytest.mark.needs("curl")
async def test_J5_http2_on_both_sides_and_http1_where_the_site_has_no_more(tmp_path: Path) -> None:
    authority = Authority()
    async with Http2Site(authority) as h2_site, Site(authority) as site, inspecting(tmp_path, authority) as byway:
        rewriter = rewriting(byway)
        show = ("--write-out", "%{http_version}")
        done = await byway.curl("--http2", f"https://www.inside.test:{h2_site.port}/a", *show)
        assert done.stdout == b"good-bye over h2 at /a" + b"2", done.stderr
        done = await byway.curl("--http2", f"{site.url}/b", *show)
        assert done.stdout == b"good-bye by-the-addon\n" + b"1.1", done.stderr
        assert [version for _, version in rewriter.seen] == ["HTTP/2.0", "HTTP/1.1"]


@pytest.mark.needs("curl")
async def test_what_is_inspected_goes_through_a_relay_that_alone_knows_the_name(tmp_path: Path) -> None:
    authority = Authority()
    rules = "DOMAIN-SUFFIX,inside.test,RELAY:far,INSPECT\n"
    async with Site(authority) as site, Relay({"www.inside.test": "127.0.0.1"}) as relay:
        config = f'[[relay]]\nname = "far"\nurl = "socks5h://127.0.0.9:{relay.port}"\n'
        async with inspecting(tmp_path, authority, rules=rules, config=config, hosts="") as byway:
            rewriter = rewriting(byway)
            for version in ("--http1.1", "--http2"):
                done = await byway.curl(version, f"{site.url}/")
                assert done.stdout == b"good-bye by-the-addon\n", done.stderr
            assert {route for route, _ in rewriter.ways} == {"far"}
            await until(lambda: len(byway.outcomes) == 2)
            assert [str(outcome.winner) for outcome in byway.outcomes] == ["far", "far"], "one line each, in the log"
            assert set(relay.asked) == {f"www.inside.test:{site.port}"}


async def test_a_websocket_goes_both_ways_and_addons_hear_of_it(tmp_path: Path) -> None:
    heard = []

    class Listener:
        def websocket_message(self, flow: Any) -> None:
            heard.append((flow.websocket.messages[-1].from_client, flow.websocket.messages[-1].text))

    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway, aiohttp.ClientSession() as client:
        byway.add("listener", Listener())
        url = f"wss://www.inside.test:{site.port}/ws"
        async with client.ws_connect(url, proxy=byway.url, ssl=byway.trust()) as socket:
            await socket.send_str("hello")
            assert await socket.receive_str(timeout=20) == "HELLO"
        assert heard == [(True, "hello"), (False, "HELLO")]


async def test_of_what_goes_on_for_long_only_the_latest_messages_are_kept(tmp_path: Path) -> None:
    """Of a WebSocket, and of what is no HTTP inside TLS."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    class Listener:
        def websocket_message(self, flow: Any) -> None:
            kept["websocket"].append(len(flow.websocket.messages))

        def tcp_message(self, flow: Any) -> None:
            kept["tcp"].append(len(flow.messages))

    kept: dict[str, list[int]] = {"websocket": [], "tcp": []}
    authority = Authority()
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=authority.server("www.inside.test"))
    async with Site(authority) as site, server, inspecting(tmp_path, authority) as byway:
        byway.add("listener", Listener())
        trust = byway.trust()
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"{site.url}/ws", proxy=byway.url, ssl=trust) as socket,
        ):
            for number in range(2 * MESSAGES_KEPT):
                await socket.send_str(f"a{number}")
                assert await socket.receive_str(timeout=20) == f"A{number}"
        where = f"www.inside.test:{server.sockets[0].getsockname()[1]}"
        reader, writer = await asyncio.open_connection(*byway.proxy)
        writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await writer.start_tls(trust, server_hostname="www.inside.test")
        for _ in range(2 * MESSAGES_KEPT):
            writer.write(b"\x00raw words\n")
            assert await reader.readexactly(11) == b"\x00raw words\n"
        writer.close()
        for lengths in kept.values():
            assert len(lengths) == 4 * MESSAGES_KEPT
            assert max(lengths) == MESSAGES_KEPT + 1, "and the one that is spoken of"


async def test_events_come_one_by_one(tmp_path: Path) -> None:
    authority = Authority()
    async with (
        Site(authority) as site,
        inspecting(tmp_path, authority) as byway,
        aiohttp.ClientSession() as client,
        client.get(f"{site.url}/events", proxy=byway.url, ssl=byway.trust()) as answer,
        asyncio.timeout(20),
    ):
        assert await answer.content.readuntil(b"\n\n") == b"data: one\n\n", "before the second one is sent"
        assert byway.engine is not None
        (handler,) = byway.engine._handlers.values()
        assert handler.timeout_watchdog.timeout == Limits().idle_timeout_s, (
            "and it may take longer than mitmproxy would wait"
        )
        site.next_event.set()
        assert await answer.content.readuntil(b"\n\n") == b"data: two\n\n"


async def test_long_bodies_flow_through_unchanged(tmp_path: Path) -> None:
    authority = Authority()
    config = "[inspect]\nstream_above_bytes = 100_000\n"
    body = pattern(10_000_000)
    async with (
        Site(authority) as site,
        inspecting(tmp_path, authority, config=config) as byway,
        aiohttp.ClientSession() as client,
    ):
        held = []

        class Sizes:
            def response(self, flow: Any) -> None:
                held.append((len(flow.request.raw_content or b""), len(flow.response.raw_content or b"")))

        byway.add("sizes", Sizes())
        trust = byway.trust()
        async with client.post(f"{site.url}/upload", data=io.BytesIO(body), proxy=byway.url, ssl=trust) as answer:
            assert await answer.text() == f"{len(body)} {hashlib.sha256(body).hexdigest()}"
        digest = hashlib.sha256()
        async with client.get(f"{site.url}/bytes/{len(body)}", proxy=byway.url, ssl=trust) as answer:
            async for piece in answer.content.iter_any():
                digest.update(piece)
        expected = hashlib.sha256()
        for at in range(0, len(body), 65536):
            expected.update(pattern(65536)[: min(65536, len(body) - at)])
        assert digest.digest() == expected.digest()
        assert held[0][0] == 0, "the upload was not held"
        assert held[1] == (0, 0), "nor was the download"


async def test_plain_http_is_inspected_one_exchange_at_a_time(tmp_path: Path) -> None:
    async with Origin() as origin, inspecting(tmp_path, origin.authority) as byway, aiohttp.ClientSession() as client:
        rewriter = rewriting(byway)
        for name in ("www", "other", "www"):
            url = f"http://{name}.inside.test:{origin.http_port}/"
            async with client.get(url, proxy=byway.url) as answer:
                assert await answer.text() == f"{name}.inside.test:{origin.http_port} says good-bye\n"
        async with client.post(f"http://www.inside.test:{origin.http_port}/", data=b"abc", proxy=byway.url) as answer:
            assert (await answer.text()).startswith("3 bytes")
        assert len(rewriter.seen) == 4
        await until(lambda: len(byway.outcomes) == 4)
        async with client.get(f"http://plain.test:{origin.http_port}/", proxy=byway.url) as answer:
            assert "hello" in await answer.text(), "no rule speaks of it"


@pytest.mark.parametrize("trouble", ["refused", "eof"])
async def test_plain_http_without_an_answer_is_told_as_if_it_were_not_inspected(trouble: str, tmp_path: Path) -> None:
    """With the reason, and where an addon sends it, there."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    def unreachable(request: Any, outcome: Outcome) -> str | None:
        asked.append((request.http.target, str(outcome.attempts[0].symptom)))
        return "http://mirror.test/" if request.http.target == "/moved" else None

    asked: list[tuple[str, str]] = []
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if trouble == "refused":
        server.close()
        await server.wait_closed()
    async with server, inspecting(tmp_path, Authority()) as byway, aiohttp.ClientSession() as client:
        byway.add("mirror", Rewriter(), hooks={"unreachable": unreachable})
        site = f"http://www.inside.test:{port}"
        async with client.get(f"{site}/", proxy=byway.url) as answer:
            assert answer.status == 502
            text = await answer.text()
            assert text.startswith(f"www.inside.test:{port} could not be reached: direct: "), text
        async with client.get(f"{site}/moved", proxy=byway.url, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (302, "http://mirror.test/")
        assert asked == [("/", trouble), ("/moved", trouble)]
        await until(lambda: len(byway.outcomes) == 2)


async def test_plain_http_that_an_addon_ends_is_not_called_unreachable(tmp_path: Path) -> None:
    class Killer:
        def request(self, flow: Any) -> None:
            flow.kill()

    async with Origin() as origin, inspecting(tmp_path, origin.authority) as byway, aiohttp.ClientSession() as client:
        byway.add("killer", Killer())
        async with client.get(f"http://www.inside.test:{origin.http_port}/", proxy=byway.url) as answer:
            assert answer.status == 502
            assert "could not be reached" not in await answer.text()
        assert not origin.requests


async def test_http_in_a_tunnel_is_inspected_too(tmp_path: Path) -> None:
    config = "[inspect]\nvouch_timeout_s = 0.2\n"  # no certificate will come
    async with Origin() as origin, inspecting(tmp_path, origin.authority, config=config) as byway:
        rewriting(byway)
        where = f"www.inside.test:{origin.http_port}"
        reader, writer = await asyncio.open_connection(*byway.proxy)
        writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(f"GET / HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n".encode())
        assert b"says good-bye" in await reader.read()
        writer.close()


async def test_a_faulty_addon_is_told_of_and_costs_the_connection_nothing(tmp_path: Path) -> None:
    class Faulty:
        def request(self, flow: Any) -> None:
            raise RuntimeError("on purpose")

        async def response(self, flow: Any) -> None:
            raise KeyError("later")

    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway, aiohttp.ClientSession() as client:
        faulty = byway.add("faulty", Faulty())
        byway.add("rewriter", Rewriter())
        async with client.get(f"{site.url}/", proxy=byway.url, ssl=byway.trust()) as answer:
            assert await answer.text() == "good-bye by-the-addon\n"
        assert faulty.faults == 2
        assert "response raised KeyError" in faulty.last_fault
        async with client.get(f"{site.url}/", proxy=byway.url, ssl=byway.trust()) as answer:
            assert await answer.text() == "good-bye by-the-addon\n"
        assert faulty.is_off
        await until(lambda: "faulty" not in dict(byway.addons.objects))


async def test_the_options_of_an_addon_are_those_that_the_user_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from mitmproxy import ctx

    class Says:
        def load(self, loader: Any) -> None:
            loader.add_option("greeting", str, "nothing", "what is said")

        def response(self, flow: Any) -> None:
            flow.response.text = ctx.options.greeting

    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway, aiohttp.ClientSession() as client:
        byway.add("says", Says(), options={"greeting": "this", "greting": "that", "ssl_insecure": True})
        async with client.get(f"{site.url}/", proxy=byway.url, ssl=byway.trust()) as answer:
            assert await answer.text() == "this"
        said = [record.getMessage() for record in caplog.records]
        assert "addon says: [addons.says] greting: it has no such option" in said
        assert any("ssl_insecure is set by Byway and cannot be changed" in text for text in said)


async def test_where_an_addon_sends_a_request_the_rules_for_that_place_hold(tmp_path: Path) -> None:
    class Redirects:
        def request(self, flow: Any) -> None:
            flow.request.host = flow.request.path.removeprefix("/")

    authority = Authority()
    rules = "DOMAIN,blocked.inside.test,BLOCK\n" + RULES
    async with Site(authority) as site, inspecting(tmp_path, authority, rules=rules) as byway:
        byway.add("redirects", Redirects())
        for host, status in (("other.inside.test", 200), ("blocked.inside.test", 502), ("no name at all", 502)):
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"{site.url}/{host}", proxy=byway.url, ssl=byway.trust()) as answer,
            ):
                text = await answer.text()
                assert (answer.status, "BLOCK" in text) == (status, False), "nothing of the rules is told to a page"
                assert "mitmproxy" not in f"{text} {answer.headers}", "nor who looks"
        await until(lambda: byway.carried == 0)
        went = {
            (outcome.request.destination.host, str(outcome.winner or outcome.plan.action)) for outcome in byway.outcomes
        }
        assert {("other.inside.test", "direct"), ("blocked.inside.test", "BLOCK")} <= went


async def test_an_addon_that_is_edited_takes_effect_at_once_on_open_connections_too(tmp_path: Path) -> None:
    gone = []

    class First:
        def response(self, flow: Any) -> None:
            flow.response.text = "first"

        def done(self) -> None:
            gone.append("first")

    class Second:
        def response(self, flow: Any) -> None:
            flow.response.text = "second"

    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway, aiohttp.ClientSession() as client:
        trust = byway.trust()
        for addon, text in ((First(), "first"), (Second(), "second")):
            byway.add("edited", addon)
            async with client.get(f"{site.url}/", proxy=byway.url, ssl=trust) as answer:
                assert await answer.text() == text
        assert gone == ["first"]
        assert byway.accepted == 1, "all over one connection"


async def test_J6_clients_that_leave_in_the_middle_leave_nothing_behind(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway, aiohttp.ClientSession() as client:
        async with client.get(f"{site.url}/", proxy=byway.url, ssl=byway.trust()) as answer:
            await answer.read()
        await client.close()
        await until(lambda: byway.carried == 0)
        tasks, sockets = len(asyncio.all_tasks()), _sockets()
        where = f"www.inside.test:{site.port}"
        hello = _hello("www.inside.test")
        for start in range(0, 1000, 50):
            await asyncio.gather(*(_leave(byway, where, hello, 1 + n % 600) for n in range(start, start + 50)))
        await until(lambda: byway.carried == 0)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        await until(lambda: _sockets() <= sockets)
        trust = byway.trust()
        trust.load_verify_locations(cadata=authority.pem)  # so many hang up that the host may pass uninspected by now
        async with aiohttp.ClientSession() as again, again.get(f"{site.url}/", proxy=byway.url, ssl=trust) as answer:
            assert answer.status == 200


def _sockets() -> int:
    """Sockets that this process holds. Not files: SQLite keeps the descriptor of a reader that was closed (the store's
    housekeeping opens one at a time of its own) for as long as another connection to the file holds a lock."""
    targets = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            targets.append(os.readlink(descriptor))
    return sum(target.startswith("socket:") for target in targets)


def _hello(name: str) -> bytes:
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def _leave(byway: Inspecting, where: str, hello: bytes, share: int) -> None:
    """Says some of a hello, or all of it and waits for the first byte of the answer, and resets the connection."""
    reader, writer = await asyncio.open_connection(*byway.proxy)
    try:
        writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        said = hello[: len(hello) * share // 500]
        writer.write(said)
        if len(said) == len(hello):
            await reader.read(1)
    finally:
        writer.transport.abort()


async def test_what_is_asked_inside_is_written_down_only_when_wanted(tmp_path: Path) -> None:
    authority = Authority()
    for wanted, lines in (("false", 1), ("true", 2)):
        folder = tmp_path / wanted
        folder.mkdir()
        config = f"[inspect]\nlog_requests = {wanted}\n"
        async with Site(authority) as site, inspecting(folder, authority, config=config) as byway:
            async with (
                aiohttp.ClientSession() as client,
                client.get(f"{site.url}/secret?q=1", proxy=byway.url, ssl=byway.trust()) as answer,
            ):
                await answer.read()
            await until(lambda byway=byway, lines=lines: len(byway.outcomes) == lines)  # type: ignore[misc]
            secrets = [outcome for outcome in byway.outcomes if "/secret" in repr(outcome)]
            assert len(secrets) == lines - 1


def test_the_names_of_the_test_site_are_on_loopback() -> None:
    assert "www.inside.test" in HOSTS
