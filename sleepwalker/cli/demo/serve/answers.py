"""Answers without faults, at the paths known from httpbin."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import random
import uuid
import zlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlencode

from sleepwalker.cli.demo.serve.echo import echo, echoed, headers_of
from sleepwalker.cli.demo.serve.http import Answer, Headers, Refused, Request, answer_json, number
from sleepwalker.cli.demo.serve.routes import route, table
from sleepwalker.cli.demo.serve.state import State

#: The most seconds that an answer is held back, and the most bytes that `/bytes` makes.
LONGEST, LARGEST = 60.0, 10_000_000

_ECHO, _SOUND, _AUTH = "The request as JSON, also at any path not listed here:", "Ordinary answers:", "Credentials:"

_DOCUMENT = {
    "slideshow": {
        "author": "Yours Truly",
        "date": "date of publication",
        "title": "Sample Slide Show",
        "slides": [
            {"title": "Wake up to WonderWidgets!", "type": "all"},
            {"title": "Overview", "type": "all", "items": ["Why WonderWidgets are great", "Who buys WonderWidgets"]},
        ],
    }
}
_HTML = b"<!doctype html>\n<title>A page</title>\n<h1>A page</h1>\n"
_XML = b'<?xml version="1.0" encoding="UTF-8"?>\n<lamps><lamp left="3"/></lamps>\n'


@route(_ECHO, "/anything", "method, url, headers, args, json, data, form, files")
async def _anything(state: State, request: Request) -> Answer:
    return await echo(state, request)


@route(_ECHO, "/")
async def _root(state: State, request: Request) -> Answer:
    if "text/html" in request.header("Accept"):  # a browser
        return Answer(body=table(100).encode(), headers=(("Content-Type", "text/plain; charset=utf-8"),))
    return await echo(state, request)


@route(_ECHO, "/delay/{seconds}", "the same, after that time")
async def _delay(state: State, request: Request, seconds: str) -> Answer:
    await asyncio.sleep(number(seconds, "seconds", 0, LONGEST))
    return await echo(state, request)


@route(_ECHO, "/gzip", "the same, compressed; also /deflate", "GET")
async def _gzip(state: State, request: Request) -> Answer:
    body = json.dumps({**echoed(state, request), "gzipped": True}).encode()
    return Answer(body=gzip.compress(body), headers=(*_JSON, ("Content-Encoding", "gzip")))


@route(_ECHO, "/deflate", "", "GET")
async def _deflate(state: State, request: Request) -> Answer:
    body = json.dumps({**echoed(state, request), "deflated": True}).encode()
    return Answer(body=zlib.compress(body), headers=(*_JSON, ("Content-Encoding", "deflate")))


@route(_ECHO, "/headers", "a part of it; also /cookies, /ip, /user-agent", "GET")
async def _headers(state: State, request: Request) -> Answer:
    return answer_json({"headers": headers_of(request)})


@route(_ECHO, "/cookies", "", "GET")
async def _cookies(state: State, request: Request) -> Answer:
    try:
        sent = SimpleCookie(request.header("Cookie"))
    except CookieError:
        raise Refused(400, "the header Cookie cannot be read") from None
    return answer_json({"cookies": {name: morsel.value for name, morsel in sent.items()}})


@route(_ECHO, "/ip", "", "GET")
async def _ip(state: State, request: Request) -> Answer:
    return answer_json({"origin": "127.0.0.1"})


@route(_ECHO, "/user-agent", "", "GET")
async def _user_agent(state: State, request: Request) -> Answer:
    return answer_json({"user-agent": request.header("User-Agent")})


_JSON: Headers = (("Content-Type", "application/json"),)


@route(_SOUND, "/json", "a document; also /html, /xml", "GET")
async def _json(state: State, request: Request) -> Answer:
    return answer_json(_DOCUMENT)


@route(_SOUND, "/html", "", "GET")
async def _html(state: State, request: Request) -> Answer:
    return Answer(body=_HTML, headers=(("Content-Type", "text/html; charset=utf-8"),))


@route(_SOUND, "/xml", "", "GET")
async def _xml(state: State, request: Request) -> Answer:
    return Answer(body=_XML, headers=(("Content-Type", "application/xml"),))


@route(_SOUND, "/uuid", "an id that is new each time", "GET")
async def _uuid(state: State, request: Request) -> Answer:
    return answer_json({"uuid": str(uuid.UUID(int=state.dice.getrandbits(128), version=4))})


@route(_SOUND, "/status/{codes}", "that status; of /status/200,503 one by chance")
async def _status(state: State, request: Request, codes: str) -> Answer:
    status = state.dice.choice([int(number(code, "a status", 200, 599)) for code in codes.split(",")])
    headers: Headers = ()
    if status in (301, 302, 303, 307, 308):
        headers = (("Location", "/redirect/1"),)
    elif status == HTTPStatus.UNAUTHORIZED:
        headers = (("WWW-Authenticate", 'Basic realm="demo"'),)
    elif status == HTTPStatus.IM_A_TEAPOT:
        return Answer(status, b"I'm a teapot.\n", (("Content-Type", "text/plain"),))
    return Answer(status, headers=headers)


@route(_SOUND, "/response-headers", "the query's arguments as headers: ?Link=...")
async def _response_headers(state: State, request: Request) -> Answer:
    pairs = tuple((name, value) for name, values in request.query.items() for value in values)
    if {name.lower() for name, _ in pairs} & {"connection", "content-length", "transfer-encoding"}:
        raise Refused(400, "Connection, Content-Length and Transfer-Encoding are set by the server itself")
    body = json.dumps({**dict(_JSON), **dict(pairs)}, indent=2).encode() + b"\n"
    kind: Headers = () if any(name.lower() == "content-type" for name, _ in pairs) else _JSON
    return Answer(body=body, headers=(*kind, *pairs))


@route(_SOUND, "/redirect/{times}", "that many redirects; also /redirect-to?url=/get")
async def _redirect(state: State, request: Request, times: str) -> Answer:
    left = int(number(times, "times", 1, 100)) - 1
    return Answer(302, headers=(("Location", f"/redirect/{left}" if left else "/get"),))


@route(_SOUND, "/redirect-to")
async def _redirect_to(state: State, request: Request) -> Answer:
    status = int(number(request.argument("status_code", "302"), "status_code", 300, 399))
    return Answer(status, headers=(("Location", request.argument("url", "/get")),))


@route(_SOUND, "/cookies/set", "sets the query's cookies; also /cookies/delete", "GET")
async def _set_cookies(state: State, request: Request) -> Answer:
    return _with_cookies(request, "; Path=/")


@route(_SOUND, "/cookies/delete", "", "GET")
async def _delete_cookies(state: State, request: Request) -> Answer:
    return _with_cookies(request, "; Path=/; Max-Age=0")


def _with_cookies(request: Request, attributes: str) -> Answer:
    pairs = [urlencode({name: values[-1]}) for name, values in request.query.items()]
    headers = [("Set-Cookie", pair + attributes) for pair in pairs]
    return Answer(302, headers=(("Location", "/cookies"), *headers))


@route(_SOUND, "/bytes/{count}", "that many random bytes; ?seed=1 repeats them", "GET")
async def _bytes(state: State, request: Request, count: str) -> Answer:
    size = int(number(count, "the number of bytes", 0, LARGEST))
    dice = random.Random(request.argument("seed", "")) if "seed" in request.query else state.dice
    return Answer(body=dice.randbytes(size), headers=(("Content-Type", "application/octet-stream"),))


@route(_SOUND, "/stream/{count}", "that many lines of JSON, in chunks", "GET")
async def _stream(state: State, request: Request, count: str) -> Answer:
    size = int(number(count, "the number of lines", 0, 1000))
    said = echoed(state, request)

    async def lines() -> AsyncIterator[bytes]:
        for line in range(size):
            yield json.dumps({**said, "id": line}).encode() + b"\n"

    return Answer(body=lines(), headers=_JSON)


@route(_AUTH, "/basic-auth/{user}/{pw}", "200 for these two, else 401", "GET")
async def _basic_auth(state: State, request: Request, user: str, pw: str) -> Answer:
    if basic_of(request) != (user, pw):
        raise Refused(401, "wrong user or password", (("WWW-Authenticate", 'Basic realm="demo"'),))
    return answer_json({"authenticated": True, "user": user})


@route(_AUTH, "/hidden-basic-auth/{user}/{pw}", "", "GET")
async def _hidden_basic_auth(state: State, request: Request, user: str, pw: str) -> Answer:
    if basic_of(request) != (user, pw):
        raise Refused(404, "there is nothing here")
    return answer_json({"authenticated": True, "user": user})


def basic_of(request: Request) -> tuple[str, str] | None:
    """The user and the password that were sent; None without any."""
    scheme, _, coded = request.header("Authorization").partition(" ")
    try:
        user, colon, password = base64.b64decode(coded, validate=True).decode().partition(":")
    except ValueError:
        return None
    return (user, password) if scheme.lower() == "basic" and colon else None


@route(_AUTH, "/bearer", "200 for any bearer token, else 401", "GET")
async def _bearer(state: State, request: Request) -> Answer:
    token = bearer_of(request)
    if not token:
        raise Refused(401, "a bearer token is needed", (("WWW-Authenticate", "Bearer"),))
    return answer_json({"authenticated": True, "token": token})


def bearer_of(request: Request) -> str:
    """The bearer token that was sent; empty without one."""
    scheme, _, token = request.header("Authorization").partition(" ")
    return token if scheme.lower() == "bearer" else ""
