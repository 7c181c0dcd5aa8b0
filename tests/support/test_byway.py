from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.byway import Byway, NotReady
from tests.support.client import fetch
from tests.support.origin import Origin


@pytest.mark.uses("today")
async def test_a_real_byway_serves_answers_stops_and_starts_again(tmp_path: Path) -> None:
    byway = Byway(tmp_path, config='[dns.hosts]\n"a.test" = "127.0.0.1"\n', rules="DOMAIN,no.test,BLOCK\nMATCH,AUTO\n")
    async with Origin() as origin, byway:
        for scheme, port in (("http", origin.http_port), ("https", origin.https_port)):
            answer = await fetch(f"{scheme}://a.test:{port}/", via=byway.proxy, trust=origin.authority.client())
            assert answer.body == f"a.test:{port} says hello\n".encode()
        assert (await fetch("http://no.test/", via=byway.proxy)).status == 403
        assert (await byway.read("status"))["pid"] == byway.pid
        await byway.kill()
        first = byway.pid
        await byway.start()
        assert byway.pid != first
        assert (await fetch(f"http://a.test:{origin.http_port}/", via=byway.proxy)).status == 200
        assert await byway.stop(signal.SIGINT) == 0


async def test_a_byway_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="exit code 7") as failure:
        await Byway(tmp_path, config="lissten = 1\n").start()
    assert any("lissten" in note for note in failure.value.__notes__)


async def test_a_failing_test_hears_what_byway_said(tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as failure:
        async with Byway(tmp_path):
            raise AssertionError("as tests do")
    assert any("Byway listens on 127.0.0.1:" in note for note in failure.value.__notes__)


@pytest.mark.uses("today")
async def test_a_command_that_fails_fails_the_test(tmp_path: Path) -> None:
    byway = Byway(tmp_path)
    with pytest.raises(AssertionError, match="exit 3"):
        await byway.command("status")
    assert (await byway.command("status", check=False)).returncode == 3
