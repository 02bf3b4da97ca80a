"""The paths by which a test or a user controls the server itself. They have no faults."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import asdict, replace
from typing import Any

from sleepwalker.cli.demo.serve.faults import NAMES
from sleepwalker.cli.demo.serve.http import Answer, Refused, Request, answer_json
from sleepwalker.cli.demo.serve.routes import BY_HAND, route
from sleepwalker.cli.demo.serve.state import MOST, Fault, Neighbour, State, keep

#: Bytes of a document.
KEPT = 64 * 1024


@route(BY_HAND, "/next", 'POST [503, "hang", "drip", "cut", "reset"]', "POST")
async def _next(state: State, request: Request) -> Answer:
    state.script = deque(_script(request.body))
    return answer_json({"next": list(state.script)})


def _script(body: bytes) -> list[Fault]:
    try:
        wanted: Any = json.loads(body)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, list) or len(wanted) > MOST or not all(map(_is_fault, wanted)):
        names = ", ".join(f'"{name}"' for name in NAMES)
        raise Refused(400, f"/next takes a JSON list of at most {MOST} of: 200, a status from 400 to 599, {names}")
    return wanted


def _is_fault(one: object) -> bool:
    return one in NAMES or (type(one) is int and (one == 200 or 400 <= one <= 599))


@route(BY_HAND, "/keep/{path}", "PUT: the JSON that GET returns at that path", "PUT")
async def _keep(state: State, request: Request, path: str) -> Answer:
    try:
        json.loads(request.body)
    except (ValueError, RecursionError):
        raise Refused(400, "/keep takes JSON") from None
    if len(request.body) > KEPT:
        raise Refused(413, f"/keep takes at most {KEPT} bytes")
    keep(state.kept, f"/{path}", request.body)
    return answer_json({"url": f"{state.url}/{path}"}, 201)


@route(BY_HAND, "/seen", "the last 100 requests, with what went wrong", "GET")
async def _seen(state: State, request: Request) -> Answer:
    return answer_json([asdict(seen) for seen in state.seen])


@route(BY_HAND, "/hosts/{number}/down", "POST: that address refuses connections until .../up", "POST")
async def _down(state: State, request: Request, number: str) -> Answer:
    chosen = _neighbour(state, number)
    answer = answer_json({"url": chosen.url, "up": False})
    if chosen.url == state.url:  # it has to answer first
        return replace(answer, then=chosen.down)
    chosen.down()
    await asyncio.sleep(0)  # its sockets are closed in the loop's next turn: before anyone reads the answer
    return answer


@route(BY_HAND, "/hosts/{number}/up", "", "POST")
async def _up(state: State, request: Request, number: str) -> Answer:
    chosen = _neighbour(state, number)
    await chosen.up()
    return answer_json({"url": chosen.url, "up": True})


def _neighbour(state: State, number: str) -> Neighbour:
    if not number.isdecimal() or not 1 <= int(number) <= len(state.neighbours):
        raise Refused(404, f"there are addresses 1 to {len(state.neighbours)}")
    return state.neighbours[int(number) - 1]
