"""Which files are addons, and which of them may be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.schema import AddonConfig
from proxy.extend.loading.addon import AddonFile
from proxy.extend.loading.files import FILES_MAX, find, missing
from proxy.model.errors import ConfigError
from tests.support.other_users import write_as_another

TEXT = "addons = []\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "addons").mkdir(mode=0o700)
    return tmp_path / "addons"


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    (tmp_path / "shipped").mkdir(mode=0o700)
    return tmp_path / "shipped"


def write(folder: Path, name: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(TEXT)
    file.chmod(0o600)
    return file


def test_a_file_of_the_users_is_on_and_a_shipped_one_off(folder: Path, shipped: Path) -> None:
    mine, theirs = write(folder, "pin"), write(shipped, "mirror")
    assert find(folder, shipped=shipped) == (
        AddonFile("mirror", theirs, shipped=True, enabled=False),
        AddonFile("pin", mine, shipped=False, enabled=True),
    )


def test_what_the_configuration_says_of_each_holds(folder: Path, shipped: Path) -> None:
    write(folder, "pin"), write(shipped, "mirror")
    tables = {"pin": AddonConfig(enabled=False), "mirror": AddonConfig(enabled=True)}
    assert [(file.name, file.enabled) for file in find(folder, tables, shipped=shipped)] == [
        ("mirror", True),
        ("pin", False),
    ]


def test_options_alone_switch_nothing_on_or_off(folder: Path, shipped: Path) -> None:
    write(folder, "pin"), write(shipped, "mirror")
    tables = {"pin": AddonConfig(options={"relay": "tor"}), "mirror": AddonConfig(options={"to": "x"})}
    assert [file.enabled for file in find(folder, tables, shipped=shipped)] == [False, True]


def test_a_file_of_the_users_takes_the_place_of_a_shipped_one(folder: Path, shipped: Path) -> None:
    mine = write(folder, "pin")
    write(shipped, "pin")
    assert find(folder, shipped=shipped) == (AddonFile("pin", mine, shipped=False, enabled=True),)


def test_what_editors_leave_behind_is_no_addon(folder: Path, shipped: Path) -> None:
    for name in (".#pin.py", "_helper.py", "pin.py~", "pin.pyc", "README.md"):
        (folder / name).touch()
    assert find(folder, shipped=shipped) == ()


def test_no_folder_is_no_addons(tmp_path: Path, shipped: Path) -> None:
    assert find(tmp_path / "addons", shipped=shipped) == ()


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, shipped: Path) -> None:
    """What its addons keep closed would be open."""
    around = tmp_path / "around"
    around.symlink_to(around)
    with pytest.raises(ConfigError, match=r"around: cannot be read: too many levels of symbolic links"):
        find(around, shipped=shipped)


def test_more_addons_than_are_taken_are_not_left_out_in_silence(folder: Path, shipped: Path) -> None:
    for number in range(FILES_MAX + 1):
        write(folder, f"a{number}")
    with pytest.raises(ConfigError, match=r"addons: has 257 addons; at most 256 are allowed"):
        find(folder, shipped=shipped)


def test_a_name_must_be_simple(folder: Path, shipped: Path) -> None:
    write(folder, "9 lives")
    (found,) = find(folder, shipped=shipped)
    assert found.problem.endswith(
        "9 lives.py: the name of an addon starts with a letter and has only letters, digits, _ and -"
    )


@pytest.fixture
def shared(open_folder: Path) -> Path:
    """A folder of addons that others may enter."""
    folder = open_folder / "addons"
    folder.mkdir()
    folder.chmod(0o755)
    return folder


@pytest.mark.parametrize("mode", [0o702, 0o777])
def test_nothing_is_loaded_from_a_folder_that_others_can_write_to(shared: Path, shipped: Path, mode: int) -> None:
    file = write(shared, "pin")
    shared.chmod(mode)
    (found,) = find(shared, shipped=shipped)
    assert found.problem == f"{file}: not used: other users can write to {shared}. Run: chmod go-w {shared}"


def test_no_file_is_loaded_that_others_can_write_to(shared: Path, shipped: Path) -> None:
    file = write(shared, "pin")
    file.chmod(0o602)
    (found,) = find(shared, shipped=shipped)
    assert found.problem == f"{file}: not used: other users can write to it. Run: chmod go-w {file}"


def test_a_folder_that_nobody_else_can_enter_decides_for_its_files(shared: Path, shipped: Path) -> None:
    write(shared, "pin").chmod(0o602)
    shared.chmod(0o700)
    assert find(shared, shipped=shipped)[0].problem == ""


def test_what_others_can_only_read_is_loaded(shared: Path, shipped: Path) -> None:
    write(shared, "pin").chmod(0o644)
    assert find(shared, shipped=shipped)[0].problem == ""


def test_a_link_counts_as_where_it_leads(open_folder: Path, folder: Path, shipped: Path) -> None:
    elsewhere = open_folder / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o777)
    (folder / "pin.py").symlink_to(write(elsewhere, "pin"))
    (found,) = find(folder, shipped=shipped)
    assert f"other users can write to {elsewhere}" in found.problem


def test_nothing_is_loaded_that_belongs_to_another_user(shared: Path, shipped: Path) -> None:
    file = shared / "pin.py"
    shared.chmod(0o777)
    write_as_another(file, TEXT)
    shared.chmod(0o755)
    (found,) = find(shared, shipped=shipped)
    assert found.problem.startswith(f"{file}: not used: ")


def test_where_modes_mean_nothing_no_code_is_loaded(
    shared: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(shared, "pin").chmod(0o666)
    monkeypatch.setattr("proxy.config.file_owners._filesystem", lambda _: "vfat")
    (found,) = find(shared, shipped=shipped)
    assert "not loaded: " in found.problem
    assert found.problem.endswith("owners and modes mean nothing on vfat")


def test_a_table_without_a_file_is_named(folder: Path, shipped: Path) -> None:
    write(folder, "pin")
    tables = {"pinn": AddonConfig(), "gone": AddonConfig(enabled=False), "pin": AddonConfig()}
    assert missing(find(folder, tables, shipped=shipped), tables, lambda *path: f"config.toml:{len(path)}") == [
        'config.toml:2: there is no addon "pinn"; did you mean pin?'
    ]
