"""The picture in README, of the real thing: `python -m tests.lab.picture` makes docs/terminal.svg anew.

A blog is blocked by its name, as in October 2008; Byway has one relay. A person opens a radio and the blog, twice, and
then asks in a terminal for an explanation. The picture shows the output of the commands unchanged, for a light and a
dark background.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.sax.saxutils import escape

from tests.lab.country import Country
from tests.lab.rules import SniReset
from tests.lab.spaces import begin_with_spaces
from tests.support.waiting import until_read

PICTURE = Path(__file__).parents[2] / "docs" / "terminal.svg"
COLUMNS = 92

_CHARACTER, _LINE, _EDGE, _BAR = 8.4, 20, 20, 34  # pixels; the bar is that of a window
_STYLE = """
  .ground { fill: #ffffff; stroke: #8c959f; } .bar { fill: #eaeef2; } .dot { fill: #8c959f; }
  text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328; white-space: pre; }
  .command { font-weight: bold; } .good { fill: #116329; } .bad { fill: #a40e26; }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #6e7681; } .bar { fill: #21262d; } .dot { fill: #8b949e; }
    text { fill: #e6edf3; } .good { fill: #56d364; } .bad { fill: #ff7b72; }
  }
"""
_SIGNS = {"✓": "good", "✗": "bad"}
_PROGRESS = re.compile(r"\r[^\n]*\r\x1b\[K|\x1b\[\d*[A-Za-z]|\r")


async def record(folder: Path) -> list[str]:
    """Returns the lines of a terminal in the country, where two commands were typed."""
    async with Country(folder) as country:
        radio, blog = country.add_site("radio.test"), country.add_site("ivanov.livejournal.test")
        country.rules.set([SniReset("livejournal.test")])
        config = country.config(relays=(("tor", country.socks_url),))
        async with country.byway(folder / "byway", config=config) as byway:
            visitor = country.visitor(byway)

            async def is_logged(name: str, visits: int) -> bool:
                return len(await byway.rows(name)) >= visits

            for site, visits in ((radio, 1), (blog, 1), (blog, 2)):
                seen = await visitor.visit(site.url())
                if not seen.genuine:
                    raise AssertionError(f"{site.name}: {seen.status} {seen.error}")
                await until_read(partial(is_logged, site.name, visits))
            lines: list[str] = []
            for words in (("log",), ("why", blog.url())):
                with byway.at_terminal(*words, columns=COLUMNS) as terminal:
                    ended = await terminal.ends()
                if ended:
                    raise AssertionError(f"{words}: exit code {ended}: {terminal.printed}")
                lines += [f"$ byway {' '.join(words)}", *_PROGRESS.sub("", terminal.printed).splitlines(), ""]
    return lines[:-1]


def draw(lines: Sequence[str]) -> str:
    """Returns the lines as an SVG. Each is as wide as its columns, whatever the font."""
    width, height = COLUMNS * _CHARACTER + 2 * _EDGE, len(lines) * _LINE + _BAR + _EDGE
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img">',
        "<title>A terminal: byway log and byway why about a blocked blog</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" x="1" y="1" width="{width - 2:g}" height="{height - 2:g}" rx="8"/>',
        f'<path class="bar" d="M2 26V10a8 8 0 0 1 8-8H{width - 10:g}a8 8 0 0 1 8 8v16z"/>',
        *(f'<circle class="dot" cx="{x}" cy="14" r="5"/>' for x in (18, 36, 54)),
    ]
    for number, line in enumerate(lines):
        if line:
            kind = ' class="command"' if line.startswith("$ ") else ""
            parts.append(
                f'<text x="{_EDGE}" y="{_BAR + (number + 0.75) * _LINE:g}" textLength="{len(line) * _CHARACTER:.1f}"'
                f'{kind} xml:space="preserve">{_coloured(line)}</text>'
            )
    return "\n".join([*parts, "</svg>", ""])


def read(svg: str) -> list[str]:
    """Returns the lines that a picture shows, without the empty ones."""
    from xml.etree import ElementTree

    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in texts]


def _coloured(line: str) -> str:
    for sign, kind in _SIGNS.items():
        before, found, after = line.partition(sign)
        if found:
            return f'{escape(before)}<tspan class="{kind}">{sign}</tspan>{escape(after)}'
    return escape(line)


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="byway-lab-") as folder:
        PICTURE.write_text(draw(await record(Path(folder))))


if __name__ == "__main__":
    begin_with_spaces("tests.lab.picture")
    asyncio.run(main())
