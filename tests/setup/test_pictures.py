"""What is made of twelve configurations, drawn as text and compared with the pictures beside this file.

    BYWAY_SNAPSHOTS=write .venv/bin/pytest -n 0 tests/setup/test_pictures.py; git diff tests/setup/pictures

How a Setup is made may change; what is made may not change unseen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from proxy.model import Action, Override
from proxy.model.errors import ConfigError
from tests.setup.drawing import Drawing, problems
from tests.support.authority import Authority
from tests.support.configured import making

PICTURES = Path(__file__).parent / "pictures"
WRITES = os.environ.get("BYWAY_SNAPSHOTS") == "write"


@dataclass(frozen=True)
class Case:
    config: str = ""
    rules: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    inspects: bool = True


TOR = '[[relay]]\nname = "tor"\nurl = "socks5h://127.0.0.1:9050"\n'
VPS = '[[relay]]\nname = "vps"\nurl = "https://user:word@192.0.2.9:443"\n'

CASES = {
    "nothing": Case(),
    "one relay": Case(config=VPS),
    "chain": Case(config=f'{VPS}{TOR}[[relay]]\nname = "far"\nurl = "tor>vps>http://198.51.100.7:3128"\n'),
    "named relay and DoH": Case(
        config='[dns]\nsecure = "always"\nservers = ["https://192.0.2.53/q", "tls://192.0.2.54?sni=dot.test"]\n'
        "secure_timeout_s = 4\nsecure_stagger_s = 2\nsecure_down_s = 50\nsecure_idle_s = 20\n"
        f'{VPS}[[relay]]\nname = "named"\nurl = "socks5h://relay.test:1080"\n'
    ),
    "group": Case(
        config=f'{VPS}{TOR}[[group]]\nname = "all"\nrelays = ["tor", "vps"]\npolicy = "sticky"\n'
        '[[relay]]\nname = "via"\nurl = "all>socks4a://203.0.113.5:1080"\n',
        rules="DOMAIN-SUFFIX,listed.test,RELAY:all\n",
    ),
    "alternatives": Case(
        config='[auto]\nladder = ["split", "tlsrec"]\nretest = false\n[[relay]]\nname = "vps"\n'
        'url = "https://relay.test:443?alt=192.0.2.7:8443&sni=front.test"\n'
        '[[relay]]\nname = "plain"\nurl = "http://192.0.2.8:3128?alt=192.0.2.7:3128"\n'
    ),
    "ca": Case(
        config='[dns]\nservers = ["tls://192.0.2.1?ca=roots.pem"]\n'
        '[[relay]]\nname = "vps"\nurl = "https://192.0.2.2:443?ca=roots.pem"\n'
    ),
    "never relay": Case(config=f'[auto]\nnever_relay = ["never.test"]\nladder = ["doh"]\n{VPS}'),
    "hosts": Case(
        config='[dns]\nsecure = "never"\nlocal = ["corp"]\nsecond_answer_s = 0.25\n'
        '[dns.hosts]\n"example.org" = "192.0.2.80"\n"nas.lan" = "192.168.77.4"\n'
        '[safety]\nallow = ["10.77.0.1"]\n[limits]\nconnect_timeout_s = 7\nresolve_timeout_s = 3\n'
    ),
    "overrides": Case(
        config=VPS,
        rules="DOMAIN,overridden.test,DIRECT\nMATCH,AUTO\n",
        overrides={
            "overridden.test": Override(Action.RELAY, "vps"),
            "example.org": Override(Action.BLOCK, until=1_900_000_000.0),
        },
    ),
    "lists": Case(
        config=f'{TOR}[[list]]\nname = "mine"\nsource = "mine.txt"\n[networks]\noffice = "00000000000cafe0"\n'
        '[listen]\naddress = "0.0.0.0"\nuser = "me"\npassword_cmd = "echo open"\n',
        rules="LIST,mine,RELAY\nDOMAIN,inspected.test,BLOCK\nNETWORK,office,DIRECT\n",
        files={"mine.txt": "listed.test\n"},
    ),
    "password": Case(
        config='[[relay]]\nname = "vps"\nurl = "socks5h://user@192.0.2.9:1080?alt=192.0.2.10:1080"\n'
        'password_cmd = "echo secret"\nallow_plaintext_credentials = true\npublic_only = true\n'
        '[[relay]]\nname = "named"\nurl = "socks5h://relay.test:1080"\npublic_only = true\n'
        "[detect]\nrelay_handshakes_max = 3\nrelay_paths_max = 9\ngive_up_s = 25\n"
    ),
}

BROKEN = {
    "broken all": Case(
        config='[safety]\nallow = ["nonsense/99"]\n[listen]\nuser = "me"\npassword_cmd = "false"\n'
        '[dns]\nservers = ["tls://192.0.2.1?ca=none.pem"]\n'
        '[[relay]]\nname = "mute"\nurl = "socks5h://user@127.0.0.1:9050"\npassword_cmd = "false"\n',
        rules="DOMAIN,a.example,NOWHERE\nNONSENSE\n",
        files={"block_pages.csv": "no list\n"},
    ),
    "broken relays": Case(
        config='[[relay]]\nname = "one"\nurl = "http://192.0.2.1:1?ca=x"\n'
        '[[relay]]\nname = "two"\nurl = "https://192.0.2.1:443?ca=none.pem"\n'
    ),
    "broken chain": Case(
        config='[[relay]]\nname = "first"\nurl = "socks5://192.0.2.1:1080?resolve=local"\n'
        '[[relay]]\nname = "second"\nurl = "first>https://relay.test:443"\n'
    ),
    "broken lists": Case(config='[[list]]\nname = "mine"\nsource = "mine.txt"\n', rules="LIST,mine,RELAY\n"),
    "broken pages": Case(rules="MATCH,NOWHERE\n", files={"block_pages.csv": "no list\n"}),
    "broken inspection": Case(rules="DOMAIN,inspected.test,AUTO,INSPECT\n", inspects=False),
}


def compare(name: str, picture: str) -> None:
    file = PICTURES / f"{name.replace(' ', '_')}.txt"
    if WRITES:
        file.write_text(picture)
    assert picture == file.read_text()


def write(folder: Path, case: Case) -> None:
    for name, text in case.files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


@pytest.mark.skipif(sys.platform != "linux", reason="the system's resolver is Byway's own on Linux alone")
@pytest.mark.parametrize("name", CASES)
async def test_what_is_made_of_a_configuration(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    write(tmp_path, case)
    if "roots.pem" in case.config:
        (tmp_path / "roots.pem").write_text(Authority().pem)
    async with making(tmp_path, inspects=case.inspects) as maker:
        maker.write(case.config, case.rules)
        compare(name, Drawing(maker.make(case.overrides), tmp_path).text())


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_told_of_a_broken_configuration(tmp_path: Path, name: str) -> None:
    case = BROKEN[name]
    write(tmp_path, case)
    async with making(tmp_path, inspects=case.inspects) as maker:
        maker.write(case.config, case.rules)
        with pytest.raises(ConfigError) as caught:
            maker.make(case.overrides)
        compare(name, problems(caught.value, tmp_path))


def test_there_is_no_picture_of_nothing() -> None:
    assert {file.stem.replace("_", " ") for file in PICTURES.iterdir()} == {*CASES, *BROKEN}
