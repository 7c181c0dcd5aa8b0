"""A relay is added and everything else in the file stays as its owner wrote it."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.config.edit import (
    Added,
    NewGroup,
    NewRelay,
    add_relays,
    change_settings,
    enable_relays,
    move_relay,
    order_relays,
    remove_relays,
    restore_relays,
    set_addon,
    settings_after,
    with_additions,
    write,
)
from proxy.config.load import load
from proxy.model.errors import BywayError, ConfigError
from proxy.wire.keys.fields import Allowed
from tests.support.rows import each_row

SECRET = "correct-horse"

OWNED = """\
# My own notes.
config_version = 1

[listen]   # where
port   =  9000

[[relay]]
name = "tor"   # the first
url = "socks5h://127.0.0.1:9050"

[log]
hosts = 'all'
"""


def add_relay(file: Path, url: str, name: str | None) -> Added:
    (added,) = add_relays(file, [NewRelay(url, name)])
    return added


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def relays(file: Path) -> list[tuple[str, str]]:
    return [(relay["name"], relay["url"]) for relay in tomllib.loads(file.read_text())["relay"]]


def test_what_was_there_stays_as_it_was(file: Path) -> None:
    file.write_text(OWNED)
    added = add_relay(file, f"https://user:{SECRET}@relay.example", "vps")
    assert (added.name, added.url) == ("vps", "https://user:***@relay.example")
    assert relays(file) == [
        ("tor", "socks5h://127.0.0.1:9050"),
        ("vps", f"https://user:{SECRET}@relay.example"),
    ]
    lines = file.read_text().splitlines()
    assert [line for line in OWNED.splitlines() if line not in lines] == []
    assert tomllib.loads(file.read_text())["log"] == {"hosts": "all"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "config_version = 1",
        '[listen]\nport = 9000',
        'relay = []\n',
        'relay = [{ name = "tor", url = "socks5h://127.0.0.1:9050" }]\n[log]\nhosts = "all"\n',
        '\ufeffconfig_version = 1\r\n[log]\r\nhosts = "all"\r\n',
    ],
)  # fmt: skip
def test_every_way_to_write_the_file_is_kept(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    before = tomllib.loads(text.removeprefix("\ufeff"))
    add_relay(file, "socks5h://127.0.0.1:1080", "new")
    after = tomllib.loads(file.read_text())
    assert after["relay"] == [*before.get("relay", []), {"name": "new", "url": "socks5h://127.0.0.1:1080"}]
    assert {k: v for k, v in after.items() if k != "relay"} == {k: v for k, v in before.items() if k != "relay"}


def test_a_file_is_made_with_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b" / "config.toml"
    add_relay(file, "socks5h://127.0.0.1:1080", None)
    assert tomllib.loads(file.read_text())["config_version"] == 1
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_file_is_its_owners_alone_whatever_the_umask(file: Path) -> None:
    file.write_text("config_version = 1\n")
    file.chmod(0o644)
    before = os.umask(0)
    try:
        add_relay(file, "socks5h://127.0.0.1:1080", None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_a_symbolic_link_stays_one(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "real.toml"
    real.write_text("config_version = 1\n")
    file.symlink_to(real)
    add_relay(file, "socks5h://127.0.0.1:1080", None)
    assert file.is_symlink()
    assert len(relays(real)) == 1


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("socks5h://127.0.0.1:9050", "tor"),
        ("socks5h://127.0.0.1:1080", "socks5h-1080"),
        ("https://relay.example", "relay"),
        ("https://www.relay.example", "relay"),
        ("http://192.0.2.1:8080", "relay-192-0-2-1"),
        ("socks5h://[2001:db8::1]:1080", "relay-2001-db8-1"),
        ("https://[2001:db8:1111:2222:3333:4444:5555:6666]:443", "relay-2001-db8-1111-2222-333"),
        ("localhost:1080", "localhost"),
        ("https://direct.example", "direct-relay"),
        ("https://bücher.example", "xn--bcher-kva"),
        ("https://my_host.example", "my_host"),
        (f"https://{'a' * 60}.example", "https"),
        ("socks5h://127.0.0.1:9050>https://relay.example", "relay"),
    ],
)
def test_a_relay_without_a_name_gets_one(file: Path, url: str, name: str) -> None:
    assert add_relay(file, url, None).name == name
    for user, number in (("two", 2), ("three", 3)):
        another = url.replace("://", f"://{user}@") if "://" in url else f"{user}@{url}"
        assert add_relay(file, another, None).name == f"{name}-{number}"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("My server", "My-server"),
        ("🇩🇪 Frankfurt | 1", "Frankfurt-1"),
        ("Мой сервер", "relay"),
        ("direct", "direct-relay"),
        ("x" * 60, "x" * 28),
        ("a" * 27 + " b", "a" * 27),
        ("../etc", "etc"),
    ],
)
def test_the_name_behind_a_url_names_the_relay(file: Path, label: str, name: str) -> None:
    (added,) = add_relays(file, [NewRelay("socks5h://relay.example:1", label=label)])
    assert added.name == name


@pytest.mark.parametrize(
    "url",
    [
        "socks5://127.0.0.1:9050",
        "http://127.0.0.1:9050",
        "socks5h://127.0.0.1:9050#other",
        "SOCKS5H://127.1:9050",
    ],
)
def test_a_relay_that_is_there_is_recognised(file: Path, url: str) -> None:
    file.write_text(OWNED)
    added = add_relay(file, url, "another")
    assert added.name == "tor"
    assert added.was_there is not None
    assert file.read_text() == OWNED


def test_another_user_or_port_is_another_relay(file: Path) -> None:
    file.write_text(OWNED)
    for url in ("socks5h://me@127.0.0.1:9050", "socks5h://127.0.0.1:9051", "tor>socks5h://127.0.0.1:9050"):
        assert add_relay(file, url, None).was_there is None
    assert len(relays(file)) == 4


def test_relays_are_added_at_once_and_each_once(file: Path) -> None:
    urls = ["socks5h://h:1", "socks5://h:1", "socks5h://h:2", "socks5h://h:1>socks5h://h:2"]
    added = add_relays(file, [NewRelay(url) for url in urls])
    assert [(each.name, each.was_there is not None) for each in added] == [
        ("h", False), ("h", True), ("h-2", False), ("h-3", False),
    ]  # fmt: skip
    assert [name for name, _ in relays(file)] == ["h", "h-2", "h-3"]
    with pytest.raises(ValueError, match="the port"):
        add_relays(file, [NewRelay("socks5h://h:9"), NewRelay("socks5h://h:x")])
    assert len(relays(file)) == 3


MANY = """\
# My relays.
config_version = 1

