"""The pages of the proxy's own address and the configuration files beside them, as a client of the proxy port gets
them."""

from __future__ import annotations

import re
from dataclasses import replace
from email.message import Message
from email.parser import Parser

import pytest

from proxy.control.server import ControlServer
from proxy.features.desktop.own_pages import Family, family_of, home_page, setup_page
from proxy.languages.language import Language
from proxy.model import Destination
from proxy.session.recent_clients import Use
from proxy.wire.home_network import LOOPBACK, PREFIXES
from tests.control.test_server import OURS, adopted
from tests.support.control_world import SECRET, World
from tests.support.pseudo_pages import untranslated
from tests.support.rows import each_row
from tests.wire.test_html_page import Tags

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
CHROMIUM = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
SAFARI = "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15"

PROXY = Destination("127.0.0.1", 8119)


async def fetched(server: ControlServer, path: str, *fields: str) -> tuple[int, Message, str]:
    """Status, headers and body."""
    head = "".join(f"{field}\r\n" for field in fields)
    answer = await adopted(server, f"GET {path} HTTP/1.1\r\n{head or OURS}\r\n".encode())
    top, _, body = answer.partition("\r\n\r\n")
    line, _, headers = top.partition("\r\n")
    return int(line.split()[1]), Parser().parsestr(headers), body


@pytest.mark.parametrize("path", ["/proxy.pac", "/wpad.dat", "/strict.pac"])
@pytest.mark.parametrize("more", [(), ("If-None-Match: *",), ("Range: bytes=0-3",), ("Origin: https://evil.example",)])
async def test_a_pac_is_whole_whatever_is_asked(server: ControlServer, path: str, more: tuple[str, ...]) -> None:
    status, headers, body = await fetched(server, path, "Host: 127.0.0.1:8119", *more)
    assert status == 200
    assert headers["Content-Type"] == "application/x-ns-proxy-autoconfig"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert ('"PROXY 127.0.0.1:8119"' if path == "/strict.pac" else '"PROXY 127.0.0.1:8119; DIRECT"') in body
    assert int(headers["Content-Length"]) == len(body) < 1000


