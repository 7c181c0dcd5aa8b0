"""Where an import is read from: a URL is fetched once, through relays unless the person says otherwise."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxy.terminal import fetching
from proxy.terminal.exit_codes import Exit
from tests.features.imports.planned import clash
from tests.features.imports.test_command import Terminal
from tests.support.command_line import Byway, Home
from tests.support.fetched import Servers, servers
from tests.support.list_source import page

__all__ = ["servers"]

PATH = "/sub/0123456789abcdef0123456789abcdef?token=hunter2"


@pytest.fixture
def url(home: Home, servers: Servers) -> str:
    servers.source.answers[PATH] = page(clash("MATCH,S").encode())
    home.config.write_text(f'config_version = 1\n[[relay]]\nname = "tor"\nurl = "{servers.relay_url}"\n')
    return servers.url(PATH)


def test_a_url_is_fetched_through_a_relay(byway: Byway, home: Home, servers: Servers, url: str) -> None:
    ran = byway("import", url, "--yes")
    assert (ran.code, servers.relay.asked) == (0, [f"lists.test:{servers.source.port}"]), ran.err
    (head,) = servers.source.heads
    assert "If-Modified-Since" not in head
    assert "hunter2" not in ran.out + ran.err
    assert "0123456789abcdef" not in ran.out + ran.err
    assert 'name = "S"' in home.config.read_text()


def test_without_a_working_relay_nothing_is_fetched_direct_unasked(
    byway: Byway, home: Home, servers: Servers, url: str
) -> None:
    home.config.write_text("config_version = 1\n")
    ran = byway("import", url, "--yes")
    assert (ran.code, servers.source.heads) == (Exit.CONFIG, [])
    assert "there is no relay to fetch it through" in ran.err
    assert "to fetch it direct, so that your provider sees lists.test: --direct" in ran.err
    assert "hunter2" not in ran.err


@pytest.mark.parametrize("answer", [True, False])
def test_a_person_is_asked_once(
    byway: Byway, home: Home, servers: Servers, url: str, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    home.config.write_text(
        'config_version = 1\n[dns.hosts]\n"lists.test" = "127.0.0.1"\n[safety]\nallow = ["lists.test"]\n'
    )
    questions: list[str] = []

    def confirm(question: str) -> bool:
        questions.append(question)
        return answer

    monkeypatch.setattr(fetching, "confirm", confirm)
    monkeypatch.setattr(sys, "stdin", Terminal())
    ran = byway("import", url, "--yes")
    assert questions == ["Fetch it direct? Your provider sees lists.test."]
    assert (ran.code, len(servers.source.heads)) == ((0, 1) if answer else (Exit.CONFIG, 0)), ran.err


def test_a_rule_that_forbids_direct_holds_for_direct_too(byway: Byway, home: Home, servers: Servers, url: str) -> None:
    home.config.with_name("rules.txt").write_text("DOMAIN-SUFFIX,lists.test,RELAY\n")
    ran = byway("import", url, "--yes", "--direct")
    assert (ran.code, servers.source.heads) == (Exit.CONFIG, [])
    assert "a rule or an addon forbids direct" in ran.err


def test_what_is_gone_is_not_asked_for_again(
    byway: Byway, home: Home, servers: Servers, url: str, tmp_path: Path
) -> None:
    servers.source.answers[PATH] = page(b"no", status="404 Not Found")
    ran = byway("import", url, "--yes")
    assert (ran.code, "answered 404" in ran.err, "--direct" in ran.err) == (Exit.CONFIG, True, False)


def test_a_web_page_is_no_configuration(byway: Byway, home: Home, servers: Servers, url: str) -> None:
    servers.source.answers[PATH] = page(b"<!doctype html><html><body>sign in</body></html>", kind="text/html")
    ran = byway("import", url, "--yes")
    assert (ran.code, "hunter2" in ran.err) == (Exit.CONFIG, False)
    assert 'name = "S"' not in home.config.read_text()
