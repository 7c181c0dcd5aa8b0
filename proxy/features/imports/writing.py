"""Writes an import: the configuration first, then rules.txt. If one of them cannot be written or used, both are as
before. The last import can be undone as long as nobody has edited these files since."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from proxy.config import edit
from proxy.config.edit import Change
from proxy.config.files import read_own_file
from proxy.config.paths import Paths, private_folder, write_private
from proxy.config.schema import Settings
from proxy.model.errors import BywayError, ConfigError
from proxy.setup.rule_edits import add_rules, content_of, put_back_rules

_LIMIT = 64 * 1024 * 1024


def write(
    paths: Paths,
    change: Change,
    settings: Settings,
    lines: Sequence[str],
    *,
    inspects: bool,
    use: Callable[[Path], bool],
) -> bool:
    """Writes the edit of the configuration and adds the rules, under the settings after the edit. `use` makes the
    running Byway use them, and returns whether one runs. Returns that. Raises BywayError; then nothing is changed."""
    before = content_of(paths)
    is_edited = change.after != change.before
    if is_edited:
        edit.write(paths.config_file, change)
    try:
        if lines:
            add_rules(paths, settings, lines, inspects=inspects)
    except BywayError:
        if is_edited:
            edit.put_back(paths.config_file, change.before, instead_of=change.after)
        raise
    after = content_of(paths)
    try:
        running = use(paths.config_file if is_edited else paths.rules_file)
    except ConfigError as error:
        _put_back(paths, change, before, after)
        with contextlib.suppress(BywayError):  # the first error is the one to report
            use(paths.config_file)
        raise ConfigError([*error.problems, "So both files are as before: nothing is imported."]) from None
    _remember(paths, change, before, after)
    return running


def undo(paths: Paths, use: Callable[[Path], bool]) -> bool:
    """Undoes the last import. Returns whether a Byway runs. Raises BywayError when there is none, or a file was edited
    since; then nothing is changed."""
    try:
        document = json.loads(read_own_file(paths.import_undo_file, limit=_LIMIT))
        change = Change(document["config"][0], document["config"][1])
        before, after = (None if text is None else text.encode() for text in document["rules"])
        is_same = document["file"] == str(paths.config_file.resolve())
    except FileNotFoundError:
        raise BywayError("there is no import to undo") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise BywayError(f"{paths.import_undo_file} is damaged, so the last import cannot be undone") from None
    if not is_same:
        raise BywayError("the last import was into another configuration; name it with --config")
    if content_of(paths) != after or (
        change.before != change.after and edit.text_of(paths.config_file) != change.after
    ):
        raise BywayError(
            "config.toml or rules.txt was edited since the import, so nothing was changed: edit them by hand"
        )
    _put_back(paths, change, before, after)
    paths.import_undo_file.unlink(missing_ok=True)
    return use(paths.config_file)


def _put_back(paths: Paths, change: Change, before: bytes | None, after: bytes | None) -> None:
    if after != before and after is not None:
        put_back_rules(paths, before, instead_of=after)  # first, since its rules name new relays
    if change.after != change.before:
        edit.put_back(paths.config_file, change.before, instead_of=change.after)


def _remember(paths: Paths, change: Change, before: bytes | None, after: bytes | None) -> None:
    rules = [None if content is None else content.decode() for content in (before, after)]
    document = {"file": str(paths.config_file.resolve()), "config": [change.before, change.after], "rules": rules}
    private_folder(paths.state_dir)
    write_private(paths.import_undo_file, json.dumps(document))