[[relay]]
name = "tor"   # the first
url = "socks5h://127.0.0.1:9050"

# a friend's
# costs money
[[relay]]
name = "vps"
url = "https://relay.example"   # note
# no longer: password_cmd

[log]
hosts = "all"

[[relay]]  # stands apart
name = "late"
url = "socks5h://h:1"
enabled = true # for now
"""


def comments(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("#")}


def test_relays_are_removed_and_comments_stay(file: Path) -> None:
    file.write_text(MANY)
    remove_relays(file, ["vps"])
    assert [name for name, _ in relays(file)] == ["tor", "late"]
    assert comments(file.read_text()) == comments(MANY)
    assert "\n\n\n" not in file.read_text()
    remove_relays(file, ["late", "tor"])
    assert tomllib.loads(file.read_text()) == {"config_version": 1, "log": {"hosts": "all"}}
    assert comments(file.read_text()) == comments(MANY)


@pytest.mark.parametrize("names", [["tor"], ["vps"], ["late"], ["late", "tor"], ["late", "vps", "tor"]])
def test_a_removal_is_undone_byte_for_byte(file: Path, names: list[str]) -> None:
    file.write_text(MANY)
    removed = remove_relays(file, names)
    assert file.read_text() != MANY
    restore_relays(file, removed)
    assert file.read_text() == MANY
    with pytest.raises(ValueError, match="exists already"):
        restore_relays(file, removed)


@pytest.mark.parametrize("names", [["tor"], ["vps"], ["late"], ["late", "tor"], ["late", "vps", "tor"]])
def test_a_removal_is_undone_after_another_edit(file: Path, names: list[str]) -> None:
    file.write_text(MANY)
    removed = remove_relays(file, names)
    file.write_text(file.read_text().replace('hosts = "all"', 'hosts = "off" # since then'))
    restore_relays(file, removed)
    text = file.read_text()
    assert relays(file) == [(relay["name"], relay["url"]) for relay in tomllib.loads(MANY)["relay"]]
    assert 'hosts = "off" # since then' in text
    assert 'name = "tor"   # the first' in text
    assert comments(text) == comments(MANY)
    assert SECRET not in repr(removed)


def test_relays_are_moved(file: Path) -> None:
    file.write_text(MANY)
    assert move_relay(file, "late", by=-1) == 2
    assert [name for name, _ in relays(file)] == ["tor", "late", "vps"]
    assert move_relay(file, "late", by=-5) == 1
    assert move_relay(file, "late", by=-1) == 1
    assert move_relay(file, "late", by=2) == 3
    assert file.read_text() == MANY, "back as it was, byte for byte"
    with pytest.raises(ValueError, match="there is no relay"):
        move_relay(file, "lat", by=1)


def test_an_edit_by_somebody_else_is_not_lost(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(MANY)

    def edited_meanwhile(path: Path) -> object:
        if path != file:
            file.write_text(OWNED)
        return load(path)

    monkeypatch.setattr("proxy.config.edit.load", edited_meanwhile)
    with pytest.raises(BywayError, match="was edited meanwhile, so nothing was changed: try again"):
        remove_relays(file, ["vps"])
    assert file.read_text() == OWNED
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_relays_are_put_in_another_order_with_their_comments(file: Path) -> None:
    file.write_text(MANY)
    assert order_relays(file, ["late", "vps"]) == ["late", "vps", "tor"]
    assert [name for name, _ in relays(file)] == ["late", "vps", "tor"]
    text = file.read_text()
    assert '# costs money\n[[relay]]\nname = "vps"' in text
    assert sorted(text.splitlines()) == sorted(MANY.splitlines())
    assert order_relays(file, ["late"]) == ["late", "vps", "tor"]
    assert file.read_text() == text
    assert order_relays(file, ["tor", "vps"]) == ["tor", "vps", "late"]
    assert file.read_text() == MANY, "back as it was, byte for byte"


def test_relays_are_disabled_and_enabled(file: Path) -> None:
    file.write_text(MANY)
    assert enable_relays(file, ["tor", "late", "tor"], False) == ["tor", "late"]
    text = file.read_text()
    assert 'url = "socks5h://127.0.0.1:9050"\nenabled = false\n\n# a friend' in text
    assert "enabled = false # for now" in text
    assert [relay.get("enabled") for relay in tomllib.loads(text)["relay"]] == [False, None, False]
    assert enable_relays(file, ["tor", "vps"], True) == ["tor"]
    assert [relay.get("enabled") for relay in tomllib.loads(file.read_text())["relay"]] == [True, None, False]
    assert comments(file.read_text()) == comments(MANY)


def test_an_edit_writes_a_file_of_the_users_alone(file: Path) -> None:
    for edit in (lambda: enable_relays(file, ["tor"], False), lambda: order_relays(file, ["vps"]),
                 lambda: remove_relays(file, ["vps"])):  # fmt: skip
        file.write_text(MANY)
        file.chmod(0o644)
        before = os.umask(0)
        try:
            edit()
        finally:
            os.umask(before)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


@pytest.mark.parametrize("edit", [remove_relays, order_relays, lambda file, names: enable_relays(file, names, True)])
def test_a_relay_that_there_is_not_is_named(file: Path, edit: Callable[[Path, list[str]], object]) -> None:
    file.write_text(MANY)
    with pytest.raises(ValueError, match=r'there is no relay "tro"; did you mean tor\?'):
        edit(file, ["vps", "tro"])
    assert file.read_text() == MANY
    file.unlink()
    with pytest.raises(ValueError, match='there is no relay "tor"; no relay is configured'):
        edit(file, ["tor"])


@pytest.mark.parametrize(
    "text",
    [
        'relay = [{ name = "tor", url = "h:1" }, { name = "vps", url = "h:2" }]\n',
        'relay = [\n  { name = "tor", url = "h:1" }, # mine\n  { name = "vps", url = "h:2" },\n]\n',
    ],
)
def test_what_is_written_inline_is_left_to_its_owner(file: Path, text: str) -> None:
    file.write_text(text)
    for change in (remove_relays, order_relays):
        with pytest.raises(BywayError, match="edit it by hand"):
            change(file, ["vps"])
    assert file.read_text() == text


def test_windows_line_ends_stay(file: Path) -> None:
    file.write_bytes(MANY.replace("\n", "\r\n").encode())
    enable_relays(file, ["tor"], False)
    order_relays(file, ["late"])
    remove_relays(file, ["vps"])
    assert [name for name, _ in relays(file)] == ["late", "tor"]
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")


@pytest.mark.parametrize("text", [OWNED, MANY])
def test_what_is_added_has_the_line_ends_of_the_file(file: Path, text: str) -> None:
    file.write_bytes(text.replace("\n", "\r\n").encode())
    add_relay(file, "socks5h://127.0.0.1:1080", "new")
    change_settings(file, {("log", "hosts"): "off", ("log", "keep_days"): 3, ("desktop", "notify"): False})
    enable_relays(file, ["tor", "new"], False)
    set_addon(file, "pin", True)
    assert [name for name, _ in relays(file)][-1] == "new"
    assert load(file).settings.log.keep_days == 3
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")


@pytest.mark.parametrize(
    ("values", "before", "after"),
    [
        ({("log", "hosts"): "off"}, 'hosts = "all"', 'hosts = "off"'),
        ({("log", "hosts"): None}, 'hosts = "all"\n', ""),
        ({("log", "keep_days"): 3}, 'hosts = "all"\n', 'hosts = "all"\nkeep_days = 3\n'),
        ({("auto", "retest"): False}, "# for now\n", "# for now\n\n[auto]\nretest = false\n"),
    ],
)
def test_tables_that_stand_apart_stay_where_they_are(
    file: Path, values: dict[tuple[str, str], str | int | None], before: str, after: str
) -> None:
    """A `[[relay]]` behind another table is written so by its owner."""
    file.write_text(MANY)
    change_settings(file, values)
    assert file.read_text() == MANY.replace(before, after)
    file.write_text(MANY)
    enable_relays(file, ["late"], False)
    assert file.read_text() == MANY.replace("enabled = true", "enabled = false")


def test_the_last_of_dotted_keys_is_removed(file: Path) -> None:
    file.write_text('log.hosts = "off" # mine\n# end\n')
    assert change_settings(file, {("log", "hosts"): None})
    assert file.read_text() == "# end\n"


def test_a_line_in_a_text_that_looks_like_a_table_is_none(file: Path) -> None:
    never = 'never = ["""\n# not a comment\n[[relay]]\n"""]'
    file.write_text(MANY.replace('hosts = "all"', never).replace('[[relay]]\n"', '[[relay]]x"'))
    with pytest.raises(ConfigError):
        load(file)  # a pattern is one line: the control
    file.write_text(MANY + "[addons.a]\n" + never)
    remove_relays(file, ["vps"])
    assert [name for name, _ in relays(file)] == ["tor", "late"]
    assert file.read_text().endswith(never)


