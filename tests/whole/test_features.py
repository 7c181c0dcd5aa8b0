"""The table of features: what it names is there, in the feature's own folder, and nothing is left out."""

from __future__ import annotations

import inspect
from collections import Counter
from dataclasses import fields
from pathlib import Path

from typer import Typer

import proxy.features
from proxy.config.schema import SECTIONS_OF, Settings
from proxy.features.table import FEATURES
from proxy.model.feature import Feature, Page, Role, pages_of, provided
from proxy.terminal.command import RootCommand
from tests.support.rows import each_row

FOLDER = Path(proxy.features.__file__).parent


@each_row(("feature", "name"), [(each, name) for each in FEATURES for name in each.names()], ids=str)
def test_what_is_named_is_in_the_features_own_folder(feature: Feature, name: str) -> None:
    named = feature.load(name)
    if isinstance(named, RootCommand):
        named = named.body
    if inspect.isfunction(named) or inspect.isclass(named):
        assert Path(inspect.getfile(named)).parent == FOLDER / feature.name
    elif isinstance(named, Typer):
        assert named.registered_commands or named.registered_callback, "commands of a group"
    else:
        assert isinstance(named, tuple), "routes of pages"
        assert {Path(inspect.getfile(route.handler)).parent for route in named} == {FOLDER / feature.name}


def test_each_folder_has_a_line_and_each_line_a_folder() -> None:
    assert sorted(path.parent.name for path in FOLDER.glob("*/__init__.py")) == sorted(each.name for each in FEATURES)


def test_nothing_is_named_twice() -> None:
    for found in (
        [name for feature in FEATURES for name in feature.commands],
        [page.name for feature in FEATURES for page in feature.pages],
        [path for feature in FEATURES for path in feature.stored],
        [role for feature in FEATURES for role in feature.provides],
        [path.name for path in FOLDER.glob("*/templates/*")],
    ):
        assert [name for name, count in Counter(found).items() if count > 1] == []


def test_each_section_of_a_feature_is_one_of_the_configuration() -> None:
    assert {section: feature.name for feature in FEATURES for section in feature.settings} == SECTIONS_OF
    assert {field.name for field in fields(Settings)}.issuperset(SECTIONS_OF)


def test_each_role_is_taken() -> None:
    assert {role for feature in FEATURES for role in feature.provides} == set(Role)


def test_pages_of_an_unknown_feature_are_behind_those_of_the_menu() -> None:
    strange = Feature("strange", pages=(Page("weather", "Weather", ()),))
    assert [*pages_of((strange, *FEATURES))] == [*pages_of(FEATURES), "weather"]


def test_where_no_feature_has_a_role_nothing_is_provided() -> None:
    assert provided((), Role.INSPECTOR) is None
