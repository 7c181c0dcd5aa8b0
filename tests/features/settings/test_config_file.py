"""`byway config export` and `import`: what is in the file, what is not, and that nothing is lost."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.load import load
from proxy.config.paths import write_private
from proxy.config.schema import Settings
from proxy.features.settings import config_file
from proxy.features.settings.config_file import ConfigFile
from proxy.model import Action, Override
from proxy.model.errors import ConfigError
from proxy.store.salvage import read_overrides
from tests.support.command_line import Byway, Home, Running
from tests.support.rows import each_row
from tests.support.terminal import Terminal
from tests.support.waiting import until

pytestmark = pytest.mark.usefixtures("lists_tried_once")

SECRET = "correct-horse"
CONFIG = f"""# mine; the old one was https://me:{SECRET}@old.example
config_version = 1
[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9050"  # on this computer
[[relay]]
name = "vps"
url = "https://me:{SECRET}@relay.example"
[[group]]
name = "eu"
relays = ["vps", "tor"]
[[list]]
name = "mine"
source = "lists/mine.txt"
[addons.notify]
api_token = "{SECRET}"
level = 2
"""
RULES = "# rules\nLIST,mine,RELAY:eu\nMATCH,AUTO\n"


@pytest.fixture
def filled(home: Home) -> Home:
    home.config.write_text(CONFIG)
    home.config.parent.joinpath("rules.txt").write_text(RULES)
    home.config.parent.joinpath("lists").mkdir()
    home.config.parent.joinpath("lists", "mine.txt").write_text("a.example\nb.example\n")
    return home


def files(home: Home) -> dict[str, str]:
    folder = home.config.parent
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


# -- the file ----------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ['"""', '"', '""', "\\", "\r\n", "\n\n", "\x00\x7f", 'a""""', "\\u0041", "\t"]
)
NAMES = st.sampled_from(["rules.txt", "lists/a.txt", "block_pages.csv"])


@given(st.dictionaries(NAMES, TEXTS), TEXTS, st.floats(0, 1e10))
def test_every_text_comes_back_as_it_was(texts: dict[str, str], config: str, until: float) -> None:
    made = ConfigFile({"config.toml": config, **texts}, {"a.example": Override(Action.RELAY, "tor", until)})
    assert ConfigFile.parse(made.text(note="Without passwords."), "x") == made


HEAD = 'byway_export = 1\n[[file]]\nname = "config.toml"\ntext = ""\n'


@each_row(
    "text",
    [
        "",
        "[[[",
        "byway_export = 2",
        "byway_export = 1",
        'byway_export = 1\nfile = "x"',
        "byway_export = 1\nfile = [1]",
        HEAD + "[[file]]\nname = 1",
        *(
            f'{HEAD}[[file]]\nname = "{name}"\ntext = ""'
            for name in (
                "../x",
                "/etc/passwd",
                "a/../../x",
                "addons/x.py",
                "ADDONS/x.py",
                "addons./x.py",
                "c:x",
                "",
                ".",
                "a//b",
                "./a",
                "a\\\\b",
                ".bash_profile",
                "lists/.hidden",
                "~/x",
                "add\u200cons/x.py",
            )
        ),
        HEAD + '[[file]]\nname = "rules.txt"\ntext = 1',
        HEAD + '[[override]]\nsite = "a..b"\naction = "RELAY"',
        HEAD + '[[override]]\nsite = "a.b"\naction = "MAYBE"',
        HEAD + '[[override]]\nsite = "a.b"\naction = "RELAY"\nuntil = "soon"',
        HEAD + "[[override]]\n",
        HEAD + f"[{'a.' * 100_000}a]\n",  # for which tomllib takes a minute
        "byway_export = 1\na" + ".a" * 100_000 + " = 1\n",
    ],
)
def test_what_is_no_export_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ConfigFile.parse(text, "x.toml")
    (problem,) = refused.value.problems
    assert problem.startswith("x.toml: ")


@pytest.mark.parametrize(("files", "overrides", "is_read"), [(300, 3, True), (301, 0, False), (1, 4, False)])
def test_it_has_so_many_files_and_overrides_at_most(
    monkeypatch: pytest.MonkeyPatch, files: int, overrides: int, is_read: bool
) -> None:
    monkeypatch.setattr(config_file, "OVERRIDES_MAX", 3)
    tables = [f'[[file]]\nname = "lists/{number}.txt"\ntext = ""\n' for number in range(files - 1)]
    tables += [f'[[override]]\nsite = "s{number}.example"\naction = "BLOCK"\n' for number in range(overrides)]
    text = HEAD + "".join(tables)
    if is_read:
        assert len(ConfigFile.parse(text, "x").files) == files
    else:
        with pytest.raises(ConfigError, match="too many files or overrides"):
            ConfigFile.parse(text, "x")


# -- export ------------------------------------------------------------------------------------------------------------


def test_an_export_has_everything_but_passwords_and_addons(byway: Byway, filled: Home) -> None:
    filled.config.parent.joinpath("addons").mkdir()
    filled.config.parent.joinpath("addons", "mine.py").write_text("1/0")
    ran = byway("config", "export")
    assert SECRET not in ran.out
    exported = ConfigFile.parse(ran.out, "out")
    assert list(exported.files) == ["config.toml", "rules.txt", "lists/mine.txt"]
    assert exported.files["rules.txt"] == RULES
    assert "# on this computer" in exported.files["config.toml"]
    config = tomllib.loads(exported.files["config.toml"])
    assert config["relay"][1]["url"] == "https://me@relay.example"
    assert config["addons"]["notify"] == {"level": 2}
    assert "The password of relay vps is left out" in ran.err
    assert "Option api_token of addon notify is left out" in ran.err


def test_passwords_are_exported_only_into_a_file_that_nobody_else_can_read(
    byway: Byway, filled: Home, tmp_path: Path
) -> None:
    assert byway("config", "export", "--with-passwords").code == 2
    file = tmp_path / "all.toml"
    before = os.umask(0)
    try:
        ran = byway("config", "export", "--with-passwords", "-o", str(file))
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert ConfigFile.parse(file.read_text(), "x").files["config.toml"] == CONFIG
    assert f"{file} has passwords" in ran.err
    assert SECRET not in ran.out + ran.err


def test_an_export_replaces_an_older_one_and_nothing_else(byway: Byway, filled: Home, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for other in (filled.config, filled.config.with_name("rules.txt"), tmp_path, tmp_path / "pipe", tmp_path / "link"):
        before = other.read_bytes() if other.is_file() else b""
        ran = byway("config", "export", "-o", str(other))
        assert (ran.code, ran.err) == (2, f"byway: {other} exists already and is no export: choose another name\n")
        assert (other.read_bytes() if other.is_file() else b"") == before
    file = tmp_path / "x.toml"
    for _ in range(2):
        assert byway("config", "export", "-o", str(file)).code == 0


def test_a_list_outside_of_the_folder_is_named_and_left_out(byway: Byway, filled: Home, tmp_path: Path) -> None:
    outside = tmp_path / "list.txt"
    outside.write_text("c.example\n")
    filled.config.write_text(CONFIG.replace("lists/mine.txt", str(outside)))
    ran = byway("config", "export")
    assert "lists/mine.txt" not in ConfigFile.parse(ran.out, "x").files
    assert (
        "List mine is left out: it has a name that cannot be exported, or is not in the configuration folder" in ran.err
    )


TOKENS = f"""config_version = 1
# source = "https://lists.example/a.txt?token={SECRET}-1"
[listen]
user = "me"
password_cmd = "echo {SECRET}-2"
[[relay]]
name = "told"
url = "https://me@told.example"
password_cmd = "sh -c 'printf {SECRET}-3'"
[[relay]]
name = "kept"
url = "https://me@kept.example"
password_cmd = "pass show kept"
[[list]]
name = "members"
source = "https://lists.example/a.txt?token={SECRET}-1"
[[list]]
name = "ids"
source = "https://lists.example/0f8fad5b-d9cb-469f-a165-70867728950e/a.txt"
[[list]]
name = "open"
source = "https://lists.example/open.txt"
"""


def test_an_export_has_no_token_and_no_command_that_holds_a_password(byway: Byway, home: Home, tmp_path: Path) -> None:
    home.config.write_text(TOKENS)
    ran = byway("config", "export")
    exported = ConfigFile.parse(ran.out, "out").files["config.toml"]
    assert [each for each in (SECRET, "0f8fad5b") if each in ran.out + ran.err] == []
    config = tomllib.loads(exported)
    assert [relay.get("password_cmd") for relay in config["relay"]] == [None, "pass show kept"]
    assert [listed["source"] for listed in config["list"]] == [
        "https://lists.example/a.txt?token=***", "https://lists.example/***/a.txt", "https://lists.example/open.txt",
    ]  # fmt: skip
    assert "What may be a secret in the URL of list members is left out" in ran.err
    assert "Password_cmd of relay told is left out" in ran.err
    assert "Password_cmd of [listen] is left out" in ran.err
    file = tmp_path / "all.toml"
    assert byway("config", "export", "--with-passwords", "-o", str(file)).code == 0
    assert ConfigFile.parse(file.read_text(), "x").files["config.toml"] == TOKENS, "the control"


PERSONAL = f"""config_version = 1
# password = {SECRET}-1, and https://lists.example/a.txt?token={SECRET}-2, and http://me:{SECRET}-3@relay.example
[dns]
servers = ["https://1.1.1.1/dns-query", "https://192.0.2.1/{SECRET}-4", "tls://192.0.2.2?sni={SECRET}5.dns.next.example"]
[addons.notify]
webhook = "https://hooks.example/{SECRET}-6" # {SECRET}-6
desktop = true
"""


def test_an_export_has_no_url_that_names_its_user_and_no_secret_of_a_comment(
    byway: Byway, home: Home, tmp_path: Path
) -> None:
    home.config.write_text(PERSONAL)
    home.config.with_name("rules.txt").write_text(
        f"# http://me:{SECRET}-7@relay.example ?token={SECRET}-8\nMATCH,AUTO\n"
    )
    file = tmp_path / "all.toml"
    ran = byway("config", "export", "-o", str(file))
    assert ran.code == 0, ran.err
    exported = ConfigFile.parse(file.read_text(), "x").files
    assert SECRET not in file.read_text() + ran.out + ran.err
    config = tomllib.loads(exported["config.toml"])
    assert config["dns"]["servers"] == ["https://1.1.1.1/dns-query"]
    assert config["addons"]["notify"] == {"desktop": True}
    assert "Encrypted DNS servers whose URL may name you are left out" in ran.err
    ran = byway("config", "import", str(file), "--yes")
    assert ran.code == 0, ran.err
    assert load(home.config).settings.dns.servers == tuple(tomllib.loads(PERSONAL)["dns"]["servers"])
    assert "[dns] keeps the servers that it has here" in ran.err


def test_an_import_keeps_the_tokens_and_commands_that_are_here(byway: Byway, home: Home, tmp_path: Path) -> None:
    home.config.write_text(TOKENS)
    file = moved(byway, home, tmp_path)
    ran = byway("config", "import", str(file), "--yes")
    assert ran.code == 0, ran.err
    assert load(home.config).settings == load_text(TOKENS, tmp_path)
    assert "List members keeps the URL that it has here" in ran.err
    assert "Relay told keeps the password_cmd that it has here" in ran.err
    assert SECRET not in ran.out + ran.err
    home.config.write_text('config_version = 1\n[listen]\nuser = "me"\npassword_cmd = "pass show me"\n')
    ran = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert ran.code == 0, ran.err
    assert "The URL of list members lacks what was left out: write it in config.toml" in ran.err


def load_text(text: str, folder: Path) -> Settings:
    file = folder / "config-alone.toml"
    file.write_text(text)
    file.chmod(0o600)
    return load(file).settings


def test_tokens_are_shown_nowhere(byway: Byway, home: Home) -> None:
    home.config.write_text(TOKENS)
    for words in (("config", "show"), ("config", "show", "--all"), ("config", "show", "--json"), ("config", "check"),
                  ("list", "show", "members"), ("list", "show", "members", "--json"), ("list", "show")):  # fmt: skip
        ran = byway(*words)
        assert SECRET not in ran.out + ran.err, words
    assert "token=***" in byway("config", "show").out


# -- import ------------------------------------------------------------------------------------------------------------


def moved(byway: Byway, filled: Home, tmp_path: Path, *options: str) -> Path:
    file = tmp_path / "export.toml"
    assert byway("config", "export", "-o", str(file), *options).code == 0
    return file


def test_what_was_exported_is_imported_with_the_passwords_that_are_here(
    byway: Byway, filled: Home, tmp_path: Path
) -> None:
    file = moved(byway, filled, tmp_path)
    ran = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert ran.code == 0, ran.err
    assert ["rules.txt", "the same"] in ran.rows
    assert "Relay vps keeps the password that it has here" in ran.err
    assert load(filled.config).settings.relay[1].url == f"https://me:{SECRET}@relay.example"
    assert SECRET not in ran.out + ran.err


def test_a_password_that_is_missing_afterwards_is_told(byway: Byway, filled: Home, tmp_path: Path) -> None:
    file = moved(byway, filled, tmp_path)
    filled.config.write_text("config_version = 1\n")
    ran = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert ran.code == 0, ran.err
    assert "Relay vps has a user and no password; if it needs one, write it in its url in config.toml" in ran.err


def test_a_new_computer_gets_all_of_it(byway: Byway, filled: Home, tmp_path: Path) -> None:
    file = moved(byway, filled, tmp_path, "--with-passwords")
    was = files(filled)
    for path in sorted(filled.config.parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert byway("config", "import", str(file), "--yes").code == 0
    now = files(filled)
    backup = next(name for name in now if name.startswith("backup-"))
    assert {name: text for name, text in now.items() if name != backup} == was
    assert byway("config", "check").code == 0


def test_certificates_that_a_relay_needs_are_named(byway: Byway, filled: Home) -> None:
    filled.config.write_text(CONFIG.replace("@relay.example", "@relay.example?ca=ca.pem"))
    ran = byway("config", "export")
    assert "The certificates of relay vps are left out: copy ca.pem too before the import." in ran.err


@pytest.mark.uses("rules")
def test_what_a_list_includes_moves_with_it(byway: Byway, filled: Home, tmp_path: Path) -> None:
    """Else a site that a RELAY rule is about would go direct on the other computer."""
    lists = filled.config.parent / "lists"
    lists.joinpath("mine.txt").write_text("include:more\nfull:a.example\ninclude:none\n")
    lists.joinpath("more").write_text("b.example @cn\n")
    file = moved(byway, filled, tmp_path)
    text = ConfigFile.parse(file.read_text(), "x").files["lists/mine.txt"]
    assert text == "# include:more\nb.example @cn\nfull:a.example\ninclude:none\n"
    assert "List mine includes other files: their rules are in its text now." in byway("config", "export").err
    lists.joinpath("more").unlink()
    assert byway("config", "import", str(file), "--yes").code == 0
    assert byway("rule", "test", "b.example", "--json").json["plan"]["action"] == "RELAY"


def test_overrides_move_too_and_others_stay(byway: Byway, filled: Home, tmp_path: Path) -> None:
    until = time.time() + 3600
    exported = ConfigFile(
        {"config.toml": CONFIG, "rules.txt": RULES, "lists/mine.txt": "a.example\n"},
        {
            "a.example": Override(Action.RELAY, "eu", until),
            "b.example": Override(Action.BLOCK),
            "over.example": Override(Action.BLOCK, until=time.time() - 1),
        },
    )
    file = tmp_path / "x.toml"
    file.write_text(exported.text(note="x"))
    ran = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert ["site a.example", "RELAY:eu"] in ran.rows
    stored = read_overrides(filled.state / "byway.sqlite")
    assert stored == {"a.example": Override(Action.RELAY, "eu", until), "b.example": Override(Action.BLOCK)}
    again = ConfigFile.parse(byway("config", "export").out, "x")
    assert again.overrides == stored
    file.write_text(ConfigFile(exported.files, {"c.example": Override(Action.DIRECT)}).text(note="x"))
    assert byway("config", "import", str(file), "--yes").code == 0
    assert set(read_overrides(filled.state / "byway.sqlite")) == {"a.example", "b.example", "c.example"}
    others = {"config.toml": "config_version = 1\n", "rules.txt": ""}
    file.write_text(ConfigFile(others, {"b.example": Override(Action.DIRECT)}).text(note="x"))
    ran = byway("config", "import", str(file), "--yes")
    assert ["site b.example", "DIRECT, in place of BLOCK"] in ran.rows
    assert "The override of a.example names relay eu, which is not configured: set another, or run" in ran.err
    assert "b.example" not in ran.err


def test_a_file_of_a_newer_byway_is_named_as_that(byway: Byway, filled: Home, tmp_path: Path) -> None:
    file = moved(byway, filled, tmp_path)
    file.write_text(file.read_text().replace("byway_export = 1", "byway_export = 2"))
    ran = byway("config", "import", str(file), "--yes")
    assert (ran.code, "a newer Byway made it" in ran.err) == (7, True)


def test_what_was_there_is_kept_and_can_be_imported_again(byway: Byway, filled: Home, tmp_path: Path) -> None:
    before = files(filled)
    file = tmp_path / "x.toml"
    file.write_text(ConfigFile({"config.toml": "config_version = 1\n", "rules.txt": "MATCH,AUTO\n"}, {}).text(note="x"))
    ran = byway("config", "import", str(file), "--yes", "--json")
    backup = Path(ran.json["backup"])
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert filled.config.read_text() == "config_version = 1\n"
    assert byway("config", "import", str(backup), "--yes", "--allow-commands").code == 0
    now = files(filled)
    assert {name: now[name] for name in before} == before


def test_two_imports_within_a_second_keep_both(
    byway: Byway, filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, now = tmp_path / "x.toml", time.time()
    file.write_text(ConfigFile({"config.toml": "config_version = 1\n", "rules.txt": "MATCH,AUTO\n"}, {}).text(note="x"))
    with monkeypatch.context() as patch:
        patch.setattr("proxy.features.settings.config_file.time.time", lambda: now)
        backups = [byway("config", "import", str(file), "--yes", "--json").json["backup"] for _ in range(2)]
    assert CONFIG in ConfigFile.parse(Path(backups[0]).read_text(), "x").files["config.toml"]
    assert backups[0] < backups[1]


def test_the_last_five_are_kept(byway: Byway, filled: Home, tmp_path: Path) -> None:
    """And a file of the user's, whatever its name."""
    folder, file = filled.config.parent, tmp_path / "x.toml"
    for name in (*(f"backup-2026010{day}T000000.toml" for day in range(1, 8)), "backup-home.toml"):
        (folder / name).touch(0o600)
    file.write_text(ConfigFile({"config.toml": "config_version = 1\n", "rules.txt": "MATCH,AUTO\n"}, {}).text(note="x"))
    newest = Path(byway("config", "import", str(file), "--yes", "--json").json["backup"]).name
    kept = [f"backup-2026010{day}T000000.toml" for day in range(4, 8)]
    assert sorted(path.name for path in folder.glob("backup-*")) == sorted([*kept, newest, "backup-home.toml"])


@pytest.mark.parametrize("name", ["backup-99990101T000000.toml", "BACKUP-99990101t000000.TOML"])
def test_no_file_of_an_import_has_the_name_of_a_backup(byway: Byway, filled: Home, tmp_path: Path, name: str) -> None:
    """Else it would push out the very backup that the import promises."""
    config = f'config_version = 1\n[[list]]\nname = "a"\nsource = "{name}"\n'
    text = ConfigFile({"config.toml": config, "lists/x.txt": "a.example\n"}, {}).text(note="x")
    file = tmp_path / "x.toml"
    file.write_text(text.replace("lists/x.txt", name))
    ran = byway("config", "import", str(file), "--yes")
    assert (ran.code, "it has the name of a backup" in ran.err) == (7, True)


def test_the_backup_that_is_promised_is_there(byway: Byway, filled: Home, tmp_path: Path) -> None:
    """Also beside files of later names, as an earlier Byway imported them, or a clock that was wrong left them."""
    for year in range(9991, 10_000):
        filled.config.with_name(f"backup-{year}0101T000000.toml").touch(0o600)
    file = moved(byway, filled, tmp_path)
    backup = Path(byway("config", "import", str(file), "--yes", "--json").json["backup"])
    assert ConfigFile.parse(backup.read_text(), "x").files["config.toml"] == CONFIG
    assert len(list(filled.config.parent.glob("backup-*"))) == 5


@pytest.mark.parametrize(
    "name", ["config.toml/x", "rules.txt/lists/x", "lists/mine.txt/x", "a/b/" + "n" * 300, "key/x"]
)
def test_a_file_that_cannot_be_there_is_refused_with_a_sentence(
    byway: Byway, filled: Home, tmp_path: Path, name: str
) -> None:
    filled.config.with_name("key").write_text("mine")
    config = f'config_version = 1\n[[list]]\nname = "a"\nsource = "{name}"\n'
    texts = {
        "config.toml": config,
        "rules.txt": RULES,
        "lists/mine.txt": "a.example\n",
        "lists/given.txt": "a.example\n",
    }
    file = tmp_path / "x.toml"
    file.write_text(ConfigFile(texts, {}).text(note="x").replace("lists/given.txt", name))
    before = files(filled)
    ran = byway("config", "import", str(file), "--yes")
    assert ran.code == 7, ran.err
    assert "Traceback" not in ran.err
    assert files(filled) == before


def test_what_is_sensitive_is_said_in_words(byway: Byway, filled: Home, tmp_path: Path) -> None:
    config = """config_version = 1
[safety]
allow = ["0.0.0.0/0:*"]
[dns]
servers = ["https://198.51.100.7/dns-query"]
[dns.hosts]
"bank.example" = "198.51.100.8"
[auto]
never_relay = ["news.example"]
[log]
hosts = "all"
keep_days = 300
[[relay]]
name = "vps"
url = "https://me@elsewhere.example"
[[relay]]
name = "new"
url = "http://me@198.51.100.9:3128"
allow_plaintext_credentials = true
[[list]]
name = "fetched"
source = "https://lists.example/a.txt"
[[subscription]]
name = "shop"
source = "https://shop.example/sub/token"
"""
    file = tmp_path / "x.toml"
    file.write_text(
        ConfigFile({"config.toml": config, "rules.txt": "DOMAIN,a.example,AUTO\nMATCH,DIRECT\n"}, {}).text(note="x")
    )
    ran = byway("config", "import", str(file), "--yes", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["review"] == [
        "web pages may reach 0.0.0.0/0:* although it is private ([safety] allow)",
        "relay vps now sends traffic to elsewhere.example:443",
        "relay new is new and sends traffic to 198.51.100.9:3128",
        "relay new may get its password without encryption",
        "relay tor is removed",
        "AUTO never uses a relay for news.example",
        "encrypted DNS asks https://198.51.100.7/dns-query",
        "bank.example is taken to be at 198.51.100.8 ([dns.hosts])",
        "list fetched is fetched from lists.example",
        "group shop sends traffic to the relays of a file at shop.example",
        "rules.txt:2 MATCH,DIRECT decides about all other sites",
        "of 2 rules that are removed, 1 send sites through relays only",
        "all visited hosts are logged by name",
        "the log is kept for 300 days",
    ]
    for sentence in ran.json["review"]:
        assert f"{sentence[0].upper()}{sentence[1:]}." in ran.err


@pytest.mark.inspection
def test_rules_that_inspect_are_said_to_decrypt(byway: Byway, filled: Home, tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    rules = "DOMAIN,a.example,AUTO,INSPECT\nMATCH,AUTO,INSPECT\n"
    file.write_text(ConfigFile({"config.toml": "config_version = 1\n", "rules.txt": rules}, {}).text(note="x"))
    ran = byway("config", "import", str(file), "--yes", "--json")
    assert ran.code == 0, ran.err
    expected = [
        "Byway decrypts the connections of rules.txt:1 DOMAIN,a.example,AUTO,INSPECT",
        "Byway decrypts the connections of rules.txt:2 MATCH,AUTO,INSPECT",
        "rules.txt:2 MATCH,AUTO,INSPECT decides about all other sites",
    ]
    assert [sentence for sentence in ran.json["review"] if "INSPECT" in sentence] == expected
    for sentence in expected:
        assert f"{sentence[0].upper()}{sentence[1:]}." in ran.err


def test_an_import_of_what_is_here_has_nothing_sensitive(byway: Byway, filled: Home, tmp_path: Path) -> None:
    file = moved(byway, filled, tmp_path)
    assert byway("config", "import", str(file), "--yes", "--json").json["review"] == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("config.toml", 'name = "eu"', 'name = "tor"'), "config.toml:10: group tor has the name of a relay"),
        (("rules.txt", "RELAY:eu", "RELAY:us"), 'rules.txt:2: unknown relay "us"'),
        (("config.toml", "config_version", "config_versoin"), "config_versoin"),
    ],
)
def test_a_faulty_import_changes_nothing(
    byway: Byway, filled: Home, tmp_path: Path, change: tuple[str, str, str], sentence: str
) -> None:
    exported = ConfigFile.parse(moved(byway, filled, tmp_path).read_text(), "x")
    name, old, new = change
    faulty = {**exported.files, name: exported.files[name].replace(old, new)}
    file = tmp_path / "faulty.toml"
    file.write_text(ConfigFile(faulty, {}).text(note="x"))
    before = files(filled)
    ran = byway("config", "import", str(file), "--yes")
    assert ran.code == 7
    assert sentence in ran.err
    assert "byway-import-" not in ran.err
    assert files(filled) == before


