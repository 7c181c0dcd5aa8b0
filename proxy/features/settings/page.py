"""The page of the settings that people change most, and of the stored data.

A browser cannot change who may use Byway or what it may reach: no `[listen]`, no `[safety]`, no address, path or
command, and no option of an addon. These are only changed in the file. The one exception is `programs` beside this
module: programs that have used the port.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args, get_origin
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from proxy.config import edit
from proxy.config.edit import Value
from proxy.config.read_settings import read_settings
from proxy.config.schema import Settings
from proxy.config.setting_types import bare, keys_of
from proxy.config.suggestions import quoted
from proxy.control.access import Refused
from proxy.control.dashboard.answer import message
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.features.settings.endpoints import ForgetRequest, SettingsEndpoints
from proxy.features.settings.programs import ProgramsView, programs_of
from proxy.languages.amounts import size
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, commas, ngettext, pgettext, sentences
from proxy.probe.site_name import scope

ON, OFF = "on", "off"

_FLAG: Mapping[str, str] = {ON: pgettext("setting", "on"), OFF: pgettext("setting", "off")}


@frozen_dataclass
class Setting:
    """A setting of the page: its table and key, its name and meaning, and the words of its choices, if it has any."""

    table: str
    key: str
    label: str
    help: str
    choices: Mapping[str, str] | None = None

    @property
    def name(self) -> str:
        return f"{self.table}.{self.key}"

    def of(self, settings: Settings) -> Any:
        return getattr(getattr(settings, self.table), self.key)


SETTINGS: Sequence[Setting] = (
    Setting(
        "ui",
        "language",
        _("Language"),
        _("Language of pages, and of `why`, `status`, `doctor` and `report`."),
        {
            "": _("that of the browser or terminal"),
            "en": "English",
            "ru": "Русский",
            "fa": "فارسی",
            "en-XA": _("pseudo-language for translators"),
        },
    ),
    Setting(
        "auto",
        "ladder",
        _("Local strategies"),
        _("What AUTO tries against a block before a relay, in this order, such as {words}.", words="`doh`, `split`"),
    ),
    Setting(
        "auto", "never_relay", _("Never through a relay"), _("Hosts and their subdomains that AUTO sends to no relay.")
    ),
    Setting("auto", "retest", _("Re-test"), _("Test blocked sites again beside your visits."), _FLAG),
    Setting(
        "dns",
        "secure",
        _("Encrypted DNS"),
        _("When names are resolved by encrypted DNS."),
        {
            "on-suspicion": _("when an answer is suspicious"),
            "always": pgettext("setting", "always"),
            "never": pgettext("setting", "never"),
        },
    ),
    Setting(
        "log",
        "hosts",
        _("Log sites by name"),
        _("Connections of which sites are logged by name."),
        {
            "decisions": _("those that were blocked or decided about"),
            "all": _("all sites"),
            "off": _("no site"),
        },
    ),
    Setting("log", "keep_days", _("Days to keep"), _("How many days log entries are kept.")),
    Setting(
        "log",
        "never",
        _("Never in the log"),
        _("Patterns of hosts that are never logged and never tested again, such as {pattern}.", pattern="*.gov.kz"),
    ),
    Setting(
        "desktop",
        "notify",
        _("Notifications"),
        _("Tell of the first blocked site on a network, and when relays fail."),
        _FLAG,
    ),
    Setting(
        "inspect", "log_requests", _("Log inspected requests"), _("Log requests inside inspected connections."), _FLAG
    ),
    Setting(
        "limits", "idle_timeout_s", _("Idle connections"), _("Seconds until a connection without traffic is closed.")
    ),
    Setting("limits", "drain_s", _("End of Byway"), _("Seconds that open connections may finish when Byway ends.")),
)  # fmt: skip


GROUPS: Mapping[str, Sequence[str]] = {
    _("Language and notifications"): ("ui", "desktop"),
    _("Blocked sites"): ("auto", "dns"),
    _("What is logged"): ("log", "inspect"),
    _("Connections"): ("limits",),
}
"""The tables of the settings that stand together on the page, by headings."""


@frozen_dataclass
class Field:
    """A setting in the form. `error` is a sentence about the text; `fixed_by` is the source that fixes the setting
    while Byway runs. Both may be empty."""

    setting: Setting
    text: str
    default: str
    differs: bool
    error: str
    fixed_by: str


@frozen_dataclass
class SettingsView:
    """The values for the template of the page. `shown` are the texts of the fields when the page was opened, as a
    query; `stored` is a sentence about the data on the disk."""

    sentence: str
    groups: Sequence[tuple[str, Sequence[Field]]]
    shown: str
    stored: str
    programs: ProgramsView
    has_help: bool
    errors: Sequence[str]


def settings_fields(
    settings: Settings, sources: Mapping[str, str], texts: Mapping[str, str], errors: Mapping[str, str]
) -> Sequence[Field]:
    """Returns the form. `texts` are the typed ones, `errors` are sentences about them, both by name of the setting."""
    defaults = Settings()
    return [
        Field(
            each,
            texts.get(each.name, _text(each.of(settings))),
            _shown(each, each.of(defaults)),
            each.of(settings) != each.of(defaults),
            errors.get(each.name, ""),
            _fixed_by(each, sources),
        )
        for each in SETTINGS
    ]


def parse_settings(texts: Mapping[str, str]) -> tuple[dict[str, Value], dict[str, str]]:
    """Returns the typed values, and a sentence about each invalid one, both by name of the setting."""
    values, errors = dict[str, Value](), dict[str, str]()
    for each in SETTINGS:
        if each.name not in texts:
            continue  # fixed by something stronger than the file
        value = _parsed(each, texts[each.name].strip())
        whole = {each.table: {each.key: tuple(value) if isinstance(value, list) else value}}
        checked = read_settings(whole)
        if isinstance(checked, Settings):
            values[each.name] = value
        else:
            errors[each.name] = f"{checked[0].sentence}."
    return values, errors


def _parsed(setting: Setting, text: str) -> Value:
    """Returns the value of a text; the text itself when it has none, which the check then refuses."""
    kind = bare(keys_of(type(getattr(Settings(), setting.table)))[setting.key].type)
    if kind is bool:
        return {ON: True, OFF: False}.get(text, text)
    if get_origin(kind) is tuple:
        return text.replace(",", " ").split()
    if get_origin(kind) is Literal and text in map(str, get_args(kind)):
        return text
    try:
        return int(text) if text.isascii() and text.isdecimal() else float(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    """Returns the text of a value in the form."""
    if isinstance(value, bool):
        return ON if value else OFF
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(setting: Setting, value: Any) -> str:
    text = _text(value)
    if setting.choices is not None:
        return setting.choices.get(text, text)
    return text or pgettext("setting", "empty")


def _fixed_by(setting: Setting, sources: Mapping[str, str]) -> str:
    source = sources.get(setting.name, "")
    return source if source.startswith(("environment", "command line")) else ""


def _sentence(fields: Sequence[Field]) -> str:
    changed = [field.setting.label for field in fields if field.differs]
    if not changed:
        return _("All of these settings have their defaults.")
    return ngettext(
        "{count} setting differs from its default: {names}.",
        "{count} settings differ from their defaults: {names}.",
        len(changed),
        names=commas(changed),
    )


async def settings_page(
    visit: Visit,
    *,
    posted: Posted | None = None,
    field_errors: Mapping[str, str] | None = None,
    errors: Sequence[str] = (),
    status: int = 200,
) -> web.Response:
    loaded = visit.parts.setup().loaded
    fields = settings_fields(loaded.settings, loaded.sources, posted.texts if posted else {}, field_errors or {})
    shown = posted.shown if posted else {field.setting.name: field.text for field in fields}
    groups = [(title, [it for it in fields if it.setting.table in tables]) for title, tables in GROUPS.items()]
    has_help, programs = "help" in visit.frame.pages, await programs_of(visit)
    view = SettingsView(_sentence(fields), groups, urlencode(shown), await _stored(visit), programs, has_help, errors)
    return await visit.page("settings.html", here="settings", view=view, status=status)


async def _stored(visit: Visit) -> str:
    store = visit.parts.store
    if not store.has_file:
        return _("Nothing is written to the disk: Byway forgets everything when it ends.")
    length, oldest = await asyncio.to_thread(store.extent)
    days = visit.parts.settings.log.keep_days
    return sentences(
        [
            _("The log takes {length} on the disk.", length=size(length)),
            ngettext("Entries are deleted after {count} day.", "Entries are deleted after {count} days.", round(days))
            if days >= 1
            else _("Entries are deleted within a day."),
            _("It has no connections.") if oldest is None else "",
        ]
    )


async def _settings(visit: Visit) -> web.Response:
    visit.query()
    return await settings_page(visit)


@frozen_dataclass
class Posted:
    """A posted form: the texts of its fields, and those when its page was opened. Only fields that differ were changed
    here: others may have been changed in another tab or in the file meanwhile."""

    texts: Mapping[str, str]
    shown: Mapping[str, str]


async def _posted(visit: Visit) -> Posted:
    form = dict(await visit.form("part", "shown", *(each.name for each in SETTINGS)))
    form.pop("part", None)
    shown = dict(parse_qsl(form.pop("shown", ""), keep_blank_values=True))
    return Posted(form, shown)


async def _check(visit: Visit) -> web.Response:
    """Checks the typed texts. Sends the errors, as a part of the page."""
    posted = await _posted(visit)
    _values, errors = parse_settings(posted.texts)
    return await visit.part("settings_checked.html", _described(errors))


def _described(errors: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    labels = {each.name: each.label for each in SETTINGS}
    return [(labels[name], sentence) for name, sentence in errors.items()]


async def _save(visit: Visit) -> web.Response:
    posted = await _posted(visit)
    values, errors = parse_settings(posted.texts)
    if errors:
        return await settings_page(visit, posted=posted, field_errors=errors, status=400)
    loaded, defaults = visit.parts.setup().loaded, Settings()
    changes: dict[tuple[str, str], Value | None] = {}
    for each in SETTINGS:
        if each.name not in values or posted.texts[each.name] == posted.shown.get(each.name):
            continue
        value = values[each.name]
        new = tuple(value) if isinstance(value, list) else value
        if new != each.of(loaded.settings) and not _fixed_by(each, loaded.sources):
            changes[each.table, each.key] = None if new == each.of(defaults) else value
    if not changes:
        return visit.see_other("settings", _("Nothing was changed."))
    try:
        await visit.frame.edits.run(partial(edit.change_settings, values=changes))
    except Refused as refused:
        return await settings_page(visit, posted=posted, errors=[refused.text], status=refused.status)
    labels = {(each.table, each.key): each.label for each in SETTINGS}
    return visit.see_other("settings", _("Changed: {names}.", names=commas([labels[key] for key in changes])))


@frozen_dataclass
class ForgetView:
    """The question before something is forgotten, and the values that the form then posts."""

    sentence: str
    what: str
    value: str


def forget_view(what: str, value: str, networks: Mapping[str, str]) -> ForgetView:
    """Returns the question. `networks` are names by id. Raises Refused."""
    if what == "all":
        sentence: str = _(
            "Delete all visited sites: log, stored status, caches, interrupted tests, browser profile, data of addons?"
        )
    elif what == "host":
        value = parse_field(scope, value.strip())
        sentence = _("Delete what is stored about {host} and its subdomains?", host=value)
    elif what == "network" and value:
        sentence = _("Delete what was learned and logged on {network}?", network=networks.get(value, value))
    else:
        raise Refused(400, f"unknown thing to forget {quoted(what)}")
    return ForgetView(sentence, what, value)


def _names(visit: Visit) -> Mapping[str, str]:
    return {id_: name for name, id_ in visit.parts.settings.networks.items()}


async def _ask(visit: Visit) -> web.Response:
    """Asks before something is forgotten."""
    query = visit.query("what", "value")
    view = forget_view(query.get("what", ""), query.get("value", ""), _names(visit))
    return await visit.page("forget.html", title=_("Forget"), here="settings", view=view)


async def _forget(visit: Visit) -> web.Response:
    form = await visit.form("what", "value")
    view = forget_view(form.get("what", ""), form.get("value", ""), _names(visit))
    request = ForgetRequest(
        all=True if view.what == "all" else None,
        host=view.value if view.what == "host" else None,
        network=view.value if view.what == "network" else None,
    )
    answer = await visit.frame.one(SettingsEndpoints).forget(request)
    notice = sentences(
        [
            _("Deleted from the log, the stored status and the caches. Overrides and rules stay."),
            _("Also deleted: {things}.", things=commas(answer.deleted)) if answer.deleted else "",
        ]
    )
    if visit.session.is_over:  # everything was deleted
        return message(_("Signed out"), sentences([notice, _("To sign in again: `byway open`")]), 200, visit.language)
    return visit.see_other("networks" if view.what == "network" else "settings", notice)


ROUTES = (
    Route("GET", "settings", _settings),
    Route("POST", "settings", _save),
    Route("POST", "settings/check", _check),
    Route("GET", "forget", _ask),
    Route("POST", "forget", _forget),
)
