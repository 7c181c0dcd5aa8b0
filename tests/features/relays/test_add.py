"""`byway relay add`: what is added is tested, with relays that people run; what is there is recognised; passwords are
asked for, and warned of."""

from __future__ import annotations

import base64
import contextlib
import getpass
import io
import os
import pty
import stat
import subprocess
import sys
import termios
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer import Typer

from tests.features.relays.real_relays import PASSWORD, USER, RealRelays, real_relays
from tests.support.command_line import Byway, Home, Running
from tests.support.terminal import BYWAY

PROGRAMS = pytest.mark.needs("microsocks", "tinyproxy", "stunnel")
HISTORY = (
    "Warning: the password is now in your shell's history. Next time leave it out of the URL: Byway asks for it. "
    "Or use `byway relay add -`."
)
LOCAL_PORT = "add its local SOCKS port, for example `byway relay add socks5h://127.0.0.1:1080`"


@pytest.fixture(scope="module")
def relays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRelays]:
    with real_relays(tmp_path_factory.mktemp("relays")) as relays:
        yield relays


@pytest.fixture
def tried(home: Home, relays: RealRelays) -> RealRelays:
    """The relays are tested with our own origin, not with a page of the internet."""
    home.config.write_text(f'config_version = 1\n[auto]\ncontrols = ["http://127.0.0.1:{relays.origin}/"]\n')
    return relays


def configured(home: Home) -> list[dict[str, object]]:
    relays: list[dict[str, object]] = tomllib.loads(home.config.read_text()).get("relay", [])
    return relays


# -- the test ----------------------------------------------------------------------------------------------------------


@PROGRAMS
@pytest.mark.parametrize("program", ["microsocks", "tinyproxy", "stunnel"])
def test_a_relay_that_works_is_added_and_works(byway: Byway, home: Home, tried: RealRelays, program: str) -> None:
    ran = byway("relay", "add", tried.url(program), "--name", "mine")
    assert ran.code == 0
    assert ran.rows[0] == ["relay", "state", "url"]
    assert ran.rows[1][0] == "mine"
    assert ran.rows[1][1] in ("works", "slow")
    assert PASSWORD not in ran.out + ran.err
    assert ran.err.splitlines() == [HISTORY, "Testing mine…", f"Saved in {home.config}."]
    assert configured(home) == [{"name": "mine", "url": tried.url(program)}]
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    assert byway("relay", "list").rows[1][1].startswith(("works (", "slow ("))
    assert byway("relay", "test", "mine").code == 0


@PROGRAMS
@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("microsocks", "user or password refused"),
        ("tinyproxy", "user or password refused"),
        ("stunnel", "user or password refused"),
    ],
)
def test_a_wrong_password_is_added_with_a_warning(
    byway: Byway, home: Home, tried: RealRelays, program: str, fault: str
) -> None:
    ran = byway("relay", "add", tried.url(program, password="wrong-one"), "--name", "mine")
    assert ran.code == 0, "it was added"
    assert ran.rows[1][:2] == ["mine", f"fails: {fault}"]
    assert ran.err.splitlines()[2].startswith("Warning: relay mine is added but fails (")
    assert ran.err.splitlines()[3] == "To do: correct its user and password in config.toml, then byway relay test mine"
    assert "wrong-one" not in ran.out + ran.err
    assert len(configured(home)) == 1
    assert byway("relay", "list").rows[1][1] == f"fails: {fault}"


@PROGRAMS
@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("socks5://127.0.0.1:1", "connection refused"),
        ("http://{user}:{password}@127.0.0.1:{microsocks}", "closed the connection during the handshake"),
        ("socks5://127.0.0.1:{tinyproxy}", "no answer"),
        ("https://127.0.0.1:{stunnel}", "bad certificate"),  # of an authority that this computer does not trust
    ],
)
def test_another_fault_is_named(byway: Byway, home: Home, tried: RealRelays, url: str, fault: str) -> None:
    if fault == "no answer":  # an HTTP proxy waits for the rest of the greeting
        with home.config.open("a") as config:
            config.write("[limits]\nhandshake_timeout_s = 1\n")
    url = url.format(user=USER, password=PASSWORD, **{name: getattr(tried, name) for name in
                     ("microsocks", "tinyproxy", "stunnel")})  # fmt: skip
    ran = byway("relay", "add", url, "--name", "mine")
    assert ran.code == 0
    assert ran.rows[1][1] == f"fails: {fault}"
    assert "Warning: relay mine is added but fails (" in ran.err
    assert "byway relay test mine\n" in ran.err
    assert len(configured(home)) == 1


