"""The notations in which keys are written, each read into text, lists and maps: URLs, JSON, YAML, sections of lines.

All of it is a stranger's text: sizes and depths have limits, no map gives a field twice, and YAML has neither anchors,
which can multiply a text, nor tags, which can name types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, unquote_to_bytes

from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire.keys.fields import VALUE_LIMIT, Fault, KeyRefused, Nested, Value, shown

if TYPE_CHECKING:
    import yaml

LINK_LIMIT = 16 * 1024
"""Characters of the longest link."""

QUERY_LIMIT = 64
"""Fields of the longest query."""

NESTING_LIMIT = 32
"""Maps and lists in each other, in a configuration."""

YAML_MISSING = "it is YAML, which PyYAML reads, and that is not installed; install byway[yaml]"
_LOCATED = re.compile(r"@[^@/?]+:[0-9]+(?:[/?]|\Z)")
_FIELD = re.compile(r"[?&][A-Za-z_-]+=")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


@frozen_dataclass
class Link:
    """The parts of a link: `scheme://user@host:port/path?query#name`. What is absent is empty."""

    scheme: str  # in lower case
    user: str  # percent-encoded
    host: str  # without brackets
    port: str
    path: str
    query: Mapping[str, Value]
    name: str

    def __repr__(self) -> str:
        return f"<Link {self.scheme}>"


def split_link(text: str, *, spaced: tuple[str, ...] = ()) -> Link:
    """Splits a link. In the query fields `spaced`, + stands for a space. Raises KeyRefused."""
    scheme, _, rest = text.strip().partition("://")
    rest, _, name = rest.partition("#")
    if "@" not in rest and _LOCATED.search(name):
        raise KeyRefused("what stands before @ contains #: write it as %23")
    if _FIELD.search(name):  # the fields of a damaged link, behind a # that is in the wrong place
        name = ""
    rest, _, query = rest.partition("?")
    if "@" in query and "@" not in rest:
        raise KeyRefused("what stands before @ contains ?: write it as %3F")
    authority, slash, path = rest.partition("/")
    if slash and "@" in path and "@" not in authority:
        raise KeyRefused("what stands before @ contains /: write it as %2F")
    user, _, location = authority.rpartition("@")
    host, colon, port = location.rpartition(":")
    if not colon or location.endswith("]"):
        host, port = location, ""
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise KeyRefused("an IPv6 address needs brackets, as in [2001:db8::1]:443", field="server")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    return Link(scheme.lower(), user, host, port, slash + path, query_of(query, spaced), unquote(name))


def query_of(query: str, spaced: tuple[str, ...] = ()) -> dict[str, Value]:
    """Splits a query, also one that was copied out of the source of a page or of JSON, where & is written otherwise.
    Raises KeyRefused."""
    fields: dict[str, Value] = {}
    query = query.replace("&amp;", "&").replace("\\u0026", "&")
    items = [item for item in query.split("&", QUERY_LIMIT) if item]
    if len(items) >= QUERY_LIMIT:
        raise KeyRefused(f"a link has at most {QUERY_LIMIT} fields")
    for item in items:
        field, _, text = item.partition("=")
        value = percent_decoded(text.replace("+", " ") if field.lower() in spaced else text, shown(field))
        if fields.setdefault(field, value) != value:
            raise KeyRefused(f"the link gives {shown(field)} twice", field=field)
    return fields


def percent_decoded(text: str, what: str) -> str:
    """Decodes percent-encoded UTF-8. A % that begins no pair of digits stands for itself. Raises KeyRefused."""
    try:
        return unquote_to_bytes(_PERCENT.sub("%25", text)).decode()
    except UnicodeDecodeError:
        raise KeyRefused(f"{what} is not percent-encoded UTF-8", field=what) from None


# -- JSON --------------------------------------------------------------------------------------------------------------


def json_value(text: str) -> Nested:
    """Reads JSON. Numbers stay text, true and false become text. Raises KeyRefused."""
    try:
        value: object = json.loads(
            text, object_pairs_hook=_map, parse_int=str, parse_float=str, parse_constant=_no_number
        )
        return _without_types(value)
    except RecursionError:
        raise KeyRefused("the JSON has too many brackets in each other") from None
    except json.JSONDecodeError as error:
        raise KeyRefused(f"it is not valid JSON: the fault is in line {error.lineno}") from None


def json_map(text: str) -> dict[str, Nested]:
    """As `json_value`, for a map; [] and null are an empty one."""
    value = json_value(text)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        raise KeyRefused("the JSON is not a map")
    return value


def _map(pairs: list[tuple[str, object]]) -> dict[str, Nested]:
    found = {name: _without_types(value) for name, value in pairs}
    if len(found) != len(pairs):
        raise KeyRefused("the JSON gives a field twice")
    return found


def _without_types(value: object) -> Nested:
    """Maps are without them already: the innermost is made first."""
    if isinstance(value, list):
        return [_without_types(item) for item in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    assert value is None or isinstance(value, str | dict)
    return value


def _no_number(_name: str) -> str:
    raise KeyRefused("the JSON has a number that is none (NaN, Infinity)")


# -- YAML --------------------------------------------------------------------------------------------------------------


def yaml_value(text: str) -> Nested:
    """Reads one YAML document by its events: text, lists and maps, of which nothing is built but these. Raises
    KeyRefused, also for anchors, tags and a field given twice, and where PyYAML is missing."""
    try:
        import yaml  # only a Clash configuration needs it: of `relay add`, an import, or a subscription
    except ImportError:
        raise KeyRefused(YAML_MISSING) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # of libyaml, which takes a twentieth of the time
    try:
        return _document(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        line = f": the fault is in line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise KeyRefused(f"it is not valid YAML{line}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, KeyRefused):
            raise
        raise KeyRefused("it is not valid YAML") from None


def _document(events: Iterator[yaml.Event]) -> Nested:
    import yaml

    whole: list[Nested] = []
    open_lists: list[tuple[list[Nested], bool]] = [(whole, False)]  # of a map: its names and values in turn
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent) and whole:
            raise KeyRefused("the YAML has more than one document")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise KeyRefused("the YAML has an anchor (&) or an alias (*), which Byway does not read", Fault.UNSUPPORTED)
        if getattr(event, "tag", None) is not None:
            raise KeyRefused("the YAML has a tag (!), which Byway does not read", Fault.UNSUPPORTED)
        if isinstance(event, yaml.ScalarEvent):
            is_null = event.implicit[0] and event.value in ("", "~", "null", "Null", "NULL")
            open_lists[-1][0].append(None if is_null else event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(open_lists) > NESTING_LIMIT:
                raise KeyRefused(f"the YAML has more than {NESTING_LIMIT} lists and maps in each other")
            open_lists.append(([], isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            items, is_map = open_lists.pop()
            open_lists[-1][0].append(_map_of(items) if is_map else items)
    return whole[0] if whole else None


def _map_of(items: list[Nested]) -> dict[str, Nested]:
    found: dict[str, Nested] = {}
    for name, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(name, str):
            name = "null" if name is None else ""
        if name in found or name == "<<":
            raise KeyRefused("the YAML gives a field twice" if name in found else "the YAML merges maps (<<)")
        found[name] = value
    return found


# -- sections of lines -------------------------------------------------------------------------------------------------


def sections(text: str) -> list[tuple[str, dict[str, Value]]]:
    """Reads a configuration of WireGuard: `[Name]`, then `field = value` in each line; what follows # is a comment. A
    field that is given again continues its list. Raises KeyRefused."""
    found: list[tuple[str, dict[str, Value]]] = []
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line or line.startswith(";"):
            continue
        if line.startswith("[") and line.endswith("]"):
            found.append((line[1:-1].strip().lower(), {}))
            continue
        field, equals, value = line.partition("=")
        if not found or not equals:
            raise KeyRefused("it is not a configuration of WireGuard: it has a line without =")
        field, fields = field.strip(), found[-1][1]
        there = next((name for name in fields if name.lower() == field.lower()), None)
        if there is None:
            fields[field] = value.strip()
        else:
            fields[there] = f"{fields[there]},{value.strip()}"
        if len(fields) > QUERY_LIMIT or len(found) > QUERY_LIMIT or len(fields[there or field]) > VALUE_LIMIT:
            raise KeyRefused("it has too many fields")
    return found