@pytest.mark.parametrize("as_list", [False, True])
def test_an_import_replaces_nothing_but_lists(byway: Byway, filled: Home, tmp_path: Path, as_list: bool) -> None:
    """A script of a password command, say, whether the file calls it a list or not."""
    script = filled.config.with_name("password.sh")
    script.write_text("pass show vps\n")
    config = CONFIG + ('[[list]]\nname = "other"\nsource = "password.sh"\n' if as_list else "")
    file = tmp_path / "x.toml"
    file.write_text(ConfigFile({"config.toml": config, "password.sh": "a.example\n"}, {}).text(note="x"))
    before = files(filled)
    ran = byway("config", "import", str(file), "--yes")
    reason = (
        "another file has this name here; move that away first" if as_list else "its configuration has no such list"
    )
    assert (ran.code, f'file "password.sh" may not be imported: {reason}' in ran.err) == (7, True)
    assert files(filled) == before
    mine = {"config.toml": CONFIG, "lists/mine.txt": "c.example\n"}
    file.write_text(ConfigFile(mine, {}).text(note="x"))
    assert byway("config", "import", str(file), "--yes").code == 0
    assert files(filled)["lists/mine.txt"] == "c.example\n"


def test_a_backup_can_be_imported_where_a_list_was_left_behind(byway: Byway, filled: Home, tmp_path: Path) -> None:
    """Its file stayed in the folder when the list was taken out of the configuration."""
    exported = moved(byway, filled, tmp_path)
    filled.config.write_text("config_version = 1\n")
    filled.config.with_name("rules.txt").write_text("")
    backup = byway("config", "import", str(exported), "--yes", "--allow-commands", "--json").json["backup"]
    assert byway("config", "import", backup, "--yes").code == 0
    assert filled.config.read_text() == "config_version = 1\n"


