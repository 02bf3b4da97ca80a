"""Hostnames, targets and headers: what may be sent, where to, and what error texts keep to themselves."""

from __future__ import annotations

import copy
import pickle
import traceback
from enum import IntEnum
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from requests import PreparedRequest
from requests.utils import check_header_validity
from urllib3.util import parse_url

from sleepwalker.exceptions import URLError
from sleepwalker.transport.url import (
    Origin,
    check_headers,
    check_target,
    is_loopback,
    join,
    parse_hostname,
    plain_path,
    resolve,
    safe_path,
)

SECRET = "canary-7d1f"


class Port(IntEnum):
    ADMIN = 8443


def brief(value: Any) -> str:
    return ascii(value)[:40] if not isinstance(value, int) or value < 10**9 else "huge"


def prepared(url: str) -> str:
    request = PreparedRequest()
    request.prepare_url(url, None)
    assert request.url is not None
    return request.url


def everything_said(error: BaseException) -> str:
    return repr(error) + "".join(traceback.format_exception(error)) + repr(error.__context__)


LONG = "http://" + "a" * 63 + ".com"
LONGEST = "http://" + "a." * 127  # 253 and the final dot

# hostname, port, conn.hostname, origin's text, prefix
HOSTNAMES: list[tuple[str, Any, str, str, str]] = [
    ("https://host.com", None, "https://host.com", "https://host.com", "https://host.com"),
    ("http://host.com", None, "http://host.com", "http://host.com", "http://host.com"),
    ("https://host.com", 20483, "https://host.com:20483", "https://host.com:20483", "https://host.com:20483"),
    ("https://host.com", "20483", "https://host.com:20483", "https://host.com:20483", "https://host.com:20483"),
    ("https://host.com/", 20483, "https://host.com:20483/", "https://host.com:20483", "https://host.com:20483"),
    ("https://host.com", Port.ADMIN, "https://host.com:8443", "https://host.com:8443", "https://host.com:8443"),
    ("https://host.com", 443, "https://host.com:443", "https://host.com", "https://host.com:443"),
    ("https://host.com:443", None, "https://host.com:443", "https://host.com", "https://host.com:443"),
    ("http://host.com:443", None, "http://host.com:443", "http://host.com:443", "http://host.com:443"),
    ("https://host.com:8443", 8443, "https://host.com:8443", "https://host.com:8443", "https://host.com:8443"),
    ("https://host.com:8443", "8443", "https://host.com:8443", "https://host.com:8443", "https://host.com:8443"),
    ("https://host.com:08443", 8443, "https://host.com:08443", "https://host.com:8443", "https://host.com:8443"),
    ("https://host.com:", None, "https://host.com:", "https://host.com", "https://host.com"),
    ("https://host.com:", 99, "https://host.com:99", "https://host.com:99", "https://host.com:99"),
    ("HTTPS://Host.COM/Base/", None, "HTTPS://Host.COM/Base/", "https://host.com", "https://host.com"),
    ("https://host.com/api/v1/", 1, "https://host.com:1/api/v1/", "https://host.com:1", "https://host.com:1"),
    ("https://host.com/a;b=c/é", None, "https://host.com/a;b=c/é", "https://host.com", "https://host.com"),
    ("https://host.com", 65535, "https://host.com:65535", "https://host.com:65535", "https://host.com:65535"),
    ("http://my_service", 80, "http://my_service:80", "http://my_service", "http://my_service:80"),
    ("http://xn--bcher-kva", None, "http://xn--bcher-kva", "http://xn--bcher-kva", "http://xn--bcher-kva"),
    ("http://127.0.0.1", 8000, "http://127.0.0.1:8000", "http://127.0.0.1:8000", "http://127.0.0.1:8000"),
    ("http://[::1]", None, "http://[::1]", "http://[::1]", "http://[::1]"),
    ("http://[::1]", 8000, "http://[::1]:8000", "http://[::1]:8000", "http://[::1]:8000"),
    ("http://[::1]:8000/x", None, "http://[::1]:8000/x", "http://[::1]:8000", "http://[::1]:8000"),
    ("http://[0:0::0:1]", None, "http://[0:0::0:1]", "http://[::1]", "http://[0:0::0:1]"),
    ("http://[FE80::A]", None, "http://[FE80::A]", "http://[fe80::a]", "http://[fe80::a]"),
    ("http://[::ffff:7f00:1]", None, "http://[::ffff:7f00:1]", "http://[::ffff:127.0.0.1]", "http://[::ffff:7f00:1]"),
    ("http://host.com.", None, "http://host.com.", "http://host.com.", "http://host.com."),
    (LONG, None, LONG, LONG, LONG),
    (LONGEST, None, LONGEST, LONGEST, LONGEST),
]


