"""What strangers write into keys, names and answers is text on the page; and no form of the page is taken from another
site, or without the session's token."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from proxy.features.relays import adding_page
from proxy.probe.relay_trial import Trial
from tests.support.dashboard import Browser
from tests.support.rows import each_row

SCRIPT = "<script>alert(1)</script>"
BREAKS_OUT = "\"'><img src=x onerror=alert(1)>"
BIDI = "\u202ePAYPAL\u2066"


def foreign(html: str) -> list[str]:
    """Elements and attributes that no page of ours has."""
    return re.findall(r"<script>|<img|<svg onload|\son[a-z]+=|javascript:|\u202e|\u2066", html)


@each_row(
    "pasted",
    [
        (f"socks5h://1.1.1.1:1080#{SCRIPT}",),
        (f"socks5h://1.1.1.1:1080#{BREAKS_OUT}",),
        (f"socks5h://1.1.1.1:1080#{BIDI}",),
        (f"socks5h://{SCRIPT}:1080",),
        (f"socks5h://u{BREAKS_OUT}:p@1.1.1.1:1080",),
        (f"1.1.1.1:1080:{SCRIPT}:x",),
        (f"vless://{SCRIPT}@h.example:443?type=tcp#{BREAKS_OUT}",),
        (f"trojan://pw@h.example:443?sni={SCRIPT}#{BIDI}",),
        (f"https://shop.example/{SCRIPT}",),
        (SCRIPT,),
        ("javascript:alert(1)//:1080",),
        ("\x00\x1b]0;x\x07socks5h://1.1.1.1:1",),
    ],
)
async def test_a_pasted_text_is_text(browser: Browser, pasted: str) -> None:
    for path in ("relays", "relays/check"):
        form = {"token": await browser.token(), "urls": pasted, "do": "preview"}
        status, html = await browser.post(f"{browser.base}{path}", form)
        assert status in (200, 400), html
        field = re.sub(r"<textarea.*?</textarea>", "", html, flags=re.S)  # it has what the person pasted, escaped
        assert "&lt;script" in html or "<script>" not in html
        assert not foreign(field), pasted


async def test_a_name_that_is_typed_is_text(browser: Browser) -> None:
    for name in (SCRIPT, BREAKS_OUT, BIDI, "../x", "a b", "x" * 5000):
        form = {"token": await browser.token(), "urls": "1.1.1.1:1080", "do": "add", "name-0": name}
        status, html = await browser.post(f"{browser.base}relays", form)
        assert status == 400
        assert not re.findall(r"<script>|<img", html)


async def test_what_a_relay_answers_in_its_test_is_text(browser: Browser) -> None:
    trial = Trial(SCRIPT, True, False, False, 0.1, "", BREAKS_OUT, f"{SCRIPT}{BREAKS_OUT}", protocol=SCRIPT)

    async def trials(*_: object, **__: object) -> AsyncIterator[Trial]:
        yield trial

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("proxy.features.relays.endpoints.each_trial", trials)
        form = {"token": await browser.token(), "urls": "1.1.1.1:1080", "do": "add"}
        status, html = await browser.post(f"{browser.base}relays", form)
    assert status == 200
    assert "&lt;script&gt;" in html
    assert not re.findall(r"<script>|<img", html)


async def test_each_form_needs_our_origin_and_the_token(browser: Browser) -> None:
    forms = {route.path for route in adding_page.ROUTES} | {"relays/order", "relays/name", "relays/password"}
    token = await browser.token()
    for path in forms:
        assert (await browser.post(f"{browser.base}{path}", {}))[0] == 403
        assert (await browser.post(f"{browser.base}{path}", {"token": "0" * 32}))[0] == 403
        for origin in ("http://evil.example", "null", None):
            status, _ = await browser.post(f"{browser.base}{path}", {"token": token}, origin=origin)
            assert status == 403, (path, origin)
        status, _ = await browser.post(f"{browser.base}{path}", {"token": token}, site="cross-site")
        assert status == 403
        assert (await browser.get(f"{browser.base}{path}"))[0] in ((200,) if path == "relays" else (405,))
