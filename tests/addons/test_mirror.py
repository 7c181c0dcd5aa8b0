from __future__ import annotations

from proxy.testing import outcome, request
from tests.addons.shipped import shipped
from tests.support.rows import each_row

MIRRORS = {"livejournal.com": "https://mirror.example/{host}{path}", "whole.example": "https://other.example/"}


@each_row(
    ("asked", "answer"),
    [
        (
            "http://user.livejournal.com/2008/10?a={host}",
            "https://mirror.example/user.livejournal.com/2008/10?a={host}",
        ),
        ("http://livejournal.com/", "https://mirror.example/livejournal.com/"),
        ("https://user.livejournal.com/x", "https://mirror.example/user.livejournal.com/"),
        ("http://whole.example/a", "https://other.example/"),
        ("http://notlivejournal.com/", None),
    ],
)
def test_the_way_to_a_mirror(asked: str, answer: str | None) -> None:
    addon = shipped("mirror", {"mirrors": MIRRORS})
    assert addon.unreachable(request(asked), outcome(request(asked))) == answer