@pytest.mark.parametrize(("hostname", "port", "expected", "text", "prefix"), HOSTNAMES)
def test_a_hostname_and_port_come_to_one_origin(
    hostname: str, port: Any, expected: str, text: str, prefix: str
) -> None:
    name, origin, found = parse_hostname(hostname, port)
    assert (name, origin.text, found) == (expected, text, prefix)


@pytest.mark.parametrize("row", HOSTNAMES, ids=lambda row: row[0])
def test_the_prefix_is_what_requests_writes_before_the_path(row: tuple[str, Any, str, str, str]) -> None:
    assert prepared(urljoin(row[2], "/x")) == row[4] + "/x"


# hostname, port, what the message says
BAD_HOSTNAMES: list[tuple[Any, Any, list[str]]] = [
    (None, None, ["hostname", "NoneType", "https://host.com"]),
    (b"https://host.com", None, ["hostname", "bytes"]),
    (42, None, ["hostname", "int"]),
    ("", None, ["hostname", "empty"]),
    ("host.com", None, ["hostname", "'host.com'", "no scheme", "https://"]),
    ("host.com:8443", None, ["'host.com:8443'", "no scheme"]),
    ("//host.com", None, ["'//host.com'", "no scheme"]),
    ("https:host.com", None, ["no scheme"]),
    ("https:/host.com", None, ["no scheme"]),
    ("://host.com", None, ["no scheme"]),
    ("ftp://host.com", None, ["'ftp://host.com'", "scheme other than http and https"]),
    ("httpss://host.com", None, ["scheme other than"]),
    ("http\u017f://host.com", None, ["scheme"]),
    ("http+unix://host.com", None, ["scheme"]),
    (" https://host.com", None, ["whitespace"]),
    ("https://host.com ", None, ["whitespace"]),
    ("https://host.com\n", None, ["whitespace", "\\n"]),
    ("https://host.com\r\nX-A: b", None, ["whitespace"]),
    ("https://ho\tst.com", None, ["whitespace"]),
    ("https://host.com/a b", None, ["whitespace"]),
    ("https://host.com/\u2028", None, ["whitespace"]),
    ("https://host.com\0", None, ["control"]),
    ("https://host.com/\x7f", None, ["control"]),
    ("https://", None, ["no host"]),
    ("https:///path", None, ["no host"]),
    ("https://:8443", None, ["no host"]),
    ("https://?x", None, ["query"]),
    ("https://host.com?x=1", None, ["query", "params="]),
    ("https://host.com/#x", None, ["fragment"]),
    ("https://host.com/?", None, ["query"]),
    ("https://b\u00fccher.example", None, ["non-ASCII", "xn--"]),
    ("https://\uff48ost.com", None, ["non-ASCII"]),
    ("https://host\u3002com", None, ["non-ASCII"]),
    ("https://host.com\uff1a80", None, ["non-ASCII"]),
    ("https://host.com:\u0668", None, ["non-ASCII"]),
    ("https://\u212aelvin.com", None, ["non-ASCII"]),
    ("https://host.com\\evil.com", None, ["does not name a host"]),
    ("https://host%2ecom", None, ["does not name a host"]),
    ("https://host..com", None, ["does not name a host"]),
    ("https://.host.com", None, ["does not name a host"]),
    ("https://*.host.com", None, ["does not name a host"]),
    ("https://host,com", None, ["does not name a host"]),
    ("https://" + "a" * 64 + ".com", None, ["does not name a host"]),
    ("https://" + "a." * 126 + "ab", None, ["253"]),
    ("https://" + "a." * 200, None, ["253"]),
    ("https://host.com:8443:1", None, ["does not name a host"]),
    ("https://host.com:x", None, ["does not name a host"]),
    ("https://host.com:-1", None, ["does not name a host"]),
    ("https://host.com:123456", None, ["does not name a host"]),
    ("https://host.com:" + "1" * 5000, None, ["does not name a host"]),
    ("https://host.com:0", None, ["1 to 65535"]),
    ("https://host.com:65536", None, ["1 to 65535"]),
    ("https://127.1", None, ["four decimals"]),
    ("https://2130706433", None, ["four decimals"]),
    ("https://0x7f000001", None, ["four decimals"]),
    ("https://0x7f.0.0.1", None, ["four decimals"]),
    ("https://127.0.0.01", None, ["four decimals"]),
    ("https://127.0.0.1.", None, ["four decimals"]),
    ("https://127.0.0.256", None, ["four decimals"]),
    ("https://host.1", None, ["four decimals"]),
    ("https://::1", None, ["no host"]),
    ("https://fe80::1", None, ["does not name a host"]),
    ("https://[::1", None, ["does not name a host"]),
    ("https://::1]", None, ["no host"]),
    ("https://[::1]x", None, ["does not name a host"]),
    ("https://[host.com]", None, ["does not name a host"]),
    ("https://[1.2.3.4]", None, ["IPv6"]),
    ("https://[v1.a]", None, ["does not name a host"]),
    ("https://[:::1]", None, ["IPv6"]),
    ("https://[fe80::1%25eth0]", None, ["zone"]),
    ("https://[fe80::1%eth0]", None, ["zone"]),
    ("https://host.com", 0, ["port", "1 to 65535", "not 0"]),
    ("https://host.com", -1, ["port", "not -1"]),
    ("https://host.com", 65536, ["port", "65536"]),
    ("https://host.com", 10**5000, ["port", "1 to 65535"]),
    ("https://host.com", True, ["port", "True"]),
    ("https://host.com", False, ["port", "False"]),
    ("https://host.com", 80.0, ["port", "80.0"]),
    ("https://host.com", "", ["port", "''"]),
    ("https://host.com", "https", ["port", "text"]),
    ("https://host.com", " 80", ["port", "' 80'"]),
    ("https://host.com", "80\n", ["port", "text"]),
    ("https://host.com", "+80", ["port"]),
    ("https://host.com", "8_0", ["port"]),
    ("https://host.com", "\u0668\u0660", ["port"]),
    ("https://host.com", "9" * 5000, ["port"]),
    ("https://host.com", b"80", ["port"]),
    ("https://host.com", [80], ["port"]),
    ("https://host.com:8443", 8444, ["8443", "8444", "different ports"]),
    ("https://host.com:443", 80, ["different ports"]),
]


