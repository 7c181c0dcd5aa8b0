"""What is looked into and what passes untouched, asked of a whole Byway by real clients."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.config import mitmproxy_version
from proxy.features.inspection import authority as ca
from proxy.features.inspection.leaf import Leaves
from proxy.features.inspection.passthrough import HANG_UPS
from tests.features.inspection.mitm.inspecting import HOSTS, RULES, Inspecting, inspecting
from tests.features.inspection.mitm.site import Site
from tests.support.authority import Authority
from tests.support.byway import Byway
from tests.support.origin import Origin
from tests.support.waiting import until

HOST = "www.inside.test"
IMPORTS = re.compile(r"\| +mitmproxy\.")
"""A line of what -X importtime writes."""


async def shake(
    byway: Inspecting, port: int, *, host: str = HOST, server_name: str | None = HOST, trust: ssl.SSLContext
) -> str:
    """Connects through Byway and says who issued the certificate that came. Raises what ssl raises."""
    reader, writer = await asyncio.open_connection(*byway.proxy)
    try:
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trust.wrap_bio(incoming, outgoing, server_hostname=server_name)
        while True:
            try:
                tls.do_handshake()
                writer.write(outgoing.read())
                await writer.drain()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                data = await reader.read(65536)
                if not data:
                    raise ConnectionError("closed in the handshake") from None
                incoming.write(data)
            except ssl.SSLError:
                writer.write(outgoing.read())
                await writer.drain()
                raise
        return _issuer(tls.getpeercert(binary_form=True) or b"")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _issuer(der: bytes) -> str:
    from cryptography import x509

    return x509.load_der_x509_certificate(der).issuer.rfc4514_string()


def trusting_nobody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_a_host_that_a_rule_inspects_is_signed_for_and_another_is_not(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        assert ca.PURPOSE in await shake(byway, site.port, trust=byway.trust())
        plain = await shake(byway, site.port, host="plain.test", trust=trusting_nobody())
        assert "Byway tests" in plain


@pytest.mark.parametrize(
    ("host", "server_name", "ours"),
    [
        (HOST, None, True),  # it can mean only the one that was asked for
        (HOST, "other.inside.test", False),
        ("127.0.0.1", HOST, True),  # by the name that its hello gives, which a rule speaks of
        ("127.0.0.1", None, False),  # nothing says that it is one of those
    ],
)
async def test_J4_what_the_hello_names_decides_whether_it_is_signed_for(
    host: str, server_name: str | None, ours: bool, tmp_path: Path
) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        issuer = await shake(byway, site.port, host=host, server_name=server_name, trust=trusting_nobody())
        assert (ca.PURPOSE in issuer) is ours


async def test_J4_a_literal_address_that_a_rule_names_is_signed_for_as_an_address(tmp_path: Path) -> None:
    authority = Authority()
    rules = "IP-CIDR,127.0.0.1/32,DIRECT,INSPECT\n"
    async with Site(authority) as site, inspecting(tmp_path, authority, rules=rules) as byway:
        trust = byway.trust()
        issuer = await shake(byway, site.port, host="127.0.0.1", server_name="127.0.0.1", trust=trust)
        assert ca.PURPOSE in issuer


async def test_J9_what_is_not_tls_passes_unchanged(tmp_path: Path) -> None:
    """A server that speaks first, and one that waits for words of its own."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-test\r\n")
        writer.write(b"got " + await reader.readline())
        writer.close()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        writer.write(b"got " + line)
        writer.close()

    config = "[inspect]\nvouch_timeout_s = 0.2\n"
    async with inspecting(tmp_path, Authority(), config=config) as byway:
        for serve, greeting in ((greet, b"SSH-2.0-test\r\n"), (listen, b"")):
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            async with server:
                where = f"{HOST}:{server.sockets[0].getsockname()[1]}"
                reader, writer = await asyncio.open_connection(*byway.proxy)
                writer.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n\r\n".encode())
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
                if greeting:
                    assert await reader.readline() == greeting
                writer.write(b"\x00raw words\n")
                assert await reader.read() == b"got \x00raw words\n"
                writer.close()
        belief = byway._services.beliefs.lookup(HOST, network=byway._services.network(), now=byway._services.now())
        assert belief.score == 0, "that we asked for a certificate is no sign against the site"


async def test_J10_a_host_whose_client_refuses_our_certificate_passes_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        pinned = authority.client()
        with pytest.raises(ssl.SSLCertVerificationError):
            await shake(byway, site.port, trust=pinned)
        await until(lambda: byway.bridge.uninspected == HOST)
        assert "Byway tests" in await shake(byway, site.port, trust=pinned)
        with pytest.raises(ssl.SSLCertVerificationError):
            await shake(byway, site.port, host="other.inside.test", server_name="other.inside.test", trust=pinned)
        await until(lambda: byway.bridge.uninspected == f"{HOST}, other.inside.test")
        said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert [text for text in said if "certificate" in text] == [said[0]] * 2, "once for each"
        assert "inside.test" not in "".join(said), "who that is, only the status tells"
        assert byway._dependencies().counters()["uninspected"] == f"{HOST}, other.inside.test"


