"""No name that a library was asked for stays in its caches."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import yarl

from proxy.control.library_caches import empty_library_caches


def test_what_libraries_remember_is_forgotten() -> None:
    urlsplit("http://visited.test/")
    yarl.URL("http://visited.test/")
    urls: tuple[Any, ...] = (urlsplit, yarl._url.encode_url)
    assert all(cached.cache_info().currsize for cached in urls), "the control"
    empty_library_caches()
    assert not any(cached.cache_info().currsize for cached in urls)
