"""The commands say the same word, cause and since of a site, in every situation, as each other and as the API."""

from __future__ import annotations

from proxy.languages.amounts import clock
from tests.support.command_line import Byway, Running
from tests.support.situations import SITUATIONS, happen_all, measured_again, network_changed


def test_every_command_says_the_same_of_a_site(byway: Byway, running: Running) -> None:
    running.do(lambda: happen_all(running.world))
    agree(byway)
    running.do(lambda: network_changed(running.world))
    running.do(lambda: measured_again(running.world))
    agree(byway)


def agree(byway: Byway) -> None:
    listed = {row[0]: row for row in byway("site", "list").rows[1:]}
    status = {row[1]: row for row in byway("status").rows[1:] if row[0] == "site"}
    for situation in SITUATIONS:
        host = situation.host
        told = byway("site", "show", host, "--json").json["belief"]
        since = clock(told["since"]) if told["since"] else ""
        _, words, shown_since, _ = byway("site", "show", host).rows[1]
        assert (words, shown_since) == (told["words"], since), host
        assert (host in status) is told["is_trouble"], host
        if told["is_trouble"]:
            assert listed[host][1:5] == [told["words"], told["cause"], since, told["works_by"]], host
            assert status[host][2:] == [told["words"], told["evidence"]], host
            report = byway("report", host, "--format", "md", "--redact", "none").out
            assert f"**{told['glyph']} {told['words']}**" in report, host