@pytest.mark.parametrize(("hostname", "port", "says"), BAD_HOSTNAMES, ids=brief)
def test_a_bad_hostname_or_port_gets_an_error_that_names_it(hostname: Any, port: Any, says: list[str]) -> None:
    with pytest.raises(URLError) as caught:
        parse_hostname(hostname, port)
    message = str(caught.value)
    assert [part for part in says if part not in message] == []
    assert message.isprintable()
    assert len(message) < 400


@pytest.mark.parametrize(
    "hostname",
    [
        "https://user:{}@host.com",
        "https://{}@host.com",
        "https://user:{}@host.com:8443/x",
        "HTTPS://user:{}@host.com",
        "ftp://user:{}@host.com",
        "user:{}@host.com",
        "//user:{}@host.com",
        "https://user:a/{}@host.com",
        "https://user:1/{}@host.com",
        "https://user:a?{}@host.com",
        "https://user:a#{}@host.com",
        "https://user:a\\{}@host.com",
        "https://user:a@{}@host.com",
        "https://{}:@host.com",
        "https://us er:{}@host.com",
        "https://user:{}\n@host.com",
        "https://user:{}@b\u00fccher.example",
        "https://user:{}@",
        "https://host.com?token={}",
        "https://host.com/x?token={}",
        "https://host.com/x#{}",
        "https://host.com:x?{}",
        "host.com?token={}",
        "https://host.com?mail=a@{}",
    ],
)
def test_errors_about_a_hostname_never_repeat_credentials_or_queries(hostname: str) -> None:
    with pytest.raises(URLError) as caught:
        parse_hostname(hostname.format(SECRET))
    assert SECRET not in everything_said(caught.value)


def test_credentials_in_the_hostname_are_pointed_to_auth() -> None:
    with pytest.raises(URLError, match="auth=") as caught:
        parse_hostname("https://user:pass@host.com")
    assert "pass@" not in str(caught.value)


