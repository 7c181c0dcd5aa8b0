"""Files that ship with Byway are found in a checkout and in what a wheel leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.bundled import bundled, bundled_folder
from proxy.model.errors import BywayError


def test_a_checkout_has_them_beside_the_package() -> None:
    assert bundled("certs/known_roots.json").parts[-2:] == ("certs", "known_roots.json")


def test_what_was_installed_comes_first(tmp_path: Path) -> None:
    for place in ("site/proxy/_bundled/certs", "site/certs"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "x.json").write_text(place)
    assert bundled("certs/x.json", package=tmp_path / "site/proxy").read_text() == "site/proxy/_bundled/certs"


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(BywayError, match=r"certs/x\.json is missing"):
        bundled("certs/x.json", package=tmp_path / "proxy")


def test_a_folder_is_found_in_both_places(tmp_path: Path) -> None:
    (tmp_path / "site/proxy/_bundled/addons").mkdir(parents=True)
    (tmp_path / "site/addons").mkdir()  # of somebody else's, among what is installed
    assert bundled_folder("addons", package=tmp_path / "site/proxy") == tmp_path / "site/proxy/_bundled/addons"
    assert bundled_folder("addons") is not None


def test_what_lies_beside_an_installed_package_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "site/addons").mkdir(parents=True)
    assert bundled_folder("addons", package=tmp_path / "site/proxy") is None
