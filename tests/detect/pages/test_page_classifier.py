"""The first bytes of plain HTTP answers: pages of the site, of a block, and on the way to somewhere else."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.detect.pages.block_pages import BlockPages, parse_fingerprints
from proxy.detect.pages.page_classifier import (
    BODY_LIMIT,
    SHOWN_LIMIT,
    TEXT_LIMIT,
    ClassifiedPage,
    PageKind,
    classify_page,
    read_page,
)
from proxy.detect.pages.page_difference import Page
from tests.support.rows import each_row

PAGES = BlockPages(
    parse_fingerprints(
        "name,scope,location_found,pattern_type,pattern\n"
        "page,isp,body,contains,stop.example/law\n"
        "russian,isp,body,contains,Доступ к ресурсу ограничен\n"
        "head,nat,header.location,prefix,http://10.10.34.3\n"
        "box,prod,header.server,full,StopBox\n"
        "captcha,fp,body,contains,solve this to see stop.example/law\n",
        "made-up.csv",
    ).fingerprints
)
STOP = b"<html><a href='http://stop.example/law'>blocked</a></html>"
HOST = "www.example.com"


def answer(body: bytes = b"", *fields: str, status: int = 200, kind: str = "text/html") -> bytes:
    """With a Content-Length, and `fields` as they are."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def seen(data: bytes, *, host: str = HOST, ended: bool = False, method: str = "GET") -> ClassifiedPage:
    """Without the mark, which has tests of its own."""
    return replace(classify_page(data, host, ended=ended, method=method, pages=PAGES), mark=0)


def unframed(body: bytes, *fields: str) -> bytes:
    return "\r\n".join(("HTTP/1.0 200 OK", "Content-Type: text/html", *fields)).encode() + b"\r\n\r\n" + body


def redirect(place: str, status: int = 302) -> bytes:
    return answer(b"", f"Location: {place}", status=status)


def led(host: str, status: int) -> ClassifiedPage:
    return ClassifiedPage(PageKind.REDIRECTED, status, host)


def chunked(body: bytes, size: int) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


PLAIN = ClassifiedPage(PageKind.PLAIN, 200)
BLOCKED = ClassifiedPage(PageKind.BLOCK_PAGE, 200, "page")

