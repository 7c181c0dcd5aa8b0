"""NSS databases, changed by the real certutil and asked of it: what we read in them is what NSS says."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proxy.features.inspection import nss_stores as module
from proxy.features.inspection.authority import certificate_file, common_name, open_authority
from proxy.features.inspection.nss_stores import NssStore, nss_stores
from proxy.features.inspection.trust_stores import run, trust, untrust
from proxy.model.errors import BywayError
from tests.support import programs
from tests.support.authority import Authority as Public

NOW = time.time()


def certutil(folder: Path, *words: str, check: bool = True) -> str:
    line = [programs.require("certutil"), "-d", f"sql:{folder}", *words]
    done = subprocess.run(
        line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=check, start_new_session=True
    )
    return done.stdout


def rows(folder: Path) -> set[tuple[object, ...]]:
    """All that is public in a database."""
    with contextlib.closing(sqlite3.connect(folder / "cert9.db")) as database:
        return {row[1:] for row in database.execute("SELECT * FROM nssPublic")}


@pytest.fixture
def profile(tmp_path: Path) -> NssStore:
    """Of a browser that has been used, with an authority of somebody else's."""
    folder = tmp_path / "profile"
    folder.mkdir()
    certutil(folder, "-N", "--empty-password")
    (tmp_path / "office.pem").write_text(Public().pem)
    certutil(folder, "-A", "-t", "C,,", "-n", "an office", "-i", str(tmp_path / "office.pem"))
    return NssStore("Firefox (test)", folder)


@pytest.mark.needs("certutil")
def test_J11_in_a_profile_and_out_again_leaves_it_as_it_was(profile: NssStore, tmp_path: Path) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    before = rows(profile.folder)
    assert profile.entries() == []
    assert trust(profile, certificate, certificate_file(tmp_path / "ca")).trusted
    (entry,) = profile.entries()
    assert (entry.name, entry.certificate) == (common_name(certificate), certificate)
    listed = {line[:60].strip(): line[60:].strip() for line in certutil(profile.folder, "-L").splitlines()}
    assert listed[common_name(certificate)] == "C,,"  # for servers alone
    assert "an office" in listed
    shown = certutil(profile.folder, "-L", "-n", common_name(certificate), "-a")
    assert x509.load_pem_x509_certificate(shown.encode()) == certificate
    assert "certificate is valid" in certutil(profile.folder, "-V", "-u", "L", "-n", common_name(certificate))

    result = untrust(profile, [certificate])
    assert (result.trusted, result.error, result.pending) == (False, "", ())
    assert profile.entries() == []
    assert "Byway" not in certutil(profile.folder, "-L")
    assert rows(profile.folder) == before  # neither the certificate nor the trust in its hash
    digest = hashlib.sha1(certificate.public_bytes(Encoding.DER)).digest()
    assert not any(digest in value for row in rows(profile.folder) for value in row if isinstance(value, bytes))


@pytest.mark.needs("certutil")
def test_J11_one_that_the_user_imported_under_another_name_is_taken_too(profile: NssStore, tmp_path: Path) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    file = str(certificate_file(tmp_path / "ca"))
    certutil(profile.folder, "-A", "-t", "CT,C,C", "-n", "-n mine; rm", "-i", file)
    assert [entry.name for entry in profile.entries()] == ["-n mine; rm"]
    assert untrust(profile, [certificate]).trusted is False
    assert "an office" in certutil(profile.folder, "-L")


@pytest.mark.needs("certutil")
def test_several_authorities_are_kept_apart(profile: NssStore, tmp_path: Path) -> None:
    """One rotated, one of another state folder: NSS keeps one nickname for each subject."""
    made = [open_authority(tmp_path / name, now=NOW).certificate for name in ("one", "two")]
    for name, certificate in zip(("one", "two"), made, strict=True):
        trust(profile, certificate, certificate_file(tmp_path / name))
    assert {entry.name: entry.certificate for entry in profile.entries()} == {common_name(it): it for it in made}
    assert untrust(profile, made[:1]).trusted is False
    assert [entry.certificate for entry in profile.entries()] == made[1:]


