"""The settings in effect."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import date, time
from typing import Any

from proxy.config.relays import is_member
from proxy.config.schema import Settings
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.relay_url import redact
from proxy.wire.url_secrets import hide_paths, hide_secrets

SECRET_KEY = re.compile(r"(?:^|_)(?:pass(?:word|wd)?|secret|token|credentials?|key)(?:_|$)", re.IGNORECASE)
"""Keys whose value may be a secret, or a command that prints one; also those of options of addons, which may have any
name."""

_URLS = frozenset({"source", "allow"})
"""Keys whose value may be a URL with a secret, besides those of relays."""


def settings_json(configured: Settings) -> dict[str, Any]:
    """Returns all settings in effect, as tables of config.toml, without secrets, and without the relays that follow
    from a subscription."""
    of_subscriptions = {item.name for item in configured.subscription}
    configured = replace(
        configured,
        relay=tuple(relay for relay in configured.relay if not is_member(relay.name)),
        group=tuple(group for group in configured.group if group.name not in of_subscriptions),
    )
    document: dict[str, Any] = _without_secrets(asdict(configured))
    document["subscription"] = [_without_secrets(asdict(each), hide=hide_paths) for each in configured.subscription]
    document["dns"]["servers"] = _without_secrets(configured.dns.servers, "servers", hide=hide_paths)
    for name, table in document["addons"].items():
        del table["options"]
        table |= _without_secrets(configured.addons[name].options, hide=hide_paths)
    return document


def _without_secrets(value: Any, key: str = "", *, hide: Callable[[str], str] | None = None) -> Any:
    """Returns a value without secrets. `hide` hides those in each text; None: only in the texts of _URLS."""
    if isinstance(value, Mapping):
        return {name: _without_secrets(part, name, hide=hide) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(part, key, hide=hide) for part in value]
    if isinstance(value, str):
        text = redact(value)
        if SECRET_KEY.search(key) and value:
            return "(set)"
        if hide is not None:
            return hide(text)
        return hide_secrets(text) if key in _URLS else text
    return value.isoformat() if isinstance(value, date | time) else value  # TOML has them; JSON has not


@frozen_dataclass
class ConfigAnswer:
    """The configuration in use. `path` is null when there is no file; `settings` are the tables of config.toml."""

    path: str | None
    notices: tuple[str, ...]
    settings: Mapping[str, Any]


@frozen_dataclass
class ReloadAnswer:
    """Whether the configuration is now in use; otherwise, every problem with its file and line."""

    taken: bool
    problems: tuple[str, ...]


@frozen_dataclass
class ForgetAnswer:
    """The deleted things besides the log, in words."""

    deleted: tuple[str, ...]
