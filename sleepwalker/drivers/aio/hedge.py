"""Performs a hedged send: an attempt as a task, and hedge attempts beside it while it is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from sleepwalker.clock import Clock
from sleepwalker.engine import DUE, LATE, Completed, Final, Hold, Outcome, Reply, Send, Step, Steps

#: For how many seconds after the deadline a hedge attempt is waited for.
_GRACE = 0.03
#: Makes the attempt that a step asks for. True for a hedge attempt, which needs a request of its own.
Begin = Callable[[Send, bool], Coroutine[Any, Any, Outcome]]


async def hedge(
    steps: Steps,
    step: Send,
    *,
    begin: Begin,
    release: Callable[[object], None],
    clock: Clock,
    is_over: Callable[[], bool] = lambda: False,
) -> tuple[Step | Final, Outcome]:
    """Send `step`, hedged. Returns the call's next step, and the outcome it continues with.

    No hedge attempt begins once the connection `is_over`.
    """
    under_way = {asyncio.ensure_future(begin(step, False)): step.number}
    outcomes: list[Outcome] = []
    due = None if step.hedge_in is None else clock.monotonic() + step.hedge_in
    end = step.deadline + _GRACE
    try:
        while True:
            # With neither an outcome nor a due hedge there is only to wait: each attempt has a deadline of its own.
            until = min(due or end, end) if outcomes or due is not None else None
            timeout = None if until is None else max(0.0, until - clock.monotonic())
            done, _ = await asyncio.wait(under_way, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if done:
                ended = done.pop()
                outcomes.append(ended.result())
                following = _following(steps, Completed(under_way.pop(ended), outcomes[-1]))
            elif due is not None and clock.monotonic() >= due:
                due = None
                if is_over():
                    continue
                following = _following(steps, DUE)
                if isinstance(following, Send):
                    under_way[asyncio.ensure_future(begin(following, True))] = following.number
                    due = None if following.hedge_in is None else clock.monotonic() + following.hedge_in
                    continue
            elif outcomes and clock.monotonic() >= end:
                following = _following(steps, LATE)
            else:
                continue
            if isinstance(following, Hold):
                continue
            for outcome in outcomes[:-1]:
                release(outcome.response)
            await _cancelled(under_way, release)
            return following, outcomes[-1]
    except BaseException:
        try:
            for outcome in outcomes:
                release(outcome.response)
        finally:
            await _cancelled(under_way, release)
        raise


def _following(steps: Steps, reply: Reply) -> Step | Final:
    try:
        return steps.send(reply)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


async def _cancelled(tasks: Collection[asyncio.Task[Outcome]], release: Callable[[object], None]) -> None:
    """Cancel the attempts that are still under way, and wait until they have ended, which they do at once.

    A response that one of them still brings is released, even if this wait itself is cancelled.
    """
    if not tasks:
        return

    def ended(task: asyncio.Task[Outcome]) -> None:
        if not task.cancelled() and task.exception() is None:
            release(task.result().response)

    for task in tasks:
        task.cancel()
        task.add_done_callback(ended)
    await asyncio.wait(tasks)
