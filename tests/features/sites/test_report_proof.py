"""The proof in a report: any change is found, and every other file is refused with a sentence."""

from __future__ import annotations

import copy
import hashlib
import json
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from proxy.features.sites import report_proof
from proxy.features.sites.report_formats import FORMATS, SIGNED_FORMATS
from proxy.features.sites.report_proof import BadProof, check, proven
from tests.features.sites.test_report_command import BLOG, EXAMINED, SITE
from tests.support.command_line import Byway, Home, Running
from tests.support.outcomes import rescued

TWICE = replace(SITE, examinations=(EXAMINED, replace(EXAMINED, seen="молчание", took_s=0.1 + 0.2)))
FIELDS = ("sha256", "public_key", "signature")


def read(text: str) -> list[Any]:
    """Returns the JSON documents of a report."""
    return [json.loads(text)] if text.startswith("{\n") else [json.loads(line) for line in text.splitlines()]


def written(documents: list[Any]) -> str:
    return "".join(f"{json.dumps(document)}\n" for document in documents)


def holder(documents: list[Any]) -> dict[str, Any]:
    """Returns the object that has the proof."""
    last = documents[-1]
    found: dict[str, Any] = last.get("annotations", last)
    return found


def content_of(text: str) -> bytes:
    """Returns the content, made from the description in the guide alone."""
    documents = read(text)
    for field in FIELDS:
        holder(documents).pop(field, None)
    lines = (json.dumps(each, sort_keys=True, separators=(",", ":"), ensure_ascii=False) for each in documents)
    return "".join(f"{line}\n" for line in lines).encode()


def problem(text: str) -> str:
    with pytest.raises(BadProof) as raised:
        check(text, "a file")
    return str(raised.value)


# -- what is in a report -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", SIGNED_FORMATS)
def test_a_report_has_the_hash_of_its_content(form: str) -> None:
    text = FORMATS[form]([TWICE])
    digest = hashlib.sha256(content_of(text)).hexdigest()
    assert holder(read(text))["sha256"] == digest
    assert "Neither the hash nor a signature shows who made the report or that it is true" in text
    assert check(text, "a file") == (digest, "")


@pytest.mark.parametrize("form", SIGNED_FORMATS)
def test_a_signed_report_has_a_signature_by_a_key_of_its_own(form: str) -> None:
    first, second = (SIGNED_FORMATS[form]([TWICE]) for _ in range(2))
    proof = holder(read(first))
    digest = hashlib.sha256(content_of(first)).digest()
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(proof["public_key"]))
    key.verify(bytes.fromhex(proof["signature"]), digest)
    assert check(first, "a file") == (digest.hex(), proof["public_key"])
    assert check(second, "a file")[1] not in ("", proof["public_key"])


@pytest.mark.parametrize("form", sorted(FORMATS.keys() - SIGNED_FORMATS.keys()))
def test_a_report_in_another_format_has_no_hash(form: str) -> None:
    text = FORMATS[form]([TWICE])
    assert "sha256" not in text
    assert problem(text) == f"a file: is a report in the format {form}, which has no hash; json and ooni have one"


def test_a_report_without_measurements_has_no_line_and_no_proof() -> None:
    assert SIGNED_FORMATS["ooni"]([]) == ""
    assert proven([], sign=True) == []


# -- what is found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", SIGNED_FORMATS)
@pytest.mark.parametrize(
    "rewrite",
    [
        lambda document: json.dumps(document, indent=4),
        lambda document: json.dumps(document, sort_keys=True, ensure_ascii=False),
        lambda document: json.dumps(dict(reversed(document.items())), separators=(",", ":")) + "\r\n",
    ],
)
def test_spaces_the_order_of_keys_and_escapes_change_nothing(form: str, rewrite: Callable[[Any], str]) -> None:
    text = SIGNED_FORMATS[form]([TWICE])
    assert check("\n".join(map(rewrite, read(text))), "a file") == check(text, "a file")


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the place of every value in a document that is no object and no list."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield from places(part, (*path, key))
    if not isinstance(value, dict | list):
        yield path


@pytest.mark.parametrize("form", SIGNED_FORMATS)
def test_a_change_of_any_value_is_found(form: str) -> None:
    documents = read(SIGNED_FORMATS[form]([TWICE]))
    changes = 0
    for *path, last in places(documents):
        if last in FIELDS:
            continue
        changed = copy.deepcopy(documents)
        inside: Any = changed
        for key in path:
            inside = inside[key]
        inside[last] = "another" if inside[last] != "another" else 0
        assert "the hash differs: the report was changed" in problem(written(changed)), (path, last)
        changes += 1
    assert changes > 50