def test_a_chain_may_name_relays_that_are_there(file: Path) -> None:
    file.write_text(OWNED)
    assert add_relay(file, "tor>https://relay.example", None).name == "relay"
    assert add_relay(file, "relay>tor", None).name == "chain"
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="unknown relay"):
        add_relay(file, "nobody>tor", None)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("url", "name", "said"),
    [
        ("ss://abc@h:1", None, "Shadowsocks"),
        (f"https://u:{SECRET}@", None, "the host is missing"),
        (f"gopher://u:{SECRET}@h", None, "unknown scheme"),
        ("", None, "on each side"),
        ("a>", None, "on each side"),
        ("socks5h://h:1", "a b", "a relay's name has"),
        ("socks5h://h:1", "a\nb", "a relay's name has"),
        ("socks5h://h:1", "", "a relay's name has"),
        ("socks5h://h:1", "tor", "already"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_changes(file: Path, url: str, name: str | None, said: str) -> None:
    file.write_text(OWNED)
    with pytest.raises(ValueError, match=said) as told:
        add_relay(file, url, name)
    assert SECRET not in str(told.value)
    assert file.read_text() == OWNED


def test_a_file_that_is_faulty_as_it_is_stays_so(file: Path) -> None:
    file.write_text("[listen\n")
    with pytest.raises(ConfigError, match=r"config\.toml:1"):
        add_relay(file, "socks5h://h:1", "x")
    assert file.read_text() == "[listen\n"


def test_a_file_that_would_be_faulty_is_not_written(file: Path) -> None:
    file.write_text("config_version = 1\n")
    with pytest.raises(ConfigError, match=r"^relay x is Byway itself") as told:
        add_relay(file, "socks5h://127.0.0.1:8119", "x")  # our own port
    assert ".config.toml." not in str(told.value)
    assert file.read_text() == "config_version = 1\n"
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BywayError, match="cannot be made"):
        add_relay(tmp_path / "file" / "config.toml", "socks5h://h:1", "x")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(BywayError, match="cannot be written: No space left"):
        add_relay(tmp_path / "config.toml", "socks5h://h:1", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# -- addons ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "",
        "[addons.other]\nenabled = true\n",
        "[addons.pin]\nrelay = 'x'  # mine\n",
        "[addons.pin]\nenabled = false\n",
        "addons.pin.relay = 'x'\n",
        "addons = { other = { enabled = true } }\n",
        "addons = { pin = { enabled = false, relay = 'x' } }\n",
        "[addons]\npin = { relay = 'x' }\n",
        "[addons]\n",
        "[addons.other]\na = 1\n[listen]\nport = 9\n[addons.another]\na = 1\n",
        "# the end",
    ],
)
def test_an_addon_is_switched_on_and_all_else_is_left_as_it_was(tmp_path: Path, written: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"config_version = 1\n{written}")
    before = tomllib.loads(file.read_text())

    assert set_addon(file, "pin", True)

    after = tomllib.loads(file.read_text())
    assert after["addons"]["pin"].pop("enabled") is True
    before.setdefault("addons", {}).setdefault("pin", {}).pop("enabled", None)
    assert after == before
    assert all(line in file.read_text() for line in written.splitlines() if "#" in line)
    assert not set_addon(file, "pin", True)
    assert set_addon(file, "pin", False)
    assert tomllib.loads(file.read_text())["addons"]["pin"]["enabled"] is False


