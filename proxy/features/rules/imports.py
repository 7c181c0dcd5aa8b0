"""`byway rule import`: imports a list, rules of another program, or block pages, and prints the result.

A list is copied into the configuration's folder and gets a `[[list]]` table; it has no effect until a rule names it.
Rules of another program are only shown, unless the user adds them with an option. A file that a reload would refuse is
not written.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from proxy.config.edit import add_list
from proxy.config.file_owners import FolderFiles
from proxy.config.files import decode, decode_pieces, read_bytes, shown
from proxy.config.paths import Paths, make_folder, write_private
from proxy.config.relays import relay_names
from proxy.config.schema import ListConfig, ListFormatName, Settings
from proxy.config.setting_types import relay_name
from proxy.detect.pages.block_pages import is_fingerprints, parse_fingerprints
from proxy.features.rules.list_answers import ListJson
from proxy.features.rules.list_commands import list_facts
from proxy.model.document import to_json, versioned
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.routing import foreign_rules
from proxy.routing.lists.acceptance import is_web_page, refusal
from proxy.routing.lists.domain_list import DomainList
from proxy.routing.lists.formats import LIST_LIMIT, parse_list
from proxy.routing.lists.list_builder import no_siblings
from proxy.routing.lists.matcher import NO_ENTRIES
from proxy.routing.lists.switchyomega import is_backup
from proxy.routing.lists.v2fly import inline_includes
from proxy.routing.rule import RuleType
from proxy.routing.rules import Rules
from proxy.setup.rule_edits import add_rules
from proxy.setup.rule_files import check_rules, read_lists, read_rules
from proxy.store.list_trials import ListTrials
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import Misused, as_misuse
from proxy.terminal.in_use import edited_configuration, hint_in_use, take_into_use
from proxy.terminal.offline import read_configuration
from proxy.wire import https_url
from proxy.wire.keys import pasted
from proxy.wire.relay_url import redact

_Use = Callable[[Path], bool]
"""Makes the running Byway use a written file. Returns whether one runs (`in_use.take_into_use`)."""

_STDIN = Path("standard input")
_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_RULES_FILE_STEM = "rules"
_SHOWN = 50
_MAY_BE_SECRET = re.compile(r"pass|psk|secret|token|key\b|uuid|auth|:[0-9]{1,5}:[^\s:]+:[^\s:]", re.IGNORECASE)
"""Words of secrets in settings of other programs and in a netrc, and the form HOST:PORT:USER:PASSWORD."""
_EXPLAINED = 256 * 1024
"""Characters of a refused file from which its kind is recognized."""


def import_source(
    call: Invocation,
    source: str,
    *,
    name: str | None,
    format: ListFormatName,  # noqa: A002
    add: bool,
    force: bool,
) -> None:
    """Imports `source`: a path, `-` or an https:// URL. With a `name`, it is read as a list.

    Raises Misused, ConfigError and BywayError."""
    if name is not None:
        with as_misuse():
            relay_name(name)  # checked before a file gets this name
    paths, client = edited_configuration(call)
    settings = read_configuration(paths).settings
    use = partial(take_into_use, call, client)
    if "://" in source:
        _import_url(call, paths, settings, source, use, name=name, format=format)
        return
    file = _STDIN if source == "-" else Path(source)
    if source == "-" and sys.stdin is None:
        raise Misused("standard input is closed; name a file, or pipe the list into the command")
    data = sys.stdin.buffer.read(LIST_LIMIT + 1) if source == "-" else read_bytes(file, limit=LIST_LIMIT)
    if len(data) > LIST_LIMIT:
        raise ConfigError(f"{file}: is larger than {LIST_LIMIT:,} bytes; is this a list?")
    text = decode(file, data)
    if name is None and is_fingerprints(text):
        _import_pages(call, paths, text, file, use)
    elif name is None and format == "auto" and foreign_rules.recognizes(text):
        _offer_rules(call, paths, settings, text, file, use, add=add)
    elif add and name is not None:
        raise Misused("--add is for rules with actions, and --list reads the file as a list; give only one of them")
    elif add:
        raise Misused(f"--add is for rules with actions, and {shown(file)} has none")
    else:
        name = name or _name_after("" if source == "-" else file.stem)
        _import_list(call, paths, settings, data, file, use, name=name, format=format, force=force)


# -- lists -------------------------------------------------------------------------------------------------------------


def _import_list(
    call: Invocation,
    paths: Paths,
    settings: Settings,
    data: bytes,
    file: Path,
    use: _Use,
    *,
    name: str,
    format: ListFormatName,  # noqa: A002
    force: bool,
) -> None:
    old = next((item for item in settings.list if item.name == name), None)
    if old is not None and old.url:
        raise Misused(f"list {name} is fetched from a URL; choose another name with --list")
    if old is not None and format != "auto" and format != old.format:
        raise Misused(f"list {name} has format {old.format}; change it in {paths.config_file}")
    stem = f"{name}-list" if name.lower() == _RULES_FILE_STEM else name
    target = paths.named(f"{stem}.txt" if old is None else old.source)
    if old is None and target.exists() and not _is_same(target, file):
        raise ConfigError(f"{shown(target)} exists already; choose another name with --list")
    item = old or ListConfig(name, target.name, format=format)
    if is_web_page(data, "") and not force:
        raise ConfigError(f"{shown(file)}: is a web page, not a list. To import it anyway: --force")
    folder = None if file == _STDIN else file.parent
    ListTrials(None).require(
        data, source=shown(file), format=item.format, allow_suffixes=item.allow_suffixes, folder=folder
    )
    listed = parse_list(
        decode_pieces(file, data),
        size=len(data),
        source=shown(file),
        format=item.format,
        allow_empty=item.allow_empty,
        allow_suffixes=item.allow_suffixes,
        siblings=no_siblings if folder is None else FolderFiles(folder, limit=LIST_LIMIT, only_obeyed=False),
    )
    if listed.included and folder is not None and not _is_same(target, file):  # the copy is alone in its folder
        siblings = FolderFiles(folder, limit=LIST_LIMIT, only_obeyed=False)
        data = inline_includes(decode(file, data), siblings).encode()
    last = 0 if old is None else _entries_now(old, paths)
    if not force and (reason := refusal(listed, last, accept_smaller=False)):
        if not listed.listed and (explained := _of_relays(decode(file, data))):
            raise ConfigError(f"{shown(file)}: is no list of sites: {explained}")
        example = f" ({_first_skipped(listed)})" if listed.skipped and not listed.listed else ""
        raise ConfigError(f"{shown(file)}: {reason}{example}. Nothing was changed. To import it anyway: --force")
    others, unreadable = _other_lists(settings, paths, name)
    rules = read_rules(settings, paths, lists={**others, name: listed})
    _write(target, data)
    if old is None:
        table = {"name": name, "source": target.name}
        try:
            add_list(paths.config_file, table if format == "auto" else {**table, "format": str(format)})
        except BywayError:
            if not _is_same(target, file):
                target.unlink(missing_ok=True)
            raise
    running = use(target if old is not None else paths.config_file)
    _show_list(call, item, listed, target, rules, is_new=old is None, running=running)
    for problem in unreadable:
        call.output.hint(f"Byway cannot use its configuration until another list is mended: {problem}")


def _import_url(
    call: Invocation,
    paths: Paths,
    settings: Settings,
    url: str,
    use: _Use,
    *,
    name: str | None,
    format: ListFormatName,  # noqa: A002
) -> None:
    """Adds a list whose source is a URL. Nothing is fetched."""
    try:
        https_url.parse(url)
    except ValueError as error:
        raise ConfigError(f"the source of a list is a file or an https:// URL: {error}") from None
    name = name or _name_after(Path(urlsplit(url).path).stem)
    old = next((item for item in settings.list if item.name == name), None)
    if old is not None and old.source != url:
        raise Misused(f"there is a list {name} with another source; choose another name with --list")
    running = False
    if old is None:
        table = {"name": name, "source": url}
        add_list(paths.config_file, table if format == "auto" else {**table, "format": str(format)})
        running = use(paths.config_file)
    if call.output.answered(versioned(list=name, source=redact(url), new=old is None, running=running)):
        return
    call.output.line(f"list {name}: {'is there already' if old else 'added'}: {redact(url)}")
    hint_in_use(call, running)
    call.output.hint(f"Nothing is fetched by itself. To fetch it: `byway list refresh {name}`")
    call.output.hint(f"To use it: `byway rule add LIST,{name},RELAY`")


def _show_list(
    call: Invocation, item: ListConfig, listed: DomainList, target: Path, rules: Rules, *, is_new: bool, running: bool
) -> None:
    document = to_json(ListJson.of(item, listed, None, 0.0))
    used_by = [rule.why for rule in rules.rules if rule.type is RuleType.LIST and rule.value == item.name]
    if call.output.answered(versioned(list=document, file=str(target), new=is_new, used_by=used_by, running=running)):
        return
    call.output.line(f"{shown(target)}: list {item.name} is {'added' if is_new else 'replaced'}.")
    facts = [fact for fact in list_facts(document) if fact[0] not in ("list", "state", "source")]
    if call.output.fancy:
        call.output.facts(facts)
    else:
        call.output.table(("what", "value"), facts)
    hint_in_use(call, running)
    for why in used_by:
        call.output.hint(f"It is used by {why}.")
    if not used_by:
        call.output.hint("It counts as a list of sites that are likely blocked. To decide about its sites, add a rule:")
        for action in ("RELAY", "PREFER-RELAY", "DIRECT", "BLOCK"):
            call.output.hint(f"  byway rule add LIST,{item.name},{action}")


def _other_lists(settings: Settings, paths: Paths, name: str) -> tuple[Mapping[str, DomainList], Sequence[str]]:
    """Reads the lists other than `name`. Returns them, and the problems of the unreadable ones. These are empty here,
    since several such lists are repaired one after the other."""
    lists: dict[str, DomainList] = {}
    problems: list[str] = []
    for item in settings.list:
        if item.name == name:
            continue
        try:
            lists |= read_lists([item], paths)
        except ConfigError as error:
            lists[item.name] = DomainList(NO_ENTRIES, allow_empty=True)
            problems += error.problems
    return lists, problems


def _first_skipped(listed: DomainList) -> str:
    first = listed.skipped[0]
    may_be_secret = _MAY_BE_SECRET.search(first.removeprefix(listed.source))
    return "the first of them is not shown, because it may hold a password" if may_be_secret else first


def _of_relays(text: str) -> str:
    """Returns a description of links, a subscription or a configuration of another client, without a quotation: it has
    passwords, which base64 does not hide. Empty for any other text, such as a message in JSON."""
    begins = text[:_EXPLAINED].strip()
    scheme = pasted.scheme_of(begins)
    if scheme in pasted.SECRET_SCHEMES:
        return f"it has keys of relays ({scheme}://)"
    form = None if scheme else pasted.form_of(begins)
    if form is None:
        return pasted.explain(begins)
    return f"this is {form}, which has relays: `byway import FILE` takes them"


def _entries_now(item: ListConfig, paths: Paths) -> int:
    try:
        return len(read_lists([item], paths)[item.name].listed)
    except ConfigError:  # this import repairs a missing or damaged list
        return 0


def _name_after(stem: str) -> str:
    name = _NOT_OF_NAMES.sub("-", stem).strip("-._")[:32]
    if not name:
        raise Misused("the list needs a name; give one with --list NAME")
    return name


def _is_same(target: Path, file: Path) -> bool:
    return file is not _STDIN and target.exists() and file.exists() and target.samefile(file)


def _write(target: Path, data: bytes | str) -> None:
    try:
        make_folder(target.parent)
    except OSError as error:
        raise BywayError(f"{shown(target.parent)} cannot be created: {reason_of(error)}") from None
    write_private(target.resolve(), data)


# -- rules of other programs -------------------------------------------------------------------------------------------


def _offer_rules(
    call: Invocation, paths: Paths, settings: Settings, text: str, file: Path, use: _Use, *, add: bool
) -> None:
    """Prints the rules of another program in the form of Byway; with `add`, adds them to rules.txt."""
    try:
        translated = foreign_rules.translate(text, relays=relay_names(settings))
    except ConfigError as error:
        raise ConfigError(f"{shown(file)}: {error}") from None
    present = read_rules(settings, paths)
    own = {rule.text for rule in present.rules}
    has_match = any(rule.type is RuleType.MATCH for rule in present.rules)
    taken: list[str] = []
    not_taken = list(translated.not_taken)
    for number, line in translated.rules:
        try:
            check_rules(line, settings, source="", lists=present.lists)
        except ConfigError as error:
            not_taken.append((number, error.problems[0].partition(":1: ")[2]))
            continue
        if line.startswith("MATCH,") and has_match:
            not_taken.append((number, f"{line}: rules.txt has a MATCH already"))
        elif line not in own:
            taken.append(line)
            own.add(line)
    reasons = [f"{shown(file)}:{number}: not taken: {why}" for number, why in sorted(not_taken)]
    first = add_rules(paths, settings, taken, inspects=call.inspects) if add and taken else None
    running = first is not None and use(paths.rules_file)
    if call.output.answered(versioned(rules=taken, not_taken=reasons, added_at=first, running=running)):
        return
    for line in taken:
        call.output.line(line)
    call.output.hint(*reasons[:_SHOWN])
    if (more := len(reasons) - _SHOWN) > 0:
        call.output.hint(f"{shown(file)}: and {more} more lines not taken")
    call.output.hint(*_outcome(paths, taken, first))
    if is_backup(text) or pasted.form_of(text) is pasted.Form.CLASH:
        call.output.hint(f"To take its relays and groups as well: `byway import {shown(file)}`")
    hint_in_use(call, running)


def _outcome(paths: Paths, taken: list[str], first: int | None) -> Iterator[str]:
    count = f"{len(taken):,} rule{'' if len(taken) == 1 else 's'}"
    if first is not None:
        yield f"{paths.rules_file}: {count} added, from number {first} on."
    elif taken:
        yield f"{count}, and nothing is written. To add them to rules.txt, before MATCH: the same command with --add"
        yield "To read the file as a list instead: --list NAME"
    else:
        yield "No rule in it is new."


# -- block pages -------------------------------------------------------------------------------------------------------


def _import_pages(call: Invocation, paths: Paths, text: str, file: Path, use: _Use) -> None:
    imported = parse_fingerprints(text, str(file))
    if not imported.fingerprints:
        raise ConfigError(f"{file}: no usable rows")
    stored = paths.block_pages_file
    _write(stored, text)
    running = use(stored)
    vetoes = sum(fingerprint.veto for fingerprint in imported.fingerprints)
    taken = len(imported.fingerprints) - vetoes
    skipped = imported.vague + len(imported.refused)
    if call.output.as_json:
        document = {"file": str(stored), "taken": taken, "vetoes": vetoes, "vague": imported.vague}
        call.output.document(versioned(**document, refused=list(imported.refused), running=running))
        return
    call.output.hint(*imported.refused)
    call.output.line(
        f"{stored}: block pages: {taken:,}; exceptions: {vetoes:,}; rows skipped: {skipped:,}"
        f" (too vague or not a block: {imported.vague:,}; unusable: {len(imported.refused):,})"
    )
    hint_in_use(call, running)
