"""Credentials: what is accepted, where they may travel, what netrc gives, and that no text repeats them."""

from __future__ import annotations

import copy
import os
import pickle
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.auth import HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth

from sleepwalker.exceptions import AuthenticationError, InsecureAuthError, URLError
from sleepwalker.transport.credentials import (
    ANONYMOUS,
    Anonymous,
    basic_header,
    check_tls,
    missing_credentials,
    netrc_auth,
    normalise_auth,
)
from sleepwalker.transport.url import Origin

SECRET = "canary-7d1f"
HTTPS = Origin("https", "host.com", 443)
NOTHING: Any = None
HTTP = Origin("http", "host.com", 80)


class Text(str):
    """A str that is not exactly one."""


class OwnBasic(HTTPBasicAuth):
    """What a user may derive."""


def bearer(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def everything_said(error: BaseException) -> str:
    said = [repr(error), *traceback.format_exception(error)]
    seen: BaseException | None = error
    while seen is not None:
        said.append(repr(seen.args))
        seen = seen.__context__
    return "".join(said)


def test_anonymous_is_one_value_however_it_travels() -> None:
    assert copy.copy(ANONYMOUS) is copy.deepcopy(ANONYMOUS) is pickle.loads(pickle.dumps(ANONYMOUS)) is ANONYMOUS
    assert {ANONYMOUS: 1}[Anonymous.ANONYMOUS] == 1
    assert (repr(ANONYMOUS), str(ANONYMOUS), f"{ANONYMOUS}") == ("ANONYMOUS", "ANONYMOUS", "ANONYMOUS")
    assert ANONYMOUS is not None
    assert bool(ANONYMOUS)


@pytest.mark.parametrize("pair", [("user", "pass"), ["user", "pass"], (Text("user"), Text("pass"))])
def test_a_pair_is_a_shortcut_for_basic_auth(pair: Any) -> None:
    auth = normalise_auth(pair)
    assert type(auth) is HTTPBasicAuth
    assert auth == HTTPBasicAuth("user", "pass")


@pytest.mark.parametrize(
    "auth",
    [
        None,
        ANONYMOUS,
        HTTPBasicAuth("u", "p"),
        OwnBasic("u", "p"),
        HTTPDigestAuth("u", "p"),
        bearer,
        lambda request: request,
    ],
)
def test_everything_else_that_requests_takes_stays_as_it_is(auth: Any) -> None:
    assert normalise_auth(auth) is auth


@pytest.mark.parametrize("pair", [("", ""), ("key", ""), ("a:b", "c"), (b"\xff", b"\xc5\x82"), ("caf\u00e9", "\u00ff")])
def test_unusual_pairs_that_can_be_sent_are_accepted(pair: Any) -> None:
    assert normalise_auth(pair) == HTTPBasicAuth(*pair)


BAD_AUTH: list[tuple[Any, type[Exception], str]] = [
    ((), ValueError, "length 0"),
    ((SECRET,), ValueError, "length 1"),
    ((SECRET, SECRET, SECRET), ValueError, "length 3"),
    (SECRET, TypeError, "type str"),
    (f"user:{SECRET}", TypeError, "type str"),
    (SECRET.encode(), TypeError, "type bytes"),
    (443, TypeError, "type int"),
    (True, TypeError, "type bool"),
    ({"user": SECRET}, TypeError, "type dict"),
    ({"user", SECRET}, TypeError, "type set"),
    (object(), TypeError, "type object"),
    (HTTPBasicAuth, TypeError, "class HTTPBasicAuth"),
    (dict, TypeError, "class dict"),
    ((SECRET, None), TypeError, "the password is of type NoneType"),
    ((None, SECRET), TypeError, "the user is of type NoneType"),
    ((1, SECRET), TypeError, "the user is of type int"),
    ((SECRET, 1), TypeError, "the password is of type int"),
    (([SECRET], {SECRET: 1}), TypeError, "the user is of type list"),
    ((SECRET, f"{SECRET}\n"), ValueError, "the password has a line break"),
    ((SECRET, f"{SECRET}\r\nX-A: b"), ValueError, "the password has a line break"),
    ((f"{SECRET}\0", SECRET), ValueError, "the user has a line break or another control"),
    ((SECRET, f"{SECRET}\x7f"), ValueError, "the password has"),
    ((SECRET, SECRET.encode() + b"\n"), ValueError, "the password has a line break"),
    ((SECRET, f"{SECRET}\u20ac"), ValueError, "the password has characters outside Latin-1"),
    ((f"{SECRET}\ud800", SECRET), ValueError, "the user has characters outside Latin-1"),
    (HTTPBasicAuth(SECRET, NOTHING), TypeError, "the password is of type NoneType"),
    (HTTPBasicAuth(SECRET, SECRET + "\n"), ValueError, "the password has a line break"),
]


@pytest.mark.parametrize(("auth", "kind", "says"), BAD_AUTH)
def test_a_bad_auth_is_named_and_never_repeated(auth: Any, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as caught:
        normalise_auth(auth)
    assert "auth" in str(caught.value)
    assert says in str(caught.value)
    assert SECRET not in everything_said(caught.value)


def test_faults_of_user_and_password_are_reported_together() -> None:
    with pytest.raises(ValueError, match=r"the user has .*; the password has "):
        normalise_auth(("a\n", "b\n"))


@pytest.mark.parametrize("auth", [HTTPBasicAuth("u", SECRET), OwnBasic("u", SECRET), HTTPProxyAuth("u", SECRET)])
@pytest.mark.parametrize(
    "host", ["host.com", "10.0.0.1", "0.0.0.0", "foo.localhost", "localhost.", "::ffff:10.0.0.1", "fe80::1"]
)
def test_basic_credentials_over_plain_http_are_refused(auth: Any, host: str) -> None:
    with pytest.raises(InsecureAuthError) as caught:
        check_tls(Origin("http", host, 80), auth)
    assert isinstance(caught.value, URLError)
    assert [part for part in ("auth", "http://", "https", "loopback") if part not in str(caught.value)] == []
    assert SECRET not in everything_said(caught.value)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_exempt_unless_a_proxy_is_in_between(host: str) -> None:
    origin = Origin("http", host, 8000)
    check_tls(origin, HTTPBasicAuth("u", "p"))
    with pytest.raises(InsecureAuthError, match="proxy"):
        check_tls(origin, HTTPBasicAuth("u", "p"), proxied=True)


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize(
    ("origin", "auth"),
    [
        (HTTPS, HTTPBasicAuth("u", "p")),
        (HTTPS, HTTPProxyAuth("u", "p")),
        (HTTP, None),
        (HTTP, ANONYMOUS),
        (HTTP, bearer),
        (HTTP, HTTPDigestAuth("u", "p")),
    ],
)
def test_tls_and_other_kinds_of_auth_pass(origin: Origin, auth: Any, proxied: bool) -> None:
    check_tls(origin, auth, proxied)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = ".netrc") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return path

    return write


def pair(auth: HTTPBasicAuth | None) -> Any:
    return None if auth is None else (auth.username, auth.password)


NETRC = f"machine host.com login me password {SECRET}\n"


def test_the_file_that_netrc_names_goes_before_those_at_home(write: Write, tmp_path: Path) -> None:
    write("machine host.com login home password x\n")
    write("machine host.com login underscore password x\n", "_netrc")
    environ = {"HOME": str(tmp_path), "NETRC": str(write(NETRC, "other"))}
    assert pair(netrc_auth(HTTPS, environ)) == ("me", SECRET)
    del environ["NETRC"]
    assert pair(netrc_auth(HTTPS, environ)) == ("home", "x")
    (tmp_path / ".netrc").unlink()
    assert pair(netrc_auth(HTTPS, environ)) == ("underscore", "x")
    (tmp_path / "_netrc").unlink()
    assert netrc_auth(HTTPS, environ) is None


def test_only_the_first_file_there_is_counts(write: Write, tmp_path: Path) -> None:
    write("machine other.com login a password b\n")
    write(NETRC, "_netrc")
    assert netrc_auth(HTTPS, {"HOME": str(tmp_path)}) is None


@pytest.mark.parametrize("named", ["", "/no/such/file", "/dev/null", "~/no-such", "a\0b", "/dev/null/x"])
def test_a_netrc_variable_that_names_no_file_switches_netrc_off(write: Write, tmp_path: Path, named: str) -> None:
    """As in requests: tests and services set it so to ignore the files of a home directory."""
    write(NETRC)
    assert netrc_auth(HTTPS, {"HOME": str(tmp_path), "NETRC": named}) is None


def test_the_variable_may_start_with_a_tilde(write: Write, tmp_path: Path) -> None:
    write(NETRC, "mine")
    assert pair(netrc_auth(HTTPS, {"HOME": str(tmp_path), "NETRC": "~/mine"})) == ("me", SECRET)


def test_the_process_environment_is_used_by_default(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(write(NETRC)))
    assert pair(netrc_auth(HTTPS)) == ("me", SECRET)


def test_without_a_home_in_the_environment_the_users_own_is_used(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(NETRC)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pair(netrc_auth(HTTPS, {})) == ("me", SECRET)


ENTRIES: list[tuple[str, str, Any]] = [
    (NETRC, "host.com", ("me", SECRET)),
    ("machine HOST.com login me password x", "host.com", ("me", "x")),
    ("machine https://host.com login me password x", "host.com", None),
    ("machine com login me password x", "host.com", None),
    ("machine host.com.evil.com login me password x", "host.com", None),
    ("machine *.com login me password x", "host.com", None),
    ("default login me password x", "host.com", None),
    ("default login me password x", "default", None),
    ("machine host.com login me password x\ndefault login d password d", "host.com", ("me", "x")),
    ("machine ::1 login me password x", "::1", ("me", "x")),
    ("machine 127.0.0.1 login me password x", "127.0.0.1", ("me", "x")),
    ("machine host.com user me password x", "host.com", ("me", "x")),
    ("machine host.com login me account a password x", "host.com", ("me", "x")),
    ("machine host.com account a password x", "host.com", ("a", "x")),
    ("machine host.com password x", "host.com", ("", "x")),
    ("machine host.com login me", "host.com", ("me", "")),
    ("machine host.com", "host.com", None),
    ('machine host.com login me password "a b#c"', "host.com", ("me", "a b#c")),
    ("machine host.com login a password b\nmachine host.com login c password d", "host.com", ("c", "d")),
    ("# nothing yet\n", "host.com", None),
    ("", "host.com", None),
]


@pytest.mark.parametrize(("text", "host", "expected"), ENTRIES)
def test_only_an_entry_for_the_very_host_answers(write: Write, text: str, host: str, expected: Any) -> None:
    environ = {"NETRC": str(write(text))}
    assert pair(netrc_auth(Origin("https", host, 443), environ)) == expected


PORTS: list[tuple[str, Origin, Any]] = [
    ("machine host.com login me password x", Origin("https", "host.com", 8443), None),
    ("machine host.com login me password x", Origin("https", "host.com", 80), None),
    ("machine host.com login me password x", Origin("http", "host.com", 443), None),
    ("machine host.com login me password x", Origin("http", "host.com", 80), ("me", "x")),
    ("machine host.com:8443 login me password x", Origin("https", "host.com", 8443), ("me", "x")),
    ("machine HOST.com:8443 login me password x", Origin("http", "host.com", 8443), ("me", "x")),
    ("machine host.com:8443 login me password x", Origin("https", "host.com", 443), None),
    ("machine host.com:8443 login me password x", Origin("https", "host.com", 844), None),
    ("machine host.com:443 login me password x", Origin("https", "host.com", 443), ("me", "x")),
    ("machine host.com:443 login p password p\nmachine host.com login me password x", HTTPS, ("p", "p")),
    ("machine host.com login me password x\nmachine host.com:443 login p password p", HTTPS, ("p", "p")),
    ("machine host.com:443\nmachine host.com login me password x", HTTPS, None),
    ("machine 10.0.0.1 login me password x", Origin("https", "10.0.0.1", 8443), None),
    ("machine 127.0.0.1 login me password x", Origin("http", "127.0.0.1", 8443), ("me", "x")),
    ("machine localhost login me password x", Origin("http", "localhost", 8443), ("me", "x")),
    ("machine ::1 login me password x", Origin("https", "::1", 8443), ("me", "x")),
    ("machine [::1]:8443 login p password p\nmachine ::1 login me password x", Origin("http", "::1", 8443), ("p", "p")),
    ("machine [fe80::1]:8443 login me password x", Origin("https", "fe80::1", 8443), ("me", "x")),
    ("machine fe80::1 login me password x", Origin("https", "fe80::1", 8443), None),
]


@pytest.mark.parametrize(("text", "origin", "expected"), PORTS)
def test_an_entry_counts_for_the_port_that_it_names_or_for_the_default_one(
    write: Write, text: str, origin: Origin, expected: Any
) -> None:
    """Behind another port of the host may be another user's server."""
    assert pair(netrc_auth(origin, {"NETRC": str(write(text))})) == expected


@pytest.mark.parametrize(
    "origin",
    [
        Origin("https", "h.com", 443),
        Origin("https", "h.com", 20483),
        Origin("https", "fe80::1", 20483),
        Origin("http", "127.0.0.1", 5000),
        Origin("http", "::1", 80),
    ],
)
def test_the_entry_that_an_error_says_to_add_is_one_that_counts(write: Write, origin: Origin) -> None:
    said = str(missing_credentials(origin))
    entry = said.partition("an entry '")[2].partition("'")[0]
    assert pair(netrc_auth(origin, {"NETRC": str(write(entry))})) == ("USER", "PASSWORD")
    assert ("counts for the default port only" in said) == (origin.port == 20483)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602, 0o666])
