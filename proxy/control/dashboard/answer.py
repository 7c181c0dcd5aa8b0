"""HTML answers: their headers, and pages of one sentence, which need no session."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from aiohttp import web

from proxy.control.speaker import speaker
from proxy.languages.language import Language
from proxy.wire.html_page import CONTENT_SECURITY_POLICY, document, element

log = logging.getLogger(__name__)

PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    # With "no-referrer" a browser sends `Origin: null` with a form (Fetch, "append a request Origin header").
    "Referrer-Policy": "same-origin",
}
SIGN_IN_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY.replace("form-action 'none'", "form-action 'self'"),
    "Referrer-Policy": "same-origin",
}


def html(text: str, headers: Mapping[str, str], status: int = 200) -> web.Response:
    """Returns a page."""
    return web.Response(text=text, content_type="text/html", status=status, headers=headers)


def message(title: str, text: str, status: int, language: Language) -> web.Response:
    """Returns a page of one sentence."""
    say = speaker(language)
    content = element("p", say(text))
    return html(document(say(title), content, language=language, direction=language.direction), SIGN_IN_HEADERS, status)


def log_fault(error: Exception) -> None:
    """Logs an internal error without its message, which may contain a site."""
    log.error("internal error while answering a page of the dashboard: %s", type(error).__name__)
    log.debug("traceback:", exc_info=True)