def test_origins_are_values() -> None:
    origin = Origin("https", "host.com", 8443)
    assert origin == Origin("https", "host.com", 8443)
    assert len({origin, Origin("https", "host.com", 8443), Origin("http", "host.com", 8443)}) == 2
    assert pickle.loads(pickle.dumps(origin)) == copy.deepcopy(origin) == origin
    assert (origin.netloc, str(origin)) == ("host.com:8443", "https://host.com:8443")
    assert repr(origin) == "Origin(scheme='https', host='host.com', port=8443)"
    assert Origin("http", "::1", 80).netloc == "[::1]"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Host.com", "HTTPS://host.COM:443/"),
        ("http://host.com/a/", "http://host.com:80"),
        ("http://[::1]", "http://[0:0:0:0:0:0:0:1]:80/"),
    ],
)
def test_spellings_of_one_server_have_equal_origins(one: str, other: str) -> None:
    assert parse_hostname(one)[1] == parse_hostname(other)[1]


BASE = "https://host.com:8443/base/"
ORIGIN = parse_hostname(BASE)[1]

# uri, the URL that it comes to
TARGETS = [
    ("/items", "https://host.com:8443/items"),
    ("items", "https://host.com:8443/base/items"),
    ("", BASE),
    ("?a=b", BASE + "?a=b"),
    ("../x", "https://host.com:8443/x"),
    ("/a/../../b", "https://host.com:8443/b"),
    ("/a//b", "https://host.com:8443/a//b"),
    ("//host.com:8443/x", "https://host.com:8443/x"),
    ("//HOST.com:08443/x", "https://HOST.com:08443/x"),
    ("https://host.com:8443", "https://host.com:8443"),
    ("HTTPS://HOST.COM:8443/x", "https://HOST.COM:8443/x"),
    ("/a b/\u00e9?q=\u00e9 \u00e9", "https://host.com:8443/a b/\u00e9?q=\u00e9 \u00e9"),
    ("/@me/a@b:c", "https://host.com:8443/@me/a@b:c"),
    ("/x?next=https://user:pass@evil.com/", "https://host.com:8443/x?next=https://user:pass@evil.com/"),
    ("/%2e%2e/%zz%", "https://host.com:8443/%2e%2e/%zz%"),
    ("/a\\b", "https://host.com:8443/a\\b"),
    ("/x#fragment", "https://host.com:8443/x#fragment"),
]


@pytest.mark.parametrize(("uri", "expected"), TARGETS)
def test_a_uri_of_this_origin_is_joined_as_urljoin_joins(uri: str, expected: str) -> None:
    assert resolve(ORIGIN, BASE, uri) == expected
    assert join(BASE, uri) == urljoin(BASE, uri)
    sent = urlsplit(prepared(resolve(ORIGIN, BASE, uri)))
    assert (sent.scheme, sent.hostname, sent.port) == ("https", "host.com", 8443)


ELSEWHERE = [
    "https://host.com/x",
    "https://host.com:443/x",
    "http://host.com:8443/x",
    "https://evil.com:8443/x",
    "//evil.com/x",
    "//evil.com:8443/x",
    "  //evil.com:8443/x",
    "https://host.com.:8443/x",
    "https://host.com.evil.com:8443/x",
    "https://xhost.com:8443/x",
    "https://[::1]:8443/x",
]


@pytest.mark.parametrize("uri", ELSEWHERE)
def test_a_uri_of_another_origin_is_refused_and_pointed_to_find(uri: str) -> None:
    with pytest.raises(URLError, match=r"ConnectionManager\.find\(") as caught:
        resolve(ORIGIN, BASE, uri)
    assert "https://host.com:8443" in str(caught.value)


