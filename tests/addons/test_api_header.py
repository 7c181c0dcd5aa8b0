from __future__ import annotations

from pathlib import Path
from typing import Any

from mitmproxy.test import tflow

from tests.addons.shipped import shipped


def asked(tmp_path: Path, *, host: str = "api.example.org", scheme: str = "https") -> Any:
    key = tmp_path / "key"
    key.write_text("Bearer 42\nmore\n")
    flow = tflow.tflow()
    flow.request.host, flow.request.scheme = host, scheme
    addon = shipped("api_header", {"host": "api.example.org", "file": str(key)})
    addon.objects[0].request(flow)  # type: ignore[attr-defined]  # a hook of mitmproxy's
    return flow.request.headers.get("Authorization")


def test_the_header_goes_to_that_host_over_https_alone(tmp_path: Path) -> None:
    assert asked(tmp_path) == "Bearer 42"
    assert asked(tmp_path, host="www.example.org") is None
    assert asked(tmp_path, scheme="http") is None


def test_without_a_file_nothing_is_added() -> None:
    flow = tflow.tflow()
    shipped("api_header", {"host": flow.request.host}).objects[0].request(flow)  # type: ignore[attr-defined]
    assert "Authorization" not in flow.request.headers
