"""What a page of another site may see of Byway, by what its browser says of the request."""

from __future__ import annotations

import pytest

from proxy.session.foreign_requests import as_unknown, is_foreign
from proxy.wire.hostnames import OWN_NAME
from proxy.wire.http1 import RequestHead, whole_request_head
from tests.support.rows import each_row

CROSS = "Sec-Fetch-Site: cross-site"


def head(*fields: str, line: str = "GET / HTTP/1.1", host: str = "127.0.0.1:8119") -> RequestHead:
    parsed = whole_request_head("".join(f"{each}\r\n" for each in (line, f"Host: {host}", *fields, "")).encode())
    assert parsed is not None
    return parsed


def is_ours(host: str) -> bool:
    return host == "127.0.0.1:8119"


@each_row(
    ("fields", "is_of_another_site"),
    [
        ((), False),  # a PAC fetch, curl, an old browser
        (("Sec-Fetch-Site: none",), False),
        (("Sec-Fetch-Site: same-origin",), False),
        ((CROSS,), True),
        (("sec-fetch-site: none", CROSS), True),
        ((CROSS, "Sec-Fetch-Dest: iframe"), True),
        ((CROSS, "Sec-Fetch-Dest: document", "Sec-Fetch-User: ?1"), True),
        ((CROSS, "Referer: http://evil.test/"), True),
        ((CROSS, f"Referer: http://{OWN_NAME}.evil.test/"), True),
        ((CROSS, "Referer: http://127.0.0.1:81190/"), True),
        ((CROSS, f"Referer: https://{OWN_NAME}/"), True),  # nothing of ours is there
        ((CROSS, f"Referer: http://{OWN_NAME}/"), False),  # a link on our own page
        ((CROSS, "Referer: http://127.0.0.1:8119/"), False),
        ((CROSS, f"Referer: http://{OWN_NAME}/", "Referer: http://evil.test/"), True),
    ],
)
def test_what_another_site_caused(fields: tuple[str, ...], is_of_another_site: bool) -> None:
    assert is_foreign(head(*fields), is_ours) is is_of_another_site


@each_row(
    ("line", "destination", "is_of_another_site"),
    [
        ("POST /sign-in HTTP/1.1", "document", False),  # the file of `byway open`
        ("POST /sign-in HTTP/1.1", "iframe", True),
        ("POST /sign-in?x HTTP/1.1", "document", True),
        ("GET /sign-in HTTP/1.1", "document", True),
        ("POST / HTTP/1.1", "document", True),
    ],
)
def test_a_code_is_posted_by_a_file(line: str, destination: str, is_of_another_site: bool) -> None:
    asked = head(CROSS, f"Sec-Fetch-Dest: {destination}", "Content-Length: 0", line=line)
    assert is_foreign(asked, is_ours) is is_of_another_site


@pytest.mark.parametrize("port", ["", ":8080"])
def test_an_unknown_name_is_asked_for_in_place_of_ours(port: str) -> None:
    asked = head(CROSS, line=f"GET http://{OWN_NAME}{port}/proxy.pac HTTP/1.1", host=f"{OWN_NAME}{port}")
    made = {as_unknown(asked)[1] for _ in range(8)}
    assert len(made) > 1
    for destination in made:
        assert len(destination.host) == len(OWN_NAME)
        assert destination.host.endswith(".internal")
        assert destination.port == (8080 if port else 80)
    unknown, destination = as_unknown(asked)
    assert unknown.forwarded == asked.forwarded.replace(OWN_NAME.encode(), destination.host.encode())
    assert OWN_NAME.encode() not in unknown.forwarded