def test_a_file_that_others_may_read_is_warned_of_and_read(write: Write, mode: int) -> None:
    path = write(NETRC)
    path.chmod(mode)
    with pytest.warns(UserWarning, match=f"netrc file {str(path)!r} has the mode {mode:04o}, .*: chmod 0600") as caught:
        assert pair(netrc_auth(HTTPS, {"NETRC": str(path)})) == ("me", SECRET)
    assert [SECRET in str(warning.message) for warning in caught] == [False]


def test_it_is_warned_of_once_and_at_home_too(write: Write, tmp_path: Path) -> None:
    write(NETRC).chmod(0o644)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            assert netrc_auth(HTTPS, {"HOME": str(tmp_path)}) is not None
    assert len(caught) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_warned_of(write: Write) -> None:
    path = write(NETRC)
    os.chown(path, 4242, -1)
    with pytest.warns(UserWarning, match=r"belongs to another user \(uid 4242\)"):
        assert netrc_auth(HTTPS, {"NETRC": str(path)}) is not None


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (os.mkfifo, "it is a pipe, not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a regular file"),
        (lambda path: path.write_bytes(b"#" * 1_000_001), "has more than 1,000,000 bytes"),
    ],
    ids=["pipe", "device", "large"],
)
def test_what_is_no_netrc_file_is_not_read(tmp_path: Path, made: Callable[[Path], object], says: str) -> None:
    path = tmp_path / "netrc"
    made(path)
    with pytest.raises(AuthenticationError, match=says) as caught:
        netrc_auth(HTTPS, {"NETRC": str(path)})
    assert repr(str(path)) in str(caught.value)


