"""Edits the configuration file, and preserves its comments, order and spacing.

The new text is checked as a whole. Then it replaces the file atomically, readable by its owner alone. An edit raises
ConfigError when the file is faulty before or after it, and BywayError when the file cannot be edited or written; one
that adds something creates a missing file.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from proxy.config.edit_lock import edit_lock
from proxy.config.files import read_text, shown
from proxy.config.load import CONFIG_LIMIT, load
from proxy.config.paths import make_folder, write_private
from proxy.config.relays import is_local_address, names_in
from proxy.config.schema import RelayConfig, Settings
from proxy.config.suggestions import quoted, suggestion
from proxy.config.toml_edit import TomlText, literal
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import relay_url
from proxy.wire.relay_url import RelayKind

if TYPE_CHECKING:
    from proxy.wire.keys.fields import Allowed

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_NEW_FILE = "config_version = 1\n"
_WELL_KNOWN = {
    9050: "tor", 9150: "tor", 7890: "clash", 7891: "clash", 7897: "clash", 10808: "v2rayn", 10809: "v2rayn"
}  # fmt: skip
"""Names of well-known local proxies by their port on loopback."""

Value = bool | int | float | str | list[str]
"""The value of one setting."""


@frozen_dataclass
class NewRelay:
    """A relay to add: a URL or chain, and the sources of its name."""

    url: str
    name: str | None = None  # the name that the user gave; it is not changed
    label: str = ""  # the text after the # of the URL
    allow_plaintext_credentials: bool = False
    public_only: bool = False
    allowed: Allowed | None = None  # for a key
    local: bool = False  # for a key


def configured_as(new: NewRelay) -> RelayConfig:
    """Returns the settings that a relay with a name will have."""
    allowed = new.allowed
    return RelayConfig(
        name=new.name or "",
        url=new.url,
        allow_plaintext_credentials=new.allow_plaintext_credentials,
        public_only=new.public_only,
        ignore_fields=() if allowed is None else tuple(sorted(allowed.ignore)),
        pin="" if allowed is None or allowed.pin is None else allowed.pin.hex(),
        local=new.local,
    )


@frozen_dataclass
class NewGroup:
    """A group of relays to add."""

    name: str
    relays: tuple[str, ...]
    policy: str


@frozen_dataclass
class Change:
    """The text of the file before and after an edit. They may contain passwords."""

    before: str = field(repr=False)
    after: str = field(repr=False)


@frozen_dataclass
class Added:
    """A relay that is in the file after the edit. `url` has no password. `was_there` is the relay that the file had
    before, under `name`; None: it is new."""

    name: str
    url: str
    was_there: RelayConfig | None = None


def add_relays(file: Path, relays: Sequence[NewRelay]) -> list[Added]:
    """Adds a `[[relay]]` table after those in `file` for each relay that is new: the file has none with the same host,
    port and user. Raises ValueError with a sentence for an invalid URL or name, and for the key of a local server."""
    edited = _Edited(file)
    there = {relay.name: (identity(relay.url, relay.allowed), relay) for relay in edited.relays}
    added, is_changed = [], False
    for new in relays:
        url = new.url.strip()
        place = identity(url, new.allowed)
        same = next((relay for other, relay in there.values() if other == place), None)
        if same is not None:
            if same.public_only and not new.public_only:  # a relay added in a terminal may be in the local network
                edited.set("relay", edited.place(same.name), "public_only", value=False)
                is_changed = True
            added.append(Added(same.name, relay_url.shown(same.url, same.allowed), was_there=same))
            continue
        _check_place(new)
        taken = {*there, *edited.groups}
        name = checked_name(new.name, taken) if new.name is not None else free_name(new, taken)
        edited.toml.append("relay", _table(name, url, new))
        there[name] = (place, RelayConfig(name, url))  # `save` checks it
        added.append(Added(name, relay_url.shown(url, new.allowed)))
    if is_changed or any(each.was_there is None for each in added):
        edited.save()
    return added


def _check_place(new: NewRelay) -> None:
    """Raises ValueError for a key whose server is in the local network, unless the user allows that."""
    for hop in relay_url.parse_hops(new.url, new.allowed) if not new.local else ():
        if isinstance(hop, relay_url.RelayUrl) and hop.key is not None:
            for host in (endpoint.host for endpoint in hop.endpoints if is_local_address(endpoint.host)):
                sentence = "is in the local network; to add it all the same: `byway relay add --local`"
                raise ValueError(f"the server of this key, {host}, {sentence}")


def _table(name: str, url: str, new: NewRelay) -> dict[str, str | bool | list[str]]:
    table: dict[str, str | bool | list[str]] = {"name": name, "url": url}
    if new.allow_plaintext_credentials:
        table["allow_plaintext_credentials"] = True
    if new.public_only:
        table["public_only"] = True
    if new.allowed is not None and new.allowed.ignore:
        table["ignore_fields"] = sorted(new.allowed.ignore)
    if new.allowed is not None and new.allowed.pin is not None:
        table["pin"] = new.allowed.pin.hex()
    if new.local:
        table["local"] = True
    return table


def with_additions(file: Path, relays: Sequence[NewRelay], groups: Sequence[NewGroup]) -> Change:
    """Returns the edit that adds these relays, which have names, and these groups, each after those in `file`. Writes
    nothing: `write` does. Raises ValueError for the key of a local server."""
    edited = _Edited(file)
    for new in relays:
        assert new.name is not None
        _check_place(new)
        edited.toml.append("relay", _table(new.name, new.url, new))
    for group in groups:
        table = {"name": group.name, "relays": list(group.relays), "policy": group.policy}
        if edited.toml.document.get("group"):
            edited.toml.append("group", table)
        else:  # behind an empty line, as relays are
            lines = (f"{key} = {literal(value)}\n" for key, value in table.items())
            edited.toml.append_written("group", "".join(("[[group]]\n", *lines)))
    return Change(edited.before, edited.finished() if relays or groups else edited.before)


def settings_after(file: Path, change: Change) -> Settings:
    """Returns the settings after an edit that is not written. Raises ConfigError for those that are not valid."""
    import tempfile  # only imports need it

    with tempfile.TemporaryDirectory(prefix="byway-edit-") as folder:
        copy = Path(folder, file.name)
        write_private(copy, change.after)
        try:
            return load(copy).settings
        except ConfigError as error:
            raise _of_edit(error, copy) from None


def _of_edit(error: ConfigError, file: Path) -> ConfigError:
    """Returns the faults that an edit would make, without their places in `file`, which the user never sees."""
    place = f"{shown(file)}:"
    sentences = (
        problem.removeprefix(place).lstrip("0123456789").removeprefix(":").lstrip()
        if problem.startswith(place)
        else problem
        for problem in error.problems
    )
    return ConfigError(map(relay_url.redact, sentences))


def write(file: Path, change: Change) -> None:
    """Writes an edit. Raises ConfigError, and BywayError when the file cannot be written or was edited since."""
    _replace(file.resolve(), change.after, before=change.before)


@frozen_dataclass
class Removal:
    """Removed relays, or with the `kind` "subscription" subscriptions: name, position and table text of each, and the
    text of the file before and after. The texts may contain passwords."""

    tables: tuple[tuple[str, int, str], ...] = field(repr=False)
    before: str = field(repr=False)
    after: str = field(repr=False)
    kind: str = "relay"


def add_list(file: Path, table: Mapping[str, str | bool]) -> None:
    """Adds a `[[list]]` table after those in `file`."""
    edited = _Edited(file)
    edited.toml.append("list", table)
    edited.save()


def add_subscription(file: Path, table: Mapping[str, str | bool]) -> None:
    """Adds a `[[subscription]]` table after those in `file`."""
    edited = _Edited(file)
    edited.toml.append("subscription", table)
    edited.save()


def remove_subscriptions(file: Path, names: Sequence[str]) -> Removal:
    """Removes these subscriptions. The caller has checked that nothing names them. Raises ValueError for an unknown
    name, and BywayError for those in an inline array."""
    edited = _Edited(file)
    names = list(dict.fromkeys(names))
    there = [item.name for item in edited.settings.subscription]
    for name in names:
        if name not in there:
            raise ValueError(f"there is no subscription {quoted(name)}")
    places = [there.index(name) for name in names]
    tables = edited.remove("subscription", places)
    before, after = edited.save()
    return Removal(tuple(zip(names, places, tables, strict=True)), before, after, "subscription")


def relays_in(file: Path) -> Callable[[NewRelay], bool]:
    """Returns a function that tells whether a relay is in the file. Raises ConfigError when the file is faulty."""
    there = {identity(relay.url, relay.allowed) for relay in _Edited(file).relays}
    return lambda new: identity(new.url, new.allowed) in there


def remove_relays(file: Path, names: Sequence[str]) -> Removal:
    """Removes these relays. The caller has checked that no chain, group or rule names them. Raises ValueError for an
    unknown name."""
    edited = _Edited(file)
    names = list(dict.fromkeys(names))
    places = [edited.place(name) for name in names]
    tables = edited.remove("relay", places)
    before, after = edited.save()
    return Removal(tuple(zip(names, places, tables, strict=True)), before, after)


def restore_relays(file: Path, removed: Removal) -> None:
    """Undoes a removal. If the file was edited since, the relays or subscriptions are inserted at their old positions.
    Raises ValueError when another one now has one of the names."""
    edited = _Edited(file)
    there = {*(relay.name for relay in edited.relays), *(item.name for item in edited.settings.subscription)}
    for name, _, _ in removed.tables:
        if name in there:
            raise ValueError(f"{removed.kind} {name} exists already")
    edited.restore_relays(removed)
    edited.save()


def move_relay(file: Path, name: str, *, by: int) -> int:
    """Moves a relay by `by` positions, at most to the first or last. Returns its new position, counted from 1.
    Raises ValueError for an unknown name."""
    edited = _Edited(file)
    place = edited.place(name)
    order = [each for each in range(len(edited.relays)) if each != place]
    target = min(max(place + by, 0), len(order))
    order.insert(target, place)
    if target != place:
        edited.toml.reorder_tables("relay", order)
        edited.save()
    return target + 1


def order_relays(file: Path, names: Sequence[str]) -> list[str]:
    """Puts these relays first, in this order; the others keep their order. Returns all names in the new order.
    Raises ValueError for an unknown name."""
    edited = _Edited(file)
    if any("/" in name for name in names):
        return edited.order_members(names)
    first = list(dict.fromkeys(edited.place(name) for name in names))
    order = [*first, *(place for place in range(len(edited.relays)) if place not in first)]
    if order != sorted(order):
        edited.toml.reorder_tables("relay", order)
        edited.save()
    return [edited.relays[place].name for place in order]


def permute_relays(file: Path, names: Sequence[str]) -> None:
    """Puts these relays in this order, in the places that they have now; the others keep theirs. Raises ValueError for
    an unknown name."""
    edited = _Edited(file)
    wanted = list(dict.fromkeys(edited.place(name) for name in names))
    order, places = [*range(len(edited.relays))], sorted(wanted)
    for place, relay in zip(places, wanted, strict=True):
        order[place] = relay
    if order != sorted(order):
        edited.toml.reorder_tables("relay", order)
        edited.save()


def check_new(file: Path, relays: Sequence[NewRelay]) -> None:
    """Raises ValueError for a name that no new relay of the file may have, for a chain over an unknown relay, and for
    the key of a local server; ConfigError when the file is faulty."""
    taken = _Edited(file).names
    for new in relays:
        for part in names_in(new.url):
            if part not in taken:
                raise ValueError(f"unknown relay {quoted(part)}{suggestion(part, taken)}")
        _check_place(new)
        taken.add(checked_name(new.name or "", taken))


def rename_relay(file: Path, name: str, new: str) -> None:
    """Gives a relay another name, also in groups and in chains of other relays. The caller has checked that no rule and
    no override names it. Raises ValueError for an unknown name, and for a new one that is invalid or taken."""
    edited = _Edited(file)
    place = edited.place(name)
    if new == name:
        return
    edited.set("relay", place, "name", value=checked_name(new, edited.names))
    for number, group in enumerate(edited.settings.group):
        if name in group.relays:
            edited.set("group", number, "relays", value=[new if each == name else each for each in group.relays])
    for number, relay in enumerate(edited.relays):
        if name in names_in(relay.url):
            items = (new if item == name else item for item in relay_url.parse_chain(relay.url))
            edited.set("relay", number, "url", value=">".join(items))
    edited.save()


def set_credentials(file: Path, name: str, user: str, password: str, *, in_the_clear: bool = False) -> None:
    """Sets the user and the password in the URL of a relay. `in_the_clear`: allows sending them without TLS. Raises
    ValueError, with a sentence that has no password, for an unknown name, and for a relay that takes none there: a
    chain, a key, an addon, one with a password command."""
    edited = _Edited(file)
    place = edited.place(name)
    relay = edited.relays[place]
    if relay.password_cmd:
        raise ValueError(f"the password of {name} comes from its password_cmd, in {shown(file)}")
    if ">" in relay.url:
        raise ValueError(f"{name} is a chain: change the user and password of its relays")
    parsed = relay_url.parse(relay.url, relay.allowed)
    if parsed.kind in (RelayKind.KEY, RelayKind.ADDON):
        raise ValueError(f"{name} takes no password: it is {relay_url.shown(relay.url, relay.allowed)}")
    if parsed.kind in (RelayKind.SOCKS4, RelayKind.SOCKS4A) and password:
        raise ValueError(f"{name} is a SOCKS4 relay, which has a user and no password")
    if password and not user:
        raise ValueError("a password needs a user")
    end = next((match.start() for match in re.finditer("[?#]", relay.url)), len(relay.url))
    before, options = relay.url[:end], relay.url[end:]
    scheme, mark, rest = before.rpartition("://")
    credentials = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    location = f"{'@' if credentials else ''}{rest.rpartition('@')[2]}{options}"
    edited.set("relay", place, "url", value=f"{scheme}{mark}{credentials}{location}")
    if in_the_clear and not relay.allow_plaintext_credentials:
        edited.set("relay", place, "allow_plaintext_credentials", value=True)
    edited.save()


def enable_relays(file: Path, names: Sequence[str], enabled: bool) -> list[str]:
    """Sets `enabled` of these relays. Returns the names of those that it changed. Raises ValueError for an unknown
    name."""
    edited = _Edited(file)
    members = [name for name in dict.fromkeys(names) if "/" in name]
    others = [name for name in dict.fromkeys(names) if "/" not in name]
    changed = [name for name in others if edited.relays[edited.place(name)].enabled is not enabled]
    for name in changed:
        edited.set("relay", edited.place(name), "enabled", value=enabled)
    changed += edited.enable_members(members, enabled)
    if changed:
        edited.save()
    return changed


def allow_plaintext_credentials(file: Path, name: str) -> None:
    """Allows sending a relay its user and password without TLS. Raises ValueError for an unknown name."""
    edited = _Edited(file)
    place = edited.place(name)
    if not edited.relays[place].allow_plaintext_credentials:
        edited.set("relay", place, "allow_plaintext_credentials", value=True)
        edited.save()


def change_settings(file: Path, values: Mapping[tuple[str, str], Value | None]) -> bool:
    """Sets keys of tables, such as ("log", "keep_days"); None removes a key. Returns False when the file had these
    values already."""
    edited = _Edited(file)
    changed = [edited.set(table, key, value=value) for (table, key), value in values.items()]
    if any(changed):
        edited.save()
    return any(changed)


def version_of(file: Path) -> str:
    """Returns a text that is another one after each edit of the file. It says nothing of the content, which may have
    passwords."""
    try:
        state = file.stat()
    except OSError:
        return "none"
    return f"{state.st_ino:x}-{state.st_size:x}-{state.st_mtime_ns:x}-{state.st_ctime_ns:x}"


def text_of(file: Path) -> str:
    """Returns the text of the file, or that of a new one when it is missing. Raises ConfigError."""
    return _read(file)[1]


def put_back(file: Path, text: str, *, instead_of: str) -> None:
    """Undoes an edit: writes `text`, which `text_of` returned before it. `instead_of` is the text after the edit.
    Raises ConfigError, and BywayError when the file cannot be written or was edited since."""
    _replace(file.resolve(), text, before=instead_of)


class _Edited:
    """An edit of a configuration file. `before`, `settings`, `relays` and `groups` are before the edit; `toml` is
    edited."""

    def __init__(self, file: Path) -> None:
        """Raises ConfigError when the file is faulty."""
        self._file, self.before, self.settings = _read(file)
        self.toml = TomlText(self.before)
        self.relays = self.settings.relay
        self.groups = {group.name: group.relays for group in self.settings.group}

    @property
    def names(self) -> set[str]:
        """The names of relays, groups and subscriptions."""
        return {*(it.name for it in self.relays), *self.groups, *(it.name for it in self.settings.subscription)}

    def place(self, name: str) -> int:
        """Returns the position of a relay, from 0. Raises ValueError for an unknown one."""
        names = [relay.name for relay in self.relays]
        check_relay(name, names, self.groups)
        return names.index(name)

    def subscription(self, member: str) -> int:
        """Returns the position of the subscription of one of its relays, `shop/DE-1`. Raises ValueError."""
        names = [it.name for it in self.settings.subscription]
        name = member.partition("/")[0]
        if name not in names:
            raise ValueError(f"there is no relay {quoted(member)}: no subscription has the name {quoted(name)}")
        return names.index(name)

    def enable_members(self, names: Sequence[str], enabled: bool) -> list[str]:
        """Enables or disables relays of subscriptions. Returns those that it changed. Raises ValueError."""
        changed = []
        for name in names:
            place = self.subscription(name)
            disabled: list[str] = list(self.toml.document["subscription"][place].get("disabled", ()))
            if (name in disabled) is not enabled:
                continue
            left = [it for it in disabled if it != name] if enabled else [*disabled, name]
            self.set("subscription", place, "disabled", value=left or None)
            changed.append(name)
        return changed

    def order_members(self, names: Sequence[str]) -> list[str]:
        """Puts relays of one subscription first in it, and writes that. Returns them. Raises ValueError."""
        places = {self.subscription(name) if "/" in name else -1 for name in names}
        if len(places) > 1 or -1 in places:
            raise ValueError("relays of one subscription can be put in another order at a time")
        first = list(dict.fromkeys(names))
        if self.set("subscription", places.pop(), "order", value=first):
            self.save()
        return first

    def set(self, *path: str | int, value: Value | None) -> bool:
        """Sets the key at a path; None removes it. Returns whether the value changed."""
        there: Any = self.toml.document
        for name in path[:-1]:
            there = there.get(name, {}) if isinstance(name, str) else there[name]
        key = path[-1]
        if there.get(key) == value and type(there.get(key)) is type(value):
            return False
        if value is None:
            self.toml.remove(path)
        else:
            self.toml.set(path, value)
        return True

    def remove(self, kind: str, places: Sequence[int]) -> list[str]:
        """Removes tables of a kind, and returns their texts. Raises BywayError for those in an inline array."""
        try:
            tables = [self.toml.written(kind, place) for place in places]
        except ValueError:
            raise self._by_hand() from None
        self.toml.remove_tables(kind, places)
        return tables

    def restore_relays(self, removed: Removal) -> None:
        if self.before == removed.after:
            self.toml = TomlText(removed.before)
            return
        for _, place, table in sorted(removed.tables, key=lambda each: each[1]):
            self.toml.append_written(removed.kind, table)
            order = list(range(len(self.toml.document[removed.kind]) - 1))
            order.insert(place, len(order))
            self.toml.reorder_tables(removed.kind, order)

    def save(self) -> tuple[str, str]:
        """Writes the file. Returns its text before and after. Raises BywayError when it cannot be edited, and the
        errors of `_replace`."""
        text = self.finished()
        _replace(self._file, text, before=self.before)
        return self.before, text

    def finished(self) -> str:
        """Returns the text after the edit. Raises BywayError when the file cannot be edited."""
        try:
            text = self.toml.finished()
        except ValueError:
            raise self._by_hand() from None
        comments = {line for line in self.before.splitlines() if line.lstrip().startswith("#")}
        if not comments <= set(text.splitlines()):  # an edit would lose a comment within a value
            raise self._by_hand()
        return text

    def _by_hand(self) -> BywayError:
        return BywayError(f"{shown(self._file)} is written in a way that this command cannot edit: edit it by hand")


def _read(file: Path) -> tuple[Path, str, Settings]:
    """Returns the target of a symbolic link, so that an edit keeps the link, its text and its settings; those of a new
    file when it is missing. Raises ConfigError when the file is faulty."""
    file = file.resolve()
    if not file.exists():
        return file, _NEW_FILE, load(None).settings
    return file, read_text(file, limit=CONFIG_LIMIT), load(file).settings


def identity(url: str, allowed: Allowed | None = None) -> tuple[object, ...]:
    """Returns the identity of a relay: host, port and user of each hop, or the hop's name; of a key, all but its name.
    Raises ValueError for an invalid URL."""
    hops = ((item, _hop(item, allowed)) for item in relay_url.parse_chain(url))
    return tuple(
        item if hop is None else (hop.host, hop.port, hop.user if hop.key is None else replace(hop.key, name=""))
        for item, hop in hops
    )


def same_relay(url: str, other: str) -> bool:
    """Whether two URLs have the same host, port and user in each hop. False when one cannot be parsed."""
    try:
        return identity(url) == identity(other)
    except ValueError:
        return False


def checked_name(name: str, taken: Container[str]) -> str:
    """Returns the name. Raises ValueError for one that is invalid or taken."""
    if not _NAME.match(name):
        raise ValueError("a relay's name has 1 to 32 letters, digits, dots, dashes and underscores")
    if name in taken:
        raise ValueError(f"a relay or group {name} exists already; choose another name with --name")
    return name


def set_addon(file: Path, name: str, enabled: bool) -> bool:
    """Enables or disables an addon. Returns False when the addon was in this state already."""
    edited = _Edited(file)
    configured = edited.settings.addons.get(name)
    if configured is not None and configured.enabled is enabled:
        return False
    edited.set("addons", name, "enabled", value=enabled)
    edited.save()
    return True


def _replace(file: Path, text: str, *, before: str) -> None:
    """Checks the text as a configuration, then replaces the file atomically. Raises ConfigError for a faulty text, and
    BywayError when the file cannot be written or its text is no longer `before`: another edit must not be lost."""
    try:
        make_folder(file.parent)
    except OSError as error:
        raise BywayError(f"{shown(file.parent)} cannot be made: {error.strerror or error}") from None
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        write_private(temporary, text)
        try:
            load(temporary)
        except ConfigError as error:
            raise _of_edit(error, temporary) from None
        with edit_lock(file.parent):
            if (read_text(file, limit=CONFIG_LIMIT) if file.exists() else _NEW_FILE) != before:
                raise BywayError(f"{shown(file)} was edited meanwhile, so nothing was changed: try again")
            temporary.replace(file)
    except OSError as error:
        raise BywayError(f"{shown(file)} cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def check_relay(name: str, relays: Sequence[str], groups: Mapping[str, Sequence[str]]) -> None:
    """Raises ValueError, with a sentence, for the name of a group, and for an unknown name."""
    if name in groups:
        raise ValueError(f"{name} is a group, not a relay: name its relays, {', '.join(groups[name])}")
    if name not in relays:
        hint = suggestion(name, relays) if relays else "; no relay is configured"
        raise ValueError(f"there is no relay {quoted(name)}{hint}")


def _hop(item: str, allowed: Allowed | None = None) -> relay_url.RelayUrl | None:
    """Returns the URL in a chain's item; None for the name of another relay, which the check of the whole file looks
    up. Raises ValueError."""
    if ":" not in item and _NAME.match(item):
        return None
    return relay_url.parse(item, allowed)


def free_name(new: NewRelay, taken: Container[str]) -> str:
    """Returns a name from the URL's label, or from the relay's host without a label. A number follows a taken name."""
    last = _hop(relay_url.parse_chain(new.url)[-1], new.allowed)
    wanted = _NOT_OF_NAMES.sub("-", new.label).strip("-._")[:28].rstrip("-._")
    if not wanted and last is None:
        wanted = "chain"
    elif not wanted and last is not None:
        address = last.endpoint.address if last.kind is not RelayKind.ADDON else None
        if address is None:
            label = last.host.removeprefix("www.").partition(".")[0]
            wanted = label if _NAME.match(label) else str(last.kind)
        else:
            local = _WELL_KNOWN.get(last.port, f"{last.kind}-{last.port}")
            wanted = local if address.is_loopback else f"relay-{re.sub('[.:]+', '-', str(address))}"
    wanted = f"{wanted[:22]}-relay" if wanted.lower() == "direct" else wanted[:28]
    if wanted not in taken:
        return wanted
    return next(name for number in range(2, 10_000) if (name := f"{wanted}-{number}") not in taken)
