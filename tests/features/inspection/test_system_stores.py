"""The systems' stores: Debian's for real, over folders of its own and over the system's in a namespace; others by
their commands."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.features.inspection import system_stores
from proxy.features.inspection.authority import certificate_file, common_name, open_authority
from proxy.features.inspection.system_stores import SYSTEMS, AnchorFolder, Keychain, WindowsRoots, this_system
from proxy.features.inspection.trust_stores import TrustEntry, TrustStep, short_id, trust, untrust
from proxy.model.errors import BywayError
from tests.features.inspection.conftest import Debian
from tests.support import programs

NOW = time.time()


def known_to(bundle: Path) -> str:
    """The subjects that Python's own TLS takes from a bundle."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(bundle)
    return str([found["subject"] for found in context.get_ca_certs()])


# -- Debian ------------------------------------------------------------------------------------------------------------


@pytest.mark.needs("update-ca-certificates", "openssl")
def test_J11_in_debians_store_and_out_again_leaves_it_as_it_was(debian: Debian, tmp_path: Path) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    before = debian.state()
    result = trust(debian.store, certificate, certificate_file(tmp_path / "ca"))
    assert (result.trusted, result.error, result.pending) == (True, "", ())
    assert common_name(certificate) in known_to(debian.store.bundle)
    assert [(entry.name, entry.certificate) for entry in debian.store.entries()] == [
        (f"byway-{short_id(certificate)}.crt", certificate)
    ]
    assert debian.state() != before
    assert untrust(debian.store, [certificate]).trusted is False
    assert debian.state() == before
    assert "Byway on" not in known_to(debian.store.bundle)
    assert debian.store.entries() == []


@pytest.mark.needs("update-ca-certificates", "openssl")
def test_J11_what_lingers_in_the_bundle_is_found_and_taken(debian: Debian, tmp_path: Path) -> None:
    """Somebody deleted the file and did not bring the rest up to date."""
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    before = debian.state()
    trust(debian.store, certificate, certificate_file(tmp_path / "ca"))
    (debian.store.folder / f"byway-{short_id(certificate)}.crt").unlink()
    assert debian.store.entries() == [TrustEntry("", certificate)]
    assert untrust(debian.store, [certificate]).trusted is False
    assert debian.state() == before


@pytest.mark.needs("update-ca-certificates", "openssl")
def test_J11_one_that_the_user_put_there_under_another_name_is_taken_too(debian: Debian, tmp_path: Path) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    (debian.store.folder / "mine.crt").write_bytes(certificate_file(tmp_path / "ca").read_bytes())
    assert trust(debian.store, certificate, Path("/nonexistent")).trusted
    assert untrust(debian.store, [certificate]).trusted is False
    assert list(debian.store.folder.iterdir()) == []


def test_without_the_folder_nothing_is_held(tmp_path: Path) -> None:
    store = AnchorFolder("none", tmp_path / "none", ".crt", tmp_path / "bundle", ("true",), ("true",))
    assert store.entries() == []


def test_what_cannot_be_read_is_not_taken_for_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_stores, "_FILE_LIMIT", 10)
    (tmp_path / "big.crt").write_bytes(b"x" * 11)
    store = AnchorFolder("big", tmp_path, ".crt", tmp_path / "bundle", ("true",), ("true",))
    with pytest.raises(BywayError, match=r"big\.crt"):
        store.entries()


_INSIDE = """
set -eu
mount -t tmpfs none /usr/local/share
mkdir /usr/local/share/ca-certificates
cp -r --no-dereference --preserve=mode,timestamps,links /etc/ssl/certs "$1/certs"  # owners have no name in here
mount --bind "$1/certs" /etc/ssl/certs
mkdir "$1/hooks"
[ ! -d /etc/ca-certificates/update.d ] || mount --bind "$1/hooks" /etc/ca-certificates/update.d
fingerprint() {
  find /etc/ssl/certs /usr/local/share/ca-certificates -printf '%P %l\\n' | sort
  cat /etc/ssl/certs/ca-certificates.crt
}
byway() { "$2" -P -m proxy --state "$1/state" ca "$3"; }
update-ca-certificates --fresh >&2
fingerprint >"$1/before"
byway "$1" "$2" trust >&2
openssl verify -CApath /etc/ssl/certs "$1/state/ca/byway-ca.crt"
openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt "$1/state/ca/byway-ca.crt"
byway "$1" "$2" show
cp "$1/state/ca/byway-ca.crt" "$1/kept.crt"
byway "$1" "$2" remove >&2
! openssl verify -CApath /etc/ssl/certs "$1/kept.crt" >&2
fingerprint >"$1/after"
cmp "$1/before" "$1/after"
[ ! -e "$1/state/ca" ]
[ -z "$(ls /usr/local/share/ca-certificates)" ]
echo as before
"""