HOSTILE = [
    ("https://user:{}@host.com:8443/x", "auth="),
    ("https://{}@host.com:8443/x", "auth="),
    ("https://host.com:8443\\@evil.com/{}", "auth="),
    ("https://host.com:8443@evil.com/{}", "auth="),
    ("https://host.com:8443\\.evil.com/x?{}", "does not name"),
    ("https://host.com:8443%2eevil.com/x?{}", "does not name"),
    ("https://host.com:8443;evil.com/x?{}", "does not name"),
    ("https://host.com:8443&@evil.com/?{}", "auth="),
    ("https://host.com:8443 @evil.com/?{}", "auth="),
    ("https://h\u00f6st.com:8443/x?{}", "non-ASCII"),
    ("https://\uff48ost.com:8443/x?{}", "non-ASCII"),
    ("https://host.com\u2100:8443/x?{}", "not a URI"),
    ("https://host.com:99999/x?{}", "1 to 65535"),
    ("https://host.com:0/x?{}", "1 to 65535"),
    ("https://host.com:84430/x?{}", "1 to 65535"),
    ("https://[::1/x?{}", "not a URI"),
    ("https://[evil]:8443/x?{}", ""),
    ("ftp://host.com:8443/x?{}", "http or https"),
    ("file:///etc/passwd?{}", "http or https"),
    ("javascript:alert(1)?{}", "http or https"),
    ("data:,?{}", "http or https"),
    ("mailto:user:{}@host.com", "http or https"),
    ("user:{}@host.com/x", "http or https"),
    ("http:{}@evil.com", "http or https"),
    ("/x\r\nX-Injected: {}@", "control"),
    ("/x\nGET /{}@ HTTP/1.1", "control"),
    ("/x\t?{}", "control"),
    ("/x\0?{}", "control"),
    ("/x\x7f?{}", "control"),
    ("\x01/x?{}", "control"),
    ("\nhttps://evil.com/?{}", "control"),
    ("ht\ntps://host.com:8443/x?{}", "control"),
    ("\\\\evil.com\\x?{}", "backslash"),
    ("/\\evil.com/x?{}", "backslash"),
    (" \\/evil.com/x?{}", "backslash"),
    ("\\x?{}", "backslash"),
    ("/\ud800?{}", "surrogates"),
]


