"""Reads the JSON bodies that may have links."""

from __future__ import annotations

import json
from typing import Any

import requests

from sleepwalker.exceptions import DecodeError
from sleepwalker.links.link import shown_place
from sleepwalker.transport.loaded import loaded_body

_MAX_BODY = 100_000_000


def document_of(response: requests.Response) -> dict[str, Any]:
    """The response's body as a JSON object; {} if it is something else, empty, or was not read.

    Raises DecodeError if the Content-Type says JSON, but the body is not JSON or has more than `_MAX_BODY` bytes.
    """
    kind = media_type(response)
    body = loaded_body(response)
    if not body or not (kind in ("application/json", "text/json") or kind.endswith("+json")):
        return {}
    why = f"they are more than {_MAX_BODY}"
    if len(body) <= _MAX_BODY:
        try:
            document = json.loads(body)
            return document if isinstance(document, dict) else {}
        except (ValueError, RecursionError) as error:
            why = f"at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "they cannot be decoded"
    raise DecodeError(
        f"{shown_place(response.url or '')}: its Content-Type says JSON, but its body of {len(body)} bytes is not, so "
        f"no links can be read: {why}",
        response=response,
    )


def media_type(response: requests.Response) -> str:
    """The type of the body, without parameters."""
    return (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
