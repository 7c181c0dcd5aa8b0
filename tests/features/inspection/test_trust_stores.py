"""Steps are run and looked after: what went well in words and not in fact is said, and root's part is handed back."""

from __future__ import annotations

import base64
import datetime
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from proxy.features.inspection import trust_stores as module
from proxy.features.inspection.authority import PURPOSE, certificate_file, make_authority, open_authority
from proxy.features.inspection.trust_stores import (
    TrustEntry,
    TrustStep,
    find_byway_cas,
    find_program,
    parse_byway_ca,
    run,
    short_id,
    trust,
    untrust,
)
from proxy.model.errors import BywayError
from tests.support.authority import Authority as Public

NOW = time.time()


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@dataclass
class Shelf:
    """A store that is a folder: certificates by name, put there with install and taken with rm."""

    folder: Path
    as_root: bool = False
    deaf: bool = False  # its steps do nothing
    title: str = "shelf"

    @property
    def place(self) -> str:
        return str(self.folder)

    def entries(self) -> list[TrustEntry]:
        if not self.folder.is_dir():
            raise BywayError("the shelf has fallen")
        found = [(path.name, find_byway_cas(path.read_bytes())) for path in sorted(self.folder.iterdir())]
        return [TrustEntry(name, certificate) for name, held in found for certificate in held]

    def commands_to_trust(self, certificate: x509.Certificate, file: str) -> list[TrustStep]:
        target = str(self.folder / short_id(certificate))
        return (
            [TrustStep(("true",))]
            if self.deaf
            else [TrustStep(("install", file, target), self.as_root), TrustStep(("true",))]
        )

    def commands_to_untrust(self, entry: TrustEntry) -> list[TrustStep]:
        words = ("true",) if self.deaf else ("rm", str(self.folder / entry.name))
        return [TrustStep(words, self.as_root), TrustStep(("true",))]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "shelf").mkdir()
    return Shelf(tmp_path / "shelf")


# -- in and out --------------------------------------------------------------------------------------------------------


def test_what_is_trusted_is_there_and_what_is_untrusted_is_not(shelf: Shelf, tmp_path: Path) -> None:
    one, two = (open_authority(tmp_path / name, now=NOW).certificate for name in ("one", "two"))
    for name, certificate in (("one", one), ("two", two)):
        result = trust(shelf, certificate, certificate_file(tmp_path / name))
        assert (result.store, result.trusted, result.error, result.pending) == (shelf, True, "", ())
    assert {entry.certificate for entry in shelf.entries()} == {one, two}
    result = untrust(shelf, [one])
    assert (result.trusted, result.error, result.pending) == (False, "", ())
    assert [entry.certificate for entry in shelf.entries()] == [two]
    assert untrust(shelf, [one]).trusted is False  # again: nothing to do
    assert untrust(shelf, []).trusted is False
    assert trust(shelf, two, Path("/nonexistent")).trusted  # is there, so nothing is run


