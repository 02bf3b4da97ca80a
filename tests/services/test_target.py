"""Where a relation leads when data names the host: which credentials go there, and which hosts are none."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from reschema import ServiceDefManager

from sleepwalker import (
    ANONYMOUS,
    Connection,
    ConnectionHook,
    ConnectionManager,
    HTTPUnauthorized,
    InvalidParameter,
    LinkError,
    Service,
    ServiceManager,
    URLError,
)
from sleepwalker import ConnectionError as OurConnectionError
from tests.services.driver import HARBOR, PATIENT, Hub, definitions, parsed
from tests.wire.servers import Exchange, FaultServer, json_reply, reply

SECRET = "canary-3f20"
HOME = "https://harbor.example"
VISIT = {"id": 5, "pilot": "kim", "host": "https://staff.example", "zone": "", "cargo": []}


class Keys(ConnectionHook):
    """Knows a key for some hosts, and uses what it is given for all others, as a careless hook does."""

    def __init__(self, keys: dict[str, Any] | None = None) -> None:
        self.keys = keys or {}
        self.asked: list[tuple[Any, Any]] = []

    def connect(self, host: Any, auth: Any) -> Any:
        self.asked.append((host, auth))
        headers = {"Authorization": f"Bearer {key}"} if (key := auth or self.keys.get(host)) else {}
        return Connection(host, ANONYMOUS, headers=headers, policy=PATIENT)


def _visit(host: Any, *, home: Any = HOME, auth: Any = SECRET, zone: Any = "", hook: Any = None, **options: Any) -> Any:
    """A visit whose data names the host."""
    connections = ConnectionManager(policy=PATIENT)
    connections.add_conn_hook(hook or Keys())
    service = ServiceManager(definitions(), connections, **options).find_by_id(home, HARBOR, "east", auth)
    visit = service.bind("visit", id=5)
    visit.data = {**VISIT, "host": host, "zone": zone}
    return visit


@pytest.mark.parametrize(
    "host",
    [
        "https://staff.example",
        "https://harbor.example.evil.example",
        "https://evil-harbor.example",
        "https://harbor.example:8443",
        "//harbor.example",
        "harbor.example",
        "people",
    ],
)
def test_a_host_that_data_names_does_not_get_the_credentials(host: str) -> None:
    assert _visit(host).follow("pilot").service.auth is None
    assert _visit(host).follow("pilot").service.headers == {}


@pytest.mark.parametrize("host", [HOME, "HTTPS://Harbor.example:443", "https://harbor.example/", "", None])
def test_the_same_host_gets_them_however_it_is_written(host: Any) -> None:
    assert _visit(host).follow("pilot").service.auth == SECRET


def test_hosts_with_names_of_their_own_are_compared_by_name() -> None:
    assert _visit("Harbor", home="harbor").follow("pilot").service.auth == SECRET
    assert _visit("harbor2", home="harbor").follow("pilot").service.auth is None
    assert _visit("https://harbor", home="harbor").follow("pilot").service.auth is None


def test_a_host_that_the_caller_names_gets_them() -> None:
    visit = _visit("https://evil.example")
    named = visit.follow("pilot", **{"$host": "https://staff.example"}).service
    assert (named.host, named.auth) == ("https://staff.example", SECRET)
    plain = visit.follow("pilot", **{"$host": "http://staff.example"}).service
    assert (plain.host, plain.auth) == ("http://staff.example", SECRET)


@pytest.mark.parametrize("allow", [["https://staff.example"], ["https://*.example"], ["people", "https://*"]])
def test_a_host_that_is_allowed_gets_them(allow: list[str]) -> None:
    assert _visit("https://staff.example", allow=allow).follow("pilot").service.auth == SECRET
    assert _visit("https://staff.example.evil", allow=allow[:1]).follow("pilot").service.auth is None


def test_a_name_can_be_allowed_and_so_can_a_scheme_of_the_hooks_own() -> None:
    assert _visit("people", allow=["people"]).follow("pilot").service.auth == SECRET
    assert _visit("consul://people", allow=["consul://*"]).follow("pilot").service.auth == SECRET


def test_what_is_allowed_can_be_changed_and_is_checked() -> None:
    visit = _visit("https://staff.example")
    manager = visit.service.service_manager
    assert manager.allow == ()
    manager.allow = ["https://staff.example:443"]
    assert manager.allow == ("https://staff.example",)
    assert visit.follow("pilot").service.auth == SECRET
    with pytest.raises(TypeError, match="allow must be a list"):
        manager.allow = "https://*"
    with pytest.raises(ValueError, match="has a path"):
        ServiceManager(definitions(), Hub(), allow=["https://staff.example/api"])


def test_a_connection_manager_that_is_none_of_ours_decides_by_itself() -> None:
    """Version 2.0's way: hosts and credentials mean nothing here."""
    hub = Hub()
    visit = ServiceManager(definitions(), hub).find_by_id(HOME, HARBOR, auth=SECRET).bind("visit", id=5)
    for host in ("http://q2", "people", "file:///etc/passwd", 5, "x\n"):
        visit.data = {**VISIT, "host": host}
        target = visit.follow("pilot").service
        assert (target.host, target.auth) == (host, SECRET)


