"""A whole Byway that INSPECTs, from outside: a real Chromium, an addon of mitmproxy's kind in a file, long bodies."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import pytest

from proxy.model import Destination
from tests.features.inspection.mitm.inspecting import HOSTS, RULES
from tests.features.inspection.mitm.site import Site
from tests.support import programs
from tests.support.authority import Authority
from tests.support.byway import Byway
from tests.support.chromium import browse
from tests.support.origin import Origin
from tests.support.waiting import until_read

HOST = "www.inside.test"
ADDON = """
import logging
from mitmproxy import ctx, http

class Counter:
    def __init__(self):
        self.count = 0

    def load(self, loader):
        loader.add_option(name="greeting", typespec=str, default="counted", help="what is said")

    def response(self, flow: http.HTTPFlow) -> None:
        self.count += 1
        flow.response.headers["X-Count"] = f"{ctx.options.greeting} {self.count}"
        flow.response.text = flow.response.text.replace("hello", "shown by the addon")

addons = [Counter()]
"""


def inspecting(folder: Path, authority: Authority, config: str = "", addon: str = ADDON) -> Byway:
    """A Byway whose system trusts the test's authority, and which has one addon. Nothing of it is under /root."""
    home = folder / "home"
    home.mkdir()
    environment = {"SSL_CERT_FILE": str(authority.write(folder)), "HOME": str(home)}
    byway = Byway(folder, config=f'{config}[dns]\nsecure = "never"\n{HOSTS}', rules=RULES, environment=environment)
    addons = byway.config.parent / "addons"
    addons.mkdir(mode=0o700)
    (addons / "counter.py").write_text(addon)
    return byway


def ours(byway: Byway) -> Path:
    return byway.state / "ca" / "byway-ca.crt"


async def get(byway: Byway, url: str, *arguments: str, ca: Path | None = None) -> tuple[int, bytes]:
    """What curl says, which trusts our authority, and its exit code."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--proxy", byway.url, "--max-time", "120"),
        *("--cacert", str(ca)) if ca else ("--insecure",),
        *arguments,
        url,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out


@pytest.mark.needs("curl")
async def test_an_addon_of_mitmproxys_kind_works_as_it_is_and_mitmproxy_keeps_no_key_of_its_own(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        assert await get(byway, f"{site.url}/") == (0, b"shown by the addon \n")
        _, head = await get(byway, f"{site.url}/", "--head", ca=ours(byway))
        assert b"x-count: counted 2" in head.lower()
        assert not _files_with("mitmproxy-ca", tmp_path)
        assert _files_with("PRIVATE" + " KEY", tmp_path) == [byway.state / "ca" / "authority.pem"]
        byway.config.with_name("addons").joinpath("counter.py").write_text(ADDON.replace("shown by", "edited in"))

        async def is_edited() -> bool:
            return await get(byway, f"{site.url}/") == (0, b"edited in the addon \n")

        await until_read(is_edited)
        assert await get(byway, f"{site.url}/", ca=authority.write(tmp_path)) == (60, b""), "not the site's own"


@pytest.mark.slow
@pytest.mark.needs("curl")
async def test_a_plain_request_that_is_inspected_counts_once_for_its_rule(tmp_path: Path) -> None:
    authority = Authority()
    async with Origin() as origin, inspecting(tmp_path, authority) as byway:
        for count in (1, 2):
            status, body = await get(byway, f"http://{HOST}:{origin.http_port}/")
            assert (status, bool(body)) == (0, True)
            (rule,) = (await byway.read("rule", "list"))["rules"]
            assert rule["hits"] == count


def _files_with(words: str, folder: Path) -> list[Path]:
    """Files that have them in their name or their text."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if words in path.name or words in path.read_text(errors="replace")]


@pytest.mark.slow
@pytest.mark.needs("curl")
async def test_a_long_download_takes_no_memory(tmp_path: Path) -> None:
    authority = Authority()
    mb = 1_000_000
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        show = ("--output", os.devnull, "--write-out", "%{size_download}")
        assert await get(byway, f"{site.url}/bytes/{10 * mb}", *show) == (0, b"%d" % (10 * mb))
        before = _resident_kb(byway.pid)
        assert await get(byway, f"{site.url}/bytes/{200 * mb}", *show) == (0, b"%d" % (200 * mb))
        assert _resident_kb(byway.pid) - before < 20_000


def _resident_kb(pid: int) -> int:
    """The most that was ever resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.slow
@pytest.mark.needs("chromium", "certutil")
async def test_chromium_shows_a_rewritten_page_when_it_trusts_our_authority(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        await get(byway, f"{site.url}/")  # the first inspected connection makes the authority
        page = await _browse(byway, f"{site.url}/page", tmp_path / "1", trusts=[ours(byway)])
        assert "shown by the addon" in page


@pytest.mark.slow
@pytest.mark.needs("chromium", "certutil")
async def test_chromium_warns_without_it_and_then_the_site_works_untouched(tmp_path: Path) -> None:
    authority = Authority()
    async with Site(authority) as site, inspecting(tmp_path, authority) as byway:
        await get(byway, f"{site.url}/")
        real = authority.write(tmp_path)
        warned = await _browse(byway, f"{site.url}/page", tmp_path / "1", trusts=[real])
        assert "shown by the addon" not in warned
        assert "hello" not in warned
        problems = (await byway.read("status"))["problems"]
        assert any(HOST in problem["text"] for problem in problems), problems
        assert str(Destination(HOST, site.port)) not in byway.said.read_text()
        page = await _browse(byway, f"{site.url}/page", tmp_path / "2", trusts=[real])
        assert "hello" in page
        assert "shown by the addon" not in page


async def _browse(byway: Byway, url: str, home: Path, *, trusts: list[Path]) -> str:
    """The page as a Chromium without a window shows it, with a home of its own whose store trusts these."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for words in (
        ["-N", "--empty-password"],
        *(["-A", "-t", "C,,", "-n", f"trusted {n}", "-i", str(file)] for n, file in enumerate(trusts)),
    ):
        command = [programs.require("certutil"), "-d", f"sql:{store}", *words]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)
    done = await browse(url, home, f"--proxy-server={byway.url}")
    return done.stdout.decode(errors="replace")
