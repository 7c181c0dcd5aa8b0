from __future__ import annotations

from mitmproxy.test import tflow

from tests.addons.shipped import shipped
from tests.support.rows import each_row

PATHS = {
    "/a?utm_source=x&id=1&fbclid=2&id=3": "/a?id=1&id=3",
    "/a?utm_source=x": "/a",
    "/a?q=a%20b&x": "/a?q=a%20b&x",  # exactly as it was written
    "/a?notutm_=1": "/a?notutm_=1",
    "/a": "/a",
}


@each_row(("before", "after"), PATHS.items())
def test_tracking_parameters_are_taken_off_and_nothing_else(before: str, after: str) -> None:
    flow = tflow.tflow()
    flow.request.path = before
    shipped("clean_links").objects[0].request(flow)  # type: ignore[attr-defined]  # a hook of mitmproxy's
    assert flow.request.path == after


def test_the_list_is_the_users() -> None:
    flow = tflow.tflow()
    flow.request.path = "/?mine=1&utm_x=2"
    shipped("clean_links", {"parameters": ["mine"]}).objects[0].request(flow)  # type: ignore[attr-defined]
    assert flow.request.path == "/?utm_x=2"