def test_no_credentials_are_as_they_were() -> None:
    """ANONYMOUS says that there are none to be used, not even those of netrc, and goes along."""
    assert _visit("https://staff.example", auth=ANONYMOUS).follow("pilot").service.auth is ANONYMOUS
    assert _visit("https://staff.example", auth=None).follow("pilot").service.auth_stays_with is None


@pytest.mark.parametrize("allow", [[], ["http://*"]])
@pytest.mark.parametrize("host", ["http://staff.example", "HTTP://harbor.example", "http://127.0.0.1:1"])
def test_data_never_leads_from_https_to_http(host: str, allow: list[str]) -> None:
    with pytest.raises(URLError, match=r"^`\$host` of the relation 'pilot' of visit at .* from https to http"):
        _visit(host, allow=allow).follow("pilot")


def test_data_never_leads_from_a_name_that_was_reached_by_https_to_http() -> None:
    class Named(ConnectionHook):
        def connect(self, host: Any, auth: Any) -> Any:
            return Connection(HOME, ANONYMOUS)

    visit = _visit("http://staff.example", home="harbor", hook=Named())
    assert visit.follow("pilot").service.auth is None  # how the host is reached is not known yet
    visit.service.connection = Connection(HOME, ANONYMOUS)
    with pytest.raises(URLError, match="from https to http"):
        visit.follow("pilot")


@pytest.mark.parametrize(
    ("host", "kind", "says"),
    [
        (5, LinkError, "must be a string, and the data has one of type int"),
        (True, LinkError, "of type bool"),
        (["http://x"], LinkError, "of type list"),
        ({"a": SECRET}, LinkError, "of type dict"),
        ("x" * 100_000, LinkError, "has 100000 characters"),
        ("https://" + "x" * 100_000, LinkError, "has 100008 characters"),
        ("\x1b]0;x\x07", LinkError, "control or other unprintable characters"),
        ("https://b.example\r\nX: y", LinkError, "control or other unprintable characters"),
        ("https://b\u202e.example", LinkError, "control or other unprintable characters"),
        ("\ud800", LinkError, "control or other unprintable characters"),
        (f"https://u:{SECRET}@b.example", URLError, "credentials"),
        (f"u:{SECRET}@b.example", URLError, "credentials"),
        ("https://[::1", URLError, "host and port"),
        ("https://b.example:99999", URLError, "port"),
        (f"https://b.example?token={SECRET}", URLError, "query"),
        ("https://0x7f.1", URLError, "number as host"),
        ("file:///etc/passwd", URLError, "scheme other than http and https"),
        ("gopher://b.example", URLError, "scheme other"),
    ],
)
def test_what_is_no_host_is_told_in_few_printable_words_and_nothing_is_sent(host: Any, kind: Any, says: str) -> None:
    hook = Keys()
    visit = _visit(host, hook=hook)
    with pytest.raises(kind, match=says) as caught:
        visit.follow("pilot")
    assert type(caught.value) is kind
    assert caught.value.__context__ is None
    text = str(caught.value)
    assert text.startswith("`$host` of the relation 'pilot' of visit at /api/east/harbor/1.4/visits/5")
    assert len(text) < 400
    assert text.isprintable()
    assert SECRET not in text
    assert hook.asked == []


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("zone", ["..", ".", "../..", "%2e%2e", "a/../../b", "..;x"])
def test_an_instance_that_leads_out_of_the_service_path_is_refused(zone: str, given: bool) -> None:
    visit = _visit("", zone="" if given else zone)
    with pytest.raises(InvalidParameter, match=r"`\$instance` of the relation 'pilot' .* dot segment"):
        visit.follow("pilot", **({"$instance": zone} if given else {}))


