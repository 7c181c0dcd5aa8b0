"""Puts the results of the last runs into docs/performance.md: `python -m tests.bench.publish`.

The page has a pair of marks for each generated table; what stands between them is replaced. Plots go to docs/plots.
"""

from __future__ import annotations

import re
import shutil
import sys

from tests.bench.peers import ROOT

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "bench-results"


def published(page: str, name: str, text: str) -> str:
    """The page with this text between the marks of `name`. Raises LookupError when it has none."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise LookupError(f"the page has no marks for {name}: {begin.strip()} and {end}")
    return re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: f"{begin}\n{text}\n{end}", page, flags=re.DOTALL)


def main() -> int:
    tables = [path for path in sorted(RESULTS.glob("*.md")) if path.name in ("table.md", "rescue.md")]
    if not tables:
        print("no results: run `make bench` or `python -m tests.bench.time_to_rescue` first", file=sys.stderr)
        return 1
    page = PAGE.read_text()
    for path in tables:
        page = published(page, path.name, path.read_text())
    PAGE.write_text(page)
    plots = PAGE.with_name("plots")
    plots.mkdir(exist_ok=True)
    drawn = sorted(RESULTS.glob("*.svg"))
    for path in drawn:
        shutil.copy(path, plots)
    print(
        f"{PAGE.relative_to(ROOT)} has {' and '.join(path.name for path in tables)}; {len(drawn)} plots are beside it"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