def test_a_switch_stands_before_the_comments_of_the_next_table(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("config_version = 1\n[addons.pin]\nrelay = 'x'\n\n# of the log\n[log]\nhosts = 'all'\n")
    set_addon(file, "pin", True)
    assert file.read_text() == (
        "config_version = 1\n[addons.pin]\nrelay = 'x'\nenabled = true\n\n# of the log\n[log]\nhosts = 'all'\n"
    )


def test_a_file_is_made_for_an_addon_when_there_is_none(tmp_path: Path) -> None:
    file = tmp_path / "new" / "config.toml"
    assert set_addon(file, "pin", True)
    assert tomllib.loads(file.read_text()) == {"config_version": 1, "addons": {"pin": {"enabled": True}}}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_faulty_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[listen]\nport = 'x'\n")
    with pytest.raises(ConfigError):
        set_addon(file, "pin", True)
    assert file.read_text() == "[listen]\nport = 'x'\n"


SETTINGS = """\
# Mine.
[log]   # what is kept
hosts = "all"  # for now
# and more

[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9050"
"""


def test_settings_are_changed_and_all_else_stays(file: Path) -> None:
    file.write_text(SETTINGS)
    assert change_settings(file, {("log", "hosts"): "off", ("log", "keep_days"): 3, ("desktop", "notify"): False})
    text = file.read_text()
    assert 'hosts = "off"  # for now\nkeep_days = 3\n# and more' in text
    assert tomllib.loads(text)["desktop"] == {"notify": False}
    assert comments(text) == comments(SETTINGS)
    assert not change_settings(file, {("log", "hosts"): "off", ("auto", "retest"): None})
    assert file.read_text() == text
    assert change_settings(file, {("log", "keep_days"): None, ("desktop", "notify"): None})
    settings = load(file).settings
    assert (settings.log.keep_days, settings.log.hosts, settings.desktop.notify) == (14, "off", True)
    assert comments(file.read_text()) == comments(SETTINGS)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        'log = { hosts = "all" }\n',
        'log.hosts = "all"\n',
        '[log]\r\nhosts = "all"\r\n',
        "[log]\n\n[auto]\nretest = true",
    ],
)
def test_settings_are_changed_however_the_file_is_written(file: Path, text: str) -> None:
    file.write_bytes(text.encode())
    before = tomllib.loads(text)
    change_settings(file, {("log", "never"): ["*.gov.kz", 'a"b.example'], ("log", "keep_days"): 2.5})
    after = tomllib.loads(file.read_bytes().decode())
    expected = {**before, "log": {**before.get("log", {}), "never": ["*.gov.kz", 'a"b.example'], "keep_days": 2.5}}
    assert {"config_version": 1, **after} == {"config_version": 1, **expected}
    change_settings(file, {("log", "never"): None, ("log", "keep_days"): None})
    assert load(file).settings.log.keep_days == 14


