"""Our own HTTP error answers: a sentence or two about the fault, and the connection closes.

They are complete messages, so that a parser can raise a PeerError with its reply. They never quote the client's bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.model.errors import PeerError


def error_response(
    status: int, reason_text: str, *, headers: Iterable[tuple[str, str]] = (), html: bool = False
) -> bytes:
    """A whole HTTP/1.1 answer with `Connection: close`. `reason_text` is its body, a page when `html`."""
    from http import HTTPStatus  # a run without faults need not make its 62 members

    body = f"{reason_text}\n".encode() if reason_text else b""
    fields = [("Content-Length", str(len(body))), ("Connection", "close"), *headers]
    if body:
        kind = "html" if html else "plain"
        fields[:0] = [
            ("Content-Type", f"text/{kind}; charset=utf-8"),
            ("X-Content-Type-Options", "nosniff"),
            ("Cache-Control", "no-store"),
        ]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in fields)]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n" + body


def refusal(status: int, sentence: str) -> PeerError:
    """Returns a PeerError whose reply is an answer with `status`; the log and the client get the same sentence."""
    return PeerError(sentence, reply=error_response(status, sentence))
