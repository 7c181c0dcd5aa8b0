"""The file of `byway config export` and `import`: the configuration, its rules, lists and overrides in one TOML text.

Passwords are only in it on request. Addons are never in it, since they are code. An import is checked as a whole, in a
temporary folder, before anything changes; a backup of the replaced files has the same format. Relays keep the passwords
that they have here if the file has none.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from proxy.config.edit import same_relay
from proxy.config.file_owners import FolderFiles
from proxy.config.files import read_text, shown
from proxy.config.load import CONFIG_LIMIT, load
from proxy.config.paths import Paths, is_backup, make_folder, write_private
from proxy.config.relays import lost_overrides, relay_names
from proxy.config.schema import ListConfig, Settings
from proxy.config.suggestions import quoted
from proxy.config.toml_edit import TomlText, literal
from proxy.config.toml_lines import Path as TomlPath
from proxy.config.toml_lines import key_lines
from proxy.features.settings.answers import SECRET_KEY
from proxy.features.settings.import_review import review
from proxy.model import Override
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.model.feature import Feature
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.lists.formats import LIST_LIMIT, parse_list
from proxy.routing.lists.v2fly import inline_includes
from proxy.routing.rule_parser import parse_action
from proxy.store.list_trials import ListTrials
from proxy.terminal.offline import make_setup
from proxy.terminal.overrides import action_text
from proxy.wire import dns_url, hostnames, relay_url
from proxy.wire.relay_url import RelayKind, RelayUrl, redact
from proxy.wire.url_secrets import HIDDEN, hide_in_comment, hide_paths, hide_secrets

if TYPE_CHECKING:
    from proxy.wire.keys.fields import Allowed

FORMAT = 1
FILE_LIMIT = 64 * 1024 * 1024
FILES_MAX = 300
OVERRIDES_MAX = 100_000
_HEAD_BYTES = 1024
BACKUPS_MAX = 5
"""Older backups are deleted: each has the passwords and the sites of its time."""

CONFIG, RULES, BLOCK_PAGES = "config.toml", "rules.txt", "block_pages.csv"
_WITHOUT_PASSWORDS = (RelayKind.SOCKS4, RelayKind.SOCKS4A)
_HIDE = {"list": hide_secrets, "subscription": hide_paths}
"""How URLs are shown, by section: the whole path of a subscription's is a secret."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_QUOTES = re.compile(r'"{3,}|"+\Z')
"""Quotation marks that would end a multi-line string."""


@frozen_dataclass
class ConfigFile:
    """The texts of the files, by their name relative to the configuration folder, and the overrides, by host."""

    files: Mapping[str, str]
    overrides: Mapping[str, Override]

    @classmethod
    def parse(cls, text: str, source: str) -> ConfigFile:
        """Parses a file. Raises ConfigError with a sentence when the text is none."""
        try:
            key_lines(text)  # refuses keys for which tomllib would take minutes
            document = tomllib.loads(text)
            version = document.get("byway_export")
            if isinstance(version, int) and version > FORMAT:
                raise ValueError("a newer Byway made it: update Byway here, or export again with this version")
            if version != FORMAT:
                raise ValueError(f"it is not made by `byway config export`: byway_export = {FORMAT} is missing")
            files = dict(_file(table) for table in document.get("file", ()))
            overrides = dict(_override(table) for table in document.get("override", ()))
            for name in files:
                if inside := next((str(each) for each in PurePosixPath(name).parents if str(each) in files), ""):
                    raise ValueError(f"file {quoted(name)} may not be imported: {quoted(inside)} is a file, no folder")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = str(error) if isinstance(error, ValueError) else "a table of it is damaged"
            raise ConfigError(f"{source}: {redact(reason)}") from None
        if CONFIG not in files or len(files) > FILES_MAX or len(overrides) > OVERRIDES_MAX:
            raise ConfigError(f"{source}: it has no {CONFIG}, or too many files or overrides")
        return cls(files, overrides)

    def text(self, *, note: str) -> str:
        """Returns the text of the file. `note` is a comment at its top."""
        parts = [f"# Byway's configuration. {note}\n# `byway config import FILE` reads it.\nbyway_export = {FORMAT}\n"]
        for host, override in sorted(self.overrides.items()):
            until = f"until = {override.until!r}\n" if override.until else ""
            parts.append(f"\n[[override]]\nsite = {literal(host)}\naction = {literal(action_text(override))}\n{until}")
        for name, content in self.files.items():
            parts.append(f"\n[[file]]\nname = {literal(name)}\ntext = {_multiline(content)}\n")
        text = "".join(parts)
        if ConfigFile.parse(text, "export") != self:
            raise BywayError("the files have text that cannot be exported")
        return text


