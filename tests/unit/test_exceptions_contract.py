"""The exceptions that version 2.0 had keep their names, their bases and what they carry."""

from __future__ import annotations

import builtins
import copy
import inspect
import pickle
import traceback
from typing import Any

import pytest
import requests

import sleepwalker
from sleepwalker import exceptions
from sleepwalker.exceptions import ClientHTTPError, HTTPError, ServerHTTPError, SleepwalkerException

CODES = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    402: "HTTPPaymentRequired",
    403: "HTTPForbidden",
    404: "HTTPNotFound",
    405: "HTTPMethodNotAllowed",
    406: "HTTPNotAcceptable",
    407: "HTTPProxyAuthenticationRequired",
    408: "HTTPRequestTimeout",
    409: "HTTPConflict",
    410: "HTTPGone",
    411: "HTTPLengthRequired",
    412: "HTTPPreconditionFailed",
    413: "HTTPRequestEntityTooLarge",
    414: "HTTPRequestURITooLong",
    415: "HTTPUnsupportedMediaType",
    416: "HTTPRequestedRangeNotSatisfiable",
    417: "HTTPExpectationFailed",
    418: "HTTPImATeapot",
    426: "HTTPUpgradeRequired",
    428: "HTTPPreconditionRequired",
    429: "HTTPTooManyRequests",
    431: "HTTPRequestHeaderFieldsTooLarge",
    500: "HTTPInternalServerError",
    501: "HTTPNotImplemented",
    502: "HTTPBadGateway",
    503: "HTTPServiceUnavailable",
    504: "HTTPGatewayTimeout",
    505: "HTTPVersionNotSupported",
    506: "HTTPVariantAlsoNegotiates",
    510: "HTTPNotExtended",
    511: "HTTPNetworkAuthenticationRequired",
}
BASES = {
    "ServiceException": "SleepwalkerException",
    "MissingServiceDef": "ServiceException",
    "ResourceException": "ServiceException",
    "TypeException": "ServiceException",
    "MissingVariable": "SleepwalkerException",
    "InvalidParameter": "SleepwalkerException",
    "RelationError": "SleepwalkerException",
    "LinkError": "SleepwalkerException",
    "DataPullError": "SleepwalkerException",
    "DataNotSetError": "SleepwalkerException",
    "FragmentError": "SleepwalkerException",
    "ConnectionError": "SleepwalkerException",
    "URLError": "ConnectionError",
    "HTTPError": "SleepwalkerException",
    "ClientHTTPError": "HTTPError",
    "ServerHTTPError": "HTTPError",
}


class Response:
    """What an HTTPError reads."""

    def __init__(self, status: int = 400, body: Any = None, **also: Any) -> None:
        self.status_code, self.body, self.headers = status, body, {"X-A": "1"}
        self.__dict__.update({"reason": "Why", "text": "<body>", **also})

    def json(self) -> Any:
        if isinstance(self.body, Exception):
            raise self.body
        return self.body


@pytest.mark.parametrize("name", BASES)
def test_each_exception_is_below_the_one_that_it_was_below(name: str) -> None:
    assert getattr(exceptions, BASES[name]) in getattr(exceptions, name).__bases__
    assert getattr(sleepwalker, name) is getattr(exceptions, name)


def test_each_status_has_the_class_that_it_had() -> None:
    assert {code: kind.__name__ for code, kind in HTTPError.code_map.items()} == CODES
    for code, kind in HTTPError.code_map.items():
        assert kind.__bases__ == ((ClientHTTPError if code < 500 else ServerHTTPError),)


def test_our_connection_error_is_requests_and_not_pythons() -> None:
    assert not issubclass(exceptions.ConnectionError, builtins.ConnectionError)
    assert issubclass(exceptions.ConnectionError, requests.ConnectionError)
    assert issubclass(HTTPError, requests.HTTPError)


def test_a_star_import_has_exceptions_and_nothing_else() -> None:
    names: dict[str, Any] = {}
    exec("from sleepwalker.exceptions import *", names)
    found = {name: value for name, value in names.items() if name != "__builtins__"}
    assert set(BASES) | set(CODES.values()) | {"SleepwalkerException"} <= set(found)
    assert all(isinstance(value, type) and issubclass(value, SleepwalkerException) for value in found.values())


@pytest.mark.parametrize("name", exceptions.__all__)
def test_an_error_is_named_as_it_is_imported(name: str) -> None:
    """Python looks for the source of a class under that name, too: it finds none then, but never another class's."""
    kind = getattr(exceptions, name)
    assert (kind.__module__, pickle.loads(pickle.dumps(kind))) == ("sleepwalker.exceptions", kind)
    with pytest.raises(OSError, match=r"could not find class definition|source code not available"):
        inspect.getsource(kind)


def test_an_error_carries_the_response() -> None:
    response = Response(404, {"error_text": "gone", "x": 1})
    error = HTTPError(response)
    assert (error.http_code, error.headers, error._response) == (404, {"X-A": "1"}, response)
    assert (error.json_data, error.text, error.datarep) == ({"error_text": "gone", "x": 1}, None, None)


