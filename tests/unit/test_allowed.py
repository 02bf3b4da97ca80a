"""`allow=`: what may stand in it, and which hosts it means."""

from __future__ import annotations

from typing import Any

import pytest

from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker import ConnectTimeout, HTTPForbidden, HTTPNotFound, HTTPUnauthorized, URLError
from sleepwalker.connection.allowed import allows, checked_allow, explain_withheld, shown_host
from sleepwalker.hosts.names import host_key
from tests.services.driver import Reply


def _allowed(host: str, *allow: str) -> bool:
    return allows(checked_allow(allow, names=True), *host_key(host))


@pytest.mark.parametrize(
    ("host", "allow"),
    [
        ("https://b.example", "https://b.example"),
        ("https://b.example", "https://b.example/"),
        ("https://b.example", "HTTPS://B.Example:443"),
        ("HTTPS://B.example:443/base", "https://b.example"),
        ("https://b.example:8443", "https://b.example:8443"),
        ("https://x.corp.example", "https://*.corp.example"),
        ("https://x.y.corp.example", "https://*.Corp.example:443/"),
        ("https://x.corp.example:8443", "https://*.corp.example:*"),
        ("https://[::1]:8443", "https://[0::1]:8443"),
        ("https://[::1]:8443", "https://[::1]:*"),
        ("https://n7.example", "https://n?.example"),
        ("people", "People"),
        ("people-7", "people-*"),
        ("consul://people", "consul://people"),
    ],
)
def test_a_host_that_is_listed_is_allowed(host: str, allow: str) -> None:
    assert _allowed(host, allow)
    assert _allowed(host, "https://other.example", allow)


@pytest.mark.parametrize(
    ("host", "allow"),
    [
        ("http://b.example", "https://b.example"),
        ("https://b.example:8443", "https://b.example"),
        ("https://b.example.evil.example", "https://b.example"),
        ("https://evilcorp.example", "https://*.corp.example"),
        ("https://corp.example", "https://*.corp.example"),
        ("https://x.corp.example:8443", "https://*.corp.example"),
        ("https://x.corp.example.evil.example", "https://*.corp.example"),
        ("https://b.example", "*"),  # a pattern of names
        ("people", "https://people"),
        ("https://people", "people"),
        ("https://a.example", "https://[ab].example*"),  # a bracket is that of an IPv6 address
    ],
)
def test_a_host_that_is_not_listed_is_not_allowed(host: str, allow: str) -> None:
    assert not _allowed(host, allow)
    assert not _allowed(host)


@pytest.mark.parametrize(
    "allow", ["https://b.example", b"https://b.example", 5, None, [5], [None], [["https://b.example"]]]
)
def test_what_is_no_list_of_texts_is_a_type_error(allow: Any) -> None:
    with pytest.raises(TypeError, match="allow must"):
        checked_allow(allow)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("b.example", "'b.example' is not an origin such as"),
        ("*", "is not an origin"),
        ("*://b.example", "is not an origin"),
        ("", "is not an origin"),
        ("ftp://b.example", "is not an origin"),
        ("https://b.example/api", "has a path: allow the whole origin, 'https://b.example'"),
        ("https://*.example/api", "is not a pattern"),
        ("https://b.example?x=y", "is not a pattern"),
        ("https://b.example?token=canary", "'https://b.example' is not a pattern"),
        ("b.example/?token=canary", "'b.example/' is not an origin"),
        ("https://u:canary@b.example", "not shown"),
        ("https://u:canary@*.example", "not shown"),
        ("https://b.example:99999", "port"),
        ("https://b.example\n", "control characters"),
        ("https://", "no host"),
        ("https://" + "b" * 100_000, "63|host"),
    ],
)
def test_what_is_no_origin_is_told_and_no_credentials_are_shown(entry: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        checked_allow([entry])
    assert "canary" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"^allow: 'a.example' is .*; 'b.example' is .*"):
        checked_allow(["a.example", "https://fine.example", "b.example"])


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("HTTPS://B.example:443/x", "https://b.example"),
        ("people", "people"),
        ("people?token=canary", "a host whose name is not shown"),
        ("\x1b]0;x\x07", "a host whose name is not shown"),
        ("x" * 1000, "a host whose name is not shown"),
        ("http://u:canary@b.example", "a host that is not shown"),
        (object(), "a host whose name is not shown"),
    ],
)
def test_a_host_is_shown_as_its_origin_or_by_a_name_that_holds_nothing_else(host: Any, shown: str) -> None:
    assert shown_host(host) == shown


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (HTTPUnauthorized(Reply(401, None)), True),
        (HTTPForbidden(Reply(403, None)), True),
        (OurConnectionError("no hook knows it"), True),
        (HTTPNotFound(Reply(404, None)), False),
        (ConnectTimeout("it did not answer"), False),
        (URLError("refused"), False),
    ],
)
def test_only_an_error_that_credentials_could_have_helped_is_explained_and_once(error: Any, told: bool) -> None:
    for _ in range(2):
        explain_withheld(error, "https://a.example", "https://b.example")
    assert len(getattr(error, "__notes__", ())) == told
    if told:
        assert "allow=['https://b.example']" in error.__notes__[0]