def _file(table: Mapping[str, Any]) -> tuple[str, str]:
    name, text = table["name"], table["text"]
    path = PurePosixPath(name)
    # To Windows and macOS, ADDONS is the same as addons, and to Windows also "addons."; macOS ignores zero-width
    # characters.
    is_addon = bool(path.parts) and path.parts[0].rstrip(". ").casefold() == "addons"
    is_hidden = any(part.startswith((".", "~")) for part in path.parts)  # also ".."
    is_odd = not name.isprintable() or re.search(r"[\\:]", name)
    if path.is_absolute() or not path.parts or is_addon or is_hidden or is_odd:
        raise ValueError(f"file {quoted(name)} may not be imported")
    if is_backup(name):
        raise ValueError(f"file {quoted(name)} may not be imported: it has the name of a backup")
    if str(path) != name or not isinstance(text, str):
        raise ValueError(f"file {quoted(name)} has no text, or a name that is not plain")
    return name, text


def _override(table: Mapping[str, Any]) -> tuple[str, Override]:
    until = table.get("until", 0.0)
    if not isinstance(until, int | float) or not 0 <= until < 1e11:
        raise ValueError(f"the override of {quoted(table['site'])} has an end that is no time")
    action, relay = parse_action(table["action"])
    return hostnames.host(table["site"]), Override(action, relay, float(until))


def _multiline(text: str) -> str:
    """Returns a multi-line string: readable, and exact to the last carriage return."""
    escaped = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text.replace("\\", "\\\\"))
    escaped = _QUOTES.sub(lambda run: '\\"' * len(run[0]), escaped)
    return f'"""\n{escaped}"""'


# -- export ------------------------------------------------------------------------------------------------------------


def is_other_file(path: Path) -> bool:
    """Whether there is another file, such as config.toml itself, which an export must not replace."""
    if not path.is_file():
        return os.path.lexists(path)
    try:
        with path.open("rb") as file:
            return f"\nbyway_export = {FORMAT}\n".encode() not in file.read(_HEAD_BYTES)
    except OSError:
        return True


def collect(paths: Paths, overrides: Mapping[str, Override], *, passwords: bool) -> tuple[ConfigFile, list[str]]:
    """Returns the file, and a sentence for each thing that is left out. Raises ConfigError for an invalid
    configuration."""
    loaded = load(paths.config_to_read)
    file = paths.config_to_read
    files, left_out = {CONFIG: "" if file is None else read_text(file, limit=CONFIG_LIMIT)}, list[str]()
    if not passwords:
        files[CONFIG], left_out = without_secrets(files[CONFIG], loaded.settings)
    for name, file in ((RULES, paths.rules_file), (BLOCK_PAGES, paths.block_pages_file)):
        if os.path.lexists(file):
            text = read_text(file, limit=FILE_LIMIT)
            files[name] = text if passwords or name != RULES else _bare_comments(text)
    for relay in loaded.settings.relay:
        for ca in dict.fromkeys(hop.ca for hop in _hops(relay.url, relay.allowed) if hop.ca):
            left_out.append(f"the certificates of relay {relay.name} are left out: copy {ca} too before the import")
    for ca in dict.fromkeys(server.ca for server in map(dns_url.parse, loaded.settings.dns.servers) if server.ca):
        left_out.append(f"the certificates of a server of [dns] are left out: copy {ca} too before the import")
    for item in loaded.settings.list:
        if item.url:
            continue
        try:
            name, _ = _file({"name": item.source, "text": ""})
            text = read_text(paths.named(name), limit=FILE_LIMIT)
            files[name] = _standing_alone(item, paths.named(name), text)
            if files[name] != text:
                left_out.append(f"list {item.name} includes other files: their rules are in its text now")
        except (ValueError, ConfigError) as error:
            reason = (
                str(error)
                if isinstance(error, ConfigError)
                else "it has a name that cannot be exported, or is not in the configuration folder"
            )
            left_out.append(f"list {item.name} is left out: {reason}")
    return ConfigFile(files, overrides), left_out


