"""Small files of values: who writes them, when, and what a damaged one is."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from proxy.config.paths import write_private
from proxy.net.tasks import spawn
from proxy.store import saved_values
from proxy.store.saved_values import SavedChanges, SavedValues, number, text
from tests.support.rows import each_row


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "values.json"


def numbers(file: Path | None) -> SavedValues[int]:
    return SavedValues(
        file,
        encode=lambda value: {"n": value},
        decode=lambda entry: int(number(entry["n"])),
        most=3,
        what="the numbers",
    )


async def saved(kept: SavedValues[int], values: Sequence[int]) -> None:
    kept.save(values)
    await kept.written()


def save(file: Path, values: Sequence[int]) -> None:
    asyncio.run(saved(numbers(file), values))


def test_what_is_saved_is_found_again_and_bounded(file: Path) -> None:
    assert numbers(file).load() == ()
    save(file, [1, 2, 3, 4])
    assert numbers(file).load() == [1, 2, 3]
    save(file, [])
    assert not file.exists()


def test_where_they_are_kept_may_change(file: Path) -> None:
    kept = numbers(file)

    async def move() -> None:
        kept.save([1])
        assert not kept.keep_in(file)
        assert kept.keep_in(None)
        await kept.written()

    asyncio.run(move())
    assert not file.exists()
    asyncio.run(saved(kept, [1]))
    assert not file.exists()
    assert kept.load() == ()
    assert kept.keep_in(file)


@pytest.mark.parametrize("content", ["", "[", "{}", "[1]", "1", '["x"]', "[{}]", "[" * 100_000])
def test_a_damaged_file_counts_as_none(file: Path, content: str) -> None:
    file.write_text(content)
    assert numbers(file).load() == ()


def test_a_folder_that_is_gone_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "none" / "values.json", [1])
    assert "the numbers is not saved" in caplog.text


async def test_a_disk_that_hangs_stops_nobody_and_the_last_word_is_written(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on; of what came meanwhile only the last is written, and after what was there first."""
    works, written = threading.Event(), list[str]()

    def write(path: Path, content: str) -> None:
        assert works.wait(60)  # a limit, for a test that fails
        written.append(f"{path.name}: {len(json.loads(content))}")
        write_private(path, content)

    monkeypatch.setattr(saved_values, "write_private", write)
    kept, other = numbers(file), file.with_name("other.json")
    kept.save([1])
    kept.save([2, 1, 2])
    assert kept.keep_in(other)
    kept.save([2])
    kept.save([1, 2])
    waiting = spawn(kept.written(), name="wait for the disk")
    await asyncio.sleep(0)
    assert not waiting.done()
    works.set()
    await waiting
    assert written == ["values.json: 1", "values.json: 3", "other.json: 2"]
    assert numbers(other).load() == [1, 2]
    assert kept.keep_in(None)
    await kept.written()
    assert numbers(other).load() == ()


class _Counted:
    def __init__(self) -> None:
        self.version = 0
        self.values: list[int] = []

    def add(self, value: int) -> None:
        self.version += 1
        self.values.append(value)


async def test_only_changes_are_saved(file: Path) -> None:
    counted = _Counted()
    changes = SavedChanges(numbers(file), version=lambda: counted.version, values=lambda: counted.values)
    await changes.close()
    assert numbers(file).load() == (), "there is nothing new"
    counted.add(7)
    await changes.close()
    assert numbers(file).load() == [7]
    await saved(numbers(file), [])
    await changes.close()
    assert numbers(file).load() == (), "nothing has changed since"
    counted.add(8)
    changes.is_saved()
    await changes.close()
    assert numbers(file).load() == (), "it came from the file"


async def test_another_file_gets_all(file: Path) -> None:
    counted = _Counted()
    counted.add(7)
    changes = SavedChanges(numbers(file), version=lambda: counted.version, values=lambda: counted.values)
    other = file.with_name("other.json")
    changes.keep_in(other)
    await changes.close()
    assert numbers(other).load() == [7]
    changes.keep_in(None)
    await changes.close()
    assert numbers(other).load() == ()


@each_row("value", ["1", None, -1, 1e12, float("nan"), [1]])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a number"):
        number(value)


@pytest.mark.parametrize("value", [1, None, "x" * 5])
def test_what_is_no_text_is_refused(value: object) -> None:
    assert text("x" * 4, 4) == "xxxx"
    with pytest.raises(ValueError, match="not a text"):
        text(value, 4)
