"""Makes our own HTML pages, with one layout and one style, light and dark, for widths from 360 px on.

Callers compose a page of elements and write no markup: all text is escaped here, and words between backticks become
code. A page has no script and no form, and loads nothing: `CONTENT_SECURITY_POLICY` allows only this style.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --quiet: #4a5560; --ground: #f4f6f8; --card: #ffffff;
  --raised: #eef1f5; --line: #d5dce3; --edge: #8a96a3; --link: #0a56b0; --on: #ffffff; --good: #17603a; }
@media (prefers-color-scheme: dark) { :root { --text: #e7ebef; --quiet: #b3bdc7; --ground: #0f1317; --card: #181d22;
  --raised: #242b32; --line: #343d46; --edge: #7b8793; --link: #8cc0ff; --on: #0d1a2b; --good: #8edcac; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif;
  overflow-wrap: anywhere; }
main { max-width: 44rem; margin: 2rem auto; padding: 1.5rem 2rem 2rem; background: var(--card);
  border: 1px solid var(--line); border-radius: .75rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
p, ol, ul, dl { margin: .5rem 0; }
ol, ul { padding-inline-start: 1.5rem; }
:lang(fa) ol { list-style-type: persian; }
li { margin-block: .25rem; }
a { color: var(--link); text-underline-offset: .15em; }
a:focus-visible, input:focus-visible, button:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
code { font: .95em ui-monospace, monospace; background: var(--raised); border-radius: .25rem; padding: .1em .3em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1rem; background: var(--raised);
  border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
dl code { background: none; padding: 0; }
dt { color: var(--quiet); }
dd { margin: 0; }
.state { background: var(--raised); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
.state strong { color: var(--good); }
label { display: inline-flex; flex-wrap: wrap; align-items: center; gap: .5rem; margin-inline-end: .25rem; }
input, button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--edge);
  border-radius: .5rem; padding: .3rem .75rem; min-height: 2.25rem; max-width: 100%; }
input { font-family: ui-monospace, monospace; }
button { background: var(--link); border-color: var(--link); color: var(--on); cursor: pointer; }
.quiet { color: var(--quiet); }
@media (max-width: 46rem) { main { margin: 0; padding: 1.25rem 1rem 2rem; border: 0; border-radius: 0;
  min-height: 100vh; } }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; } }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The value of the header Content-Security-Policy, which our pages need."""


class Html(str):
    """Markup, in which all text is escaped already."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str) -> Html:
    """Returns an element. Content that is not Html is text and passes `prose`; `class_` is the attribute `class`."""
    pairs = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items())
    inner = "".join(part if isinstance(part, Html) else prose(part) for part in content)
    return Html(f"<{name}{pairs}>{inner}</{name}>")


def prose(text: str) -> Html:
    """Returns escaped text. Words between two backticks become code, always written from left to right."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # a lone backtick is text
        parts[-2:] = ["`".join(parts[-2:])]
    return Html(
        "".join(
            f'<code dir="ltr">{escape(part)}</code>' if index % 2 else escape(part, quote=False)
            for index, part in enumerate(parts)
        )
    )


def link(url: str, text: str = "", **attributes: str) -> Html:
    """Returns a link; without a text it shows the URL."""
    return element("a", element("bdi", Html(escape(text or url))), href=url, **attributes)


def facts(rows: list[tuple[str, str]]) -> Html:
    """Returns a list of terms and their values."""
    return element("dl", *(part for term, value in rows for part in (element("dt", term), element("dd", value))))


def document(title: str, *content: Html, language: str = "en", direction: str = "ltr") -> str:
    """Returns a whole page. The title is its main heading as well. `language` is a tag of BCP 47, `direction` "ltr" or
    "rtl"."""
    return (
        f'<!doctype html>\n<html lang="{language}" dir="{direction}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{element('h1', title)}\n" + "\n".join(content) + "\n</main>\n</body>\n</html>\n"
    )
