"""Loading: every fault with its place, and nothing that a file can do makes it hang, crash or tell a password."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from proxy.config.load import CONFIG_LIMIT, LINE_LIMIT, PROBLEMS_SHOWN, Loaded, load
from proxy.config.schema import ListConfig, RelayConfig, Settings
from proxy.config.setting_types import Section, is_section, keys_of
from proxy.model.errors import ConfigError
from proxy.model.feature import Feature
from tests.support.rows import each_row

Load = Callable[..., Loaded]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    """Loads a text from config.toml."""

    def load_text(text: str | bytes, **others: Mapping[str, object]) -> Loaded:
        file = tmp_path / "config.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(file, **others)  # type: ignore[arg-type]  # env or flags, as the test says

    return load_text


@pytest.fixture
def faults(loaded: Load, tmp_path: Path) -> Callable[..., list[str]]:
    """The problems of a text, with the folder left out."""

    def faults_of(text: str | bytes, **others: Mapping[str, object]) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            loaded(text, **others)
        assert all(problem.isprintable() for problem in caught.value.problems)
        return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return faults_of


Faults = Callable[..., list[str]]

EVERYTHING = """\
config_version = 1
[listen]
address = "127.0.0.1"
port = 8120
user = "anna"
password_cmd = "secret-tool lookup byway listen"
[auto]
never_relay = ["bank.example"]
retest = false
[dns]
local = ["lan"]
[dns.hosts]
"intranet.test" = "127.0.0.2"
[safety]
allow = ["127.0.0.1:*", "198.18.0.0/15"]
[log]
hosts = "all"
keep_days = 7
never = ["*.gov.kz"]
[[relay]]
name = "tor"
url = "socks5h://127.0.0.1:9050"
[[relay]]
name = "vps"
url = "https://user@relay.example:443?pin=sha256:{pin}"
password_cmd = "secret-tool lookup relay vps"
[[relay]]
name = "both"
url = "vps>tor"
[[list]]
name = "press"
source = "press.txt"
format = "plain"
[detect]
syn_s = 1
weights.tls_reset = 2.5
[limits]
idle_timeout_s = 60
""".replace("{pin}", "ab" * 32)


def test_nothing_is_the_default() -> None:
    found = load(None)
    assert found.settings == Settings()
    assert (found.path, found.notices, dict(found.sources)) == (None, (), {})


def test_a_whole_configuration(loaded: Load, tmp_path: Path) -> None:
    found = loaded(EVERYTHING)
    settings = found.settings
    assert settings.listen.port == 8120
    assert [relay.name for relay in settings.relay] == ["tor", "vps", "both"]
    assert settings.dns.hosts == {"intranet.test": "127.0.0.2"}
    assert settings.detect.weights.tls_reset == 2.5
    assert settings.detect.weights.tls_eof == 1.5  # others keep their defaults
    assert found.notices == ()
    file = f"{tmp_path}/config.toml"
    assert found.path == tmp_path / "config.toml"
    assert found.sources["listen.port"] == f"{file}:4"
    assert found.sources["relay.1.url"] == f"{file}:25"
    assert found.sources["detect.weights.tls_reset"] == f"{file}:36"
    assert "listen" not in found.sources
    assert "auto.ladder" not in found.sources
    assert found.place("relay", 1, "name") == f"{file}:24"
    assert found.place("relay", 1, "allow_plaintext_credentials") == f"{file}:23"  # its table
    assert found.place("safety", "allow") == f"{file}:15"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing", "\ufeffconfig_version = 1\r\n[listen]\r\nport = 1\r\n"])
def test_G1_empty_files_a_mark_and_crlf_are_fine(loaded: Load, text: str) -> None:
    assert loaded(text).settings.config_version == 1


@each_row(
    ("text", "line", "says"),
    [
        ("a = 1\nb = \n", 2, "invalid value"),
        ("[listen]\nport = 1\nport = 2\n", 3, "written twice"),
        ("[listen]\nport = 1\n[listen]\n", 3, "written twice"),
        ("x = [1,\n", 1, "not valid TOML"),
        ('x = "never\nclosed"', 1, "illegal character"),
        ("port 8119\n", 1, "expected '='"),
        (b"a = 1\n\0", 2, "NUL character"),
        (b"a = 1\n\xff\xfe", 2, "not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00\x00", 1, "NUL character"),
        ("# c\n" + "a" * 5000, 2, f"longer than {LINE_LIMIT} characters"),
        ("x = " + "9" * 4090, 1, "unknown"),  # an integer, but not one of ours
        ("a" + ".a" * 40 + " = 1", 1, "a key has more than 32 parts"),
        ("[" + "'a' . " * 40 + "b]", 1, "a key has more than 32 parts"),
        ('x = {y = {"a"' + '."a"' * 40 + " = 1}}", 1, "a key has more than 32 parts"),
        ("x = 0x" + "f" * 4000 + "\ny = 1", 1, "unknown"),
    ],
)
def test_G1_a_syntax_error_is_told_alone(faults: Faults, text: str, line: int, says: str) -> None:
    problem = faults(text)[0]
    assert problem.startswith(f"config.toml:{line}: ")
    assert says in problem


@pytest.mark.parametrize("text", ["x = " + "[\n" * 5000, "x = " + "[" * 4000, "x = " + "{a=" * 1000])
def test_G1_deep_nesting_is_refused(faults: Faults, text: str) -> None:
    (problem,) = faults(text)
    assert problem == "config.toml: arrays or tables are nested too deeply" or "not valid TOML" in problem


def test_what_cannot_stand_in_the_ladder_is_refused_with_a_sentence(faults: Faults) -> None:
    assert faults('[auto]\nladder = ["doh", "magic", "tlsrec|split-by-4", "pace-200", "split|tlsrec"]\n') == [
        "config.toml:2: auto.ladder[2] is not a local strategy: use doh, tlsrec, tlsrec-at-N, tlsrec-by-N, split, "
        "split-at-name, split-at-N, split-by-N, disorder, hostcase or pace-N, or several joined by |",
        'config.toml:2: auto.ladder[3]: its part "split-by-4" needs a number from 8 to 1000',
        "config.toml:2: auto.ladder[4] has no segments to pace: pace-N comes after split or disorder",
        "config.toml:2: auto.ladder[5] has words in another order than tlsrec, hostcase, split, disorder, pace, each "
        "once",
    ]


def test_G1_ten_megabytes_are_refused(faults: Faults, tmp_path: Path) -> None:
    (problem,) = faults(b"#" * (10 * CONFIG_LIMIT))
    assert "larger than 1,048,576 bytes" in problem


def test_G1_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert caught.value.problems[0].startswith(f"{path}: ")


def test_all_other_faults_are_told_at_once_in_the_order_of_the_lines(faults: Faults) -> None:
    text = """\
