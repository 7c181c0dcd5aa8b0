"""What code says of the documents is so: cited sections exist, and the table of signals has the weights of the code."""

from __future__ import annotations

import re
from dataclasses import asdict
from functools import cache
from pathlib import Path

from proxy.config.detect_tuning import DetectTuning, Weights
from proxy.config.setting_types import keys_of
from proxy.features.table import FEATURES
from proxy.model import Cause, SignalId
from proxy.model.feature import pages_of
from tests.support.rows import each_row

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("proxy", "tests", "addons") for path in (ROOT / folder).rglob("*.py"))
DETECTION = (ROOT / "docs" / "detection.md").read_text("utf-8")

_SECTION = re.compile(r"^#+ (?:[0-9.]+ )?(.+)$", re.MULTILINE)
_DOCUMENT = re.compile(r"(?<![\w/.-])(?:docs/)?((?:detection|architecture|glossary)\.md)")
_TITLES = re.compile(r'(?:(?:,|,? and) "([^"]+)")')


def _on_one_line(text: str) -> str:
    return re.sub(r"\s*\n\s*(?:# *)?", " ", text)


def citations(text: str) -> list[tuple[str, str]]:
    """(document, title) of each citation `docs/NAME.md, "Title" and "Title"`; one without a title has an empty one."""
    line = _on_one_line(text)
    found = []
    for mention in _DOCUMENT.finditer(line):
        at, titles = mention.end(), []
        if line.startswith('"', at):
            continue  # the name of a file, in code
        if is_quoted := line.startswith("`", at):
            at += 1
        while (title := _TITLES.match(line, at)) is not None:
            titles.append(title[1])
            at = title.end()
        if titles or not is_quoted:  # `docs/NAME.md` in quotes may be the whole document
            found += [(mention[1], title) for title in titles or [""]]
    return found


@cache
def _texts() -> dict[Path, str]:
    return {path: path.read_text("utf-8") for path in FILES}


def _missing(text: str) -> list[str]:
    """Titles that are cited and not there, and citations of detection.md that name none."""
    wrong = []
    for document, title in citations(text):
        titles = _SECTION.findall((ROOT / "docs" / document).read_text("utf-8"))
        if title not in titles and (title or document == "detection.md"):
            wrong.append(f"{document}: {title or 'no section'}")
    return wrong


def test_every_cited_section_exists() -> None:
    missing = {str(path.relative_to(ROOT)): _missing(text) for path, text in _texts().items() if path != Path(__file__)}
    assert {path: titles for path, titles in missing.items() if titles} == {}


def test_a_section_that_does_not_exist_is_found() -> None:
    """The control: wrong citations fail, over line ends too."""
    assert _missing('(docs/detection.md, "Two\n    gates" and\n    # "Riddles")') == ["detection.md: Riddles"]
    assert _missing("see detection.md, section 4") == ["detection.md: no section"]
    assert _missing('(`docs/detection.md`, "Riddles")') == ["detection.md: Riddles"]
    assert not _missing('docs/detection.md,\n"Two gates", and docs/glossary.md, then `docs/detection.md`')


def test_citations_are_found_at_all() -> None:
    assert sum(len(citations(text)) for path, text in _texts().items() if path != Path(__file__)) >= 15


def test_gates_are_called_by_their_names() -> None:
    for path, text in _texts().items():
        if path not in (Path(__file__), ROOT / "docs" / "faults.md"):  # there they are the ids of faults
            assert not re.search(r"\b(?:gate )?G[12]\b", text), path


def test_sections_are_numbered_in_order_and_refer_to_each_other() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", DETECTION, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    titles = _SECTION.findall(DETECTION)
    for quoted in re.findall(r'(?:see |\(|\| |by )"([A-Z][^"]+)"', DETECTION):
        assert quoted in titles


