"""Writes entries in the formats of other programs.

What a format can say is written so that reading it gives the same entries again. Where it cannot say whether a domain
stands for its subdomains, the nearest that it can say is written and counted. What it has no words for, such as a
prefix in a hosts file, is left out and counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

from proxy.model import bracketed
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.routing.domain_set import Covers
from proxy.routing.lists.matcher import Entry, EntryKind


class ExportFormat(StrEnum):
    """The formats that can be written."""

    CLASH = "clash"
    CLASH_DOMAIN = "clash-domain"
    SING_BOX = "sing-box"
    V2FLY = "v2fly"
    AUTOPROXY = "autoproxy"
    ADBLOCK = "adblock"
    HOSTS = "hosts"
    DNSMASQ = "dnsmasq"
    PLAIN = "plain"
    PAC = "pac"
    SWITCHYOMEGA = "switchyomega"


class Changed(StrEnum):
    """How an entry had to be changed to be written."""

    WIDENED = "widened"
    """A host is written as a domain with its subdomains."""
    NARROWED = "narrowed"
    """A domain with its subdomains is written as the host alone."""
    COMPLETED = "completed"
    """The subdomains of a domain are written with the domain itself."""


@frozen_dataclass
class Exported:
    """A list in another format."""

    text: str
    written: int
    """Entries, and exceptions, that are in the text."""
    changed: Mapping[Changed, int]
    left_out: Mapping[str, int]
    """By kind of entry, and `exception`."""


Say = Callable[[Entry], str | None]
"""Returns what stands for an entry; None when the format cannot say it."""


def export(format: ExportFormat, entries: Iterable[Entry], exceptions: Iterable[Entry] = ()) -> Exported:  # noqa: A002
    """Returns a list in a format. `exceptions` are what is not meant although an entry covers it."""
    say, lay_out, say_exception = _FORMATS[format]
    said: list[str] = []
    changed: Counter[Changed] = Counter()
    left_out: Counter[str] = Counter()
    for entry in entries:
        words = say(entry)
        if words is None and entry.kind is EntryKind.DOMAIN and entry.covers in _NEAREST:
            covers, change = _NEAREST[entry.covers]
            words = say(entry._replace(covers=covers))
            changed[change] += words is not None
        if words is None:
            left_out[entry.kind] += 1
        else:
            said.append(words)
    for entry in exceptions:
        words = None if say_exception is None else say_exception(entry)
        if words is None:
            left_out["exception"] += 1
        else:
            said.append(words)
    return Exported(lay_out(list(dict.fromkeys(said))), len(said), +changed, left_out)


_NEAREST = {
    Covers.HOST: (Covers.SITE, Changed.WIDENED),
    Covers.SITE: (Covers.HOST, Changed.NARROWED),
    Covers.SUBDOMAINS: (Covers.SITE, Changed.COMPLETED),
}


def _by_covers(*, host: str = "", site: str = "", below: str = "", children: str = "", prefix: str = "") -> Say:
    """Returns what says a domain or a prefix, by templates in which {} is the name; "" for what cannot be said."""
    templates = {
        Covers.HOST: host, Covers.SITE: site, Covers.SUBDOMAINS: below, Covers.CHILDREN: children
    }  # fmt: skip

    def say(entry: Entry) -> str | None:
        template = ""
        if entry.kind is EntryKind.DOMAIN:
            template = templates.get(entry.covers, "")
        elif entry.kind is EntryKind.PREFIX:
            template = prefix
        return template.format(entry.text) if template else None

    return say


def _clash(entry: Entry) -> str | None:
    """Behavior classical: a type, and a prefix always with its length."""
    if entry.kind is EntryKind.KEYWORD:
        return f"DOMAIN-KEYWORD,{entry.text}"
    if entry.kind is EntryKind.PREFIX:
        return f"{'IP-CIDR6' if ':' in entry.text else 'IP-CIDR'},{_with_length(entry.text)}"
    return _by_covers(host="DOMAIN,{}", site="DOMAIN-SUFFIX,{}")(entry)


def _sing_box(entry: Entry) -> str | None:
    """The field and the value of a rule."""
    if entry.kind is EntryKind.KEYWORD:
        return f"domain_keyword {entry.text}"
    if entry.kind is EntryKind.PREFIX:
        return f"ip_cidr {_with_length(entry.text)}"
    return _by_covers(host="domain {}", site="domain_suffix {}", below="domain_suffix .{}")(entry)


def _v2fly(entry: Entry) -> str | None:
    if entry.kind is EntryKind.KEYWORD:
        return f"keyword:{entry.text}"
    return _by_covers(host="full:{}", site="domain:{}")(entry)


def _adblock(entry: Entry) -> str | None:
    """Of prefixes, single addresses only."""
    if entry.kind is EntryKind.PREFIX:
        return None if "/" in entry.text else f"||{bracketed(entry.text)}^"
    return _by_covers(host="//{}^", site="||{}^", below="||*.{}^")(entry)


def _adblock_exception(entry: Entry) -> str | None:
    words = _adblock(entry)
    return None if words is None else f"@@{words}"


def _autoproxy(entry: Entry) -> str | None:
    """As gfwlist spells them: SwitchyOmega and gfwlist2pac, which read it, know no `^`. A host is an URL of each
    scheme."""
    if entry.kind is EntryKind.PREFIX:
        return None if "/" in entry.text else f"||{bracketed(entry.text)}"
    return _by_covers(host="|http://{0}/\n|https://{0}/", site="||{}", below=".{}")(entry)


def _autoproxy_exception(entry: Entry) -> str | None:
    """An exception of URLs would except a part of the host only."""
    is_host = entry.kind is EntryKind.DOMAIN and entry.covers is Covers.HOST
    words = _adblock(entry) if is_host else _autoproxy(entry)
    return None if words is None else f"@@{words}"


def _switchyomega(entry: Entry) -> str | None:
    """Conditions of SwitchyOmega: there `*.example.com` is example.com as well, and `**.example.com` is not."""
    if entry.kind is EntryKind.KEYWORD:
        return f"{'**' if entry.text.startswith('.') else '*'}{entry.text}*"
    if entry.kind is EntryKind.PREFIX:
        return f"Ip: {_with_length(entry.text)}"
    return _by_covers(host="{}", site="*.{}", below="**.{}")(entry)


def _with_length(prefix: str) -> str:
    return prefix if "/" in prefix else f"{prefix}/{128 if ':' in prefix else 32}"


def _lines(said: Sequence[str]) -> str:
    return "".join(f"{words}\n" for words in said)


def _headed(header: str) -> Callable[[Sequence[str]], str]:
    return lambda said: f"{header}\n{_lines(said)}"


def _payload(said: Sequence[str]) -> str:
    """YAML. In quotes: a plus or a star would mean something there."""
    return "payload:\n" + "".join(f"  - '{words}'\n" for words in said) if said else "payload: []\n"


def _rule_set(said: Sequence[str]) -> str:
    """A source rule-set of sing-box. Fields of one rule that are about the destination are alternatives."""
    fields: dict[str, list[str]] = {}
    for words in said:
        field, _, value = words.partition(" ")
        fields.setdefault(field, []).append(value)
    return json.dumps({"version": 1, "rules": [fields] if fields else []}, indent=2) + "\n"


_PAC = """\
var proxy = "PROXY 127.0.0.1:8119";
var direct = "DIRECT";
var domains = %s;

