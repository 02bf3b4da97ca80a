"""The quorum of a fleet: who can open a host's circuit for all, who cannot, and when."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sleepwalker.fleet.verdicts import Quorum, Tally
from tests.ranges import some

#: Its rules are ours alone: no release of Python or of a library tells them apart.
pytestmark = pytest.mark.once

many_examples = settings(max_examples=some(40, 200), deadline=None)

COUNTS = st.integers(0, 400)
SHARES = st.one_of(st.sampled_from([0.3, 0.5, 1 / 3, 2 / 3, 0.7, 0.9, 1.0]), st.floats(0.01, 1.0))
QUORUMS = st.builds(
    Quorum, share=SHARES, min_reporters=st.integers(1, 12), hearing=st.sampled_from([0.0, 0.3, 0.5, 5.0])
)
SINCE, BEGAN = 1_800_000_000.0, 1_799_999_996.0


def tally(broken: int, fine: int, failing: int = 0, *, lasted: float = 4.0) -> Tally:
    accused = broken + failing > 0
    since, began = (SINCE, SINCE - lasted) if accused else (math.inf, math.inf)
    return Tally(broken=broken, fine=fine, failing=failing, since=since, began=began)


TALLIES = st.builds(tally, COUNTS, COUNTS, COUNTS, lasted=st.sampled_from([0.0, 0.4, 4.0]))


def decides(quorum: Quorum, said: Tally) -> bool:
    """Whether the workers, as they stand, ever make a verdict."""
    return quorum.decides_at(said) < math.inf


# Who cannot


@many_examples
@given(QUORUMS, st.integers(0, 11), st.integers(0, 11), COUNTS)
def test_fewer_accusers_than_the_least_number_never_decide(
    quorum: Quorum, broken: int, failing: int, fine: int
) -> None:
    quorum = replace(quorum, min_reporters=broken + failing + 1)
    assert not decides(quorum, tally(broken, fine, failing))


@many_examples
@given(QUORUMS, COUNTS)
def test_a_host_that_nobody_accuses_is_broken_for_nobody(quorum: Quorum, fine: int) -> None:
    said = tally(0, fine)
    assert quorum.decides_at(said) == math.inf
    assert not quorum.is_broken(said, 1e12)


@pytest.mark.parametrize(("broken", "failing"), [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2)])
def test_one_or_two_of_24_whose_network_is_cut_blind_nobody(broken: int, failing: int) -> None:
    assert not decides(Quorum(), tally(broken, 24 - broken - failing, failing))


@many_examples
@given(QUORUMS, COUNTS, st.integers(1, 400), COUNTS)
def test_no_more_than_the_share_never_decides_where_one_is_answered(
    quorum: Quorum, broken: int, fine: int, failing: int
) -> None:
    """By exact arithmetic, a hair below the share at least."""
    if Fraction(broken, broken + fine) <= Fraction(quorum.share) - Fraction(1, 10**5):
        assert not decides(quorum, tally(broken, fine, failing))


@many_examples
@given(QUORUMS, st.integers(1, 400), COUNTS)
def test_attempts_that_fail_for_a_moment_decide_nothing_where_one_is_answered(
    quorum: Quorum, fine: int, failing: int
) -> None:
    assert not decides(quorum, tally(0, fine, failing))


def test_one_worker_alone_decides_nothing() -> None:
    assert not decides(Quorum(), tally(1, 0))


# Who can


@many_examples
@given(QUORUMS, st.integers(1, 400))
def test_all_that_report_decide_when_they_are_enough(quorum: Quorum, broken: int) -> None:
    assert decides(quorum, tally(broken, 0)) is (broken >= quorum.min_reporters)


@many_examples
@given(QUORUMS, st.integers(12, 400), COUNTS)
def test_more_than_the_share_decides(quorum: Quorum, broken: int, fine: int) -> None:
    if Fraction(broken, broken + fine) >= Fraction(quorum.share) + Fraction(1, 10**5):
        assert decides(quorum, tally(broken, fine))


@many_examples
@given(st.integers(1, 12), st.integers(12, 400), st.integers(0, 3))
def test_a_share_of_one_needs_all(min_reporters: int, broken: int, fine: int) -> None:
    quorum = Quorum(share=1.0, min_reporters=min_reporters)
    assert decides(quorum, tally(broken, fine)) is (fine == 0)


@pytest.mark.parametrize(
    ("broken", "fine", "expected"),
    [(1, 0, False), (2, 0, True), (2, 1, True), (2, 2, False), (3, 2, True), (12, 12, False), (13, 11, True)],
)
def test_by_default_more_than_half_decide_and_at_least_two(broken: int, fine: int, expected: bool) -> None:
    assert decides(Quorum(), tally(broken, fine)) is expected


@pytest.mark.parametrize(
    ("broken", "failing", "fine", "expected"),
    [(0, 7, 0, False), (0, 8, 0, True), (1, 6, 0, False), (1, 7, 0, True), (1, 30, 1, False), (0, 400, 1, False)],
)
def test_eight_of_whom_nobody_is_answered_are_enough(broken: int, failing: int, fine: int, expected: bool) -> None:
    """Though few of them have failed for long: together they met as many failures as no chance makes."""
    assert decides(Quorum(), tally(broken, fine, failing)) is expected


def test_whoever_is_not_sure_yet_does_not_weigh_against_those_who_are() -> None:
    assert decides(Quorum(), tally(2, 1, 20))


def test_the_least_number_holds_for_those_whose_attempts_fail_as_well() -> None:
    assert not decides(Quorum(min_reporters=10), tally(0, 0, 9))
    assert decides(Quorum(min_reporters=10), tally(0, 0, 10))


# Which way a word counts


@many_examples
@given(QUORUMS, TALLIES.filter(lambda said: said.accusers > 0))
def test_one_more_accuser_never_puts_a_verdict_off(quorum: Quorum, said: Tally) -> None:
    at = quorum.decides_at(said)
    assert quorum.decides_at(replace(said, broken=said.broken + 1)) <= at
    assert quorum.decides_at(replace(said, failing=said.failing + 1)) <= at


@many_examples
@given(QUORUMS, TALLIES)
def test_one_more_that_is_answered_never_brings_a_verdict_on(quorum: Quorum, said: Tally) -> None:
    assert quorum.decides_at(replace(said, fine=said.fine + 1)) >= quorum.decides_at(said)


@many_examples
@given(QUORUMS, TALLIES.filter(lambda said: said.broken > 1))
def test_an_accuser_that_is_answered_after_all_never_brings_a_verdict_on(quorum: Quorum, said: Tally) -> None:
    turned = replace(said, broken=said.broken - 1, fine=said.fine + 1)
    assert quorum.decides_at(turned) >= quorum.decides_at(said)


@many_examples
@given(QUORUMS, TALLIES.filter(lambda said: said.failing > 0))
def test_failing_for_long_enough_to_be_sure_never_puts_a_verdict_off(quorum: Quorum, said: Tally) -> None:
    surer = replace(said, failing=said.failing - 1, broken=said.broken + 1)
    assert quorum.decides_at(surer) <= quorum.decides_at(said)


# When


@many_examples
@given(QUORUMS, TALLIES)
def test_the_others_are_heard_first(quorum: Quorum, said: Tally) -> None:
    assert quorum.decides_at(said) >= said.since + quorum.hearing


@many_examples
@given(QUORUMS, TALLIES)
def test_a_verdict_holds_from_its_moment_on(quorum: Quorum, said: Tally) -> None:
    at = quorum.decides_at(said)
    if at < math.inf:
        assert not quorum.is_broken(said, math.nextafter(at, 0))
        assert quorum.is_broken(said, at)
        assert quorum.is_broken(said, at + 1e9)


def test_a_majority_decides_as_soon_as_it_was_heard() -> None:
    assert Quorum(hearing=0.3).decides_at(tally(2, 0, lasted=0.0)) == SINCE + 0.3


@pytest.mark.parametrize(("lasted", "expected"), [(0.0, SINCE + 0.7), (0.1, SINCE + 0.6), (9.0, SINCE + 0.3)])
def test_attempts_that_fail_decide_when_they_have_failed_for_a_while(lasted: float, expected: float) -> None:
    assert Quorum(hearing=0.3).decides_at(tally(0, 0, 8, lasted=lasted)) == pytest.approx(expected, abs=1e-6)


# How many are needed


@many_examples
@given(QUORUMS, st.integers(0, 10_000))
def test_no_more_are_needed_than_report_or_than_the_least_number(quorum: Quorum, reports: int) -> None:
    assert quorum.min_reporters <= quorum.needed(reports) <= max(quorum.min_reporters, reports)


@many_examples
@given(QUORUMS, st.integers(0, 10_000))
def test_one_more_report_needs_one_more_at_most(quorum: Quorum, reports: int) -> None:
    assert 0 <= quorum.needed(reports + 1) - quorum.needed(reports) <= 1


@many_examples
@given(st.integers(1, 20), st.data(), st.integers(1, 400))
def test_a_share_that_people_write_is_exact(whole: int, data: st.DataObject, reports: int) -> None:
    """3 of 10 is not more than 0.3, and 1 of 3 is not more than 1 / 3, whatever floats make of them."""
    part = data.draw(st.integers(1, whole))
    needed = Quorum(share=part / whole, min_reporters=1).needed(reports)
    assert needed == min(reports * part // whole + 1, reports)


@pytest.mark.parametrize(
    ("share", "reports", "expected"),
    [
        (0.3, 10, 4),
        (0.1, 30, 4),
        (0.7, 10, 8),
        (1 / 3, 3, 2),
        (2 / 3, 3, 3),
        (0.29, 100, 30),
        (0.57, 100, 58),
        (1.0, 7, 7),
    ],
)
def test_shares_that_floats_cannot_hold(share: float, reports: int, expected: int) -> None:
    assert Quorum(share=share, min_reporters=1).needed(reports) == expected