@pytest.mark.needs("certutil")
def test_a_database_that_is_not_there_is_made_for_its_owner(tmp_path: Path) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    store = NssStore("Chromium", tmp_path / "home" / ".pki" / "nssdb")
    assert store.entries() == []
    assert not store.folder.exists()
    assert untrust(store, [certificate]).trusted is False
    assert not store.folder.exists()
    assert trust(store, certificate, certificate_file(tmp_path / "ca")).trusted
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert untrust(store, [certificate]).trusted is False
    assert not certutil(store.folder, "-L").split("SSL,S/MIME,JAR/XPI")[1].strip()


@pytest.mark.needs("certutil")
def test_a_profile_with_a_password_is_not_waited_for(tmp_path: Path) -> None:
    """certutil would ask at the terminal. It needs none to trust, or it says that it does when the certificate is in
    already: then it is taken out again, and not called trusted the next time."""
    folder = tmp_path / "profile"
    folder.mkdir()
    (tmp_path / "password").write_text("correct horse\n")
    certutil(folder, "-N", "-f", str(tmp_path / "password"))
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    locked = NssStore("Firefox (locked)", folder)
    for _ in range(2):
        result = trust(locked, certificate, certificate_file(tmp_path / "ca"))
        assert result.trusted is (result.error == "") is bool(locked.entries())
        assert result.trusted or "it is protected by a password" in result.error
    assert untrust(locked, [certificate]).trusted is False


def test_a_database_that_is_none_is_not_taken_for_empty(tmp_path: Path) -> None:
    (tmp_path / "cert9.db").write_bytes(os.urandom(5000))
    with pytest.raises(BywayError, match=r"cert9\.db cannot be read: "):
        NssStore("broken", tmp_path).entries()


@pytest.mark.needs("certutil")
def test_without_certutil_it_is_still_known_what_is_in_there(
    profile: NssStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    run(profile.commands_to_trust(certificate, str(certificate_file(tmp_path / "ca")))[0])
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("proxy.features.inspection.trust_stores.find_program", lambda _: None)
    result = untrust(profile, [certificate])
    assert result.trusted
    assert "libnss3-tools" in result.error


# -- which there are ---------------------------------------------------------------------------------------------------


def test_the_databases_of_a_home_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_program", lambda _: None)
    assert nss_stores({"HOME": str(tmp_path)}) == []
    for name in (
        ".mozilla/firefox/ab12.default",
        ".mozilla/firefox/cd34.work",
        ".config/mozilla/firefox/ef56.new",
        "snap/firefox/common/.mozilla/firefox/gh78.snap",
        ".var/app/org.mozilla.firefox/.mozilla/firefox/ij90.flat",
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "cert9.db").touch()
    (tmp_path / ".mozilla/firefox/Crash Reports").mkdir()
    for name in (
        ".pki/nssdb",
        ".local/share/pki/nssdb",
        "snap/chromium/current/.pki/nssdb",
        ".var/app/org.chromium.Chromium/.pki/nssdb",
    ):
        (tmp_path / name).mkdir(parents=True)
    found = nss_stores({"HOME": str(tmp_path)})
    assert [store.title for store in found] == [
        "Chromium, Chrome",
        "Chromium (XDG)",
        "Chromium (snap)",
        "Chromium (org.chromium.Chromium)",
        *(f"Firefox ({name})" for name in ("ab12.default", "cd34.work", "ef56.new", "gh78.snap", "ij90.flat")),
    ]
    assert found[0].place == str(tmp_path / ".pki/nssdb")


def test_a_browser_that_has_not_run_yet_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_program", lambda name: "/usr/bin/x" if name == "google-chrome" else None)
    assert [store.folder for store in nss_stores({"HOME": str(tmp_path)})] == [tmp_path / ".pki" / "nssdb"]


def test_without_a_home_and_elsewhere_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nss_stores({}) == []
    (tmp_path / ".pki/nssdb").mkdir(parents=True)
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert nss_stores({"HOME": str(tmp_path)}) == []


def test_the_number_of_profiles_is_bounded(tmp_path: Path) -> None:
    for number in range(80):
        (tmp_path / f".mozilla/firefox/{number}").mkdir(parents=True)
        (tmp_path / f".mozilla/firefox/{number}/cert9.db").touch()
    assert len(nss_stores({"HOME": str(tmp_path)})) == 50
