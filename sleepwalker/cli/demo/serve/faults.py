"""Faults: by path, by chance, or for the next requests whatever their path."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from sleepwalker.cli.demo.fleet import FLAKY_SHARE
from sleepwalker.cli.demo.serve.answers import LONGEST
from sleepwalker.cli.demo.serve.echo import echo
from sleepwalker.cli.demo.serve.http import BODY_LIMIT, Answer, Request, failure, number
from sleepwalker.cli.demo.serve.routes import route
from sleepwalker.cli.demo.serve.state import Fault, State

#: Faults of an answer, besides its status.
NAMES = ("hang", "drip", "cut", "reset")
#: Seconds between two bytes of a body that drips.
DRIP = 0.2
#: How many requests `/limited` allows, and in how many seconds.
LIMIT, WINDOW = 5, 5.0
#: Seconds for which `/busy` asks callers to wait.
BUSY = 2.0

_FAULTS = "Faults:"


def by_chance(state: State, share: float, what: str) -> Answer | None:
    """A 503 for this share of the requests; None for the others."""
    if state.dice.random() >= share:
        return None
    return failure(503, "try again later", note=f"by chance, {what}")


async def with_fault(fault: Fault, sound: Callable[[], Awaitable[Answer]]) -> Answer:
    """The answer of `sound`, with the fault. If the fault is a status of 400 or more, `sound` is not called."""
    if isinstance(fault, int) and fault >= 400:
        return failure(fault, "set by /next")
    if fault == "hang":
        await asyncio.sleep(LONGEST)
    answer = await sound()
    if fault == "hang":
        return replace(answer, note="held back")
    if fault == "reset":
        return replace(answer, reset=True, note="reset")
    if fault not in ("drip", "cut"):
        return answer
    body = answer.body if isinstance(answer.body, bytes) else await _beginning(answer.body)
    length = len(body) if answer.length is None else answer.length
    if fault == "drip":
        return replace(answer, body=_bytewise(body, DRIP), length=length, note="dripped")
    return replace(answer, body=_half(body), length=max(1, length), note="cut off")


async def _beginning(parts: AsyncIterator[bytes]) -> bytes:
    """The beginning of a body, as much as is kept in memory."""
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > BODY_LIMIT:
            break
    return bytes(body)


async def _half(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]


async def _bytewise(body: bytes, pause: float) -> AsyncIterator[bytes]:
    for at in range(len(body)):
        await asyncio.sleep(pause)
        yield body[at : at + 1]


@route(_FAULTS, "/flaky", f"503 for {FLAKY_SHARE:.0%} of the requests; /flaky/0.8 for 80%")
async def _flaky(state: State, request: Request) -> Answer:
    return by_chance(state, FLAKY_SHARE, f"{FLAKY_SHARE:.0%} fail") or await echo(state, request)


@route(_FAULTS, "/flaky/{share}")
async def _flaky_by(state: State, request: Request, share: str) -> Answer:
    value = number(share, "the share", 0, 1)
    return by_chance(state, value, f"{value:.0%} fail") or await echo(state, request)


@route(_FAULTS, "/busy", f"503 with Retry-After: {BUSY:g}; 200 after that time")
async def _busy(state: State, request: Request) -> Answer:
    now = asyncio.get_running_loop().time()
    if state.busy_until is None:
        state.busy_until = now + BUSY
    elif now >= state.busy_until:
        state.busy_until = None
        return await echo(state, request)
    left = max(1, math.ceil(state.busy_until - now))
    return failure(503, f"busy for {left} s", (("Retry-After", str(left)),))


@route(_FAULTS, "/limited", f"429 with RateLimit after {LIMIT} requests in {WINDOW:g} s")
async def _limited(state: State, request: Request) -> Answer:
    now = asyncio.get_running_loop().time()
    end, used = state.window if state.window[0] > now else (now + WINDOW, 0)
    state.window = (end, min(LIMIT, used + 1))
    wait = max(1, math.ceil(end - now))
    headers = (
        ("RateLimit-Policy", f'"demo";q={LIMIT};w={WINDOW:g}'),
        ("RateLimit", f'"demo";r={max(0, LIMIT - used - 1)};t={wait}'),
    )
    if used >= LIMIT:
        return failure(429, f"{LIMIT} requests in {WINDOW:g} s are allowed", (*headers, ("Retry-After", str(wait))))
    answer = await echo(state, request)
    return replace(answer, headers=(*answer.headers, *headers))


@route(_FAULTS, "/hang", f"no answer for {LONGEST:g} s")
async def _hang(state: State, request: Request) -> Answer:
    return await with_fault("hang", lambda: echo(state, request))


@route(_FAULTS, "/drip", "byte by byte; ?numbytes=10, ?duration=2 in seconds", "GET")
async def _drip(state: State, request: Request) -> Answer:
    duration = number(request.argument("duration", "2"), "duration", 0, LONGEST)
    count = int(number(request.argument("numbytes", "10"), "numbytes", 1, 10_000))
    await asyncio.sleep(number(request.argument("delay", "0"), "delay", 0, LONGEST))
    status = int(number(request.argument("code", "200"), "code", 200, 599))
    kind = (("Content-Type", "application/octet-stream"),)
    return Answer(status, _bytewise(b"*" * count, duration / count), kind, count, "dripped")


@route(_FAULTS, "/cut", "half a body, then the connection ends")
async def _cut(state: State, request: Request) -> Answer:
    return await with_fault("cut", lambda: echo(state, request))


@route(_FAULTS, "/reset", "no answer: the connection is reset")
async def _reset(state: State, request: Request) -> Answer:
    return await with_fault("reset", lambda: echo(state, request))