def _standing_alone(item: ListConfig, file: Path, text: str) -> str:
    """Returns the text of a list with the rules of the files that it includes: without them, some of its sites would
    not be relayed any more. Raises ConfigError when a file cannot be read."""
    if "include:" not in text:
        return text
    ListTrials(None).require(
        text.encode(), source=item.name, format=item.format, allow_suffixes=False, folder=file.parent
    )
    siblings = FolderFiles(file.parent, limit=LIST_LIMIT, only_obeyed=False)
    listed = parse_list(
        iter([text]), size=len(text), source=item.name, format=item.format, allow_empty=True, siblings=siblings
    )
    siblings = FolderFiles(file.parent, limit=LIST_LIMIT, only_obeyed=False)
    return inline_includes(text, siblings) if listed.included else text


def without_secrets(text: str, settings: Settings) -> tuple[str, list[str]]:
    """Returns the configuration without secrets, and a sentence for each of them.

    These are passwords of relays, parts of the URL of a list that may be secret, encrypted DNS servers whose URL names
    a user, commands that may contain the password, and options of addons that are secret by their name, or the URL of a
    webhook. They are also removed from comments."""
    edited, left_out, values = TomlText(text), list[str](), set[str]()
    document = edited.document
    for number, table in enumerate(document.get("relay", ())):
        bare = _bare(table["url"])
        if bare != table["url"]:
            edited.set(("relay", number, "url"), bare)
            what = "key" if any(map(relay_url.is_key, relay_url.parse_chain(table["url"]))) else "password"
            left_out.append(f"the {what} of relay {table['name']} is left out")
    for section in ("list", "subscription"):
        for number, table in enumerate(document.get(section, ())):
            source = table["source"]
            if (bare := _HIDE[section](source)) != source:
                edited.set((section, number, "source"), bare)
                values.add(source)
                left_out.append(
                    f"what may be a secret in the URL of {section} {table['name']} is left out: write it in its source "
                    "after an import elsewhere"
                )
    servers = document.get("dns", {}).get("servers", ())
    if shared := [server for server in servers if hide_paths(server) != server]:
        values.update(shared)
        if len(shared) == len(servers):
            edited.remove(("dns", "servers"))
        else:
            edited.set(("dns", "servers"), [server for server in servers if server not in shared])
        left_out.append(
            "encrypted DNS servers whose URL may name you are left out: write them in [dns] servers after an "
            "import elsewhere"
        )
    owners: list[tuple[str, TomlPath, Mapping[str, Any]]] = [
        (f"relay {table['name']}", ("relay", number), table) for number, table in enumerate(document.get("relay", ()))
    ]
    for owner, path, table in (*owners, ("[listen]", ("listen",), document.get("listen", {}))):
        command = table.get("password_cmd", "")
        if command and PurePosixPath(command.split()[0]).name not in _STORES:
            edited.remove((*path, "password_cmd"))
            values.add(command)
            left_out.append(f"password_cmd of {owner} is left out, since the password may be in its text")
    for name, addon in settings.addons.items():
        for option, value in addon.options.items():
            if SECRET_KEY.search(option) or hide_paths(str(value)) != str(value):
                values.update([value] if isinstance(value, str) and len(value) >= _TOLD_APART else [])
                edited.remove(("addons", name, option))
                left_out.append(f"option {option} of addon {name} is left out")
    exported = _bare_comments(redact(_finished(edited)))
    for value in values:
        exported = exported.replace(value, HIDDEN)
    return exported, left_out


def _bare_comments(text: str) -> str:
    """Returns a text without the passwords and tokens in its comments."""
    return "".join(
        hide_in_comment(redact(line)) if line.lstrip().startswith("#") else line for line in text.splitlines(True)
    )


_TOLD_APART = 8
"""The fewest characters of a secret that is removed from comments; a shorter one is part of other words."""

_STORES = frozenset(
    {
        *("age", "bw", "cat", "gopass", "gpg", "gpg2", "keepassxc-cli", "kwallet-query", "lpass", "op", "pass", "rbw"),
        *("secret-tool", "security", "systemd-creds"),
    }
)
"""Programs that read a password from elsewhere: their command does not contain it."""


