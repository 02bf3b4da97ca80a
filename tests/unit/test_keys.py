"""Which hosts are one host, and which credentials are the same."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import pytest
from requests.auth import HTTPBasicAuth, HTTPDigestAuth, HTTPProxyAuth

from sleepwalker import ANONYMOUS, ConnectionHook, ConnectionManager, URLError
from sleepwalker.hosts.names import host_key
from sleepwalker.lookup.keys import AuthKey, sent_mark


class Token(NamedTuple):
    user: str
    secret: str


class HashedBasic(HTTPBasicAuth):
    """As some write it, so that it can be a key."""

    def __hash__(self) -> int:
        return hash(self.username)


class OtherBasic(HashedBasic):
    pass


class TokenAuth(HTTPBasicAuth):
    """A habit: what is an auth object derives from the class at hand."""

    def __init__(self, token: str) -> None:
        self.token = token


class Tenant(HTTPBasicAuth):
    def __init__(self, username: str, password: str, tenant: str) -> None:
        super().__init__(username, password)
        self.tenant = tenant


class ComparedTenant(Tenant):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, ComparedTenant) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class SlottedToken(HTTPBasicAuth):
    """Says that it adds nothing, and has what the class above it gives room for."""

    __slots__ = ()

    def __init__(self, token: str) -> None:
        self.token = token


class Marked(str):
    __slots__ = ("tenant",)

    def __new__(cls, text: str, tenant: str) -> Self:
        made = super().__new__(cls, text)
        made.tenant = tenant
        return made


class MarkedToo(Marked):
    __slots__ = ()


class TenantPair(tuple[str, str]):
    tenant = "a subclass may hold anything"


class Bearer:
    def __init__(self, token: str) -> None:
        self.token = token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bearer) and self.token == other.token

    __hash__ = None  # type: ignore[assignment]


class Strict:
    """Cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("compare me not")

    __hash__ = object.__hash__


TENANT = Tenant("u", "p", "alice")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (None, None),
        (ANONYMOUS, ANONYMOUS),
        (("u", "p"), ("u", "p")),
        (("u", "p"), HTTPBasicAuth("u", "p")),
        (["u", "p"], HTTPBasicAuth("u", "p")),
        (Token("u", "p"), Token("u", "p")),
        ((b"u", b"p"), HTTPBasicAuth(b"u", b"p")),
        (HTTPDigestAuth("u", "p"), HTTPDigestAuth("u", "p")),
        (HTTPProxyAuth("u", "p"), HTTPProxyAuth("u", "p")),
        ({"token": ["t"]}, {"token": ["t"]}),
        ([1, 2, 3], [1, 2, 3]),
        (Bearer("t"), Bearer("t")),
        (ComparedTenant("u", "p", "alice"), ComparedTenant("u", "p", "alice")),
        (TENANT, TENANT),
        ("token", "token"),
        (("u", ["p"]), ("u", ["p"])),
    ],
)
def test_equal_credentials_are_one_key(one: Any, two: Any) -> None:
    assert AuthKey(one) == AuthKey(two)
    assert hash(AuthKey(one)) == hash(AuthKey(two))


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (None, ANONYMOUS),
        (("u", "p"), ("u", "q")),
        (("u", "p"), ("v", "p")),
        (("u", "p"), (b"u", b"p")),
        (("u", "p"), HTTPDigestAuth("u", "p")),
        (HTTPBasicAuth("u", "p"), HTTPDigestAuth("u", "p")),
        (HTTPBasicAuth("u", "p"), HTTPProxyAuth("u", "p")),
        (HashedBasic("u", "p"), OtherBasic("u", "p")),
        (HashedBasic("u", "p"), HashedBasic("u", "p")),
        (TokenAuth("alice"), TokenAuth("bob")),
        (SlottedToken("alice"), SlottedToken("bob")),
        (MarkedToo("t", "alice"), MarkedToo("t", "bob")),
        (Tenant("u", "p", "alice"), Tenant("u", "p", "bob")),
        (TenantPair(("u", "p")), TenantPair(("u", "p"))),
        (Token("u", "p"), ("u", "p")),
        ({"token": "t"}, {"token": "s"}),
        (Bearer("t"), Bearer("s")),
        (1, True),
        (("u", "p"), "u:p"),
        (Strict(), None),
    ],
)
def test_other_credentials_are_another_key(one: Any, two: Any) -> None:
    """requests' digest credentials say that they equal basic ones, and proxy credentials too."""
    assert AuthKey(one) != AuthKey(two)


@pytest.mark.parametrize(
    "auths",
    [
        [TokenAuth("alice"), TokenAuth("bob")],
        [Tenant("u", "p", "alice"), Tenant("u", "p", "bob")],
        [HashedBasic("u", "p"), HashedBasic("u", "p")],
        [TenantPair(("u", "p")), TenantPair(("u", "p")), ("u", "p")],
    ],
)
def test_no_auth_gets_the_connection_of_another(auths: list[Any]) -> None:
    """The short way, too, which compares what `find` was given as it is."""

    class Hook(ConnectionHook):
        def connect(self, host: str, auth: Any) -> Any:
            return [auth]

    with ConnectionManager() as manager:
        manager.add_conn_hook(Hook())
        for _ in range(2):
            for auth in auths:
                assert manager.find("billing", auth)[0] is auth
        assert len(manager) == len(auths)