@pytest.mark.parametrize("zone", ["x?y=", "x#", "a\\b", "a\nb", ["a"], {"a": 1}, True])
def test_an_instance_in_data_that_is_no_part_of_a_path_is_refused(zone: Any) -> None:
    with pytest.raises(LinkError, match=r"`\$instance` of the relation 'pilot'"):
        _visit("", zone=zone).follow("pilot")


@pytest.mark.parametrize("zone", [7, "west", "a.b"])
def test_other_instances_are_followed(zone: Any) -> None:
    assert _visit("", zone=zone).follow("pilot").uri == f"/api/{zone}/staff/1.0/people/kim"


# -- dot segments in the paths of a definition ----------------------------------------------------------

DOTTED = ["..", ".", "../..", "%2e%2e", ".%2E", "..;", "a/../..", "..\\"]


class Refuses:
    """A connection that must not be asked."""

    def json_request(self, *args: Any) -> Any:
        raise AssertionError(args)


@pytest.mark.parametrize("value", DOTTED)
def test_a_dot_segment_is_no_value_of_a_variable(value: str) -> None:
    """`DELETE /visits/..` would delete what the definition calls something else."""
    service = Service(definitions().find_by_id(HARBOR), HOME, connection=Refuses(), service_manager=_manager())
    with pytest.raises(InvalidParameter, match=r"'id'.*visits/\{id\}.*another resource"):
        service.bind("visit", id=value).delete()
    berth = service.bind("berth", num=3)
    with pytest.raises(InvalidParameter, match="'num'"):
        berth.execute("paint", "red", num=value)
    berth.data = {"num": value}
    with pytest.raises(InvalidParameter, match="'num'"):
        berth.execute("paint", "red")
    with pytest.raises(InvalidParameter, match="'num'"):
        berth.full()
    visit = service.bind("visit", id=5)
    visit.data = {**VISIT, "host": "", "pilot": value}
    with pytest.raises(InvalidParameter, match="'ref'"):
        visit.follow("pilot")
    with pytest.raises(InvalidParameter, match="'ref'"):
        visit.follow("pilot", ref=value)


def test_a_dot_segment_in_a_reply_does_not_say_where_the_new_member_is() -> None:
    class Replies:
        def json_request(self, *args: Any) -> Any:
            return {"num": ".."}

    service = Service(definitions().find_by_id(HARBOR), HOME, connection=Replies())
    with pytest.raises(InvalidParameter, match="'num'"):
        service.bind("berths").create({"num": 0})


def test_dots_in_queries_and_in_names_are_sent() -> None:
    service = Service(definitions().find_by_id(HARBOR), HOME, connection=Refuses())
    assert service.bind("berths", side="..").uri == "/api/harbor/1.4/berths?side=.."
    assert service.bind("visit", id="a..b.json").uri == "/api/harbor/1.4/visits/a..b.json"
    assert service.bind("visit", id="...").uri == "/api/harbor/1.4/visits/..."