@pytest.mark.parametrize(
    "text",
    [
        "# a\n[dns.hosts]\n'a.example' = '192.0.2.1' # b\n# c\n[log]\nhosts = 'all'\n",
        "[dns.hosts] # a\n\n[dns] # b\nsecure = 'always'\n",
        "[dns]\n# a\n[dns.hosts]\n",
    ],
)
def test_a_setting_beside_a_table_in_its_table_is_changed(file: Path, text: str) -> None:
    file.write_text(text)
    before = tomllib.loads(text)
    assert change_settings(file, {("dns", "local"): ["lan"]})
    changed = file.read_text()
    assert tomllib.loads(changed) == {**before, "dns": {**before["dns"], "local": ["lan"]}}
    assert comments(changed) == comments(text)


def test_a_setting_that_cannot_be_is_not_written(file: Path) -> None:
    file.write_text(SETTINGS)
    with pytest.raises(ConfigError, match=r"^log\.keep_days must be"):
        change_settings(file, {("log", "keep_days"): -1})
    with pytest.raises(ConfigError, match="unknown key"):
        change_settings(file, {("log", "hostes"): "all"})
    assert file.read_text() == SETTINGS


def test_relays_and_groups_are_added_in_one_edit_that_can_be_looked_at_first(file: Path) -> None:
    file.write_text(OWNED)
    before = file.read_text()
    new = NewRelay(f"https://me:{SECRET}@vps.example:443", "vps", public_only=True)
    change = with_additions(file, [new], [NewGroup("all", ("tor", "vps"), "fastest")])
    settings = settings_after(file, change)
    assert (file.read_text(), SECRET in repr(change)) == (before, False)
    assert [(group.name, group.relays, group.policy) for group in settings.group] == [
        ("all", ("tor", "vps"), "fastest")
    ]
    assert settings.relay[-1].public_only
    write(file, change)
    assert file.read_text() == change.after
    added = [line for line in change.after.splitlines() if line not in before.splitlines()]
    assert [line for line in before.splitlines() if line not in change.after.splitlines()] == []
    assert added[:3] == ['name = "vps"', f'url = "https://me:{SECRET}@vps.example:443"', "public_only = true"]