SCENARIOS: list[tuple[str, bytes, ClassifiedPage]] = [
    ("an ordinary page", answer(b"<p>hello"), PLAIN),
    ("a block page", answer(STOP), BLOCKED),
    ("one with an error's status", answer(STOP, status=451), ClassifiedPage(PageKind.BLOCK_PAGE, 451, "page")),
    ("one in chunks", chunked(STOP, 7), BLOCKED),
    ("one without a type", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(STOP), STOP), BLOCKED),
    ("one after an interim answer", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + answer(STOP), BLOCKED),
    ("one with line ends of LF alone", answer(STOP).replace(b"\r\n", b"\n"), BLOCKED),
    ("one in gzip", answer(gzip.compress(STOP), "Content-Encoding: gzip"), BLOCKED),
    ("one in deflate", answer(zlib.compress(STOP), "Content-Encoding: deflate"), BLOCKED),
    ("one in bare deflate", answer(zlib.compress(STOP, wbits=-15), "Content-Encoding: deflate"), BLOCKED),
    ("what is said to be gzip", answer(STOP, "Content-Encoding: gzip"), PLAIN),
    ("Brotli, which we cannot read", answer(STOP, "Content-Encoding: br"), PLAIN),
    (
        "one in windows-1251",
        answer("Доступ к ресурсу ограничен".encode("cp1251"), kind="text/html; charset=windows-1251"),
        ClassifiedPage(PageKind.BLOCK_PAGE, 200, "russian"),
    ),
    ("a captcha that quotes it", answer(b"solve this to see stop.example/law"), PLAIN),
    ("the same text as a script", answer(STOP, kind="application/javascript"), PLAIN),
    ("the same text as a download", answer(STOP, "Content-Disposition: attachment; filename=x.html"), PLAIN),
    ("a block page's address", redirect("http://10.10.34.34"), ClassifiedPage(PageKind.BLOCK_PAGE, 302, "head")),
    ("a filter's server", answer(b"<p>", "Server: StopBox"), ClassifiedPage(PageKind.BLOCK_PAGE, 200, "box")),
    ("the first of two servers", answer(b"<p>", "Server: nginx", "Server: StopBox"), PLAIN),
    ("a redirect within the site", redirect("https://example.com/", 301), ClassifiedPage(PageKind.PLAIN, 301)),
    ("a redirect to a path", redirect("/login", 303), ClassifiedPage(PageKind.PLAIN, 303)),
    ("a redirect without a place", answer(b"", status=302), ClassifiedPage(PageKind.PLAIN, 302)),
    ("a redirect elsewhere", redirect("http://A.Warning.test/x", 307), led("a.warning.test", 307)),
    ("one without a scheme", redirect("//warning.test"), led("warning.test", 302)),
    ("one to an address", redirect("http://192.0.2.1:8080/"), led("192.0.2.1", 302)),
    ("one to IPv6", redirect("http://[2001:DB8::1]/"), led("2001:db8::1", 302)),
    ("one to an app", redirect("intent://warning.test/"), ClassifiedPage(PageKind.PLAIN, 302)),
    ("one to nonsense", redirect("http://[::1"), ClassifiedPage(PageKind.PLAIN, 302)),
    ("a place without a redirect", redirect("http://warning.test/", 201), ClassifiedPage(PageKind.PLAIN, 201)),
    (
        "a page that sends elsewhere",
        answer(b"<META content=\"0; URL='http://warning.test/?a&amp;b'\" HTTP-EQUIV=Refresh>"),
        led("warning.test", 200),
    ),
    ("a page that reloads itself", answer(b'<meta http-equiv="refresh" content="30">'), PLAIN),
    ("a page that goes on to another", answer(b'<meta http-equiv="refresh" content="5;url=/next">'), PLAIN),
    ("no body", b"HTTP/1.1 204 No Content\r\n\r\n", ClassifiedPage(PageKind.PLAIN, 204)),
    ("what is no HTTP", b"HTTP/1.1 what\r\n\r\n", ClassifiedPage(PageKind.PLAIN)),
    ("interim answers without end", b"HTTP/1.1 100 Continue\r\n\r\n" * 9, ClassifiedPage(PageKind.PLAIN)),
    ("malformed chunks", chunked(STOP, 99).replace(b"\r\n3a\r\n", b"\r\nzz\r\n"), PLAIN),
]


@each_row(("data", "expected"), [row[1:] for row in SCENARIOS], ids=[row[0] for row in SCENARIOS])
def test_what_an_answer_is(data: bytes, expected: ClassifiedPage) -> None:
    assert seen(data) == expected
    assert seen(data, ended=True) == expected


@each_row(("data", "expected"), [row[1:] for row in SCENARIOS], ids=[row[0] for row in SCENARIOS])
def test_byte_by_byte_it_waits_and_then_says_the_same(data: bytes, expected: ClassifiedPage) -> None:
    told = next(found for size in range(len(data) + 1) if (found := seen(data[:size])).kind is not PageKind.MORE)
    assert told == expected


def test_the_end_of_a_page_without_a_length_is_the_end_of_the_connection() -> None:
    assert seen(unframed(STOP)) == ClassifiedPage(PageKind.MORE, 200)
    assert seen(unframed(STOP), ended=True) == BLOCKED


def test_only_the_beginning_is_waited_for() -> None:
    assert seen(unframed(b"x" * (BODY_LIMIT - 1))).kind is PageKind.MORE
    assert seen(unframed(b"x" * BODY_LIMIT)) == PLAIN
    assert seen(unframed(STOP + b"x" * BODY_LIMIT)) == BLOCKED


