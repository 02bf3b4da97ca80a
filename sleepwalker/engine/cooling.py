"""What a call does during a cooldown of its host: it waits for the end, if its time allows."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Literal

from sleepwalker.engine.host.cooldown import Cooldown
from sleepwalker.engine.record import Call
from sleepwalker.engine.retrying import MINIMAL_ATTEMPT
from sleepwalker.engine.steps import Reply, Step, Wait

#: Seconds below which a wait counts as over: about the resolution of a monotonic clock.
_TICK = 1e-8


def pause(call: Call, seconds: float) -> Generator[Step, Reply, bool]:
    """Wait; True if the connection had been closed."""
    began = call.clock.monotonic()
    if (yield Wait(seconds)):
        call.waited += call.clock.monotonic() - began
        return True
    call.waited += seconds
    return False


def held_for(call: Call) -> tuple[float, Cooldown | None]:
    """Seconds that the host asked this call, or others, to wait, and the cooldown that says so.

    Infinity if the wait does not fit into the call's time. After the cooldown: the seconds until this call's turn among
    those that waited, at most a tenth of the cooldown, and cut to the call's time.
    """
    now = call.clock.monotonic()
    cooldowns = [cooldown for cooldown in call.cooldowns(now) if cooldown.until > call.cooled]
    if not cooldowns:
        return 0.0, None
    left = call.began + call.compiled.total - MINIMAL_ATTEMPT - now
    last = max(cooldowns, key=lambda one: one.until)
    asked = last.until - now
    if asked > _TICK:
        return (asked if asked <= left else math.inf), last
    host = call.host
    if call.began > last.until and host.admission.none_waits_for_cooldown:
        return 0.0, None
    turn = last.release(host.admission.place_after_cooldown(call, call.began, call.draw())) - now
    wait = min(turn, left)
    return (wait, last) if wait > _TICK else (0.0, None)


def wait_out(call: Call) -> Generator[Step, Reply, Cooldown | Literal["closed"] | None]:
    """Wait until the call may be sent. Returns None, or the cooldown that is too long for it, or "closed".

    If the circuit stays open longer, it does not wait: the circuit will refuse the call at once.
    """
    host = call.host
    while True:
        wait, cooldown = held_for(call)
        circuit = host.circuit if call.compiled.breaker else None
        if circuit is not None and wait > 0 and circuit.opens_in(call.clock.monotonic()) > wait:
            wait = 0.0
        if wait == math.inf:
            return cooldown
        if wait == 0:
            call.cooled = call.clock.monotonic()
            if call.cooldown_place is not None:
                host.admission.stop_waiting_for_cooldown(call)
            return None
        host.admission.wait_for_cooldown(call, call.began)
        if (yield from pause(call, wait)):
            return "closed"
