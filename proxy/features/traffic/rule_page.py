"""The page that makes a rule from a connection: for its site, its host or its program. It takes no text of a rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aiohttp import web

from proxy.config.suggestions import one_of, quoted
from proxy.control.access import Refused
from proxy.control.dashboard.override_forms import NO_OVERRIDE, action_names
from proxy.control.dashboard.visit import Route, Visit
from proxy.control.request_parsing import parse_field
from proxy.detect.scopes import registrable
from proxy.model import literal
from proxy.model.errors import BywayError, ConfigError
from proxy.model.frozen_dataclass import frozen_dataclass
from proxy.model.phrase import _, sentences
from proxy.net.client_programs import unsupported
from proxy.probe.site_name import scope
from proxy.routing.router import covering
from proxy.routing.rule import RuleType
from proxy.routing.rule_parser import parse_action

_PROGRAM = re.compile(r"[\w.+][\w.+ -]{0,63}")
"""A program that a PROCESS-NAME rule of this page may name: without the signs of a comment or of another part of the
rule."""


@frozen_dataclass
class RuleView:
    """The values for the template of the page that makes a rule: its possible subjects and actions, by their values in
    the form."""

    host: str
    program: str
    subjects: Mapping[str, str]
    actions: Mapping[str, str]


def rule_view(host: str, program: str, relays: Sequence[str]) -> RuleView:
    """Returns the page for a connection to `host` of a `program`; empty: unknown."""
    subjects = {word: text for word, (_type, _value, text) in _subjects(host, program).items()}
    actions = {word: text for word, text in action_names(relays).items() if word not in (NO_OVERRIDE, "auto")}
    actions["auto"] = _("direct first, another route if it is blocked")
    return RuleView(host, program, subjects, actions)


def _subjects(host: str, program: str) -> Mapping[str, tuple[RuleType, str, str]]:
    """Returns the possible subjects of a rule by their values in the form: type, value, and meaning in words."""
    address, domain = literal(host), registrable(host)
    subjects: dict[str, tuple[RuleType, str, str]] = {}
    if address is not None:
        prefix = f"{address}/{address.max_prefixlen}"
        subjects["address"] = (RuleType.IP_CIDR, prefix, _("the address {host}", host=host))
    else:
        subjects["site"] = (RuleType.DOMAIN_SUFFIX, host, _("{host} and its subdomains", host=host))
        subjects["host"] = (RuleType.DOMAIN, host, _("{host} alone", host=host))
        if domain != host:
            subjects["domain"] = (RuleType.DOMAIN_SUFFIX, domain, _("{host} and its subdomains", host=domain))
    if _PROGRAM.fullmatch(program) and not unsupported():
        text = _("everything that the program {program} opens", program=program)
        subjects["program"] = (RuleType.PROCESS_NAME, program, text)
    return subjects


async def _rule(visit: Visit) -> web.Response:
    query = visit.query("host", "program")
    host = parse_field(scope, query.get("host", ""))
    view = rule_view(host, query.get("program", ""), visit.frame.relays.usable_names())
    return await visit.page("traffic_rule.html", title=_("New rule"), here="traffic", view=view)


async def _add_rule(visit: Visit) -> web.Response:
    form = await visit.form("host", "program", "subject", "action")
    host, program = parse_field(scope, form.get("host", "")), form.get("program", "")
    subjects = _subjects(host, program)
    subject = subjects.get(form.get("subject", ""))
    if subject is None:
        word, words = quoted(form.get("subject", "")), one_of(list(subjects))
        raise Refused(400, _("unknown subject {word}; it can be {words}", word=word, words=words))
    usable = visit.frame.relays.usable_names()
    action, relay = parse_field(lambda text: parse_action(text, relays=usable), form.get("action", ""))
    type_, value, _text = subject
    try:
        added = await visit.parts.rules_file.add(f"{type_},{value},{action}{f':{relay}' if relay else ''}")
    except ConfigError as error:
        return visit.see_other("traffic", sentences([_("No rule was added."), *error.problems]))
    except BywayError as error:
        return visit.see_other("traffic", sentences([_("No rule was added."), str(error)]))
    notices = [_("Added: {rule}.", rule=added.rule.why), *added.notices()]
    if deciding := covering(host, visit.parts.overrides):
        notices.append(_("The override of {site} still decides about {host}.", site=deciding[0], host=host))
    elif added.covered_by is None:
        notices.append(_("New connections follow it, open ones keep their route."))
    return visit.see_other("traffic", sentences(notices))


ROUTES = (
    Route("GET", "traffic/rule", _rule),
    Route("POST", "traffic/rule", _add_rule),
)
