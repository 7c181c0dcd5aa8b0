"""What is signed for whom, and which of mitmproxy's options nobody may set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy import connection, exceptions, tls
from mitmproxy.proxy.context import Context

from proxy.config.schema import Settings
from proxy.extend.dispatch import Addons
from proxy.features.inspection.authority import make_authority
from proxy.features.inspection.engine import Engine
from proxy.features.inspection.leaf import Leaves
from proxy.features.inspection.mitm_tls import OURS, LocalCaTls, trust_options

NOW = 1_800_000_000.0


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    leaves = Leaves(make_authority(now=NOW), now=lambda: NOW)
    made = Engine(tmp_path / "empty", Settings, Addons(), leaf=leaves.leaf)
    yield made
    await made.close()
    assert not [*(tmp_path / "empty").iterdir()], "no authority of mitmproxy's own"


@pytest.mark.parametrize(
    "change",
    [
        {"ssl_insecure": True},
        {"confdir": "/elsewhere"},
        {"server": True},
        {"mode": ["socks5"]},
        {"certs": ["*=a.pem"]},
        {"connection_strategy": "lazy"},
        {"ciphers_server": "ALL:@SECLEVEL=0"},
        {"ssl_verify_upstream_trusted_ca": "/another"},
        {"ssl_verify_upstream_trusted_confdir": "/another"},
    ],
)
async def test_what_is_ours_to_set_stays_as_it_was(engine: Engine, change: dict[str, Any]) -> None:
    name = next(iter(change))
    assert name in OURS
    before = getattr(engine.master.options, name)
    with pytest.raises(exceptions.OptionsError, match="is set by Byway"):
        engine.master.options.update(**change)
    assert getattr(engine.master.options, name) == before


async def test_options_that_bring_the_published_authority_are_refused_wherever_set(engine: Engine) -> None:
    with pytest.raises(exceptions.OptionsError, match="whose private key is public"):
        engine.master.options.add_option("emudhra_trust", bool, False, "what a later version might bring")
    with pytest.raises(exceptions.OptionsError, match="whose private key is public"):
        engine.master.options.update(emudhra_trust=True)
    assert engine.master.options.emudhra_trust is False
    engine.master.options.update(body_size_limit="1m")
    assert engine.master.options.body_size_limit == "1m", "the control: others may be set"


def signing(host: str) -> LocalCaTls:
    leaves = Leaves(make_authority(now=NOW), now=lambda: NOW)

    inspected: Any = SimpleNamespace(host=host)
    return LocalCaTls(lambda _client: inspected, leaves.leaf)


def context() -> Context:
    client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2))
    client.sni = "evil.test"
    made = Context(client, options=None)  # type: ignore[arg-type]
    made.server.address = ("evil.test", 443)
    return made


def test_a_leaf_is_for_the_host_that_was_asked_for_and_no_other() -> None:
    entry = signing("a.test").get_cert(context())
    assert [name.value for name in entry.cert.altnames] == ["a.test"]
    assert entry.chain_file is None


def test_nothing_is_signed_before_the_origin_was_found_good() -> None:
    seen = context()
    start = tls.TlsData(seen.client, seen)
    signing("a.test").tls_start_client(start)
    assert start.ssl_conn is None
    seen.server.timestamp_tls_setup = 1.0
    seen.server.error = "its certificate is bad after all"
    signing("a.test").tls_start_client(start)
    assert start.ssl_conn is None


def test_the_roots_are_those_that_the_system_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "roots.txt"
    file.touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    assert trust_options()["ssl_verify_upstream_trusted_ca"] == str(file)
