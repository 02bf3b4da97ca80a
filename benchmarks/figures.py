"""What the samples of a run come to: medians, quartiles, and ratios within rounds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.rounds import Case, Samples


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of many figures, and the quartiles between which half of them lie."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """One case's figures: microseconds per call, and ratios to the references, by the reference's name."""

    group: str
    name: str
    wall: Spread
    cpu: Spread
    wall_ratios: dict[str, Spread]
    cpu_ratios: dict[str, Spread]
    function_calls: float
    """Python and C functions that one call calls, as cProfile counts."""
    samples: Samples


def spread(figures: Sequence[float]) -> Spread:
    """The median and quartiles of at least one figure."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(median, low, high)


def ratio(figures: Sequence[float], reference: Sequence[float]) -> Spread:
    """How much of the reference's time was taken, round by round.

    Both sides of each quotient were measured within a fraction of a second, so a machine that is busy for
    some rounds moves both; the quotient of two medians would compare quiet rounds with busy ones.
    """
    return spread([mine / its for mine, its in zip(figures, reference, strict=True)])


def rows(
    samples: Mapping[Case, Samples], function_calls: Mapping[Case, float], references: Mapping[str, Sequence[Case]]
) -> list[Row]:
    """A row per case, each compared with its group's references."""
    made = []
    for case, mine in samples.items():
        compared = {
            other.name if other.group == case.group else f"{other.name}, {other.group}": samples[other]
            for other in references[case.group]
        }
        made.append(
            Row(
                case.group,
                case.name,
                spread(mine.wall),
                spread(mine.cpu),
                {name: ratio(mine.wall, its.wall) for name, its in compared.items()},
                {name: ratio(mine.cpu, its.cpu) for name, its in compared.items()},
                function_calls[case],
                mine,
            )
        )
    return made