@pytest.mark.parametrize("form", SIGNED_FORMATS)
@pytest.mark.parametrize("field", FIELDS[1:])
def test_a_signature_is_whole_or_wrong(form: str, field: str) -> None:
    documents = read(SIGNED_FORMATS[form]([TWICE]))
    other = holder(read(SIGNED_FORMATS[form]([TWICE])))[field]
    for value in (other, other[:-2], "no hex", "", 7, None, [other]):
        changed = copy.deepcopy(documents)
        holder(changed)[field] = value
        assert problem(written(changed)) == "a file: the signature differs: it was not made for this report"
    del holder(documents)[field]
    assert "the signature differs" in problem(written(documents))


def test_a_line_that_is_missing_moved_or_new_is_found() -> None:
    first, last = read(SIGNED_FORMATS["ooni"]([TWICE]))
    assert "hash differs" in problem(written([last]))
    assert "hash differs" in problem(written([first, first, last]))
    assert "hash differs" in problem(written([{"said": "by another"}, first, last]))
    assert "has no hash" in problem(written([last, first]))


def test_a_signature_does_not_show_who_made_a_report() -> None:
    """A changed report that is hashed and signed anew is a good one: the note in it and the guide say so."""
    (document,) = read(SIGNED_FORMATS["json"]([TWICE]))
    changed = {name: value for name, value in document.items() if name not in FIELDS} | {"country": "ZZ"}
    kept = {name: document[name] for name in FIELDS}
    assert "hash differs" in problem(written([changed | kept]))
    (again,) = proven([changed])
    assert "the signature differs" in problem(written([again | {name: kept[name] for name in FIELDS[1:]}]))
    (signed,) = proven([changed], sign=True)
    assert check(written([signed]), "a file")[1] == signed["public_key"] != document["public_key"]


def test_a_signature_of_another_hash_is_found() -> None:
    """By the key that the file names, so that only the message differs."""
    (document,) = proven([{"a": 1}])
    key = Ed25519PrivateKey.generate()
    signed = {"public_key": key.public_key().public_bytes_raw().hex(), "signature": key.sign(b"another").hex()}
    assert "the signature differs" in problem(written([document | signed]))


# -- files that are no reports -----------------------------------------------------------------------------------------

NO_JSON = "a file: is not JSON, so it has no hash"
NO_HASH = "a file: has no hash (sha256)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", NO_JSON),
        ("\n \n", NO_JSON),
        ("# A page", NO_JSON),
        ('{"sha256": "00"', NO_JSON),
        ('{"sha256": "00"} and more', NO_JSON),
        ('{"sha256": "00", "sha256": "11"}', NO_JSON),  # programs differ in which of the two they take
        ('{"a": NaN, "sha256": "00"}', NO_JSON),
        ("9" * 5000, NO_JSON),  # more digits than Python makes a number of
        ("[" * 100_000, NO_JSON),
        ('{"a":' * 100_000, NO_JSON),
        ("[" * 100_000 + "]" * 100_000, NO_JSON),
        ("{}", NO_HASH),
        ("[]", NO_HASH),
        ("1 " * 1000 + '{"sha256": "00"}', NO_HASH),
        ("null", NO_HASH),
        ('"sha256"', NO_HASH),
        ('{"sha256": "00"}\n{}', NO_HASH),
        ('{"annotations": null, "sha256": "00"}', NO_HASH),
        ('{"annotations": {"sha256": null}}', "a file: the hash differs: the report was changed after it was written"),
        ('{"log": {"version": "1.2"}}',
         "a file: is a report in the format har, which has no hash; json and ooni have one"),
        ("[" + "[]," * 500_000 + "0]", "a file: has too many objects and lists for a report"),
    ],
    ids=lambda text: text[:30],
)  # fmt: skip
def test_another_file_is_refused_with_one_sentence(text: str, said: str) -> None:
    assert problem(text) == said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), min_size=1, max_size=3), st.booleans())
def test_any_content_is_proven(documents: list[dict[str, Any]], sign: bool) -> None:
    text = written(proven(documents, sign=sign))
    _, key = check(text, "a file")
    assert bool(key) is sign
    assert "hash differs" in problem(text.replace("Neither", "Both"))


def test_text_that_utf8_does_not_have_is_proven() -> None:
    hashes = {check(written(proven([{"error": text}])), "a file")[0] for text in ("\udcff", "\udcfe", "?")}
    assert len(hashes) == 3


