"""Which devices may use Byway, by a clock that tests set."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from proxy.features.lan.admission import GUESTS_MAX, WAIT_S, WAITING_MAX, Admission, Client, Entry, NotAllowed


def device(number: int, hardware: int | None = None) -> Client:
    return Client(IPv4Address(f"192.168.7.{number}"), f"{0x020000000000 + (hardware or number):012x}")


PHONE, OTHER = device(10), device(11)
TAKEN = Client(PHONE.address, OTHER.hardware)
"""Another device with the address of PHONE."""
MOVED = Client(OTHER.address, PHONE.hardware)
"""PHONE with another address."""


def admitted(*clients: Client) -> Admission:
    admission = Admission()
    for client in clients:
        admission.knock(client, 0.0)
        admission.allow(client.address, client.hardware, 0.0)
    return admission


def test_a_device_waits_for_the_user_and_is_admitted_as_both_halves() -> None:
    admission = Admission()
    assert [admission.knock(PHONE, at) for at in (0.0, 1.0)] == [Entry.WAITS] * 2
    assert admission.waiting == {PHONE: 0.0}
    assert admission.allow(PHONE.address, PHONE.hardware, 2.0) == PHONE
    assert admission.knock(PHONE, 3.0) is Entry.GUEST
    assert not admission.waiting
    for other in (TAKEN, MOVED, OTHER):
        assert admission.knock(other, 3.0) is Entry.WAITS, other


def test_a_question_ends_after_its_time_and_may_be_asked_again() -> None:
    admission = Admission()
    admission.knock(PHONE, 0.0)
    admission.knock(PHONE, WAIT_S - 1)  # a second connection makes it no younger
    admission.expire(WAIT_S - 0.1)
    assert admission.waiting
    admission.expire(WAIT_S)
    assert not admission.waiting
    assert admission.knock(PHONE, WAIT_S + 1) is Entry.WAITS


def test_an_answer_is_about_the_device_that_the_question_named() -> None:
    admission = Admission()
    admission.knock(PHONE, 0.0)
    admission.expire(WAIT_S)
    admission.knock(TAKEN, WAIT_S)  # takes the address while the user reads the question
    with pytest.raises(NotAllowed):
        admission.allow(PHONE.address, PHONE.hardware, WAIT_S)
    assert not admission.guests


def test_an_address_that_two_devices_claim_is_not_enough() -> None:
    admission = Admission()
    admission.knock(PHONE, 0.0)
    admission.knock(TAKEN, 0.0)
    with pytest.raises(NotAllowed, match=PHONE.hardware_text):
        admission.allow(PHONE.address, "", 0.0)
    assert not admission.guests
    assert not admission.expected
    assert admission.allow(PHONE.address, PHONE.hardware, 0.0) == PHONE
    assert admission.knock(TAKEN, 0.0) is Entry.WAITS


def test_a_ninth_device_is_refused_without_a_question() -> None:
    admission = Admission()
    devices = [device(number) for number in range(20, 20 + WAITING_MAX + 1)]
    assert [admission.knock(each, 0.0) for each in devices] == [Entry.WAITS] * WAITING_MAX + [Entry.REFUSED]
    admission.deny(devices[0].address)
    assert admission.knock(devices[-1], 0.0) is Entry.WAITS


def test_a_seventeenth_guest_is_refused_and_costs_no_other_its_place() -> None:
    guests = [device(number) for number in range(20, 20 + GUESTS_MAX)]
    admission = admitted(*guests)
    assert admission.knock(PHONE, 0.0) is Entry.REFUSED
    assert not admission.waiting
    with pytest.raises(NotAllowed, match="16"):
        admission.allow(PHONE.address, "", 0.0)
    assert [admission.knock(each, 0.0) for each in guests] == [Entry.GUEST] * GUESTS_MAX
    assert admission.remove(guests[0].address)
    assert admission.knock(PHONE, 0.0) is Entry.WAITS


def test_a_question_of_before_the_last_place_was_taken_admits_no_seventeenth() -> None:
    admission = admitted(*(device(number) for number in range(20, 20 + GUESTS_MAX - 1)))
    admission.knock(PHONE, 0.0)
    admission.knock(OTHER, 0.0)
    admission.allow(OTHER.address, OTHER.hardware, 0.0)
    with pytest.raises(NotAllowed):
        admission.allow(PHONE.address, PHONE.hardware, 0.0)
    assert len(admission.guests) == GUESTS_MAX


def test_an_expected_address_admits_the_first_device_alone() -> None:
    admission = Admission()
    assert admission.allow(PHONE.address, "", 0.0) is None
    assert admission.knock(PHONE, 1.0) is Entry.GUEST
    assert admission.knock(TAKEN, 2.0) is Entry.WAITS
    assert admission.knock(PHONE, 3.0) is Entry.GUEST


def test_a_denied_device_is_not_asked_about_again_until_the_user_allows_it() -> None:
    admission = Admission()
    admission.knock(PHONE, 0.0)
    admission.deny(PHONE.address, PHONE.hardware)
    assert admission.knock(PHONE, 1.0) is Entry.REFUSED
    assert not admission.waiting
    assert admission.allow(PHONE.address, "", 2.0) is None
    assert admission.knock(PHONE, 3.0) is Entry.GUEST


def test_a_denial_names_one_of_two_devices() -> None:
    admission = Admission()
    admission.knock(PHONE, 0.0)
    admission.knock(TAKEN, 0.0)
    admission.deny(TAKEN.address, TAKEN.hardware)
    assert [*admission.waiting] == [PHONE]


def test_a_guest_whose_address_another_device_takes_is_a_guest_no_more() -> None:
    admission = admitted(PHONE, OTHER)
    assert admission.displaced({OTHER.address: OTHER.hardware}) == []  # PHONE is silent
    assert admission.displaced({PHONE.address: OTHER.hardware, OTHER.address: OTHER.hardware}) == [PHONE]
    assert admission.knock(PHONE, 1.0) is Entry.WAITS  # asked again, also when it is back
    assert admission.knock(OTHER, 1.0) is Entry.GUEST


def test_a_device_without_a_hardware_address_is_refused() -> None:
    admission = Admission()
    admission.allow(PHONE.address, "", 0.0)
    assert admission.knock(Client(PHONE.address, ""), 0.0) is Entry.REFUSED
    assert admission.knock(PHONE, 0.0) is Entry.GUEST
