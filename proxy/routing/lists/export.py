"""Writes entries in the formats of other programs.

Parsing the result gives the same entries again. If a format cannot distinguish a host from its site, the entry is
written in the nearest form and counted. An entry that a format cannot have, such as a prefix in a hosts file, is left
out and counted.
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
    """The change that an entry needed to be written."""

    WIDENED = "widened"
    """A host is written as a domain with its subdomains."""
    NARROWED = "narrowed"
    """A domain with its subdomains is written as the host alone."""
    COMPLETED = "completed"
    """The subdomains of a domain are written together with the domain itself."""


@frozen_dataclass
class Exported:
    """A list in another format."""

    text: str
    written: int
    """The number of entries and exceptions in the text."""
    changed: Mapping[Changed, int]
    left_out: Mapping[str, int]
    """Counts by kind of entry; `exception` counts exceptions."""


Say = Callable[[Entry], str | None]
"""Returns the text for an entry; None: the format cannot express it."""


def export(format: ExportFormat, entries: Iterable[Entry], exceptions: Iterable[Entry] = ()) -> Exported:  # noqa: A002
    """Returns a list in a format. `exceptions` are not listed, although an entry covers them."""
    say, lay_out, say_exception = _FORMATS[format]
    written: list[str] = []
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
            written.append(words)
    for entry in exceptions:
        words = None if say_exception is None else say_exception(entry)
        if words is None:
            left_out["exception"] += 1
        else:
            written.append(words)
    return Exported(lay_out(list(dict.fromkeys(written))), len(written), +changed, left_out)


_NEAREST = {
    Covers.HOST: (Covers.SITE, Changed.WIDENED),
    Covers.SITE: (Covers.HOST, Changed.NARROWED),
    Covers.SUBDOMAINS: (Covers.SITE, Changed.COMPLETED),
}


def _by_covers(*, host: str = "", site: str = "", below: str = "", children: str = "", prefix: str = "") -> Say:
    """Returns a Say for domains and prefixes, by templates in which {} is the name; "": the format cannot express
    it."""
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
    """Behavior classical: entries with a type. A prefix always has its length."""
    if entry.kind is EntryKind.KEYWORD:
        return f"DOMAIN-KEYWORD,{entry.text}"
    if entry.kind is EntryKind.PREFIX:
        return f"{'IP-CIDR6' if ':' in entry.text else 'IP-CIDR'},{_with_length(entry.text)}"
    return _by_covers(host="DOMAIN,{}", site="DOMAIN-SUFFIX,{}")(entry)


def _sing_box(entry: Entry) -> str | None:
    """Returns the field and the value of a rule."""
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
    """Among prefixes, the format has single addresses only."""
    if entry.kind is EntryKind.PREFIX:
        return None if "/" in entry.text else f"||{bracketed(entry.text)}^"
    return _by_covers(host="//{}^", site="||{}^", below="||*.{}^")(entry)


def _adblock_exception(entry: Entry) -> str | None:
    words = _adblock(entry)
    return None if words is None else f"@@{words}"


def _autoproxy(entry: Entry) -> str | None:
    """The spelling of gfwlist: SwitchyOmega and gfwlist2pac, which read it, do not support `^`. A host becomes a URL of
    each scheme."""
    if entry.kind is EntryKind.PREFIX:
        return None if "/" in entry.text else f"||{bracketed(entry.text)}"
    return _by_covers(host="|http://{0}/\n|https://{0}/", site="||{}", below=".{}")(entry)


def _autoproxy_exception(entry: Entry) -> str | None:
    """For a host, in the spelling of Adblock: an exception of URLs would be for a part of the host only."""
    is_host = entry.kind is EntryKind.DOMAIN and entry.covers is Covers.HOST
    words = _adblock(entry) if is_host else _autoproxy(entry)
    return None if words is None else f"@@{words}"


def _switchyomega(entry: Entry) -> str | None:
    """In SwitchyOmega, `*.example.com` includes example.com, and `**.example.com` does not."""
    if entry.kind is EntryKind.KEYWORD:
        return f"{'**' if entry.text.startswith('.') else '*'}{entry.text}*"
    if entry.kind is EntryKind.PREFIX:
        return f"Ip: {_with_length(entry.text)}"
    return _by_covers(host="{}", site="*.{}", below="**.{}")(entry)


def _with_length(prefix: str) -> str:
    return prefix if "/" in prefix else f"{prefix}/{128 if ':' in prefix else 32}"


def _lines(entries: Sequence[str]) -> str:
    return "".join(f"{words}\n" for words in entries)


def _headed(header: str) -> Callable[[Sequence[str]], str]:
    return lambda entries: f"{header}\n{_lines(entries)}"


def _payload(entries: Sequence[str]) -> str:
    """YAML. Entries are in quotes, since a plus or a star has a meaning in YAML."""
    return "payload:\n" + "".join(f"  - '{words}'\n" for words in entries) if entries else "payload: []\n"


def _rule_set(entries: Sequence[str]) -> str:
    """A source rule-set of sing-box. The fields of one rule about the destination are alternatives."""
    fields: dict[str, list[str]] = {}
    for words in entries:
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


def _pac(entries: Sequence[str]) -> str:
    return _PAC % json.dumps(dict.fromkeys(entries, 1), indent=2)


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
"""For each format: the Say of entries, the function that makes the file from their texts, and the Say of exceptions."""