@pytest.mark.parametrize(("uri", "says"), HOSTILE, ids=brief)
def test_a_hostile_uri_is_refused_and_its_query_and_userinfo_are_not_repeated(uri: str, says: str) -> None:
    with pytest.raises(URLError) as caught:
        resolve(ORIGIN, BASE, uri.format(SECRET))
    assert says in str(caught.value)
    assert SECRET not in everything_said(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("uri", [None, 1, b"/x", ["/x"]])
def test_a_uri_must_be_a_str(uri: Any) -> None:
    with pytest.raises(URLError, match="uri must be a str"):
        resolve(ORIGIN, BASE, uri)
    assert not plain_path(uri)


@pytest.mark.parametrize("url", ["https://host.com:8443/\r\nX: y", "https://host.com:8443/\ud800"])
def test_a_target_is_checked_on_its_own_too(url: str) -> None:
    with pytest.raises(URLError):
        check_target(ORIGIN, url)


authorities = st.text(st.sampled_from("hostcm.:8443@\\/?#%[]evil 0127\u3002\uff0f\uff20\u00e9\t\r\n"), max_size=24)
urls = st.builds("{}{}{}{}".format, st.sampled_from(["https://", "http://", "//", "https:", "/", "\\\\", ""]),
                 st.sampled_from(["", "host.com:8443", "host.com"]), authorities, st.text(max_size=8))  # fmt: skip


@given(urls | st.text())
@example("https://host.com:8443#@evil.com")
@example("https://host.com:8443?@evil.com")
@example("///evil.com")
@example("////evil.com/x")
@example("https:///evil.com/x")
@example("https:evil.com")
def test_whatever_is_accepted_leads_to_this_origin_for_every_reader(uri: str) -> None:
    try:
        url = resolve(ORIGIN, BASE, uri)
    except URLError:
        return
    sent = prepared(url)
    for text in (url, sent):
        std = urlsplit(text)
        assert (std.scheme, std.hostname, std.port) == ("https", "host.com", 8443)
        assert (std.username, std.password) == (None, None)
        lib = parse_url(text)
        assert (lib.scheme, lib.host, lib.port, lib.auth) == ("https", "host.com", 8443, None)


@given(st.builds("{}{}".format, st.sampled_from(["https://", "http://", "HTTPS://", "https:/", "//", ""]), authorities))
def test_whatever_hostname_is_accepted_means_one_host_to_every_reader(hostname: str) -> None:
    try:
        name, origin, prefix = parse_hostname(hostname)
    except URLError:
        return
    assert name == hostname
    std, lib = urlsplit(hostname), parse_url(hostname)
    assert std.username is None
    assert lib.auth is None
    assert std.hostname == (lib.host or "").strip("[]") == origin.host
    assert (std.port or {"http": 80, "https": 443}[std.scheme]) == origin.port
    assert prepared(urljoin(hostname, "/x")) == prefix + "/x"
    assert parse_hostname(origin.text)[1] == origin


PLAIN = [
    "/",
    "/items",
    "/items/",
    "/items/3?full=1&x=a,b;c",
    "/a/b.json",
    "/a-b_c~d!$&'()*+,=:@/e",
    "/x?a=b?c/d",
    "/?x",
    "/@me",
    "/a...b",
]
NOT_PLAIN = [
    "",
    "items",
    "//evil.com",
    "/a//b",
    "/.",
    "/..",
    "/./a",
    "/a/../b",
    "/a/..",
    "/a/.",
    "/a;b",
    "/a?",
    "/a#b",
    "/%41",
    "/%2e%2e/a",
    "/a?b=%20",
    "/a b",
    "/\u00e9",
    "/a\n",
    "/a?b\n",
    "/a\\b",
    "/[x]",
    "/a?x=[1]",
    "/a|b",
    "https://host.com/a",
    "?a",
    " /a",
    "/\u212a",
]


@pytest.mark.parametrize("uri", PLAIN)
def test_common_paths_are_plain(uri: str) -> None:
    """Otherwise the fast way would never be taken, and no other test here would notice."""
    assert plain_path(uri)


@pytest.mark.parametrize("uri", NOT_PLAIN)
def test_a_path_that_anything_could_rewrite_is_not_plain(uri: str) -> None:
    assert not plain_path(uri)


pathlike = st.text(st.sampled_from("/ab.~-_!$&'()*+,;=:@?%#\\ 41[]|^{}\"\u00e9\n"), max_size=16)


@given(pathlike.map("/".__add__) | pathlike | st.text(), st.sampled_from(HOSTNAMES))
@example("/a;", HOSTNAMES[0])
@example("/a?", HOSTNAMES[0])
@example("/.a/..b/c", HOSTNAMES[0])
def test_a_plain_path_is_sent_exactly_as_the_long_way_would(uri: str, row: tuple[str, Any, str, str, str]) -> None:
    hostname, origin, prefix = parse_hostname(row[0], row[1])
    if plain_path(uri):
        assert prefix + uri == prepared(resolve(origin, hostname, uri))


def test_a_long_path_is_judged_in_linear_time() -> None:
    """A pattern that backtracks would not come back from this before the test run is given up."""
    assert not plain_path("/" + "a/" * 50_000 + "\n")
    assert not plain_path("/" + "a" * 100_000 + "%")


SAFE = [
    ("https://host.com/a/b?token=x#y", "/a/b"),
    ("https://host.com", "/"),
    ("https://host.com?x", "/"),
    ("https://host.com:8443/a", "/a"),
    ("https://user:pass@host.com/a", "/a"),
    ("//user:pass@host.com/a", "/a"),
    ("/a?b", "/a"),
    ("/a#b?c", "/a"),
    ("a/b?c", "a/b"),
    ("", "/"),
    ("?x", "/"),
    ("/a\r\nb\0\x7f", "/a%0D%0Ab%00%7F"),
    ("/\u00e9 x", "/%C3%A9%20x"),
    ("/%41", "/%41"),
    ("/\ud800", "/%ED%A0%80"),
    ("/@me/a:b", "/@me/a:b"),
    ("https://h\u00f6st/a?x", "/a"),
    ("https://user:pa/ss@host.com/a", "/"),
    ("https://user:pa?ss@host.com/a", "/"),
    ("https://user:pa#ss@host.com/a", "/"),
    ("user:pass@host.com/a", "/"),
    ("mailto:user:pass@host.com", "/"),
]


@pytest.mark.parametrize(("url", "expected"), SAFE, ids=brief)
def test_the_path_for_events_holds_nothing_private(url: str, expected: str) -> None:
    assert safe_path(url) == expected


@given(st.text())
def test_the_path_for_events_is_printable_ascii_without_a_query(url: str) -> None:
    path = safe_path(url)
    assert path.isascii()
    assert path.isprintable()
    assert not set(path) & set("?# ")


@pytest.mark.parametrize(
    "headers",
    [
        None,
        {},
        {"X-A": "b"},
        {"X-A": ""},
        {"X-A": None},
        {b"X-A": b"b"},
        {"X-A": "a\tb c"},
        {"X-A": "caf\u00e9"},
        {"X-A": b"\xff"},
        {"!#$%&'*+-.^_`|~09aZ": "x"},
        {"X-A": "trailing "},
    ],
)
def test_good_headers_pass(headers: Any) -> None:
    check_headers(headers)


BAD_HEADERS: list[tuple[Any, str]] = [
    ({"": SECRET}, "name"),
    ({"X A": SECRET}, "'X'"),
    ({f"X-A: {SECRET}": "x"}, "'X-A'"),
    ({f"X-A\r\n{SECRET}": "x"}, "'X-A'"),
    ({"X-A ": SECRET}, "'X-A'"),
    ({" X-A": SECRET}, "name"),
    ({"X-\u00e9": SECRET}, "'X-'"),
    ({b"X-\xe9": SECRET}, "'X-'"),
    ({"X-A\n": SECRET}, "'X-A'"),
    ({1: SECRET}, "int"),
    ({"X-A": f"{SECRET}\r\nX-B: c"}, "X-A"),
    ({"X-A": f"{SECRET}\n"}, "X-A"),
    ({"X-A": f"{SECRET}\r"}, "X-A"),
    ({"X-A": f"{SECRET}\0"}, "X-A"),
    ({"X-A": f"{SECRET}\x1b[0m"}, "X-A"),
    ({"X-A": f"{SECRET}\x7f"}, "X-A"),
    ({"X-A": f" {SECRET}"}, "X-A"),
    ({"X-A": f"\t{SECRET}"}, "X-A"),
    ({"X-A": f"\u00a0{SECRET}"}, "X-A"),
    ({"X-A": f"{SECRET}\u20ac"}, "X-A"),
    ({"X-A": f"{SECRET}\ud800"}, "X-A"),
    ({"X-A": SECRET.encode() + b"\n"}, "X-A"),
    ({"X-A": b" " + SECRET.encode()}, "X-A"),
    ({"X-A": b"\0"}, "X-A"),
    ({"X-A": 1}, "int"),
    ({"X-A": [SECRET]}, "list"),
    ([("X-A", SECRET)], "headers must be a mapping"),
    (SECRET, "headers must be a mapping"),
]


@pytest.mark.parametrize(("headers", "says"), BAD_HEADERS, ids=brief)
def test_a_bad_header_is_named_and_its_value_is_not_shown(headers: Any, says: str) -> None:
    with pytest.raises(URLError) as caught:
        check_headers(headers)
    assert says in str(caught.value)
    assert SECRET not in everything_said(caught.value)
    assert str(caught.value).isprintable()


def test_all_bad_headers_are_reported_at_once() -> None:
    with pytest.raises(URLError) as caught:
        check_headers({"X-A": "\n", "X-B": "fine", "X-C": 1})
    assert "X-A" in str(caught.value)
    assert "X-C" in str(caught.value)
    assert "X-B" not in str(caught.value)


parts = (
    st.text(max_size=6) | st.binary(max_size=6) | st.text(st.sampled_from("aX-: \t\r\n\x0b\x1c\x85\xa0"), max_size=4)
)


@given(parts, parts)
def test_a_header_that_passes_also_passes_requests_whose_own_error_shows_the_value(name: Any, value: Any) -> None:
    try:
        check_headers({name: value})
    except URLError:
        return
    check_header_validity((name, value))
    raw = value if isinstance(value, bytes) else value.encode("latin-1")
    assert not set(raw) & {0, 10, 13}


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost", "127.0.0.1", "127.255.1.2", "::1", "[::1]", "::ffff:127.0.0.1", "0:0:0:0:0:0:0:1"],
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "localhost.",
        "localhost.evil.com",
        "foo.localhost",
        "localhost6",
        "127.1",
        "127.0.0.1.evil.com",
        "127.0.0.01",
        "0.0.0.0",
        "::",
        "128.0.0.1",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "fe80::1",
        "2130706433",
        "0x7f.0.0.1",
        "host.com",
        " 127.0.0.1",
    ],
)
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_quoted_path_survives_as_it_is() -> None:
    """The way out that the errors name: percent-encoding."""
    assert resolve(ORIGIN, BASE, "/" + quote("a\r\nb", safe="")) == "https://host.com:8443/a%0D%0Ab"


def test_a_path_is_cut_where_it_is_too_long_to_be_read() -> None:
    """Links and redirects have what a server wrote, and it goes into each event."""
    for start in ("https://host.com", "", "http://us\u00e9r@host"):
        assert safe_path(start + "/" + "x" * 999) == "/" + "x" * 999
        for path in ("/" + "x" * 1000, "/" + "x" * 100_000, "/" + "x" * 999 + "\u6f22" * 50_000):
            shown = safe_path(f"{start}{path}?token=canary")
            assert shown == "/" + "x" * 999 + "..."
