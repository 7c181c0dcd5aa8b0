"""The part of the settings' page about `[listen] programs`: who used the port, and who of them gets relays.

A program can be let in only by a browser that signed in minutes ago, and only one that has used the port: the forms
name it by an id, and take no path. Its file is checked as at a start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from aiohttp import web

from proxy.config import edit
from proxy.config.load import load
from proxy.control.access import Refused
from proxy.control.dashboard.guard import NOT_FRESH, check_fresh
from proxy.control.dashboard.visit import Route, Visit
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, sentences
from proxy.net.client_programs import PortUser, unreadable
from proxy.net.named_programs import NamedProgram, admits, named_program

LOOKED_UP = 100
"""Without the setting, the programs of this many of the newest open connections are looked up for the page."""

_LAST = _("It is the last one, and without any all programs get relays: `byway config unset listen.programs`.")


@frozen_dataclass
class ProgramRow:
    """A program that used the port. `path` is empty for what has none, which `words` names then. `id` is empty where no
    button lets it in; `why_not` says why, where that is no matter of course."""

    path: str
    words: str
    last_at: float
    connections: int
    is_named: bool
    id: str
    why_not: str


@frozen_dataclass
class ProgramsView:
    """The values for the template. `names` are the entries of the setting, each with the path that it stands for; empty
    when it is not set. `before_changes` says what letting in a program needs first; empty: nothing."""

    sentence: str
    names: Sequence[tuple[str, str]]
    rows: Sequence[ProgramRow]
    before_changes: str


async def programs_of(visit: Visit) -> ProgramsView:
    """Returns the part of the page. Looks the programs of open connections up while the setting is not set."""
    if unreadable():
        sentence = _(
            "Which program uses the port cannot be found out here. A password (`[listen] user`) keeps other programs "
            "from your relays."
        )
        return ProgramsView(sentence, (), (), "")
    named, services = _named(visit), visit.parts.services
    if not named:
        newest = [each.request.client for each in services.open_connections.newest_first()][:LOOKED_UP]
        for holders in (await services.programs.holders_of_all(set(filter(None, newest)))).values():
            services.port_users.note(holders, time.time(), connections=0)
    users = services.port_users.newest_first()
    rows = await asyncio.to_thread(lambda: [program_row(user, named) for user in users])
    if not named:
        sentence = _(
            "All programs on this computer get your relays by this port. Some look for open proxies and pass on the "
            "relay's address. Once one is named here, the others never get a relay: they go direct, or are refused."
        )
    else:
        names = commas([each.text for each in named])
        sentence = _("Only these programs get relays: {names}. Others go direct, or are refused.", names=names)
    fresh = visit.session.is_fresh(asyncio.get_running_loop().time())
    return ProgramsView(sentence, [(each.text, each.path) for each in named], rows, "" if fresh else NOT_FRESH)


def program_row(user: PortUser, named: Sequence[NamedProgram]) -> ProgramRow:
    """Returns the row of a program. Reads its file."""
    program = user.program
    if program is None:
        words = _("another computer") if user.is_elsewhere else _("a program that cannot be found out")
        return ProgramRow("", words, user.last_at, user.connections, is_named=False, id="", why_not="")
    if admits(named, (program,)):
        return ProgramRow(program.shown, "", user.last_at, user.connections, is_named=True, id="", why_not="")
    why_not = _why_not(user)
    id_ = "" if why_not else user.id
    return ProgramRow(program.shown, "", user.last_at, user.connections, is_named=False, id=id_, why_not=why_not)


def _why_not(user: PortUser) -> str:
    """Returns why a program cannot be let in; empty when it can."""
    program = user.program
    assert program is not None
    try:
        if program.path.isprintable() and named_program(program.path).is_of(program):
            return ""
    except ValueError as error:
        return f"{error}."
    return _(
        "Byway finds another file at this path, or none. A program that was updated has to be started again. For one "
        "in a container, name its file outside of the container."
    )


def _named(visit: Visit) -> Sequence[NamedProgram]:
    setup = visit.parts.setup()
    return () if setup.named is None else setup.named.programs


async def _let_in(visit: Visit) -> web.Response:
    form = await visit.form("program")
    check_fresh(visit.session, asyncio.get_running_loop().time())
    user = visit.parts.services.port_users.find(form.get("program", ""))
    if user is None or user.program is None:
        raise Refused(409, _("That program is not on the list any more. Reload the page."))
    if why_not := await asyncio.to_thread(_why_not, user):
        raise Refused(409, why_not)
    path = user.program.path
    await _change(visit, lambda texts: texts if path in texts else (*texts, path))
    notice = [_("{program} gets relays from its next connection on.", program=path)]
    if NamedProgram(path, path).is_interpreter:
        notice.append(_("It runs what other programs tell it, so all of those get relays too."))
    return visit.see_other("settings", sentences(notice))


async def _take_out(visit: Visit) -> web.Response:
    form = await visit.form("name")
    name = form.get("name", "")

    def without(texts: Sequence[str]) -> Sequence[str]:
        if texts == (name,):
            raise Refused(409, _LAST)
        return tuple(text for text in texts if text != name)

    await _change(visit, without)
    return visit.see_other("settings", _("{program} gets no relay for new connections.", program=name))


async def _change(visit: Visit, changed: Callable[[Sequence[str]], Sequence[str]]) -> None:
    """Changes `[listen] programs` of the file, whatever it is since the page was opened. Raises Refused."""
    source = visit.parts.setup().loaded.sources.get("listen.programs", "")
    if source.startswith(("environment", "command line")):
        raise Refused(409, _("Fixed by {source} while Byway runs.", source=source))
    await visit.frame.edits.run(partial(_write, changed=changed))


def _write(file: Path, changed: Callable[[Sequence[str]], Sequence[str]]) -> None:
    texts = changed(load(file if file.exists() else None).settings.listen.programs)
    edit.change_settings(file, {("listen", "programs"): [*texts]})


ROUTES = (
    Route("POST", "settings/programs", _let_in),
    Route("POST", "settings/programs/out", _take_out),
)
