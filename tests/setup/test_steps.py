"""Files, relays, rules and the guard becoming one Setup, or one list of everything that is wrong."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import socket
import sys
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.paths import Paths
from proxy.detect.pages.page_classifier import PageKind, classify_page
from proxy.model import DIRECT, Destination, IPAddress, Route, Symptom
from proxy.model.errors import ConfigError, DialError
from proxy.net.dns.resolver import Resolver
from proxy.net.poller import make_poller
from proxy.net.tasks import spawn
from proxy.routing.address_guard import Guard
from proxy.session.setup import Setup
from proxy.setup import checked
from proxy.setup.checked import Parts, check
from tests.support.configured import Maker, making


@pytest.fixture
async def maker(tmp_path: Path) -> AsyncIterator[Maker]:
    async with making(tmp_path) as maker:
        yield maker


async def test_what_is_wrong_with_several_parts_is_told_together(maker: Maker) -> None:
    maker.write(
        """[safety]
allow = ["nonsense/99"]
[[relay]]
name = "mute"
url = "socks5h://user@127.0.0.1:9050"
password_cmd = "false"
""",
        rules="DOMAIN,a.example,NOWHERE\n",
    )
    with pytest.raises(ConfigError) as caught:
        maker.make()
    relay, guard, rule = caught.value.problems
    assert relay == "[[relay]] mute: its password command failed with exit code 1"
    assert "config.toml:2" in guard
    assert rule.startswith("rules.txt:1: ")


async def test_what_was_read_of_a_refused_configuration_is_freed_at_once(
    maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error knows the frames that raised it, and in one of them is a long list. A collection may be hours away."""

    class Long(ConfigError):
        pass

    seen: list[weakref.ref[Long]] = []

    def noted() -> Long:
        error = Long(["rules.txt:1: no"])
        seen.append(weakref.ref(error))
        return error

    def read_rules(*_: object, **__: object) -> None:
        raise noted()  # in no variable of this frame, which the error knows

    monkeypatch.setattr(checked, "read_rules", read_rules)
    maker.write("")
    gc.disable()
    try:
        with pytest.raises(ConfigError, match=r"rules\.txt:1: no"):
            maker.make()
        assert [ref() for ref in seen] == [None]
    finally:
        gc.enable()


async def test_a_password_is_asked_for_once(maker: Maker) -> None:
    asked = maker.folder / "asked"
    maker.write(
        f"""[[relay]]
name = "vps"
url = "socks5h://user@127.0.0.1:9050"
password_cmd = "sh -c 'echo x >> {asked}; echo secret'"
"""
    )
    for _ in range(2):
        (hop,) = maker.make().registry.hops(("vps",))
        assert hop.password == "secret"
    assert asked.read_text() == "x\n"