@pytest.mark.namespaces
@pytest.mark.needs("unshare", "update-ca-certificates", "openssl")
def test_J11_the_real_folders_of_a_debian_are_left_as_they_were(tmp_path: Path) -> None:
    """The commands as a user runs them, as root of a namespace whose folders are copies."""
    done = subprocess.run(
        [programs.require("unshare"), "-Urm", "sh", "-c", _INSIDE, "sh", str(tmp_path), sys.executable],
        capture_output=True, text=True, timeout=120, check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(tmp_path / "home"), "LANG": "C.UTF-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("byway-ca.crt: OK") == 2
    assert "Debian's store\ttrusted\t" in done.stdout
    assert done.stdout.endswith("as before\n")
    assert not list(Path("/usr/local/share/ca-certificates").glob("byway-*"))


# -- the others --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "commands"),
    [
        (
            "debian",
            [
                "sudo install -D -m 0644 ca.crt /usr/local/share/ca-certificates/byway-ID.crt",
                "sudo update-ca-certificates",
                "sudo rm -f /usr/local/share/ca-certificates/byway-ID.crt",
                "sudo update-ca-certificates --fresh",
            ],
        ),
        (
            "fedora",
            [
                "sudo install -D -m 0644 ca.crt /etc/pki/ca-trust/source/anchors/byway-ID.crt",
                "sudo update-ca-trust extract",
                "sudo rm -f /etc/pki/ca-trust/source/anchors/byway-ID.crt",
                "sudo update-ca-trust extract",
            ],
        ),
        (
            "arch",
            [
                "sudo install -D -m 0644 ca.crt /etc/ca-certificates/trust-source/anchors/byway-ID.crt",
                "sudo update-ca-trust extract",
                "sudo rm -f /etc/ca-certificates/trust-source/anchors/byway-ID.crt",
                "sudo update-ca-trust extract",
            ],
        ),
        (
            "macos",
            [
                "security add-trusted-cert -r trustRoot -p ssl -k login.keychain-db ca.crt",
                "security delete-certificate -t -Z NAME login.keychain-db",
            ],
        ),
        ("windows", ["certutil -user -addstore Root ca.crt", "certutil -user -delstore Root NAME"]),
    ],
)
def test_the_commands_of_each_system(system: str, commands: list[str], tmp_path: Path) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    store, name = SYSTEMS[system], f"byway-{short_id(certificate)}.crt"
    steps = [*store.commands_to_trust(certificate, "ca.crt")]
    steps += store.commands_to_untrust(TrustEntry("NAME" if system in ("macos", "windows") else name, certificate))
    assert [str(step).replace(short_id(certificate), "ID") for step in steps] == commands
    assert store.place


def test_a_keychain_is_read_by_what_security_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    asked: list[TrustStep] = []

    def printed(step: TrustStep) -> bytes:
        asked.append(step)
        return certificate_file(tmp_path / "ca").read_bytes()

    monkeypatch.setattr(system_stores, "run", printed)
    (entry,) = Keychain().entries()
    assert entry.certificate == certificate
    assert len(entry.name) == 40
    assert str(asked[0]) == "security find-certificate -a -p -c 'Byway on' login.keychain-db"


def test_a_keychain_without_ours_is_empty_and_one_that_is_locked_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "security ended with 44: SecKeychainSearchCopyNext: The specified item could not be found in the keychain."

    def fail(_: TrustStep) -> bytes:
        raise BywayError(said)

    monkeypatch.setattr(system_stores, "run", fail)
    assert Keychain().entries() == []
    said = "security ended with 36: security: SecKeychainUnlock: User interaction is not allowed."
    with pytest.raises(BywayError, match="User interaction"):
        Keychain().entries()


@pytest.mark.skipif(sys.platform == "win32", reason="is about the others")
def test_windows_store_is_seen_from_windows_alone() -> None:
    with pytest.raises(BywayError, match="only be read on Windows"):
        WindowsRoots().entries()


@pytest.mark.needs("update-ca-certificates")
def test_this_system_is_told_by_its_folder_and_its_program(monkeypatch: pytest.MonkeyPatch, debian: Debian) -> None:
    monkeypatch.setitem(SYSTEMS, "debian", debian.store)
    assert this_system() == "debian"
    elsewhere = replace(debian.store, folder=debian.made / "none")  # SUSE has a program of that name
    monkeypatch.setitem(SYSTEMS, "debian", elsewhere)
    assert this_system() is None
    monkeypatch.setitem(SYSTEMS, "debian", debian.store)
    monkeypatch.setattr(system_stores, "find_program", lambda _: None)
    assert this_system() is None
    for platform, name in (("darwin", "macos"), ("win32", "windows")):
        monkeypatch.setattr(sys, "platform", platform)
        assert this_system() == name
