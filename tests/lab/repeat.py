"""Repeats tests of the lab and rows of its tables: `python -m tests.lab.repeat --seeds 20`.

Each row of this table is an action of a network, with the tests that show Byway's reaction to it; its twins are
innocent and look the same. Each runs once for each seed, in a process of its own with a country and a Byway of its own,
and the seed decides everything that the country leaves to chance (`lab.luck`). The processes mostly wait, so some run
at once. A process that takes longer than its limit is ended and counts as failed. Exit code 5 when something failed.

    python -m tests.lab.repeat --seeds 20 --at-once 8
    python -m tests.lab.repeat --seeds 5 --busy 2 'portal*' relay-vanishes
    python -m tests.lab.repeat --seeds 5 --relay slow
    python -m tests.lab.repeat --acceptance --at-once 8
    python -m tests.lab.repeat --part restarts --part slow

Under other conditions (`lab.conditions`) rows of the scenario table run, and the tests that hold then (`Job.also`):
without such a job, a row is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from tests.lab.conditions import IN_FORCE, USUAL, Conditions, RelayQuality, add_options
from tests.lab.luck import SEED
from tests.lab.run import BROKEN, busy_loops
from tests.lab.run import chosen as scenarios

LIMIT_S = 480.0
"""The usual limit of one process. The longest takes a third of it on an idle machine."""
_ROOT = Path(__file__).parents[2]
_SENTENCE_MAX = 160  # characters


@dataclass(frozen=True, slots=True)
class Job:
    """The work of one process: tests of one file, or rows of the tables of `lab.run`."""

    what: tuple[str, ...]
    under: frozenset[str] = frozenset()
    """Of tests: the names of other conditions under which they hold."""
    measures_speed: bool = False
    """Byway compares speeds in it, and believes no comparison in which its loop was late (`probe.throughput`): only one
    such job for each processor runs at once, and no others."""

    def also(self, *under: str) -> Job:
        """Returns the job with the names of other conditions under which its tests hold."""
        return replace(self, under=frozenset(under))

    @property
    def is_test(self) -> bool:
        return self.what[0].endswith(".py") or "::" in self.what[0]

    def command(self, folder: Path, conditions: Conditions) -> list[str]:
        """Returns the command of the process. It does not judge the tables' waits: they assume a lab that has the
        machine for itself."""
        if self.is_test:
            options = ("-q", "-n", "0", "-p", "no:cacheprovider", "--tb=short", f"--basetemp={folder / 't'}")
            return [sys.executable, "-m", "pytest", *options, *(f"tests/{one}" for one in self.what)]
        once = ("--seeds", "1", "--countries", "3", "--pages-only")
        return [sys.executable, "-m", "tests.lab.run", *once, *conditions.words, *self.what]

    def limit_s(self, conditions: Conditions) -> float:
        """Returns the limit of the process: longer by as much as the visitors of a row are more patient under them."""
        those = [] if self.is_test else scenarios(self.what, conditions)
        more_s = (row.visits * (conditions.limit_s(row.limit_s) - row.limit_s) for row in those)
        return LIMIT_S + max(more_s, default=0.0)

    def runs_under(self, conditions: Conditions) -> bool:
        """Whether there is anything to run under them."""
        if self.is_test:
            return conditions.names <= self.under
        return conditions == USUAL or bool(scenarios(self.what, conditions))

    def sentence(self, said: str) -> str:
        """Returns the reason of its failure, from its output."""
        starts = "E  " if self.is_test else "    "
        lines = [line for line in said.splitlines() if line.strip()]
        found = next((line for line in lines if line.startswith(starts)), (lines or ["it said nothing"])[-1])
        return found.removeprefix("E").strip()[:_SENTENCE_MAX]


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    what: str
    jobs: tuple[Job, ...]
    twins: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """One process that has ended."""

    row: str
    job: Job
    seed: int
    is_twin: bool
    took_s: float
    failure: str = ""  # a sentence; empty: it passed


def tests(file: str, *names: str) -> Job:
    """Returns a job of some tests of a file below tests/, with all their parameters; of the whole file without
    names."""
    return Job(tuple(f"{file}::{name}" for name in names) or (file,))


def rows(*names: str) -> Job:
    return Job(names)


_ECH, _CUTS = "lab/test_ech.py", "lab/test_cut_hellos.py"
_LISTS, _PREFIXES = "lab/test_allow_lists.py", "lab/test_prefixes.py"
_COUNT, _FROZEN, _VANISHES = "lab/test_hello_count.py", "lab/test_frozen_alone.py", "lab/test_relay_vanishes.py"
_PAGES, _JA4 = "lab/test_host_page.py", "lab/test_ja4_only.py"
_DENIED, _PORTALS, _UNCOMPARED = "lab/test_denied_names.py", "lab/test_portals.py", "lab/test_uncompared.py"

ROWS: tuple[Row, ...] = (
    Row("hello-count", "a network counts hellos; 1 to 3 connections, both readings",
        (rows("hello-count-*"),
         tests(_COUNT, "test_a_client_with_byway_is_not_punished_for_less",
               "test_nor_for_a_site_that_is_blocked_by_name")),
        (rows("three-at-once", "busy-server"),
         tests(_COUNT, "test_a_client_without_byway_is_punished_for_six_at_once"))),
    Row("hello-count-known", "a network punished six at once to two sites, by address and by prefix, both readings",
        (tests(_COUNT, "test_a_network_that_punished_two_sites_punishes_no_third"),),
        (rows("busy-server-silent"),
         tests(_COUNT, "test_the_twin_a_server_that_limits_connections_is_not_such_a_network"))),
    Row("cut-hello-punished", "a network punishes cut hellos; with a relay and without",
        (rows("cut-hello-punished"),
         tests(_CUTS, "test_a_site_that_works_is_not_punished_for_one_reset").also("restarts", "slow", "0.5", "2"),
         tests(_CUTS, "test_the_network_is_known_by_two_sites_that_it_punished").also("restarts", "slow", "0.5", "2")),
        (rows("strict", "reset-share"),)),
    Row("hellos-sent", "hellos of 1 to 30 connections, healthy and blocked in six ways",
        (tests(_COUNT, "test_it_is_never_more_than_the_clients_and_one_within_a_second"),)),
    Row("road-hello-count", "hellos to a relay are counted; 3 and 12 hosts, and 30 by HTTP/2",
        (rows("road-hello-count-*"),),
        (rows("road-twelve-hosts"),)),
    Row("freeze-alone-1", "a page that is alone freezes",
        (tests(_FROZEN, "test_a_page_that_freezes_alone_is_ended_and_comes_when_it_is_reloaded",
               "test_a_large_form_that_freezes_is_proven_by_one_that_a_relay_takes").also("restarts", "0.5", "2"),
         tests(_FROZEN, "test_what_a_measurement_proved_is_known_to_the_first_visit").also("restarts", "2")),
        (tests(_FROZEN,
               "test_an_innocent_page_that_stops_alone_goes_on_and_nothing_is_believed").also("restarts", "slow"),
         tests(_FROZEN, "test_a_server_that_takes_no_large_forms_is_innocent",
               "test_after_a_sleep_in_a_lone_download_no_host_is_blamed",
               "test_a_change_of_network_in_a_lone_stall_is_no_freeze").also("restarts", "slow"))),
    Row("freeze-alone-12", "twelve hosts of a provider freeze, at once and in turn",
        (tests(_FROZEN, "test_twelve_hosts_of_a_provider_come_at_the_second_try_and_a_new_one_at_the_first",
               "test_hosts_of_a_provider_in_turn_have_one_witness_and_the_fourth_needs_none"),)),
    Row("allow-list", "only what is domestic answers, with a control page of the country and without",
        (rows("allow-list", "allow-list-abroad"),), (rows("outage-direct"),)),
    Row("allow-list-any", "only what is listed answers, and the rest is stopped in four ways; or port 443 is reset",
        (tests(_LISTS, "test_it_is_called_restricted_within_ten_visits",
               "test_the_advice_is_true_where_the_relay_is_not_listed",
               "test_a_network_that_resets_port_443_is_called_so_until_it_does_not").also("restarts"),),
        (tests(_LISTS, "test_a_router_that_restarts_is_no_restriction",
               "test_an_office_whose_own_proxy_alone_gets_out_over_443").also("restarts", "slow"),)),
    Row("prefixes", "a /16 is blocked, and a CDN is throttled",
        (tests(_PREFIXES, "test_the_fifth_host_of_a_blocked_16_goes_by_the_relay_at_once",
               "test_a_throttled_cdn_is_known_from_its_third_host_on").also("restarts"),),
        (tests(_PREFIXES, "test_a_16_in_which_one_host_works_is_not_given_up").also("restarts"),
         tests(_PREFIXES, "test_a_cdn_that_is_slow_for_everyone_stays_direct").also("restarts", "slow"))),
    Row("two-censors", "two censors, one of which reassembles TCP and one reads records",
        (rows("two-censors", "two-censors-drop", "two-censors-strict*", "no-relay-two-censors*"),), (rows("strict"),)),
    Row("freeze-25", "connections freeze after 25 packets, both ways together; over a strategy as well",
        (rows("freeze-25", "rung-freezes"),),
        (rows("pause", "slow-body", "rung-rests"), tests("lab/test_strategy_stalls.py"))),
    Row("freeze-name", "transfers of a name freeze at an address that brings others", (rows("freeze-name"),),
        (tests("lab/test_frozen_by_name.py"),)),
    Row("cut-later", "connections are cut some seconds after the handshake, by a reset and in silence",
        (rows("cut-later", "cut-later-silence"),), (rows("server-cuts"),)),
    Row("answer-drop", "the answers of a site are dropped by name, with a relay and without",
        (rows("answer-drop*", "no-relay-answer-drop"),),
        (rows("slow-hello-*", "backend-restart", "one-broken", "dead-backend*", "mtu-hole"),)),
    Row("throttle-name-130", "40 to 200 KB/s by name", (replace(rows("throttle-name-130*"), measures_speed=True),),
        (rows("slow-server*", "slow-files", "slow-line"), tests("lab/test_paced_streams.py"))),
    Row("ja4-only", "the hello of one program is dropped, that of a visit or of Byway",
        (tests(_JA4, "test_the_hello_of_the_visits_program_is_filtered",
               "test_the_hello_of_byway_is_filtered").also("restarts"),
         tests(_JA4, "test_a_hello_in_pieces_passes_no_such_censor",
               "test_without_a_kept_hello_it_says_so").also("restarts", "slow"),
         tests(_JA4, "test_answers_to_the_hello_of_the_visits_program_are_dropped",
               "test_what_one_program_cannot_open_is_blocked_until_another_one_has_opened_it").also("restarts")),
        (tests(_JA4, "test_a_server_that_rejects_old_tls_is_no_censor").also("restarts", "slow"),)),
    Row("investigation", "`why` names the cause of ten troubles, innocent ones among them",
        (tests("lab/test_investigation.py"),)),
    Row("ech", "encrypted hellos are dropped by their outer name",
        (tests(_ECH, "test_the_outer_name_is_filtered_and_a_relay_passes_it").also("restarts", "slow"),),
        (tests(_ECH, "test_grease_is_innocent", "test_grease_of_a_blocked_name_is_no_ech",
               "test_an_encrypted_hello_that_nobody_filters_goes_direct").also("restarts", "slow"),)),
    Row("dns-mute", "the resolver leads to a host that never answers, with a relay and without",
        (rows("dns-mute", "dns-mute-no-relay"),), (rows("slow-hello", "slow-cdn", "late-region"),)),
    Row("denied-names", "DNS lies and encrypted DNS is dead, with a relay and without",
        (tests(_DENIED, "test_encrypted_dns_that_is_dead_denies_nothing",
               "test_with_a_relay_the_site_opens_and_the_typo_is_one").also("restarts"),),
        (tests(_DENIED,
               "test_a_typo_beside_a_dead_relay_asks_no_relay_and_a_forged_denial_is_rescued").also(
                   "restarts", "slow"),)),
    Row("host-page", "an unknown block page answers plain HTTP, in two views; lies lead to one",
        (tests(_PAGES, "test_an_unknown_page_comes_right_on_the_second_visit_of_any_second_site",
               "test_a_strategy_is_taken_where_it_brings_what_the_relay_brings").also("restarts", "slow"),
         tests(_PAGES, "test_so_does_the_page_of_an_address_to_which_lies_lead").also("restarts"),
         tests(_PAGES, "test_what_why_finds_to_differ_comes_right_on_the_second_visit").also("restarts", "slow")),
        (tests(_PAGES, "test_innocent_pages_stay_direct", "test_trackers_that_answer_queries_alike_stay_direct",
               "test_a_server_that_reads_host_by_case_shows_its_visitors_their_site",
               "test_ordinary_sites_are_asked_once_each").also("restarts", "slow"),
         tests(_PAGES, "test_a_portal_that_lets_its_guest_in_meanwhile_leaves_nothing").also("restarts", "slow"))),
    Row("portal", "three styles of captive portals", (tests(_PORTALS, "test_a_portal_is_called_that_everywhere"),),
        (tests(_PORTALS, "test_after_the_login_the_portal_is_over"),)),
    Row("wrong-clock", "this computer's clock is 400 days ahead; its twin is one site that has expired",
        (tests("lab/test_wrong_clock.py"),)),
    Row("relay-vanishes", "a relay vanishes in a download",
        (tests(_VANISHES, "test_a_download_through_it_is_ended_and_comes_by_another_relay"),
         tests(_VANISHES, "test_a_download_through_the_only_relay_is_ended")),
        (tests(_VANISHES, "test_a_relay_that_lives_is_not_left"),)),
    Row("relay-11-s", "a relay takes 11 s to open, to greet, or for its TLS",
        (rows("relay-slow-circuit", "relay-slow-greeting", "relay-slow-tls"),)),
    Row("uncompared", "sites that direct does not open, where no relay tells why",
        (tests(_UNCOMPARED, "test_without_a_relay_a_block_and_a_fault_look_the_same"),),
        (tests(_UNCOMPARED, "test_a_dead_relay_is_at_fault_and_not_the_site"),)),
    Row("socks-filtered", "SOCKS is dropped, or only TLS and HTTP pass; its twins are other servers, and none",
        (tests("lab/test_socks_filtered.py"),)),
    Row("home-network", "no relay hears of the home network; a rule sends it there",
        (tests("lab/test_home_network.py", "test_no_relay_hears_of_the_home_network"),),
        (tests("lab/test_home_network.py",
               "test_the_control_a_rule_sends_them_to_a_relay_and_others_are_rescued"),)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """A part of `--acceptance`: all rows that run under some conditions."""

    name: str
    seeds: int
    conditions: Conditions = USUAL
    busy: int = 0  # loops beside it


ACCEPTANCE: tuple[Part, ...] = (
    Part("usual", 20),
    Part("busy", 5, busy=2),
    Part("restarts", 5, Conditions(relay=RelayQuality.RESTARTS)),
    Part("slow", 5, Conditions(relay=RelayQuality.SLOW)),
    Part("half", 5, Conditions(scale=0.5)),
    Part("twice", 5, Conditions(scale=2.0)),
)

Made = Callable[[Row, Job, int], Awaitable[Run]]


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    names = [part.name for part in ACCEPTANCE] if asked.acceptance else asked.part or []
    parts = [part for part in ACCEPTANCE if part.name in names]
    if not parts:
        parts = [Part("", asked.seeds, Conditions.of(asked), asked.busy)]
    rows_of = {part: chosen(asked.only, part.conditions) for part in parts}
    if asked.list:
        for row in rows_of[parts[0]]:
            print(f"{row.name:<18}{row.what}")
        return 0
    if not any(rows_of.values()):
        print("no row is called so; --list shows them all", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # its processes end with it
    began = time.monotonic()
    kept = asked.keep or Path(tempfile.mkdtemp(prefix="byway-repeat-"))
    runs_of: dict[Part, list[Run]] = {}
    for part in parts:
        runs_of[part] = _runs(part, rows_of[part], kept / part.name, at_once=asked.at_once, limit_s=asked.limit)
        print(f"{part.name}\n{table(rows_of[part], runs_of[part])}".lstrip(), flush=True)
    if len(parts) > 1:
        print(f"\n{summary(runs_of)}")
    runs = [one for of_part in runs_of.values() for one in of_part]
    failed = [one for one in runs if one.failure]
    print(f"{len(runs) - len(failed)} of {len(runs)} runs passed in {time.monotonic() - began:.0f} s")
    if failed:
        print(f"what the others said: {kept}")
    elif len(parts) > 1:
        with contextlib.suppress(OSError):
            kept.rmdir()
    return BROKEN if failed else 0


def _runs(part: Part, table_rows: Sequence[Row], kept: Path, *, at_once: int, limit_s: float | None) -> list[Run]:
    """Runs the rows of a part. What failed runs said is in `kept`."""
    kept.mkdir(parents=True, exist_ok=True)

    async def make(row: Row, job: Job, seed: int) -> Run:
        limit = job.limit_s(part.conditions) if limit_s is None else limit_s
        return await process(row, job, seed, kept=kept, limit_s=limit, conditions=part.conditions)

    with busy_loops(part.busy):
        made = asyncio.run(run(table_rows, part.seeds, at_once=at_once, make=make, told=_tell))
    with contextlib.suppress(OSError):  # one that was given may hold other things
        kept.rmdir()
    return made


def chosen(patterns: Sequence[str], conditions: Conditions) -> list[Row]:
    """Returns the rows whose name matches one of the patterns, all without any; each with the jobs that run under these
    conditions."""
    named = [row for row in ROWS if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]

    def under(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
        return tuple(job for job in jobs if job.runs_under(conditions))

    limited = [replace(row, jobs=under(row.jobs), twins=under(row.twins)) for row in named]
    return [row for row in limited if row.jobs or row.twins]


async def run(
    table_rows: Sequence[Row], seeds: int, *, at_once: int, make: Made, told: Callable[[str], None]
) -> list[Run]:
    """Runs all jobs of the rows with the seeds from 1 on, `at_once` beside each other; first those that measure a
    speed. `told` is called with a line when one has ended."""
    runs = list[Run]()
    jobs = [(row, job) for row in table_rows for job in (*row.jobs, *row.twins)]

    async def one(row: Row, job: Job, seed: int, room: asyncio.Semaphore) -> None:
        async with room:
            made = await make(row, job, seed)
        runs.append(made)
        told(f"{len(runs)} of {len(jobs) * seeds}: {row.name} {seed}, {made.took_s:.0f} s {made.failure}".rstrip())

    for speed, places in ((True, min(at_once, os.cpu_count() or 1)), (False, at_once)):
        room = asyncio.Semaphore(places)
        async with asyncio.TaskGroup() as all_of_them:
            for seed in range(1, seeds + 1):
                for row, job in jobs:
                    if job.measures_speed is speed:
                        all_of_them.create_task(one(row, job, seed, room))
    return runs


async def process(row: Row, job: Job, seed: int, *, kept: Path, limit_s: float, conditions: Conditions) -> Run:
    """Runs the job in a process of its own. A file keeps its output when it fails."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="byway-", ignore_cleanup_errors=True) as folder:
        said = Path(folder) / "said.txt"
        with said.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *job.command(Path(folder), conditions),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=_ROOT,
                env={**os.environ, SEED: str(seed), IN_FORCE: " ".join(conditions.words) if job.is_test else ""},
                start_new_session=True,  # so that it can be ended with all that it started
            )
            late = False
            try:
                await asyncio.wait_for(process.wait(), limit_s)
            except TimeoutError:
                late = True
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        text = said.read_text(errors="replace")
    failure = f"took longer than {limit_s:g} s" if late else job.sentence(text) if process.returncode else ""
    if failure:
        name = f"{row.name}-{seed}-{(*row.jobs, *row.twins).index(job)}.txt"
        (kept / name).write_text(f"{' '.join(job.what)}, seed {seed}: {failure}\n\n{text}")
    return Run(row.name, job, seed, job in row.twins, time.monotonic() - began, failure)


