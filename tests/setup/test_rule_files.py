"""Files beside config.toml, read and looked at for edits."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from proxy.config import files
from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.model.errors import ConfigError
from proxy.routing.lists.formats import LIST_LIMIT
from proxy.setup import rule_files
from proxy.setup.rule_files import fingerprint, fingerprint_of_included, read_block_pages, read_rules
from proxy.store.list_copies import COPY_LIMIT, CopyInfo, ListCopies

pytestmark = pytest.mark.usefixtures("lists_tried_once")

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
    monkeypatch.setattr(files, "time", SimpleNamespace(sleep=pauses.append))
    assert len(read_rules(settings, paths).lists["mine"].listed) == 20_000
    assert pauses == [], "no pause at the start"
    read_rules(settings, paths, pause_s=0.25)
    size = paths.named("mine.txt").stat().st_size
    assert pauses == [0.25] * len(pauses)
    assert size / files.PIECE - 1 < len(pauses) <= size / files.PIECE + 1


def test_files_that_a_list_includes_are_read_from_its_folder(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.config_file.write_text(LISTED.replace("mine.txt", "lists/mine"))
    settings = load(paths.config_file, env={}).settings
    folder = paths.named("lists")
    folder.mkdir(mode=0o700)
    (folder / "mine").write_text("include:other\ninclude:not-there\ninclude:../config.toml\n")
    (folder / "other").write_text("full:a.example\n")
    found = read_rules(settings, paths).lists["mine"]
    assert [entry.text for entry in found.entries()] == ["a.example"]
    assert found.included == ("other", "not-there"), "a name with dots and slashes is no name of a list"
    assert found.lines_skipped == 2
    monkeypatch.setattr(rule_files, "COPY_LIMIT", 60)
    (folder / "not-there").write_text("full:b.example\n" * 4)
    with pytest.raises(ConfigError, match=r"lists/not-there: is larger than 45 bytes"):
        read_rules(settings, paths)


def test_an_included_file_that_another_user_could_change_refuses_the_list(open_folder: Path) -> None:
    paths = Paths.locate({}, config=open_folder / "config.toml", state=open_folder / "state")
    paths.config_file.write_text(LISTED)
    paths.config_file.chmod(0o644)
    (open_folder / "mine.txt").write_text("include:other\n")
    (open_folder / "mine.txt").chmod(0o644)
    (open_folder / "other").write_text("a.example\n")
    (open_folder / "other").chmod(0o666)
    with pytest.raises(ConfigError, match=r"/other: not used: "):
        read_rules(load(paths.config_file, env={}).settings, paths)


def test_the_state_of_included_files_counts_too(paths: Paths) -> None:
    paths.config_file.write_text(LISTED)
    settings = load(paths.config_file, env={}).settings
    paths.named("mine.txt").write_text("include:other\n")
    lists = read_rules(settings, paths).lists
    seen = [fingerprint_of_included(settings, paths, lists)]
    paths.named("other").write_text("a.example\n")
    seen.append(fingerprint_of_included(settings, paths, lists))
    paths.named("other").write_text("a.example\nb.example\n")
    seen.append(fingerprint_of_included(settings, paths, lists))
    paths.named("other").unlink()
    assert fingerprint_of_included(settings, paths, lists) == seen[0]
    assert all(before != after for before, after in pairwise(seen))


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


URL = "https://lists.test/list.txt"
FETCHED = f'[[list]]\nname = "gfw"\nsource = "{URL}"\n'


def test_a_fetched_list_is_read_from_its_copy(paths: Paths) -> None:
    paths.config_file.write_text(FETCHED)
    settings = load(paths.config_file, env={}).settings
    absent = read_rules(settings, paths).lists["gfw"]
    assert absent.problem == "list gfw: not fetched yet; run `byway list refresh gfw`"
    ListCopies(paths.lists_dir).replace(CopyInfo(URL, fetched_at=1.0), b"a.example\n? ?\n")
    read = read_rules(settings, paths).lists["gfw"]
    assert read.covering("www.a.example") == "a.example"
    assert read.skipped[0].startswith("list gfw:2: ")


def test_a_rule_that_protects_needs_the_copy(paths: Paths) -> None:
    paths.config_file.write_text(FETCHED)
    paths.rules_file.write_text("LIST,gfw,RELAY\n")
    with pytest.raises(ConfigError, match=r"rules\.txt:1: this rule would cover almost no site: list gfw: not fetched"):
        read_rules(load(paths.config_file, env={}).settings, paths)
    paths.config_file.write_text(f"{FETCHED}allow_empty = true\n")
    assert len(read_rules(load(paths.config_file, env={}).settings, paths)) == 1
    for action in ("PREFER-RELAY", "AUTO", "DIRECT"):
        paths.config_file.write_text(FETCHED)
        paths.rules_file.write_text(f"LIST,gfw,{action}\n")
        rules = read_rules(load(paths.config_file, env={}).settings, paths)
        assert rules.list_problems == ("list gfw: not fetched yet; run `byway list refresh gfw`",)


def test_a_damaged_copy_is_no_list_and_no_error(paths: Paths) -> None:
    paths.config_file.write_text(FETCHED)
    ListCopies(paths.lists_dir).replace(CopyInfo(URL, fetched_at=1.0), b"a.example\n\xff\n")
    problem = read_rules(load(paths.config_file, env={}).settings, paths).lists["gfw"].problem
    assert "its copy cannot be used" in problem
    assert "`byway list refresh gfw`" in problem


def test_a_copy_may_be_as_large_as_a_file() -> None:
    assert COPY_LIMIT == LIST_LIMIT


def test_a_fetched_list_is_not_polled_as_a_file(paths: Paths) -> None:
    paths.config_file.write_text(FETCHED)
    settings = load(paths.config_file, env={}).settings
    before = fingerprint(settings, paths)
    ListCopies(paths.lists_dir).replace(CopyInfo(URL, fetched_at=1.0), b"a.example\n")
    assert fingerprint(settings, paths) == before


def test_a_fetched_list_reads_no_file_beside_its_copy(paths: Paths) -> None:
    """What a stranger's list includes is no file of this computer."""
    paths.config_file.write_text(f'{FETCHED}format = "v2fly"\n')
    ListCopies(paths.lists_dir).replace(CopyInfo(URL, fetched_at=1.0), b"domain:a.example\ninclude:other\n")
    for folder in (paths.lists_dir, paths.config_dir):
        (folder / "other").write_text("domain:secret.example\n")
    settings = load(paths.config_file, env={}).settings
    lists = read_rules(settings, paths).lists
    assert lists["gfw"].covering("a.example")
    assert lists["gfw"].covering("secret.example") is None
    assert fingerprint_of_included(settings, paths, lists) == ()
