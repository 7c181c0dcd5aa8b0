"""The limit on open files: it is raised as far as the machine permits, and restored."""

from __future__ import annotations

import os
import resource

from tests.support.descriptors import descriptors


def test_it_is_raised_and_put_back() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        with descriptors(200) as limit:
            assert limit == 200
            opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
        for descriptor in opened:
            os.close(descriptor)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 64
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_higher_limit_stays() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with descriptors(1) as limit:
        assert limit == before[0]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
