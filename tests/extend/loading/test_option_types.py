"""Addon files whose `Options` have the types that authors may declare: those of the guide, of the standard library, and
of pydantic. Each is set in a configuration, and has values that are refused."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Network
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from proxy.config import load as configuration
from proxy.extend.loading.loader import load
from proxy.model.errors import ConfigError


class Kind(NamedTuple):
    """An addon: its declarations, what is set (TOML), and what its options then are. `refused` is set in the place of
    that, with the problem that is named."""

    declared: str
    given: str
    expected: Mapping[str, object]
    refused: str
    problem: str


KINDS = {
    "guide": Kind(
        """
        from typing import Annotated

        @dataclass(frozen=True)
        class Options:
            sites: Annotated[tuple[str, ...], "never tried direct"] = ()
            relay: Annotated[str, "where they go instead"] = "tor"
        """,
        'sites = ["example.org", "example.net"]\nrelay = "vps"',
        {"sites": ("example.org", "example.net"), "relay": "vps"},
        "sites = [1]",
        "2: addons.pin.sites[1]: input should be a valid string",
    ),
    "plain": Kind(
        """
        @dataclass
        class Options:
            command: str
            on: bool = True
            hour: int = 0
            share: float = 0.25
        """,
        'command = "ssh"\non = false\nhour = 9\nshare = 1',
        {"command": "ssh", "on": False, "hour": 9, "share": 1.0},
        'command = "ssh"\nhour = "9"',
        "3: addons.pin.hour: input should be a valid integer",
    ),
    "table": Kind(
        """
        from dataclasses import field
        from typing import Annotated

        @dataclass(frozen=True)
        class Options:
            mirrors: Annotated[dict[str, str], "site and the URL to redirect to"] = field(default_factory=dict)
            hours: dict[str, list[int]] = field(default_factory=dict)
        """,
        'mirrors = {"example.org" = "https://example.net/{path}"}\nhours = {mo = [9, 17]}',
        {"mirrors": {"example.org": "https://example.net/{path}"}, "hours": {"mo": [9, 17]}},
        'mirrors = {"example.org" = 1}',
        "2: addons.pin.mirrors.example.org: input should be a valid string",
    ),
    "collections": Kind(
        """
        from dataclasses import field

        @dataclass
        class Options:
            names: set[str] = field(default_factory=lambda: {"tor"})
            fixed: frozenset[int] = frozenset()
            pair: tuple[str, int] = ("a", 1)
            rows: list[list[str]] = field(default_factory=list)
        """,
        'fixed = [1, 1, 2]\npair = ["b", 2]\nrows = [["a"], []]',
        {"names": {"tor"}, "fixed": frozenset({1, 2}), "pair": ("b", 2), "rows": [["a"], []]},
        'pair = ["b"]',
        "2: addons.pin.pair[2]: field required",
    ),
    "constrained": Kind(
        """
        from typing import Annotated
        from pydantic import Field, PositiveInt, StringConstraints

        @dataclass
        class Options:
            hour: Annotated[int, Field(ge=0, le=23, description="first hour")] = 0
            count: PositiveInt = 1
            name: Annotated[str, StringConstraints(pattern=r"^[a-z]+$", max_length=8)] = "tor"
            some: Annotated[list[int], Field(min_length=1)] = Field(default_factory=lambda: [1])
        """,
        'hour = 23\ncount = 2\nname = "vps"',
        {"hour": 23, "count": 2, "name": "vps", "some": [1]},
        "hour = 24",
        "2: addons.pin.hour: input should be less than or equal to 23",
    ),
    "old constraints": Kind(
        """
        from pydantic import conint, conlist, constr

        @dataclass
        class Options:
            hour: conint(ge=0, le=23) = 0
            word: constr(min_length=2) = "ab"
            two: conlist(str, max_length=2) = ()
        """,
        'hour = 1\nword = "tor"\ntwo = ["a"]',
        {"hour": 1, "word": "tor", "two": ["a"]},
        'word = "a"',
        "2: addons.pin.word: string should have at least 2 characters",
    ),
    "literal": Kind(
        """
        from typing import Literal

        @dataclass
        class Options:
            when: Literal["home", "away"] = "home"
            level: Literal[1, 2] = 1
        """,
        'when = "away"\nlevel = 2',
        {"when": "away", "level": 2},
        'when = "never"',
        "2: addons.pin.when: input should be 'home' or 'away'",
    ),
    "enums": Kind(
        """
        from enum import Enum, IntEnum, StrEnum

        class Word(StrEnum):
            A = "a"

        class Number(IntEnum):
            ONE = 1

        class Colour(Enum):
            RED = "red"

        @dataclass
        class Options:
            word: Word
            number: Number
            colour: Colour = Colour.RED
        """,
        'word = "a"\nnumber = 1\ncolour = "red"',
        {"word": "a", "number": 1, "colour": "red"},
        'word = "b"\nnumber = 1',
        "2: addons.pin.word: input should be 'a'",
    ),
    "nested dataclasses": Kind(
        """
        from dataclasses import field

        @dataclass
        class Site:
            host: str
            ports: list[int] = field(default_factory=list)

        @dataclass
        class Options:
            home: Site = field(default_factory=lambda: Site("example.org"))
            site: tuple[Site, ...] = ()
        """,
        'home = {host = "a.example"}\n[[addons.pin.site]]\nhost = "b.example"\nports = [443]',
        {"home.host": "a.example", "site": lambda sites: (sites[0].host, sites[0].ports) == ("b.example", [443])},
        "[[addons.pin.site]]\nports = [443]",
        "2: addons.pin.site[1].host: field required",
    ),
    "nested models": Kind(
        """
        from pydantic import BaseModel, ConfigDict

        class Site(BaseModel):
            model_config = ConfigDict(extra="forbid")
            host: str
            port: int = 443

        @dataclass
        class Options:
            site: Site | None = None
        """,
        'site = {host = "a.example"}',
        {"site.host": "a.example", "site.port": 443},
        'site = {host = "a.example", prot = 80}',
        "2: addons.pin.site.prot: extra inputs are not permitted",
    ),
    "validators": Kind(
        """
        from typing import Annotated
        from pydantic import AfterValidator, BeforeValidator

        def check(text):
            if "." not in text:
                raise ValueError("this is no domain")
            return text.lower()

        @dataclass
        class Options:
            host: Annotated[str, AfterValidator(check)] = "example.org"
            words: Annotated[list[str], BeforeValidator(lambda text: text.split())] = ()
        """,
        'host = "EXAMPLE.net"\nwords = "a b"',
        {"host": "example.net", "words": ["a", "b"]},
        'host = "localhost"',
        "2: addons.pin.host: value error, this is no domain",
    ),
    "dataclass of pydantic": Kind(
        """
        from pydantic import Field, field_validator, model_validator
        from pydantic.dataclasses import dataclass

        @dataclass
        class Options:
            first: int = Field(0, description="first hour", ge=0)
            last: int = 24

            @field_validator("last")
            @classmethod
            def is_even(cls, value):
                if value % 2:
                    raise ValueError("last is even")
                return value

            @model_validator(mode="after")
            def are_in_order(self):
                if self.first > self.last:
                    raise ValueError("first is at most last")
                return self
        """,
        "first = 2\nlast = 4",
        {"first": 2, "last": 4},
        "last = 3",
        "2: addons.pin.last: value error, last is even",
    ),
    "secrets": Kind(
        """
        from pydantic import SecretStr

        @dataclass
        class Options:
            token: SecretStr = SecretStr("")
        """,
        'token = "abc"',
        {"token": lambda token: token.get_secret_value() == "abc" and "abc" not in repr(token)},
        "token = 1",
        "2: addons.pin.token: input should be a valid string",
    ),
    "URLs": Kind(
        """
        from pydantic import AnyUrl, HttpUrl

        @dataclass
        class Options:
            page: HttpUrl | None = None
            relay: AnyUrl | None = None
        """,
        'page = "https://example.org/a"\nrelay = "socks5h://127.0.0.1:1080"',
        {"page": lambda page: (page.host, page.path) == ("example.org", "/a"), "relay.port": 1080},
        'page = "ftp://example.org/"',
        "2: addons.pin.page: URL scheme should be 'http' or 'https'",
    ),
    "addresses": Kind(
        """
        from ipaddress import IPv4Address, IPv6Network
        from pydantic import IPvAnyAddress

        @dataclass
        class Options:
            here: IPv4Address
            there: IPvAnyAddress = IPv4Address("192.0.2.1")
            prefix: IPv6Network | None = None
        """,
        'here = "127.0.0.1"\nthere = "192.0.2.7"\nprefix = "2001:db8::/32"',
        {
            "here": IPv4Address("127.0.0.1"),
            "there": IPv4Address("192.0.2.7"),
            "prefix": IPv6Network("2001:db8::/32"),
        },
        'here = "example.org"',
        "2: addons.pin.here: value error, Expected 4 octets in 'example.org'",
    ),
    "times": Kind(
        """
        from datetime import date, datetime, time, timedelta

        @dataclass
        class Options:
            since: datetime | None = None
            day: date | None = None
            begin: time = time(9)
            end: time = time(17)
            every: timedelta = timedelta(0)
        """,
        'since = 2026-11-25T19:30:00Z\nday = 2026-11-25\nbegin = 06:30:00\nend = "22:00"\nevery = "PT90S"',
        {
            "since": datetime(2026, 11, 25, 19, 30, tzinfo=UTC),
            "day": date(2026, 11, 25),
            "begin": time(6, 30),
            "end": time(22),
            "every": timedelta(seconds=90),
        },
        'begin = "noon"',
        "2: addons.pin.begin: input should be in a valid time format",
    ),
    "paths and numbers": Kind(
        """
        from decimal import Decimal
        from pathlib import Path
        from re import Pattern
        from uuid import UUID
        from pydantic import ByteSize

        @dataclass
        class Options:
            key: Path | None = None
            pattern: Pattern[str] | None = None
            price: Decimal = Decimal(0)
            id: UUID | None = None
            limit: ByteSize = ByteSize(0)
        """,
        'key = "/k"\npattern = "^a$"\nprice = "1.10"\nid = "12345678123456781234567812345678"\nlimit = "2KiB"',
        {
            "key": Path("/k"),
            "pattern": re.compile("^a$"),
            "price": Decimal("1.10"),
            "id": UUID("12345678123456781234567812345678"),
            "limit": 2048,
        },
        'pattern = "("',
        "2: addons.pin.pattern: input should be a valid regular expression",
    ),
    "unions": Kind(
        """
        from typing import Any, Optional, Union

        @dataclass
        class Options:
            relay: Optional[str] = None
            port: int | str = 0
            ports: Union[list[int], bool] = False
            anything: Any = None
        """,
        'relay = "tor"\nport = "any"\nports = [1]\nanything = {a = 1}',
        {"relay": "tor", "port": "any", "ports": [1], "anything": {"a": 1}},
        "relay = 1",
        "2: addons.pin.relay: input should be a valid string",
    ),
    "tagged unions": Kind(
        """
        from typing import Annotated, Literal
        from pydantic import Field

        @dataclass(frozen=True)
        class Tor:
            kind: Literal["tor"]
            port: int = 9050

        @dataclass
        class Ssh:
            kind: Literal["ssh"]
            host: str

        @dataclass
        class Options:
            use: Annotated[Tor | Ssh, Field(discriminator="kind")] = Tor("tor")
        """,
        'use = {kind = "ssh", host = "a.example"}',
        {"use.kind": "ssh", "use.host": "a.example"},
        'use = {kind = "ssh"}',
        "2: addons.pin.use.ssh.host: field required",
    ),
    "tables by type": Kind(
        """
        from typing import NamedTuple, NotRequired
        from typing_extensions import TypedDict

        class Site(TypedDict):
            host: str
            port: NotRequired[int]

        class Pair(NamedTuple):
            name: str
            weight: float

        @dataclass
        class Options:
            site: Site
            pair: Pair = Pair("a", 1.0)
        """,
        'site = {host = "a.example"}\npair = ["b", 2]',
        {"site": {"host": "a.example"}, "pair.name": "b", "pair.weight": 2.0},
        'site = {port = 1}',
        "2: addons.pin.site.host: field required",
    ),
    "inherited": Kind(
        """
        from dataclasses import InitVar, KW_ONLY, field
        from typing import ClassVar

        @dataclass(slots=True)
        class Base:
            relay: str = "tor"

        @dataclass(slots=True)
        class Options(Base):
            LIMIT: ClassVar[int] = 3
            _: KW_ONLY
            count: int = 1
            double: int = field(init=False, default=0)

            def __post_init__(self):
                if self.count > self.LIMIT:
                    raise ValueError("count is at most 3")
                self.double = 2 * self.count
        """,
        'relay = "vps"\ncount = 2',
        {"relay": "vps", "count": 2, "double": 4},
        "count = 4",
        "1: addons.pin: value error, count is at most 3",
    ),
    "text as types": Kind(
        """
        from __future__ import annotations
        from pathlib import Path

        @dataclass
        class Options:
            file: Path | None = None
            site: list[Site] = ()

        @dataclass
        class Site:
            host: str
        """,
        'file = "/f"\nsite = [{host = "a.example"}]',
        {"file": Path("/f"), "site": lambda sites: sites[0].host == "a.example"},
        "site = [{}]",
        "2: addons.pin.site[1].host: field required",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_options_have_the_declared_types(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    options = loaded(tmp_path, kind.declared, kind.given)
    for path, expected in kind.expected.items():
        value = options
        for attribute in path.split("."):
            value = getattr(value, attribute)
        if isinstance(value, Enum):
            assert type(value).__module__.startswith("byway addon")
            value = value.value
        if callable(expected):
            assert expected(value), path
        else:
            assert isinstance(value, type(expected)), path
            assert value == expected, path


@pytest.mark.parametrize("name", KINDS)
def test_an_option_of_another_type_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, kind.declared, kind.refused)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path}/config.toml:{kind.problem}")


def loaded(folder: Path, declared: str, given: str) -> Any:
    """Loads the addon with what a configuration sets for it. Returns its options."""
    file = folder / "pin.py"
    future, _, rest = textwrap.dedent(declared).partition("\n\n") if "__future__" in declared else ("", "", declared)
    hook = "def admit(request):\n    return None\n"
    file.write_text(f"{future}\nfrom dataclasses import dataclass\n{textwrap.dedent(rest)}\n{hook}")
    file.chmod(0o600)
    config = folder / "config.toml"
    config.write_text(f"[addons.pin]\n{given}\n")
    config.chmod(0o600)
    settings = configuration.load(config)
    table = settings.settings.addons["pin"].options
    return load(file, "pin", table, place=settings.place).options