def _without_password(item: str) -> str:
    if relay_url.is_key(item):
        return f"{item.partition('://')[0]}://{HIDDEN}"
    before, at, rest = item.rpartition("@")
    scheme, separator, credentials = before.rpartition("://")
    return f"{scheme}{separator}{credentials.partition(':')[0]}@{rest}" if at else item


# -- import ------------------------------------------------------------------------------------------------------------


@frozen_dataclass
class Import:
    """A checked import: its files and overrides, its changes in words (`changes`, `review`), and sentences about the
    commands and addons that Byway would run (`runs`)."""

    files: Mapping[str, str]
    overrides: Mapping[str, Override]
    changes: tuple[tuple[str, str], ...]
    review: tuple[str, ...]
    runs: tuple[str, ...]
    notices: tuple[str, ...]


def check(
    given: ConfigFile,
    paths: Paths,
    overrides: Mapping[str, Override],
    source: str,
    features: Sequence[Feature] | None = None,
) -> Import:
    """Checks a file as a whole, as `byway config check` would after the import. `overrides` are the present ones.
    `features`: see `make_setup`. Raises ConfigError with all problems."""
    before = _settings(paths)
    config, notices = _with_passwords_of(given.files[CONFIG], before)
    files = {**given.files, CONFIG: config}
    now = time.time()
    new_overrides = {host: override for host, override in given.overrides.items() if not override.has_ended(now)}
    with tempfile.TemporaryDirectory(prefix="byway-import-") as folder:
        try:
            _lay_out(Path(folder), paths.config_dir, files)
        except (OSError, BywayError) as error:
            raise ConfigError(f"{source}: its files cannot be written: {_reason(error, folder)}") from None
        try:
            setup = make_setup(replace(paths, config_file=Path(folder, CONFIG), config_given=True), features)
            after = load(Path(folder, CONFIG)).settings
        except ConfigError as error:
            raise ConfigError(
                redact(f"{source}, {problem.replace(f'{shown(Path(folder))}/', '')}") for problem in error.problems
            ) from None
    lists = _list_sources(files[CONFIG]), _list_sources(_text_at(paths, CONFIG) or "")
    if refused := [f"{source}: {why}" for name in files if (why := _why_not(name, files[name], paths, *lists))]:
        raise ConfigError(refused)
    relays = relay_names(after)
    if unknown := [(host, it.relay) for host, it in new_overrides.items() if it.relay and it.relay not in relays]:
        raise ConfigError(f"{source}: override of {host}: unknown relay {quoted(relay)}" for host, relay in unknown)
    notices += lost_overrides(after, {host: it for host, it in sorted(overrides.items()) if host not in new_overrides})
    changes = [(name, _change(_text_at(paths, name), text)) for name, text in files.items()]
    changes += [
        (f"site {host}", _override_change(overrides.get(host), it)) for host, it in sorted(new_overrides.items())
    ]
    try:
        old_rules = tuple(make_setup(paths).router.rules.rules)
    except ConfigError:
        old_rules = ()
    reviewed = tuple(review(after, before, tuple(setup.router.rules.rules), old_rules))
    return Import(files, new_overrides, tuple(changes), reviewed, tuple(_commands(after, before)), tuple(notices))


def _reason(error: OSError | BywayError, folder: str) -> str:
    return reason_of(error) if isinstance(error, OSError) else str(error).replace(f"{folder}/", "")


def _why_not(name: str, text: str, paths: Paths, given: Collection[str], here: Collection[str]) -> str:
    """Returns the reason for which an import may not write this file; empty: it may. A list may be new or replace a
    list, but never another file in the folder, such as a script or a key. `given` and `here` are the sources of the
    lists of both configurations."""
    if name in (CONFIG, RULES, BLOCK_PAGES):
        return ""
    folders = [paths.config_dir / inside for inside in PurePosixPath(name).parents if inside.parts]
    if any(os.path.lexists(place) and not place.is_dir() for place in folders):
        return f"file {quoted(name)} may not be imported: a file has the name of its folder here"
    if name not in given:
        return f"file {quoted(name)} may not be imported: its configuration has no such list"
    if name in here or _text_at(paths, name) in (None, text):
        return ""
    return f"file {quoted(name)} may not be imported: another file has this name here; move that away first"


def _list_sources(config: str) -> frozenset[str]:
    """Returns the sources of the lists of a configuration. It may be invalid, since an import may repair it."""
    try:
        return frozenset(str(table["source"]) for table in tomllib.loads(config).get("list", ()))
    except (ValueError, KeyError, TypeError, AttributeError):
        return frozenset()


