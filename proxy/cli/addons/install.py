"""Copies an addon's file to the user's folder, and enables and disables addons in the configuration.

No file is ever overwritten, and a file that fails the check is not copied. A running Byway is reloaded, so that the
change takes effect at once.
"""

from __future__ import annotations

from pathlib import Path

from proxy.cli.addons.lookup import check_in_isolation
from proxy.cli.command import Invocation
from proxy.cli.exit_codes import Misused
from proxy.control.version import VERSION
from proxy.model.errors import BywayError, ConfigError, reason_of


def own_file(call: Invocation, name: str) -> Path:
    """The path of the user's addon with this name. Raises Misused for an invalid name."""
    from proxy.config.suggestions import quoted
    from proxy.extend.loading.files import NAME

    if not NAME.fullmatch(name):
        raise Misused(f"{quoted(name)} is not an addon name: use letters, digits, _ and -, beginning with a letter")
    return call.paths.addons_dir / f"{name}.py"


def write_new(file: Path, text: str | bytes) -> None:
    """Writes a new file; never overwrites one. The folder is private: files in it are run as code."""
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
    """Copies a file to the user's addons after it passes the check."""
    from proxy.config.files import read_bytes, shown
    from proxy.extend.loading.loader import FILE_LIMIT

    name = file.stem
    copy = own_file(call, name)
    content = read_bytes(file, limit=FILE_LIMIT)
    check_in_isolation(call, file)
    if not (copy.exists() and copy.read_bytes() == content):
        write_new(copy, content)
    call.output.hint(f"{shown(file)} was copied; edit the copy.")
    set_enabled(call, name, True)
    print_state(call, name, True, copy)


def set_enabled(call: Invocation, name: str, enabled: bool) -> None:
    """Writes the setting if it changes, and reloads a running Byway."""
    from proxy.config.edit import set_addon

    running, file = call.running(), call.paths.config_file
    if set_addon(file, name, enabled) and running is not None:
        answer = running.post("/v1/reload", {})
        if answer["problems"]:
            call.output.hint(f"It is written to {file}, but the running Byway rejects it:")
            raise ConfigError(answer["problems"])


def print_state(call: Invocation, name: str, enabled: bool, file: Path) -> None:
    if call.output.as_json:
        call.output.document({"version": VERSION, "name": name, "enabled": enabled, "file": str(file)})
        return
    call.output.line(f"{name}  {'on' if enabled else 'off'}  {file}")
