"""The forms of all pages."""

from __future__ import annotations

from proxy.features.table import FEATURES
from tests.support.control_world import World
from tests.support.dashboard import Browser
from tests.support.rows import each_row

ROUTES = [
    route for feature in FEATURES for page in feature.pages for name in page.routes for route in feature.load(name)
]
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
