"""Which worker runs which test file, and when: slow files first, and the lab's computing files one at a time.

pytest-xdist starts the files with the most tests first. Here those that take longest start first, so that no worker is
left alone with a long file at the end. Files that compute in the lab's country take the processor that another lab
needs to keep its times, so one worker runs them as long as there are any, and the others run the rest beside it. The
third worker runs only files that mostly wait: for real clocks, and for programs to start. Two cores carry it beside two
workers that compute.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

WAITER = "gw2"
"""The worker for what waits."""

HEAVY = (
    "tests/e2e/test_browser.py",
    "tests/e2e/test_dashboard.py",
    "tests/e2e/test_dashboard_tasks.py",
    "tests/e2e/test_hostile_page.py",
    "tests/e2e/test_load.py",
    "tests/lab/test_first_minute.py",
    "tests/lab/test_leaks.py",
    "tests/lab/test_one_state.py",
    "tests/lab/test_ready_browser.py",
    "tests/lab/test_relay_faults.py",
    "tests/lab/test_relay_groups.py",
    "tests/lab/test_relay_roads.py",
    "tests/lab/test_scenarios.py",
    "tests/lab/test_system_proxy.py",
    "tests/lab/test_verdicts.py",
    "tests/lab/test_why.py",
)
"""What begins with one of these runs beside no other such file: labs whose times count, and whole browsers."""

WAITING = (
    "tests/app/test_app.py",
    "tests/app/test_process.py",
    "tests/app/test_process_ends.py",
    "tests/e2e/test_addons_shipped.py",
    "tests/e2e/test_dashboard_updates.py",
    "tests/e2e/test_edits_in_use.py",
    "tests/e2e/test_home_network.py",
    "tests/e2e/test_relays.py",
    "tests/e2e/test_relays_dead.py",
    "tests/e2e/test_reload.py",
    "tests/e2e/test_resend.py",
    "tests/e2e/test_travelling.py",
    "tests/lab/test_country.py",
    "tests/lab/test_denied_names.py",
    "tests/lab/test_freeze.py",
    "tests/lab/test_frozen_alone.py",
    "tests/lab/test_healthy.py",
    "tests/lab/test_hello_count.py",
    "tests/lab/test_inner.py",
    "tests/lab/test_interception.py",
    "tests/lab/test_ladder_alone.py",
    "tests/lab/test_main.py",
    "tests/lab/test_networks.py",
    "tests/lab/test_portals.py",
    "tests/lab/test_relay_vanishes.py",
    "tests/lab/test_repeat.py",
    "tests/lab/test_resolver_fails.py",
    "tests/lab/test_router.py",
    "tests/lab/test_seventh_of_october.py",
    "tests/lab/test_socks_filtered.py",
    "tests/lab/test_spaces.py",
    "tests/lab/test_uncompared.py",
    "tests/lab/test_wrong_clock.py",
    "tests/support/test_hanging.py",
)
"""What uses less than a third of a core."""

SECONDS = {
    "tests/lab/test_portals.py": 165,
    "tests/lab/test_frozen_alone.py": 145,
    "tests/regular_expressions/test_regular_expressions.py": 120,
    "tests/e2e/test_browser.py": 115,
    "tests/lab/test_hello_count.py": 115,
    "tests/lab/test_relay_vanishes.py": 280,
    "tests/lab/test_one_state.py": 90,
    "tests/lab/test_resolver_fails.py": 90,
    "tests/lab/test_wrong_clock.py": 85,
    "tests/lab/test_networks.py": 83,
    "tests/lab/test_why.py": 81,
    "tests/e2e/test_edits_in_use.py": 80,
    "tests/lab/test_verdicts.py": 70,
    "tests/e2e/test_dashboard.py": 60,
    "tests/lab/test_relay_roads.py": 60,
    "tests/e2e/test_dashboard_updates.py": 55,
    "tests/lab/test_ready_browser.py": 55,
    "tests/lab/test_relay_faults.py": 52,
    "tests/lab/test_leaks.py": 48,
    "tests/whole/test_fuzzing.py": 40,
    "tests/lab/test_uncompared.py": 40,
    "tests/e2e/test_home_network.py": 35,
    "tests/lab/test_denied_names.py": 35,
    "tests/lab/test_system_proxy.py": 33,
    "tests/app/test_process_ends.py": 32,
    "tests/lab/test_scenarios.py": 32,
    "tests/lab/test_socks_filtered.py": 31,
    "tests/e2e/test_hostile_page.py": 30,
    "tests/lab/test_seventh_of_october.py": 28,
    "tests/e2e/test_attacks.py": 23,
    "tests/lab/test_healthy.py": 20,
    "tests/lab/test_freeze.py": 17,
    "tests/support/test_hanging.py": 16,
    "tests/bench/test_run.py": 15,
    "tests/e2e/test_dashboard_tasks.py": 15,
    "tests/e2e/test_own_pages.py": 15,
    "tests/lab/test_interception.py": 15,
    "tests/e2e/test_crash.py": 12,
    "tests/e2e/test_resend.py": 12,
    "tests/lab/test_repeat.py": 12,
    "tests/e2e/test_addon_edits.py": 11,
    "tests/e2e/test_addon_faults.py": 11,
    "tests/e2e/test_addons.py": 11,
    "tests/e2e/test_relays_failing.py": 11,
    "tests/lab/test_inner.py": 11,
    "tests/lab/test_ladder_alone.py": 11,
    "tests/control/test_pac.py": 10,
    "tests/e2e/test_load.py": 10,
    "tests/bench/test_bench.py": 9,
    "tests/e2e/test_clients.py": 8,
    "tests/e2e/test_damaged_log.py": 8,
    "tests/e2e/test_faults_tunnels.py": 8,
    "tests/e2e/test_relays_dead.py": 8,
    "tests/e2e/test_travelling.py": 8,
}
"""Roughly, of the files that take long; the others count as none. `make test ARGS=--durations=80` shows them anew."""


class SlowFirst(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Hands out one file at a time, as `--dist loadfile` does, in another order."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Ends a worker for which there is nothing: what is left then is run by another one."""
        allowed = [file for file in self.workqueue if not _is_heavy(file) or not self._run_elsewhere(node)]
        if node.gateway.id == WAITER:
            allowed = [file for file in allowed if file.startswith(WAITING)]
        if not allowed:
            node.shutdown()
            return
        has_waiter = len(self.nodes) > 2
        first = max(
            allowed,
            key=lambda file: (
                _is_heavy(file),
                not (has_waiter and file.startswith(WAITING)),  # they are left to that worker as long as possible
                SECONDS.get(file, 0),
                len(self.workqueue[file]),
            ),
        )
        self.workqueue.move_to_end(first, last=False)
        super()._assign_work_unit(node)

    def _run_elsewhere(self, node: WorkerController) -> bool:
        """Whether another worker has a heavy file that it has not ended."""
        return any(
            _is_heavy(file) and not all(unit.values())
            for other, units in self.assigned_work.items()
            if other is not node
            for file, unit in units.items()
        )


def _is_heavy(file: str) -> bool:
    return file.startswith(HEAVY)