@pytest.mark.parametrize(
    ("body", "json_data", "text"), [(None, None, None), (0, 0, None), (ValueError(), None, "<body>")]
)
def test_there_is_a_text_where_there_is_no_json(body: Any, json_data: Any, text: Any) -> None:
    error = HTTPError(Response(500, body))
    assert (error.json_data, error.text) == (json_data, text)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error_text": "no"}, "no"),
        ({"error_text": ""}, ""),
        ({"error_text": None}, None),
        ({"error_text": {"a": 1}}, {"a": 1}),
        ({"other": 1}, "Why"),
        (["error_text"], "Why"),
        ("error_text", "Why"),
        (None, "Why"),
        (7, "Why"),
        (ValueError(), "Why"),
    ],
)
def test_the_message_is_the_servers_or_else_the_reason(body: Any, message: Any) -> None:
    error = HTTPError(Response(400, body))
    assert error.args == (message,)
    assert str(error) == str(message)


def test_the_reason_is_read_only_where_it_is_needed() -> None:
    response = Response(400, {"error_text": "no"})
    del response.__dict__["reason"]
    assert str(HTTPError(response)) == "no"
    response.body = {}
    with pytest.raises(AttributeError):
        HTTPError(response)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((code, getattr(exceptions, name)) for code, name in CODES.items()),
        (499, ClientHTTPError),
        (420, ClientHTTPError),
        (599, ServerHTTPError),
        (200, HTTPError),
        (399, HTTPError),
        (600, HTTPError),
    ],
)
def test_any_status_is_raised_as_what_it_is(status: int, kind: type[HTTPError]) -> None:
    with pytest.raises(HTTPError) as caught:
        HTTPError.raise_by_status(Response(status))
    assert type(caught.value) is kind


def real(body: bytes, kind: str | None) -> requests.Response:
    response = requests.Response()
    response.status_code, response._content, response.reason = 500, body, "Why"
    response.encoding = kind
    return response


@pytest.mark.parametrize("kind", [None, "utf-8", "latin-1"])
@pytest.mark.parametrize("size", [1, 100_000])
@pytest.mark.parametrize("code", ["utf-8", "utf-16", "utf-32", "latin-1"])
@pytest.mark.parametrize("text", ['{"error_text": "g\xf6ne", "x": "%s"}', '["%s"]', "no JSON %s"])
def test_data_and_text_are_those_of_the_response(text: str, code: str, size: int, kind: str | None) -> None:
    response = real((text % ("\xe9" * size)).encode(code), kind)
    try:
        expected = response.json()
    except ValueError:
        expected = None
    error = HTTPError(response)
    if kind is None and code == "latin-1" and size > 1:
        assert error.json_data is None  # a long one whose encoding would have to be guessed, which takes time
    else:
        assert error.json_data == expected
    assert error.text == (None if error.json_data is not None else response.text)


def test_the_text_is_made_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a body without a charset it takes a look at all of it, for seconds if it is long."""
    asked: list[object] = []
    monkeypatch.setattr(requests.Response, "apparent_encoding", property(lambda self: asked.append(self) or "latin-1"))
    error = HTTPError(real(b"hello \xff " * 10_000, None))
    twin = pickle.loads(pickle.dumps(copy.copy(error)))
    assert asked == []
    assert twin.text == error.text == "hello \xff " * 10_000
    error.text = "mine"
    assert error.text == "mine"


# -- what a hostile server says ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
        ("gone\r\n2030-01-01 INFO all is well", r"gone\r\n2030-01-01 INFO all is well"),
        ("a\0b\x7fc\x9bd", r"a\x00b\x7fc\x9bd"),
        ("right\u202eleft\u2028next\ufeff", r"right\u202eleft\u2028next\ufeff"),
        ("lone \ud800", r"lone \ud800"),
        ("größer als 8 €, 漢字 🙂", "größer als 8 €, 漢字 🙂"),
        ("x" * 100_000, "x" * 1000 + "..."),
        ({"a": "\x1b[2J"}, "{'a': '\\x1b[2J'}"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_a_text_is_one_line_of_a_bounded_length_that_steers_no_terminal(said: Any, shown: str) -> None:
    """The words themselves are where a program looks for them: in `args` and in the body."""
    for error in (HTTPError(Response(400, {"error_text": said})), HTTPError(Response(400, {}, reason=said))):
        assert str(error) == shown
        assert error.args == (said,)
        assert f"{error}" == shown
        assert repr(error).isprintable()
        assert repr(error).startswith("HTTPError(")
        assert len(repr(error)) < 1100
        assert "".join(traceback.format_exception_only(error)) == f"sleepwalker.exceptions.HTTPError: {shown}\n"


def test_what_an_error_holds_shows_no_headers_of_the_answer() -> None:
    """They may set cookies, and error trackers take what an error holds."""
    error = HTTPError(Response(400, headers={"Set-Cookie": "sid=canary"}))
    assert error.headers == {"Set-Cookie": "sid=canary"}
    assert "canary" not in repr(vars(error))