@pytest.mark.parametrize("path", ["/proxy.pac", "/strict.pac", "/wpad.dat", "/nothing"])
async def test_who_has_our_name_needs_no_pac(server: ControlServer, path: str) -> None:
    status, headers, body = await fetched(server, path, "Host: byway.internal", "Accept: text/html")
    assert (status, headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "FindProxyForURL" not in body


async def test_what_is_not_there_is_a_page_for_browsers_and_a_sentence_for_programs(
    server: ControlServer, world: World
) -> None:
    fields = "Host: 127.0.0.1:8119", "Accept-Language: fa"
    status, headers, body = await fetched(server, "/nothing", *fields, "Accept: text/html,*/*;q=0.8")
    assert status == 404
    assert '<html lang="fa" dir="rtl">' in body
    assert "byway" not in body.lower(), "anybody may ask"
    assert "style-src 'sha256-" in headers["Content-Security-Policy"]
    assert (await fetched(server, "/nothing", *fields))[2] == "No page has this address.\n"


async def test_a_pac_never_holds_what_was_learned(server: ControlServer, world: World) -> None:
    _, _, before = await fetched(server, "/proxy.pac")
    world.parts.override("blocked.example", None)
    world.rules = "DOMAIN,secret.example,RELAY:tor\n"
    world.overrides_changed()
    assert (await fetched(server, "/proxy.pac"))[2] == before
    for path in ("/proxy.pac", "/strict.pac", "/"):
        body = (await fetched(server, path))[2]
        for word in ("example", "tor\b", "vps", "9050", SECRET):
            assert not re.search(word, body), word


@pytest.mark.parametrize(
    ("listen", "named"),
    [
        ("127.0.0.1", "127.0.0.1:8119"), ("::1", "[::1]:8119"), ("192.168.7.1", "192.168.7.1:8119"),
        ("2001:db8::7", "[2001:db8::7]:8119"), ("0.0.0.0", "127.0.0.1:8119"),  # the address that was reached
    ],
)  # fmt: skip
async def test_a_pac_names_the_address_that_is_listened_on(
    server: ControlServer, world: World, listen: str, named: str
) -> None:
    world.settings = replace(world.settings, listen=replace(world.settings.listen, address=listen))
    world.overrides_changed()
    assert f'"PROXY {named}"' in (await fetched(server, "/strict.pac"))[2]
    assert f"http://{named}/proxy.pac" in (await fetched(server, "/"))[2]


async def test_no_form_no_cookie_no_script(server: ControlServer) -> None:
    status, headers, body = await fetched(server, "/", "Host: 127.0.0.1:8119", f"User-Agent: {FIREFOX}")
    assert status == 200
    assert "Set-Cookie" not in headers
    assert not {"form", "input", "button", "script", "img", "iframe", "link"} & set(Tags(body).names)


@pytest.mark.parametrize(
    ("agent", "family"),
    [(FIREFOX, Family.FIREFOX), (CHROMIUM, Family.CHROMIUM), (SAFARI, Family.SAFARI), ("curl/8", None), ("", None)],
)
async def test_the_steps_are_those_of_the_browser_that_asks(
    server: ControlServer, agent: str, family: Family | None
) -> None:
    assert family_of(agent) is family
    _, _, body = await fetched(server, "/", "Host: 127.0.0.1:8119", f"User-Agent: {agent}")
    assert {each for each in Family if each in body} == ({family} if family else set(Family))
    assert "byway browser" in body


@pytest.mark.parametrize("host", ["127.0.0.1:8119", "localhost:8119"])
async def test_it_says_whether_this_browser_has_just_used_the_proxy(
    server: ControlServer, world: World, host: str
) -> None:
    world.recent_clients.note(CHROMIUM)
    asked = [(await fetched(server, "/", f"Host: {host}", f"User-Agent: {agent}"))[2] for agent in (CHROMIUM, FIREFOX)]
    assert "✓ It seems so." in asked[0]
    assert "Not seen" in asked[1]


async def test_a_request_through_the_proxy_is_proof(server: ControlServer) -> None:
    for host in ("byway.internal", "byway.internal:80"):
        _, _, body = await fetched(server, "/", f"Host: {host}", f"User-Agent: {FIREFOX}")
        assert "✓ Yes." in body
    assert "✓" not in (await fetched(server, "/", "Host: 127.0.0.1:8119"))[2]


@pytest.mark.parametrize("agent", [FIREFOX, CHROMIUM, ""])
def test_a_browser_that_is_set_by_hand_reaches_the_local_network_without_the_proxy(agent: str) -> None:
    """As `byway browser`, `env` and the PAC files have it: else the pages of the router go to Byway."""
    for page in (home_page(PROXY, Use.NOT_SEEN, agent), setup_page(PROXY, agent)):
        (typed, *_) = re.findall(r"o proxy for: <code[^>]*>([^<]*)</code>", page)
        bypassed = typed.split(", ")
        assert {*PREFIXES, *LOOPBACK, "localhost", ".local", ".lan", ".home.arpa"} <= set(bypassed)
        assert ".internal" not in bypassed, "Byway's own page is byway.internal"


def test_a_stranger_is_not_told_what_this_is() -> None:
    for agent in (FIREFOX, CHROMIUM, SAFARI, ""):
        assert "byway" not in setup_page(PROXY, agent).lower()
    assert home_page(PROXY, Use.NOT_SEEN, "").lower().count("byway") > 3


@each_row("agent", ["", FIREFOX, CHROMIUM, SAFARI])
def test_every_string_is_wrapped(agent: str) -> None:
    for page in (
        *(home_page(PROXY, use, agent, Language.PSEUDO) for use in Use),
        setup_page(PROXY, agent, Language.PSEUDO),
    ):
        assert untranslated(page, list(Family)) == []
    assert untranslated(setup_page(PROXY, agent)), "the control"


def test_a_page_is_in_the_language_of_the_browser() -> None:
    page = setup_page(PROXY, "", Language.PERSIAN)
    assert '<html lang="fa" dir="rtl">' in page