function FindProxyForURL(url, host) {
  var suffix = host;
  while (suffix) {
    if (Object.prototype.hasOwnProperty.call(domains, suffix)) return proxy;
    var dot = suffix.indexOf(".");
    suffix = dot < 0 ? "" : suffix.substring(dot + 1);
  }
  return direct;
}
"""
"""As gfwlist2pac writes it: a table of domains, each with its subdomains."""


def _pac(said: Sequence[str]) -> str:
    return _PAC % json.dumps(dict.fromkeys(said, 1), indent=2)


_FORMATS: Mapping[ExportFormat, tuple[Say, Callable[[Sequence[str]], str], Say | None]] = {
    ExportFormat.CLASH: (_clash, _payload, None),
    ExportFormat.CLASH_DOMAIN: (_by_covers(host="{}", site="+.{}", below=".{}", children="*.{}"), _payload, None),
    ExportFormat.SING_BOX: (_sing_box, _rule_set, None),
    ExportFormat.V2FLY: (_v2fly, _lines, None),
    ExportFormat.AUTOPROXY: (_autoproxy, _headed("[AutoProxy 0.2.9]"), _autoproxy_exception),
    ExportFormat.ADBLOCK: (_adblock, _headed("[Adblock Plus 2.0]"), _adblock_exception),
    ExportFormat.HOSTS: (_by_covers(host="0.0.0.0 {}"), _lines, None),
    ExportFormat.DNSMASQ: (_by_covers(site="ipset=/{}/byway"), _lines, _by_covers(site="server=/{}/#")),
    ExportFormat.PLAIN: (_by_covers(site="{}", prefix="{}"), _lines, None),
    ExportFormat.PAC: (_by_covers(site="{}"), _pac, None),
    ExportFormat.SWITCHYOMEGA: (_switchyomega, _headed("[SwitchyOmega Conditions]"), None),
}
"""What says an entry, what makes the file of all of them, and what says an exception."""
