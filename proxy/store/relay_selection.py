"""The relays that the user selected with `byway relay use`, one for each group, kept across restarts.

They are in a small file in the state folder; the command writes it itself while no Byway runs. If it cannot be read,
nothing is selected: a group then uses its first relay, which `byway relay list` shows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from proxy.config.files import read_own_file
from proxy.config.paths import write_private

log = logging.getLogger(__name__)

FILE_LIMIT = 256 * 1024
GROUPS_MAX = 1024


def read_selection(file: Path) -> dict[str, str]:
    """Returns the selected relay of each group, by the group's name. Blocks for the disk."""
    try:
        content = json.loads(read_own_file(file, limit=FILE_LIMIT))
        if not isinstance(content, dict):
            raise ValueError
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "damaged"
        log.warning(
            'the relays selected with `byway relay use` cannot be read from %s (%s): each group with policy = "select" '
            "uses its first relay until you select again",
            file.name, reason,
        )  # fmt: skip
        return {}
    pairs = list(content.items())[:GROUPS_MAX]
    return {group: relay for group, relay in pairs if isinstance(relay, str)}


def write_selection(file: Path, selected: Mapping[str, str]) -> None:
    """Replaces the file. Blocks for the disk. Raises BywayError when it cannot be written."""
    write_private(file, json.dumps(dict(selected)))
