from __future__ import annotations

from xml.etree import ElementTree

from tests.bench.svg import Axis, Chart, Line, draw

_SVG = "{http://www.w3.org/2000/svg}"


def _texts(chart: Chart) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(draw(chart)).iter(f"{_SVG}text")]


def test_a_chart_is_well_formed_with_title_labels_and_legend() -> None:
    lines = [Line("a & <b>", [(1, 10), (1000, 20_000)]), Line("empty", [])]
    texts = _texts(Chart("Cost", Axis("rules", log=True), Axis("µs", log=True), lines))
    assert {"Cost", "rules", "µs", "a & <b>", "empty"} <= set(texts)
    assert {"1", "10", "100", "1,000"} <= set(texts)


def test_points_lie_where_their_values_are() -> None:
    chart = Chart("", Axis("x"), Axis("y", log=True), [Line("a", [(0, 1), (5, 10), (10, 100)])])
    circles = list(ElementTree.fromstring(draw(chart)).iter(f"{_SVG}circle"))
    xs, ys = ([float(circle.attrib[key]) for circle in circles] for key in ("cx", "cy"))
    assert xs[1] - xs[0] == xs[2] - xs[1] > 0
    assert ys[1] - ys[0] == ys[2] - ys[1] < 0  # downwards on the screen is less


def test_a_logarithm_has_no_zero() -> None:
    chart = Chart("", Axis("x", log=True), Axis("y"), [Line("a", [(0, 1), (1, 1), (2, 1)])])
    assert len(list(ElementTree.fromstring(draw(chart)).iter(f"{_SVG}circle"))) == 2


def test_a_distribution_goes_in_steps() -> None:
    chart = Chart("", Axis("x"), Axis("y"), [Line("a", [(0, 0), (1, 0.5), (2, 1)])], stepped=True)
    paths = [element.attrib["d"] for element in ElementTree.fromstring(draw(chart)).iter(f"{_SVG}path")]
    assert paths[-1].count("H") == paths[-1].count("V") == 2
