"""Both proxy configuration files, evaluated by Node and, as Byway serves them, by Chromium."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy.control.pac import PATHS, Pac, pac_text
from proxy.model import Destination
from tests.control.pac_cases import DIRECT, PROXIED
from tests.support import programs
from tests.support.byway import Byway
from tests.support.chromium import browse
from tests.support.rows import each_row
from tests.support.streams import listening

PROXY = Destination("127.0.0.1", 8119)
RESULTS = {Pac.LENIENT: "PROXY 127.0.0.1:8119; DIRECT", Pac.STRICT: "PROXY 127.0.0.1:8119"}

EVALUATE = """
const { pac, urls } = JSON.parse(require("fs").readFileSync(0));
const asks = ["dnsResolve", "isInNet", "isResolvable", "myIpAddress", "localHostOrDomainIs", "dnsResolveEx"];
const forbidden = asks.map(name => `function ${name}() { throw new Error("${name}"); }`).join("\\n");
const find = new Function(`${forbidden}\\n${pac}\\nreturn FindProxyForURL;`)();
console.log(JSON.stringify(urls.map(([url, host]) => find(url, host))));
"""


def evaluated(text: str, urls: list[tuple[str, str]]) -> list[str]:
    """What a PAC answers for each URL and its host. No function that would resolve a name is there."""
    done = subprocess.run(
        [programs.require("node"), "-e", EVALUATE],
        input=json.dumps({"pac": text, "urls": urls}), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[str] = json.loads(done.stdout)
    return answers


def host_of(url: str) -> str:
    return urlsplit(url).netloc.partition(":80")[0].removesuffix(":3000")


@pytest.mark.needs("node")
@each_row("variant", Pac)
@each_row("brackets", [True, False])
def test_node_goes_where_it_should(variant: Pac, brackets: bool) -> None:
    """Browsers give the host of an IPv6 URL without brackets, other programs with them."""
    urls = [*DIRECT, *PROXIED, "http://byway.internal/"]
    hosts = [host_of(url) if brackets else host_of(url).strip("[]") for url in urls]
    answers = evaluated(pac_text(variant, PROXY), list(zip(urls, hosts, strict=True)))
    expected = ["DIRECT"] * len(DIRECT) + [RESULTS[variant]] * (len(PROXIED) + 1)
    assert dict(zip(urls, answers, strict=True)) == dict(zip(urls, expected, strict=True))


SPELLINGS = {
    "LOCALHOST": True, "Printer.LOCAL.": True, "localhost.": True, "ai.": False, "10.0.0.256": False, "10.0.0": False,
    "010.0.0.1": False, "134744072": False, "0x8080808": False, "": False, "1.": False,
}  # fmt: skip
"""Whether a host is direct."""


@pytest.mark.needs("node")
def test_spellings_that_a_browser_does_not_use() -> None:
    """A number without dots may be any address: it is no name of one label."""
    answers = evaluated(pac_text(Pac.STRICT, PROXY), [("http://x/", host) for host in SPELLINGS])
    expected = {host: "DIRECT" if is_direct else RESULTS[Pac.STRICT] for host, is_direct in SPELLINGS.items()}
    assert dict(zip(SPELLINGS, answers, strict=True)) == expected


@pytest.mark.parametrize("variant", Pac)
def test_it_is_tiny_and_asks_no_resolver(variant: Pac) -> None:
    text = pac_text(variant, Destination("2001:db8::7", 8119))
    assert len(text) < 1000
    assert text.isascii()
    assert "PROXY [2001:db8::7]:8119" in text
    for word in ("dnsResolve", "isInNet", "isResolvable", "isPlainHostName", "myIpAddress"):
        assert word not in text


def test_the_strict_one_has_no_way_around() -> None:
    assert pac_text(Pac.STRICT, PROXY).count("DIRECT") == 1  # of local addresses
    assert "; DIRECT" not in pac_text(Pac.STRICT, PROXY)
    assert PATHS["/wpad.dat"] is Pac.LENIENT


# -- in Chromium -------------------------------------------------------------------------------------------------------

VISIT = """<!doctype html><title>visit</title><script>
Promise.allSettled(URLS.map(url => fetch(url, { mode: "no-cors" }))).then(() => { document.title = "visited"; });
</script>"""


@pytest.mark.slow
@pytest.mark.uses("traffic")
@pytest.mark.needs("chromium")
@pytest.mark.parametrize("path", ["/proxy.pac", "/strict.pac"])
async def test_chromium_goes_where_it_should(path: str, tmp_path: Path) -> None:
    """Every name leads to a server on loopback, and Byway refuses everything: what it has refused came through it."""
    direct: set[str] = set()
    page = ""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("GET /visit "):
            body = page.encode()
        elif head.startswith("GET /favicon.ico "):  # of the page of this test
            body = b""
        else:
            direct.add(next(line[6:] for line in head.splitlines() if line.startswith("Host: ")))
            body = b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async with (
        listening(serve, "127.0.0.1", 0) as server,
        Byway(tmp_path, config='[log]\nhosts = "all"\n', rules="MATCH,BLOCK\n") as byway,
    ):
        port = server.sockets[0].getsockname()[1]
        elsewhere = "http://127.0.0.1/"  # not mapped, since Byway and this server are there
        page = VISIT.replace("URLS", json.dumps([url for url in (*DIRECT, *PROXIED) if url != elsewhere]))
        shown = await browse(
            f"http://127.0.0.1:{port}/visit",
            tmp_path / "browser",
            f"--proxy-pac-url={byway.url}{path}",
            f"--host-resolver-rules=MAP * 127.0.0.1:{port},EXCLUDE 127.0.0.1",
            "--virtual-time-budget=60000",
            "--disable-features=LocalNetworkAccessChecks,HttpsUpgrades",
        )
        rows = (await byway.read("log", "--limit", "200"))["rows"]
    assert b"<title>visited</title>" in shown.stdout
    assert direct == {urlsplit(url).netloc for url in DIRECT if url != elsewhere}
    asked = {row["host"] for row in rows}
    of_its_own = {host for host in asked if host.endswith((".google.com", ".googleapis.com"))}  # Chromium's
    assert asked - of_its_own == {urlsplit(url).hostname for url in PROXIED}