def test_the_catalogue_of_faults_has_each_id_that_a_test_is_named_by() -> None:
    catalogue = (ROOT / "docs" / "faults.md").read_text("utf-8")
    known = {f"{letter}{number}" for letter, number in re.findall(r"\b([A-K])(\d{1,2})\b", catalogue)}
    for letter, first, last in re.findall(r"\b([A-K])(\d{1,2})–[A-K](\d{1,2})\b", catalogue):
        known |= {f"{letter}{number}" for number in range(int(first), int(last) + 1)}
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = {
        name for names in re.findall(r"def test_((?:[A-K]\d{1,2}_)+)", tests) for name in names.rstrip("_").split("_")
    }
    assert len(named) > 80
    assert named - known == set()


def test_every_signal_and_every_cause_is_explained() -> None:
    signals, causes = DETECTION.split("## 10. Signals", 1)[1].split("## 11. Causes", 1)
    named = set(re.findall(r"^\| (\w+) \|", signals, re.MULTILINE)) | set(re.findall(r"`(\w+)` is", signals))
    assert set(SignalId) <= named
    assert {cause for cause in Cause if cause} <= set(re.findall(r"`(\w+)`", causes.split("\n## ", 1)[0]))


def test_every_setting_in_parentheses_is_one_of_detection() -> None:
    settings = re.findall(r"`([a-z]+(?:_[a-z]+)+)`", " ".join(re.findall(r"\((`[^()]+`)\)", DETECTION)))
    assert len(settings) > 40
    assert {name for name in settings if name not in keys_of(DetectTuning)} == set()


def test_the_table_of_signals_has_the_weights_of_the_code() -> None:
    table = DETECTION.split("## 10. Signals", 1)[1].split("Only a measurement", 1)[0]
    rows = re.findall(r"^\| (\w+) \|.*\| ([\d.]+)(?:, weak)? \|$", table, re.MULTILINE)
    assert {name: float(weight) for name, weight in rows} == asdict(Weights())


PAGES = sorted(
    [*(ROOT / "docs").glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md", ROOT / "addons" / "README.md"]
)


@each_row("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    for name in re.findall(r"(?<![\w/.-])((?:proxy|tests|docs)/[\w/.-]*\w/?)", text):
        assert "NAME" in name or (ROOT / name).exists(), name
    for module in re.findall(r"(?<![\w.`])`(proxy(?:\.\w+)+)`", text):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file() or path.parent.with_suffix(".py").is_file(), module


def test_the_page_of_the_architecture_names_every_room_and_what_is_there() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = {path.parent.name for path in (ROOT / "proxy").glob("*/__init__.py")}
    assert {room for room in rooms if f"{room}/" not in page} == set()
    for name in re.findall(
        r"(?<![\w/.-])((?:session|net|wire|routing|detect|probe|control|store|extend)/[\w/.]*)", page
    ):
        assert (ROOT / "proxy" / name).exists(), name


def test_the_tables_that_newcomers_add_to_are_where_the_page_says() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for line in page.splitlines():
        for names, name in re.findall(r"((?:`\w[\w.]*`[^`|]*?)+?)(?:in|,|of) `((?:proxy|tests)/[\w/]+\.py)`", line):
            source = (ROOT / name).read_text("utf-8")
            for symbol in re.findall(r"`(\w[\w.]*)`", names):
                assert re.search(rf"\b{symbol.split('.')[-1]}\b", source), f"{symbol} in {name}"


def test_every_page_of_the_dashboard_is_shown() -> None:
    text = (ROOT / "docs" / "dashboard.md").read_text("utf-8")
    pictures = re.findall(r"^!\[.+\]\((dashboard/[a-z-]+\.webp)\)$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Seven questions",
        *(page.title for page in pages_of(FEATURES).values()),
    ]
    assert {f"dashboard/{name}.webp" for name in pages_of(FEATURES)} <= set(pictures)
    kept = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs" / "dashboard").iterdir()}
    assert kept == set(pictures), "and no other picture is kept"
