"""The actions that count as a call, and those that do not."""

from __future__ import annotations

from proxy.wire.http1_body import NO_BODY, Framing, read_body
from proxy.wire.reader import Reader
from tests.support.calls import counting


def test_functions_and_each_step_of_a_generator_count() -> None:
    with counting() as calls:
        Reader(b"abc").receive_data(b"d")
        assert list(read_body(Reader(), NO_BODY)) == []
    assert calls["proxy.wire.reader.Reader.receive_data"] == 1
    assert calls["proxy.wire.http1_body.read_body"] == calls["proxy.wire.http1_body._counted"] == 1
    assert calls.total() == 3


def test_nothing_is_counted_after_the_block() -> None:
    with counting() as calls:
        pass
    Framing(NO_BODY.kind)
    assert calls == {}
