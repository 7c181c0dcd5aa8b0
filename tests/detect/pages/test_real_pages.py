"""Block pages that were met in the wild, and pages that only look like them.

The real ones are not ours to commit: they are looked for in the folder that BYWAY_TEST_DATA names (Citizen Lab's pages,
OONI's fingerprints, the roots that Chromium distrusts). Without it the rows that ship with Byway are held to pages made
up here.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest

from proxy.config.bundled import bundled
from proxy.detect.pages import block_pages
from proxy.detect.pages.block_pages import BlockPages, Fingerprint, parse_fingerprints
from proxy.detect.pages.charset import decode
from proxy.detect.pages.page_classifier import PageKind, classify_page
from proxy.detect.tls_interception import CertificateKind, KnownRoots, classify_chain
from tests.support.ordinary_pages import Ordinary, ordinary_pages
from tests.support.rows import each_row

DATA = Path(os.environ["BYWAY_TEST_DATA"]) if os.environ.get("BYWAY_TEST_DATA") else None
needs_data = pytest.mark.skipif(DATA is None, reason="BYWAY_TEST_DATA names no folder of real data")

SHIPPED = parse_fingerprints(Path(block_pages.__file__).with_suffix(".csv").read_text("utf-8"), "block_pages.csv")


def imported() -> tuple[Fingerprint, ...]:
    assert DATA is not None
    file = DATA / "ooni-fingerprints" / "fingerprints_http.csv"
    return parse_fingerprints(file.read_text("utf-8"), file.name).fingerprints


def real_pages() -> dict[str, bytes]:
    assert DATA is not None
    return {path.stem: path.read_bytes() for path in sorted((DATA / "citizenlab-blockpages/pages").glob("*.html"))}


def served(body: bytes, content_type: str = "text/html", status: int = 200) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\n\r\n".encode() + body


def mistaken(pages: BlockPages) -> list[str]:
    """The ordinary pages that are taken for something else."""

    def is_mistaken(page: Ordinary) -> bool:
        answer = served(page.body, page.content_type, page.status)
        return classify_page(answer, "www.example.kz", ended=True, pages=pages).kind is not PageKind.PLAIN

    return [page.name for page in ordinary_pages() if is_mistaken(page)]


# -- what ships ------------------------------------------------------------------------------------------------------


def test_every_shipped_row_can_be_used_and_names_its_source() -> None:
    assert not SHIPPED.refused
    assert not SHIPPED.vague
    assert len(SHIPPED.fingerprints) > 80
    assert all(fingerprint.id.startswith("byway.") for fingerprint in SHIPPED.fingerprints)
    rows = Path(block_pages.__file__).with_suffix(".csv").read_text("utf-8").splitlines()[1:]
    assert not [row for row in rows if row.endswith(",")]


def test_two_hundred_ordinary_pages_are_none_of_them() -> None:
    assert len(ordinary_pages()) == 200
    assert mistaken(BlockPages(SHIPPED.fingerprints)) == []


def test_a_row_that_is_too_wide_would_be_noticed() -> None:
    """The control: the two hundred pages do find it."""
    wide = parse_fingerprints(
        "name,scope,location_found,pattern_type,pattern\nx,isp,body,contains,Access Denied\n", "x"
    )
    assert len(mistaken(BlockPages(wide.fingerprints))) > 5


@each_row(
    ("body", "row"),
    [
        ('<html><iframe src="http://10.10.34.34?type=Invalid Site&policy=MainPolicy"></iframe>', "byway.ir_frame"),
        ("<meta charset=utf-8><title>Орион телеком :: БЛОКИРОВКА</title>", "byway.ru_orionnet"),
        ("<title>Güvenli İnternet Uyarı</title>", "byway.tr_warning"),
        ("<a href=http://192.0.2.1:8080/webadmin/deny/index.php?dpid=1>", "byway.netsweeper"),
    ],
)
def test_what_they_are_for(body: str, row: str) -> None:
    found = classify_page(served(body.encode()), "blog.example", ended=True, pages=BlockPages(SHIPPED.fingerprints))
    assert (found.kind, found.detail) == (PageKind.BLOCK_PAGE, row)


@pytest.mark.parametrize(
    ("place", "row"),
    [
        ("http://10.10.34.35/", "byway.ir_location"),
        ("http://warning.rt.ru/?id=15&st=0&dt=1", "byway.ru_rostelecom_warning_location"),
        ("https://blocked.mts.ru/", "byway.ru_mts_location"),
    ],
)
def test_where_they_lead(place: str, row: str) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {place}\r\nContent-Length: 0\r\n\r\n".encode()
    found = classify_page(answer, "blog.example", ended=False, pages=BlockPages(SHIPPED.fingerprints))
    assert (found.kind, found.detail) == (PageKind.BLOCK_PAGE, row)


# -- real data -------------------------------------------------------------------------------------------------------


@needs_data
def test_real_block_pages_are_known_by_the_imported_list() -> None:
    pages = BlockPages(imported())
    missed = [name for name, body in real_pages().items() if not pages.match({}, decode(body))]
    assert len(real_pages()) == 122
    assert len(real_pages()) - len(missed) >= 110, missed


@needs_data
def test_their_first_bytes_are_enough_with_what_ships() -> None:
    """What a visitor waits for: 16 KiB of the body."""
    pages = BlockPages((*SHIPPED.fingerprints, *imported()))
    answers = {name: served(body) for name, body in real_pages().items()}
    missed = [
        name
        for name, answer in answers.items()
        if classify_page(answer[: len(served(b"")) + 16 * 1024], "blog.example", ended=True, pages=pages).kind
        is PageKind.PLAIN
    ]
    assert len(answers) - len(missed) >= 115, missed


@needs_data
def test_ordinary_pages_are_none_of_the_imported_ones() -> None:
    """The imported list takes a shield's own check of its visitors for a block; the vetoes that ship acquit it."""
    assert mistaken(BlockPages((*SHIPPED.fingerprints, *imported()))) == []
    assert mistaken(BlockPages(imported())) == [f"challenge-{code}-1" for code in ("en", "ru", "kk", "th", "tr")]


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        *("isp_ru_dialog_block", "isp_ru_rascom_block", "isp_ru_infolink_block", "isp_ru_westcall_forward_1"),
        *("nat_th_ictprohibit_block", "isp_ru_kaspnet_block"),
    ],
)
def test_pages_in_other_charsets_survive(name: str) -> None:
    text = decode(real_pages()[name])
    assert "\ufffd" not in text
    if "_ru_" in name and text:
        assert any("а" <= letter <= "я" for letter in text)


@needs_data
def test_each_of_kazakhstans_roots_is_known() -> None:
    assert DATA is not None
    roots = KnownRoots.parse(bundled("certs/known_roots.json").read_text("utf-8"), "known_roots.json")
    files = sorted((DATA / "kz-mitm-ca").glob("*.pem"))
    assert len(files) == len(roots) == 10
    for file in files:
        der = ssl.PEM_cert_to_DER_cert(file.read_text())
        for chain in ([der], [b"the site's", der]):
            found = classify_chain(chain, "vk.com", verified=False, expired=False, roots=roots)
            assert (found.kind, found.fingerprint) == (CertificateKind.KNOWN_ROOT, file.stem)