def test_an_import_mends_a_faulty_configuration_with_its_lists(byway: Byway, filled: Home, tmp_path: Path) -> None:
    file = moved(byway, filled, tmp_path)
    filled.config.write_text(CONFIG.replace("config_version = 1", "config_version = 1\nno_such_key = 2"))
    filled.config.with_name("lists").joinpath("mine.txt").write_text("changed.example\n")
    ran = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert (ran.code, ran.err.count("may not be imported")) == (0, 0)
    assert "changed.example" not in files(filled)["lists/mine.txt"]


def test_an_override_of_an_unknown_relay_is_refused(byway: Byway, filled: Home, tmp_path: Path) -> None:
    exported = ConfigFile.parse(moved(byway, filled, tmp_path).read_text(), "x")
    file = tmp_path / "faulty.toml"
    file.write_text(ConfigFile(exported.files, {"a.example": Override(Action.RELAY, "us")}).text(note="x"))
    ran = byway("config", "import", str(file), "--yes")
    assert (ran.code, 'override of a.example: unknown relay "us"' in ran.err) == (7, True)


def test_commands_and_addons_of_somebody_else_are_named_and_need_a_word_more(
    byway: Byway, filled: Home, tmp_path: Path
) -> None:
    config = CONFIG.replace("[[group]]", 'password_cmd = "touch pwned"\n[[group]]', 1).replace(f":{SECRET}@r", "@r")
    config += "[addons.tunnel]\nenabled = true\n"
    file = tmp_path / "x.toml"
    file.write_text(ConfigFile({"config.toml": config}, {}).text(note="x"))
    before = files(filled)
    ran = byway("config", "import", str(file), "--yes")
    assert ran.code == 2
    assert 'Vps runs the command "touch pwned"' in ran.err
    assert "Addon tunnel is enabled with these options" in ran.err
    assert files(filled) == before
    assert not Path("pwned").exists()


