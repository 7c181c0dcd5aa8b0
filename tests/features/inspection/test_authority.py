"""The local authority: made once, kept from everybody else, and refused when it cannot be what it was."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pickle
import socket
import ssl
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from proxy.features.inspection.authority import (
    LIFETIME,
    PURPOSE,
    Authority,
    certificate_file,
    common_name,
    fingerprint,
    has_key,
    make_authority,
    open_authority,
    problem_with,
    read_certificate,
    remove_authority,
    replace_authority,
)
from proxy.features.inspection.leaf import Leaves
from proxy.model.errors import BywayError
from tests.support import programs
from tests.support.rows import each_row

NOW = time.time()
YEAR = 365 * 86_400.0
NOBODY = 65_534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def key_file(folder: Path) -> Path:
    return folder / "authority.pem"


def secrets_of(folder: Path) -> list[str]:
    """Every spelling in which the key could come out: each line of its PEM, and its number."""
    data = key_file(folder).read_bytes()
    key = load_pem_private_key(data, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    number = key.private_numbers().private_value
    begin = data.decode().partition("-----BEGIN CERTIFICATE")[0].splitlines()
    return [*begin, str(number), f"{number:x}", f"{number:X}"]


def fault(folder: Path, *, now: float = NOW) -> str:
    with pytest.raises(BywayError) as caught:
        open_authority(folder, now=now)
    said = str(caught.value)
    assert "\n" not in said
    assert problem_with(folder, now=now) == said
    return said


# -- what it is --------------------------------------------------------------------------------------------------------


def test_it_is_one_p256_authority_that_signs_leaves_and_nothing_else(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", now=NOW)
    certificate = authority.certificate
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert isinstance(authority.key.curve, ec.SECP256R1)
    found = {extension.oid._name: extension for extension in certificate.extensions}
    assert set(found) == {"basicConstraints", "keyUsage", "subjectKeyIdentifier"}
    assert (found["basicConstraints"].critical, found["keyUsage"].critical) == (True, True)
    assert found["basicConstraints"].value == x509.BasicConstraints(ca=True, path_length=0)
    usage = found["keyUsage"].value
    assert isinstance(usage, x509.KeyUsage)
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)
    assert certificate.issuer == certificate.subject
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == LIFETIME
    assert certificate.serial_number.bit_length() > 64


def test_its_name_says_who_made_it_where_and_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "lap-top.home")
    certificate = make_authority(now=NOW).certificate
    key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    assert common_name(certificate) == f"Byway on lap-top.home, {key_id[:8]}"
    assert certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value == PURPOSE


@each_row(
    ("host", "shown"),
    [("a" * 300, "a" * 40), ("ноутбук", "this computer"), ("", "this computer"), ("a\0b\x1b[2J,CN=x", "ab2JCNx")],
)
def test_J3_a_strange_machine_name_makes_no_strange_certificate(host: str, shown: str) -> None:
    name = common_name(make_authority(now=NOW, host=host).certificate)
    assert name.startswith(f"Byway on {shown}, ")
    assert len(name) <= 64


def test_two_of_one_machine_never_share_a_subject() -> None:
    one, two = (make_authority(now=NOW, host="pc").certificate for _ in range(2))
    assert one.subject != two.subject


def test_a_certificate_without_a_name_has_none() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    nameless = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment)
        .not_valid_after(moment)
        .sign(key, hashes.SHA256())
    )
    assert common_name(nameless) == ""


@pytest.mark.needs("openssl")
def test_openssl_shows_the_same_fingerprint(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", now=NOW)
    line = [programs.require("openssl"), "x509", "-noout", "-fingerprint", "-sha256", "-in"]
    done = subprocess.run(
        [*line, str(certificate_file(tmp_path / "ca"))], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip().partition("=")[2] == fingerprint(authority.certificate)


# -- made once, at first use -------------------------------------------------------------------------------------------


def test_it_is_made_once_and_then_read(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    assert (read_certificate(folder), has_key(folder)) == (None, False)
    made = open_authority(folder, now=NOW)
    again = open_authority(folder, now=NOW + YEAR)
    assert again.certificate == made.certificate
    assert again.key.private_numbers() == made.key.private_numbers()
    assert (read_certificate(folder), has_key(folder)) == (made.certificate, True)
    assert problem_with(folder, now=NOW) == ""


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert "no such file" in problem_with(tmp_path / "ca", now=NOW)
    assert not (tmp_path / "ca").exists()


def test_importing_makes_nothing(tmp_path: Path) -> None:
    script = "import proxy.features.inspection.authority, proxy.features.inspection.leaf, proxy.app.app"
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env=environment)
    assert list(tmp_path.iterdir()) == []


def test_many_processes_at_once_end_with_one(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\n"
        "from proxy.features.inspection.authority import fingerprint, open_authority\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "print(fingerprint(open_authority(Path(sys.argv[1]), now=time.time()).certificate))\n"
    )
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", script, str(tmp_path / "state" / "ca")],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                )
            )
            for _ in range(6)
        ]  # fmt: skip
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        shown = {racer.communicate("go\n", timeout=60)[0] for racer in racers}
    assert len(shown) == 1
    assert shown != {""}
    assert sorted(path.name for path in (tmp_path / "state" / "ca").iterdir()) == ["authority.pem", "byway-ca.crt"]


def test_who_comes_second_takes_what_the_first_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ca"
    first = open_authority(folder, now=NOW)
    monkeypatch.setattr(os.path, "lexists", lambda _: False)  # as the second saw it a moment ago
    assert open_authority(folder, now=NOW).certificate == first.certificate
    assert sorted(path.name for path in folder.iterdir()) == ["authority.pem", "byway-ca.crt"]


def test_where_no_file_can_be_made_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(
        BywayError, match=r"cannot be created: operation not supported; choose another state folder with --state"
    ):
        open_authority(tmp_path / "ca", now=NOW)
    assert list((tmp_path / "ca").iterdir()) == []


# -- kept from others --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_J1_the_key_is_its_owners_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        open_authority(tmp_path / "state" / "ca", now=NOW)
        replace_authority(tmp_path / "state" / "ca", now=NOW)
    finally:
        os.umask(before)
    assert mode(tmp_path / "state") & 0o077 == 0
    assert mode(tmp_path / "state" / "ca") == 0o700
    assert mode(key_file(tmp_path / "state" / "ca")) == 0o600


def as_nobody(path: Path) -> bytes:
    """What another user gets of a file."""
    script = (
        f"import os, sys\nos.setgroups([])\nos.setgid({NOBODY})\nos.setuid({NOBODY})\n"
        "try: sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())\n"
        "except PermissionError: sys.stdout.write('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=True, timeout=30)
    return done.stdout


@pytest.fixture
def crossroads(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody may pass; pytest's own are closed to others."""
    folder = Path("/var/tmp") / f"byway-test-{os.getpid()}-{tmp_path.name}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        with contextlib.suppress(FileNotFoundError):
            remove_authority(folder / "ca")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


