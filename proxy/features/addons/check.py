"""Checks one addon file: its hooks and options. Runs in a separate process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from proxy.config.load import Loaded
from proxy.extend.hooks import HOOKS
from proxy.extend.loading import loader
from proxy.extend.loading.addon import Addon
from proxy.extend.loading.options import describe, prepare
from proxy.extend.loading.static_scan import MITMPROXY_HOOKS
from proxy.features.addons.sandbox import paths_of, within
from proxy.terminal.offline import read_configuration

Document = dict[str, Any]


def check(request: Mapping[str, Any]) -> Document:
    """Returns the hooks and options of a file. Raises ConfigError with all problems of the file, or of its table in the
    configuration."""
    addon = load_addon(Path(request["file"]), read_configuration(paths_of(request)), limit_s=request["load_s"])
    return {
        "name": addon.name,
        "version": addon.version,
        "hooks": [name for name in HOOKS if name in addon.hooks],
        "inspects": sorted(_inspecting(addon)),
        "options": [
            {
                "name": option.name,
                "type": option.kind,
                "default": None if option.default is MISSING else _plain(option.default),
                "required": option.default is MISSING,
                "value": _plain(getattr(addon.options, option.name)),
                "help": option.help,
            }
            for option in describe(addon.module)
        ],
    }


def load_addon(file: Path, loaded: Loaded, *, limit_s: float) -> Addon:
    """Loads the addon in `file` with its options from the configuration. Raises ConfigError."""
    table = loaded.settings.addons.get(file.stem)
    own = {} if table is None else table.options
    prepare()
    with within(limit_s):
        return loader.load(file, file.stem, own, place=loaded.place)


def _inspecting(addon: Addon) -> set[str]:
    """Returns the hooks of mitmproxy that an addon has. A function that its module only imports is none."""
    if addon.objects == (addon.module,):
        own = vars(addon.module)
        return {name for name in MITMPROXY_HOOKS if getattr(own.get(name), "__module__", "") == addon.module.__name__}
    return {name for thing in addon.objects for name in MITMPROXY_HOOKS if callable(getattr(type(thing), name, None))}


def _plain(value: Any) -> Any:
    """Returns the value in a form that JSON can hold."""
    return json.loads(json.dumps(value, default=str))