colour = 3
[listen]
prot = 1
port = "8119"
address = "localhost"
user = 5
[log]
hosts = "decision"
keep_days = -1
[auto]
retest = "true"
never_relay = "bank.example"
controls = ["example.com"]
[[relay]]
name = "a relay"
url = "socks5h://127.0.0.1:9050"
[[relay]]
nam = "x"
[dns.hosts]
"a b" = "1.2.3.4"
"good.test" = "1.2.3.400"
[detect]
syn_s = true
down_s = inf
weights = 3
retest_blocked_s = []
"""
    assert faults(text) == [
        'config.toml:1: unknown section or key "colour"',
        'config.toml:3: unknown key "prot" in [listen]; did you mean port?',
        "config.toml:4: listen.port must be a whole number; write it without quotes",
        'config.toml:5: listen.address is not an IP address; write "127.0.0.1" for this computer only',
        "config.toml:6: listen.user must be text in quotes",
        'config.toml:8: log.hosts must be "decisions", "all" or "off"; did you mean "decisions"?',
        "config.toml:9: log.keep_days must be more than 0, not -1",
        "config.toml:11: auto.retest must be true or false; write it without quotes",
        'config.toml:12: auto.never_relay must be an array, such as ["a", "b"]',
        "config.toml:13: auto.controls[1] is not a page URL such as https://example.com/",
        "config.toml:15: relay[1].name must start with a letter or digit and have at most 32 letters, digits, dots, - "
        "and _",
        "config.toml:17: [[relay]] number 2 needs the key name",
        "config.toml:17: [[relay]] number 2 needs the key url",
        'config.toml:18: unknown key "nam" in [[relay]] number 2; did you mean name?',
        'config.toml:20: dns.hosts."a b" is not a host name: only letters, digits, -, _ and dots are allowed',
        'config.toml:21: dns.hosts."good.test" is not an IP address',
        "config.toml:23: detect.syn_s must be a number",
        "config.toml:24: detect.down_s must be a finite number",
        "config.toml:25: detect.weights must be a table, as in [detect.weights]",
        "config.toml:26: detect.retest_blocked_s must have at least 1 element",
    ]


@each_row(
    ("text", "says"),
    [
        ("config_version = 2", "config.toml:1: config_version must be 1; this file may be for a newer Byway"),
        ("listen = 3", "config.toml:1: listen must be a table, as in [listen]"),
        ('relay = "tor"', "config.toml:1: relay must be written as [[relay]], a table for each"),
        ('[relay]\nname = "tor"', "config.toml:1: relay must be written as [[relay]], a table for each"),
        ('[dns]\nhosts = ["a"]', "config.toml:2: dns.hosts must be a table"),
        ("[addons]\nx = 3", "config.toml:2: addons.x must be a table, as in [addons.x]"),
        ("[addons.x]\nenabled = 3", "config.toml:2: addons.x.enabled must be true or false"),
        ('"\\u001b[31m" = 1', 'config.toml:1: unknown section or key "\\x1b[31m"'),
    ],
)
def test_faults_of_single_keys(faults: Faults, text: str, says: str) -> None:
    assert faults(text)[0].startswith(says)


def test_many_faults_are_cut_short(faults: Faults) -> None:
    found = faults("".join(f"key{number} = 1\n" for number in range(200)))
    assert len(found) == PROBLEMS_SHOWN + 1
    assert found[-1] == "config.toml: and 150 more problems"


# -- environment and flags ---------------------------------------------------------------------------------------------


def test_flags_are_stronger_than_the_environment_than_the_file(loaded: Load, tmp_path: Path) -> None:
    text = "[listen]\nport = 1\n[log]\nkeep_days = 1\n[limits]\ndrain_s = 1\n"
    env = {"BYWAY_LISTEN__PORT": "2", "BYWAY_LOG__KEEP_DAYS": "2"}
    found = loaded(text, env=env, flags={"listen.port": 3, "listen.address": None})
    settings = found.settings
    assert (settings.listen.port, settings.log.keep_days, settings.limits.drain_s) == (3, 2, 1)
    assert found.sources == {
        "listen.port": "command line",
        "log.keep_days": "environment BYWAY_LOG__KEEP_DAYS",
        "limits.drain_s": f"{tmp_path}/config.toml:6",
    }


def test_a_fault_names_the_variable_or_the_command_line(faults: Faults) -> None:
    found = faults("", env={"BYWAY_LISTEN__PORT": "http", "BYWAY_LISTEN__PROT": "1"}, flags={"log.keep_days": -1})
    assert sorted(found) == [
        "command line: log.keep_days must be more than 0, not -1",
        "environment BYWAY_LISTEN__PORT: listen.port must be a whole number",
        "environment BYWAY_LISTEN__PROT: unknown setting prot in [listen]; did you mean port?",
    ]


def test_allow_on_the_command_line_adds_to_the_file(loaded: Load) -> None:
    found = loaded('[safety]\nallow = ["a:1"]', flags={"safety.allow": ("b:2",)})
    assert found.settings.safety.allow == ("a:1", "b:2")
    assert loaded('[safety]\nallow = ["a:1"]', flags={"safety.allow": ()}).settings.safety.allow == ("a:1",)


# -- passwords ---------------------------------------------------------------------------------------------------------


@each_row(
    "text",
    [
        '[[relay]]\nname = "a b"\nurl = "http://u:sesame@h:1"',
        '[[relay]]\nname = "a"\nurl = "hppt://u:sesame@h:1"',
        '[[relay]]\nname = "a"\nurl = "http://u:x>sesame@h"',
        '[[relay]]\nname = "a"\nurl = ["http://u:sesame@h:1"]',
        '[[relay]]\nname = "a"\nurl = "http://u:sesame@127.0.0.1:8119"',
        'relay = "http://u:sesame@h:1"',
        'list = "http://u:sesame@h:1"',
        '[[relay]]\nname = "http://u:sesame@h:1"',
        '[listen]\naddress = "http://u:sesame@h:1"',
        '[listen]\nuser = "x"\npassword_cmd = "echo \'sesame"',
    ],
)
def test_G5_no_message_shows_a_password(faults: Faults, text: str) -> None:
    assert not [problem for problem in faults(text) if "ses" in problem]


SECRETS = [
    "zq9",
    "zq 9\u0301!",
    "zq9@",
    "me:zq9@h:1",
    "socks5h://me:zq9@h:1",
    "\u0660zq9",
    "-zq9",
    "zq..",
    "zq9.1",
    "9zq",
]


def _keys(section: type[Section] = Settings, path: str = "") -> Iterator[tuple[str, str]]:
    """Every key that a file may have: its table and its name."""
    for name, field in keys_of(section).items():
        if is_section(field.type):
            yield from _keys(field.type, f"{path}.{name}".removeprefix("."))
        yield path, name
    yield path, "pasword"
    yield path, "uri"


TABLES: dict[str, type[Section]] = {"relay": RelayConfig, "list": ListConfig}


@each_row("secret", SECRETS)
def test_G5_a_password_in_a_wrong_key_is_never_printed(loaded: Load, secret: str) -> None:
    """Whatever the key, and whatever form the value has there."""
    value = json.dumps(secret)
    forms = [value, f"[{value}]", f"[1, {value}]", f"{{a = {value}}}", f"[{{b = {value}}}]"]
    texts = [f"[{table}]\n{key} = {form}" if table else f"{key} = {form}" for table, key in _keys() for form in forms]
    for table, section in TABLES.items():
        texts += [f"[[{table}]]\n{key} = {form}" for _, key in _keys(section) for form in forms]
    texts += [f"[addons.pin]\nenabled = {form}" for form in forms]
    texts += [f"[listen]\nuser = {secret}", f"[listen]\nport = 1\nport = {value}", f"[listen]\nuser = {value[:-1]}"]
    for text in texts:
        assert not [sentence for sentence in _sentences(loaded, text) if "zq" in sentence], text


def test_G5_a_password_in_the_environment_is_never_printed(loaded: Load) -> None:
    for table, key in _keys():
        name = f"BYWAY_{table.upper()}__{key.upper()}"
        for secret in SECRETS:
            told = _sentences(loaded, "", env={name: secret})
            assert not [sentence for sentence in told if "zq" in sentence], name


def _sentences(loaded: Load, text: str, **others: Mapping[str, object]) -> Sequence[str]:
    try:
        return loaded(text, **others).notices
    except ConfigError as error:
        return error.problems


def test_G5_a_file_with_a_password_becomes_private(loaded: Load, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.touch()
    file.chmod(0o644)
    assert loaded('[[relay]]\nname = "a"\nurl = "socks5h://h:1"').notices == ()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644  # nothing to hide
    found = loaded(
        '[[relay]]\nname = "a"\nurl = "https://u:sesame@h:1>b"\n[[relay]]\nname = "b"\nurl = "socks5h://h:2"'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "was readable by other users" in found.notices[0]
    assert load(file).notices == ()


def test_G5_a_file_with_a_password_that_cannot_be_made_private_is_refused(
    faults: Faults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    (tmp_path / "config.toml").touch(mode=0o644)
    monkeypatch.setattr(Path, "chmod", refuse)
    (problem,) = faults('[[relay]]\nname = "a"\nurl = "socks5h://u:sesame@h:1"')
    assert "run chmod 600 or use password_cmd" in problem


# -- notices -----------------------------------------------------------------------------------------------------------


def test_settings_of_addons_and_lists_are_no_notices(loaded: Load) -> None:
    text = '[addons.pin]\nenabled = true\nanything = [1]\n[[list]]\nname = "l"\nsource = "l.txt"\n'
    assert loaded(text).notices == ()
    assert loaded("").notices == ()


def test_an_unknown_format_of_a_list_is_an_error(faults: Faults) -> None:
    (problem,) = faults('[[list]]\nname = "l"\nsource = "l.txt"\nformat = "plane"')
    assert problem.startswith('config.toml:4: list[1].format must be "auto"')
    assert problem.endswith('did you mean "plain"?')


def test_secure_servers_have_an_effect(loaded: Load) -> None:
    assert loaded('[dns]\nsecure = "always"\nservers = ["tls://[2001:db8::1]?sni=dns.test"]\n').notices == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[dns]\nsecure = "always"\nservers = []', 'dns.secure = "always" needs dns.servers'),
        ('[dns]\nservers = ["https://dns.test/q"]', "give an encrypted DNS server by address"),
        (
            '[dns]\nservers = ["udp://1.1.1.1"]',
            "write an encrypted DNS server as https://ADDRESS/PATH or tls://ADDRESS",
        ),
    ],
)
def test_D2_secure_servers_are_given_by_address(faults: Faults, text: str, problem: str) -> None:
    assert problem in "".join(faults(text))


def test_controls_have_an_effect(loaded: Load) -> None:
    """`byway relay test` goes to the first of them."""
    assert loaded('[auto]\ncontrols = ["https://example.org/"]\n').notices == ()


# -- whatever a file holds ---------------------------------------------------------------------------------------------

KEYS = st.sampled_from(
    ["listen", "port", "relay", "name", "url", "dns", "hosts", "detect", "syn_s", "x", "addons", "list"]
)
VALUES = st.recursive(
    st.sampled_from(["1", "-1", "nan", "true", '"a"', '""', '"127.0.0.1:1"', '"a>b>c"', "1979-05-27", "[]", "{}"]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.builds("{{{} = {}}}".format, KEYS, inner),
    ),
    max_leaves=4,
)
LINES = st.one_of(
    st.builds("{} = {}".format, KEYS, VALUES),
    st.builds("{}.{} = {}".format, KEYS, KEYS, VALUES),
    st.builds("[{}]".format, KEYS),
    st.builds("[[{}]]".format, KEYS),
    st.builds("[{}.{}]".format, KEYS, KEYS),
    st.text(max_size=10),
)


@given(text=st.lists(LINES, max_size=8).map("\n".join))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_a_configuration_or_placed_faults(text: str, tmp_path: Path) -> None:
    file = tmp_path / "any.toml"
    file.write_text(text, encoding="utf-8", errors="replace")
    try:
        found = load(file)
    except ConfigError as error:
        problems = error.problems
    else:
        problems = found.notices
    assert all(problem.startswith(f"{file}:") and problem.isprintable() for problem in problems)


@given(data=st.binary(max_size=200))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_configuration_or_a_fault(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "any.toml"
    file.write_bytes(data)
    try:
        load(file)
    except ConfigError as error:
        assert error.problems  # noqa: PT017  # whatever it is, it is said


@pytest.mark.parametrize("operator", ["|", "&&", ";", ">", "2>/dev/null"])
def test_a_command_that_needs_a_shell_is_refused(faults: Faults, loaded: Load, operator: str) -> None:
    """`pass show vps | head -n1` failed with the exit code of pass, and after echo the relay got another password."""
    relay = '[[relay]]\nname = "a"\nurl = "http://u@127.0.0.1:1"\npassword_cmd = '
    (problem,) = faults(f'{relay}"echo sesame {operator} head"')
    assert problem.endswith(f"is run without a shell, so {operator} means nothing: write it as sh -c '…'")
    assert "sesame" not in problem
    command = f"sh -c 'echo sesame {operator} head'"
    assert loaded(f'{relay}"{command}"').settings.relay[0].password_cmd == command
    assert loaded(f'{relay}"echo pass{operator}word"').settings.relay[0].password_cmd


@pytest.mark.parametrize("command", ["cut -d ';' -f 2 names", "awk -F '|' 'NR == 1' names", r"find . -exec cat {} \;"])
def test_a_quoted_argument_of_a_command_is_no_operator(loaded: Load, command: str) -> None:
    relay = '[[relay]]\nname = "a"\nurl = "http://u@127.0.0.1:1"\npassword_cmd = '
    assert loaded(f"{relay}'''{command}'''").settings.relay[0].password_cmd == command


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[log]\nkeep_days = 3\n[desktop]\nnotify = false\n", "config.toml:3"),
        ("[desktop]\n", "config.toml:1"),
        ("config_version = 1\ndesktop.notify = true\n", "config.toml:2"),
        ("desktop = {notify = true}\n", "config.toml:1"),
    ],
)
def test_a_section_of_a_feature_that_is_not_here_is_told_of_once(loaded: Load, text: str, place: str) -> None:
    found = loaded(text)
    (told,) = found.unused([Feature("inspection", settings=("inspect",))])
    assert told.endswith(f"/{place}: [desktop] is not used: the feature desktop is not here")
    assert [*found.unused([Feature("desktop", settings=("desktop",))])] == []


def test_so_is_one_that_no_file_sets() -> None:
    by_variable = load(None, env={"BYWAY_INSPECT__PASS_S": "60", "BYWAY_INSPECT__VOUCHED_S": "60"})
    assert [*by_variable.unused(())] == [
        "environment BYWAY_INSPECT__PASS_S: [inspect] is not used: the feature inspection is not here"
    ]
    by_flag = load(None, flags={"desktop.notify": False})
    assert [*by_flag.unused(())] == ["command line: [desktop] is not used: the feature desktop is not here"]
    assert [*load(None).unused(())] == []
