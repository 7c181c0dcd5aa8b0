"""The Jalali calendar, compared with what is published about it for 1900 to 2100."""

from __future__ import annotations

from datetime import date, timedelta

from proxy.languages.jalali import jalali
from tests.support.rows import each_row

FIRST, LAST = 1900, 2100

NEW_YEARS = (
    "1122112211221122112211221122111211121112111211121112111211121111111111111111111111111111111111110111"
    "01110111011101110111011101110011001100110011001100110011001100010001000100010001000100010001000000001"
)
"""The day of March, less 20, on which the Jalali year begins, for each Gregorian year from FIRST to LAST: of ICU 78."""

LEAP_YEARS = frozenset({
    1280, 1284, 1288, 1292, 1296, 1300, 1304, 1309, 1313, 1317, 1321, 1325, 1329, 1333, 1337, 1342, 1346, 1350, 1354,
    1358, 1362, 1366, 1370, 1375, 1379, 1383, 1387, 1391, 1395, 1399, 1403, 1408, 1412, 1416, 1420, 1424, 1428, 1432,
    1436, 1441, 1445, 1449, 1453, 1457, 1461, 1465, 1469, 1474, 1478,
})  # fmt: skip
"""The leap years of those years, as the Calendar Center of the University of Tehran lists them."""


@each_row(
    ("day", "expected"),
    [(date(1900, 1, 1), (1278, 10, 11)), (date(1906, 8, 5), (1285, 5, 13)), (date(1979, 2, 11), (1357, 11, 22)),
     (date(1979, 4, 1), (1358, 1, 12)), (date(2000, 1, 1), (1378, 10, 11)), (date(2021, 3, 20), (1399, 12, 30)),
     (date(2021, 3, 21), (1400, 1, 1)), (date(2024, 3, 19), (1402, 12, 29)), (date(2024, 3, 20), (1403, 1, 1)),
     (date(2025, 3, 20), (1403, 12, 30)), (date(2025, 3, 21), (1404, 1, 1)), (date(2100, 12, 31), (1479, 10, 10))],
)  # fmt: skip
def test_known_dates(day: date, expected: tuple[int, int, int]) -> None:
    assert jalali(day) == expected


def test_every_day_from_1900_to_2100_follows_the_one_before_it() -> None:
    assert len(NEW_YEARS) == LAST - FIRST + 1
    begins = {date(FIRST + place, 3, 20 + int(digit)) for place, digit in enumerate(NEW_YEARS)}
    day = date(FIRST, 1, 1)
    year, month, place = jalali(day)
    while day < date(LAST, 12, 31):
        day += timedelta(days=1)
        lengths = [31] * 6 + [30] * 5 + [30 if year in LEAP_YEARS else 29]
        if place < lengths[month - 1]:
            place += 1
        else:
            year, month, place = (year, month + 1, 1) if month < 12 else (year + 1, 1, 1)
        assert jalali(day) == (year, month, place)
        assert (day in begins) is ((month, place) == (1, 1))
