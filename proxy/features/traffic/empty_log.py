"""The reason for which a log is empty, and the setting that changes it: the same in the command and on the page."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from proxy.model.phrase import Phrase, _

_KEPT: Mapping[str, tuple[Phrase, Phrase]] = MappingProxyType(
    {
        "all": (_("No connections are logged yet."), _("No matching connections.")),
        "decisions": (
            _(
                "No connections are logged yet. Those that simply worked are counted, not logged by name. To log all: "
                '`[log] hosts = "all"`'
            ),
            _(
                "No matching connections. Those that simply worked are counted, not logged by name. To log all: "
                '`[log] hosts = "all"`'
            ),
        ),
        "off": (
            _("Nothing is logged by name: `[log] hosts` is off."),
            _("Nothing is logged by name: `[log] hosts` is off."),
        ),
    }
)


def why_empty(hosts: str, *, is_filtered: bool) -> str:
    """Returns the reason for which there is no row. `hosts` is the setting `[log] hosts`; `is_filtered`: whether only
    some connections were requested."""
    return _KEPT[hosts][is_filtered]