@pytest.mark.parametrize(
    ("auth", "change"),
    [
        (HTTPBasicAuth("u", "p"), lambda auth: setattr(auth, "password", "q")),
        (HTTPDigestAuth("u", "p"), lambda auth: setattr(auth, "username", "v")),
        (["u", "p"], lambda auth: auth.__setitem__(1, "q")),
        ({"token": {"now": "t"}}, lambda auth: auth["token"].update(now="s")),
    ],
)
def test_credentials_changed_in_place_are_other_credentials(auth: Any, change: Any) -> None:
    """Else the new password would be given the connection of the old one."""
    before = AuthKey(auth)
    change(auth)
    assert AuthKey(auth) != before


def test_an_object_that_cannot_be_compared_is_itself() -> None:
    auth = Strict()
    assert AuthKey(auth) == AuthKey(auth)


def test_the_users_of_one_host_do_not_share_a_hash() -> None:
    """Ten thousand users of one service would make each look-up a search."""
    assert len({hash(AuthKey(HTTPBasicAuth(f"user{number}", "p"))) for number in range(100)}) > 90


def test_a_key_shows_no_secret_and_is_equal_to_nothing_else() -> None:
    key = AuthKey(("u", "geheim"))
    assert repr(key) == "<AuthKey of HTTPBasicAuth>"
    assert key != ("u", "geheim")


@pytest.mark.parametrize(
    "host",
    ["https://host.com", "https://host.com/", "HTTPS://HOST.com", "https://host.com:443", "https://Host.com:443//"],
)
def test_letter_case_a_default_port_and_a_trailing_slash_make_no_difference(host: str) -> None:
    name, origin = host_key(host)
    assert name == "https://host.com"
    assert origin is not None
    assert origin.text == "https://host.com"


@pytest.mark.parametrize(
    "host", ["http://host.com", "https://host.com:8443", "https://host.com/Api", "https://host.com/api", "host.com"]
)
def test_another_scheme_port_or_path_is_another_host(host: str) -> None:
    names = [host_key(one)[0] for one in ("https://host.com", host)]
    assert names[0] != names[1]


def test_a_path_keeps_its_case() -> None:
    assert host_key("https://Host.com/Api/")[0] == "https://host.com/Api"


@pytest.mark.parametrize("host", ["orders", "Orders", "orders/", "ORDERS"])
def test_a_bare_name_has_no_origin(host: str) -> None:
    assert host_key(host) == ("orders", None)


@pytest.mark.parametrize("host", ["consul://orders", "unix:///run/app.sock", "bob@fleet-7", "srv:orders:1", ""])
def test_what_is_no_web_address_is_a_name_that_a_hook_may_understand(host: str) -> None:
    assert host_key(host)[1] is None


@pytest.mark.parametrize("host", ["u:geheim@host.com", "redis://u:geheim@host", "https://u:geheim@host.com"])
def test_credentials_in_a_host_are_refused_and_not_shown(host: str) -> None:
    with pytest.raises(URLError, match="pass them as auth=") as caught:
        host_key(host)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("host", ["https://", "https://host.com:99999", "https://host.com/?a=b", "http://ho st"])
def test_a_url_that_cannot_be_connected_to_is_refused(host: str) -> None:
    with pytest.raises(URLError):
        host_key(host)


@pytest.mark.parametrize(
    "host",
    [
        "billing?token=geheim",
        "svc://billing#geheim",
        "billing\x1b]0;geheim\x07",
        "billing\n[error] geheim",
        "billing\u202egeheim",
        "billing\u200bgeheim",
        "billing\ud800geheim",
        "b" * 300,
    ],
)
def test_of_a_name_only_what_may_be_shown_is_part_of_its_name(host: str) -> None:
    """It is written to logs, texts and metrics."""
    name, origin = host_key(host)
    assert origin is None
    assert name.isprintable()
    assert len(name) < 300
    assert "geheim" not in name
    assert host_key(host)[0] == name
    assert host_key(f"{host}2")[0] != name


class CallableDict(dict[str, str]):
    """Compared by what is in it, and without a hash."""

    def __call__(self, request: object) -> object:
        return request


class Stubborn:
    def __hash__(self) -> int:
        raise OSError("the key store is locked")


def test_a_mark_is_the_same_for_equal_credentials_and_shows_none_of_them() -> None:
    """It is kept in tables that outlive the connection, where a secret would lie about."""
    pairs = [("ann", "sesame"), HTTPBasicAuth("ann", "sesame"), ["ann", "sesame"]]
    assert len({AuthKey(auth).mark() for auth in pairs}) == 1
    others = [("ann", "other"), ("bob", "sesame"), HTTPDigestAuth("ann", "sesame"), Token("ann", "sesame"), ANONYMOUS]
    marks = [AuthKey(auth).mark() for auth in (pairs[0], *others)]
    assert len(set(marks)) == len(marks)
    assert all(len(mark) == 32 and "sesame" not in mark for mark in marks)
    assert AuthKey(Token("ann", "sesame")).mark() == AuthKey(Token("ann", "sesame")).mark()


@pytest.mark.parametrize("make", [TokenAuth, SlottedToken, lambda word: CallableDict(token=word), lambda _: Stubborn()])
def test_an_object_without_a_hash_of_its_own_is_marked_as_itself(make: Any) -> None:
    one, other = make("one"), make("other")
    assert sent_mark(one, {}) == sent_mark(one, {})
    assert sent_mark(one, {}) != sent_mark(other, {})


def test_without_an_auth_object_the_header_counts() -> None:
    marks = [sent_mark(None, {"Authorization": value}) for value in ("Bearer a", b"Bearer a", "Bearer b")]
    assert marks[0] == marks[1] != marks[2]
    assert sent_mark(None, {}) == ""
    one = HTTPDigestAuth("ann", "sesame")
    assert sent_mark(one, {"Authorization": "Bearer a"}) == AuthKey(one).mark(), "it is applied later, and overwrites"
