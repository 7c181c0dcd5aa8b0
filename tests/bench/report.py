"""What a run found, as Markdown: medians over the rounds, with half of the distance between the extremes behind ±."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.metrics import TABLES, Metric, Numbers, Quantity, written
from tests.bench.peers import PEERS, Setting


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of one peer in one round."""

    peer: str
    metric: str
    round: int
    numbers: Numbers
    wrong: str = ""  # what failed, with how often
    others_cores: float = 0.0


def tables(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """All tables that have a row. Peers stand in the order of `PEERS`; a number with (!) is of a run with failures."""
    parts = [f"- {note}\n" for note in notes if note]
    for title, (setting, metrics) in TABLES.items():
        measured = [metric for metric in metrics if any(_of(rows, setting, metric.name))]
        if measured:
            parts.append(f"\n### {title}\n\n{_table(rows, setting, measured)}")
    wrong: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.wrong:
            wrong.setdefault((row.peer, row.wrong), []).append(f"{row.metric} {row.round + 1}")
    if wrong:
        parts.append("\n### What went wrong, by metric and round\n\n")
        parts += [f"- {peer}, {', '.join(where)}: {what}\n" for (peer, what), where in wrong.items()]
    return "".join(parts)


def _of(rows: Sequence[Row], setting: Setting, metric: str) -> list[Row]:
    names = {peer.name for peer in PEERS if peer.setting is setting}
    return [row for row in rows if row.metric == metric and row.peer in names]


def _table(rows: Sequence[Row], setting: Setting, metrics: Sequence[Metric]) -> str:
    titles = [title for metric in metrics for title in metric.columns.values()]
    lines = [f"| | {' | '.join(titles)} |", f"|---|{'---:|' * len(titles)}"]
    for peer in (peer for peer in PEERS if peer.setting is setting):
        cells: list[str] = []
        for metric in metrics:
            found = [row for row in _of(rows, setting, metric.name) if row.peer == peer.name]
            cells += [_cell(quantity, found) for quantity in metric.columns]
        if any(cells):
            lines.append(f"| {peer.name} | {' | '.join(cell or '–' for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _cell(quantity: Quantity, rows: Sequence[Row]) -> str:
    numbers = [row.numbers[quantity] for row in rows if quantity in row.numbers]
    if not numbers:
        return "failed" if any(row.wrong for row in rows) else ""
    middle = statistics.median(numbers)
    spread = f" ±{50 * (max(numbers) - min(numbers)) / middle:.0f} %" if len(numbers) > 1 and middle > 0 else ""
    return written(quantity, middle) + spread + (" (!)" if any(row.wrong for row in rows) else "")
