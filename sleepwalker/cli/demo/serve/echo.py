"""The request as JSON, like httpbin's `/anything`, for every path that is not in the table."""

from __future__ import annotations

import base64
import contextlib
import email.parser
import email.policy
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from sleepwalker.cli.demo.serve.http import Answer, Request, answer_json
from sleepwalker.cli.demo.serve.state import State

Pairs = Iterable[tuple[str, str]]


async def echo(state: State, request: Request) -> Answer:
    """Method, URL, headers, arguments and body."""
    return answer_json(echoed(state, request))


def echoed(state: State, request: Request) -> dict[str, Any]:
    """The members of the answer. The headers include credentials, which go back to their sender only."""
    form: dict[str, Any] = {}
    files: dict[str, Any] = {}
    data: str = ""
    kind = request.header("Content-Type").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        form = _joined(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
    elif kind == "multipart/form-data":
        form, files = _parts(request)
    else:
        data = _text(request.body)
    return {
        "args": _joined((name, value) for name, values in request.query.items() for value in values),
        "data": data,
        "files": files,
        "form": form,
        "headers": headers_of(request),
        "json": _json(data),
        "method": request.method,
        "origin": "127.0.0.1",
        "url": state.url + request.target,
    }


def headers_of(request: Request) -> dict[str, str]:
    """The request's headers, with their names in the usual case. Several values of one are joined by commas."""
    return {name: request.header(name) for name in sorted({name.title() for name, _ in request.headers})}


def _joined(pairs: Pairs) -> dict[str, Any]:
    """A value per name, or a list if there are several."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _parts(request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields and the files of a multipart form."""
    head = f"Content-Type: {request.header('Content-Type')}\r\n\r\n".encode("latin-1", "replace")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    fields: list[tuple[str, str]] = []
    files: list[tuple[str, str]] = []
    for part in message.iter_parts() if message.is_multipart() else ():
        name = str(part.get_param("name", "", header="content-disposition"))
        content = part.get_payload(decode=True)
        (fields if part.get_filename() is None else files).append(
            (name, _text(content if isinstance(content, bytes) else b""))
        )
    return _joined(fields), _joined(files)


def _text(body: bytes) -> str:
    """The body as text, or as a `data:` URL if it is not UTF-8."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return "data:application/octet-stream;base64," + base64.b64encode(body).decode()


def _json(text: str) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(text)
    return None