def test_several_variables_make_no_dot_segment_together_and_the_definitions_own_stay() -> None:
    own = parsed(
        "{a: {type: object, links: {self: {path: '$/x/{b}{c}'}}}, d: {type: object, links: {self: {path: '$/../{b}'}}},"
        " e: {type: object, links: {self: {path: '$/{+b}'}}}}"
    )
    service = Service(own, HOME, servicepath="/s", connection=Refuses())
    with pytest.raises(InvalidParameter, match="'b', 'c'"):
        service.bind("a", b=".", c=".")
    with pytest.raises(InvalidParameter, match="'b'"):
        service.bind("e", b="a/../..")
    assert service.bind("d", b="x").uri == "/s/../x"
    assert service.bind("e", b="a/b").uri == "/s/a/b"


def _manager() -> ServiceManager:
    return ServiceManager(definitions(), Hub())


# -- over the network -----------------------------------------------------------------------------------


class Two:
    """The harbour, whose data says where the staff is, and the staff on another host, which wants a key of its own."""

    def __init__(self) -> None:
        self.staff = FaultServer(default=self._staff)
        self.harbor = FaultServer(default=lambda exchange: json_reply({**VISIT, "host": self.staff.url}))

    def _staff(self, exchange: Exchange) -> Any:
        assert exchange.request is not None
        return json_reply({"name": "Kim"}) if exchange.request.header("Authorization") == "Bearer own" else reply(401)

    def follow(self, hook: ConnectionHook, auth: Any = SECRET, **options: Any) -> Any:
        connections = ConnectionManager(policy=PATIENT)
        connections.add_conn_hook(hook)
        known: ServiceDefManager = definitions()
        service = ServiceManager(known, connections, **options).find_by_id(self.harbor.url, HARBOR, auth=auth)
        service.add_headers({"X-Key": SECRET})
        return service.bind("visit", id=5).follow("pilot")

    def leaked(self) -> bool:
        basic = base64.b64encode(f"user:{SECRET}".encode()).decode()
        sent = [text for asked in self.staff.requests for _, text in [*asked.headers, ("", asked.target)]]
        return any(secret in text for text in sent for secret in (SECRET, basic))


@pytest.fixture
def two() -> Iterator[Two]:
    two = Two()
    with two.staff, two.harbor:
        yield two


def test_no_credential_of_a_service_reaches_the_host_that_its_data_names(two: Two) -> None:
    with pytest.raises(HTTPUnauthorized) as caught:
        two.follow(Keys()).pull()
    assert len(two.staff.requests) == 1
    assert not two.leaked()
    note = caught.value.__notes__[-1]
    assert note.startswith(f"the auth of {two.harbor.url} was not sent to {two.staff.url}, because a server's link")
    assert SECRET not in note
    assert two.harbor.requests[0].header("Authorization") == f"Bearer {SECRET}"


def test_the_hook_has_what_that_host_wants(two: Two) -> None:
    assert two.follow(Keys({two.staff.url: "own"})).data == {"name": "Kim"}
    assert not two.leaked()


def test_a_user_and_password_stay_too(two: Two) -> None:
    class Basic(ConnectionHook):
        def connect(self, host: Any, auth: Any) -> Any:
            return Connection(host, auth or ANONYMOUS, policy=PATIENT)

    with pytest.raises(HTTPUnauthorized):
        two.follow(Basic(), auth=("user", SECRET)).pull()
    assert not two.leaked()


def test_an_allowed_host_gets_what_the_service_has(two: Two) -> None:
    assert two.follow(Keys(), auth="own", allow=[two.staff.url]).data == {"name": "Kim"}
    assert {asked.header("X-Key") for asked in two.staff.requests} == {None}  # headers are those of one service


def test_a_hook_that_knows_no_other_host_is_explained_as_well(two: Two) -> None:
    class Own(ConnectionHook):
        def connect(self, host: Any, auth: Any) -> Any:
            return Keys().connect(host, auth) if host == two.harbor.url else None

    with pytest.raises(OurConnectionError, match="does not know the host") as caught:
        two.follow(Own()).pull()
    assert "was not sent to" in caught.value.__notes__[-1]
    assert two.staff.requests == []


def test_the_caller_can_put_the_credentials_in_later(two: Two) -> None:
    pilot = two.follow(Keys())
    pilot.service.auth = "own"
    assert pilot.pull().data == {"name": "Kim"}
