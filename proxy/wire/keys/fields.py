"""The fields of a key, in any notation: which are used, which have no effect, and which refuse the key.

A key comes from a stranger, and what is dropped of it makes a connection weaker without a word. So for every protocol
and notation there is a table (`Rows`) of all fields that are known:

* used: the name under which the protocol asks for it; several spellings of one field have the same name;
* `Without`: known, and without effect for Byway, with the reason;
* `Refused`: known, and not supported: the key is refused and the field named, unless its value is harmless.

A field in no table refuses the key. The person may say that a field is ignored, but none of authentication. A sentence
names fields and quotes words of the protocols, never another value.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import TypeVar

from proxy.model import Destination
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.wire import hostnames
from proxy.wire.keys.pasted import decoded
from proxy.wire.keys.values import KeyProtocol

T = TypeVar("T")

VALUE_LIMIT = 8192
"""Characters of the longest value. Post-quantum keys take 3,000."""

NAME_LIMIT = 64
"""Characters of the longest name of a key; a longer one is cut."""

DEPTH_LIMIT = 8
"""Maps and lists in each other, in a key of a configuration. Real ones have four."""

_PAIRS = 64  # of one map, such as headers

Value = str | tuple[str, ...] | dict[str, str]
Nested = None | str | list["Nested"] | dict[str, "Nested"]
"""What JSON and YAML are read into. Numbers stay text; true and false are the text "true" and "false"."""


class Fault(StrEnum):
    """Why a key is refused."""

    DAMAGED = "damaged"  # it is of no known form, or a value cannot be right
    UNKNOWN = "unknown"  # it has a field, or a word as a value, that is in no table
    UNSUPPORTED = "unsupported"  # it needs what is known and not supported, or is not safe


class KeyRefused(ValueError):
    """A key, or a text with keys, that is not taken. The sentence is harmless to show. What is known of the key all the
    same is in `protocol`, `server` and `name`."""

    def __init__(self, sentence: str, fault: Fault = Fault.DAMAGED, field: str = "") -> None:
        super().__init__(sentence)
        self.fault = fault
        self.field = field
        self.protocol: KeyProtocol | None = None
        self.server: Destination | None = None
        self.name = ""


@frozen_dataclass
class Allowed:
    """What the person says to keys: the names of fields to ignore, in lower case, and the SHA-256 of the certificate to
    accept in place of a checked one."""

    ignore: frozenset[str] = frozenset()
    pin: bytes | None = None


NOTHING_ALLOWED = Allowed()


@frozen_dataclass
class Without:
    """A field that is known and without effect."""

    reason: str


@frozen_dataclass
class Refused:
    """A field that refuses the key, unless its value is one of `harmless`."""

    reason: str
    harmless: tuple[str, ...] = ("", "false")
    authenticates: bool = False


Rows = Mapping[str, str | Without | Refused]
"""By field, in lower case; of maps in each other, the path with dots."""


def merged(*tables: Rows) -> Rows:
    """Returns the rows of several tables; a later one wins."""
    return {field: row for table in tables for field, row in table.items()}


_AUTHENTICATION = frozenset(
    (
        "user", "password", "cipher", "encryption", "security", "tls", "reality", "reality_key", "reality_id",
        "insecure", "verify", "pin", "sni", "private_key", "public_key", "preshared_key", "host_keys", "passphrase",
        "obfs_password", "ech", "flow", "token",
    )
)  # fmt: skip
"""Used fields with which one side proves to the other who it is, or checks that."""

_SAFE_FIELD = re.compile(r"(?!(?:[^0-9]*+[0-9]){4})[A-Za-z0-9._-]{1,40}\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}\Z")
_HEX_PIN = re.compile(r"[0-9A-Fa-f]{64}\Z")
_ON = frozenset(("1", "true", "yes", "on"))
_OFF = frozenset(("", "0", "false", "no", "off", "none", "null"))


@frozen_dataclass
class Given:
    """A key as it is written: its parts that have a place of their own, such as the host of a link, under the names of
    used fields; its fields; and the rows of its notation."""

    protocol: KeyProtocol | None  # None: an ordinary relay in a configuration of keys
    parts: Mapping[str, str]
    fields: Mapping[str, Value]
    rows: Rows


class Fields:
    """The used fields of one key. Each method raises KeyRefused with a sentence that names the field."""

    def __init__(self, given: Given, allowed: Allowed) -> None:
        self._values: dict[str, tuple[str, Value]] = {
            name: (_PARTS.get(name, name), value) for name, value in given.parts.items()
        }
        self.pin = allowed.pin
        self._allowed = allowed
        self.refused: KeyRefused | None = None  # the first field for which the key is refused
        for field, value in given.fields.items():
            self.refused = self.refused or self._take(field, value, given.rows.get(field.lower()))

    def take_nested(self, prefix: str, key: Mapping[str, Nested], rows: Rows) -> None:
        """Takes the fields of a map that is the value of a field, as those of the key."""
        for field, value in flattened(key, rows).items():
            if (refused := self._take(f"{prefix}.{field}", value, rows.get(field.lower()))) is not None:
                raise refused

    def _take(self, field: str, value: Value, row: str | Without | Refused | None) -> KeyRefused | None:
        ignored = field.lower() in self._allowed.ignore
        if isinstance(row, Without):
            return None
        if isinstance(row, Refused):
            if isinstance(value, str) and value.lower() in row.harmless:
                return None
            if ignored and not row.authenticates:
                return None
            if ignored:
                return _never_ignored(field)
            return KeyRefused(f"field {field}: {row.reason}", Fault.UNSUPPORTED, field)
        if row is None:
            if ignored:
                return None
            sentence = f"field {shown(field)} is not known to Byway, and without it the connection may be weaker"
            return KeyRefused(sentence, Fault.UNKNOWN, field)
        if ignored and row in _AUTHENTICATION:
            return _never_ignored(field)
        if value == "" and row in self._values:
            return None
        there = self._values.setdefault(row, (field, value))
        if there[1] == "":
            self._values[row] = (field, value)
        elif there[1] != value and row != "name":
            return KeyRefused(f"fields {there[0]} and {field} contradict each other", field=field)
        return None

    def written(self, name: str) -> str:
        """Returns a used field as the key writes it: its name stands in a table."""
        return self._values[name][0] if name in self._values else name

    @property
    def name(self) -> str:
        """The name of the key: text of a stranger, made harmless."""
        value = self._values.get("name", ("", ""))[1]
        return clean_name(value) if isinstance(value, str) else ""

    def has(self, name: str) -> bool:
        """Whether the key has a value for a field."""
        return self._values.get(name, ("", ""))[1] not in ("", (), {})

    def damaged(self, name: str, is_not: str) -> KeyRefused:
        """Returns the refusal of a value."""
        return KeyRefused(f"field {self.written(name)} is not {is_not}", field=self.written(name))

    def unsupported(self, name: str, reason: str) -> KeyRefused:
        """Returns the refusal of what a field asks for."""
        return KeyRefused(f"field {self.written(name)}: {reason}", Fault.UNSUPPORTED, self.written(name))

    def text(self, *names: str) -> str:
        """Returns the value of the first of these fields that the key has, without control characters; else empty."""
        name = next(filter(self.has, names), names[-1])
        value = self._values.get(name, ("", ""))[1]
        if isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        if not isinstance(value, str):
            raise self.damaged(name, "one value")
        return self._checked(name, value)

    def lines(self, name: str) -> str:
        """As `text`, for text of several lines, such as PEM; a list has one in each item."""
        value = self._values.get(name, ("", ""))[1]
        text = "\n".join(value) if isinstance(value, tuple) else value
        if not isinstance(text, str) or len(text) > VALUE_LIMIT or _CONTROL.search(text.replace("\n", "")):
            raise self.damaged(name, f"printable text of at most {VALUE_LIMIT} characters")
        return text.strip()

    def _checked(self, name: str, value: str) -> str:
        if len(value) > VALUE_LIMIT or _CONTROL.search(value):
            raise self.damaged(name, f"printable text of at most {VALUE_LIMIT} characters")
        return value

    def needed(self, *names: str) -> str:
        """As `text`, for what no key lacks."""
        value = self.text(*names)
        if not value:
            raise KeyRefused(f"the key has no {_PARTS.get(names[0], names[0])}", field=names[0])
        return value

    def words(self, *names: str) -> tuple[str, ...]:
        """Returns a list, or the words between the commas of a text."""
        name = next(filter(self.has, names), names[-1])
        value = self._values.get(name, ("", ""))[1]
        if isinstance(value, dict):
            raise self.damaged(name, "a list")
        items = value.split(",") if isinstance(value, str) else value
        return tuple(word for item in items if (word := self._checked(name, item).strip()))

    def pairs(self, name: str) -> tuple[tuple[str, str], ...]:
        """Returns the headers in a map, each of which one line can hold."""
        value = self._values.get(name, ("", {}))[1]
        if value == "":
            return ()
        if not isinstance(value, dict):
            raise self.damaged(name, "a map of headers")
        for header, text in value.items():
            if not _HEADER.match(header) or not self._checked(name, text).isprintable():
                raise self.damaged(name, "a map of headers")
        return tuple(value.items())

    def flag(self, name: str) -> bool:
        """Returns a switch; one that is not given is off."""
        value = self.text(name).lower()
        if value in _ON or value in _OFF:
            return value in _ON
        raise self.damaged(name, "true or false")

    def number(self, name: str, *, most: int, least: int = 0) -> int:
        """Returns a number; 0 for none."""
        value = self.text(name).strip()
        if not value:
            return 0
        if not value.isascii() or not value.isdecimal() or len(value) > 10 or not least <= int(value) <= most:
            raise self.damaged(name, f"a number from {least} to {most}")
        return int(value)

    def choice(self, name: str, choices: Mapping[str, T], unsupported: Collection[str] = ()) -> T:
        """Returns what the word in a field stands for; "" is the word of a field that the key lacks."""
        word = self.text(name).strip().lower()
        if word in choices:
            return choices[word]
        if word in unsupported:
            sentence = f"{self.written(name)}={word} is not supported"
            raise KeyRefused(sentence, Fault.UNSUPPORTED, self.written(name))
        if not word:
            raise KeyRefused(f"the key has no {self.written(name)}", field=name)
        sentence = f"field {self.written(name)} has a value that is not known to Byway"
        raise KeyRefused(sentence, Fault.UNKNOWN, self.written(name))

    def host(self, name: str) -> str:
        """Returns a host in canonical spelling; empty for none."""
        value = self.text(name).strip()
        try:
            return hostnames.parse_host(value) if value else ""
        except ValueError:
            raise self.damaged(name, "a host name") from None

    def binary(self, name: str, *sizes: int) -> bytes:
        """Returns base64 in any of its spellings, decoded, of one of these sizes; empty for none."""
        value = self.text(name).strip().replace(" ", "+")  # in a query, + may have become a space
        data = decoded(value)
        if value and (data is None or (sizes and len(data) not in sizes)):
            raise self.damaged(name, f"base64 of {' or '.join(map(str, sizes))} bytes" if sizes else "base64")
        return data or b""

    def certificate_pin(self, name: str) -> bytes | None:
        """Returns the SHA-256 of a certificate, in hexadecimal digits with or without colons; None for none."""
        value = self.text(name).strip().replace(":", "")
        if not value:
            return None
        if not _HEX_PIN.match(value):
            raise self.damaged(name, "the SHA-256 of one certificate, in 64 hexadecimal digits")
        return bytes.fromhex(value)


_PARTS = {"server": "host", "port": "port", "user": "user", "password": "password", "name": "name"}


def _never_ignored(field: str) -> KeyRefused:
    sentence = f"field {field} is one of authentication, which cannot be ignored"
    return KeyRefused(sentence, Fault.UNSUPPORTED, field)


def shown(field: str) -> str:
    """Returns the name of a field if it is harmless to show: a part of a UUID or a password may stand in its place."""
    return field if _SAFE_FIELD.match(field) else "(with a name that is not shown)"


def make(given: Given, allowed: Allowed, build: Callable[[Fields, Destination, str], T]) -> T:
    """Makes the value of a key. Raises KeyRefused, with what is known of the key."""
    fields = Fields(given, allowed)
    name = fields.name
    server = None
    try:
        host = fields.needed("server")
        if not fields.has("port"):
            raise KeyRefused("the key has no port", field="port")
        try:
            server = Destination(hostnames.parse_host(host.strip()), hostnames.port(fields.text("port").strip()))
        except ValueError:
            raise KeyRefused(
                "the host or the port of the key is not valid: check its spelling", field="server"
            ) from None
        if fields.refused is not None:
            raise fields.refused
        if fields.has("carries") and "tcp" not in fields.words("carries"):
            raise fields.unsupported("carries", "Byway carries TCP, and no UDP")
        return build(fields, server, name)
    except KeyRefused as error:
        error.protocol, error.server, error.name = given.protocol, server, name
        raise


def clean_name(text: str) -> str:
    """Returns a name as printable text on one line, without invisible characters, cut after NAME_LIMIT characters."""
    visible = "".join(
        " " if character.isspace() else character
        for character in text[: 8 * NAME_LIMIT]
        if character.isspace() or unicodedata.category(character)[0] != "C"
    )
    return " ".join(visible.split())[:NAME_LIMIT].rstrip()


def flattened(key: Mapping[str, Nested], rows: Rows) -> dict[str, Value]:
    """Returns the fields of a map in maps, each under its path with dots. What is null or empty is not given, nor is a
    map that says of itself that it is not enabled. A map that has a row itself stays whole. Raises KeyRefused."""
    fields: dict[str, Value] = {}
    waiting: list[tuple[str, Nested, int]] = [(name, value, 1) for name, value in reversed([*key.items()])]
    while waiting:
        path, value, depth = waiting.pop()
        if depth > DEPTH_LIMIT or len(fields) > 512:
            raise KeyRefused("the key has too many fields, or too many in each other")
        if value is None or value == [] or value == {}:
            continue
        row = rows.get(path.lower())
        if isinstance(value, list):
            if len(value) == 1 and isinstance(value[0], dict):
                value = value[0]
            elif all(isinstance(item, str) for item in value):
                fields[path] = tuple(item for item in value if isinstance(item, str))
                continue
            elif isinstance(row, Without):
                continue
            else:
                sentence = f"field {shown(path)} has more than one entry, and Byway takes one"
                raise KeyRefused(sentence, Fault.UNSUPPORTED, path)
        if isinstance(value, str):
            fields[path] = value
        elif value.get("enabled", value.get("enable")) == "false":
            continue
        elif row is not None:
            fields[path] = _as_pairs(path, value) if isinstance(row, str) else "…"
        else:
            waiting += [(f"{path}.{name}", each, depth + 1) for name, each in reversed([*value.items()])]
    return fields


def _as_pairs(path: str, value: Mapping[str, Nested]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for name, each in value.items():
        if isinstance(each, list) and len(each) == 1:
            each = each[0]
        if not isinstance(each, str) or len(pairs) >= _PAIRS:
            raise KeyRefused(f"field {shown(path)} is not a map of headers", field=path)
        pairs[name] = each
    return pairs
