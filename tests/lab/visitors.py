"""Real clients that open a page with all that belongs to it, each in its own way.

A visitor is told the page's address, the proxy and whom to trust, and says how many of the page's pictures it got
whole. A browser counts those it can show. No product code is used here.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import aiohttp
import requests
import socks

from tests.support import programs
from tests.support.chromium import browse
from tests.support.origin import PICTURE

_TIMEOUT_S = 60.0
_AS_ASKED = "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable"
"""Chromium asks by TLS first, else, for a page that is to be plain."""
_AT_ONCE = 8
"""Connections of one client: what browsers open to a host is six."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What a visitor is told."""

    page: str  # its URL
    proxy: tuple[str, int]
    trust: Path  # a file with the authority
    folder: Path  # its own, empty


Visitor = Callable[[Visit], Awaitable[int]]


def parts(page: str, text: str) -> list[str]:
    """The URLs of a page's pictures."""
    return [urljoin(page, source) for source in re.findall(r'<img src="([^"]+)"', text)]


async def run(*command: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a program to its end, within a minute."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    return subprocess.CompletedProcess(command, process.returncode or 0, out, err)


async def curl(visit: Visit, *, scheme: str) -> int:
    """curl, all pictures in parallel."""
    common = (
        *(programs.require("curl"), "--silent", "--show-error", "--disable", "--noproxy", ""),
        *("--cacert", str(visit.trust)),
        *("--proxy", f"{scheme}://{visit.proxy[0]}:{visit.proxy[1]}"),
    )
    page = await run(*common, visit.page)
    assert page.returncode == 0, page.stderr
    wanted = parts(visit.page, page.stdout.decode())
    files = [visit.folder / str(number) for number in range(len(wanted))]
    each = (word for url, file in zip(wanted, files, strict=True) for word in (url, "--output", str(file)))
    done = await run(*common, "--parallel", "--parallel-max", str(_AT_ONCE), *each)
    assert done.returncode == 0, done.stderr
    return sum(file.read_bytes() == PICTURE for file in files)


async def with_pysocks(visit: Visit, *, kind: int) -> int:
    """PySocks, in threads; the proxy resolves."""
    trust = ssl.create_default_context(cafile=visit.trust)
    return await asyncio.to_thread(_load, partial(_pysocks_get, visit, trust, kind), visit.page)


async def with_requests(visit: Visit, *, scheme: str) -> int:
    """requests, in threads, connections kept."""
    url = f"{scheme}://{visit.proxy[0]}:{visit.proxy[1]}"
    trusted = str(visit.trust)
    with requests.Session() as session:
        session.trust_env = False

        def get(target: str) -> bytes:
            proxies = {"http": url, "https": url}
            answer = session.get(target, proxies=proxies, verify=trusted, timeout=_TIMEOUT_S)
            answer.raise_for_status()
            return answer.content

        return await asyncio.to_thread(_load, get, visit.page)


async def with_aiohttp(visit: Visit) -> int:
    """aiohttp, all pictures at once."""
    url, trust = f"http://{visit.proxy[0]}:{visit.proxy[1]}", ssl.create_default_context(cafile=visit.trust)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session:

        async def get(target: str) -> bytes:
            async with session.get(target, proxy=url, ssl=trust) as answer:
                return await answer.read()

        page = await get(visit.page)
        pictures = await asyncio.gather(*(get(part) for part in parts(visit.page, page.decode())))
    return pictures.count(PICTURE)


async def chromium(visit: Visit, *, scheme: str) -> int:
    """Chromium without a window and with a profile of its own. It says itself how many pictures it shows."""
    through = f"--proxy-server={scheme}://{visit.proxy[0]}:{visit.proxy[1]}"
    done = await browse(visit.page, visit.folder, "--ignore-certificate-errors", _AS_ASKED, through)
    shown = re.search(rb'data-shown="(\d+)"', done.stdout)
    assert shown is not None, (done.stdout[-2000:], done.stderr[-2000:])
    return int(shown[1])


def _load(get: Callable[[str], bytes], page: str) -> int:
    wanted = parts(page, get(page).decode())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(get, wanted)).count(PICTURE)


def _pysocks_get(visit: Visit, trust: ssl.SSLContext, kind: int, url: str) -> bytes:
    target = urlsplit(url)
    assert target.hostname is not None
    port = target.port or {"http": 80, "https": 443}[target.scheme]
    with contextlib.ExitStack() as opened:
        through = opened.enter_context(socks.socksocket())
        through.set_proxy(kind, *visit.proxy, rdns=True)
        through.settimeout(_TIMEOUT_S)
        through.connect((target.hostname, port))
        sock: socket.socket = through
        if target.scheme == "https":
            sock = opened.enter_context(trust.wrap_socket(through, server_hostname=target.hostname))
        connection = http.client.HTTPConnection(target.hostname, port)
        connection.sock = sock
        connection.request("GET", target.path + (f"?{target.query}" if target.query else ""))
        with connection.getresponse() as answer:
            assert answer.status == 200
            return answer.read()
