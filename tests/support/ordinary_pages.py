"""Two hundred ordinary pages, and no block pages: answers of sites, their servers and their shields.

They are made here and not collected, so that they may be committed: eight kinds, five languages, five texts each. They
mention blocking, filters and courts as news and forums do, quote block pages, and use the charsets of such sites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True, slots=True)
class Ordinary:
    """One answer."""

    name: str
    status: int
    content_type: str
    body: bytes
    headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tongue:
    code: str
    charset: str
    news: str
    advice: str
    missing: str
    login: str


_TONGUES = (
    _Tongue(
        "en", "utf-8",
        "The regulator added four blogs to its register; providers have to restrict access within a day.",
        "If your provider says that access to the site is denied, ask it for the court's decision.",
        "The page that you look for is not here. It may have moved.", "Log in to continue",
    ),
    _Tongue(
        "ru", "windows-1251",
        "Роскомнадзор внёс четыре блога в реестр запрещённых сайтов, операторы связи ограничивают доступ к ресурсу.",
        "Если доступ к сайту заблокирован по решению суда, обратитесь к своему оператору связи.",
        "Страница не найдена. Возможно, она была удалена.", "Войдите, чтобы продолжить",
    ),
    _Tongue(
        "kk", "utf-8",
        "Сот шешімімен төрт блогқа қолжетімділік шектелді, провайдерлер бір тәулік ішінде бұғаттауға міндетті.",
        "Сайтқа қолжетімділік шектелсе, провайдеріңізден сот шешімін сұраңыз.",
        "Бет табылмады.", "Жалғастыру үшін кіріңіз",
    ),
    _Tongue(
        "th", "windows-874",
        "กระทรวงสั่งปิดกั้นเว็บไซต์สี่แห่ง ผู้ให้บริการต้องดำเนินการภายในหนึ่งวัน",
        "หากเข้าเว็บไซต์ไม่ได้ โปรดสอบถามผู้ให้บริการของท่าน",
        "ไม่พบหน้าที่ต้องการ", "เข้าสู่ระบบเพื่อดำเนินการต่อ",
    ),
    _Tongue(
        "tr", "iso-8859-9",
        "Mahkeme kararıyla dört bloga erişim engellendi; sağlayıcılar bir gün içinde uygulamak zorunda.",
        "Bir siteye erişim engellenmişse sağlayıcınızdan kararı isteyin.",
        "Aradığınız sayfa bulunamadı.", "Devam etmek için giriş yapın",
    ),
)  # fmt: skip


def _page(tongue: _Tongue, title: str, body: str, *, head: str = "") -> str:
    return (
        f'<!doctype html><html lang="{tongue.code}"><head><meta charset="{tongue.charset}"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width">{head}</head><body>{body}</body></html>'
    )


def _article(tongue: _Tongue, number: int) -> tuple[int, str]:
    words = f"<h1>{tongue.news}</h1>" + f"<p>{tongue.advice} {tongue.news}</p>" * (3 + 9 * number)
    counter = f'<script src="//mc.example/watch/{10_000_000 + number}"></script>'
    return 200, _page(tongue, tongue.news[:60], words + counter)


def _forum(tongue: _Tongue, number: int) -> tuple[int, str]:
    quoted = ("Access Denied", "This site is blocked", "451", "Website Blocked", "URL filtering")[number]
    posts = "".join(f"<div class=post id=p{n}><q>{quoted}</q> {tongue.advice}</div>" for n in range(12))
    return 200, _page(tongue, f"{quoted}?", posts + '<a href="/login?redirect=/t/1">reply</a>')


def _shop(tongue: _Tongue, number: int) -> tuple[int, str]:
    items = "".join(f'<li><a href="/item/{n}"><img src="/i/{n}.jpg" alt="{n}"></a> {n * 100}' for n in range(40))
    filters = '<form class="filter block"><select name=category><option>all</select></form>'
    return 200, _page(
        tongue, f"Shop {number}", filters + f"<ul>{items}</ul>", head='<meta name="robots" content="all">'
    )


def _missing(tongue: _Tongue, number: int) -> tuple[int, str]:
    status = (404, 404, 410, 403, 503)[number]
    return status, _page(tongue, f"{status}", f"<h1>{status}</h1><p>{tongue.missing}</p><hr>nginx/1.2{number}")


def _portal(tongue: _Tongue, number: int) -> tuple[int, str]:
    form = '<form method=post action="/login"><input name=user><input name=password type=password></form>'
    return (200, 401)[number % 2], _page(tongue, tongue.login, f"<h2>{tongue.login}</h2>{form}")


def _challenge(tongue: _Tongue, number: int) -> tuple[int, str]:
    body = (
        '<h1>Checking your browser</h1><script src="/cdn-cgi/challenge-platform/h/b/x.js"></script>Ray ID: 8c1',
        "<h1>DDOS-GUARD</h1><script src=/.well-known/ddos-guard/js-challenge/index.js></script>",
        '<iframe src="/_Incapsula_Resource?SWUDNSAI=31"></iframe>Request unsuccessful. Incapsula incident ID: 7',
        "<h1>Access Denied</h1>You don't have permission to access this. Reference #18.2f https://errors.edgesuite.net/18",
        '<script src="https://www.google.com/recaptcha/api.js"></script><p>I am not a robot</p>',
    )[number]
    return (403, 503)[number % 2], _page(tongue, "Just a moment...", f"{body}<p>{tongue.login}</p>")


def _spare(tongue: _Tongue, number: int) -> tuple[int, str]:
    bodies = (
        "<html><body></body></html>",
        "<html><head></head><body><h1>It works!</h1></body></html>",
        f"<html><head><title>Index of /pub</title></head><h1>Index of /pub</h1><pre>{tongue.code}</pre></html>",
        "<h1>Welcome to nginx!</h1><p>If you see this page, the web server is successfully installed.</p>",
        f"<title>Coming soon</title><p>{tongue.missing}</p>",
    )
    return 200, f"<meta charset={tongue.charset}>" * (number > 1) + bodies[number]


def _error(tongue: _Tongue, number: int) -> tuple[int, str]:
    bodies = (
        "<h1>502 Bad Gateway</h1><hr><center>openresty</center>",
        "<h2>The requested URL could not be retrieved</h2><style>/* Stylesheet for Squid Error pages */</style>",
        "<h1>Error 503 Backend fetch failed</h1><p>Guru Meditation:</p><p>XID: 17</p><p>Varnish cache server</p>",
        "<h1>Server Error in '/' Application.</h1>Runtime Error",
        "<h1>504 Gateway Time-out</h1>",
    )
    return (502, 503, 503, 500, 504)[number], _page(tongue, "Error", bodies[number] + f"<p>{tongue.missing}</p>")


_KINDS: tuple[Callable[[_Tongue, int], tuple[int, str]], ...] = (
    *(_article, _forum, _shop, _missing, _portal, _challenge, _spare, _error),
)


def ordinary_pages() -> list[Ordinary]:
    """Returns all pages."""
    pages = []
    for kind, tongue, number in product(_KINDS, _TONGUES, range(5)):
        status, text = kind(tongue, number)
        said = f"; charset={tongue.charset}" if number % 2 else ""  # else the page says so itself
        codec = tongue.charset.replace("windows-", "cp")
        name = f"{kind.__name__[1:]}-{tongue.code}-{number}"
        pages.append(Ordinary(name, status, f"text/html{said}", text.encode(codec, "xmlcharrefreplace")))
    return pages
