"""What a call does while its host is to be left alone: it waits for the end of that, if its time allows."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Literal

from sleepwalker.engine.cooldown import Cooldown
from sleepwalker.engine.record import Call
from sleepwalker.engine.retry import MINIMAL_ATTEMPT
from sleepwalker.engine.steps import Reply, Step, Wait

#: A shorter wait is over, in seconds: about what a clock that counts from a machine's start can tell apart.
_TICK = 1e-8


def pause(call: Call, seconds: float) -> Generator[Step, Reply, bool]:
    """Wait; True where the wait was cut short for good."""
    began = call.clock.monotonic()
    if (yield Wait(seconds)):
        call.waited += call.clock.monotonic() - began
        return True
    call.waited += seconds
    return False


def held_for(call: Call) -> tuple[float, Cooldown | None]:
    """Seconds that the call is to wait by what its host asked of it or of others, and the cooldown that says so.

    Never less than was asked for, and infinity where that does not fit into the call's time. What comes on top, so that
    not all go at once, is cut to that time.
    """
    now = call.clock.monotonic()
    left = call.began + call.rules.total - MINIMAL_ATTEMPT - now
    longest, why = 0.0, None
    for cooldown in call.cooldowns(now):
        asked = max(0.0, cooldown.until - now)
        wait = max(asked, min(left, cooldown.release(call.began, call.luck()) - now))
        if asked > max(0.0, left):
            wait = math.inf
        if wait > longest + _TICK:
            longest, why = wait, cooldown
    return longest, why


def wait_out(call: Call) -> Generator[Step, Reply, Cooldown | Literal["closed"] | None]:
    """Wait until the call may be sent: None then. Or the cooldown for which it has no time, or that it was closed.

    Where the circuit is open for longer, it does not wait: whoever asks for a permit next is told at once.
    """
    host = call.host
    while True:
        wait, cooldown = held_for(call)
        breaker = host.breaker if call.rules.breaker else None
        if breaker is not None and wait > 0 and breaker.opens_in(call.clock.monotonic()) > wait:
            wait = 0.0
        if wait == math.inf:
            return cooldown
        host.cool(call, wait > 0)
        if wait == 0:
            return None
        if (yield from pause(call, wait)):
            return "closed"
