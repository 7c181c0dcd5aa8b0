"""`byway ca`: from the first look to the last trace, over a Debian and a home of its own."""

from __future__ import annotations

import os
import shlex
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.features.inspection import trust as cli_trust
from proxy.features.inspection import trust_stores
from proxy.features.inspection.authority import common_name, fingerprint, open_authority, read_certificate
from proxy.features.inspection.nss_stores import NssStore
from proxy.features.inspection.system_stores import SYSTEMS
from tests.features.inspection.conftest import Debian, make_debian
from tests.features.inspection.test_authority import NOW, YEAR, secrets_of
from tests.support.command_line import Byway, Home, Running

pytestmark = pytest.mark.needs("certutil", "update-ca-certificates", "openssl")


@pytest.fixture(autouse=True)
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Debian:
    """No test here touches this computer's store or the user's browsers."""
    debian = make_debian(tmp_path / "debian")
    monkeypatch.setitem(SYSTEMS, "debian", debian.store)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SUDO_USER", raising=False)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")  # as sudo has it, and a user has not
    (tmp_path / "home" / ".pki" / "nssdb").mkdir(parents=True)
    monkeypatch.setattr(trust_stores, "is_root", lambda: True)
    return debian


@pytest.fixture
def chromium(tmp_path: Path) -> NssStore:
    return NssStore("Chromium, Chrome", tmp_path / "home" / ".pki" / "nssdb")


@pytest.fixture
def nobody_is_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_stores, "is_root", lambda: False)


def made(home: Home) -> x509.Certificate:
    certificate = read_certificate(home.state / "ca")
    assert certificate is not None
    return certificate


# -- show --------------------------------------------------------------------------------------------------------------


def test_showing_makes_nothing(byway: Byway, home: Home) -> None:
    ran = byway("ca", "show")
    assert ran.code == 0
    assert [row[:2] for row in ran.rows] == [
        ["what", "value"],
        ["Debian's store", "not trusted"],
        ["Chromium, Chrome", "not trusted"],
    ]
    assert "There is no CA yet" in ran.err
    assert byway("ca", "show", "--json").json["authority"] is None
    assert not (home.state / "ca").exists()


def test_what_it_is_and_where_it_is_trusted_is_shown(byway: Byway, home: Home) -> None:
    byway("ca", "trust")
    told = byway("ca", "show", "--json").json
    certificate = made(home)
    assert told["version"] == 2
    assert told["authority"]["sha256"] == fingerprint(certificate)
    assert told["authority"]["name"] == common_name(certificate)
    assert told["authority"]["valid_until"] == certificate.not_valid_after_utc.timestamp()
    assert told["problem"] == ""
    assert [store["trusted"] for store in told["stores"]] == [True, True]
    values = {row[0]: row[1] for row in byway("ca", "show").rows}
    assert values["sha256"] == fingerprint(certificate)
    assert values["Debian's store"] == values["Chromium, Chrome"] == "trusted"


@pytest.mark.parametrize("how", ["readable", "damaged", "expired"])
def test_one_that_cannot_be_used_ends_with_5_and_says_why(byway: Byway, home: Home, how: str) -> None:
    open_authority(home.state / "ca", now=NOW - 3 * YEAR if how == "expired" else NOW)
    file = home.state / "ca" / "authority.pem"
    if how == "readable":
        file.chmod(0o644)
    elif how == "damaged":
        file.write_bytes(file.read_bytes()[:300])
    ran = byway("ca", "show")
    assert ran.code == 5
    assert "byway ca rotate" in ran.err
    as_json = byway("ca", "show", "--json")
    assert as_json.code == 5
    assert as_json.json["problem"] in ran.err
    assert byway("ca", "trust").code == 1
    assert byway("ca", "rotate").code == 0
    assert byway("ca", "show").code == 0
    assert byway("ca", "trust").code == 0


def test_a_store_that_cannot_be_looked_at_is_unknown(byway: Byway, chromium: NssStore) -> None:
    (chromium.folder / "cert9.db").write_bytes(os.urandom(5000))
    (store,) = (it for it in byway("ca", "show", "--json").json["stores"] if it["store"] == "Chromium, Chrome")
    assert store["trusted"] is None
    assert "cannot be read" in store["error"]
    assert byway("ca", "show").rows[2][1] == "unknown"
    ran = byway("ca", "remove", "--all")
    assert ran.code == 1
    assert ran.rows[2][1] == "unknown"


# -- export ------------------------------------------------------------------------------------------------------------


def test_the_certificate_is_written_as_its_ending_says_and_never_the_key(
    byway: Byway, home: Home, tmp_path: Path
) -> None:
    for ending in ("pem", "crt", "CRT", "der", "cer"):
        file = tmp_path / f"out.{ending}"
        assert byway("ca", "export", str(file)).code == 0
        data = file.read_bytes()
        pem = ending.lower() in ("pem", "crt")
        read = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
        assert read(data) == made(home)
        assert data.count(b"-----BEGIN") == (1 if pem else 0)
    ran = byway("ca", "export", "-")
    assert x509.load_pem_x509_certificate(ran.out.encode()) == made(home)
    ssl.create_default_context(cadata=ran.out)


