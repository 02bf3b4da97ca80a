"""Tells intervals in which too much was bad from those in which chance explains it. Pure arithmetic.

The input is counts per interval: of calls that failed, of sends that failed, of calls that were slow. Each interval is
either as usual or at one of several levels of trouble, and a change has a price. The cheapest history is taken
(Viterbi's path, a Markov-switching binomial). So rare calls add up over intervals, one bad call among good ones is
never worth the change, and an outage begins and ends in the interval in which the counts change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

__all__ = ["CALLS", "FEWEST", "SENDS", "SLOW", "Count", "Scale", "bad_runs", "total_within"]

#: An episode needs at least this many bad ones, however few calls there were: two failures of two calls are no outage.
FEWEST = 3
#: A change to trouble and back costs this plus the logarithm of the number of calls: the more calls, the more often
#: chance alone puts failures side by side. With it, almost no healthy log has a false episode, even at the largest
#: usual share.
_PRICE = 8.0
#: The usual share is taken to be this many times the share outside of episodes.
_MARGIN = 1.3
#: Levels below this many times the usual share are left out: they would call the usual trouble.
_APART = 2.0


@dataclass(frozen=True, slots=True)
class Count:
    """How many were bad in an interval, and how many were good."""

    number: int
    """Of the interval."""
    bad: float
    good: float


@dataclass(frozen=True, slots=True)
class Scale:
    """Which shares are usual, and which are trouble."""

    usual: float
    """The share that is always taken as usual."""
    most: float
    """The largest share that a host's own past can make usual."""
    levels: tuple[float, ...]
    """Shares of trouble, from mild to total."""


#: Calls that failed. With many calls, trouble begins at about 5.7 % failed, near the 5 % of `health.degraded_below`.
CALLS = Scale(0.02, 0.04, (0.12, 0.3, 0.6, 0.95))
#: Sends that failed. Retries make up for some of them, so more of them are usual.
SENDS = Scale(0.05, 0.15, (0.2, 0.4, 0.7, 0.95))
#: Calls slower than a bound that few exceed. If more than 5 % do, the p95 is above the bound.
SLOW = Scale(0.02, 0.10, (0.15, 0.4, 0.8, 0.95))


def bad_runs(counts: Sequence[Count], scale: Scale) -> list[tuple[int, int]]:
    """The runs of intervals in which too much was bad: the first and the last of each, as positions in `counts`.

    `counts` has the intervals that are not empty, in order. The share outside of the runs is usual for the host, within
    the bounds of the scale.
    """
    if sum(one.bad for one in counts) < FEWEST:
        return []
    runs = _runs(counts, scale.usual, scale.levels)
    outside, part = _share_outside(counts, runs)
    if outside * _MARGIN > scale.usual and part > 0.5:
        usual = min(outside * _MARGIN, scale.most)
        runs = _runs(counts, usual, [level for level in scale.levels if level >= _APART * usual])
    return [run for run in runs if sum(one.bad for one in counts[run[0] : run[1] + 1]) >= FEWEST]


def total_within(counts: Sequence[Count], run: tuple[int, int], scale: Scale) -> list[tuple[int, int]]:
    """The parts of a run in which almost all was bad, if far less was in the rest of it."""
    first, last = run
    part = counts[first : last + 1]
    share = sum(one.bad for one in part) / sum(one.bad + one.good for one in part)
    found: list[tuple[int, int]] = []
    for _ in range(2):  # the first time, the share of the rest is not known yet
        if share * _APART > scale.levels[-1]:
            return []
        found = _runs(part, max(share, scale.usual), scale.levels[-1:])
        share, _ = _share_outside(part, found)
    return [
        (first + begin, first + end) for begin, end in found if sum(one.bad for one in part[begin : end + 1]) >= FEWEST
    ]


def _share_outside(counts: Sequence[Count], runs: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """The share of bad ones outside of the runs, and the share of all that is outside: a small part tells little."""
    inside = {at for first, last in runs for at in range(first, last + 1)}
    rest = [one for at, one in enumerate(counts) if at not in inside]
    bad, outside = sum(one.bad for one in rest), sum(one.bad + one.good for one in rest)
    return (bad / outside if outside else 0.0), outside / sum(one.bad + one.good for one in counts)


def _runs(counts: Sequence[Count], usual: float, levels: Sequence[float]) -> list[tuple[int, int]]:
    """The path through usual (0) and the levels (1, 2, …) that explains the counts best, price included."""
    price = (_PRICE + log(1 + sum(one.bad + one.good for one in counts))) / 2
    # What a bad and a good one add to each level, compared with usual.
    gains = [(log(level / usual), log((1 - level) / (1 - usual))) for level in levels]
    scores = [0.0] + [-price] * len(levels)
    came: list[list[int]] = []
    for one in counts:
        best = max(range(len(scores)), key=scores.__getitem__)
        steps: list[int] = []
        new: list[float] = []
        for state, score in enumerate(scores):
            stay = score >= scores[best] - price
            steps.append(state if stay else best)
            gain = one.bad * gains[state - 1][0] + one.good * gains[state - 1][1] if state else 0.0
            new.append((score if stay else scores[best] - price) + gain)
        came.append(steps)
        scores = new
    # What lasts until the end pays for the change back as well: else a few failures there would weigh double.
    state = max(range(len(scores)), key=lambda state: scores[state] - (price if state else 0.0))
    runs: list[tuple[int, int]] = []
    for at in range(len(counts) - 1, -1, -1):
        if state:
            runs.append((at, runs.pop()[1]) if runs and runs[-1][0] == at + 1 else (at, at))
        state = came[at][state]
    return runs[::-1]
