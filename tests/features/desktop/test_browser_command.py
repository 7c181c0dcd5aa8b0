"""`byway browser`, with programs that only write down how they were started."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proxy.features.desktop import browsers
from proxy.features.desktop.browser_command import _arguments
from proxy.model.document_version import VERSION
from proxy.terminal.exit_codes import Misused
from tests.support.command_line import Byway, Home, Running
from tests.support.rows import each_row

HOME_PAGE = "http://byway.internal/"


class Browsers:
    """The browsers of this computer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.started = folder / "started.json"

    def install(self, name: str, *, code: int = 0) -> Path:
        """One that ends at once, with this exit code."""
        path = self._folder / name
        path.write_text(
            f"#!{sys.executable}\nimport json, sys\nopen({str(self.started)!r}, 'w').write(json.dumps(sys.argv))\n"
            f"sys.exit({code})\n"
        )
        path.chmod(0o755)
        return path

    @property
    def words(self) -> list[str]:
        """How the last one was started."""
        words: list[str] = json.loads(self.started.read_text())
        return words


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Browsers:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(browsers, "_LINUX_FOLDERS", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Browsers(tmp_path / "bin")


@pytest.mark.uses("rules")
def test_the_first_browser_that_is_installed_opens(byway: Byway, home: Home, running: Running, here: Browsers) -> None:
    here.install("firefox")
    chromium = here.install("chromium")
    ran = byway("browser")
    profile = home.state / "browser" / "chromium"
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"Chromium uses Byway at 127.0.0.1:8119. Profile: {profile}\n"
    assert here.words[0] == str(chromium)
    assert here.words[-1] == HOME_PAGE
    assert f"--user-data-dir={profile}" in here.words
    assert "--proxy-server=http://127.0.0.1:8119" in here.words
    assert not any("spki" in word for word in here.words), "no rule INSPECTs"


@pytest.mark.uses("rules")
@pytest.mark.usefixtures("running")
def test_one_by_name_with_a_page_and_options_of_its_own(byway: Byway, home: Home, here: Browsers) -> None:
    here.install("firefox")
    ran = byway("browser", "Firefox", "example.org/x", "--", "--headless", "-P")
    assert ran.code == 0
    assert here.words[1:] == [
        "--profile", str(home.state / "browser" / "firefox"), "--headless", "-P", "https://example.org/x",
    ]  # fmt: skip
    assert "8119" in (home.state / "browser" / "firefox" / "user.js").read_text()


@pytest.mark.uses("rules")
@pytest.mark.usefixtures("running")
def test_print_starts_nothing(byway: Byway, home: Home, here: Browsers) -> None:
    here.install("chromium")
    ran = byway("browser", "--print", "chromium", "https://example.org")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.endswith(" https://example.org\n")
    assert (home.state / "browser" / "chromium" / "Local State").is_file(), "so that the command can be used"
    document = byway("browser", "--print", "--json").json
    command = document.pop("command")
    assert document == {
        "version": VERSION,
        "browser": "chromium",
        "profile": str(home.state / "browser" / "chromium"),
        "temporary": False,
    }
    assert command[-1] == HOME_PAGE
    assert not here.started.exists()


@pytest.mark.uses("rules")
@pytest.mark.usefixtures("running")
def test_a_rule_that_inspects_makes_the_ca_trusted_in_this_profile(
    byway: Byway, home: Home, running: Running, here: Browsers
) -> None:
    running.world.rules = "DOMAIN,a.test,AUTO,INSPECT\n"
    running.do(running.world.overrides_changed)
    here.install("chromium")
    assert byway("browser").code == 0
    (pem,) = [file.read_bytes() for file in (home.state / "ca").iterdir() if b"CERTIFICATE" in file.read_bytes()][:1]
    key = x509.load_pem_x509_certificate(pem).public_key()
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    hashed = base64.b64encode(hashlib.sha256(public).digest()).decode()
    assert f"--ignore-certificate-errors-spki-list={hashed}" in here.words


@pytest.mark.usefixtures("here")
def test_without_a_running_byway_there_is_nothing_to_open(byway: Byway, home: Home) -> None:
    ran = byway("browser")
    assert ran.code == 3
    assert "start it with `byway run" in ran.err
    assert not (home.state / "browser").exists()


@pytest.mark.usefixtures("running")
def test_what_is_not_installed_is_named_with_what_is(byway: Byway, here: Browsers) -> None:
    ran = byway("browser")
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "no browser found" in ran.err
    here.install("firefox-esr")
    ran = byway("browser", "edge")
    assert (ran.code, ran.err) == (1, "byway: Edge is not installed; installed: firefox\n")


@pytest.mark.usefixtures("running", "here")
def test_folders_that_may_not_be_read_are_named(byway: Byway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsers, "closed_folders", lambda *_: iter(["/home/me/closed"]))
    ran = byway("browser", "firefox")
    assert (ran.code, ran.err) == (
        1, "byway: Firefox is not installed; not looked into, because you may not read it: /home/me/closed\n",
    )  # fmt: skip


@pytest.mark.uses("rules")
@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("name", ["chromium", "firefox"])
def test_a_browser_that_ends_at_once_is_an_error(
    byway: Byway, here: Browsers, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    here.install(name, code=7)
    ran = byway("browser")
    assert ran.code == 1
    assert "ended with exit code 7; `-v` shows what it prints" in ran.err


@pytest.mark.uses("rules")
@pytest.mark.usefixtures("running")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such variables")
def test_without_a_display_the_reason_is_told(byway: Byway, here: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    here.install("chromium", code=1)
    ran = byway("browser")
    assert (ran.code, "exit code 1: this terminal has no graphical display" in ran.err) == (1, True)
    assert "`-v` shows" in byway("browser", "--", "--headless=new").err, "that needs no display"


@pytest.mark.uses("rules")
@pytest.mark.usefixtures("running")
def test_root_is_told_why_chromium_does_not_run(byway: Byway, here: Browsers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    here.install("chromium")
    ran = byway("browser")
    assert ran.code == 1
    assert ran.err == (
        "byway: Chromium does not run as root: its sandbox would be off; run `byway browser` as your own user\n"
    )
    assert not here.started.exists()
    here.install("firefox")
    assert byway("browser", "firefox").code == 0


@pytest.mark.uses("rules")
def test_a_byway_that_stores_nothing_gets_a_profile_that_goes(
    byway: Byway, home: Home, running: Running, here: Browsers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_file = home.state / "run.json"
    run_file.write_text(json.dumps({**json.loads(run_file.read_text()), "ephemeral": True}))
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    here.install("firefox")
    assert byway("browser").code == 0
    used = Path(here.words[here.words.index("--profile") + 1])
    assert used.parent == tmp_path / "run"
    assert list((tmp_path / "run").iterdir()) == []
    assert not (home.state / "browser").exists()
    ran = byway("browser", "--print")
    assert ran.code == 2
    assert "--ephemeral" in ran.err


@each_row(
    ("words", "parsed"),
    [
        ([], (None, HOME_PAGE, [])),
        (["CHROME"], ("chrome", HOME_PAGE, [])),
        (["http://a.test/"], (None, "http://a.test/", [])),
        (["a.test"], (None, "https://a.test", [])),
        (["localhost"], (None, "https://localhost", [])),
        (["firefox", "intranet"], ("firefox", "https://intranet", [])),
        (["--headless"], (None, HOME_PAGE, ["--headless"])),
        (["edge", "--x", "y"], ("edge", HOME_PAGE, ["--x", "y"])),
    ],
)
def test_the_words_of_the_command(words: list[str], parsed: tuple[str | None, str, list[str]]) -> None:
    assert _arguments(words) == parsed


@each_row(
    ("words", "sentence"),
    [
        (["chromum"], 'unknown browser "chromum"; did you mean chromium?'),
        (["safari"], "it can be chromium, firefox, brave, chrome or edge"),
        (["/usr/bin/vlc"], 'unknown browser "/usr/bin/vlc": .*; use chromium, firefox, brave, chrome or edge'),
        (["~/bin/vlc", "https://a.test"], 'unknown browser "~/bin/vlc"'),
        (["./vlc"], 'unknown browser "./vlc"'),
        (["firefox", "file:///etc/passwd"], "must begin with http:// or https://"),
        (["javascript://x"], "must begin with http:// or https://"),
        (["firefox", "a.test", "b.test"], '"b.test" is neither a browser nor an option'),
    ],
)
def test_words_that_make_no_sense(words: list[str], sentence: str) -> None:
    with pytest.raises(Misused, match=sentence.replace("/", "/").replace("?", r"\?")):
        _arguments(words)
