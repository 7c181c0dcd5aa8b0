"""The parts of a feature of Byway, by names: a module of the feature is imported at the first use of one of its parts.

A name is `module:attribute` in the feature's own folder, `proxy/features/NAME/`. The only table of features is
`proxy/features/table.py`; the command line imports it, and passes it to all others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Any

from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

log = logging.getLogger(__name__)


class Role(StrEnum):
    """A role of a feature for the core, or for another feature. Both work without the feature."""

    INSPECTOR = "inspector"  # makes a `session.inspector.MadeInspector`
    FRONT_PAGE = "front page"  # the page of the proxy's own address
    FIRST_STEPS = "first steps"  # prints the next steps at a terminal: an `app.app.FirstSteps`
    LEFT_OVER = "left over"  # removes temporary files of earlier runs, and yields a sentence for each failure
    NOTIFICATIONS = "notifications"  # makes an `app.wiring.Notifications`
    PROFILE_TRUST = "profile trust"  # lets a browser profile open inspected sites
    SITES = "sites"  # a coroutine function from `control.site_states.KnownSite`s to the sites in an answer
    KEY_ENGINE = "key engine"  # makes a `net.dialers.key_relay.KeyEngine` for a run
    RELAYS = "relays"  # a coroutine function from the parts and the time to the relays and groups in an answer


@frozen_dataclass
class SaidBy:
    """Marks a field of an answer, in its annotation: its value comes from the feature with this role, or from `field`
    of that feature's answer. Without the feature it is empty."""

    role: Role
    field: str = ""


@frozen_dataclass
class Page:
    """A page of the menu, with the pages that it leads to."""

    name: str  # in `byway open`; also its path, except for Today
    title: str
    routes: Sequence[str]  # names of tuples of `control.dashboard.visit.Route`
    also: Sequence[str] = ()  # its earlier names in `byway open`

    @property
    def path(self) -> str:
        """The path, without that of the session."""
        return "" if self.name == "today" else self.name

    @property
    def is_main(self) -> bool:
        """Whether it stands in the header itself; the others are behind More."""
        return self.name in _MAIN


@frozen_dataclass
class Feature:
    """One feature."""

    name: str
    """The name of its folder."""
    commands: Mapping[str, str] = field(default_factory=dict)
    """By command, the name of a `terminal.command.RootCommand`, or of the Typer of a group."""
    endpoints: Sequence[str] = ()
    """Names of classes of the control API. Each is made with a `control.frame.Frame` and has `routes()`."""
    pages: Sequence[Page] = ()
    stored: Mapping[str, str] = field(default_factory=dict)
    """By a path of the API, without `/v1/`, the name of the coroutine function that answers it from the files while no
    Byway runs: it takes a `control.site_reader.ReadableParts`, a site for `{host}`, and the query."""
    problems: str = ""
    """The name of a coroutine function that takes a `control.frame.Moment` and returns its
    `control.answers.problems.Problem`, for `status` and Today."""
    checks: str = ""
    """The name of a function that takes a `terminal.command.Invocation` and yields `terminal.findings.Finding`s, for
    `doctor` while no Byway runs and its configuration can be used."""
    settings: Sequence[str] = ()
    """The sections of the configuration that it alone reads: those that `config.schema.SECTIONS_OF` gives to it."""
    hints: str = ""
    """The name of a function that takes the Paths. It yields the remains that `forget` could not delete, with the
    remedy."""
    provides: Mapping[Role, str] = field(default_factory=dict)
    """By role, the name of the object with which the feature fills it."""
    forgets: str = ""
    """The name of a function that takes a `control.frame.Frame` and a `store.forgetting.Forgotten`, and clears the
    content of the feature in memory; empty: there is none."""

    def names(self) -> Iterator[str]:
        """Yields all names in this line of the table."""
        yield from self.commands.values()
        yield from self.endpoints
        for page in self.pages:
            yield from page.routes
        yield from self.stored.values()
        yield from self.provides.values()
        yield from filter(None, (self.problems, self.checks, self.hints, self.forgets))

    def load(self, name: str) -> Any:
        """Returns the object with this name, which it imports. Raises BrokenFeature."""
        module, _, attribute = name.partition(":")
        try:
            return getattr(import_module(f"proxy.features.{self.name}.{module}"), attribute)
        except Exception as error:  # whatever is wrong there, the other features work
            raise BrokenFeature(self.name, error) from error


class BrokenFeature(BywayError):
    """The code of a feature cannot be used. The message has the place of the error."""

    def __init__(self, name: str, error: Exception) -> None:
        self.feature = name
        super().__init__(f"the feature {name} does not work: {_place(name, error)}: {type(error).__name__}: {error}")


def _place(name: str, error: Exception) -> str:
    """Returns the file and line of the error in the feature; if it reached none of the feature's lines, the line of the
    table that names it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    from traceback import extract_tb  # few features are broken

    frames = [(it.filename, it.lineno) for it in extract_tb(error.__traceback__)]
    inside = [place for place in frames if Path(place[0]).parent.name == name]
    if inside:
        return f"{inside[-1][0]}:{inside[-1][1]}"
    return f"{Path(__file__).parents[1] / 'features' / 'table.py'}"


def offers(features: Sequence[Feature], role: Role) -> bool:
    """Whether one of the features has this role."""
    return any(role in feature.provides for feature in features)


def provided(features: Sequence[Feature], role: Role) -> Any:
    """Returns the object of a feature for this role, which it imports; None: no feature has it. Raises
    BrokenFeature."""
    for feature in features:
        if role in feature.provides:
            return feature.load(feature.provides[role])
    return None


def usable(features: Sequence[Feature], role: Role) -> Any:
    """As `provided`, for a role that nothing depends on: a feature that does not work counts as missing, and the log
    has the reason."""
    try:
        return provided(features, role)
    except BrokenFeature as error:
        log.warning("%s", error)
        return None


def pages_of(features: Sequence[Feature]) -> Mapping[str, Page]:
    """Returns the pages of the menu by their names, in its order."""
    pages = {page.name: page for feature in features for page in feature.pages}
    return {name: pages[name] for name in (*_MENU, *pages) if name in pages}


_MAIN = ("today", "sites", "traffic", "relays", "rules")
_MENU = (*_MAIN, "networks", "phones", "addons", "settings", "setup", "help")
"""Others follow behind."""
