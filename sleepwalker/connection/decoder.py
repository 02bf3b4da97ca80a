"""JSON bodies of answers."""

from __future__ import annotations

import json
from typing import Any

import requests

from sleepwalker.exceptions import DecodeError
from sleepwalker.transport.url import Origin, safe_path


def decoded(response: requests.Response, origin: Origin) -> Any:
    """The value that an answer's body is in JSON, None for 204 or an empty body; DecodeError where it is none."""
    content = response.content
    if response.status_code == 204 or not content:
        return None
    try:
        try:
            if content[:1] in b"{[" and content[1:2] != b"\0":
                # Past json's own look for UTF-16 and UTF-32, in which no object or array begins like this.
                return json.loads(content.decode("utf-8", "surrogatepass"))
            return json.loads(content)
        except UnicodeDecodeError:
            return json.loads(content.decode(response.encoding or "utf-8"))
    except (ValueError, LookupError, RecursionError) as error:
        why = f"at character {error.pos}" if isinstance(error, json.JSONDecodeError) else "it cannot be decoded"
    failure = DecodeError(
        f"{origin}{safe_path(response.url or '')}: {response.status_code} with {len(content)} bytes of body "
        f"that are not JSON: {why}",
        response=response,
    )
    failure.attempts = response.attempts  # type: ignore[attr-defined]
    try:
        raise failure
    finally:
        del failure