async def test_where_modes_mean_nothing_no_command_is_run(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A Windows drive under WSL, for one: everything there is 0777."""
    monkeypatch.setattr("proxy.config.file_owners._filesystem", lambda _: "9p")
    asked = open_folder / "asked"
    command = f'password_cmd = "touch {asked}"\n'
    relay = f'[[relay]]\nname = "vps"\nurl = "socks5h://user@127.0.0.1:9050"\n{command}'
    async with making(open_folder) as maker:
        maker.write(relay)
        (open_folder / "config.toml").chmod(0o777)
        setup = maker.make()
        assert setup.registry.relay_names == ("vps",), "it is there, and refuses if it needs the password"
        (notice,) = setup.loaded.notices
        assert notice == (
            f"{open_folder}: other users may be able to change the files in it: owners and modes mean nothing on 9p. "
            "No password_cmd is run"
        )
        maker.write(f'[listen]\nuser = "me"\n{command}')
        with pytest.raises(ConfigError, match=r"config\.toml:3: listen\.password_cmd is not run, because other users"):
            maker.make()
    assert not asked.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="programs are found out on Linux only")
async def test_programs_that_could_not_be_told_from_others_are_refused_with_their_line(
    maker: Maker, tmp_path: Path
) -> None:
    (tmp_path / "browser").write_text("#!/bin/sh\n")
    maker.write(f'[listen]\nprograms = ["sleep", "{tmp_path}/browser", "relative/path"]\n')
    with pytest.raises(ConfigError, match=r"config\.toml:2: listen\.programs\[3\] is neither the path of a program"):
        maker.make()
    maker.write(f'[listen]\nprograms = ["sleep", "{tmp_path}/browser"]\n')
    with pytest.raises(ConfigError, match=r"config\.toml:2: listen\.programs: .*/browser is a script, and"):
        maker.make()
    maker.write("[listen]\nprograms = []\n")
    with pytest.raises(ConfigError, match=r"config\.toml:2: listen\.programs names no program"):
        maker.make()


@pytest.mark.skipif(sys.platform != "linux", reason="programs are found out on Linux only")
async def test_a_program_that_is_not_here_and_one_that_runs_others_are_told_of(maker: Maker) -> None:
    maker.write('[listen]\nprograms = ["sleep", "no-such-program", "/usr/bin/no-such-one", "sh"]\n')
    setup = maker.make()
    assert setup.named is not None
    assert [each.text for each in setup.named.programs] == ["sleep", "no-such-program", "/usr/bin/no-such-one", "sh"]
    unknown, missing, shell = setup.loaded.notices
    assert '"no-such-program" is not installed here: nothing is at the folders of the system' in unknown
    assert "nothing is at /usr/bin/no-such-one" in missing
    assert "runs what other programs tell it" in shell


async def test_where_programs_cannot_be_found_out_the_setting_is_refused_and_names_the_one_that_helps(
    maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checked, "unreadable", lambda: "which program a client is can be found out on Linux only")
    maker.write('[listen]\nprograms = ["firefox"]\n')
    with pytest.raises(ConfigError, match=r"on Linux only; use listen\.user and listen\.password_cmd in its place"):
        maker.make()


@pytest.mark.skipif(sys.platform != "linux", reason="programs are found out on Linux only")
async def test_races_without_relays_have_a_guard_and_a_resolver_of_their_own_and_dial_direct_alone(
    maker: Maker,
) -> None:
    maker.write(
        '[listen]\nprograms = ["sleep"]\n[dns.hosts]\n"site.test" = "127.0.0.1"\n'
        '[[relay]]\nname = "vps"\nurl = "socks5h://127.0.0.1:9050"\n'
    )
    setup = maker.make()
    assert setup.named is not None
    terms = setup.named.terms(setup.guard)
    assert terms is setup.named.terms(setup.guard)
    assert terms.findings is None
    assert terms.direct is not setup.registry.direct
    for route in (Route(("vps",)), Route((), ("tlsrec",))):
        with pytest.raises(DialError, match="goes direct only"):
            await terms.dialer(route).dial(Destination("site.test", 443))
    with pytest.raises(DialError) as refused:
        await terms.dialer(DIRECT).dial(Destination("site.test", 443))
    assert refused.value.symptom is Symptom.FORBIDDEN, "the guard of the clients"
    open_guard = Guard(("127.0.0.0/8:*",))
    with pytest.raises(DialError) as unreached:
        await setup.named.terms(open_guard).dialer(DIRECT).dial(Destination("127.0.0.1", 1))
    assert unreached.value.symptom is not Symptom.FORBIDDEN


async def test_a_certificate_that_another_user_could_change_is_not_trusted(open_folder: Path) -> None:
    roots = open_folder / "roots.pem"
    roots.touch()
    roots.chmod(0o666)
    async with making(open_folder) as maker:
        maker.write(
            f'[dns]\nservers = ["tls://192.0.2.1?ca={roots}"]\n'
            f'[[relay]]\nname = "vps"\nurl = "https://192.0.2.2:443?ca={roots}"\n'
        )
        with pytest.raises(ConfigError) as caught:
            maker.make()
    why = f"{roots}: not used: other users can write to it. Run: chmod go-w {roots}"
    assert caught.value.problems == (f"[[relay]] vps: {why}", f"[dns] servers: {why}")


async def test_files_without_certificates_are_told_together(maker: Maker) -> None:
    (maker.folder / "empty.pem").touch(mode=0o600)
    maker.write(
        '[dns]\nservers = ["tls://192.0.2.1?ca=empty.pem"]\n'
        '[[relay]]\nname = "vps"\nurl = "https://192.0.2.2:443?ca=none.pem"\n'
        '[[relay]]\nname = "far"\nurl = "vps>https://192.0.2.3:443?ca=empty.pem"\n'
    )
    with pytest.raises(ConfigError) as caught:
        maker.make()
    told = [
        problem.partition(f" no certificates can be read from {maker.folder}/") for problem in caught.value.problems
    ]
    assert [(where, file.partition(":")[0]) for where, _, file in told] == [
        ("[[relay]] vps:", "none.pem"),
        ("[[relay]] far:", "empty.pem"),
        ("[dns] servers:", "empty.pem"),
    ]


PAGES_HEAD = "name,scope,location_found,pattern_type,pattern"


def _seen(setup: Setup, body: bytes) -> str | None:
    answer = b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + body
    page = classify_page(answer, "blog.example", ended=True, pages=setup.pages())
    return page.detail if page.kind is PageKind.BLOCK_PAGE else None


async def test_shipped_and_imported_block_pages_are_known(maker: Maker) -> None:
    maker.write()
    shipped, mine = b'<html><iframe src="http://10.10.34.34?type=x">', b"<p>as stop.example/law says"
    assert _seen(maker.make(), shipped) == "byway.ir_frame"
    assert _seen(maker.make(), mine) is None
    (maker.folder / "block_pages.csv").write_text(f"{PAGES_HEAD}\nmine,isp,body,contains,stop.example/law\n")
    assert _seen(maker.make(), mine) == "mine"
    assert _seen(maker.make(), shipped) == "byway.ir_frame"
    (maker.folder / "block_pages.csv").write_text("no list\n")
    with pytest.raises(ConfigError, match=r"block_pages\.csv:1: not an OONI fingerprint CSV"):
        maker.make()


async def test_B5_an_address_that_has_become_ours_since_the_start_is_refused(
    maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private literal goes direct, unless it is this computer's own: so after a change of network too."""
    maker.write()
    dialer = maker.make().registry.dialer(DIRECT)
    monkeypatch.setattr("proxy.session.setup.source_address_for", lambda _: ipaddress.ip_address("192.168.77.5"))
    with pytest.raises(DialError, match="this computer itself") as refused:
        await dialer.dial(Destination("192.168.77.5", 22))
    assert refused.value.symptom is Symptom.FORBIDDEN


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", "::1"])
async def test_B4_E29_a_relay_whose_name_leads_to_ourselves_is_never_dialed(
    maker: Maker, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """The configuration shows no loop then: only the resolver knows."""

    async def resolve(_: Resolver, host: str) -> list[IPAddress]:
        return [ipaddress.ip_address(address)]

    monkeypatch.setattr(Resolver, "resolve", resolve)
    maker.write('[[relay]]\nname = "me"\nurl = "socks5h://me.test:8119"\n')
    with pytest.raises(DialError, match="Byway itself"):
        await maker.make().registry.dialer(Route(("me",))).dial(Destination("example.org", 443))
    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as relay:
        relay.setblocking(False)
        maker.write(f'[[relay]]\nname = "other"\nurl = "http://me.test:{relay.getsockname()[1]}"\n')
        dialer = maker.make().registry.dialer(Route(("other",)))
        dialing = spawn(dialer.dial(Destination("example.org", 443)), name="dial")
        accepted, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(relay), 10)
        accepted.close()  # the control: any other port of this computer is fine
        await asyncio.wait([dialing])
        assert isinstance(dialing.exception(), DialError)


async def test_a_section_whose_feature_is_not_here_is_told_of_once_however_often_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[desktop]\nnotify = false\n")
    paths = Paths.locate({}, config=tmp_path / "config.toml", state=tmp_path / "state")
    poller = make_poller(asyncio.get_running_loop())
    try:
        parts = Parts(poller, paths, 8119, features=())
        again = check(parts, check(parts, load(paths.config_to_read, env={})).loaded)
    finally:
        poller.close()
    (told,) = again.loaded.notices
    assert told.endswith("config.toml:1: [desktop] is not used: the feature desktop is not here")