def test_a_link_to_the_null_device_switches_netrc_off(tmp_path: Path) -> None:
    (tmp_path / ".netrc").symlink_to("/dev/null")
    assert netrc_auth(HTTPS, {"HOME": str(tmp_path)}) is None


BROKEN: list[tuple[str | bytes, str]] = [
    (f"machine host.com login me password {SECRET} oops-{SECRET}\n", "line "),
    (f"\n\nmachin host.com login me password {SECRET}\n", "line 3"),
    (f"{SECRET}\n", "line "),
    (f"macdef x\n{SECRET}", "line "),
    ("machine", "line "),
    (b"machine host.com login me password \xff\xfe" + SECRET.encode() + b"\xff\n", "is not text"),
    (f"machine host.com login me password {SECRET}\u20ac\n", "the password has characters outside Latin-1"),
    (f'machine host.com login me password "{SECRET}\n"\n', "the password has a line break"),
]


@pytest.mark.parametrize(("text", "says"), BROKEN)
def test_a_broken_netrc_file_is_named_with_its_line_and_not_quoted(write: Write, text: str | bytes, says: str) -> None:
    path = write(text)
    with pytest.raises(AuthenticationError) as caught:
        netrc_auth(HTTPS, {"NETRC": str(path)})
    assert str(path) in str(caught.value)
    assert says in str(caught.value)
    assert SECRET not in everything_said(caught.value)


