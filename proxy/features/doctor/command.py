"""`byway doctor`: checks in order, each with one remedy; `--fix` repairs problems of Byway's own.

They use the status of the running Byway, and its `why` about control pages. Without a running one, nothing is sent, and
password commands are run as by a start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proxy.model.errors import BywayError, ConfigError
from proxy.model.feature import BrokenFeature
from proxy.model.phrase import _
from proxy.terminal.command import Invocation, root_command
from proxy.terminal.exit_codes import Exit, NotAllowed
from proxy.terminal.findings import Finding, Step
from proxy.wire.relay_url import redact

if TYPE_CHECKING:
    from proxy.config.paths import Paths
    from proxy.config.schema import Settings
    from proxy.model.feature import Feature
    from proxy.terminal.client import Client


@root_command(example="byway doctor --fix", is_translated=True)
def doctor(
    call: Invocation,
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is Byway's own: system proxy, files, log.")] = False,
) -> Exit | None:
    """Find out what keeps Byway from working, and what to do about it.

    It finds what `run`, `config check`, `addons check` and `status` would say, too. Nothing is requested but control
    pages, by the running Byway; while none runs, password commands are run as at a start. --fix mends a system proxy
    that was left over, file modes, a stale socket and a damaged log. Exit code 1: Byway does not start with what was
    found."""
    from proxy.terminal.findings import LABELS, NO_NETWORK

    try:
        running, refusal = call.running(), ""
    except NotAllowed as error:  # the Byway of another user
        running, refusal = None, str(error)
    findings = sorted(_findings(call, running, refusal), key=lambda finding: list(LABELS).index(finding.step))
    fixed: list[Finding] = []
    failures: dict[int, str] = {}
    for number, finding in enumerate(findings):
        if fix and finding.mend is not None:
            try:
                finding.mend()
                fixed.append(finding)
            except BywayError as error:
                failures[number] = str(error)
    left = [finding for finding in findings if finding not in fixed]
    if call.output.as_json:
        from proxy.model.document_version import VERSION

        rows = [
            {
                "step": it.step,
                "text": redact(it.text),
                "do": redact(it.do),
                "fixed": it in fixed,
                "error": redact(failures.get(number, "")),
            }
            for number, it in enumerate(findings)
        ]
        call.output.document({"version": VERSION, "running": running is not None, "findings": rows})
    elif call.output.fancy:
        for number, finding in enumerate(findings):
            text = _("✓ fixed {step}: {text}") if finding in fixed else _("! {step}: {text}")
            call.output.line(text.given(step=LABELS[finding.step], text=finding.text))
            if finding not in fixed and (do := failures.get(number) or finding.do):
                call.output.line(do, before="  → ")
        if not findings:
            call.output.line(_("✓ Nothing is wrong."))
    else:
        call.output.table(
            ("step", "state", "text", "do"),
            [
                (it.step, "fixed" if it in fixed else "wrong", it.text, failures.get(number) or it.do)
                for number, it in enumerate(findings)
            ],
        )
    if running is None:
        call.output.hint(_("No Byway is running, so network and relays were not tested. Start it with `byway run`."))
    if not left:
        return None
    if left[0].step in NO_NETWORK:
        return Exit.NO_NETWORK
    return Exit.FAILED if running is None and any(finding.prevents_start for finding in left) else Exit.BAD


def _findings(call: Invocation, running: Client | None, refusal: str) -> Iterator[Finding]:
    """Yields the findings of all steps, in no order. `refusal`: the error of a running Byway that cannot be asked;
    empty: none."""
    from proxy.features.doctor import local_checks, network_checks
    from proxy.net.uplink.network_id import read_uplink

    paths = call.for_config_of(running).paths
    has_link = read_uplink() is not None
    files = list(local_checks.open_configuration(paths))
    yield from files
    yield from local_checks.proxy_package()
    folder = list(local_checks.state_folder(paths))
    yield from folder
    if refusal or folder:
        if not folder:
            yield local_checks.not_ours(refusal)
        return
    yield from local_checks.file_modes(paths)
    disk = list(local_checks.disk(paths))
    yield from disk
    configuration, settings = _configuration(paths, files, call.features, is_running=running is not None)
    yield from configuration
    if running is not None:
        status = running.get("/v1/status")
        answers = _ask_why(running, settings) if has_link else []
        why, steps = answers[0] if answers else (None, [])
        works = ["direct" in answer["verdict"]["through"] for answer, _ in answers]
        only_domestic = len(works) > 2 and works[-1] and not any(works[:-1])
        after = running.get("/v1/status")  # with the results of `why`
        network = network_checks.of_network(
            after["network_state"], why, steps, has_link=has_link, only_domestic=only_domestic
        )
        findings = [*disk, *configuration, *network, *network_checks.of_relays(after["relays"])]
        yield from findings[len(disk) + len(configuration) :]
        yield from network_checks.of_problems(after["problems"], findings)
        yield from network_checks.of_traffic(status["traffic"])
        yield from network_checks.of_notices(after["notices"], configuration)
        yield from local_checks.old_process(status)
        return
    yield from network_checks.of_network("ok", None, [], has_link=has_link)
    yield from local_checks.system_proxy(paths)
    yield from local_checks.stale_socket(paths)
    yield from local_checks.damaged_log(paths)
    if settings is None:
        return
    for finding in _of_features(call):
        if not any(file.text in finding.text for file in files):  # `files` has the files that others could change
            yield finding
    yield from local_checks.port(settings.listen.address, settings.listen.port)
    if not any(relay.enabled for relay in settings.relay):
        yield from network_checks.of_relays([{"name": relay.name, "enabled": False} for relay in settings.relay])


def _configuration(
    paths: Paths, files: Sequence[Finding], features: Sequence[Feature], *, is_running: bool
) -> tuple[list[Finding], Settings | None]:
    """Returns the findings about the configuration besides `files`, those about files that others could change; and the
    settings; None: they cannot be used. If no Byway is running, the password commands are run."""
    from proxy.features.doctor import local_checks
    from proxy.terminal.offline import make_setup, read_configuration

    try:
        setup = make_setup(paths, features, runs_password_commands=not is_running)
    except ConfigError as error:
        problems = [each for each in error.problems if not any(file.text in each for file in files)]
        try:
            settings = read_configuration(paths).settings
        except ConfigError:
            settings = None
        return list(local_checks.configuration(problems, ())), settings
    notices = (*setup.loaded.notices, *setup.router.rules.notices)
    return list(local_checks.configuration((), notices)), setup.settings


def _ask_why(running: Client, settings: Settings | None) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Returns the answers of `why` about control pages, each with its steps: about the first, and if that does not work
    direct, about the others, the domestic one last. The pages are those of the files; if these cannot be used, those of
    the running Byway."""
    answers = []
    in_use = settings.auto.controls if settings else running.get("/v1/config")["settings"]["auto"]["controls"]
    for page in in_use:
        steps: list[dict[str, Any]] = []
        for line in running.post_and_follow("/v1/why", {"site": page, "fresh": True}):
            if "verdict" in line:
                answers.append((line, steps))
            elif isinstance(line.get("step"), dict):
                steps.append(line["step"])
        verdict = answers[-1][0]["verdict"] if answers else {"words": "", "cause": ""}
        if verdict["words"] in ("works", "portal", "no network") or verdict["cause"] == "clock":
            break
    return answers


def _of_features(call: Invocation) -> Iterator[Finding]:
    """Yields the findings of features about themselves, and the features that do not work."""
    for feature in call.features:
        try:
            for name in feature.names():
                feature.load(name)
            yield from feature.load(feature.checks)(call) if feature.checks else ()
        except BrokenFeature as error:
            yield Finding(Step.PROXY_PACKAGE, f"{error}.", _("install Byway again"))
