"""HTTP/2 requests: what browsers send passes, what would be another request in HTTP/1 does not. The whole way, over
real connections, is in `tests/features/inspection/mitm/test_http2_compat.py`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.model.errors import PeerError
from proxy.wire.http2_request import check_request, check_trailers
from tests.support.rows import each_row

Fields = list[tuple[bytes, bytes]]

CHROME: Fields = [
    (b":method", b"GET"), (b":authority", b"example.org"), (b":scheme", b"https"), (b":path", b"/a?b={c|d}"),
    (b"sec-ch-ua-mobile", b"?0"), (b"accept", b"*/*"), (b"cookie", b"a=1"), (b"cookie", b"b=2"),
]  # fmt: skip


@each_row("method", [b"GET", b"POST", b"PROPFIND", b"OPTIONS"])
def test_what_browsers_send_passes(method: bytes) -> None:
    check_request([(b":method", method), *CHROME[1:]], ended=True)


@pytest.mark.parametrize(
    ("authority", "host"),
    [(b"example.org", b"EXAMPLE.org:443"), (b"example.org:8443", b"example.org:8443"), (b"[::1]", b"[::1]")],
)
def test_a_host_that_means_the_same_may_stand_beside_the_authority(authority: bytes, host: bytes) -> None:
    check_request([CHROME[0], (b":authority", authority), *CHROME[2:], (b"host", host)], ended=True)


def test_pseudo_headers_come_first_and_once() -> None:
    for fields in ([*CHROME, CHROME[0]], [CHROME[4], *CHROME[:4]], CHROME[1:], CHROME[:2], CHROME[:1]):
        with pytest.raises((ValueError, PeerError)):
            check_request(fields, ended=True)


@each_row("place", range(len(CHROME)))
@each_row("char", [b"\r", b"\n", b"\x00", b"\x0b", b"\x7f"])
def test_no_field_holds_a_control_character(place: int, char: bytes) -> None:
    name, value = CHROME[place]
    for bad in ((name, value + char + b"x"), (name + char, value)):
        with pytest.raises((ValueError, PeerError)):
            check_request([*CHROME[:place], bad, *CHROME[place + 1 :]], ended=True)


def test_a_length_needs_a_body() -> None:
    fields = [(b":method", b"POST"), *CHROME[1:], (b"content-length", b"5")]
    check_request(fields, ended=False)
    check_request([*fields[:-1], (b"content-length", b"0")], ended=True)
    with pytest.raises(ValueError, match="declares a body"):
        check_request(fields, ended=True)


def test_trailers_are_fields_and_nothing_else() -> None:
    check_trailers([(b"grpc-status", b"0")])
    for bad in ((b":path", b"/"), (b"x-a", b"1\r\n"), (b"X-A", b"1"), (b"", b""), (b"transfer-encoding", b"chunked")):
        with pytest.raises(ValueError, match=r"it has|a field name|a trailer"):
            check_trailers([bad])


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=8))
def test_whatever_comes_passes_or_is_refused_in_words(fields: Fields) -> None:
    for some in (fields, [*CHROME, *fields]):
        try:
            check_request(some, ended=True)
        except (ValueError, PeerError) as refused:
            assert str(refused)  # noqa: PT017
        else:
            assert all(char not in name + value for name, value in some for char in b"\r\n\0")
