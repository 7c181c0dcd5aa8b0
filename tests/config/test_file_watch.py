"""An edit is taken once, and only when it has come to rest."""

from __future__ import annotations

from pathlib import Path

from proxy.config.file_watch import FileWatch, file_stamp
from tests.support.rows import each_row


@each_row(
    ("states", "expected"),
    [
        ("aaa", (False, False, False)),  # no edit
        ("bb", (False, True)),
        ("bcc", (False, False, True)),  # still being written
        ("baa", (False, False, False)),  # taken back
    ],
)
def test_two_polls_in_a_row_see_the_same(states: str, expected: tuple[bool, ...]) -> None:
    watch = FileWatch("a")
    assert tuple(map(watch.changed, states)) == expected


def test_a_state_in_use_is_no_edit() -> None:
    watch = FileWatch("a")
    watch.use("b")
    assert [watch.changed("b"), watch.changed("b"), watch.changed("a"), watch.changed("a")] == [
        False,
        False,
        False,
        True,
    ]
    watch.reset("c")
    assert not watch.changed("c")


def test_a_stamp_changes_with_the_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert file_stamp(file) is None
    file.write_text("one")
    before = file_stamp(file)
    file.write_text("longer")
    assert file_stamp(file) not in (None, before)
