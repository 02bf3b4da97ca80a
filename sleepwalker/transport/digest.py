"""Keeps challenges that requests' `HTTPDigestAuth` cannot answer away from it, so that the 401 is returned as it is."""

from __future__ import annotations

from functools import partial
from typing import Any

import requests
from requests.auth import HTTPDigestAuth
from requests.utils import parse_dict_header

#: The algorithms that requests can compute.
_ALGORITHMS = frozenset({"MD5", "MD5-SESS", "SHA", "SHA-256", "SHA-512"})


def guard_challenges(prepared: requests.PreparedRequest, auth: object) -> None:
    """Let requests' Digest `auth`, which was applied to `prepared`, see only challenges that it can answer.

    For a challenge without realm or nonce it raises KeyError. It keeps the challenge, so later requests of the thread
    raise, too.
    """
    if type(auth) is not HTTPDigestAuth:  # a class derived from it may know more algorithms
        return
    hooks = prepared.hooks["response"]
    if auth.handle_401 in hooks:  # else this release of requests works in another way
        hooks[hooks.index(auth.handle_401)] = partial(_answer, auth)


def _answer(auth: HTTPDigestAuth, response: requests.Response, **options: Any) -> requests.Response:
    challenge = response.headers.get("WWW-Authenticate", "")
    if 400 <= response.status_code < 500 and "digest" in challenge.lower() and not _is_answerable(challenge):
        return response
    return auth.handle_401(response, **options)


def _is_answerable(challenge: str) -> bool:
    """Whether the challenge, as requests parses it, has all that RFC 7616, section 3.3, requires."""
    before, scheme, after = _partition(challenge)
    fields = parse_dict_header(before + after)
    algorithm, qop = fields.get("algorithm"), fields.get("qop")
    return (
        scheme != ""
        and isinstance(fields.get("realm"), str)
        and isinstance(fields.get("nonce"), str)
        and (algorithm is None or algorithm.upper() in _ALGORITHMS)
        and (not qop or "auth" in qop.split(","))
    )


def _partition(challenge: str) -> tuple[str, str, str]:
    """The text before the first `Digest `, that itself, and the text after; requests removes it."""
    at = challenge.lower().find("digest ")
    return ("", "", challenge) if at < 0 else (challenge[:at], challenge[at : at + 7], challenge[at + 7 :])
