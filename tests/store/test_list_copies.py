"""Copies of fetched lists: across restarts, for the user alone, and whole at any moment."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from proxy.model.errors import BywayError, ConfigError
from proxy.store.list_copies import UNUSED_S, CopyInfo, ListCopies

URL = "https://lists.test/list.txt"
INFO = CopyInfo(URL, fetched_at=1000.0, changed_at=900.0, entries=2, jitter=1.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "lists"


def test_a_copy_is_there_after_a_restart(folder: Path) -> None:
    ListCopies(folder).replace(INFO, b"a.test\n")
    again = ListCopies(folder)
    assert again.info(URL) == INFO
    assert again.content(URL) == b"a.test\n"
    other = "https://other.test/"
    assert again.info(other) == CopyInfo(other)
    assert again.content(other) is None


def test_its_files_are_the_users_alone_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        ListCopies(folder).replace(INFO, b"a.test\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = list(folder.iterdir())
    assert sorted(file.suffix for file in files) == [".json", ".txt"], "no half-written file is left"
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert "lists.test" not in " ".join(file.name for file in files)


def test_ephemeral_writes_nothing_and_still_serves_what_is_there(folder: Path) -> None:
    ListCopies(folder).replace(INFO, b"a.test\n")
    before = {file: file.read_bytes() for file in folder.iterdir()}
    copies = ListCopies(folder, ephemeral=True)
    assert copies.content(URL) == b"a.test\n"
    newer = CopyInfo(URL, fetched_at=2000.0, entries=1)
    copies.replace(newer, b"b.test\n")
    copies.delete_unused((), now=1e10)
    assert (copies.info(URL), copies.content(URL)) == (newer, b"b.test\n")
    assert {file: file.read_bytes() for file in folder.iterdir()} == before


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
def test_a_folder_that_cannot_be_read_is_a_sentence(folder: Path) -> None:
    ListCopies(folder).replace(INFO, b"a.test\n")
    folder.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        info = ListCopies(folder).info(URL)
        with pytest.raises(ConfigError) as raised:
            ListCopies(folder).content(URL)
    finally:
        os.seteuid(user)
        folder.chmod(0o700)
    assert not info.has_copy
    assert info.error.endswith(": cannot be opened: permission denied")
    assert str(raised.value) == info.error
    assert ListCopies(folder).info(URL) == INFO


def test_ephemeral_makes_no_folder(folder: Path) -> None:
    ListCopies(folder, ephemeral=True).replace(INFO, b"a.test\n")
    assert not folder.exists()


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 60_000, json.dumps({"url": URL}).encode()],
)
def test_a_damaged_file_counts_as_none(folder: Path, damaged: bytes) -> None:
    copies = ListCopies(folder)
    copies.replace(INFO, b"a.test\n")
    copies.file(URL).with_suffix(".json").write_bytes(damaged)
    assert copies.info(URL) == CopyInfo(URL)
    assert copies.content(URL) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("fetched_at", -1), ("fetched_at", 1e12), ("fetched_at", "now"), ("fetched_at", True), ("jitter", None),
     ("error", 5), ("error", "x" * 5000), ("url", "https://other.test/")],
)  # fmt: skip
def test_a_value_of_another_kind_counts_as_damage(folder: Path, name: str, value: object) -> None:
    copies = ListCopies(folder)
    copies.replace(INFO, b"a.test\n")
    file = copies.file(URL).with_suffix(".json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    assert copies.info(URL) == CopyInfo(URL)


def test_not_a_number_counts_as_damage(folder: Path) -> None:
    copies = ListCopies(folder)
    copies.replace(INFO, b"a.test\n")
    file = copies.file(URL).with_suffix(".json")
    file.write_text(file.read_text().replace("1000.0", "NaN"))
    assert copies.info(URL) == CopyInfo(URL)


def test_a_copy_that_is_gone_is_none(folder: Path) -> None:
    copies = ListCopies(folder)
    copies.replace(INFO, b"a.test\n")
    copies.file(URL).unlink()
    assert copies.content(URL) is None


def test_a_copy_that_others_could_change_is_not_used() -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own folder can be entered by nobody else
        Path(place).chmod(0o755)
        copies = ListCopies(Path(place) / "lists")
        copies.replace(INFO, b"a.test\n")
        copies.file(URL).parent.chmod(0o777)
        copies.file(URL).chmod(0o666)
        with pytest.raises(ConfigError, match="other users can write"):
            copies.content(URL)


def test_a_folder_that_cannot_be_written_keeps_the_copy_that_is_there(folder: Path, tmp_path: Path) -> None:
    copies = ListCopies(folder)
    copies.replace(INFO, b"a.test\n")
    folder.rename(tmp_path / "moved")
    folder.write_text("in the way")
    with pytest.raises(BywayError):
        copies.replace(CopyInfo(URL, fetched_at=2.0), b"b.test\n")
    noted = CopyInfo(URL, fetched_at=1000.0, failures=1, error="disk full")
    copies.note(noted)
    assert copies.info(URL) == noted, "what is known is kept in memory"
    folder.unlink()
    (tmp_path / "moved").rename(folder)
    assert copies.content(URL) == b"a.test\n"
    copies.note(noted)
    assert ListCopies(folder).info(URL) == noted


def test_what_no_list_uses_any_more_is_deleted_after_a_month(folder: Path) -> None:
    copies = ListCopies(folder)
    other = "https://other.test/"
    copies.replace(INFO, b"a.test\n")
    copies.replace(CopyInfo(other, fetched_at=1.0), b"b.test\n")
    written_at = copies.file(other).stat().st_mtime
    copies.delete_unused((URL,), now=written_at + UNUSED_S - 60)
    assert copies.content(other) == b"b.test\n"
    copies.delete_unused((URL,), now=written_at + UNUSED_S + 60)
    assert copies.content(other) is None
    assert copies.content(URL) == b"a.test\n"
    assert len(list(folder.iterdir())) == 2
    ListCopies(folder / "none").delete_unused((), now=1e10)


@pytest.mark.parametrize("is_used", [False, True])
def test_once_the_trials_have_ended_no_list_is_tried(folder: Path, *, is_used: bool) -> None:
    """Also where none was tried before."""
    copies = ListCopies(folder, ephemeral=True)
    if is_used:
        copies.trials.require(b"a.test\n", source="list", format="domains", allow_suffixes=False)
    copies.end_trials()
    with pytest.raises(ConfigError, match="Byway ends"):
        copies.trials.require(b"b.test\n", source="list", format="domains", allow_suffixes=False)


def test_names_are_kept_and_damaged_ones_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "lists"
    ListCopies(folder).keep_names("https://a.test/x", {"place": "shop/DE"})
    assert ListCopies(folder).names("https://a.test/x") == {"place": "shop/DE"}
    assert ListCopies(folder).names("https://b.test/x") == {}
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    for content in ("{", "[]", '{"a": 1}', "[" * 100_000, "x" * 2_000_000):
        file.write_text(content)
        assert ListCopies(folder).names("https://a.test/x") == {}


def test_names_of_an_ephemeral_run_are_in_memory(tmp_path: Path) -> None:
    copies = ListCopies(tmp_path / "lists", ephemeral=True)
    copies.keep_names("https://a.test/x", {"place": "shop/DE"})
    assert copies.names("https://a.test/x") == {"place": "shop/DE"}
    assert not (tmp_path / "lists").exists()


def test_facts_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    copies = ListCopies(tmp_path / "lists")
    copies.note(CopyInfo("https://a.test/x", fetched_at=1.0))
    file = next((tmp_path / "lists").glob("*.json"))
    document = json.loads(file.read_text())
    del document["said"]
    file.write_text(json.dumps(document))
    assert ListCopies(tmp_path / "lists").info("https://a.test/x") == CopyInfo("https://a.test/x", fetched_at=1.0)