def test_a_netrc_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError, match="cannot be read") as caught:
        netrc_auth(HTTPS, {"NETRC": str(tmp_path)})
    assert repr(str(tmp_path)) in str(caught.value)


def test_a_named_file_out_of_reach_is_an_error_and_one_at_home_is_none(tmp_path: Path) -> None:
    """A symbolic link to itself stands for what only another user may open."""
    loop = tmp_path / ".netrc"
    loop.symlink_to(loop)
    with pytest.raises(AuthenticationError, match="cannot be read"):
        netrc_auth(HTTPS, {"NETRC": str(loop)})
    assert netrc_auth(HTTPS, {"HOME": str(tmp_path)}) is None


def test_missing_credentials_name_the_three_ways_out() -> None:
    error = missing_credentials(Origin("https", "host.com", 8443))
    assert isinstance(error, AuthenticationError)
    for part in ("https://host.com:8443", "auth=(", "netrc", "machine host.com:8443 login", "auth=ANONYMOUS"):
        assert part in str(error)


text = st.text(st.characters(max_codepoint=0xFF, exclude_categories=["Cc"]))
parts = text | st.binary().filter(lambda data: not any(byte < 0x20 or byte == 0x7F for byte in data))


@given(parts, parts)
def test_the_header_worked_out_beforehand_is_the_one_that_requests_sends(user: Any, password: Any) -> None:
    auth: Any = normalise_auth((user, password))
    request = requests.Request("GET", "https://host.com", auth=auth).prepare()
    assert basic_header(auth) == request.headers["Authorization"]