def apply(made: Import, paths: Paths, overrides: Mapping[str, Override]) -> Path:
    """Writes the files of a checked import, the configuration last, and returns the backup of the earlier ones. Keeps
    the last BACKUPS_MAX. When a file cannot be written, restores everything and raises BywayError."""
    previous = {name: text for name in made.files if (text := _text_at(paths, name)) is not None}
    make_folder(paths.config_dir)
    backup = _free_backup(paths.config_dir)
    # An unchanged file may be no list of the present configuration: an import of the backup would refuse it.
    replaced = {name: text for name, text in previous.items() if name == CONFIG or text != made.files[name]}
    kept = ConfigFile({CONFIG: "", **replaced}, overrides)
    write_private(backup, kept.text(note="Kept before an import, with passwords: keep it as you keep them."))
    written: list[str] = []
    try:
        for name in sorted(made.files, key=lambda name: name == CONFIG):
            target = paths.config_dir / name if name != CONFIG else paths.config_file
            make_folder(target.parent)
            written.append(name)
            write_private(target.resolve(), made.files[name])
    except (OSError, BywayError) as error:
        for name in written:
            target = (paths.config_file if name == CONFIG else paths.config_dir / name).resolve()
            if name in previous:
                write_private(target, previous[name])
            else:
                target.unlink(missing_ok=True)
        raise BywayError(f"nothing was imported: {error}") from None
    # This backup stays, whatever its name: the clock may have been set back, and others may have such names.
    older_ones = [older for older in paths.backups if older != backup]
    for older in older_ones[: max(0, len(older_ones) - BACKUPS_MAX + 1)]:
        with contextlib.suppress(OSError):  # the import is done, and the next one tries again
            older.unlink()
    return backup


def _free_backup(folder: Path) -> Path:
    """Returns a free file name for a backup: a second one in the same second must not replace the first."""
    at = time.time()
    while os.path.lexists(file := folder / f"backup-{time.strftime('%Y%m%dT%H%M%S', time.localtime(at))}.toml"):
        at += 1
    return file


def _lay_out(folder: Path, config_dir: Path, files: Mapping[str, str]) -> None:
    """Makes a folder like the configuration folder after the import: other files are links."""
    for name, text in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(target, text)
    for inside in {PurePosixPath(), *(parent for name in files for parent in PurePosixPath(name).parents)}:
        present = config_dir / inside
        for entry in present.iterdir() if present.is_dir() else ():
            if not os.path.lexists(folder / inside / entry.name):
                (folder / inside / entry.name).symlink_to(entry.resolve())


def _with_passwords_of(text: str, before: Settings) -> tuple[str, list[str]]:
    """Returns the configuration, with the present secrets of relays, lists and servers that come without them; and a
    sentence for each, and for each relay that has a user and no password. Raises ConfigError."""
    try:
        edited = TomlText(text)
        document = edited.document
        tables = [(n, table) for n, table in enumerate(document.get("relay", ())) if isinstance(table.get("url"), str)]
        lists = [
            (section, n, table)
            for section in ("list", "subscription")
            for n, table in enumerate(document.get(section, ()))
            if isinstance(table.get("source"), str)
        ]
        listen = document.get("listen", {})
        is_user_here = bool(before.listen.user) and listen.get("user") == before.listen.user
        servers = _servers_here(document.get("dns", {}).get("servers"), before)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return text, []  # the check of the whole file reports the error
    notices = []
    if is_user_here and before.listen.password_cmd and not listen.get("password_cmd"):
        edited.set(("listen", "password_cmd"), before.listen.password_cmd)
        notices.append("[listen] keeps the password_cmd that it has here")
    if servers is not None:
        edited.set(("dns", "servers"), servers)
        notices.append("[dns] keeps the servers that it has here")
    sources = {("list", it.name): it.source for it in before.list}
    sources |= {("subscription", it.name): it.source for it in before.subscription}
    keys = {each.name: each.url for each in before.relay if any(map(relay_url.is_key, each.url.split(">")))}
    for section, number, table in lists:
        source, here = table["source"], sources.get((section, str(table.get("name"))), "")
        if here != source and _HIDE[section](here) == source:
            edited.set((section, number, "source"), here)
            notices.append(f"{section} {table['name']} keeps the URL that it has here")
        elif f"={HIDDEN}" in source or f"/{HIDDEN}" in source or f"{HIDDEN}@" in source:
            notices.append(f"the URL of {section} {table.get('name')} lacks what was left out: write it in {CONFIG}")
    for number, table in tables:
        url = table["url"]
        same = next((each for each in before.relay if same_relay(each.url, url) and each.url != url), None)
        if same is not None and _bare(same.url) == url:
            edited.set(("relay", number, "url"), same.url)
            notices.append(f"relay {table.get('name')} keeps the password that it has here")
        elif (key := keys.get(str(table.get("name")), "")) and _bare(key) == url:
            edited.set(("relay", number, "url"), key)
            notices.append(f"relay {table['name']} keeps the key that it has here")
        elif same_command := _command_here(url, table, before):
            edited.set(("relay", number, "password_cmd"), same_command)
            notices.append(f"relay {table.get('name')} keeps the password_cmd that it has here")
        elif not table.get("password_cmd") and _lacks_password(url):
            notices.append(
                f"relay {table.get('name')} has a user and no password; if it needs one, write it in its url in "
                f"{CONFIG}, or set password_cmd there"
            )
    return _finished(edited), notices


