"""What holds for all pages and forms, whichever feature they are of."""

from __future__ import annotations

from proxy.control.access import SECURITY_HEADERS
from proxy.control.dashboard.answer import PAGE_HEADERS, SIGN_IN_HEADERS
from proxy.features.table import FEATURES
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.rows import each_row

ROUTES = [
    route for feature in FEATURES for page in feature.pages for name in page.routes for route in feature.load(name)
]
PAGES = [route.path for route in ROUTES if route.method == "GET"]
FORMS = [route.path for route in ROUTES if route.method == "POST"]


@each_row("path", FORMS)
async def test_no_form_of_any_page_is_taken_without_our_origin_and_its_token(
    world: World, browser: Browser, path: str
) -> None:
    """Whatever its fields are: the guard looks at these first. With both, the fields are looked at: the control."""
    place = browser.base + path.replace("{host}", "open.example")
    token = await browser.token()
    for form, origin, site in (
        ({"token": token}, None, "same-origin"),
        ({"token": token}, "http://evil.example", "same-origin"),
        ({"token": token}, "null", "same-origin"),
        ({"token": token}, "", "cross-site"),
        ({}, "", "same-origin"),
        ({"token": "0" * 32}, "", "same-origin"),
    ):
        assert (await browser.post(place, form, origin=origin, site=site))[0] == 403, (form, origin, site)
    assert world.reloads == 0
    assert not world.forgotten
    assert (await browser.post(place, {"token": token, "odd": "x"}))[0] == 400


@each_row("path", PAGES)
async def test_what_a_page_shows_runs_no_script_and_is_in_no_frame_of_another_site(browser: Browser, path: str) -> None:
    """A name that a site or a list gave itself is text: even if it became an element, it would run and load nothing."""
    place = browser.base + path.replace("{host}", "open.example").replace("{name}", "gfwlist")
    sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "document"}
    async with browser.session.get(browser.pages.url + place, headers=sent, allow_redirects=False) as answer:
        assert answer.status < 500
        policy = PAGE_HEADERS if answer.status in (200, 303) else SIGN_IN_HEADERS
        for name, value in {**SECURITY_HEADERS, **policy}.items():
            assert answer.headers.getall(name) == [value]
        allowed = answer.headers["Content-Security-Policy"]
        assert allowed.startswith("default-src 'none'; style-src ")
        assert "script-src" not in allowed or "; script-src 'self'; " in allowed
        assert "unsafe" not in allowed
        assert "frame-ancestors 'none'" in allowed
