"""A hedged send in asyncio: whatever ends it, no attempt is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.drivers.aio.hedge import hedge
from sleepwalker.engine import DUE, Completed, Hold, Outcome, Send
from sleepwalker.engine.outcome import Verdict


def test_a_response_that_cannot_be_released_leaves_the_other_attempt_cancelled_all_the_same() -> None:
    held = asyncio.Event()
    ends: list[str] = []

    def steps() -> Generator[Any, Any, None]:
        assert (yield) is DUE
        assert isinstance((yield send(2)), Completed)
        held.set()
        yield Hold()

    def send(number: int, hedge_in: float | None = None) -> Send:
        return Send(SYSTEM_CLOCK.monotonic() + 60, "attempt", 60, number, hedge_in)

    async def attempt(step: Send, hedged: bool) -> Outcome:
        if hedged:
            return Outcome(Verdict.FAILURE, response="a failed response")
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("cancelled")
        raise AssertionError

    def release(response: object) -> None:
        raise ValueError(f"{response} does not close")

    async def main() -> None:
        call = steps()
        next(call)
        performing = asyncio.ensure_future(
            hedge(call, send(1, 0.0), begin=attempt, release=release, clock=SYSTEM_CLOCK)
        )
        await held.wait()
        performing.cancel()
        with pytest.raises(ValueError, match="a failed response does not close"):
            await performing
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert ends == ["cancelled"]
