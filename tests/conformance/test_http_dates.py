"""RFC 9110, section 5.6.7: the three forms of an HTTP date, and what is none, in `Retry-After` and `Date`."""

from __future__ import annotations

import pytest

from sleepwalker.engine.retry_after import asked_wait, parse_retry_after

#: Sun, 06 Nov 1994 08:49:37 GMT.
THEN = 784_111_777.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", THEN),
        ("Sunday, 06-Nov-94 08:49:37 GMT", THEN),
        ("Sun Nov  6 08:49:37 1994", THEN),
        ("Sat, 29 Feb 2020 23:59:59 GMT", 1_583_020_799.0),
        ("Saturday, 29-Feb-20 23:59:59 GMT", 1_583_020_799.0),
        ("Sat Feb 29 23:59:59 2020", 1_583_020_799.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799.0),
    ],
)
def test_a_date_is_read_in_each_of_its_three_forms(text: str, moment: float) -> None:
    assert parse_retry_after(text, moment - 30) == 30.0
    assert parse_retry_after(text, moment + 30) == 0.0
    headers = {"Date": text, "Retry-After": text}
    assert asked_wait(503, headers.get, lambda: moment - 1000) == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "Sun",
        "Sun, 06 Nov",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sat, 29 Feb 2019 00:00:00 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 32 Nov 1994 08:49:37 GMT",
        "Sun, 06 Foo 1994 08:49:37 GMT",
        "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 1994 -8:49:37 GMT",
        "1994-11-06T08:49:37Z",
        "06/11/1994",
        "-1",
        "+1",
        "1e3",
        "0x10",
        "½",
        "٣",
        "Infinity",
        "NaN",
        "1 2",
    ],
)
def test_what_is_no_date_and_no_number_asks_for_nothing(text: str) -> None:
    assert parse_retry_after(text, THEN - 30) is None