def test_no_test_asks_nobody(byway: Byway, home: Home) -> None:
    ran = byway("relay", "add", "socks5://127.0.0.1:1", "--no-test")
    assert (ran.code, ran.rows[1]) == (0, ["socks5h-1", "not tested", "socks5://127.0.0.1:1"])
    assert ran.err == f"Saved in {home.config}.\n"
    assert not (home.state / "relay-tests.json").exists()


def test_without_a_page_to_test_with_it_is_added(byway: Byway, home: Home) -> None:
    home.config.write_text("config_version = 1\n[auto]\ncontrols = []\n")
    ran = byway("relay", "add", "socks5://127.0.0.1:1")
    assert (ran.code, ran.rows[1][1]) == (0, "not tested")
    assert "Not tested: " in ran.err


def test_a_bare_host_and_port_is_said_to_be_socks(byway: Byway, home: Home) -> None:
    ran = byway("relay", "add", f"me:{PASSWORD}@127.0.0.1:3128", "--no-test")
    assert ran.err.splitlines() == [
        "Read as socks5h://me:***@127.0.0.1:3128. For an HTTP proxy, write http:// before the host.",
        HISTORY,
        f"Saved in {home.config}.",
    ]


def test_as_json(byway: Byway, home: Home) -> None:
    ran = byway("relay", "add", f"https://u:{PASSWORD}@relay.example", "--no-test", "--json")
    assert PASSWORD not in ran.out
    shown = ran.json
    assert shown == {
        "version": shown["version"],
        "relays": [{"name": "relay", "url": "https://u:***@relay.example", "added": True, "test": None}],
        "config": str(home.config),
        "running": False,
        "problems": [],
    }


# -- what is there already ---------------------------------------------------------------------------------------------


def test_one_that_is_there_is_not_added_again(byway: Byway, home: Home) -> None:
    byway("relay", "add", "socks5h://127.0.0.1:9050", "--no-test")
    before = home.config.read_bytes()
    for url in ("socks5://127.0.0.1:9050", "127.0.0.1:9050", "http://127.0.0.1:9050#x"):
        ran = byway("relay", "add", url)
        assert (ran.code, ran.rows[1]) == (0, ["tor", "is there already", "socks5h://127.0.0.1:9050"])
        assert "".join(line + "\n" for line in ran.err.splitlines() if not line.startswith("Read as")) == (
            "Relay tor has the same host, port and user; nothing was added. To replace it, remove it first: "
            "`byway relay rm tor`.\n"
        )
    assert home.config.read_bytes() == before
    byway("relay", "disable", "tor")
    assert byway("relay", "add", "socks5://127.0.0.1:9050").err == (
        "Relay tor has the same host, port and user, and is disabled: `byway relay enable tor`.\n"
    )


# -- files and standard input ------------------------------------------------------------------------------------------

LIST = f"""\
# relays of a friend
socks5://127.0.0.1:1#One
  http://u:{PASSWORD}@127.0.0.1:2   # two

vless://{PASSWORD}@h.example:443#x
trojan://{PASSWORD}@h:443?wss=1
socks5h://127.0.0.1:1
127.0.0.1:3:me:{PASSWORD}
tg://socks?server=127.0.0.1&port=4&user=me&pass={PASSWORD}
"""


def check_list(home: Home, out: list[list[str]], err: str, source: str) -> None:
    assert out[1:] == [
        ["One", "not tested", "socks5://127.0.0.1:1"],
        ["http-2", "not tested", "http://u:***@127.0.0.1:2"],
        ["x", "not tested", "vless://h.example:443"],
        ["One", "is there already", "socks5://127.0.0.1:1"],
        ["socks5h-4", "not tested", "socks5h://me:***@127.0.0.1:4"],
    ]
    assert err.splitlines() == [
        "Relay One has the same host, port and user; nothing was added. To replace it, remove it first: "
        "`byway relay rm One`.",
        f"Saved in {home.config}.",
        f"{source}:6: this Trojan key for h:443 is not supported: field wss is not known to Byway, and without it the "
        f"connection may be weaker. Ask for another key, or start your Trojan client and {LOCAL_PORT}",
        f"{source}:8: this reads HOST:PORT:USER:PASSWORD: write it as socks5h://USER:PASSWORD@HOST:PORT",
    ]
    assert PASSWORD not in err
    assert [relay["url"] for relay in configured(home)] == [
        "socks5://127.0.0.1:1",
        f"http://u:{PASSWORD}@127.0.0.1:2",
        f"vless://{PASSWORD}@h.example:443",
        f"socks5h://me:{PASSWORD}@127.0.0.1:4",
    ]