def _finished(edited: TomlText) -> str:
    """Returns the edited text. Raises ConfigError when it cannot be edited."""
    try:
        return edited.finished()
    except ValueError:
        raise ConfigError(f"{CONFIG} is written in a way that no password can be left out of or put in") from None


def _servers_here(given: object, before: Settings) -> list[str] | None:
    """Returns the present encrypted DNS servers, if those of the file are the same without the ones that an export
    leaves out; otherwise None."""
    here = before.dns.servers
    shared = [server for server in here if hide_paths(server) == server]
    is_same = given is None if not shared else isinstance(given, list) and list(given) == shared
    return list(here) if len(shared) < len(here) and is_same else None


def _command_here(url: str, table: Mapping[str, Any], before: Settings) -> str:
    """Returns the present password command of this relay; empty: it has none, or the file has one."""
    if table.get("password_cmd"):
        return ""
    return next((each.password_cmd for each in before.relay if each.url == url), "")


def _bare(chain: str) -> str:
    """Returns a chain without passwords and keys."""
    return ">".join(map(_without_password, relay_url.parse_chain(chain)))


def _lacks_password(chain: str) -> bool:
    try:
        hops = _hops(chain)
    except ValueError:
        return False  # the check of the whole file reports the error
    return any(hop.user and not hop.password and hop.kind not in _WITHOUT_PASSWORDS for hop in hops)


def _hops(chain: str, allowed: Allowed | None = None) -> list[RelayUrl]:
    """Returns the relays of a chain that are written as URLs. Raises ValueError."""
    return [hop for hop in relay_url.parse_hops(chain, allowed) if not isinstance(hop, str)]


def _commands(after: Settings, before: Settings) -> Iterator[str]:
    """Yields sentences about commands for passwords and addons that Byway would run after the import, and does not run
    now."""
    present = {before.listen.password_cmd, *(relay.password_cmd for relay in before.relay), ""}
    for owner, run in (("[listen]", after.listen.password_cmd), *((r.name, r.password_cmd) for r in after.relay)):
        if run not in present:
            yield f"{owner} runs the command {quoted(run)}"
    for name, addon in after.addons.items():
        if addon.enabled and before.addons.get(name) != addon:
            yield f"addon {name} is enabled with these options"


def _settings(paths: Paths) -> Settings:
    try:
        return load(paths.config_to_read).settings
    except ConfigError:
        return Settings()  # an import may repair the configuration


def _text_at(paths: Paths, name: str) -> str | None:
    file = paths.config_file if name == CONFIG else paths.config_dir / name
    return read_text(file, limit=FILE_LIMIT) if os.path.lexists(file) else None


def _change(before: str | None, after: str) -> str:
    if before is None:
        return f"new, {after.count(chr(10))} lines"
    if before == after:
        return "the same"
    old, new = Counter(before.splitlines()), Counter(after.splitlines())
    return f"{(new - old).total()} lines added, {(old - new).total()} removed"


def _override_change(before: Override | None, after: Override) -> str:
    if before == after:
        return "the same"
    return action_text(after) if before is None else f"{action_text(after)}, in place of {action_text(before)}"
