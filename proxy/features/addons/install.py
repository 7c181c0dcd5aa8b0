"""Copies an addon's file to the user's folder, and enables and disables addons in the configuration.

No file is ever overwritten, and a file that fails the check is not copied. A running Byway uses the change when the
command ends.
"""

from __future__ import annotations

from pathlib import Path

from proxy.features.addons.lookup import check_in_isolation
from proxy.model.document_version import VERSION
from proxy.model.errors import BywayError, ConfigError, reason_of
from proxy.terminal.command import Invocation
from proxy.terminal.exit_codes import Misused
from proxy.terminal.in_use import edited_configuration, hint_in_use, take_into_use


def own_file(call: Invocation, name: str) -> Path:
    """Returns the path of the user's addon with this name. Raises Misused for an invalid name."""
    from proxy.config.suggestions import quoted
    from proxy.extend.loading.files import NAME

    if not NAME.fullmatch(name):
        raise Misused(f"{quoted(name)} is not an addon name: use letters, digits, _ and -, beginning with a letter")
    return call.paths.addons_dir / f"{name}.py"


def write_new(file: Path, text: str | bytes) -> None:
    """Writes a new file in a private folder, since its files are run as code. Raises Misused when the file exists, and
    BywayError when the folder cannot be created."""
    import os

    from proxy.config.files import shown
    from proxy.config.paths import make_folder, write_private

    try:
        make_folder(file.parent)
    except OSError as error:
        raise BywayError(f"{shown(file.parent)} cannot be created: {reason_of(error)}") from None
    if os.path.lexists(file):
        raise Misused(f"{shown(file)} already exists; choose another name, or edit it")
    write_private(file, text)


def copy_and_enable(call: Invocation, file: Path) -> None:
    """Copies a file to the user's addons if it passes the check, enables it, and prints its state. Raises
    ConfigError."""
    from proxy.config.files import read_bytes, shown
    from proxy.extend.loading.loader import FILE_LIMIT

    name = file.stem
    copy = own_file(call, name)
    content = read_bytes(file, limit=FILE_LIMIT)
    check_in_isolation(call, file)
    if not (copy.exists() and copy.read_bytes() == content):
        write_new(copy, content)
    call.output.hint(f"{shown(file)} was copied; edit the copy.")
    running = set_enabled(call, name, True)
    print_state(call, name, True, copy, running=running)


def set_enabled(call: Invocation, name: str, enabled: bool) -> bool:
    """Writes the setting if it changes. Returns whether a running Byway uses it."""
    from proxy.config.edit import set_addon

    set_addon(call.paths.config_file, name, enabled)
    return use_addon(call, name)


def use_addon(call: Invocation, name: str) -> bool:
    """Makes the running Byway load or stop an addon. Returns whether a Byway uses the change. Raises ConfigError with
    the problems of an addon that does not run there."""
    paths, client = edited_configuration(call)
    running = take_into_use(call, client, paths.config_file)
    if client is not None and running:
        addons = [each for each in client.get("/v1/addons")["addons"] if each["name"] == name]
        if problems := [problem for each in addons for problem in each["problems"]]:
            raise ConfigError(problems)
    return running


def print_state(call: Invocation, name: str, enabled: bool, file: Path, *, running: bool) -> None:
    if call.output.as_json:
        state = {"name": name, "enabled": enabled, "file": str(file), "running": running}
        call.output.document({"version": VERSION, **state})
        return
    call.output.line(f"{name}  {'on' if enabled else 'off'}  {file}")
    hint_in_use(call, running)
