"""Pages that have nothing in common, and innocent ones that look different at first."""

from __future__ import annotations

from dataclasses import replace

from proxy.detect.pages.page_difference import COMMON_FIELDS, Page
from tests.support.rows import each_row

COMMON = frozenset({"content-type", "content-length", "connection"})
STOP = Page(200, 700, "Access denied", COMMON)
SITE = Page(200, 9000, "Daily Sport of Today", COMMON)

ALIKE = {
    "the same page": (STOP, STOP),
    "about as long": (replace(STOP, length=6301), SITE),
    "about as long, the other way": (SITE, replace(STOP, length=6301)),
    "a word of the title": (replace(STOP, title="ACCESS to sport, TODAY"), SITE),
    "both are redirected": (replace(STOP, status=301, upgrades=True), replace(SITE, status=301, upgrades=True)),
    "an uncommon field": (replace(STOP, fields=COMMON | {"x-site"}), replace(SITE, fields=COMMON | {"x-site", "date"})),
}
INCOMPARABLE = {
    "neither has a title": (replace(STOP, title=""), replace(SITE, title="")),
    "neither has a word in its title": (replace(STOP, title="Shop"), replace(SITE, title="Home")),
    "the relay is refused": (STOP, replace(SITE, status=403)),
    "the site fails": (STOP, replace(SITE, status=502)),
    "it was not found": (replace(STOP, status=404), SITE),
    "a redirect": (STOP, replace(SITE, status=301)),
    "direct is redirected": (replace(STOP, status=301, upgrades=True), SITE),
    "an empty page": (replace(STOP, length=0), SITE),
    "an empty page of the relay": (STOP, replace(SITE, length=0)),
}


@each_row(
    "other",
    [
        SITE,
        replace(STOP, length=400, title="News"),  # shorter, and without a word to compare
        replace(SITE, fields=COMMON_FIELDS),
        replace(SITE, fields=COMMON | {"x-other"}),
        replace(SITE, length=1001, title="Any words will do"),
        replace(STOP, status=301, length=0, upgrades=True),
    ],
)
def test_a_page_with_nothing_in_common_is_another_one(other: Page) -> None:
    assert replace(STOP, fields=COMMON | {"x-box"}).is_unlike(other) is True


@each_row("case", ALIKE)
def test_one_thing_in_common_is_enough(case: str) -> None:
    one, other = ALIKE[case]
    assert one.is_unlike(other) is False


@each_row("case", INCOMPARABLE)
def test_an_error_or_a_redirect_tells_nothing(case: str) -> None:
    one, other = INCOMPARABLE[case]
    assert one.is_unlike(other) is None


def test_short_words_of_a_title_do_not_count() -> None:
    assert Page(200, 1, "Home of the News").words == frozenset()
    assert Page(200, 1, "Home of SPORTS").words == {"sports"}
