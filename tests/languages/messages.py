"""Collects the messages of the source, and brings the catalogues up to date: `make messages`.

    python -m tests.languages.messages

New messages come without a translation, and those that are gone leave the catalogues. A translation whose message
changed is never guessed: it is written again.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from proxy.languages.catalogue import FOLDER, FORMS_COUNT
from proxy.languages.language import Language
from proxy.model.frozen_dataclass import frozen_dataclass

SOURCE = Path(__file__).parents[2] / "proxy"

FILES: dict[Language, Path] = {language: FOLDER / f"{language}.po" for language in FORMS_COUNT}
"""The catalogue of each language."""

_METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2")]
_KEYWORDS: Any = {"_": None, "ngettext": (1, 2), "pgettext": ((1, "c"), 2)}

_PLURALS = {
    Language.RUSSIAN: (
        "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : 2)"
    ),
    Language.PERSIAN: "nplurals=2; plural=(n > 1)",
}

_HEADER = """\
# {name} translation of Byway. `make messages` writes this file; people write the translations.
# Values in braces and words between backticks stay as they are. docs/glossary.md has the terms.
msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {plurals};\\n"

"""


@frozen_dataclass
class Collected:
    """A message of the source, and the files that have it."""

    context: str
    message: str
    plural: str
    files: tuple[str, ...]


def collect(folder: Path = SOURCE) -> list[Collected]:
    """Returns the messages of the source, by their files."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for file, _line, message, _comments, context in sorted(_extracted(folder), key=lambda it: it[:2]):
        singular, plural = (message, "") if isinstance(message, str) else message
        files = found.setdefault((context or "", singular, plural), [])
        if f"{folder.name}/{file}" not in files:
            files.append(f"{folder.name}/{file}")
    return [Collected(*key, tuple(files)) for key, files in found.items()]


def _extracted(folder: Path) -> Iterator[tuple[Any, ...]]:
    return extract_from_dir(folder, _METHODS, keywords=_KEYWORDS, comment_tags=())


def updated(language: Language, messages: list[Collected], text: str) -> str:
    """Returns a catalogue, which is now `text`, with the messages of the source."""
    header = _HEADER.format(name=language.name.capitalize(), language=language, plurals=_PLURALS[language])
    old = read_po(BytesIO((text or header).encode()), locale=language)
    new = Catalog(locale=language)
    for each in messages:
        known = old.get(each.message, each.context or None)
        new.add(
            (each.message, each.plural) if each.plural else each.message,
            known.string
            if known is not None and bool(each.plural) is isinstance(known.id, tuple)
            else _empty(each, language),
            locations=[(file, 0) for file in each.files],
            context=each.context or None,
        )
    out = BytesIO()
    write_po(out, new, omit_header=True, include_lineno=False, width=116)
    return header + out.getvalue().decode()


def _empty(each: Collected, language: Language) -> str | tuple[str, ...]:
    return ("",) * FORMS_COUNT[language] if each.plural else ""


if __name__ == "__main__":
    collected = collect()
    for language, file in FILES.items():
        file.write_text(updated(language, collected, file.read_text() if file.exists() else ""))
        print(f"{file}: {len(collected)} messages")