async def test_J10_what_was_refused_is_tried_again_once_the_configuration_is_read_again(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        with pytest.raises(ssl.SSLCertVerificationError):
            await shake(byway, site.port, trust=authority.client())
        await until(lambda: byway.bridge.uninspected == HOST)
        assert await byway.reload() == []
        assert byway.bridge.uninspected == ""
        assert ca.PURPOSE in await shake(byway, site.port, trust=byway.trust())


async def test_J10_only_a_few_hosts_are_named(tmp_path: Path) -> None:
    async with inspecting(tmp_path, Authority()) as byway:
        for number in range(8):
            byway.bridge._passthrough.client_rejected(f"{number}.test", time.monotonic(), by_alert=True, keep_s=60)
        assert byway.bridge.uninspected == "3.test, 4.test, 5.test, 6.test, 7.test and 3 others"


async def test_J10_a_client_that_hangs_up_on_our_certificate_again_and_again_refuses_it(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        for count in range(HANG_UPS):
            assert byway.bridge.uninspected == "", f"after {count}"
            await _hang_up(byway, site.port)
            await until(lambda: byway.carried == 0)
        await until(lambda: byway.bridge.uninspected == HOST)


async def _hang_up(byway: Inspecting, port: int) -> None:
    """Takes the hello of the server and its certificate, and leaves without a word."""
    outgoing = ssl.MemoryBIO()
    tls = trusting_nobody().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    reader, writer = await asyncio.open_connection(*byway.proxy)
    writer.write(f"CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.write(outgoing.read())
    assert await reader.read(1)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("is_in_use", [False, True])
async def test_an_authority_that_cannot_be_used_is_the_reason_that_is_told(is_in_use: bool, tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        if is_in_use:
            assert ca.PURPOSE in await shake(byway, site.port, trust=byway.trust())
        byway.ours().with_name("authority.pem").chmod(0o644)
        reader, writer = await asyncio.open_connection(*byway.proxy)
        writer.write(f"CONNECT {HOST}:{site.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b"was readable by other users" in await reader.read()
        writer.close()


async def test_J8_an_authority_whose_time_ends_while_byway_runs_is_the_reason_that_is_told(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        assert ca.PURPOSE in await shake(byway, site.port, trust=byway.trust())
        file = byway.ours()
        byway.bridge._leaves = Leaves(ca.replace_authority(file.parent, now=time.time() - 800 * 24 * 3600))
        reader, writer = await asyncio.open_connection(*byway.proxy)
        writer.write(f"CONNECT {HOST}:{site.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b"local CA expired on" in await reader.read()
        writer.close()
        ca.replace_authority(file.parent, now=time.time())
        assert ca.PURPOSE in await shake(byway, site.port, trust=byway.trust()), "with the next one it goes on"


@pytest.mark.parametrize("is_good", [True, False])
async def test_a_host_that_is_never_logged_hears_only_the_client_and_is_verified_all_the_same(
    is_good: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy")
    authority = Authority()
    hellos: list[str | None] = []
    config = f'[log]\nnever = ["{HOST}"]\n'
    shown = (authority if is_good else Authority()).server_for_all(hellos.append, HOST)
    async with Site(authority, context=shown) as site, inspecting(tmp_path, authority, config=config) as byway:
        if is_good:
            assert ca.PURPOSE in await shake(byway, site.port, trust=byway.trust())
        else:
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await shake(byway, site.port, trust=trusting_nobody())
        assert hellos == [HOST]
        said = f"{HOST}:{site.port}: connection closed; the site's certificate is not valid"
        assert (said in [record.getMessage() for record in caplog.records]) is not is_good


async def test_mitmproxy_is_not_imported_before_a_rule_matches(tmp_path: Path) -> None:
    """And then it is: the control."""
    authority = Authority()
    environment = {"SSL_CERT_FILE": str(authority.write(tmp_path)), "PYTHONPROFILEIMPORTTIME": "1"}
    config = f'[dns]\nsecure = "never"\n{HOSTS}'
    async with (
        Site(authority) as site,
        Origin(authority) as origin,
        Byway(tmp_path, config=config, rules=RULES, environment=environment) as byway,
    ):
        await _ask(byway.proxy, "plain.test", origin.https_port)
        assert not IMPORTS.search(byway.said.read_text())
        await _ask(byway.proxy, HOST, site.port)
        assert IMPORTS.search(byway.said.read_text())


async def _ask(proxy: tuple[str, int], host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(*proxy)
    writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()


def test_a_rule_that_inspects_without_mitmproxy_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    """Seen in a process where it is not installed."""
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.toml").write_text("config_version = 1\n")
    (folder / "rules.txt").write_text("# none\nDOMAIN,a.test,AUTO,INSPECT\n")
    hide = (
        "import sys; from importlib import metadata; true = metadata.version\n"
        "def version(name):\n"
        "    if name == 'mitmproxy': raise metadata.PackageNotFoundError(name)\n"
        "    return true(name)\n"
        "metadata.version = version\n"
        "from proxy.cli import main; sys.argv = ['byway', *sys.argv[1:]]; main()"
    )
    command = [sys.executable, "-c", hide, "run", "--port", "0", "--config", str(folder / "config.toml")]
    done = subprocess.run(
        [*command, "--state", str(tmp_path / "state")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 7, done.stderr
    needed = f"install {mitmproxy_version.EXTRA}"
    assert f"rules.txt:2: INSPECT needs mitmproxy, which is not installed; {needed}" in done.stderr
