"""QR codes (ISO/IEC 18004) for phones, by segno, which the extra `byway[qr]` installs; without it there are none."""

from __future__ import annotations

import io

from proxy.model.frozen_dataclass import frozen_dataclass

_MARGIN = 4  # light squares around a code, as the standard asks


@frozen_dataclass
class QrCode:
    """The dark squares of a code as the data of an SVG path, in a box of `size` units with the margin, and the code as
    lines of half blocks for a terminal."""

    path: str
    size: int
    text: str


def qr_code(text: str) -> QrCode | None:
    """Returns the code of a short text; None without segno."""
    try:
        import segno
    except ImportError:
        return None
    made = segno.make_qr(text, error="l")
    rows = [*made.matrix_iter(border=_MARGIN)]
    path = "".join(
        f"M{column} {row}h1v1h-1z" for row, line in enumerate(rows) for column, is_dark in enumerate(line) if is_dark
    )
    lines = io.StringIO()
    made.terminal(out=lines, border=_MARGIN, compact=True)
    return QrCode(path, len(rows), lines.getvalue())
