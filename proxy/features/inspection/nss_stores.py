"""The trust stores of browsers on Linux: NSS databases, one for Chromium and one for each Firefox profile.

NSS's program certutil changes them. They are read without it, as SQLite files, so `byway ca show` works when certutil
is not installed. On other systems Chromium uses the system's store, and so does Firefox for the user's CAs.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from cryptography import x509

from proxy.features.inspection.authority import PREFIX, common_name
from proxy.features.inspection.trust_stores import TrustEntry, TrustStep, find_program, parse_byway_ca
from proxy.model.errors import BywayError
from proxy.model.frozen_dataclass import frozen_dataclass

_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "brave-browser", "vivaldi",
              "microsoft-edge")  # fmt: skip

_FIREFOX_FOLDERS = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
)
_CHROMIUM_FOLDERS = {".local/share/pki/nssdb": "Chromium (XDG)", "snap/chromium/current/.pki/nssdb": "Chromium (snap)"}

_STORES_MAX = 50

_SELECT_CERTIFICATES = """
    SELECT a3, a11 FROM nssPublic WHERE a0 = x'00000001' AND instr(a11, CAST(? AS BLOB)) LIMIT 1000
"""
"""Label and value of the certificates, by PKCS #11's numbers: CKA_CLASS 0 is CKO_CERTIFICATE 1, CKA_LABEL 3, CKA_VALUE
0x11; big-endian in NSS's files."""


@frozen_dataclass
class NssStore:
    """One database folder. It is created when a certificate is first added."""

    title: str
    folder: Path

    @property
    def place(self) -> str:
        return str(self.folder)

    def entries(self) -> list[TrustEntry]:
        file = self.folder / "cert9.db"
        if not file.is_file():
            return []
        try:
            with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
                rows = database.execute(_SELECT_CERTIFICATES, (PREFIX,)).fetchall()
        except sqlite3.Error as error:
            raise BywayError(f"{file} cannot be read: {error}") from None
        parsed = ((label, parse_byway_ca(value)) for label, value in rows)
        return [
            TrustEntry(_decode_label(label), certificate) for label, certificate in parsed if certificate is not None
        ]

    def commands_to_trust(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        exists = (self.folder / "cert9.db").is_file()
        create = [TrustStep(("mkdir", "-p", "-m", "0700", self.place)), self._certutil("-N", "--empty-password")]
        # C,,: trusted to issue server certificates, but not for mail or code signing
        return [
            *([] if exists else create),
            self._certutil("-A", "-t", "C,,", "-n", common_name(certificate), "-i", file),
        ]

    def commands_to_untrust(self, entry: TrustEntry) -> list[TrustStep]:
        return [self._certutil("-D", "-n", entry.name)]

    def _certutil(self, order: str, *words: str) -> TrustStep:
        return TrustStep(("certutil", "-d", f"sql:{self.place}", order, *words))


def nss_stores(env: Mapping[str, str]) -> list[NssStore]:
    """Returns the stores of the user of this environment: Chromium's, if it exists or a browser would read it, and
    those of used Firefox profiles."""
    if not env.get("HOME") or sys.platform in ("darwin", "win32"):
        return []
    home = Path(env["HOME"])
    stores = [*_chromium_stores(home), *_firefox_stores(home)]
    return stores[:_STORES_MAX]


def _chromium_stores(home: Path) -> Iterator[NssStore]:
    usual = home / ".pki" / "nssdb"
    if usual.is_dir() or any(find_program(name) for name in _CHROMIUMS):
        yield NssStore("Chromium, Chrome", usual)
    for name, title in _CHROMIUM_FOLDERS.items():
        if (home / name).is_dir():
            yield NssStore(title, home / name)
    for folder in sorted(home.glob(".var/app/*/.pki/nssdb")):
        yield NssStore(f"Chromium ({folder.parts[-3]})", folder)


def _firefox_stores(home: Path) -> Iterator[NssStore]:
    for name in _FIREFOX_FOLDERS:
        for file in sorted((home / name).glob("*/cert9.db")):
            yield NssStore(f"Firefox ({file.parent.name})", file.parent)


def _decode_label(label: bytes | str | None) -> str:
    return os.fsdecode(label) if isinstance(label, bytes) else label or ""
