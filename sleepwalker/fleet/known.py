"""What a worker knows about a host that is or was in trouble, and which of that is news for the others."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sleepwalker.engine import Standing
from sleepwalker.fleet.store import View
from sleepwalker.fleet.verdicts import ACCUSES, Opinion, Tally

#: This many failures in a row, over this many seconds, are reported.
RUN, _RUN_LASTED = 3, 0.2

_NOTHING = Tally(0, 0, math.inf, math.inf)


@dataclass(slots=True)
class Known:
    """What a worker knows about a host that is or was in trouble."""

    tally: Tally = _NOTHING
    verdict: bool = False
    """Whether the host is broken for all, by the last decision here."""
    word: bool = False
    """Whether that was applied to the host's record here."""
    knows_better: bool = False
    """Whether the host answers this worker, whatever others say."""
    returned: bool = False
    """Whether it has come back, which `decides` has not handled yet."""
    here: bool = False
    """Whether this worker has a record of the host."""
    said: Opinion | None = None
    trouble: tuple[int, float] = (0, math.inf)
    """The round, and the begin of the trouble, that `said` is about."""
    bad_since: float | None = None
    """Since when the host is broken here, or `word` holds; None for neither."""
    failed_looks: int = 0
    answered_at: float | None = None
    look_until: float = -math.inf
    """Until then this worker may probe the host: the store granted it."""
    answers_until: float = -math.inf
    """Until then the host counts as answering at times: a probe was answered recently."""
    refused: int = 0
    """How many calls the circuit has refused here so far."""
    wanted: float = 0.0
    """How many calls a second the circuit refused recently; infinity if calls wait for it."""

    def has_answered(self, standing: Standing, offset: float) -> bool:
        """Whether the host has answered this worker since others began to have trouble with it.

        `offset` is the store's clock minus the worker's.
        """
        return standing.answered_at is not None and standing.answered_at > self.tally.began - offset


def new_view(known: Known, standing: Standing, offset: float) -> View | None:
    """The news about a host; None if there is none."""
    current = known.tally.round
    answered = standing.answered_at is not None and standing.answered_at != known.answered_at
    if standing.broken:
        failed = standing.failed_looks != known.failed_looks
        if known.said == "broken" and not (failed or answered):
            return None
        answered = answered and not failed
        return View("broken", current, standing.cause, standing.lasted, failed=failed, answered=answered)
    if known.bad_since is not None and standing.healthy:
        if known.word and standing.answered_at is not None and standing.answered_at > known.bad_since:
            return View(None, current, back=True)
        return View(None, current) if known.said in ACCUSES else None
    if known.word:
        return View(known.said, current, answered=True) if answered else None
    if fails(standing):
        return None if known.said == "failing" else View("failing", current, standing.cause, standing.lasted)
    if not known.tally.accusers or (known.said == "failing" and standing.failing):
        return None
    # Others have trouble with it. If it answers here, say so.
    fine = standing.run < RUN and known.has_answered(standing, offset)
    if known.said == "failing":
        return View("fine" if fine else None, current)
    return View("fine", current) if fine and known.said is None else None


def fails(standing: Standing) -> bool:
    """Whether all recent attempts here have failed, for a while."""
    return standing.failing and standing.run >= RUN and standing.lasted >= _RUN_LASTED


def joined(earlier: View | None, view: View) -> View:
    """The report to send, combined with an earlier one that was not sent yet."""
    if earlier is None or earlier.round != view.round or view.opinion != "broken":
        return view
    answered = not view.failed and (view.answered or (earlier.answered and not earlier.failed))
    return replace(view, failed=view.failed or earlier.failed, answered=answered)
