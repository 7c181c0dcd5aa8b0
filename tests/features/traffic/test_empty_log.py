"""Why a log shows nothing."""

from __future__ import annotations

import typing

from proxy.config.schema import Log
from proxy.features.traffic.empty_log import why_empty
from tests.support.rows import each_row


def test_a_first_log_says_how_to_log_more() -> None:
    text = why_empty("decisions", is_filtered=False)
    assert text.startswith("No connections are logged yet. Those that simply worked are counted")
    assert '`[log] hosts = "all"`' in text
    assert why_empty("decisions", is_filtered=True).startswith("No matching connections.")


@each_row("hosts", typing.get_args(typing.get_type_hints(Log)["hosts"]) or ("decisions", "all", "off"))
@each_row("is_filtered", [True, False])
def test_every_setting_has_its_sentence(hosts: str, is_filtered: bool) -> None:
    assert why_empty(hosts, is_filtered=is_filtered).endswith((".", "`"))