@pytest.mark.root
def test_J1_another_user_cannot_read_the_key(crossroads: Path) -> None:
    before = os.umask(0)
    try:
        open_authority(crossroads / "ca", now=NOW)
    finally:
        os.umask(before)
    (crossroads / "control").write_text("control")
    assert as_nobody(crossroads / "control") == b"control"  # else what follows says nothing
    assert as_nobody(key_file(crossroads / "ca")) == b"refused"
    (crossroads / "ca").chmod(0o755)
    assert as_nobody(certificate_file(crossroads / "ca")) == b"refused"
    assert as_nobody(key_file(crossroads / "ca")) == b"refused"


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o644, 0o666, 0o620])
def test_J1_a_key_that_others_could_read_is_not_used(wrong: int, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    open_authority(folder, now=NOW)
    key_file(folder).chmod(wrong)
    assert "was readable by other users" in fault(folder)
    assert "byway ca rotate" in fault(folder)
    assert read_certificate(folder) is not None  # what has to be untrusted is still known
    replace_authority(folder, now=NOW)
    assert mode(key_file(folder)) == 0o600
    open_authority(folder, now=NOW)


def test_J1_a_key_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_authority(tmp_path / "ca", now=NOW)
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert "belongs to another user" in problem_with(tmp_path / "ca", now=NOW)


def test_the_key_is_in_no_repr_no_pickle_and_no_text_of_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    authority = open_authority(folder, now=NOW)
    leaf = Leaves(authority).leaf("example.org")
    secret = secrets_of(folder)
    for text in (repr(authority), str(authority), repr(leaf), f"{authority!r:>1}", repr(vars(Leaves(authority)))):
        assert not any(line in text for line in secret)
    assert "key=" not in repr(authority) + repr(leaf)
    for leave in (pickle.dumps, json.dumps):
        with pytest.raises(TypeError) as caught:
            leave(authority)
        assert not any(line in "".join(traceback.format_exception(caught.value)) for line in secret)


@pytest.mark.parametrize("damage", ["cut key", "cut certificate", "flip", "empty", "other key", "binary", "encrypted"])
def test_a_damaged_file_is_one_sentence_with_what_to_do_and_nothing_of_the_key(damage: str, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    authority = open_authority(folder, now=NOW)
    secret, data = secrets_of(folder)[1:], key_file(folder).read_bytes()
    end = data.index(b"-----BEGIN CERTIFICATE")
    other = make_authority(now=NOW).key
    damaged = {
        "cut key": data[:100],
        "cut certificate": data[:-200],
        "flip": data[:60] + bytes((data[60] ^ 1,)) + data[61:],
        "empty": b"",
        "other key": other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + data[end:],
        "binary": os.urandom(3000),
        "encrypted": authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"p"))
        + data[end:],
    }[damage]
    key_file(folder).write_bytes(damaged)
    said = fault(folder)
    assert said.endswith(
        "authority.pem is damaged or was not created by Byway; create a new CA with `byway ca rotate`, then run "
        "`byway ca trust`"
    )
    with pytest.raises(BywayError) as caught:
        open_authority(folder, now=NOW)
    assert not any(line in "".join(traceback.format_exception(caught.value)) for line in secret)
    assert read_certificate(folder) == authority.certificate  # from the copy, where need be
    assert replace_authority(folder, now=NOW).certificate == open_authority(folder, now=NOW).certificate


