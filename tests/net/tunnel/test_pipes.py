"""The pool of pipes: bounded, clean, and content with a kernel that refuses."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from proxy.net.tunnel.pipes import PIPE_SIZE, Pipe, PipePool


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_pipe_is_large_and_does_not_block() -> None:
    pipe = Pipe()
    assert fcntl.fcntl(pipe.writer, fcntl.F_GETPIPE_SZ) == PIPE_SIZE
    assert os.write(pipe.writer, bytes(PIPE_SIZE)) == PIPE_SIZE
    with pytest.raises(BlockingIOError):
        os.write(pipe.writer, b"x")
    assert not os.get_inheritable(pipe.reader)
    assert not os.get_inheritable(pipe.writer)
    pipe.close()


def test_pool_lends_no_more_than_its_limit_and_the_last_first() -> None:
    pool = PipePool(limit=2)
    first, second = pool.take(), pool.take()
    assert first is not None
    assert second is not None
    assert pool.take() is None
    pool.give(first)
    assert pool.take() is first
    pool.give(first)
    pool.give(second)
    assert (pool.lent, pool.idle) == (0, 2)
    pool.close()
    assert not is_open(first.reader)
    assert not is_open(second.writer)


def test_pipe_with_bytes_in_it_is_closed() -> None:
    pool = PipePool()
    pipe = pool.take()
    assert pipe is not None
    pipe.buffered = os.write(pipe.writer, b"someone else's")
    pool.give(pipe)
    assert (pool.lent, pool.idle) == (0, 0)
    assert not is_open(pipe.reader)
    assert not is_open(pipe.writer)


def test_lent_pipe_is_closed_when_it_comes_back_to_a_closed_pool() -> None:
    pool = PipePool()
    pipe = pool.take()
    assert pipe is not None
    pool.close()
    assert pool.take() is None
    pool.give(pipe)
    assert pool.idle == 0
    assert not is_open(pipe.reader)


def test_share_of_pipes_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unprivileged user's 64 MiB: the kernel answers EPERM, and the small pipe is not kept open."""
    made: list[tuple[int, int]] = []
    make = os.pipe2

    def remember(flags: int) -> tuple[int, int]:
        made.append(make(flags))
        return made[-1]

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "pipe2", remember)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    pool = PipePool()
    assert pool.take() is None
    assert pool.lent == 0
    ((reader, writer),) = made
    assert not is_open(reader)
    assert not is_open(writer)


def test_K1_no_descriptor_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> tuple[int, int]:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pipe2", refuse)
    pool = PipePool()
    assert pool.take() is None
    assert (pool.lent, pool.idle) == (0, 0)
