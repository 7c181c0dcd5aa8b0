"""Edits of rules.txt while Byway runs: what is written, what is refused, and from when on it is in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from proxy.config.schema import Settings
from proxy.model import Destination
from proxy.model.errors import BywayError, ConfigError
from proxy.routing.rules_text import switched
from proxy.setup import checked, rule_edits
from proxy.setup.rule_edits import RulesFileEditor, add_rule, add_rules, check_added, content_of, put_back_rules
from proxy.store.list_copies import ListCopies
from tests.setup.test_reload import Configured

pytestmark = pytest.mark.usefixtures("lists_tried_once")

CONFIG = '[[list]]\nname = "near"\nsource = "near.txt"\n'
RULES = "# mine\r\nDOMAIN,a.test,BLOCK\r\nMATCH,AUTO"


@pytest.fixture
async def configured(tmp_path: Path) -> AsyncIterator[Configured]:
    (tmp_path / "near.txt").write_text("near.test\n")
    (tmp_path / "rules.txt").write_bytes(RULES.encode())
    made = Configured(tmp_path, config=CONFIG)
    yield made
    made.close()


@pytest.fixture
def editor(configured: Configured) -> RulesFileEditor:
    return RulesFileEditor(configured.in_use, configured.paths, ListCopies(configured.paths.lists_dir))


def decides(configured: Configured, host: str) -> str:
    """The text of the rule that decides now."""
    rule = configured.in_use.setup.router.rules.match(Destination(host, 443))
    return "" if rule is None else rule.text


async def test_a_text_replaces_the_file_with_its_line_ends_and_is_in_use(
    configured: Configured, editor: RulesFileEditor
) -> None:
    before = await editor.read()
    assert before.text == RULES
    rules = await editor.replace("LIST,near,BLOCK\nDOMAIN,b.test,BLOCK\n\nMATCH,AUTO", version=before.version)
    assert rules is not None
    assert len(rules) == 3
    assert configured.paths.rules_file.read_bytes() == b"LIST,near,BLOCK\r\nDOMAIN,b.test,BLOCK\r\n\r\nMATCH,AUTO\r\n"
    assert configured.paths.rules_file.stat().st_mode & 0o777 == 0o600
    assert decides(configured, "b.test") == "DOMAIN,b.test,BLOCK"
    assert decides(configured, "near.test") == "LIST,near,BLOCK"


async def test_a_text_with_a_fault_is_not_written(configured: Configured, editor: RulesFileEditor) -> None:
    version = (await editor.read()).version
    for text in ("DOMAIN,a.test,BLOCK\nDOMAN,x,BLOCK\nLIST,far,BLOCK", "DOMAIN,a\0.test,BLOCK"):
        with pytest.raises(ConfigError) as refused:
            await editor.replace(text, version=version)
        with pytest.raises(ConfigError) as checked:
            await editor.check(text)
        assert refused.value.problems == checked.value.problems
        assert all(problem.startswith("rules.txt:") for problem in refused.value.problems)
    assert [problem.split(":")[1] for problem in refused.value.problems] == ["1"]
    assert configured.paths.rules_file.read_bytes() == RULES.encode()


async def test_a_file_that_was_changed_meanwhile_is_not_overwritten(
    configured: Configured, editor: RulesFileEditor
) -> None:
    before = await editor.read()
    configured.paths.rules_file.write_text("MATCH,BLOCK\n")
    assert await editor.replace("MATCH,DIRECT\n", version=before.version) is None
    assert configured.paths.rules_file.read_text() == "MATCH,BLOCK\n"
    configured.paths.rules_file.unlink()
    assert (await editor.read()).version == ""
    assert await editor.replace("MATCH,DIRECT\n", version="") is not None
    assert decides(configured, "x.test") == "MATCH,DIRECT"


async def test_a_text_that_is_posted_twice_is_saved_once(configured: Configured, editor: RulesFileEditor) -> None:
    """A double click posts it twice at once: the second one must not say that somebody else has changed the file."""
    before = await editor.read()
    text = "DOMAIN,b.test,BLOCK\nMATCH,DIRECT"
    rules = await asyncio.gather(*(editor.replace(text, version=before.version) for _ in range(2)))
    assert [None if each is None else len(each) for each in rules] == [2, 2]
    assert configured.paths.rules_file.read_bytes() == b"DOMAIN,b.test,BLOCK\r\nMATCH,DIRECT\r\n"
    assert await editor.replace("MATCH,BLOCK\n", version=before.version) is None


async def test_a_file_with_a_fault_can_be_read_and_mended(configured: Configured, editor: RulesFileEditor) -> None:
    configured.paths.rules_file.write_text("DOMAN,a.test,BLOCK\n")
    broken = await editor.read()
    assert broken.text == "DOMAN,a.test,BLOCK\n"
    with pytest.raises(ConfigError, match=r"rules\.txt:1: unknown rule type"):
        await editor.add("DOMAIN,b.test,BLOCK")
    assert await editor.replace("DOMAIN,a.test,DIRECT\n", version=broken.version) is not None
    assert decides(configured, "a.test") == "DOMAIN,a.test,DIRECT"


async def test_an_added_rule_decides_when_the_method_returns(configured: Configured, editor: RulesFileEditor) -> None:
    added = await editor.add("DOMAIN-SUFFIX,new.test,BLOCK")
    assert (added.number, added.rule.line) == (2, 3)
    assert decides(configured, "www.new.test") == "DOMAIN-SUFFIX,new.test,BLOCK"
    assert configured.paths.rules_file.read_bytes().decode() == RULES.replace(
        "MATCH", "DOMAIN-SUFFIX,new.test,BLOCK\r\nMATCH"
    )
    lines = [f"DOMAIN,n{number}.test,BLOCK" for number in range(4)]
    await asyncio.gather(*map(editor.add, lines))
    assert configured.rules == 7
    with pytest.raises(ConfigError, match="one line"):
        await editor.add("DOMAIN,x.test,BLOCK\nMATCH,BLOCK")


async def test_a_list_that_is_new_in_the_configuration_can_be_named_at_once(
    configured: Configured, editor: RulesFileEditor, tmp_path: Path
) -> None:
    (tmp_path / "far.txt").write_text("far.test\n")
    configured.paths.config_file.write_text(CONFIG + CONFIG.replace("near", "far"))
    await editor.add("LIST,far,BLOCK")
    assert decides(configured, "far.test") == "LIST,far,BLOCK"


async def test_a_problem_elsewhere_is_told_with_the_edit(configured: Configured, editor: RulesFileEditor) -> None:
    configured.paths.config_file.write_text("[listen]\nprot = 1\n")
    with pytest.raises(ConfigError, match=r"^rules.txt is saved, but not in use yet: .*config.toml:2"):
        await editor.add("DOMAIN,b.test,BLOCK")
    assert "b.test" in configured.paths.rules_file.read_text()
    assert decides(configured, "b.test") == "MATCH,AUTO"


async def test_a_rule_that_this_system_cannot_follow_is_not_written(
    configured: Configured, editor: RulesFileEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "unsupported", lambda: "PROCESS-NAME needs Linux")
    with pytest.raises(ConfigError, match=r"^rules\.txt:1: PROCESS-NAME needs Linux$"):
        await editor.check("PROCESS-NAME,curl,DIRECT\n")
    with pytest.raises(ConfigError, match="PROCESS-NAME needs Linux"):
        await editor.add("PROCESS-NAME,curl,DIRECT")
    assert configured.paths.rules_file.read_bytes() == RULES.encode()


def test_edits_at_the_same_time_are_all_in_the_file(configured: Configured) -> None:
    """Each from a thread, which the lock keeps apart as it does processes."""
    paths, settings = configured.paths, Settings()
    paths.rules_file.write_text("MATCH,AUTO\n")

    def add(number: int) -> str:
        return add_rule(paths, settings, f"DOMAIN,host{number}.test,BLOCK", lists={}).rule.text

    with ThreadPoolExecutor(8) as threads:
        added = sorted(threads.map(add, range(40)))
    assert sorted(paths.rules_file.read_text().splitlines()) == [*added, "MATCH,AUTO"]


def test_an_edit_by_an_editor_meanwhile_is_not_lost(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = configured.paths
    paths.rules_file.write_text("MATCH,AUTO\n")

    def covering(*_: object) -> None:
        paths.rules_file.write_text("MATCH,BLOCK\n")

    monkeypatch.setattr(rule_edits, "covering", covering)
    with pytest.raises(BywayError, match="was edited meanwhile, so nothing was changed: try again"):
        add_rule(paths, Settings(), "DOMAIN,a.test,BLOCK", lists={})
    assert paths.rules_file.read_text() == "MATCH,BLOCK\n"


def test_rules_that_are_checked_are_not_written_and_an_edit_is_undone_byte_for_byte(configured: Configured) -> None:
    paths, settings = configured.paths, Settings()
    before = content_of(paths)
    assert before == RULES.encode()
    lines = ["DOMAIN,b.test,DIRECT", "DOMAIN,c.test,DIRECT"]
    assert check_added(paths, settings, lines, {}, inspects=True) == 2
    with pytest.raises(ConfigError):
        check_added(paths, settings, ["DOMAIN,b.test,NO"], {}, inspects=True)
    assert content_of(paths) == before
    assert add_rules(paths, settings, lines, inspects=True) == 2
    after = content_of(paths)
    assert after == b"# mine\r\nDOMAIN,a.test,BLOCK\r\nDOMAIN,b.test,DIRECT\r\nDOMAIN,c.test,DIRECT\r\nMATCH,AUTO"
    with pytest.raises(BywayError, match="was edited since"):
        put_back_rules(paths, before, instead_of=b"other")
    put_back_rules(paths, before, instead_of=after)
    assert content_of(paths) == before
    put_back_rules(paths, None, instead_of=before)
    assert content_of(paths) is None


async def test_one_rule_is_edited_and_all_other_lines_stay(configured: Configured, editor: RulesFileEditor) -> None:
    before = await editor.read()
    after = await editor.edit(lambda text: switched(text, 2), version=before.version)
    assert after == await editor.read()
    assert configured.paths.rules_file.read_bytes() == b"# mine\r\n# DOMAIN,a.test,BLOCK\r\nMATCH,AUTO"
    assert decides(configured, "a.test") == "MATCH,AUTO"
    assert await editor.edit(lambda text: switched(text, 2), version=before.version) is None, "it was edited since"
    assert after is not None
    assert await editor.edit(lambda _: before.text, version=after.version) == before
    assert configured.paths.rules_file.read_bytes() == RULES.encode()
    assert decides(configured, "a.test") == "DOMAIN,a.test,BLOCK"


async def test_an_edit_that_makes_a_fault_is_not_written(configured: Configured, editor: RulesFileEditor) -> None:
    text = "# DOMAIN,a.test,RELAY:gone\nMATCH,AUTO\n"
    configured.paths.rules_file.write_text(text)
    version = (await editor.read()).version
    with pytest.raises(ConfigError, match="unknown relay"):
        await editor.edit(lambda text: switched(text, 1), version=version)
    with pytest.raises(LookupError):
        await editor.edit(lambda text: switched(text, 9), version=version)
    assert configured.paths.rules_file.read_text() == text


async def test_a_rule_is_added_at_a_place(configured: Configured, editor: RulesFileEditor) -> None:
    assert (await editor.add("DOMAIN,first.test,DIRECT", at=1)).number == 1
    assert decides(configured, "first.test") == "DOMAIN,first.test,DIRECT"
    with pytest.raises(ValueError, match="1 to 4"):
        await editor.add("DOMAIN,last.test,DIRECT", at=9)
