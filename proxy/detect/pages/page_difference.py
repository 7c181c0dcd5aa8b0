"""Compares the page that direct got over plain HTTP with the page of another route.

A block page without a fingerprint is a page like any other, but has nothing in common with the site's own: neither the
length, nor a word of the title, nor the name of an uncommon header field. OONI compares the same (probe-cli,
webconnectivity/httpanalysis.go). Variants of one site, such as an A/B test or another language, and the answers of one
front server usually have one of them in common.
"""

from __future__ import annotations

from proxy.model.frozen_dataclass import frozen_dataclass

LENGTH_RATIO = 0.7
"""Ratio of the lengths of the shorter and the longer page up to which they count as different (OONI's
web_connectivity)."""

TITLE_WORD = 5
"""Letters of the shortest word by which two titles are compared (OONI's web_connectivity)."""

COMMON_FIELDS = frozenset(
    (
        *("accept-ranges", "age", "alt-svc", "cache-control", "cf-ray", "connection", "content-encoding"),
        *("content-language", "content-length", "content-type", "date", "etag", "expires", "keep-alive"),
        *("last-modified", "link", "location", "p3p", "pragma", "proxy-connection", "server", "set-cookie"),
        *("strict-transport-security", "transfer-encoding", "upgrade", "vary", "via", "x-content-type-options"),
        *("x-frame-options", "x-powered-by", "x-varnish", "x-xss-protection"),
    )
)
"""Header fields that unrelated servers send: OONI's, and those of the connection."""


@frozen_dataclass
class Page:
    """An answer to a plain request, as far as answers are compared."""

    status: int
    length: int
    """Characters of its text; in a measurement, bytes of the answer."""
    title: str
    fields: frozenset[str] = frozenset()
    """The names of its header fields, in lower case."""
    upgrades: bool = False
    """It redirects to https at the same site."""
    mark: int = 0
    """See `ClassifiedPage`."""

    @property
    def words(self) -> frozenset[str]:
        """The words of the title that are compared."""
        return frozenset(word for word in self.title.lower().split() if len(word) >= TITLE_WORD)

    def has_other_length(self, other: Page) -> bool:
        shorter, longer = sorted((self.length, other.length))
        return longer > 0 and shorter / longer <= LENGTH_RATIO

    def has_other_title(self, other: Page) -> bool:
        """Whether the titles have no word in common, or no words at all."""
        return not self.words & other.words

    def is_unlike(self, other: Page) -> bool | None:
        """Whether this page, which direct got, has nothing in common with that of another route. None: they cannot be
        compared, as an error, a refusal, an empty answer, or two of other lengths without a title. A site that upgrades
        visitors to https upgrades all of them, so its redirect is unlike any page."""
        if self.upgrades and other.upgrades:
            return False
        if self.status != 200:
            return None
        if other.upgrades:
            return True
        if other.status != 200 or not self.length or not other.length:
            return None
        if not self.has_other_length(other) or (self.fields & other.fields) - COMMON_FIELDS:
            return False
        return self.has_other_title(other) if self.words or other.words else None
