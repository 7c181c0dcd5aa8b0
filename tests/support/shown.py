"""What a Byway shows and leaves: processes, commands, the control API, files. For tests that look for secrets in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tests.support.byway import Byway

_COMMANDS = (
    ("status", "-v"),
    ("status", "--json"),
    ("relay", "list", "-v"),
    ("relay", "list", "--json"),
    ("log", "--long"),
    ("log", "--json"),
    ("site", "list", "--json"),
    ("doctor", "-v"),
    ("config", "show", "--all"),
    ("config", "show", "--json"),
    ("config", "check"),
    ("config", "export"),
    ("rule", "test", "http://trojan.test/", "-v"),
    *(("report", "--format", form, "--redact", "none") for form in ("md", "json", "ooni", "csv", "har")),
)
_PATHS = ("/v1/status", "/v1/relays", "/v1/log", "/v1/sites")

_COMMANDS_S = 120.0  # for all of them; `relay test` of keys that do not work waits for each


async def shown_by(byway: Byway, folder: Path, *more: Sequence[str]) -> dict[str, str]:
    """Returns the words and environments of its process and of its engines, what commands and `more` of them print, the
    answers of the control API, and the files below `folder`; each by a name. It is not `forked`."""
    shown = {}
    for pid in (byway.pid, *engines_of(byway.pid)):
        shown[f"words of {pid}"] = words_of(pid)
        shown[f"environment of {pid}"] = environment_of(pid)
    commands = (*_COMMANDS, *more)
    for words, ran in zip(commands, await byway.commands(*commands, check=False, within_s=_COMMANDS_S), strict=True):
        shown[" ".join(words)] = ran.stdout + ran.stderr
    for path in _PATHS:
        shown[path] = json.dumps(await byway.ask(path))
    return {**shown, **files_below(folder)}


def engines_of(pid: int) -> list[int]:
    """Returns the processes of a Byway that are engines for keys."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if b"mihomo" in Path(f"/proc/{child}/cmdline").read_bytes()]


def words_of(pid: int) -> str:
    """Returns what `ps` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().replace("\0", " ")


def environment_of(pid: int) -> str:
    """Returns its environment without the variables of pytest, which have a random number of the run."""
    variables = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return "\n".join(each for each in variables if not each.startswith("PYTEST_"))


def files_below(folder: Path) -> dict[str, str]:
    """Returns the contents of all files but those of the configuration, and the copies of subscriptions, by their
    paths."""
    kept = (folder / "config", folder / "state" / "lists")
    kept = (folder / "config", folder / "state" / "lists")
    files = (file for file in folder.rglob("*") if file.is_file() and file.parent not in kept)
    return {str(file.relative_to(folder)): file.read_bytes().decode("latin-1") for file in files}


def spellings(secrets: Mapping[str, str]) -> dict[str, str]:
    """Returns secrets by what they are, also as they stand in a link."""
    quoted = {f"{what} quoted": quote(secret, safe="") for what, secret in secrets.items()}
    return {**secrets, **{what: text for what, text in quoted.items() if text not in secrets.values()}}
