"""Files to download, pages, and what the server keeps for a while: ids and tokens."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

from sleepwalker.cli.demo.serve.answers import basic_of, bearer_of
from sleepwalker.cli.demo.serve.echo import echo
from sleepwalker.cli.demo.serve.http import Answer, Headers, Refused, Request, answer_json, number
from sleepwalker.cli.demo.serve.routes import route
from sleepwalker.cli.demo.serve.state import State, keep

_FILES, _THINGS = "Downloads:", "State:"

#: Bytes of `/file` (or `?size=`), bytes after which each response is cut off (or `?cut=`; 0: never), and bytes of the
#: largest file.
SIZE, CUT, LARGEST = 2_000_000, 600_000, 2_000_000_000
#: Bytes of the block that is made once and sent repeatedly.
_BLOCK = 64 * 1024
#: Seconds for which a token is valid.
EXPIRES = 60.0
#: Number of pages, and of items on each.
PAGES, ITEMS = 3, 3

_RANGE = re.compile(r"bytes=(\d{0,12})-(\d{0,12})", re.ASCII)


@route(_FILES, "/file", f"{SIZE:,} bytes, ranges, an ETag; cut every {CUT:,}", "GET")
async def _file(state: State, request: Request) -> Answer:
    size = int(number(request.argument("size", str(SIZE)), "size", 0, LARGEST))
    cut = int(number(request.argument("cut", str(CUT)), "cut", 0, LARGEST))
    return _ranged(request, size, cut, f'"file-{size}"')


@route(_FILES, "/range/{count}", "that many bytes, ranges, an ETag", "GET")
async def _range(state: State, request: Request, count: str) -> Answer:
    size = int(number(count, "the number of bytes", 0, LARGEST))
    return _ranged(request, size, 0, f'"range-{size}"')


def _ranged(request: Request, size: int, cut: int, etag: str) -> Answer:
    """The file, or the part of it that is asked for (RFC 9110, section 14). For several parts, the whole file."""
    headers: Headers = (
        ("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes"), ("ETag", etag),
    )  # fmt: skip
    if etag in re.findall(r'"[^"]*"', request.header("If-None-Match")):
        return Answer(304, headers=headers)
    start, end, status = 0, size, 200
    wanted = _RANGE.fullmatch(request.header("Range"))
    if wanted and request.header("If-Range", etag) == etag and (wanted[1] or wanted[2]):
        if wanted[1]:
            start, end = int(wanted[1]), min(size, int(wanted[2] or size) + 1)
        else:
            start = max(0, size - int(wanted[2]))
        if start >= end:
            raise Refused(416, f"the file has {size} bytes", (("Content-Range", f"bytes */{size}"),))
        status = 206
        headers += (("Content-Range", f"bytes {start}-{end - 1}/{size}"),)
    length = end - start
    stop = min(end, start + cut) if cut else end
    return Answer(status, _content(start, stop), headers, length, f"broken off after {cut}" if stop < end else "")


@cache
def _block() -> bytes:
    return random.Random(0).randbytes(_BLOCK)


async def _content(start: int, stop: int) -> AsyncIterator[bytes]:
    while start < stop:
        at = start % _BLOCK
        part = _block()[at : at + stop - start]
        yield part
        start += len(part)


@route(_THINGS, "/pages", f"{PAGES} pages of items, with Link headers; ?page=2", "GET")
async def _pages(state: State, request: Request) -> Answer:
    page = int(number(request.argument("page", "1"), "page", 1, PAGES))
    places = {"first": 1, "prev": page - 1, "next": page + 1, "last": PAGES}
    links = [f'</pages?page={at}>; rel="{relation}"' for relation, at in places.items() if 1 <= at <= PAGES]
    items = [{"id": (page - 1) * ITEMS + at} for at in range(1, ITEMS + 1)]
    return answer_json({"page": page, "items": items}, headers=(("Link", ", ".join(links)),))


@route(_THINGS, "/ids", "POST: a new id; the same for an Idempotency-Key", "POST")
async def _ids(state: State, request: Request) -> Answer:
    key = request.header("Idempotency-Key")
    known = state.ids.get(key) if key else None
    if known is not None:
        return answer_json({"id": known, "repeated": True}, 201)
    state.last_id += 1
    if key:
        keep(state.ids, key, state.last_id)
    return answer_json({"id": state.last_id, "repeated": False}, 201)


@route(_THINGS, "/token", "POST: an OAuth token; ?expires_in=60", "POST")
async def _token(state: State, request: Request) -> Answer:
    form: dict[str, Any] = dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True))
    _, password = basic_of(request) or (form.get("client_id"), form.get("client_secret"))
    if not form.get("grant_type"):
        return answer_json({"error": "invalid_request"}, 400, note="no grant_type")
    if password == "wrong":  # noqa: S105 - any other password is right
        headers = (("WWW-Authenticate", 'Basic realm="demo"'),)
        return answer_json({"error": "invalid_client"}, 401, headers, note="wrong secret")
    seconds = number(request.argument("expires_in", f"{EXPIRES:g}"), "expires_in", 0, 86400)
    token = f"{state.dice.getrandbits(128):032x}"
    keep(state.tokens, token, asyncio.get_running_loop().time() + seconds)
    said = {"access_token": token, "token_type": "Bearer", "expires_in": seconds, "refresh_token": f"again-{token}"}
    return answer_json(said, headers=(("Cache-Control", "no-store"),))


@route(_THINGS, "/protected", "200 for a token of /token until it expires, else 401")
async def _protected(state: State, request: Request) -> Answer:
    if state.tokens.get(bearer_of(request), 0.0) <= asyncio.get_running_loop().time():
        raise Refused(401, "no token, or an old one", (("WWW-Authenticate", 'Bearer error="invalid_token"'),))
    return await echo(state, request)