def test_a_picture_is_not_waited_for() -> None:
    assert seen(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 99999\r\n\r\n") == PLAIN


def test_an_answer_to_head_has_no_body() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 500\r\n\r\n"
    assert seen(data, method="HEAD") == PLAIN
    assert seen(data).kind is PageKind.MORE


def test_when_no_more_is_waited_for_what_has_come_decides() -> None:
    data = answer(STOP + b" " * 100)[:-50]
    assert seen(data).kind is PageKind.MORE
    assert seen(data, ended=True) == BLOCKED
    assert seen(b"HTTP/1.1 200 OK\r\nContent-", ended=True) == ClassifiedPage(PageKind.PLAIN)


def test_a_page_packed_without_measure_is_unpacked_to_a_measure() -> None:
    bomb = gzip.compress(STOP + b" " * 50_000_000)
    assert seen(answer(bomb[:BODY_LIMIT], "Content-Encoding: gzip")) == BLOCKED
    assert seen(answer(gzip.compress(b" " * TEXT_LIMIT + STOP), "Content-Encoding: gzip")) == PLAIN


def test_what_is_related_is_for_the_caller_to_say() -> None:
    data = redirect("http://b.test/")
    assert classify_page(data, "a.test", ended=True, pages=PAGES, domain=lambda host: "one").kind is PageKind.PLAIN


def test_a_literal_may_be_asked() -> None:
    data = redirect("/x")
    assert seen(data, host="2001:db8::7").kind is PageKind.PLAIN


@given(st.binary(max_size=300), st.booleans())
def test_nothing_makes_it_raise(data: bytes, framed: bool) -> None:
    for prefix in (b"", b"HTTP/1.1 302 X\r\nLocation: ", answer(b"")[:-2] + b"Content-Encoding: gzip\r\n\r\n"):
        assert seen(prefix + data, ended=True).kind is not PageKind.MORE


# -- who knows better --------------------------------------------------------------------------------------------------


def classified(
    data: bytes, said: str | bool | None, *, ended: bool = False
) -> tuple[ClassifiedPage, list[tuple[str, bytes]]]:
    """What is made of an answer by somebody who says this of every page, and what was shown."""
    shown: list[tuple[str, bytes]] = []

    def classify(head: str, body: bytes) -> str | bool | None:
        shown.append((head, body))
        return said

    return classify_page(data, HOST, ended=ended, pages=PAGES, classify=classify), shown


def test_a_page_that_fingerprints_do_not_know_can_be_named() -> None:
    found, shown = classified(answer(b"<p>by order", "X-A: b"), "mine")
    assert found == ClassifiedPage(PageKind.BLOCK_PAGE, 200, "mine")
    assert shown == [("HTTP/1.1 200 Whatever\nContent-Type: text/html\nX-A: b\n", b"<p>by order")]


@pytest.mark.parametrize("data", [answer(STOP), redirect("http://elsewhere.test/"), redirect("http://10.10.34.3/x")])
def test_what_fingerprints_and_redirects_say_can_be_denied(data: bytes) -> None:
    assert seen(data).kind is not PageKind.PLAIN
    found, _ = classified(data, False)
    assert found.kind is PageKind.PLAIN
    assert classified(data, None)[0] == seen(data)


def test_what_is_shown_is_unpacked_and_bounded() -> None:
    body = b"x" * 50_000
    packed = gzip.compress(body)
    _, shown = classified(answer(packed, "Content-Encoding: gzip"), None)
    assert shown[0][1] == b"x" * SHOWN_LIMIT


def test_nobody_is_asked_of_what_is_no_page_or_not_whole() -> None:
    for data in (answer(b"x", kind="image/png"), answer(b"<p>half" + b" " * 100)[:-50], b"HTTP/1.1 200", b"\x16\x03"):
        assert classified(data, "mine")[1] == []


# -- marks -------------------------------------------------------------------------------------------------------------

DENIED = b"<html><title>Not available</title><p>This page is not available.</html>"


def mark(data: bytes, host: str = HOST, *, ended: bool = True) -> int:
    page = classify_page(data, host, ended=ended, pages=PAGES)
    assert page.kind is PageKind.PLAIN
    return page.mark


SAME = {
    "the same page": answer(DENIED),
    "another text of the same length": answer(DENIED.replace(b"This", b"That")),
    "in gzip": answer(gzip.compress(DENIED), "Content-Encoding: gzip"),
    "in chunks": chunked(DENIED, 7),
    "up to the end": unframed(DENIED),
}
OTHERS = {
    "another title": answer(DENIED.replace(b"Not av", b"Now av")),
    "another length": answer(DENIED + b" "),
    "another status": answer(DENIED, status=404),
    "a part of it": answer(DENIED)[:-1],
    "no page": answer(DENIED, kind="image/png"),
    "a download": answer(DENIED, "Content-Disposition: attachment"),
    "no text that can be read": answer(DENIED, "Content-Encoding: br"),
}


@each_row("case", SAME)
def test_a_page_of_the_same_length_and_title_has_the_same_mark(case: str) -> None:
    assert mark(SAME[case]) == mark(answer(DENIED)) != 0


@each_row("case", OTHERS)
def test_another_page_has_another_mark_or_none(case: str) -> None:
    assert mark(OTHERS[case]) != mark(answer(DENIED))


def test_the_name_of_the_host_in_the_text_does_not_count() -> None:
    pages = [
        answer(DENIED.replace(b"This page", host.encode())) for host in (HOST, "a.test", "a.much.longer.name.test")
    ]
    marks = {mark(page, host) for page, host in zip(pages, (HOST, "a.test", "a.much.longer.name.test"), strict=True)}
    assert len(marks) == 1


def test_ordinary_pages_that_name_their_host_in_the_title_have_other_marks() -> None:
    hosts = [f"site{number}.test" for number in range(20)]
    marks = {mark(answer(b"<title>%b</title><p>Welcome to %b" % ((host.encode(),) * 2)), host) for host in hosts}
    assert len(marks) == len(hosts)


def test_without_a_title_the_text_decides() -> None:
    first, second = (answer(b"<p>%b</p>" % text) for text in (b"one", b"two"))
    assert mark(first) == mark(first) != mark(second)


@each_row(
    "data",
    [
        answer(b"OK"),  # not a page
        answer(bytes(1024)),
        answer(DENIED + b" " * BODY_LIMIT),
        answer(DENIED, status=403),
        answer(b""),
        redirect("http://www.example.com/elsewhere"),
        b"no HTTP\r\n\r\n",
    ],
)
def test_nothing_else_has_a_mark(data: bytes) -> None:
    assert mark(data) == 0


def test_an_addon_that_knows_the_page_leaves_it_no_mark() -> None:
    page = classify_page(answer(DENIED), HOST, ended=True, pages=PAGES, classify=lambda head, body: False)
    assert page == PLAIN


# -- what is compared --------------------------------------------------------------------------------------------------


@each_row("data", [data for data in SAME.values() if b"gzip" not in data and b"chunked" not in data])
def test_an_answer_is_read_for_a_comparison(data: bytes) -> None:
    page = read_page(data, HOST)
    assert page is not None
    assert (page.status, page.length, page.title, page.upgrades) == (200, len(DENIED), "Not available", False)
    assert "content-type" in page.fields


def test_an_answer_is_unpacked_for_a_comparison() -> None:
    for data in (SAME["in gzip"], SAME["in chunks"], b"HTTP/1.1 103 Hints\r\n\r\n" + SAME["the same page"]):
        page = read_page(data, HOST)
        assert page is not None
        assert (page.length, page.title) == (len(DENIED), "Not available")


def test_what_has_come_of_an_answer_is_read() -> None:
    page = read_page(answer(DENIED)[:-9], HOST)
    assert page is not None
    assert page.length == len(DENIED) - 9


@each_row(
    ("place", "upgrades"),
    [
        ("https://www.example.com/", True),
        ("HTTPS://EXAMPLE.com/elsewhere", True),
        ("http://www.example.com/", False),
        ("/elsewhere", False),
        ("https://other.test/", False),
        ("https://", False),
        ("https://[::1", False),
    ],
)
def test_a_redirect_to_https_of_the_same_site_is_recognized(place: str, upgrades: bool) -> None:
    page = read_page(redirect(place, 301), HOST)
    assert page is not None
    assert page.upgrades is upgrades


@each_row("data", [b"", b"HTTP/1.1 200", b"no HTTP\r\n\r\n", answer(DENIED, "Content-Encoding: br")])
def test_what_cannot_be_read_is_not_compared(data: bytes) -> None:
    assert read_page(data, HOST) is None


def test_a_page_is_a_value() -> None:
    assert read_page(answer(), HOST) == Page(200, 0, "", frozenset({"content-type"}))