@given(st.text(st.sampled_from('{}[]",:sha256"annotations 0e\\u-'), max_size=60))
def test_any_text_is_refused(text: str) -> None:
    assert problem(text).startswith("a file: ")


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.uses("traffic")
@pytest.mark.parametrize("form", SIGNED_FORMATS)
def test_a_signed_report_is_verified_without_a_running_byway(
    byway: Byway, home: Home, running: Running, tmp_path: Path, form: str
) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    running.world.store.flush()
    before = sorted(path.name for path in home.state.rglob("*"))
    out = tmp_path / "report"
    made = byway("report", BLOG, "--format", form, "--sign", "-o", str(out))
    assert (made.code, made.out) == (0, "")
    assert made.err == (
        f"1 site written to {out}.\nThe key of the signature was made for this report and thrown away.\n"
        "Neither its hash nor a signature shows who made a report or that it is true.\n"
    )
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    key = holder(read(out.read_text()))["public_key"]
    ran = byway("report", "--verify", str(out), "--state", str(tmp_path / "none"))
    assert (ran.code, ran.out) == (0, f"{out}: unchanged since it was signed with the key {key}\n")
    assert ran.err == "Neither its hash nor a signature shows who made a report or that it is true.\n"
    document = byway("report", "--verify", str(out), "--json").json
    assert (document["unchanged"], document["problem"], document["public_key"]) == (True, "", key)
    assert document["sha256"] == hashlib.sha256(content_of(out.read_text())).hexdigest()
    assert sorted(path.name for path in home.state.rglob("*")) == before, "nothing is kept"


@pytest.mark.uses("traffic")
def test_what_is_printed_is_verified(byway: Byway, running: Running, tmp_path: Path) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    running.world.store.flush()
    out = tmp_path / "report.json"
    for printed in (byway("report", "--json"), byway("report", "--format", "json")):
        out.write_text(printed.out)
        ran = byway("report", "--verify", str(out))
        assert (ran.code, ran.out) == (0, f"{out}: unchanged since it was written; not signed\n")
    out.write_text(printed.out.replace(BLOG, "blog.example.org"))
    ran = byway("report", "--verify", str(out))
    assert (ran.code, ran.out) == (5, "")
    assert ran.err == f"byway: {out}: the hash differs: the report was changed after it was written\n"
    told = byway("report", "--verify", str(out), "--json")
    assert (told.code, told.err, told.json["unchanged"], told.json["public_key"]) == (5, "", False, "")
    assert told.json["problem"] == ran.err.removeprefix("byway: ").rstrip()


@pytest.mark.parametrize("form", ["md", "csv", "har"])
def test_a_format_without_a_hash_is_not_signed(byway: Byway, tmp_path: Path, form: str) -> None:
    out = tmp_path / "report"
    ran = byway("report", "--format", form, "--sign", "-o", str(out))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"byway: a report in the format {form} has no hash to sign; use --format ooni or json\n"
    assert not out.exists()


def test_an_empty_report_is_not_signed(byway: Byway, running: Running, tmp_path: Path) -> None:
    out = tmp_path / "report"
    ran = byway("report", "--format", "ooni", "--sign", "-o", str(out))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "byway: there is nothing to sign: no measurement and no connection is reported\n"
    assert not out.exists()


@pytest.mark.parametrize("words", [("a.example",), ("-o", "x"), ("--sign",)])
def test_a_file_is_checked_alone(byway: Byway, words: tuple[str, ...]) -> None:
    ran = byway("report", "--verify", "report.json", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "byway: --verify checks one file: give neither sites, nor -o, nor --sign\n"


def test_a_file_that_cannot_be_read_is_named(byway: Byway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_proof, "FILE_LIMIT", 1000)
    large, utf16 = tmp_path / "large", tmp_path / "utf16"
    large.write_bytes(b" " * 1001)
    utf16.write_text("{}", "utf-16")
    for path, said in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "is a folder, not a file"),
        (Path("/dev/zero"), "is a device, not a file"),
        (large, "is larger than 1,000 bytes; is this the right file?"),
        (utf16, "is UTF-16 text; save it as UTF-8"),
    ):
        ran = byway("report", "--verify", str(path))
        assert (ran.code, ran.out, ran.err) == (2, "", f"byway: {path}: {said}\n")


@pytest.mark.uses("traffic")
@pytest.mark.usefixtures("person")
def test_a_terminal_gets_its_language_and_the_report_stays(
    byway: Byway, running: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.see(rescued(host=BLOG, at=time.time()))
    byway("why", f"https://{BLOG}/")
    running.world.store.flush()
    reports = []
    for language in ("en", "ru"):
        monkeypatch.setenv("BYWAY_UI__LANGUAGE", language)
        out = tmp_path / language
        ran = byway("report", BLOG, "--format", "ooni", "-o", str(out))
        reports.append(out.read_text())
    assert reports[0] == reports[1]
    assert ran.err == f"1 сайт записан в {out}.\n"
    out.write_text(reports[1].replace(BLOG, "blog.example.org"))
    ran = byway("report", "--verify", str(out))
    assert ran.code == 5
    assert "хеш не совпадает" in ran.err
