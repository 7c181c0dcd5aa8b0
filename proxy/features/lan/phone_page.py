"""The one page that is served over the network: how to set a device to Byway, in the language of the device.

A guest gets it by our own address. It names no site, no relay and nothing else of this computer, and has no form and no
script. Every other path and name is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from proxy.control.speaker import speaker
from proxy.languages.language import language_of_browser
from proxy.model.errors import PeerError
from proxy.model.phrase import _
from proxy.net.deadline import deadline
from proxy.net.stream import SocketStream
from proxy.net.tasks import spawn
from proxy.wire import http1
from proxy.wire.html_page import CONTENT_SECURITY_POLICY, document, element, facts

_SEND_S = 10.0

_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)

STEPS = (
    (
        _("Android"),
        _("Open Settings, Network & internet, Wi-Fi, and hold the name of this network."),
        _("Choose Modify network, Advanced options, Proxy: Manual."),
    ),
    (
        _("iPhone and iPad"),
        _("Open Settings, Wi-Fi, and touch the (i) beside the name of this network."),
        _("Choose Configure Proxy at the end, Manual."),
    ),
    (
        _("Windows"),
        _("Open Settings, Network & internet, Proxy."),
        _("Choose Set up beside “Use a proxy server”, and turn it on."),
    ),
    (
        _("Television"),
        _("Open the settings of its network, and choose the proxy by hand."),
        _("Apps that ignore the proxy of the system go on as before, without Byway."),
    ),
)
"""Of each kind of device: its name, and the steps to the place of host and port."""


class PhonePage:
    """Answers guests that open our own address."""

    def __init__(self, setting: Callable[[], str]) -> None:
        """`setting` returns `[ui] language`."""
        self._setting = setting

    def adopt(self, stream: SocketStream, received: bytes, address: str) -> None:
        """Answers the request in `received` and closes the stream. `address` is our own, with the port."""
        spawn(_send(stream, self.answer(received, address)), name="the page for a device of the network")

    def answer(self, received: bytes, address: str) -> bytes:
        """Returns the answer to a request in origin form: the page for `/`, else 404, or 421 for another name."""
        try:
            head = http1.whole_request_head(received)
        except PeerError as error:
            return error.reply
        if head is None or head.host.lower() != address:
            return http1.error_response(421, "")
        if head.method not in ("GET", "HEAD") or head.target != "/":
            return http1.error_response(404, "")
        accepted = ",".join(value for name, value in head.headers if name.lower() == "accept-language")
        page = self.page(address, accepted).encode()
        fields = (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page))), *_HEADERS)
        lines = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in fields), "Connection: close", "", ""]
        return "\r\n".join(lines).encode() + (page if head.method == "GET" else b"")

    def page(self, address: str, accept_language: str) -> str:
        """Returns the page, in the language that the device prefers."""
        language = language_of_browser(self._setting(), accept_language)
        say = speaker(language)
        host, _colon, port = address.rpartition(":")
        content = [
            element("p", say(_("This device may use the internet through a computer in this network."))),
            facts([(say(_("Server")), host), (say(_("Port")), port)]),
        ]
        for name, *steps in STEPS:
            content.append(element("h2", say(name)))
            content.append(element("ol", *(element("li", say(step)) for step in (*steps, _ENTER))))
        content.append(element("h2", say(_("What others see"))))
        content.append(element("ul", *(element("li", say(sentence)) for sentence in WHO_SEES)))
        return document(say(_("Set up this device")), *content, language=language, direction=language.direction)


_ENTER = _("Enter the server and the port above, and save.")

WHO_SEES = (
    _("The owner of the computer sees how many connections this device makes, and can see their names and addresses."),
    _("Others in this Wi-Fi see that this device uses the computer, and the names of the sites."),
    _("Pages over https stay private: neither can read them."),
    _("It ends after some hours. Then set the proxy back to “None”, or nothing opens."),
)
"""The sentences for the person with the device."""


async def _send(stream: SocketStream, answer: bytes) -> None:
    try:
        with contextlib.suppress(OSError, TimeoutError), deadline(_SEND_S):
            await stream.send(answer)
            stream.send_eof()
            while await stream.receive():
                pass
    finally:
        stream.close()
