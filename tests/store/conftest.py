"""An empty log in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from proxy.store.file import open_store


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    opened = open_store(None).db
    yield opened
    opened.close()
