"""Request heads that two readers could read in two ways, as a client says them to a server: what a parser that is as
strict as ours refuses, wherever it stands. The catalogue is docs/faults.md, A1 to A31.
"""

from __future__ import annotations

HOST = b"Host: www.inside.test\r\n"


def _get(*lines: bytes, target: bytes = b"/", host: bytes = HOST, method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _post(*lines: bytes) -> bytes:
    return _get(*lines, method=b"POST") + b"0\r\n\r\n"


BAD_HEADS: dict[str, bytes] = {
    "A1 length and coding": _post(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "A1 coding and length": _post(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "A2 two lengths": _post(b"Content-Length: 5", b"Content-Length: 6"),
    "A3 two equal lengths": _post(b"Content-Length: 5", b"content-length: 5"),
    "A3 a list of lengths": _post(b"Content-Length: 5, 5"),
    **{
        f"A4 length {value!r}": _post(b"Content-Length: " + value)
        for value in (b"+5", b"5_0", b"0x10", b"-1", b"5 5", b"", b"1" * 20, b"5,", "٥".encode(), b"5;", b"1e3", b"5.0")
    },
    **{
        f"A5 coding {value!r}": _post(b"Transfer-Encoding: " + value)
        for value in (
            *(b"chunked, identity", b"xchunked", b",chunked", b"chunked;q=1", b"\x0bchunked", b"gzip, chunked", b""),
            *(b"chunked,", b"identity", b"chunked chunked", b"\x00chunked"),
        )
    },
    "A5 two codings": _post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "A6 coding in HTTP/1.0": _post(b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "A7 blank before the colon of a length": _post(b"Content-Length : 5"),
    "A7 tab before a colon": _get(b"X-A\t: 1"),
    "A7 blank before the colon of a second host": _get(b"Host : other.test"),
    "A7 nothing but a blank": _get(b" : 1"),
    "A8 a folded line": _get(b"X-A: 1", b" folded"),
    "A8 a line folded with a tab": _get(b"X-A: 1", b"\tX-B: 2"),
    "A8 a folded coding": _post(b"Transfer-Encoding:", b" chunked"),
    "A8 a blank line that is none": _get(b" "),
    "A8 a blank before the first field": _get().replace(b"Host", b" Host"),
    "A9 LF alone": _get().replace(b"\r\n", b"\n"),
    "A9 LF alone in the middle": _get(b"X-A: 1\nX-B: 2"),
    "A9 CR alone": _get(b"X-A: 1\rX-B: 2"),
    "A9 CR twice": _get(b"X-A: 1\r"),
    "A9 NUL in a value": _get(b"X-A: a\x00b"),
    "A9 NUL in a name": _get(b"X-\x00A: 1"),
    "A9 escape": _get(b"X-A: \x1b[31m"),
    "A9 DEL": _get(b"X-A: \x7f"),
    "A9 NUL in the target": _get(target=b"/\x00"),
    "A9 LF ends the head": b"GET / HTTP/1.1\r\nHost: www.inside.test\n\n",
    "A9 LF after the first line": b"GET / HTTP/1.1\nHost: www.inside.test\r\n\r\n",
    "A9 CR after the first line": b"GET / HTTP/1.1\rHost: www.inside.test\r\r\n\r\n",
    "A9 LF before the head": b"\n" + _get(),
    "A9 two empty lines before the head": b"\r\n\r\n" + _get(),
    "A10 no name": _get(b": x"),
    **{f"A10 name with {chr(char)}": _get(b"X" + bytes([char]) + b": x") for char in b'()[]{}@,;<>\\/?="'},
    "A10 name beyond ASCII": _get(b"X\xff: x"),
    "A10 no colon": _get(b"Nonsense"),
    **{
        f"A13 {line!r}": line + b"\r\n" + HOST + b"\r\n"
        for line in (
            *(b"GET  / HTTP/1.1", b"GET\t/\tHTTP/1.1", b"GET /\t HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1"),
            *(b"GET / HTTP/1.2", b"GET / HTTP/9.9", b"GET / HTTP/0.9", b"GET / HTTP/1.10", b"GET / HTTP/11"),
            *(b"GET / http/1.1", b"GET / XTTP/1.1", b"GET /", b"GET", b"get / HTTP/1.1", b"G@T / HTTP/1.1"),
            *(b"A" * 64 + b" / HTTP/1.1", b"GET / / HTTP/1.1", b"GET / HTTP/1.1\x0b", b"GET\x0b/ HTTP/1.1"),
        )
    },
    "A25 no host": _get(host=b""),
    "A25 two hosts": _get(host=HOST + b"Host: other.test\r\n"),
    **{
        f"A25 host {value!r}": _get(host=b"Host: " + value + b"\r\n")
        for value in (
            *(b"", b"user@www.inside.test", b"www.inside.test/path", b"www.inside.test, other.test", b"a b.test"),
            *(b"www.inside.test:0", b"www.inside.test:99999", b"www.inside.test:http", b"http://www.inside.test"),
            *(b"[::1", b"a..b", b"www.inside.test\\"),
        )
    },
    "A24 an address of another host": _get(target=b"http://other.test/"),
    "A26 user information": _get(target=b"https://user:word@www.inside.test/"),
    "A27 a fragment": _get(target=b"/#top"),
    "A27 a backslash": _get(target=b"/\\evil"),
    "A27 no path": _get(target=b"www.inside.test"),
    "A27 ftp": _get(target=b"ftp://www.inside.test/"),
    "A28 an address for a proxy": _get(target=b"https://www.inside.test/"),
    "A28 a tunnel in the tunnel": _get(target=b"www.inside.test:443", method=b"CONNECT"),
    "A30 trace": _get(method=b"TRACE"),
    "A31 Connection names the length": _post(b"Connection: content-length", b"Content-Length: 5"),
    "A31 Connection names the host": _get(b"Connection: Host"),
    "A31 Connection names what is no name": _get(b"Connection: a b"),
    "A34 an expectation that nobody knows": _post(b"Content-Length: 5", b"Expect: junk"),
}

TOO_LARGE: dict[str, bytes] = {
    "A14 a target of 64 KiB": _get(target=b"/" + b"a" * 65536),
    "A15 a line of 64 KiB": _get(b"X-A: " + b"a" * 65536),
    "A15 2,000 fields": _get(*(b"X-%d: a" % number for number in range(2000))),
}

BAD_CHUNKS: dict[str, bytes] = {
    f"A11 {body[:24]!r}": body
    for body in (
        *(b"5_0\r\nhello\r\n0\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n", b"-0x0\r\n\r\n", b" 5\r\nhello\r\n0\r\n\r\n"),
        *(b"5\nhello\n0\n\n", b"5;ext\nhello\r\n0\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"5\r\nhello0\r\n\r\n"),
        *(b"1" + b"0" * 16 + b"\r\nhello", b"\r\nhello\r\n0\r\n\r\n", b"5 \rhello\r\n0\r\n\r\n", b"g\r\nhello"),
        *(b"+5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\n0\r\n\r\n", b"5;a\x00b\r\nhello\r\n0\r\n\r\n"),
        *(
            b"5;" + b"x" * 300 + b"\r\nhello\r\n0\r\n\r\n",
            b"0\r\nX: 1\n\r\n",
            b"0\r\n" + b"X: " + b"x" * 20_000 + b"\r\n\r\n",
        ),
    )
}
"""Bodies after a head that says `Transfer-Encoding: chunked`."""
