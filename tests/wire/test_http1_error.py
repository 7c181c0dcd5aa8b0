"""Our own answers: whole messages that any client can read, and that end the connection."""

from __future__ import annotations

import h11

from proxy.wire.http1_error import error_response, refusal


def read(reply: bytes) -> tuple[h11.Response, bytes]:
    """What h11 makes of it; it must be exactly one message."""
    judge = h11.Connection(h11.CLIENT)
    judge.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    judge.send(h11.EndOfMessage())
    judge.receive_data(reply)
    head = judge.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while isinstance(event := judge.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert judge.trailing_data == (b"", False)
    return head, body


def test_a_sentence() -> None:
    head, body = read(error_response(502, "Nothing came: ü."))
    assert (head.status_code, head.reason) == (502, b"Bad Gateway")
    fields = dict(head.headers)
    assert fields[b"content-type"] == b"text/plain; charset=utf-8"
    assert fields[b"connection"] == b"close"
    assert fields[b"cache-control"] == b"no-store"
    assert body == "Nothing came: ü.\n".encode()


def test_a_page_and_further_fields() -> None:
    head, body = read(error_response(407, "<p>Who?", headers=[("Proxy-Authenticate", "Basic")], html=True))
    assert dict(head.headers)[b"content-type"] == b"text/html; charset=utf-8"
    assert dict(head.headers)[b"proxy-authenticate"] == b"Basic"
    assert body == b"<p>Who?\n"


def test_A29_a_bare_answer_tells_nothing() -> None:
    reply = error_response(421, "")
    assert reply == b"HTTP/1.1 421 Misdirected Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    assert read(reply)[1] == b""


def test_a_refusal_says_the_same_to_the_log_and_to_the_client() -> None:
    fault = refusal(400, "This will not do.")
    assert str(fault) == "This will not do."
    assert read(fault.reply)[1] == b"This will not do.\n"
