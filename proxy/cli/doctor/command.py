"""`byway doctor`: an ordered ladder of what can be wrong, each step with one thing to do; `--fix` mends what is
Byway's own.

With a running Byway its knowledge is used, and `why` about control pages. Without one, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.cli.command import Invocation, command
from proxy.cli.exit_codes import Exit
from proxy.model.errors import BywayError, ConfigError
from proxy.model.phrase import _

if TYPE_CHECKING:
    from proxy.cli.client import Client
    from proxy.cli.doctor.findings import Finding


def add_to(app: typer.Typer) -> None:
    command(app, "doctor", example="byway doctor --fix", is_translated=True)(_doctor)


def _doctor(
    call: Invocation,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is Byway's own: system proxy, files, log.")] = False,
) -> Exit | None:
    """Find out what keeps Byway from working, and what to do about it.

    Nothing is requested but control pages, by the running Byway. --fix mends a system proxy that was left over, file
    modes, a stale socket and a damaged log."""
    from proxy.cli.doctor.findings import LABELS, NO_NETWORK

    running = call.running()
    findings = sorted(_findings(call, running), key=lambda found: list(LABELS).index(found.step))
    fixed: list[Finding] = []
    failures: dict[str, str] = {}
    for found in findings:
        if fix and found.mend is not None:
            try:
                found.mend()
                fixed.append(found)
            except BywayError as error:
                failures[found.step] = str(error)
    left = [found for found in findings if found not in fixed]
    if call.output.as_json:
        from proxy.control.version import VERSION

        rows = [
            {"step": it.step, "text": it.text, "do": it.do, "fixed": it in fixed, "error": failures.get(it.step, "")}
            for it in findings
        ]
        call.output.document({"version": VERSION, "running": running is not None, "findings": rows})
    elif call.output.fancy:
        for found in findings:
            said = _("✓ fixed {step}: {text}") if found in fixed else _("! {step}: {text}")
            call.output.line(said.given(step=LABELS[found.step], text=found.text))
            if found not in fixed:
                call.output.line(failures.get(found.step) or found.do, before="  → ")
        if not findings:
            call.output.line(_("✓ Nothing is wrong."))
    else:
        call.output.table(
            ("step", "state", "text", "do"),
            [
                (it.step, "fixed" if it in fixed else "wrong", it.text, failures.get(it.step) or it.do)
                for it in findings
            ],
        )
    if running is None:
        call.output.hint(_("No Byway is running, so network and relays were not tested. Start it with `byway run`."))
    if not left:
        return None
    return Exit.NO_NETWORK if left[0].step in NO_NETWORK else Exit.BAD


def _findings(call: Invocation, running: Client | None) -> Iterator[Finding]:
    """Yields what each step found, in no order."""
    from proxy.cli.doctor import local_checks, network_checks
    from proxy.net.uplink.network_id import read_uplink

    paths = call.paths
    has_link = read_uplink() is not None
    yield from local_checks.file_modes(paths)
    yield from local_checks.disk(paths)
    yield from local_checks.proxy_package()
    if running is not None:
        status = running.get("/v1/status")
        answers = _ask_why(running) if has_link else []
        why, steps = answers[0] if answers else (None, [])
        works = ["direct" in answer["verdict"]["through"] for answer, _ in answers]
        only_domestic = len(works) > 2 and works[-1] and not any(works[:-1])
        state = running.get("/v1/status")["network_state"]
        yield from network_checks.of_network(state, why, steps, has_link=has_link, only_domestic=only_domestic)
        yield from network_checks.of_relays(running.get("/v1/status")["relays"])
        yield from local_checks.old_process(status)
        return
    yield from network_checks.of_network("ok", None, [], has_link=has_link)
    yield from local_checks.system_proxy(paths)
    yield from local_checks.stale_socket(paths)
    yield from local_checks.damaged_log(paths)
    try:
        from proxy.cli.offline import read_configuration

        settings = read_configuration(paths).settings
    except ConfigError as error:
        call.output.hint(
            _("The configuration cannot be used ({problem}). See `byway config check`.", problem=error.problems[0])
        )
        return
    yield from local_checks.port(settings.listen.address, settings.listen.port)
    if not any(relay.enabled for relay in settings.relay):
        yield from network_checks.of_relays([])


def _ask_why(running: Client) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Returns what `why` says about control pages, each with its steps: the first, and where that does not work direct,
    the others too, the domestic one last."""
    answers = []
    for page in running.get("/v1/config")["settings"]["auto"]["controls"]:
        steps: list[dict[str, Any]] = []
        for line in running.post_and_follow("/v1/why", {"site": page, "fresh": True}):
            if "verdict" in line:
                answers.append((line, steps))
            elif isinstance(line.get("step"), dict):
                steps.append(line["step"])
        if answers and answers[-1][0]["verdict"]["words"] in ("works", "portal", "no network"):
            break
    return answers
