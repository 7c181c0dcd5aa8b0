"""Settings as an answer hold nothing secret."""

from __future__ import annotations

import json

from proxy.config.schema import AddonConfig, Dns, Listen, Log, RelayConfig, Settings
from proxy.features.settings.answers import settings_json

SECRET = "correct-horse"


def test_a_secret_of_an_addon_is_not_shown() -> None:
    table = AddonConfig(enabled=True, options={"api_key": SECRET, "password": SECRET, "colour": "red"})
    hosts = {"monkey.example": "192.0.2.1"}
    shown = settings_json(Settings(addons={"notify": table}, dns=Dns(hosts=hosts)))
    assert SECRET not in json.dumps(shown)
    assert shown["addons"]["notify"] == {"enabled": True, "api_key": "(set)", "password": "(set)", "colour": "red"}
    assert shown["dns"]["hosts"] == hosts


def test_a_url_that_names_the_user_is_not_shown() -> None:
    options = {"webhook": f"https://hooks.example/{SECRET}", "more": {"at": [f"https://hooks.example/{SECRET}"]}}
    dns = Dns(servers=("https://45.90.28.0/ab12cd", "tls://45.90.28.0?sni=ab12cd.dns.nextdns.io"))
    shown = settings_json(Settings(addons={"notify": AddonConfig(options=options)}, dns=dns))
    assert SECRET not in json.dumps(shown)
    assert shown["addons"]["notify"]["webhook"] == "https://hooks.example/***"
    assert shown["dns"]["servers"] == ["https://45.90.28.0/***", "tls://45.90.28.0?sni=***.dns.nextdns.io"]


def test_I16_settings_hold_no_secret() -> None:
    relay = RelayConfig(
        name="vps", url=f"https://u:{SECRET}@h:1>socks5h://x:{SECRET}@y:2", password_cmd=f"echo {SECRET}"
    )
    configured = Settings(
        listen=Listen(user="me", password_cmd=f"echo {SECRET}"), relay=(relay,), log=Log(never=("*.x",))
    )
    shown = settings_json(configured)
    assert SECRET not in json.dumps(shown)
    assert shown["listen"]["user"] == "me"
    assert shown["listen"]["password_cmd"] == "(set)"
    assert shown["relay"][0]["url"] == "https://u:***@h:1>socks5h://x:***@y:2"
    assert shown["log"]["never"] == ["*.x"]
    assert settings_json(Settings())["listen"]["password_cmd"] == ""