def test_an_authority_of_another_make_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    ours = open_authority(folder, now=NOW)
    begin = datetime.datetime.fromtimestamp(NOW, datetime.UTC) - datetime.timedelta(days=1)
    keys: list[rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP384R1()),
        ours.key,  # right, but for no authority
    ]
    for key in keys:
        foreign = (
            x509.CertificateBuilder()
            .subject_name(ours.certificate.subject)
            .issuer_name(ours.certificate.subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(begin)
            .not_valid_after(begin + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=key is not ours.key, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key_file(folder).write_bytes(pem + foreign.public_bytes(Encoding.PEM))
        assert "was not created by Byway" in fault(folder)


@pytest.mark.parametrize("kind", ["folder", "pipe", "huge", "dangling"])
def test_G1_what_is_no_file_at_all(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    folder.mkdir(mode=0o700)
    if kind == "folder":
        key_file(folder).mkdir(mode=0o700)
    elif kind == "pipe":
        os.mkfifo(key_file(folder), 0o600)
    elif kind == "huge":
        key_file(folder).touch(0o600)
        os.truncate(key_file(folder), 10**10)
    else:
        key_file(folder).symlink_to("gone")
    assert "authority.pem" in fault(folder)
    assert read_certificate(folder) is None


# -- its time ----------------------------------------------------------------------------------------------------------


def test_J8_a_clock_that_is_a_year_back_is_called_by_its_name(tmp_path: Path) -> None:
    open_authority(tmp_path / "ca", now=NOW)
    said = fault(tmp_path / "ca", now=NOW - YEAR)
    assert said.startswith("the local CA is valid from ")
    assert "set the clock" in said
    assert open_authority(tmp_path / "ca", now=NOW)


def test_J8_an_authority_that_is_over_says_until_when_it_was(tmp_path: Path) -> None:
    open_authority(tmp_path / "ca", now=NOW - 3 * YEAR)
    said = fault(tmp_path / "ca")
    assert "expired on" in said
    assert "byway ca rotate" in said
    replace_authority(tmp_path / "ca", now=NOW)
    open_authority(tmp_path / "ca", now=NOW)


def test_a_slow_clock_of_a_guest_takes_it(tmp_path: Path) -> None:
    authority = open_authority(tmp_path / "ca", now=NOW)
    assert authority.certificate.not_valid_before_utc.timestamp() <= NOW - 12 * 3600


# -- rotated and removed -----------------------------------------------------------------------------------------------


def test_a_replaced_authority_is_another_and_the_old_one_knows(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    old = open_authority(folder, now=NOW)
    assert old.is_current_in(folder)
    new = replace_authority(folder, now=NOW)
    assert not old.is_current_in(folder)
    assert new.is_current_in(folder)
    assert new.certificate.subject != old.certificate.subject
    assert x509.load_pem_x509_certificate(certificate_file(folder).read_bytes()) == new.certificate


def test_J11_a_removed_authority_leaves_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    old = open_authority(folder, now=NOW)
    for stray in (".authority.pem.1a2b", "..authority.pem.1a2b.3c4d", ".byway-ca.crt.1a2b"):
        (folder / stray).write_text("half written when the power went")
    remove_authority(folder)
    assert not folder.exists()
    assert not old.is_current_in(folder)
    assert read_certificate(folder) is None
    remove_authority(folder)  # nothing there: nothing to do


def test_what_is_not_ours_stays_and_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    open_authority(folder, now=NOW)
    (folder / "mine").write_text("")
    with pytest.raises(BywayError, match=r"ca cannot be deleted: directory not empty"):
        remove_authority(folder)
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_the_copy_holds_the_certificate_alone_and_is_mended(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    authority = open_authority(folder, now=NOW)
    for spoil in (lambda: certificate_file(folder).unlink(), lambda: certificate_file(folder).write_text("x")):
        spoil()
        open_authority(folder, now=NOW)
        assert b"PRIVATE" not in certificate_file(folder).read_bytes()
        assert x509.load_pem_x509_certificate(certificate_file(folder).read_bytes()) == authority.certificate
    ssl.create_default_context(cafile=str(certificate_file(folder)))


def test_the_value_is_frozen() -> None:
    authority = make_authority(now=NOW)
    with pytest.raises(AttributeError):
        authority.key = authority.key  # type: ignore[misc]
    assert isinstance(authority, Authority)