def test_an_edit_that_was_looked_at_does_not_replace_another_one(file: Path) -> None:
    file.write_text(OWNED)
    change = with_additions(file, [NewRelay("socks5h://h.example:1", "h")], [])
    file.write_text(file.read_text() + "# later\n")
    with pytest.raises(BywayError, match="was edited meanwhile"):
        write(file, change)
    assert file.read_text().endswith("# later\n")


def test_what_would_be_faulty_is_said_before_it_is_written(file: Path) -> None:
    file.write_text(OWNED)
    change = with_additions(file, [], [NewGroup("all", ("none",), "fastest")])
    with pytest.raises(ConfigError, match=r"^group all: unknown relay \"none\""):
        settings_after(file, change)
    assert with_additions(file, [], []).after == file.read_text()


@each_row("host", ["192.168.1.1", "localhost", "[::ffff:10.0.0.1]", "0x7f.1"])
@each_row("place", ["{}:443", "a.example:443?alt=b.example:443&alt={}:443"])
def test_the_key_of_a_local_server_is_added_with_local_alone(file: Path, host: str, place: str) -> None:
    """The sentence names the option, and no line of a file that was not written."""
    link = f"trojan://{SECRET}@{place.format(host)}"
    file.write_text(OWNED)
    for add in (add_relays, lambda file, news: with_additions(file, news, [])):
        with pytest.raises(
            ValueError, match=r"^the server of this key, .*, is in the local network; .* --local`$"
        ) as told:
            add(file, [NewRelay(link, "x")])
        assert SECRET not in str(told.value)
        assert file.read_text() == OWNED
    add_relays(file, [NewRelay(link, "x", local=True)])
    assert "local = true" in file.read_text()


def test_a_key_is_added_with_what_the_user_said_to_it(file: Path) -> None:
    link = f"trojan://{SECRET}@relay.example:443"
    allowed = Allowed(frozenset({"foo", "bar"}), bytes(range(32)))
    (added,) = add_relays(file, [NewRelay(f"{link}?foo=1&bar=2", label="Berlin", allowed=allowed, local=True)])
    assert (added.name, added.url) == ("Berlin", "trojan://relay.example:443")
    (table,) = tomllib.loads(file.read_text())["relay"]
    assert table == {
        "name": "Berlin",
        "url": f"{link}?foo=1&bar=2",
        "ignore_fields": ["bar", "foo"],
        "pin": bytes(range(32)).hex(),
        "local": True,
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (again,) = add_relays(file, [NewRelay(f"{link}?bar=2&foo=1#other", allowed=allowed)])
    assert again.was_there is not None, "the name of a key is no part of it"
    (other,) = add_relays(file, [NewRelay("trojan://another@relay.example:443", label="Berlin")])
    assert (other.name, other.was_there) == ("Berlin-2", None), "another password is another key"