def table(table_rows: Sequence[Row], runs: Sequence[Run]) -> str:
    """Returns the table for a person: one line for each row, and below it the first failure. A seed has passed when all
    of its jobs have."""
    head = f"{'row':<20}{'passed':>9}{'twins':>9}{'slowest s':>11}"
    lines = [head, "-" * len(head)]
    for row in table_rows:
        those = [one for one in runs if one.row == row.name]
        passed, twins = (_passed([one for one in those if one.is_twin is is_twin]) for is_twin in (False, True))
        slowest = max((one.took_s for one in those), default=0.0)
        lines.append(f"{row.name:<20}{passed:>9}{twins:>9}{slowest:>11.0f}")
        if failed := sorted((one for one in those if one.failure), key=lambda one: one.seed):
            first = failed[0]
            lines.append(f"    {'twin, ' if first.is_twin else ''}seed {first.seed}: {first.failure}")
    return "\n".join(lines)


def summary(runs_of: Mapping[Part, Sequence[Run]]) -> str:
    """Returns one table of all parts for a person: of each row the seeds that passed, twins included."""
    width = 10
    lines = [f"{'row':<20}" + "".join(f"{part.name:>{width}}" for part in runs_of)]
    lines.append("-" * len(lines[0]))
    for name in dict.fromkeys(one.row for runs in runs_of.values() for one in runs):
        cells = (_passed([one for one in runs if one.row == name]) for runs in runs_of.values())
        lines.append(f"{name:<20}" + "".join(f"{cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def _passed(runs: Sequence[Run]) -> str:
    """Returns the count of passed seeds, as text; "-" where there is nothing to run."""
    seeds, failed = {one.seed for one in runs}, {one.seed for one in runs if one.failure}
    return f"{len(seeds - failed)}/{len(seeds)}" if seeds else "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.repeat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("only", nargs="*", metavar="NAME", help="rows to run, `*` for any letters; all without")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument(
        "--acceptance", action="store_true", help="run all parts of the acceptance, with their seeds and conditions"
    )
    parser.add_argument(
        "--part", action="append", choices=[part.name for part in ACCEPTANCE], help="run this part of the acceptance"
    )
    parser.add_argument("--at-once", type=int, default=4, metavar="N", help="processes at once (default 4)")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="run beside N busy loops")
    add_options(parser)
    parser.add_argument(
        "--limit", type=float, metavar="S", help=f"of a process (default {LIMIT_S:g}, more where visits take longer)"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for what failed runs said (default: a new folder)")
    parser.add_argument("--list", action="store_true", help="show the rows and end")
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
