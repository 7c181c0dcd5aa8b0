"""`byway rule add` and `rm`: what they do to the file, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.paths import Paths
from proxy.config.schema import Settings
from proxy.setup.rule_edits import add_rule, remove_rule
from proxy.setup.rule_files import read_rules
from tests.support.command_line import Byway, Home, Running

pytestmark = pytest.mark.usefixtures("lists_tried_once")

RULES = """\
# my rules

DOMAIN-SUFFIX,ads.example,BLOCK   # noise
// the blog
DOMAIN,blog.example,RELAY:tor

# everything else
MATCH,AUTO
"""
SETTINGS = Settings()
RELAY = '[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'


@pytest.fixture
def rules(home: Home) -> Path:
    home.config.write_text(f"config_version = 1\n{RELAY}")
    file = home.config.with_name("rules.txt")
    file.write_text(RULES)
    file.chmod(0o600)
    return file


def test_a_new_rule_goes_before_the_last_word_and_its_comment(byway: Byway, rules: Path) -> None:
    ran = byway("rule", "add", "domain-suffix, example.org ,relay")
    assert ran.code == 0
    assert rules.read_text() == RULES.replace("# everything", "domain-suffix, example.org ,relay\n# everything")
    assert ran.out == f"{rules}:7: added as rule 3, before MATCH,AUTO: domain-suffix, example.org ,relay\n"
    assert rules.stat().st_mode & 0o777 == 0o600
    assert byway("rule", "list").rows[3] == ["3", "rules.txt:7", "DOMAIN-SUFFIX", "example.org", "", "RELAY", "", ""]


@pytest.mark.parametrize(
    ("words", "before", "number"),
    [
        (["--top"], "DOMAIN-SUFFIX,ads", 1),
        (["--at", "1"], "DOMAIN-SUFFIX,ads", 1),
        (["--before", "2"], "// the blog", 2),
        (["--at", "3"], "# everything", 3),
    ],
)
def test_a_new_rule_goes_where_it_is_asked_to(
    byway: Byway, rules: Path, words: list[str], before: str, number: int
) -> None:
    ran = byway("rule", "add", "DOMAIN,x.test,DIRECT", *words, "--json")
    assert rules.read_text() == RULES.replace(before, f"DOMAIN,x.test,DIRECT\n{before}")
    assert ran.json["number"] == number
    assert ran.json["rule"]["text"] == "DOMAIN,x.test,DIRECT"
    assert byway("rule", "list", "--json").json["rules"][number - 1]["value"] == "x.test"


def test_behind_the_last_rule_and_into_a_file_that_is_not_there(byway: Byway, home: Home, rules: Path) -> None:
    assert "added as rule 4, last" in byway("rule", "add", "DOMAIN,x.test,DIRECT", "--at", "4").out
    assert rules.read_text() == f"{RULES}DOMAIN,x.test,DIRECT\n"
    rules.unlink()
    assert "added as rule 1, last" in byway("rule", "add", "MATCH,AUTO").out
    assert (rules.read_text(), rules.stat().st_mode & 0o777) == ("MATCH,AUTO\n", 0o600)


def test_a_rule_is_removed_by_its_number_and_its_line_is_printed(byway: Byway, rules: Path) -> None:
    ran = byway("rule", "rm", "1")
    assert ran.out == f"{rules}:3: rule 1 is removed: DOMAIN-SUFFIX,ads.example,BLOCK   # noise\n"
    assert rules.read_text() == RULES.replace("DOMAIN-SUFFIX,ads.example,BLOCK   # noise\n", "")
    told = byway("rule", "rm", "1", "--json").json
    assert (told["number"], told["removed"]) == (1, "DOMAIN,blog.example,RELAY:tor")
    assert rules.read_text() == "# my rules\n\n// the blog\n\n# everything else\nMATCH,AUTO\n"


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        ("DOMAN,x.test,DIRECT", 'unknown rule type "DOMAN"; did you mean DOMAIN?'),
        ("DOMAIN,x.test,RELAY:tr", 'unknown relay "tr"; did you mean tor?'),
        ("DOMAIN,x.test", "has too few parts"),
        ("LIST,gfw,RELAY", 'unknown list "gfw"; no [[list]] is configured'),
        ("# a comment", "there is no rule in it"),
        ("DOMAIN,x.test,DIRECT\nMATCH,BLOCK", "a rule is one line"),
    ],
)
def test_what_is_no_rule_is_not_written(byway: Byway, rules: Path, expr: str, said: str) -> None:
    ran = byway("rule", "add", expr)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (7, "", 1)
    assert said in ran.err
    assert rules.read_text() == RULES


def test_a_file_with_a_fault_is_left_alone(byway: Byway, rules: Path) -> None:
    rules.write_text(f"{RULES}DOMAN,x,BLOCK\n")
    for words in (("add", "DOMAIN,x.test,DIRECT"), ("rm", "1")):
        ran = byway("rule", *words)
        assert ran.code == 7
        assert "rules.txt:9: unknown rule type" in ran.err
        assert rules.read_text() == f"{RULES}DOMAN,x,BLOCK\n"


def test_G5_a_file_that_others_can_change_is_left_alone(byway: Byway, home: Home, open_folder: Path) -> None:
    config = open_folder / "config.toml"
    config.write_text("config_version = 1\n")
    file = open_folder / "rules.txt"
    file.write_text(RULES.replace("RELAY:tor", "RELAY"))
    file.chmod(0o666)
    before = file.read_text()
    words = ("rule", "add", "DOMAIN,x.test,DIRECT", "--config", str(config))
    ran = byway(*words)
    assert (ran.code, file.read_text()) == (7, before)
    assert f"chmod go-w {file}" in ran.err
    file.unlink()
    open_folder.chmod(0o777)
    ran = byway(*words)
    assert (ran.code, file.exists()) == (7, False)
    assert "chmod" in ran.err


@pytest.mark.parametrize(
    "words", [["rm", "0"], ["rm", "4"], ["add", "MATCH,AUTO", "--at", "5"], ["add", "x", "--at=0"]]
)
def test_a_number_that_no_rule_has_is_wrong_usage(byway: Byway, rules: Path, words: list[str]) -> None:
    ran = byway("rule", *words)
    assert ran.code == (7 if "x" in words else 2)
    assert rules.read_text() == RULES
    assert byway("rule", "add", "MATCH,AUTO", "--top", "--at", "1").code == 2


def test_a_rule_that_never_decides_is_added_and_said_so(byway: Byway, rules: Path) -> None:
    said = byway("rule", "add", "DOMAIN,www.ads.example,DIRECT").err
    assert said == (
        "It is never used: rules.txt:3 DOMAIN-SUFFIX,ads.example,BLOCK comes first and matches all that it matches.\n"
    )
    assert byway("rule", "add", "DOMAIN,blog.example,RELAY:tor").err.startswith("It changes nothing: rules.txt:5 ")
    notices = byway("rule", "add", "MATCH,DIRECT", "--json").json["notices"]
    assert [notice.partition(":")[0] for notice in notices] == ["It is never used"]


def test_rules_that_a_new_one_makes_useless_are_named(byway: Byway, rules: Path) -> None:
    said = byway("rule", "add", "DOMAIN-SUFFIX,example,DIRECT", "--top").err.splitlines()
    assert [line.partition(",")[0] for line in said] == ["rules.txt:4 DOMAIN-SUFFIX", "rules.txt:6 DOMAIN"]
    rules.write_text("".join(f"DOMAIN,h{n}.example,BLOCK\n" for n in range(8)))
    said = byway("rule", "add", "MATCH,AUTO", "--top").err.splitlines()
    assert said[5:] == ["So it is with 3 more."]


def test_a_link_stays_a_link(byway: Byway, rules: Path) -> None:
    elsewhere = rules.with_name("elsewhere.txt")
    rules.rename(elsewhere)
    rules.symlink_to(elsewhere)
    assert byway("rule", "rm", "3").code == 0
    assert rules.is_symlink()
    assert "MATCH" not in elsewhere.read_text()


def test_the_rules_of_the_running_byway_are_edited(
    byway: Byway, home: Home, rules: Path, running: Running, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text("config_version = 1\n")
    assert byway("rule", "rm", "3", "--config", str(other)).code == 2  # it has no rules
    assert byway("rule", "rm", "3").code == 0
    assert "MATCH" not in rules.read_text()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("MATCH,AUTO\r\n", "DOMAIN,new.test,DIRECT\r\nMATCH,AUTO\r\n"),
        ("# c\r\nDOMAIN,a.test,BLOCK", "# c\r\nDOMAIN,new.test,DIRECT\r\nDOMAIN,a.test,BLOCK"),
        ("# a", "# a\nDOMAIN,new.test,DIRECT\n"),
        ("\r# c\n\n  ", "\r# c\nDOMAIN,new.test,DIRECT\n\n  "),
    ],
)
def test_a_new_line_ends_as_the_line_beside_it(home: Home, before: str, after: str) -> None:
    file = home.config.with_name("rules.txt")
    file.write_bytes(before.encode())
    add_rule(Paths.locate({}, config=home.config, state=home.state), SETTINGS, "DOMAIN,new.test,DIRECT", at=1)
    assert file.read_bytes().decode() == after


LINE = st.sampled_from(
    ["", "  ", "# c", "// c", "DOMAIN,a.test,AUTO", "DST-PORT,80,BLOCK # c", "MATCH,AUTO", " MATCH,DIRECT"]
)
END = st.sampled_from(["\n", "\r\n", "\r"])
TEXT = st.builds(
    lambda mark, lines, last: mark + "".join(f"{line}{end}" for line, end in lines) + last,
    st.sampled_from(["", "\ufeff"]),
    st.lists(st.tuples(LINE, END), max_size=8),
    LINE,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT, st.one_of(st.none(), st.integers(0, 20)))
def test_every_other_line_stays_as_it_is_and_removing_undoes_adding(home: Home, text: str, at: int | None) -> None:
    paths = Paths.locate({}, config=home.config, state=home.state)
    file = paths.rules_file
    file.write_bytes(text.encode())
    before = [rule.text for rule in read_rules(SETTINGS, paths).rules]
    place = None if at is None else at % (len(before) + 1) + 1
    added = add_rule(paths, SETTINGS, "DOMAIN,new.test,DIRECT", at=place)
    with_it = file.read_bytes().decode()
    after = [rule.text for rule in read_rules(SETTINGS, paths).rules]
    assert after[added.number - 1] == "DOMAIN,new.test,DIRECT"
    assert [*after[: added.number - 1], *after[added.number :]] == before
    assert place in (None, added.number)
    assert with_it.startswith("\ufeff") is text.startswith("\ufeff")
    assert remove_rule(paths, SETTINGS, added.number).line == "DOMAIN,new.test,DIRECT"
    assert file.read_bytes().decode().rstrip("\r\n") == text.rstrip("\r\n")
