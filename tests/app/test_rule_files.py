"""Files beside config.toml, read and looked at for edits."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from proxy.app.rule_files import fingerprint, read_block_pages, read_rules
from proxy.config import files
from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.model.errors import ConfigError

LISTED = '[[list]]\nname = "mine"\nsource = "mine.txt"\n'


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")


def test_rules_are_read_with_the_lists_they_name(paths: Paths) -> None:
    paths.config_file.write_text(LISTED)
    settings = load(paths.config_file, env={}).settings
    paths.named("mine.txt").write_text("a.example\n")
    assert read_rules(settings, paths).is_listed("a.example"), "without rules.txt too"
    paths.rules_file.write_text("LIST,mine,DIRECT\n")
    assert len(read_rules(settings, paths)) == 1


def test_between_the_pieces_of_a_list_others_may_work(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.config_file.write_text(LISTED)
    settings = load(paths.config_file, env={}).settings
    paths.named("mine.txt").write_text("".join(f"site{n}.example\n" for n in range(20_000)))
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    assert len(read_rules(settings, paths).lists["mine"].listed) == 20_000
    assert pauses == [], "no pause at the start"
    read_rules(settings, paths, pause_s=0.25)
    size = paths.named("mine.txt").stat().st_size
    assert pauses == [0.25] * len(pauses)
    assert size / files.PIECE - 1 < len(pauses) <= size / files.PIECE + 1


def test_other_rules_can_be_read_in_their_place(paths: Paths) -> None:
    paths.config_file.write_text("")
    other = paths.named("other.txt")
    other.write_text("MATCH,NOWHERE\n")
    with pytest.raises(ConfigError, match=r"other\.txt:1: "):
        read_rules(load(paths.config_file, env={}).settings, paths, file=other)


def test_a_link_to_rules_that_are_not_there_is_a_fault(paths: Paths) -> None:
    paths.config_file.write_text("")
    settings = load(paths.config_file, env={}).settings
    assert len(read_rules(settings, paths)) == 0
    paths.rules_file.symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"rules\.txt"):
        read_rules(settings, paths)


def test_imported_block_pages_that_make_no_sense_are_told(paths: Paths) -> None:
    read_block_pages(paths)
    paths.block_pages_file.write_text("no list\n")
    with pytest.raises(ConfigError, match=r"block_pages\.csv:1: not an OONI fingerprint CSV"):
        read_block_pages(paths)


def test_a_reload_is_due_when_a_file_is_edited_made_or_removed(paths: Paths) -> None:
    paths.config_file.write_text(LISTED)
    settings = load(paths.config_file, env={}).settings
    seen = [fingerprint(settings, paths)]
    paths.named("mine.txt").write_text("a.example\n")
    seen.append(fingerprint(settings, paths))
    paths.rules_file.write_text("MATCH,AUTO\n")
    seen.append(fingerprint(settings, paths))
    paths.rules_file.unlink()
    seen.append(fingerprint(settings, paths))
    paths.block_pages_file.write_text("name\n")
    seen.append(fingerprint(settings, paths))
    assert all(before != after for before, after in pairwise(seen))
    assert fingerprint(settings, paths) == seen[-1]
