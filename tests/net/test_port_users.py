"""Which programs used the port: by their files, bounded, the newest first."""

from __future__ import annotations

from dataclasses import replace

from proxy.net.client_programs import USERS_MAX, PortUsers
from proxy.net.named_programs import Holder

SPY = Holder("/home/user/spy", 1, 1, 1000, 0o755, 1, is_deleted=False)
BROWSER = Holder("/usr/lib/firefox-esr/firefox-esr", 1, 2, 0, 0o755, 1, is_deleted=False)


def test_each_file_is_a_program_also_under_the_path_of_another_one() -> None:
    users = PortUsers()
    copy = replace(SPY, path=BROWSER.path)
    for holders, at in (((BROWSER,), 1.0), ((copy,), 2.0), ((BROWSER, SPY), 3.0), (None, 4.0), ((), 5.0), ((), 6.0)):
        users.note(holders, at)
    assert [(each.program, each.is_elsewhere, each.connections, each.last_at) for each in users.newest_first()] == [
        (None, True, 2, 6.0),
        (None, False, 1, 4.0),
        (SPY, False, 1, 3.0),
        (BROWSER, False, 2, 3.0),
        (copy, False, 1, 2.0),
    ]
    (elsewhere, *_) = users.newest_first()
    assert users.find(elsewhere.id) is elsewhere
    assert users.find("") is None
    users.clear()
    assert not users.newest_first()


def test_a_program_that_copies_itself_fills_no_memory() -> None:
    users = PortUsers()
    for number in range(2 * USERS_MAX):
        users.note((replace(SPY, inode=number),), float(number))
    assert len(users.newest_first()) == USERS_MAX