def test_a_file_with_one_url_a_line(byway: Byway, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "relays.txt"
    file.write_text(LIST)
    ran = byway("relay", "add", str(file), "--no-test")
    assert ran.code == 2, "two lines cannot be used; the others are added"
    check_list(home, ran.rows, ran.err, str(file))


def test_standard_input(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(LIST))
    ran = byway("relay", "add", "-", "--no-test")
    assert ran.code == 2
    check_list(home, ran.rows, ran.err, "standard input")
    assert "Paste it" not in ran.err
    monkeypatch.setattr(sys, "stdin", io.StringIO("socks5h://127.0.0.1:1\n"))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert byway("relay", "add", "-", "--no-test").err.startswith("Paste it, press Enter, then Ctrl-D.\n")


def test_files_that_hold_no_relay(byway: Byway, home: Home, tmp_path: Path) -> None:
    file = tmp_path / "relays.txt"
    file.write_text("# nothing\n")
    ran = byway("relay", "add", str(file))
    assert (ran.code, ran.err) == (7, f"{file}: no relay URL in it; write one a line\n")
    file.write_text('{\n "outbounds": []\n}\n')
    assert byway("relay", "add", str(file)).err.startswith(
        f"{file}: this is a sing-box configuration, and it cannot be read: it has no key."
    )
    file.write_bytes(base64.b64encode(f"ss://{PASSWORD}@h:1\nvless://{PASSWORD}@h:2?foo=1".encode()))
    ran = byway("relay", "add", str(file))
    assert ran.err.splitlines() == [
        f"{file}: number 1: this Shadowsocks key cannot be read: what stands before @ is not a cipher and a password, "
        "in base64 or with a colon between them",
        f"{file}: number 2: this VLESS key for h:2 is not supported: field foo is not known to Byway, and without it "
        f"the connection may be weaker. Ask for another key, or start your VLESS client and {LOCAL_PORT}",
    ]
    file.write_text("\n".join(f"h:{port}" for port in range(1, 300)))
    assert byway("relay", "add", str(file)).err == f"{file}: at most 256 relays can be added at once, not 299\n"
    file.write_text("h:1\nh:2\n")
    assert byway("relay", "add", str(file), "--name", "x").code == 2
    assert byway("relay", "add", str(tmp_path / "none.txt")).err.startswith(
        f"byway: there is no file {tmp_path / 'none.txt'}; as a URL of a relay: "
    )
    assert configured(home) == []


def test_many_keys_get_one_sentence(byway: Byway, home: Home, tmp_path: Path) -> None:
    (file := tmp_path / "keys.txt").write_text(
        "".join(f"vless://{PASSWORD}@h.example:{port}?wss=1\n" for port in range(1, 40))
        + f"socks5h://127.0.0.1:1\ntrojan://{PASSWORD}@h.example:443?wss=1\nsocks5h://:1\n"
    )
    ran = byway("relay", "add", str(file), "--no-test")
    assert (ran.code, len(configured(home))) == (2, 1)
    assert ran.err.splitlines()[1:] == [
        f"{file}: 40 keys are not taken. The first, in line 1: this VLESS key for h.example:1 is not supported: field "
        "wss is not known to Byway, and without it the connection may be weaker. Ask for another key, or start your "
        f"VLESS client and {LOCAL_PORT}",
        f"{file}:42: the host is missing: write socks5h://HOST:PORT",
    ]


CLASH = f"""\
mixed-port: 7890
proxies:
  - {{name: One, type: socks5, server: 127.0.0.1, port: 1, username: me, password: {PASSWORD}}}
  - {{name: Two, type: vless, server: relay.example, port: 443, uuid: {PASSWORD}}}
  - {{name: Three, type: http, server: 127.0.0.1, port: 2}}
  - {{name: Four, type: socks5, server: 127.0.0.1, port: 3, username: "{"u" * 300}"}}
"""


def test_the_relays_and_keys_in_a_clash_configuration_are_added(
    byway: Byway, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "clash.yaml"
    file.write_text(CLASH)
    ran = byway("relay", "add", str(file), "--no-test")
    assert ran.code == 2, "it has an entry that cannot be used; the others are added"
    assert ran.rows[1:] == [
        ["One", "not tested", "socks5h://me:***@127.0.0.1:1"],
        ["Two", "not tested", "vless://relay.example:443"],
        ["Three", "not tested", "http://127.0.0.1:2"],
    ]
    assert ran.err.splitlines()[1:] == [f"{file}: number 4: a relay's user and password have at most 255 bytes each"]
    assert PASSWORD not in ran.out + ran.err
    assert configured(home)[1]["url"] == f"vless://{PASSWORD}@relay.example:443"
    assert byway("config", "check").code == 0
    again = byway("relay", "add", str(file), "--no-test")
    assert [row[1] for row in again.rows[1:]] == ["is there already"] * 3
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert byway("relay", "add", str(file)).err.startswith(
        f"{file}: this is a Clash configuration, and it cannot be read: it is YAML, which PyYAML reads, and that is "
        "not installed; install byway[yaml]. Start that client"
    )


# -- passwords ---------------------------------------------------------------------------------------------------------


def test_a_missing_password_is_asked_for(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def typed(prompt: str, stream: object) -> str:
        asked.append(prompt)
        return "p@ss/ word"

    monkeypatch.setattr(getpass, "getpass", typed)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    ran = byway("relay", "add", "https://me@relay.example", "--no-test")
    assert ran.err.splitlines()[0] == (
        f"The password is stored in {home.config}, which only you can read. "
        "To keep it elsewhere, use password_cmd there."
    )
    assert asked == ["Password of me at relay.example:443 (Enter: none): "]
    assert configured(home)[0]["url"] == "https://me:p%40ss%2F%20word@relay.example"
    assert stat.S_IMODE(home.config.stat().st_mode) == 0o600
    assert "history" not in ran.err
    for url in ("https://me@relay.example", "socks5h://127.0.0.1:1", "https://u:p@h", "socks4a://me@h", "a>b"):
        byway("relay", "add", url, "--no-test")
    assert len(asked) == 1
    monkeypatch.setattr(getpass, "getpass", lambda *_, **__: "")
    byway("relay", "add", "https://you@relay.example", "--no-test")
    assert configured(home)[-1]["url"] == "https://you@relay.example"


def test_nobody_is_asked_without_a_terminal(byway: Byway, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise AssertionError("asked")

    monkeypatch.setattr(getpass, "getpass", fail)
    assert byway("relay", "add", "https://me@relay.example", "--no-test").code == 0


def test_a_password_typed_on_a_terminal_is_not_shown(home: Home) -> None:
    ours, theirs = pty.openpty()
    words = [*BYWAY, "relay", "add", "https://me@relay.example", "--no-test", *home.flags]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    try:
        shown = b""
        while b"(Enter: none): " not in shown:
            shown += os.read(ours, 1024)
        assert not termios.tcgetattr(theirs)[3] & termios.ECHO
        os.write(ours, f"{PASSWORD}\n".encode())
        assert process.wait(60) == 0
        os.close(theirs)
        with contextlib.suppress(OSError):  # EIO: all has been read
            while data := os.read(ours, 1024):
                shown += data
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"Password of me at relay.example:443" in shown
    assert b"Saved in" in shown
    assert PASSWORD.encode() not in shown
    assert configured(home)[0]["url"] == f"https://me:{PASSWORD}@relay.example"


def test_a_password_that_may_not_be_sent_is_named_at_once(byway: Byway, home: Home) -> None:
    ran = byway("relay", "add", f"http://u:{PASSWORD}@relay.invalid:8080", "--name", "vps", "--no-test")
    assert ran.err.splitlines()[0] == HISTORY
    assert ran.err.splitlines()[1] == (
        "Warning: Byway does not send relay vps its user and password: they would cross the network unencrypted "
        "(http://). Use https://, or set allow_plaintext_credentials = true for this relay."
    )
    ran = byway("relay", "add", f"http://u:{PASSWORD}@other.invalid:8080", "--no-test", "--allow-plaintext-credentials")
    assert "unencrypted" not in ran.err
    assert configured(home)[1]["allow_plaintext_credentials"] is True


# -- a running Byway ---------------------------------------------------------------------------------------------------


def test_a_running_byway_is_asked_to_use_and_test_it(byway: Byway, home: Home, running: Running) -> None:
    ran = byway("relay", "add", "socks5h://127.0.0.1:9150")
    assert (ran.code, ran.rows[1]) == (0, ["tor", "fails: refuses this destination", "socks5h://127.0.0.1:9150"])
    assert running.world.reloads == 1
    assert ran.err.endswith(f"Saved in {home.config}; the running Byway uses it.\n")


def test_a_running_byway_that_cannot_says_so(byway: Byway, home: Home, running: Running) -> None:
    running.world.problems = ["rules.txt:1: unknown action"]
    ran = byway("relay", "add", "socks5h://127.0.0.1:9150")
    assert ran.code == 7
    assert "keeps its previous configuration" in ran.err
    assert "rules.txt:1: unknown action" in ran.err


def test_the_file_of_the_running_byway_is_changed_unless_another_is_named(
    home: Home,
    running: Running,
    commands: Typer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home.state / "none"))
    with pytest.raises(SystemExit) as ended:
        commands(["--state", str(home.state), "relay", "add", "socks5h://127.0.0.1:9150", "--no-test", "--json"])
    assert ended.value.code == 0
    assert f'"config": "{home.config}"' in capsys.readouterr().out
    assert len(configured(home)) == 1


def test_our_own_port_is_no_relay(byway: Byway, home: Home) -> None:
    ran = byway("relay", "add", "socks5h://127.0.0.1:8119")
    assert ran.code == 7
    assert "Byway itself" in ran.err
    assert configured(home) == []
