"""Errors of hooks as `find` passes them on: texts without secrets, and a separate copy for each waiter."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import sys
from http import HTTPStatus
from types import BuiltinFunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import Any

import requests

from sleepwalker.connection.foreign import attribute_of
from sleepwalker.exceptions import HTTPError, SleepwalkerException, URLError
from sleepwalker.lookup.keys import Asked
from sleepwalker.transport.error_context import ErrorContext
from sleepwalker.transport.errors import translate
from sleepwalker.transport.url import Origin, origin_of, safe_path

_OURS = __name__.partition(".")[0]
_MOST_SAID = 300
#: System errors that a server, or the network, caused.
_OF_A_SERVER = (ConnectionAbortedError, ConnectionRefusedError, ConnectionResetError, socket.gaierror, ssl.SSLError)
_UNREACHED = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
_UNKNOWN = "a server that the hook called"
#: Stands for the server in our own text, to distinguish it from the hook's text.
_MARK = "\0"

#: A word that may be part of a URL, `name=value` or `user:password`, or has control characters.
_UNSAID = re.compile(
    "//|[@=?#&\\\\]|%[0-9A-Fa-f]|:[^0-9:.,;)\\]]|:[0-9]{1,5}[^0-9/:.,;)\\]'\"]|:[0-9]{6}|"
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_WEB = re.compile(r"https?://", re.IGNORECASE)
_USERINFO = re.compile(r"(https?://)[^/?#@]*@", re.IGNORECASE)
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]*")
_AROUND = "'\"`<>()[]{}.,;:!"
_LONGEST_WORD = 24
#: A word after one of these is treated as a secret, up to the end of the clause, unless it is a `_PLAIN` word.
_NAMES_A_SECRET = re.compile(
    r".*(?:bearer|cookies?|credentials?|jwt|passcode|passphrase|passwd|passwords?|pwd|secrets?|tokens?)|"
    r"(?:.*[_.-])?(?:(?:access|api|private)?keys?|auth|authorization|basic|creds?|digest|otp|pass|pin|pw|session(?:[_-]?id)?|sid)",
    re.IGNORECASE,
)
_PLAIN = re.compile(
    "a|an|and|are|as|at|authentication|be|been|by|could|denied|does|expired|failed|for|from|given|had|has|have|in"
    "|invalid|is|it|its|login|malformed|missing|must|needed|no|not|of|on|or|provided|refused|rejected|required"
    "|revoked|server|service|that|the|this|to|too|unknown|user|was|were|will|with|without|wrong|your",
    re.IGNORECASE,
)


# -- an error for each waiter


def own_copy(error: Exception) -> Exception:
    """A copy of `error`, so that threads which raise it do not extend one shared traceback.

    It has the type, `args`, attributes, notes, cause, context and traceback of the original. No code of its class runs:
    a constructor may need other arguments than `args`, or have side effects. If the class cannot be copied this way,
    the original is returned, because callers' `except` needs its type.
    """
    try:
        return _copied(error)
    except Exception:  # noqa: BLE001 - an extension type may refuse in any way
        return error


def _copied(error: Exception) -> Exception:
    kind: Any = type(error)
    maker: Any = kind
    while not isinstance(vars(maker).get("__new__"), BuiltinFunctionType):
        maker = maker.__base__  # the built-in base, which allocates the object
    # An exception group needs its exceptions at creation; other types must not get arguments.
    of_group: Any = vars(BaseExceptionGroup) if isinstance(error, BaseExceptionGroup) else {}
    copied: Exception = maker.__new__(kind, *(of_group[name].__get__(error) for name in _OF_GROUP if of_group))
    for base in kind.__mro__:
        for name, place in vars(base).items():
            if isinstance(place, GetSetDescriptorType | MemberDescriptorType) and name not in _NOT_COPIED:
                _copy_place(place, error, copied, none_too="__slots__" in vars(base))
    of_all: Any = vars(BaseException)
    attributes = dict(of_all["__dict__"].__get__(error))
    if type(notes := attributes.get("__notes__")) is list:
        attributes["__notes__"] = notes.copy()
    of_all["__dict__"].__set__(copied, attributes)
    # Last, because setting the cause changes it.
    of_all["__suppress_context__"].__set__(copied, of_all["__suppress_context__"].__get__(error))
    return copied


_OF_GROUP = ("message", "exceptions")
_NOT_COPIED = frozenset({"__dict__", "__weakref__", "__suppress_context__"})


def _copy_place(place: Any, error: Exception, copied: Exception, *, none_too: bool) -> None:
    """Copy a value that is not in `__dict__`: a slot, or the number of an OSError."""
    try:
        value = place.__get__(error)
        if value is not None or none_too:  # an OSError would print a None
            place.__set__(copied, value)
    except (AttributeError, TypeError):  # not set, or read-only, as the exceptions of a group
        pass


# -- texts


def told(error: Exception, asked: Asked) -> str:
    """The text for a hook's error, as a part of the error about the requested host.

    Texts from our own code are safe, except those of an `HTTPError`, which come from the server. Texts of requests
    quote URLs with their queries, so ours replace them. A system error gets the system's text. Any other text is the
    hook's and is `scrubbed`. If the error came from another server than the host, the text names that server.
    """
    kind = type(error).__name__
    if isinstance(error, HTTPError):
        return f"{kind}{_status(attribute_of(error, 'http_code'))}{_from(error, asked)}"
    if isinstance(error, SleepwalkerException):
        return f"{kind}: {_text(error)}" if _raised_here(error) else _said(kind, error)
    if status := _status(attribute_of(attribute_of(error, "response"), "status_code")):
        return f"{kind}{status}{_from(error, asked)}"
    if isinstance(error, requests.RequestException):
        return _in_our_words(kind, error, asked)
    number = attribute_of(error, "errno")
    number = number if type(number) is int else None  # it may be any argument of the error
    whose = f" (from {_UNKNOWN})" if isinstance(error, _OF_A_SERVER) or number in _UNREACHED else ""
    if number is not None and number in errno.errorcode and not isinstance(error, ssl.SSLError):
        return f"{kind}: {os.strerror(number)}{whose}"
    if type(error).__module__ not in ("builtins", "socket", "ssl"):
        return kind
    return f"{_said(kind, error)}{whose}"


def _in_our_words(kind: str, error: requests.RequestException, asked: Asked) -> str:
    server = _server(error)
    whose = _UNKNOWN if server is None else asked.name if server == asked.origin else server.text
    # No handler of ours is active here, so `sys.exception()` is the caller's and not part of this error.
    made = translate(error, ErrorContext(_MARK, None, False, "attempt", 0.0, 0.0, 0.0, sys.exception()))
    if not isinstance(made, SleepwalkerException):
        return kind
    words = str(made)
    if not words.startswith(_MARK):  # an error that the hook had wrapped
        return f"{kind}: {scrubbed(words)}"
    words = words.replace(" within 0 s (timeout.connect)", " in time").replace(" for 0 s (timeout.read)", " in time")
    return f"{kind}: {whose}{words.removeprefix(_MARK)}"


def scrubbed(text: str) -> str:
    """`text`, shortened to a few hundred characters, with `…` in place of each word that may be a secret.

    The origin and a plain path of an http(s) URL stay. Hidden are: words that may be a parameter, a URL or
    `user:password`; long words of letters and digits; and the words after a word such as token or Bearer in the same
    clause, except common ones. It takes linear time.
    """
    cut = text[: _MOST_SAID + 1]
    words = cut.split()
    if len(cut) > _MOST_SAID and words:
        words[-1] = "…"  # a cut word cannot be judged
    shown, after_name = [], False
    for word in words:
        bare = word.strip(_AROUND)
        name, _, value = bare.partition(":")
        names = _names_a_secret(name.strip(_AROUND))
        known = not bare or _PLAIN.fullmatch(bare) or (names and not value)
        shown.append("…" if (after_name or names) and not known else _shown(word))
        after_name = names or (after_name and word[-1] not in ".;,!")
    return " ".join(shown)


def _shown(word: str) -> str:
    """The word, unless it may contain a secret by itself."""
    bare = word.strip(_AROUND)
    if not _WEB.match(bare):
        mixed = len(bare) > _LONGEST_WORD and any(map(str.isdigit, bare)) and any(map(str.isalpha, bare))
        return "…" if mixed or len(bare) > 4 * _LONGEST_WORD or _UNSAID.search(word) else word
    before, _, after = word.partition(bare)
    url = _USERINFO.sub(r"\1", bare, count=1)
    origin = None if "@" in url else _origin(url)
    if origin is None:
        return "…"
    path = safe_path(url)
    parts, hidden = [], False
    for part in path.split("/"):
        parts.append("…" if hidden or len(part) > _LONGEST_WORD or not _SEGMENT.fullmatch(part) else part)
        hidden = _names_a_secret(part)
    return f"{before}{origin}{'/'.join(parts) if path != '/' else ''}{after}"


def _names_a_secret(word: str) -> bool:
    return _NAMES_A_SECRET.fullmatch(word[-_LONGEST_WORD:]) is not None


def _said(kind: str, error: Exception) -> str:
    """The text of an error, scrubbed."""
    own = (_text(attribute_of(error, name)) for name in ("verify_message", "strerror"))
    words = scrubbed(next(filter(None, own), "") or " ".join(map(_text, error.args)))
    return f"{kind}: {words}" if words else kind


def _raised_here(error: BaseException) -> bool:
    """Whether this library's code raised the error first, so that the text is ours, and not only the class."""
    step = error.__traceback__
    if step is None:
        return False
    while step.tb_next is not None:
        step = step.tb_next
    name = step.tb_frame.f_globals.get("__name__")
    return isinstance(name, str) and name.partition(".")[0] == _OURS


def _from(error: Exception, asked: Asked) -> str:
    """Names the server that caused the error, unless it is the host itself."""
    server = _server(error)
    if server is not None and server == asked.origin:
        return ""
    return f" (from {_UNKNOWN if server is None else server.text})"


def _server(error: Exception) -> Origin | None:
    """The server of a failed exchange, if the error has it, as those of requests and httpx do."""
    response = attribute_of(error, "response")
    for owner in (response, attribute_of(error, "request"), attribute_of(response, "request")):
        url = attribute_of(owner, "url")
        if url is not None and (origin := _origin(_text(url))) is not None:
            return origin
    return None


def _origin(url: str) -> Origin | None:
    try:
        return origin_of(_USERINFO.sub(r"\1", url, count=1))
    except URLError:
        return None


def _status(value: Any) -> str:
    """An HTTP status for a text; empty for anything else, which a mocked response may have."""
    return f": {value:d}" if type(value) in (int, HTTPStatus) and 100 <= value <= 999 else ""


def _text(value: object) -> str:
    try:
        return "" if value is None else str(value)
    except Exception:  # noqa: BLE001
        return ""