def test_the_header_is_the_one_of_rfc_7617() -> None:
    assert basic_header(HTTPBasicAuth("Aladdin", "open sesame")) == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


@pytest.mark.parametrize(
    "auth",
    [
        None,
        ANONYMOUS,
        bearer,
        OwnBasic("u", "p"),
        HTTPProxyAuth("u", "p"),
        HTTPDigestAuth("u", "p"),
        ("u", "p"),
        HTTPBasicAuth("u", "\u20ac"),
        HTTPBasicAuth("u", NOTHING),
    ],
)
def test_a_header_that_only_the_request_can_tell_is_not_guessed(auth: Any) -> None:
    assert basic_header(auth) is None


@pytest.mark.parametrize(
    "made",
    [
        ANONYMOUS,
        normalise_auth(("user", SECRET)),
        normalise_auth(HTTPDigestAuth("user", SECRET)),
        missing_credentials(HTTPS),
        HTTPS,
    ],
    ids=lambda made: type(made).__name__,
)
def test_no_repr_shows_a_secret(made: object) -> None:
    assert SECRET not in repr(made)
    assert SECRET not in str(made)


def test_the_repr_of_netrc_credentials_shows_nothing(write: Write) -> None:
    auth = netrc_auth(HTTPS, {"NETRC": str(write(NETRC))})
    assert auth is not None
    assert SECRET not in repr(auth)