def test_G5_a_state_folder_that_others_can_look_into_is_closed_first(byway: Byway, home: Home) -> None:
    for command in (("export", "-"), ("rotate",)):
        home.state.chmod(0o755)
        assert byway("ca", *command).code == 0
        assert home.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("file", "code"), [("out.txt", 2), ("out", 2), ("gone/out.pem", 1)])
def test_an_export_that_cannot_be(byway: Byway, home: Home, tmp_path: Path, file: str, code: int) -> None:
    assert byway("ca", "export", str(tmp_path / file)).code == code
    assert (home.state / "ca").exists() is (code == 1)  # a wrong word makes nothing


# -- trust -------------------------------------------------------------------------------------------------------------


def test_J11_trusted_and_removed_leaves_0_entries(
    byway: Byway, home: Home, debian: Debian, chromium: NssStore, tmp_path: Path
) -> None:
    before = debian.state()
    ran = byway("ca", "trust")
    assert ran.code == 0
    assert [row[:2] for row in ran.rows[1:]] == [["Debian's store", "trusted"], ["Chromium, Chrome", "trusted"]]
    assert len(debian.store.entries()) == len(chromium.entries()) == 1
    assert byway("ca", "trust").code == 0  # again: nothing more
    assert len(debian.store.entries()) == len(chromium.entries()) == 1

    ran = byway("ca", "remove")
    assert ran.code == 0
    assert [row[1] for row in ran.rows[1:]] == ["not trusted", "not trusted"]
    assert debian.store.entries() == chromium.entries() == []
    assert debian.state() == before
    assert not (home.state / "ca").exists()
    assert byway("ca", "remove").code == 0


@pytest.mark.usefixtures("nobody_is_root")
def test_a_running_byway_is_told_that_something_trusts_it_now(
    byway: Byway, running: Running, chromium: NssStore
) -> None:
    """So that sites whose client had refused our certificate are inspected at once, and not hours later."""
    assert byway("ca", "trust").code == 4
    assert chromium.entries()
    assert running.world.reloads == 1


@pytest.mark.usefixtures("nobody_is_root")
def test_what_needs_root_is_printed_and_ends_with_4(
    byway: Byway, home: Home, debian: Debian, chromium: NssStore
) -> None:
    ran = byway("ca", "trust")
    assert ran.code == 4
    assert [row[1:] for row in ran.rows[1:]] == [
        ["not trusted", "needs root"],
        ["trusted", str(chromium.folder)],
    ]
    lines = [line.strip() for line in ran.err.splitlines() if line.startswith("  ")]
    assert [line.split()[:2] for line in lines] == [["sudo", "install"], ["sudo", "update-ca-certificates"]]
    for line in lines:  # as root would
        subprocess.run(shlex.split(line)[1:], check=True, capture_output=True, timeout=60)
    assert byway("ca", "trust").code == 0

    told = byway("ca", "untrust", "--json")
    assert told.code == 4
    system, browser = told.json["stores"]
    assert (system["trusted"], browser["trusted"], browser["commands"]) == (True, False, [])
    ran = byway("ca", "remove")
    assert ran.code == 4
    assert not (home.state / "ca").exists()  # the key first of all
    for line in system["commands"]:
        subprocess.run(shlex.split(line)[1:], check=True, capture_output=True, timeout=60)
    assert debian.store.entries() == []


def test_printing_runs_nothing_and_what_it_prints_works(
    byway: Byway, home: Home, debian: Debian, chromium: NssStore
) -> None:
    ran = byway("ca", "trust", "--print")
    assert ran.code == 0
    assert debian.store.entries() == chromium.entries() == []
    assert byway("ca", "trust", "--print", "--json").json["commands"] == ran.out.splitlines()
    without_sudo = ran.out.replace("sudo ", "")
    subprocess.run(["sh", "-eu", "-c", without_sudo], check=True, capture_output=True, timeout=60)
    assert [entry.certificate for entry in (*debian.store.entries(), *chromium.entries())] == [made(home)] * 2


@pytest.mark.parametrize(
    ("system", "first"),
    [
        ("fedora", "sudo install -D -m 0644 byway-ca.crt /etc/pki/"),
        ("RHEL", "sudo install -D -m 0644 byway-ca.crt /etc/pki/"),
        ("arch", "sudo install -D -m 0644 byway-ca.crt /etc/ca-certificates/"),
        ("macos", "security add-trusted-cert -r trustRoot"),
        ("windows", "certutil -user -addstore Root byway-ca.crt"),
    ],
)
def test_commands_for_another_computer(byway: Byway, system: str, first: str) -> None:
    ran = byway("ca", "trust", "--print", "--system", system)
    assert ran.code == 0
    assert ran.out.startswith(first)
    assert "byway ca export byway-ca.crt" in ran.err
    assert byway("ca", "trust", "--system", system).code == 2  # and not without --print


