"""Finds out which program a configuration is from, and reads it.

JSON and YAML are read by `wire.keys.notations`, which has limits of size, depth and count, and refuses anchors, tags
and fields given twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from proxy.features.imports import clash, nekoray, omega, sing_box, xray
from proxy.features.imports.foreign import Foreign, ForeignRelay, Unreadable, of_item, unbroken
from proxy.routing import foreign_rules
from proxy.wire import relay_url
from proxy.wire.keys.fields import KeyRefused, Nested, clean_name
from proxy.wire.keys.notations import json_value, yaml_value
from proxy.wire.keys.pasted import TEXT_LIMIT, Form, body_of, decoded_text, form_of, lines_of, scheme_of
from proxy.wire.keys.reader import KEYS_LIMIT, read_collection
from proxy.wire.keys.values import Key, RelayLink

BACKUP_LIMIT = 16 * 1024 * 1024
"""Bytes of a backup of SwitchyOmega: it has the text of fetched lists."""

KINDS = "Clash, sing-box, v2rayN or Xray, nekoray, SwitchyOmega or ZeroOmega"


def read_foreign(text: str, *, profile: str | None = None) -> Foreign:
    """Reads a configuration of another program. `profile`: see `omega.read_backup`. Raises Unreadable."""
    text = body_of(text)
    is_json = text[:1] in ("{", "[")
    if len(text.encode(errors="replace")) > (BACKUP_LIMIT if is_json and '"profileType"' in text else TEXT_LIMIT):
        raise Unreadable(f"it is larger than {TEXT_LIMIT // 1024:,} KiB")
    try:
        found = _of_links(text) or _of_value(text, is_json=is_json, profile=profile)
    except KeyRefused as error:
        raise Unreadable(str(error)) from None
    if profile is not None and not found.form.startswith("a backup"):
        raise Unreadable("it has no profiles; --profile is for backups of SwitchyOmega and ZeroOmega")
    return found


def _of_links(text: str) -> Foreign | None:
    """Reads links in lines, also as a base64 bundle, also those of nekoray; None: the text is something else."""
    form = form_of(text)
    if form is Form.BUNDLE:
        text = decoded_text("".join(text.split())) or ""
    lines = lines_of(text)
    if not lines or not scheme_of(lines[0]):
        return None
    if len(lines) > KEYS_LIMIT:
        raise Unreadable(f"it has {len(lines):,} links, and Byway takes at most {KEYS_LIMIT:,} at once")
    others = [line for line in lines if not nekoray.LINK.match(line)]
    items = iter(read_collection("\n".join((*others, "#"))).items if others else ())
    relays: list[ForeignRelay] = []
    for number, line in enumerate(lines, 1):
        if nekoray.LINK.match(line):
            relays.append(nekoray.read_link(line))
        else:
            item = next(items)
            relays.append(of_item(clean_name(_name(item)) or f"link {number}", item, line))
    return Foreign("a list of links", tuple(_with_own_names(relays)))


def _with_own_names(relays: list[ForeignRelay]) -> Iterator[ForeignRelay]:
    """Yields relays whose names differ: no rule refers to them."""
    counts: Counter[str] = Counter()
    for relay in relays:
        counts[relay.name] += 1
        number = counts[relay.name]
        yield replace(relay, name=relay.name if number == 1 else f"{relay.name} ({number})")


def _of_value(text: str, *, is_json: bool, profile: str | None) -> Foreign:
    if text.startswith("[") and foreign_rules.recognizes(text):
        raise Unreadable("it is a list of conditions: `byway rule import FILE` reads it")
    value = unbroken(_parsed(text, is_json=is_json))
    if isinstance(value, dict):
        return _of_map(value, profile)
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return _of_list([each for each in value if isinstance(each, dict)])
    if not is_json and foreign_rules.recognizes(text):
        raise Unreadable("it has rules alone: `byway rule import FILE --add` reads them")
    raise Unreadable(f"it is no configuration of {KINDS}")


def _parsed(text: str, *, is_json: bool) -> Nested:
    if not is_json:
        return yaml_value(text)
    try:
        return json_value(text)
    except KeyRefused as error:
        try:
            return yaml_value(text)  # in which Clash can be written with brackets
        except KeyRefused:
            raise error from None


def _of_map(value: Mapping[str, Nested], profile: str | None) -> Foreign:
    if omega.is_backup(value):
        return omega.read_backup(value, profile)
    if isinstance(value.get("bean"), dict):
        return nekoray.read_profile(value)
    if "def_outbound" in value or "direct_domain" in value:
        return nekoray.read_routes(value)
    if any(name in value for name in ("proxies", "proxy-groups", "rules", "proxy-providers")):
        return clash.read_clash(value)
    if "routing" in value or any("protocol" in each for each in _outbounds(value)):
        return xray.read_xray(value)
    if any(name in value for name in ("outbounds", "endpoints", "route")):
        return sing_box.read_sing_box(value)
    if "servers" in value:
        return _of_shadowsocks(value)
    raise Unreadable(f"it is no configuration of {KINDS}")


def _of_list(entries: list[dict[str, Nested]]) -> Foreign:
    if any("outboundtag" in (name.lower() for name in each) for each in entries):
        return xray.read_rules(entries)
    if any("protocol" in each for each in entries):
        return xray.read_xray({"outbounds": [*entries]})
    if any("tag" in each and "type" in each for each in entries):
        return sing_box.read_sing_box({"outbounds": [*entries]})
    raise Unreadable(f"it is no configuration of {KINDS}")


def _outbounds(value: Mapping[str, Nested]) -> list[dict[str, Nested]]:
    found = value.get("outbounds")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _of_shadowsocks(value: Mapping[str, Nested]) -> Foreign:
    """Reads a list of keys by SIP008."""
    collection = read_collection(json.dumps(value))
    relays = [of_item(clean_name(_name(item)) or f"server {number}", item)
              for number, item in enumerate(collection.items, 1)]  # fmt: skip
    return Foreign(str(collection.form), tuple(_with_own_names(relays)))


def _name(item: Key | RelayLink | KeyRefused) -> str:
    """Returns the name of an item; that of a URL stands after its #."""
    if not isinstance(item, RelayLink):
        return item.name
    return item.label or relay_url.without_label(item.url)[1]
