from __future__ import annotations

from proxy.detect.verdict.site_status import SiteStatus
from proxy.features.sites.drawing import described, drawing
from proxy.model import Cause
from tests.support.rows import each_row


@each_row(
    ("status", "cause", "works_by", "glyphs"),
    [
        (SiteStatus.BLOCKED, Cause.DNS, "tor", "✗····"),
        (SiteStatus.BLOCKED, Cause.IP, "tor", "✓✗···"),
        (SiteStatus.LIKELY_BLOCKED, Cause.SNI_RESET, "tor", "✓✓✗··"),
        (SiteStatus.INTERCEPTED, Cause.INTERCEPTION, "tor", "✓✓✓✗·"),
        (SiteStatus.BLOCKED, Cause.BLOCK_PAGE, "tor", "✓✓✓✓✗"),
        (SiteStatus.SLOW, Cause.FROZEN, "tor", "✓✓✓✓◔"),
        (SiteStatus.WORKS, Cause.NONE, "direct", "✓✓✓✓✓"),
        (SiteStatus.WORKS, Cause.NONE, "tor", ""),
        (SiteStatus.SITE_DOWN, Cause.DOWN, "", ""),
        (SiteStatus.NOT_TESTED, Cause.NONE, "", ""),
        (SiteStatus.BLOCKED, "a cause of an addon", "tor", ""),
    ],
)
def test_the_way_to_a_page(status: SiteStatus, cause: str, works_by: str, glyphs: str) -> None:
    assert "".join(station.passes.glyph for station in drawing(status, cause, works_by)) == glyphs


def test_the_way_in_a_sentence() -> None:
    assert described(drawing(SiteStatus.BLOCKED, Cause.DNS, "")) == "Direct is stopped at the step: DNS."
    assert described(drawing(SiteStatus.SLOW, Cause.THROTTLED, "")) == "Direct is slowed at the step: Page."
    assert described(drawing(SiteStatus.WORKS, Cause.NONE, "direct")) == "Direct passes every step."
