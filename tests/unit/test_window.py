"""Sliding counts and latencies, against models that keep everything."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleepwalker.engine.host.latencies import Latencies
from sleepwalker.engine.host.window import Window
from tests.ranges import some

#: Times are multiples of 1/8 s and windows of whole seconds in 8 slices, so both sides divide alike.
STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), max_size=60)
#: The documented error of a percentile.
ERROR = 0.03


@settings(max_examples=some(60, 200), deadline=None)
@given(STEPS, st.integers(1, 10), st.sampled_from([0.0, 7.125, 86_400.0, 1e9]))
def test_counts_equal_those_of_a_model_that_keeps_every_event(
    steps: list[tuple[int, int]], seconds: int, start: float
) -> None:
    window, slices = Window(float(seconds), channels=3, slices=8), 8
    width = seconds / slices
    now, kept = start, []
    for pause, channel in steps:
        now += pause / 8
        window.add(now, channel)
        kept.append((now, channel))
        current = math.floor(now / width)
        expected = [
            sum(1 for when, which in kept if which == wanted and math.floor(when / width) > current - slices)
            for wanted in range(3)
        ]
        assert list(window.totals(now)) == expected


@settings(max_examples=some(40, 100), deadline=None)
@given(st.lists(st.floats(0, 5), max_size=60), st.floats(0.1, 10))
def test_nothing_is_forgotten_too_early_nor_kept_too_long(pauses: list[float], seconds: float) -> None:
    """Between nine tenths of the window and all of it, whatever the times."""
    window = Window(seconds, channels=1)
    now, kept = 100.0, []
    for pause in pauses:
        now += pause
        window.add(now, 0)
        kept.append(now)
        (count,) = window.totals(now)
        assert count >= sum(1 for when in kept if when > now - 0.9 * seconds + 1e-6)
        assert count <= sum(1 for when in kept if when > now - seconds - 1e-6)


def test_a_thread_that_read_its_clock_earlier_counts_in_the_slice_that_is_current() -> None:
    window = Window(10.0, channels=1)
    window.add(105.0, 0)
    window.add(101.0, 0)
    assert list(window.totals(104.0)) == [2]
    assert list(window.totals(114.9)) == [2]
    assert list(window.totals(115.0)) == [0]


def test_a_cleared_window_starts_afresh() -> None:
    window = Window(10.0, channels=2)
    window.add(100.0, 0)
    window.add(100.0, 1)
    window.clear()
    assert list(window.totals(100.0)) == [0, 0]
    window.add(103.0, 1)
    assert list(window.totals(103.0)) == [0, 1]
    assert list(window.totals(500.0)) == [0, 0]


def test_a_window_takes_the_same_room_whatever_happens_in_it() -> None:
    window = Window(10.0, channels=2)
    room = len(window._counts)
    for second in range(1000):
        window.add(float(second), second % 2)
    assert len(window._counts) == room == 20


def _nearest_rank(durations: list[float], share: float) -> float:
    return sorted(durations)[max(1, math.ceil(share * len(durations))) - 1]


@settings(max_examples=some(80, 300), deadline=None)
@given(
    st.lists(st.floats(2.0**-14, 4095.0), min_size=1, max_size=80), st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99, 1.0])
)
def test_a_percentile_is_within_its_documented_error(durations: list[float], share: float) -> None:
    latencies = Latencies(60.0)
    for duration in durations:
        latencies.add(1000.0, duration)
    (found,) = latencies.quantiles(1000.0, (share,))
    assert found == pytest.approx(_nearest_rank(durations, share), rel=ERROR)
    assert found is not None
    assert found <= max(durations)


@pytest.mark.parametrize("duration", [0.001, 0.25, 1.0, 1.0001, 1.2499, 1.5, 3.9999])
def test_a_steady_latency_is_reported_as_what_it_is(duration: float) -> None:
    latencies = Latencies(60.0)
    for _ in range(100):
        latencies.add(0.0, duration)
    for found in latencies.quantiles(0.0, (0.5, 0.95, 0.99)):
        assert found == pytest.approx(duration, rel=ERROR)
        assert found is not None
        assert found <= duration


def test_the_longest_of_a_slice_that_is_over_bounds_nothing_any_more() -> None:
    latencies = Latencies(60.0, slices=6)
    latencies.add(1000.0, 1.04)
    latencies.add(1065.0, 1.01)
    assert latencies.quantiles(1065.0, (1.0,)) == (1.01,)


def test_room_is_taken_for_the_durations_that_there_are() -> None:
    latencies = Latencies(60.0)
    assert len(latencies._counts) == 0
    for number in range(1000):
        latencies.add(0.0, 0.02 + number / 50_000)
    assert len(latencies._counts) <= 6 * 24


@pytest.mark.parametrize("duration", [0.0, -0.001, 1e-9, 2.0**-14])
def test_a_duration_too_short_for_the_range_is_reported_as_no_longer_than_it_was(duration: float) -> None:
    """A coarse clock measures 0; it was once reported as a quarter of a second."""
    latencies = Latencies(60.0)
    latencies.add(0.0, duration)
    assert latencies.quantiles(0.0, (0.5,)) == (max(0.0, duration),)


@pytest.mark.parametrize("duration", [4096.0, 86400.0, 1e12])
def test_a_duration_past_the_range_counts_as_the_longest(duration: float) -> None:
    latencies = Latencies(60.0)
    latencies.add(0.0, duration)
    assert latencies.quantiles(0.0, (0.5,))[0] == pytest.approx(3980.0, rel=ERROR)


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30))
def test_higher_percentiles_are_never_lower(durations: list[float]) -> None:
    latencies = Latencies(60.0)
    for duration in durations:
        latencies.add(0.0, duration)
    found = latencies.quantiles(0.0, (0.0, 0.1, 0.5, 0.95, 0.99, 1.0))
    assert list(found) == sorted(found, key=lambda value: value or 0.0)


def test_without_durations_there_are_no_percentiles() -> None:
    assert Latencies(60.0).quantiles(5.0, (0.5, 0.99)) == (None, None)


def test_durations_older_than_the_window_are_forgotten() -> None:
    latencies = Latencies(60.0, slices=6)
    latencies.add(1000.0, 8.0)
    latencies.add(1055.0, 0.125)
    assert latencies.quantiles(1055.0, (1.0,))[0] == pytest.approx(8.0, rel=ERROR)
    assert latencies.quantiles(1060.0, (1.0,))[0] == pytest.approx(0.125, rel=ERROR)
    assert latencies.quantiles(1120.0, (1.0,)) == (None,)
    assert latencies.quantiles(99_999.0, (1.0,)) == (None,)


def test_a_count_stays_right_past_what_a_byte_and_what_two_hold() -> None:
    """Counts take a byte each, until one needs more."""
    window = Window(10.0, channels=2)
    for _ in range(65_600):
        window.add(1.0, 1)
    window.add(1.0, 0)
    window.take_back(1.0, 1.0, 1)
    assert list(window.totals(1.0)) == [1, 65_599]
    assert list(window.totals(11.0)) == [0, 0]
    window.add(12.0, 0)
    assert list(window.totals(12.0)) == [1, 0]


def test_percentiles_stay_right_past_65535_durations_of_one_kind() -> None:
    """Counts are kept in one byte each at first, then in two, for there may be very many hosts."""
    latencies = Latencies(60.0)
    for _ in range(65_536):
        latencies.add(0.0, 0.125)
    for _ in range(65_530):
        latencies.add(0.0, 8.0)
    below, above = latencies.quantiles(0.0, (0.5, 0.5001))
    assert below == pytest.approx(0.125, rel=ERROR)
    assert above == pytest.approx(8.0, rel=ERROR)


@given(st.lists(st.floats(0.001, 100.0), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_no_more_than_the_rest_is_above_a_share(durations: list[float], share: float) -> None:
    """Split over two records, as attempts that came to an end and attempts that were cut are."""
    one, other = Latencies(60.0), Latencies(60.0)
    for number, duration in enumerate(durations):
        (one if number % 2 else other).add(0.0, duration)
    above = one.above(0.0, share, 1, other)
    assert above is not None
    assert sum(duration >= above for duration in durations) <= (1 - share) * len(durations) + 1e-9
    assert above <= 1.06 * max(durations)


def test_a_share_of_too_few_is_unknown() -> None:
    one, other = Latencies(60.0), Latencies(60.0)
    one.add(0.0, 1.0)
    assert one.above(0.0, 0.5, 2) is None
    other.add(0.0, 1.0)
    assert one.above(0.0, 0.5, 2, other) is not None
