"""Changes the configuration file and leaves everything else in it as its owner wrote it: comments, order, spacing.

The new file is checked as a whole before it takes the old one's place, in one step, readable by its owner alone.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from proxy.config.files import read_text, shown
from proxy.config.load import CONFIG_LIMIT, load
from proxy.config.paths import make_folder, write_private
from proxy.errors import BywayError, ConfigError
from proxy.wire import relay_url

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}\Z")
_NEW_FILE = "config_version = 1\n"
_WELL_KNOWN = {9050: "tor", 9150: "tor"}
"""Ports on loopback whose owner is plain enough for a name."""


@dataclass(frozen=True, slots=True)
class Added:
    """What was written; `shown` has no password."""

    name: str
    shown: str


def add_relay(file: Path, url: str, name: str | None) -> Added:
    """Adds a [[relay]] at the end of those in `file`, which is made when there is none.

    Raises ValueError with a sentence for a URL or name that cannot be, ConfigError when the file is faulty as it is or
    would be with the relay, and BywayError when it cannot be written."""
    import tomlkit
    from tomlkit.items import AoT

    hops = [_hop(item) for item in relay_url.parse_chain(url)]
    file = file.resolve()  # a symbolic link stays one
    text = read_text(file, limit=CONFIG_LIMIT) if file.exists() else _NEW_FILE
    configured = load(file if file.exists() else None).settings.relay
    taken = {relay.name for relay in configured}
    if name is None:
        name = _free_name(hops[-1], taken)
    elif not _NAME.match(name):
        raise ValueError("a relay's name has 1 to 32 letters, digits, dots, dashes and underscores")
    if name in taken:
        raise ValueError(f"there is a relay {name} already; choose another name with --name")

    document = tomlkit.parse(text)
    table = tomlkit.table()
    table.add("name", name)
    table.add("url", url.strip())
    relays = document.get("relay")
    if relays is None:
        document.append("relay", AoT([table]))
    elif isinstance(relays, AoT):
        relays.append(table)
    else:  # written inline: relay = [{ … }]
        inline = tomlkit.inline_table()
        inline.update({"name": name, "url": url.strip()})
        relays.append(inline)
    _replace(file, tomlkit.dumps(document))
    return Added(name, relay_url.redact(url.strip()))


def set_addon(file: Path, name: str, enabled: bool) -> bool:
    """Says in `file`, which is made when there is none, whether an addon is on. False: it said so already.

    Raises ConfigError when the file is faulty as it is, and BywayError when it cannot be written."""
    import tomlkit
    from tomlkit.items import InlineTable

    file = file.resolve()
    text = read_text(file, limit=CONFIG_LIMIT) if file.exists() else _NEW_FILE
    said = load(file if file.exists() else None).settings.addons.get(name)
    if said is not None and said.enabled is enabled:
        return False
    document = tomlkit.parse(text)
    addons = document.get("addons")
    if addons is None:
        addons = tomlkit.table(is_super_table=True)
        document.append("addons", addons)
        addons = document["addons"]
    table = addons.get(name)
    if table is None:
        table = tomlkit.inline_table() if isinstance(addons, InlineTable) else tomlkit.table()
        table["enabled"] = enabled
        addons[name] = table
    else:
        table["enabled"] = enabled
    _replace(file, tomlkit.dumps(document))
    return True


def _replace(file: Path, text: str) -> None:
    """Checks the text as a configuration, then puts it in the file's place."""
    try:
        make_folder(file.parent)
    except OSError as error:
        raise BywayError(f"{shown(file.parent)} cannot be made: {error.strerror or error}") from None
    fresh = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        write_private(fresh, text)
        try:
            load(fresh)
        except ConfigError as error:
            problems = [problem.replace(shown(fresh), shown(file)) for problem in error.problems]
            raise ConfigError([relay_url.redact(problem) for problem in problems]) from None
        fresh.replace(file)
    except OSError as error:
        raise BywayError(f"{shown(file)} cannot be written: {error.strerror or error}") from None
    finally:
        fresh.unlink(missing_ok=True)


def _hop(item: str) -> relay_url.RelayUrl | None:
    """The URL of a chain's item; None for the name of another relay, which the check of the whole file looks up."""
    if ":" not in item and _NAME.match(item):
        return None
    return relay_url.parse(item)


def _free_name(last: relay_url.RelayUrl | None, taken: set[str]) -> str:
    """A name after the relay's host, with a number when it is taken."""
    wanted = "chain"
    if last is not None:
        address = last.endpoint.address
        if address is None:
            label = last.host.removeprefix("www.").partition(".")[0]
            wanted = label if _NAME.match(label) else str(last.kind)
        else:
            wanted = _WELL_KNOWN.get(last.port, f"{last.kind}-{last.port}") if address.is_loopback else str(last.kind)
    wanted = f"{wanted[:28]}-relay"[:28] if wanted == "direct" else wanted[:28]
    if wanted not in taken:
        return wanted
    return next(name for number in range(2, 10_000) if (name := f"{wanted}-{number}") not in taken)