def test_nobody_is_asked_without_a_terminal_and_no_is_no(
    byway: Byway, filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = moved(byway, filled, tmp_path)
    filled.config.write_text("config_version = 1\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    ran = byway("config", "import", str(file))
    assert (ran.code, "use --yes" in ran.err) == (2, True)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("proxy.features.settings.commands.confirm", lambda _: False)
    assert byway("config", "import", str(file)).code == 0
    assert filled.config.read_text() == "config_version = 1\n"
    monkeypatch.setattr("proxy.features.settings.commands.confirm", lambda _: True)
    assert byway("config", "import", str(file)).code == 0
    assert "[[group]]" in filled.config.read_text()


@pytest.mark.parametrize("key", ["Ctrl-C", "Ctrl-D"])
async def test_who_is_asked_may_interrupt(byway: Byway, filled: Home, tmp_path: Path, key: str) -> None:
    """By Ctrl-C and by Ctrl-D, with the exit code of an interruption: 1 would be a failure."""
    file, before = moved(byway, filled, tmp_path), files(filled)
    words = [sys.executable, "-m", "proxy", "config", "import", str(file), *filled.flags]
    with Terminal(words, os.environ) as terminal:
        await until(lambda: "Import this? [y/N]: " in terminal.printed)
        if key == "Ctrl-C":
            terminal.process.send_signal(signal.SIGINT)
        else:
            terminal.type(b"\x04")
        assert await terminal.ends() == 130
    assert "Aborted" not in terminal.printed
    assert files(filled) == before


@pytest.mark.uses("sites")
def test_a_running_byway_takes_it_at_once(byway: Byway, filled: Home, running: Running, tmp_path: Path) -> None:
    exported = ConfigFile({"config.toml": CONFIG}, {"a.example": Override(Action.RELAY, "tor", time.time() + 3600)})
    file = tmp_path / "x.toml"
    file.write_text(exported.text(note="x"))
    assert byway("config", "import", str(file), "--yes", "--allow-commands").code == 0
    assert running.world.reloads == 1
    assert running.world.overrides["a.example"].relay == "tor"
    assert abs(running.world.overrides["a.example"].until - time.time() - 3600) < 60


@pytest.mark.parametrize("has_rules", [True, False])
def test_a_write_that_fails_half_way_is_undone(
    byway: Byway, filled: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_rules: bool
) -> None:
    rules = filled.config.parent.joinpath("rules.txt")
    if not has_rules:
        rules.unlink()
    file = tmp_path / "x.toml"
    texts = {"config.toml": "config_version = 1\n", "rules.txt": "MATCH,DIRECT\n"}
    file.write_text(ConfigFile(texts, {}).text(note="x"))
    full = [True]

    def fails_once(path: Path, content: bytes | str) -> None:
        if path.name == "config.toml" and path.parent == filled.config.parent and full and full.pop():
            raise OSError(28, "No space left on device")
        write_private(path, content)

    monkeypatch.setattr("proxy.features.settings.config_file.write_private", fails_once)
    ran = byway("config", "import", str(file), "--yes")
    assert (ran.code, "nothing was imported" in ran.err) == (1, True)
    assert filled.config.read_text() == CONFIG
    assert (rules.read_text() if rules.exists() else None) == (RULES if has_rules else None)


def test_a_key_is_left_out_of_an_export_and_comes_back_where_it_is_known(
    byway: Byway, filled: Home, tmp_path: Path
) -> None:
    link = f"trojan://{SECRET}@relay.example:443?sni=a.example"
    filled.config.write_text(f'{CONFIG}[[relay]]\nname = "key"\nurl = "tor>{link}"\n')
    file = tmp_path / "export.toml"
    ran = byway("config", "export", "-o", str(file))
    assert ran.code == 0, ran.err
    assert "The key of relay key is left out" in ran.err
    assert SECRET not in file.read_text()
    ran = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert ran.code == 0, ran.err
    assert "Relay key keeps the key that it has here" in ran.err
    assert load(filled.config).settings.relay[2].url == f"tor>{link}"
    filled.config.write_text("config_version = 1\n")
    ran = byway("config", "import", str(file), "--yes", "--allow-commands")
    assert ran.code == 7
    assert "this key was left out where it was shown or exported: write the key itself in its place" in ran.err