def test_this_system_alone(byway: Byway, debian: Debian, chromium: NssStore) -> None:
    assert byway("ca", "trust", "--system", "ubuntu").code == 0
    assert len(debian.store.entries()) == 1
    assert chromium.entries() == []


def test_a_system_that_there_is_not(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = byway("ca", "trust", "--print", "--system", "plan9")
    assert ran.code == 2
    assert "debian, fedora, arch, macos, windows" in ran.err
    monkeypatch.setattr(cli_trust, "stores_here", list)
    assert byway("ca", "trust").code == 2
    assert not (home.state / "ca").exists()


def test_by_sudo_it_says_whose_authority_it_is(byway: Byway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "sudo" not in byway("ca", "trust").err
    monkeypatch.setenv("SUDO_USER", "dana")
    assert "root's own CA" in byway("ca", "trust").err


# -- rotate ------------------------------------------------------------------------------------------------------------


def test_a_rotated_authority_is_trusted_nowhere_and_neither_is_the_old_one(
    byway: Byway, home: Home, debian: Debian, chromium: NssStore
) -> None:
    byway("ca", "trust")
    old = made(home)
    ran = byway("ca", "rotate")
    assert ran.code == 0
    assert made(home) != old
    assert common_name(made(home)) in ran.err
    assert debian.store.entries() == chromium.entries() == []
    byway("ca", "trust")
    assert [entry.certificate for entry in (*debian.store.entries(), *chromium.entries())] == [made(home)] * 2


def test_an_old_one_that_is_still_trusted_is_not_given_up(
    byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    byway("ca", "trust")
    old, key = made(home), (home.state / "ca" / "authority.pem").read_bytes()
    monkeypatch.setattr(trust_stores, "is_root", lambda: False)
    ran = byway("ca", "rotate")
    assert ran.code == 4
    assert "is kept until no store trusts it" in ran.err
    assert (made(home), (home.state / "ca" / "authority.pem").read_bytes()) == (old, key)
    assert byway("ca", "rotate", "--json").json["name"] is None


def test_rotating_nothing_makes_one(byway: Byway, home: Home) -> None:
    assert byway("ca", "rotate", "--json").json["name"] == common_name(made(home))


# -- others of Byway's -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["untrust", "remove"])
def test_an_authority_whose_file_was_lost_is_named_and_taken_with_all(
    byway: Byway, home: Home, debian: Debian, chromium: NssStore, command: str
) -> None:
    byway("ca", "trust")
    lost = common_name(made(home))
    for path in (home.state / "ca").iterdir():
        path.unlink()
    byway("ca", "trust")
    assert len(debian.store.entries()) == len(chromium.entries()) == 2
    assert ["Debian's store", "trusts another CA", lost] in byway("ca", "show").rows
    ran = byway("ca", command)
    assert ran.code == 0
    assert f"trusts another CA of Byway: {lost}" in ran.err
    assert "byway ca untrust --all" in ran.err
    assert len(debian.store.entries()) == len(chromium.entries()) == 1
    ran = byway("ca", command, "--all")
    assert ran.code == 0
    assert "another" not in ran.err
    assert debian.store.entries() == chromium.entries() == []


def test_untrusting_keeps_the_authority(byway: Byway, home: Home) -> None:
    byway("ca", "trust")
    certificate = made(home)
    assert byway("ca", "untrust").code == 0
    assert open_authority(home.state / "ca", now=NOW).certificate == certificate


# -- the key -----------------------------------------------------------------------------------------------------------


def test_the_key_is_printed_by_no_command_however_it_ends(byway: Byway, home: Home, tmp_path: Path) -> None:
    byway("ca", "trust", "--print")
    file = home.state / "ca" / "authority.pem"
    secret, whole = secrets_of(home.state / "ca"), file.read_bytes()
    key = load_pem_private_key(whole, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    commands = [
        *(["show"], ["show", "--json"], ["export", "-"], ["export", str(tmp_path / "x.pem")], ["trust"], ["untrust"]),
        *(["trust", "--print"], ["trust", "--json"], ["untrust", "--all", "--json"]),
    ]
    said = ""
    for damage in (whole, whole[:180], whole.replace(b"MIG", b"MIH"), whole[: whole.index(b"-----BEGIN CERT")], b""):
        file.write_bytes(damage)
        for words in commands:
            ran = byway("-v", "-v", "ca", *words)
            assert ran.code in (0, 1, 5)
            said += ran.out + ran.err
    said += (tmp_path / "x.pem").read_text()
    said += "".join(path.read_text() for path in (home.state / "ca").iterdir() if path != file)
    assert "BEGIN CERTIFICATE" in said  # else nothing was looked at
    assert not [line for line in secret if line in said]
