"""What the samples of a run come to: medians, quartiles, and ratios within rounds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    p99: float | None = None
    """Microseconds that one call of a hundred exceeds, over all rounds."""
    p99_ratios: dict[str, float] = field(default_factory=dict)


def spread(figures: Sequence[float]) -> Spread:
    """The median and quartiles of at least one figure."""
    if len(figures) == 1:
        return Spread(figures[0], figures[0], figures[0])
    low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Spread(median, low, high)


def percentile(figures: Sequence[float], percent: float) -> float | None:
    """The figure that so many percent do not exceed; None of no figures."""
    return sorted(figures)[min(len(figures) - 1, int(len(figures) * percent / 100))] if figures else None


def _quotient(mine: Samples, its: Samples) -> float:
    return (percentile(mine.each, 99) or 0.0) / (percentile(its.each, 99) or 1.0)


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
                Samples(mine.wall, mine.cpu),
                percentile(mine.each, 99),
                {name: _quotient(mine, its) for name, its in compared.items() if its.each and mine.each},
            )
        )
    return made
