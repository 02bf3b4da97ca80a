"""A manager's rounds: which of them are at work, for how long, and which threads wait for which of them."""

from __future__ import annotations

import threading

from sleepwalker.connection.pair import Pair, Round
from sleepwalker.exceptions import ConnectionError, DeadlineExceeded

#: So many rounds of one pair, and of all pairs of a manager, may outlast their time before no more are begun: the
#: threads in which their hooks hang cannot be ended.
MOST_LATE_OF_A_PAIR = 3
MOST_LATE = 64
#: From so many of all pairs on one pair may have one only, or a few hosts whose hooks hang would use up what there is.
MANY_LATE = 16


class Rounds:
    """Methods whose names end in `_locked` need the manager's lock held.

    A signal handler may raise wherever a call ends, so what belongs together is changed without a call in between.
    """

    __slots__ = ("_in_time", "_late", "waiting")

    def __init__(self) -> None:
        # Oldest first, and all are given the same time. A signal handler may change both between two steps of a loop,
        # so loops go over copies.
        self._in_time: dict[Round, None] = {}
        self._late: dict[Round, None] = {}
        self.waiting: dict[int, Round] = {}
        """What each thread that waits for a round waits for, by its ident."""

    def begin_locked(self, pair: Pair, mine: Round, now: float, seconds: float) -> None:
        """The hooks are to be asked; from now on `mine` decides for the pair. It may take so many seconds."""
        late_at = now + seconds
        mine.since = mine.hook_since = now
        mine.late_at = late_at
        self.waiting[mine.caller] = mine
        self._in_time[mine] = None
        pair.round = mine

    def end_locked(self, mine: Round) -> None:
        """The hooks are no longer at work."""
        self._in_time.pop(mine, None)
        self._late.pop(mine, None)
        pair = mine.pair
        if pair is not None and mine in pair.late:
            pair.late = tuple(one for one in pair.late if one is not mine)

    def follow_locked(self, seconds: float) -> None:
        """All that are not late yet may take so many seconds from now on."""
        for one in [*self._in_time]:
            one.late_at = one.since + seconds

    def overdue_locked(self, now: float) -> list[Round]:
        """Those whose time is over, and that are not known as late."""
        found = []
        for one in [*self._in_time]:
            if now < one.late_at:
                break
            found.append(one)
        return found

    def late_locked(self, one: Round) -> bool:
        """Take note that a round outlasts its time: it does not decide for its pair any more.

        False if that is known: a signal handler that asks the manager may have come before.
        """
        pair = one.pair
        if one not in self._in_time or pair is None:
            return False
        self._late[one] = None
        pair.late = (*pair.late, one)
        if pair.round is one:
            pair.round = None
        one.late = True
        del self._in_time[one]
        return True

    def full_locked(self, pair: Pair) -> bool:
        """Whether too many are late for another one of the pair."""
        of_a_pair = MOST_LATE_OF_A_PAIR if len(self._late) < MANY_LATE else 1
        return len(pair.late) >= of_a_pair or len(self._late) >= MOST_LATE

    def at_work_locked(self) -> list[Round]:
        """All of them, those that were begun first first."""
        return [*self._late, *self._in_time]

    def circle_locked(self, current: Round) -> bool:
        """Whether this thread, which is to wait for `current`, would wait for itself, through whomever; else it waits.

        A hook that finds hosts itself must not wait for the round that it is part of.
        """
        me, wanted = threading.get_ident(), current
        if current.caller == me and current.leader is None and not current.taken:
            return True  # a signal handler asks, which came before a thread was started
        while wanted.leader != me:
            step = None if wanted.leader is None else self.waiting.get(wanted.leader)
            if step is None or step.done.is_set():  # one that is over has only not been left yet
                self.waiting[me] = current
                return False
            wanted = step
        return True


def _still_at_work(one: Round, now: float) -> str:
    hook = f" ({one.hook} for {now - one.hook_since:.3g} s)" if one.hook else ""
    return f"its hooks are still at work{hook}"


def out_of_time(name: str, one: Round, waited: float, now: float) -> DeadlineExceeded:
    """A caller has waited for a round for as long as it may."""
    pair = one.pair
    oldest = pair.late[0] if pair is not None and pair.late else one
    error = DeadlineExceeded(
        f"no connection to {name} within {waited:.3g} s: {_still_at_work(oldest, now)}; give its own requests a "
        "timeout, and have it not look for the same host in another thread",
        limit="total",
        phase="wait",
    )
    error.never_sent = True
    if one.late and pair is not None and pair.again_at > now:
        error.retry_after = pair.again_at - now
    return error


def too_late(pair: Pair, now: float) -> ConnectionError:
    """There is no connection, and it is too early to ask the hooks again, which are still at work."""
    wait = pair.again_at - now
    why = f"{_still_at_work(pair.late[0], now)}; they are asked again in {max(wait, 0.1):.1f} s"
    error = ConnectionError(f"no connection to {pair.name}: {why}")
    error.retry_after, error.never_sent = wait, True
    return error


def no_room(pair: Pair, now: float) -> ConnectionError:
    """Hooks would be asked, but too many have not come back."""
    if pair.late:
        threads = "1 thread" if len(pair.late) == 1 else f"{len(pair.late)} threads"
        why = f"{_still_at_work(pair.late[0], now)}, in {threads}"
    else:
        why = f"hooks of this manager are still at work for other hosts, in {MOST_LATE} threads"
    error = ConnectionError(f"no connection to {pair.name}: {why}; they are asked again when one of them has ended")
    error.never_sent = True
    return error