def test_several_go_at_once_and_what_comes_after_is_run_once_at_the_end(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = [make_authority(now=NOW).certificate for _ in range(3)]
    for certificate in certificates:
        (shelf.folder / short_id(certificate)).write_bytes(certificate.public_bytes(Encoding.PEM))
    shelf.as_root = True
    monkeypatch.setattr(module, "is_root", lambda: False)
    assert [step.words[0] for step in untrust(shelf, certificates).pending] == ["rm", "rm", "rm", "true"]
    monkeypatch.setattr(module, "is_root", lambda: True)
    assert untrust(shelf, certificates).trusted is False
    assert list(shelf.folder.iterdir()) == []


def test_roots_part_is_handed_back_with_all_that_follows(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "is_root", lambda: False)
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    shelf.as_root = True
    result = trust(shelf, certificate, certificate_file(tmp_path / "ca"))
    assert (result.trusted, result.error) == (False, "")
    assert [step.words[0] for step in result.pending] == ["install", "true"]
    assert str(result.pending[0]).startswith("sudo install ")
    assert list(shelf.folder.iterdir()) == []
    (shelf.folder / "held").write_bytes(certificate.public_bytes(Encoding.PEM))
    result = untrust(shelf, [certificate])
    assert (result.trusted, len(result.pending)) == (True, 2)


def test_commands_that_change_nothing_are_not_believed(shelf: Shelf, tmp_path: Path) -> None:
    shelf.deaf = True
    certificate = open_authority(tmp_path / "ca", now=NOW).certificate
    assert trust(shelf, certificate, certificate_file(tmp_path / "ca")).error.endswith("but it is not there")
    (shelf.folder / "held").write_bytes(certificate.public_bytes(Encoding.PEM))
    assert untrust(shelf, [certificate]).error.endswith("but it is still there")


def test_a_fault_is_the_stores_and_says_what_the_command_said(shelf: Shelf, tmp_path: Path) -> None:
    certificate = make_authority(now=NOW).certificate
    result = trust(shelf, certificate, tmp_path / "gone.crt")
    assert (result.trusted, result.pending) == (False, ())
    assert result.error.startswith("install exited with code 1: ")
    assert "gone.crt" in result.error
    shelf.folder.rmdir()
    for result in (trust(shelf, certificate, tmp_path / "gone.crt"), untrust(shelf, [certificate])):
        assert (result.trusted, result.error) == (None, "the shelf has fallen")


# -- steps -------------------------------------------------------------------------------------------------------------


def test_a_step_is_shown_as_it_is_typed() -> None:
    assert str(TrustStep(("certutil", "-n", "Byway on pc, 1"))) == "certutil -n 'Byway on pc, 1'"
    assert str(TrustStep(("rm", "a; b"), as_root=True)) == "sudo rm 'a; b'"
    assert str(TrustStep(("certutil", r"C:\Users\A B\ca.crt"), for_windows=True)) == r'certutil "C:\Users\A B\ca.crt"'


def test_a_command_gets_no_terminal_and_no_input() -> None:
    """Although there is input here."""
    reading, writing = os.pipe()
    kept = os.dup(0)
    try:
        os.write(writing, b"typed\n")
        os.close(writing)
        os.dup2(reading, 0)
        script = "import os, sys; print(sys.stdin.read() == ''); os.getsid(0) == os.getpid() or sys.exit(3)"
        assert run(TrustStep((sys.executable, "-c", script))) == b"True\n"
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(reading)


def test_what_a_failing_command_said_is_one_short_line() -> None:
    with pytest.raises(BywayError) as caught:
        run(TrustStep((sys.executable, "-c", "import sys; sys.exit('a\\nb ' + 'c' * 9999)")))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    with pytest.raises(BywayError, match="no output"):
        run(TrustStep(("false",)))


def test_a_command_that_is_missing_says_who_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BywayError, match=r"no-such-program is missing\Z"):
        run(TrustStep(("no-such-program",)))
    monkeypatch.setattr(module, "find_program", lambda _: None)
    with pytest.raises(BywayError, match="certutil is missing; install libnss3-tools"):
        run(TrustStep(("certutil", "-L")))
    broken = tmp_path / "broken"
    broken.write_text("no program")
    broken.chmod(0o700)
    monkeypatch.setattr(module, "find_program", lambda _: str(broken))
    with pytest.raises(BywayError, match="broken could not be started: "):
        run(TrustStep(("broken",)))


def test_a_command_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEP_LIMIT_S", 0.2)
    with pytest.raises(BywayError, match="timed out"):
        run(TrustStep(("sleep", "60")))


def test_programs_of_the_administrator_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program("no-such-program") is None
    assert os.path.isabs(find_program("ldconfig") or "")


# -- which are ours ----------------------------------------------------------------------------------------------------


def named(*parts: tuple[x509.ObjectIdentifier, str]) -> x509.Certificate:
    """A certificate that calls itself what it likes."""
    key, moment = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    return builder.serial_number(1).not_valid_before(moment).not_valid_after(moment).sign(key, hashes.SHA256())


def test_ours_is_known_by_both_of_its_names() -> None:
    certificate = make_authority(now=NOW).certificate
    assert parse_byway_ca(der(certificate)) == certificate
    common, organization = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME
    assert parse_byway_ca(der(named((common, "Byway on pc, 1"), (organization, PURPOSE))))
    for stranger in (
        named((common, "Byway on pc, 1")),
        named((common, "Byway on pc, 1"), (organization, "Byway Inc.")),
        named((common, "A Byway on pc, 1"), (organization, PURPOSE)),
        named((common, "x"), (organization, "Byway on ")),
        named((organization, f"Byway on, {PURPOSE}"[:64])),
    ):
        assert parse_byway_ca(der(stranger)) is None


def test_what_is_no_certificate_is_not_ours() -> None:
    good = der(make_authority(now=NOW).certificate)
    for bad in (b"", b"Byway on ", good[:-200], b"\0" + good):
        assert parse_byway_ca(bad) is None


def test_ours_are_found_among_others() -> None:
    one, two = (make_authority(now=NOW).certificate for _ in range(2))
    pem = [certificate.public_bytes(Encoding.PEM) for certificate in (one, two)]
    broken = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"Byway on me")[:-1] + b"\n-----END CERTIFICATE-----\n"
    text = b"\r\n".join([b"# a comment", Public().pem.encode(), pem[0], broken, pem[1], b"-----BEGIN CERTIFICATE-----"])
    assert find_byway_cas(text) == [one, two]
    assert find_byway_cas(b"") == []


def test_the_short_id_is_the_keys() -> None:
    certificate = make_authority(now=NOW, host="pc").certificate
    key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    assert short_id(certificate) == key_id[:8]
