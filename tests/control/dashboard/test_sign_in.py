"""Codes and sessions, by a clock that tests set."""

from __future__ import annotations

import re

import pytest

from proxy.control.access import Refused
from proxy.control.dashboard.guard import check_fresh
from proxy.control.dashboard.sign_in import CODE_S, FRESH_S, IDLE_S, SESSIONS_MAX, Session, SignIn


def begin(sign_in: SignIn, now: float = 0.0) -> Session:
    code = sign_in.redeem(sign_in.new_code("", now).text, now)
    assert code is not None
    assert code.session is not None
    return code.session


def test_a_code_begins_one_session() -> None:
    sign_in = SignIn()
    code = sign_in.new_code("sites", 0.0)
    assert re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}", code.text), code.text
    assert not code.used.is_set()
    redeemed = sign_in.redeem(code.text, 1.0)
    assert redeemed is code
    assert code.used.is_set()
    session = code.session
    assert session is not None
    assert re.fullmatch(r"/s/[0-9a-f]{32}/", session.path)
    assert sign_in.session(session.secret, session.cookie, 2.0) is session


def test_no_two_are_alike() -> None:
    sign_in = SignIn()
    sessions = [begin(sign_in) for _ in range(8)]
    for name in ("secret", "cookie", "form_token"):
        assert len({getattr(session, name) for session in sessions}) == 8
    assert len({sign_in.new_code("", 0.0).text for _ in range(8)}) == 8


def test_a_code_is_valid_for_a_minute() -> None:
    sign_in = SignIn()
    early, late = sign_in.new_code("", 0.0), sign_in.new_code("", 0.0)
    assert sign_in.redeem(early.text, CODE_S - 0.1) is early
    assert sign_in.redeem(late.text, CODE_S) is None


def test_a_code_is_read_as_people_type_it() -> None:
    for _ in range(32):
        sign_in = SignIn()
        code = sign_in.new_code("", 0.0)
        typed = f" {code.text.lower().replace('-', ' ').replace('0', 'o').replace('1', 'l')}\t"
        assert sign_in.redeem(typed.strip("\t"), 0.0) is code


def test_a_wrong_code_begins_nothing() -> None:
    sign_in = SignIn()
    code = sign_in.new_code("", 0.0)
    for wrong in ("", "0", code.text[:-1], code.text + "0", "\udcff", "пароль"):
        assert sign_in.redeem(wrong, 0.0) is None
    assert sign_in.redeem(code.text, 0.0) is code


def test_a_code_that_comes_twice_ends_the_session_of_whoever_was_first() -> None:
    sign_in = SignIn()
    code = sign_in.new_code("", 0.0)
    sign_in.redeem(code.text, 1.0)
    session = code.session
    assert session is not None
    assert sign_in.redeem(code.text, 2.0) is None
    assert sign_in.session(session.secret, session.cookie, 3.0) is None


def test_path_and_cookie_have_to_be_of_one_session() -> None:
    sign_in = SignIn()
    one, other = begin(sign_in), begin(sign_in)
    assert sign_in.session(one.secret, other.cookie, 0.0) is None
    assert sign_in.session(one.secret, "", 0.0) is None
    assert sign_in.session(one.secret, "ключ", 0.0) is None
    assert sign_in.session("0" * 32, one.cookie, 0.0) is None
    assert sign_in.session(one.secret, one.cookie, 0.0) is one


def test_a_session_ends_when_it_is_not_used() -> None:
    sign_in = SignIn()
    session = begin(sign_in)
    assert sign_in.session(session.secret, session.cookie, IDLE_S) is session
    assert sign_in.session(session.secret, session.cookie, 2 * IDLE_S) is session
    assert sign_in.session(session.secret, session.cookie, 3 * IDLE_S + 1) is None
    assert sign_in.session(session.secret, session.cookie, 3 * IDLE_S + 2) is None


def test_a_session_is_fresh_for_minutes_after_its_code_however_much_it_is_used() -> None:
    sign_in = SignIn()
    session = begin(sign_in, 100.0)
    assert session.is_fresh(100.0 + FRESH_S - 0.1)
    assert sign_in.session(session.secret, session.cookie, 100.0 + FRESH_S - 0.1) is session
    assert not session.is_fresh(100.0 + FRESH_S)
    with pytest.raises(Refused) as refused:
        check_fresh(session, 100.0 + FRESH_S)
    assert refused.value.status == 403
    check_fresh(begin(sign_in, 100.0 + FRESH_S), 100.0 + FRESH_S)


def test_signing_out_ends_one_session() -> None:
    sign_in = SignIn()
    one, other = begin(sign_in), begin(sign_in)
    sign_in.sign_out(one)
    sign_in.sign_out(one)
    assert sign_in.session(one.secret, one.cookie, 0.0) is None
    assert sign_in.session(other.secret, other.cookie, 0.0) is other


def test_the_session_that_was_used_longest_ago_gives_way() -> None:
    sign_in = SignIn()
    sessions = [begin(sign_in) for _ in range(SESSIONS_MAX)]
    first, second = sessions[:2]
    assert sign_in.session(first.secret, first.cookie, 1.0) is first
    begin(sign_in, 2.0)
    assert sign_in.session(first.secret, first.cookie, 3.0) is first
    assert sign_in.session(second.secret, second.cookie, 3.0) is None


def test_of_too_many_codes_the_oldest_ends() -> None:
    sign_in = SignIn()
    codes = [sign_in.new_code("", 0.0) for _ in range(17)]
    assert sign_in.redeem(codes[0].text, 0.0) is None
    assert sign_in.redeem(codes[1].text, 0.0) is codes[1]
