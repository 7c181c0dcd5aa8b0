"""Line plots as SVG, without a library: axes with ticks, a grid, a legend. Pure: values to text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 880, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 230, 50, 60  # margins; the legend is on the right
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
    "#8c6d31",
    "#7f7f7f",
    "#843c39",
)
"""Okabe and Ito's, which are told apart by the colour-blind too, and some more."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True, slots=True)
class Axis:
    """What is shown, and whether by its logarithm; then values of zero or less are left out."""

    label: str
    log: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A name in the legend, and points in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Chart:
    """`stepped`: each value holds until the next point, as in a distribution."""

    title: str
    x: Axis
    y: Axis
    lines: Sequence[Line]
    stepped: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to pixels."""

    log: bool
    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        if not self.log:
            step = _step(self.high - self.low)
            return [self.low + step * n for n in range(int((self.high - self.low) / step + 1.001))]
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        digits = (1, 2, 5) if len(decades) <= 4 else (1,)
        found = [digit * 10.0**decade for decade in decades for digit in digits]
        return [tick for tick in found if self.low * 0.999 <= tick <= self.high * 1.001]


def draw(chart: Chart) -> str:
    """The whole SVG document. A line without a point to show is only in the legend."""
    shown = [[point for point in line.points if _fits(chart, point)] for line in chart.lines]
    points = [point for of_line in shown for point in of_line] or [(1.0, 1.0)]
    x = _scale(chart.x, [x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    y = _scale(chart.y, [y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="13"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        _text(_LEFT, 26, chart.title, size=17),
        *_axes(chart, x, y),
    ]
    for number, (line, of_line) in enumerate(zip(chart.lines, shown, strict=True)):
        parts += _line(number, line.name, [(x.at(a), y.at(b)) for a, b in of_line], stepped=chart.stepped)
    return "\n".join([*parts, "</svg>\n"])


def _axes(chart: Chart, x: _Scale, y: _Scale) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for tick in x.ticks():
        at = x.at(tick)
        parts.append(f'<path d="M{at:.1f} {_TOP}V{bottom}" stroke="#ddd"/>')
        parts.append(_text(at, bottom + 20, _number(tick), anchor="middle"))
    for tick in y.ticks():
        at = y.at(tick)
        parts.append(f'<path d="M{_LEFT} {at:.1f}H{right}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 8, at + 4, _number(tick), anchor="end"))
    middle = (_TOP + bottom) / 2
    parts.append(f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#333"/>')
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 16, chart.x.label, anchor="middle"))
    turned = _text(20, middle, chart.y.label, anchor="middle")
    parts.append(turned.replace("<text ", f'<text transform="rotate(-90 20 {middle:.0f})" '))
    return parts


def _line(number: int, name: str, pixels: Sequence[tuple[float, float]], *, stepped: bool) -> list[str]:
    """One line with its points and its row in the legend."""
    colour, dash = _COLOURS[number % len(_COLOURS)], _DASHES[number % len(_DASHES)]
    stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
    at, left = _TOP + 10 + 20 * number, _WIDTH - _RIGHT + 16
    parts = [f'<path d="M{left} {at}h26" {stroke}/>', _text(left + 34, at + 4, name)]
    if not pixels:
        return parts
    words = [f"M{pixels[0][0]:.1f} {pixels[0][1]:.1f}"]
    words += [f"H{x:.1f}V{y:.1f}" if stepped else f"L{x:.1f} {y:.1f}" for x, y in pixels[1:]]
    parts.append(f'<path d="{"".join(words)}" {stroke}/>')
    if not stepped:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in pixels]
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'


def _fits(chart: Chart, point: tuple[float, float]) -> bool:
    return all(value > 0 or not axis.log for value, axis in zip(point, (chart.x, chart.y), strict=True))


def _scale(axis: Axis, values: Sequence[float], start: float, end: float) -> _Scale:
    """From zero, or from one round value to another."""
    low, high = min(values), max(values)
    if axis.log:
        low, high = _round_down(low), _round_up(high)
        return _Scale(True, low, high if high > low else 10 * low, start, end)
    step = _step(max(high, 1e-9))
    return _Scale(False, 0.0, step * math.ceil(max(high, 1e-9) / step - 1e-9), start, end)


def _round_down(value: float) -> float:
    """1, 2 or 5 times a power of ten."""
    decade = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return max(digit * decade for digit in (1, 2, 5) if digit * decade <= value * 1.000001)


def _round_up(value: float) -> float:
    decade = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return min(digit * decade for digit in (1, 2, 5, 10) if digit * decade >= value * 0.999999)


def _step(width: float) -> float:
    """For five ticks or some more."""
    return _round_down(width / 5)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:g}"
