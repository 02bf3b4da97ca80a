"""What hooks' failures come to: an error for each thread that waits, and texts that name servers and hold no secret."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import traceback
from collections.abc import Callable
from typing import Any, Self

import pytest
import requests
import urllib3

from sleepwalker import (
    ANONYMOUS,
    CircuitOpenError,
    ConnectionManager,
    DeadlineExceeded,
    DecodeError,
    HostIsolatedError,
    HTTPError,
    PolicyError,
    ReadTimeout,
    URLError,
    status,
)
from sleepwalker import ConnectionError as OurConnectionError
from sleepwalker.connection.allowed import checked_allow
from sleepwalker.connection.said import own_copy, scrubbed
from sleepwalker.prometheus import Collector
from sleepwalker.transport.url import origin_of
from tests.both_drivers import threads_only
from tests.unit.manager_driver import A, B, Bed, Hook, fail, in_thread, nothing
from tests.unit.test_manager import Gate, waiting
from tests.unit.test_status import ask

pytestmark = pytest.mark.both_drivers("tests.unit.manager_driver")

LOGIN = "https://login.example"
SECRET = "geheim"


# -- an error for each thread ------------------------------------------------------------------------------------


class Keywords(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Slotted(ValueError):
    __slots__ = ("free", "message", "none", "unset")

    def __init__(self) -> None:
        super().__init__("slots")
        self.free, self.message, self.none = 1, "words", None


class Counting(OSError):
    """Takes note of each of its constructor's calls, and of what sets its attributes."""

    calls = 0

    def __new__(cls, *args: Any) -> Self:
        cls.calls += 1
        return super().__new__(cls)

    def __init__(self, number: int) -> None:
        type(self).calls += 1
        super().__init__(number, "words", "/file")

    def __setattr__(self, name: str, value: object) -> None:
        type(self).calls += 1
        super().__setattr__(name, value)

    def __reduce__(self) -> Any:
        raise AssertionError("it is not pickled")


class Group(ExceptionGroup[Exception]):
    message = "hides that of the class above"

    def __new__(cls, *, parts: list[Exception]) -> Self:
        return super().__new__(cls, "own", parts)

    def __init__(self, *, parts: list[Exception]) -> None:
        self.parts = len(parts)


def answer(code: int, url: str = f"{LOGIN}/token?client_secret={SECRET}") -> requests.Response:
    made = requests.Response()
    made.status_code, made.url, made.reason = code, url, "Of Old"
    made.request = requests.Request("POST", url).prepare()
    return made


def refused_json() -> requests.Response:
    made = answer(403)
    made._content = b'{"error_text": "no"}'
    return made


def decoding() -> Exception:
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        return error
    raise AssertionError


def syntax() -> Exception:
    try:
        compile("1 +", "file", "exec")
    except SyntaxError as error:
        return error
    raise AssertionError


POOL = urllib3.HTTPSConnectionPool("h")
ERRORS: list[Exception] = [
    ValueError("a bug"),
    ValueError(),
    KeyError("key"),
    Exception(1, [2], None),
    StopIteration(3),
    AttributeError("no", name="name", obj=3),
    NameError("no", name="name"),
    ImportError("no", name="module", path="/path"),
    decoding(),
    UnicodeEncodeError("ascii", "ä", 0, 1, "no"),
    syntax(),
    OSError("one word"),
    OSError(errno.ENOENT, "words", "/file", None, "/other"),
    OSError(errno.ECONNREFUSED, "words"),
    BlockingIOError(errno.EAGAIN, "words", 7),
    socket.gaierror(-2, "Name or service not known"),
    ssl.SSLError(1, "certificate"),
    ssl.SSLCertVerificationError(1, "certificate"),
    Keywords(code=5),
    Slotted(),
    Counting(5),
    ExceptionGroup("several", [ValueError(1), ExceptionGroup("inner", [OSError(2)])]),
    Group(parts=[ValueError(1)]),
    requests.ConnectionError("gone", request=answer(500).request),
    requests.HTTPError("401", response=answer(401)),
    requests.exceptions.JSONDecodeError("no", "doc", 1),
    requests.exceptions.InvalidURL("no"),
    urllib3.exceptions.ReadTimeoutError(POOL, "/", "slow"),
    urllib3.exceptions.MaxRetryError(POOL, "/", OSError(2)),
    urllib3.exceptions.IncompleteRead(5, 6),
    urllib3.exceptions.LocationParseError("h"),
    OurConnectionError("down"),
    CircuitOpenError("open", host=A, retry_after=3.0, cause="503"),
    HostIsolatedError("isolated", host=A),
    DeadlineExceeded("late", limit="total", phase="wait"),
    DecodeError("no", response=answer(200)),
    PolicyError("bad", faults=("one", "two")),
    HTTPError.of(answer(401)),
    HTTPError.of(refused_json()),
]
BY_KIND = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def raised(error: Exception) -> Exception:
    """As it comes from a hook, with all that may hang on it."""
    for kind in (LookupError, RuntimeError):
        try:
            try:
                raise kind("before")
            except kind as before:
                raise error from (before if kind is LookupError else None)
        except type(error):
            pass
    return error


def values(error: BaseException) -> dict[str, Any]:
    """Every value that an object of its class may have."""
    return {
        name: getattr(error, name, "unset")
        for name in dir(error)
        if name == "__notes__"
        or not (name.startswith("__") or callable(getattr(type(error), name, None)) or name == "text")
    }


@BY_KIND
def test_the_copy_of_an_error_is_like_it_and_none_of_its_class_code_runs(error: Exception) -> None:
    raised(error)
    error.__notes__ = ["a note"]  # type: ignore[attr-defined]
    error.__dict__["more"] = 5
    Counting.calls = 0
    copied = own_copy(error)
    assert Counting.calls == 0
    assert copied is not error
    assert type(copied) is type(error)
    assert copied.args == error.args
    assert values(copied) == values(error)
    assert (str(copied), repr(copied)) == (str(error), repr(error))
    assert copied.__dict__ == error.__dict__
    for name in ("__cause__", "__context__", "__suppress_context__", "__traceback__"):
        assert getattr(copied, name) is getattr(error, name)
    copied.add_note("of one thread")
    assert error.__notes__ == ["a note"]  # type: ignore[attr-defined]


@BY_KIND
def test_raising_the_copy_does_not_lengthen_the_original(error: Exception) -> None:
    before = len(traceback.extract_tb(raised(error).__traceback__))
    for _ in range(10):
        with pytest.raises(type(error)):
            raise own_copy(error)
    assert len(traceback.extract_tb(error.__traceback__)) == before


def test_a_context_that_is_shown_stays_shown() -> None:
    error = ValueError("a bug")
    error.__cause__ = error.__context__ = KeyError("before")
    error.__suppress_context__ = False
    assert own_copy(error).__suppress_context__ is False


def test_an_error_that_no_copy_can_be_made_of_is_passed_on_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its type is what the callers look for. Classes of extension modules may refuse in any way."""

    def refuse(error: Exception) -> Exception:
        raise RuntimeError("no such object without its data")

    monkeypatch.setattr("sleepwalker.connection.said._copied", refuse)
    error = ValueError("a bug")
    assert own_copy(error) is error


@threads_only("frames of the facade are in the tracebacks")
@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("a bug"), ValueError), (OSError("down"), OurConnectionError), (Keywords(code=5),) * 2],
)
def test_64_threads_that_wait_get_64_errors_with_short_tracebacks(error: Exception, kind: Any) -> None:
    bed = Bed()
    gate = bed.hook.act = Gate(fail(error))
    jobs = [in_thread(lambda: bed.manager.find(A)) for _ in range(64)]
    waiting(bed, 64)
    gate.go.set()
    errors = []
    for job in jobs:
        with pytest.raises(kind if isinstance(kind, type) else Keywords) as caught:
            job()
        errors.append(caught.value)
    assert len({id(one) for one in errors}) == 64
    assert len({str(one) for one in errors}) == 1
    assert max(len(traceback.extract_tb(one.__traceback__)) for one in errors) < 20


def test_a_thread_that_waited_sees_where_in_the_hook_it_happened_and_no_other_callers_frames() -> None:
    bed = Bed()
    gate = bed.hook.act = Gate(fail(ValueError("a bug")))

    def leads() -> Any:
        return bed.manager.find(A)

    def waits() -> Any:
        return bed.manager.find(A)

    first = in_thread(leads)
    assert gate.entered.wait(10)
    second = in_thread(waits)
    waiting(bed, 2)
    gate.go.set()
    with pytest.raises(ValueError, match="a bug"):
        first()
    with pytest.raises(ValueError, match="a bug") as caught:
        second()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "waits" in names
    assert "leads" not in names
    assert names[-1] == "act"


# -- who said it -------------------------------------------------------------------------------------------------


def said(error: Exception, host: str = A) -> str:
    """What `find` says of a hook that fails so."""
    bed = Bed(hooked=False)
    bed.manager.add_conn_hook(Hook(fail(error)))
    with pytest.raises(OurConnectionError) as caught:
        bed.manager.find(host)
    assert SECRET not in f"{caught.value!r}{caught.value}{bed.events}"
    text = str(caught.value)
    start = f"no connection to {host}: Hook: "
    assert text.startswith(start)
    return text.removeprefix(start)


class Foreign(OSError):
    """Of a library that says it as httpx does: a URL that is no str, and a request that may not be there."""

    class URL:
        def __str__(self) -> str:
            return f"https://u:{SECRET}@login.example:8443/x?token={SECRET}"

    class Answer:
        status_code = 503
        url: Any

    def __init__(self) -> None:
        super().__init__(SECRET)
        self.response = self.Answer()
        self.response.url = self.URL()

    @property
    def request(self) -> Any:
        raise RuntimeError("the request has not been set")


class Bad:
    def __str__(self) -> str:
        raise RuntimeError("no")


def unclear() -> Exception:
    error = Foreign()
    error.response.url = Bad()
    return error


def failed(error: requests.RequestException, url: str = f"{LOGIN}/token?secret={SECRET}") -> Exception:
    error.request = requests.Request("POST", url).prepare()
    return error


REFUSED = urllib3.exceptions.NewConnectionError(POOL, "no")  # type: ignore[arg-type]
REFUSED.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
WHERE = "a server that the hook called"
GONE = f"{os.strerror(errno.ECONNREFUSED)} (errno {errno.ECONNREFUSED})"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (HTTPError.of(answer(401)), f"HTTPUnauthorized: 401 (from {LOGIN})"),
        (HTTPError.of(answer(503)), f"HTTPServiceUnavailable: 503 (from {LOGIN})"),
        (HTTPError.of(answer(401, f"{A}/x?token={SECRET}")), "HTTPUnauthorized: 401"),
        (requests.HTTPError(SECRET, response=answer(401)), f"HTTPError: 401 (from {LOGIN})"),
        (requests.HTTPError(SECRET, response=answer(401, f"{A}/x?token={SECRET}")), "HTTPError: 401"),
        (Foreign(), "Foreign: 503 (from https://login.example:8443)"),
        (unclear(), f"Foreign: 503 (from {WHERE})"),
        (failed(requests.ConnectionError(REFUSED)), f"ConnectionError: {LOGIN}: {GONE}"),
        (failed(requests.ConnectionError(REFUSED), A), f"ConnectionError: {A}: {GONE}"),
        (requests.ConnectionError(SECRET), f"ConnectionError: {WHERE}: the exchange failed"),
        (failed(requests.ReadTimeout(SECRET)), f"ReadTimeout: {LOGIN}: nothing arrived in time"),
        (failed(requests.ConnectTimeout(SECRET)), f"ConnectTimeout: {LOGIN}: no connection in time"),
        (OSError(errno.ECONNREFUSED, SECRET), f"ConnectionRefusedError: Connection refused (from {WHERE})"),
        (OSError(errno.EHOSTUNREACH, SECRET), f"OSError: {os.strerror(errno.EHOSTUNREACH)} (from {WHERE})"),
        (socket.gaierror(-2, "Name or service not known"), f"gaierror: Name or service not known (from {WHERE})"),
        (FileNotFoundError(errno.ENOENT, "no", SECRET), "FileNotFoundError: No such file or directory"),
    ],
)
def test_a_refusal_is_told_of_the_server_that_said_it(error: Exception, text: str) -> None:
    """Else a login server's 401 would read as if the host looked for had refused."""
    assert said(error) == text


class Silent(HTTPError):
    """Made without what an `HTTPError` is made of."""

    def __init__(self, words: str) -> None:
        Exception.__init__(self, words)


def with_status(status: Any) -> HTTPError:
    error = HTTPError.of(answer(401))
    error.http_code = status
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(Bad()), "OSError"),
        (ConnectionError(Bad(), "words"), "ConnectionError: words"),
        (OSError([SECRET], "words"), "OSError: words"),
        (OSError(10**5000, "words"), "OSError: words"),
        (OSError(99_999, Bad()), "OSError: 99999"),
        (OurConnectionError(Bad()), "ConnectionError"),
        (Silent(SECRET), f"Silent (from {WHERE})"),
        (with_status(SECRET), f"HTTPUnauthorized (from {LOGIN})"),
        (with_status(10**5000), f"HTTPUnauthorized (from {LOGIN})"),
    ],
)
def test_an_error_that_cannot_be_told_does_not_keep_the_others_from_being_told(error: Exception, text: str) -> None:
    assert said(error) == text


def test_for_a_name_the_server_is_always_told() -> None:
    """Only the hook knows where the name leads."""
    assert said(HTTPError.of(answer(401, B)), "billing") == f"HTTPUnauthorized: 401 (from {B})"


def test_an_expired_certificate_is_told_so() -> None:
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
    error.verify_message = "certificate has expired"
    assert said(error) == f"SSLCertVerificationError: certificate has expired (from {WHERE})"


# -- what it said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [OurConnectionError, ReadTimeout, OSError, ConnectionError, TimeoutError])
def test_what_a_hook_itself_says_is_scrubbed_whatever_its_class(kind: type[Exception]) -> None:
    assert said(kind(f"login at {LOGIN}/oauth?client=x failed: token={SECRET}")) == (
        f"{kind.__name__}: login at {LOGIN}/oauth failed: …"
    )


def test_a_hook_that_wraps_its_own_words_in_the_errors_of_requests_is_scrubbed_too() -> None:
    assert said(requests.ConnectionError(OurConnectionError(f"down, token={SECRET}"))) == "ConnectionError: down, …"


def test_what_our_own_code_says_is_shown_as_it_is() -> None:
    def act(host: Any, auth: Any) -> Any:
        return origin_of("ftp://h/x")

    bed = Bed()
    bed.hook.act = act
    with pytest.raises(OurConnectionError, match="uri 'ftp://h/x' is not an http or https URL: pass a path such as"):
        bed.manager.find(A)


@pytest.mark.parametrize(
    "text",
    [
        "Connection refused",
        "certificate has expired",
        "backend 7 is away",
        "the login page is gone",
        "token has expired",
        "invalid password",
        "The session expired, try later.",
        "Basic authentication failed",
        "127.0.0.1:8443 refused (errno 111)",
        "see https://login.example/help/login",
        "it returned a closed connection",
        "50% of 3 tries: no answer!",
    ],
)
def test_useful_words_stay(text: str) -> None:
    assert scrubbed(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("token=geheim", "…"),
        ("token: geheim", "token: …"),
        ("token:123456", "…"),
        ('{"token": "geheim", "more": 1}', '{"token": … "more": 1}'),
        ("Authorization: Bearer geheim", "Authorization: Bearer …"),
        ("X-Api-Key: geheim", "X-Api-Key: …"),
        ("client_secret geheim", "client_secret …"),
        ("mytoken geheim, jsessionid:geheim, apikey: geheim", "mytoken … … apikey: …"),
        ("password is geheim. Sorry", "password is … Sorry"),
        ("the passphrase correct horse battery, no", "the passphrase … … … no"),
        ("alice:geheim at 10.0.0.1:80", "… at 10.0.0.1:80"),
        ("alice:1geheim (alice:12geheim) alice:123456 at [::1]:80 12:30:45", "… … … at [::1]:80 12:30:45"),
        ('{"user":5,"pin":1234}', "…"),
        ("pw geheim, pass: geheim, creds geheim; sid geheim", "pw … pass: … creds … sid …"),
        ("alice@example.com", "…"),
        ("a#geheim //geheim geheim? a&b a%3dgeheim DOMAIN\\geheim", "… … … … … …"),
        ("got eyJhbGciOiJIUzI1NiJ9eyJzdWIiOiIxMjM0In0 back", "got … back"),
        ("got 3f2504e0-4f89-11d3-9a0c-0305e82c3301 back", "got … back"),
        ("x" * 200, "…"),
        ("red \x1b]0;geheim\x07 \u202egeheim \ud800geheim", "red … … …"),
        ("HTTPS://u:geheim@Login.example:443/a/b?geheim#geheim", "https://login.example/a/b"),
        ("<https://login.example/a>,", "<https://login.example/a>,"),
        ("https://login.example/token/geheim/a", "https://login.example/token/…/a"),
        ("https://login.example/a;jsessionid=geheim", "https://login.example/…"),
        ("https://login.example/0123456789abcdef0123456789", "https://login.example/…"),
        ("https://u:pa/geheim@login.example", "…"),
        ("https://u?geheim@login.example", "…"),
        ("https://u:p@geheim@login.example", "…"),
        ("https://login.example/?x=a@geheim", "…"),
        ("https://[geheim", "…"),
        ("url:https://login.example/geheim", "…"),
        ("redis://login.example/geheim", "…"),
        ("a " * 149 + " https://login.example:8443/geheim", "a " * 149 + "…"),
        ("  ", ""),
    ],
)
def test_words_that_may_be_secrets_are_not_shown(text: str, shown: str) -> None:
    assert scrubbed(text) == shown


def test_of_a_long_text_the_beginning_is_shown() -> None:
    assert len(scrubbed("word " * 1_000_000)) <= 301


# -- when the hooks are asked again ------------------------------------------------------------------------------


def test_the_text_says_when_the_hooks_are_asked_again() -> None:
    bed = Bed()
    bed.hook.act = fail(OSError("away"))
    for wait in (None, 1.0, 0.25, 0.01):
        with pytest.raises(OurConnectionError) as caught:
            bed.manager.find(A)
        if wait is not None:
            assert str(caught.value).endswith(
                f"Hook: OSError: away; the hooks can be called again in {max(wait, 0.1):.1f} s"
            )
            assert caught.value.retry_after == pytest.approx(wait)
            bed.clock.advance(wait - {1.0: 0.25, 0.25: 0.01, 0.01: 0.0}[wait])


# -- names with queries ------------------------------------------------------------------------------------------


def ways(manager: ConnectionManager, host: str) -> list[Callable[[], Any]]:
    return [
        lambda: manager.find(host),
        lambda: manager.find(host),
        lambda: manager.is_current("thing", host),
        lambda: manager.health(host),
        lambda: manager.isolate(host, reason="maintenance", until=60),
        lambda: manager.find(host),
        lambda: manager.restore(host),
        lambda: manager.reset_circuit(host),
        lambda: manager.evict(host),
        lambda: manager.find(host),
        lambda: manager.add(host, None, "thing"),
        lambda: manager.conns[host, "other"],
        lambda: repr((manager, manager.conns)),
        lambda: manager.isolate(host),
        lambda: manager.add(host, ANONYMOUS, "thing"),
        lambda: manager.find(host, ANONYMOUS),
        lambda: manager.restore(host),
        manager.health,
        lambda: [one.to_dict() for one in manager.health().values()],
        lambda: ask(status.app(manager)).text,
        lambda: ask(status.app(manager), "/hosts.json").text,
        lambda: [str(sample) for metric in Collector(manager).collect() for sample in metric.samples],
        lambda: manager.forget(host),
    ]


@pytest.mark.parametrize("act", [nothing, fail(OSError("away")), lambda host, auth: "thing"])
@pytest.mark.parametrize("host", [f"svc?token={SECRET}", f"consul://svc#{SECRET}", f"https://h.test/?token={SECRET}"])
def test_a_query_in_a_name_is_shown_nowhere(host: str, act: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    bed = Bed(guard=True)
    bed.hook.act = act
    shown = []
    for way in ways(bed.manager, host):
        try:
            shown.append(str(way()))
        except (OurConnectionError, KeyError) as error:
            shown.append("".join(traceback.format_exception_only(error)) + repr(error) + str(vars(error)))
    shown += [str(bed.events), caplog.text]
    assert SECRET not in "".join(shown)
    assert len(shown) == len(ways(bed.manager, host)) + 2


def test_nor_is_one_among_the_hosts_that_are_allowed() -> None:
    for entry in (f"svc ?token={SECRET}\0", f"https://h.test/?token={SECRET}", f"https://*.test?token={SECRET}"):
        with pytest.raises(ValueError, match="allow") as caught:
            checked_allow([entry], names=True)
        assert SECRET not in f"{caught.value!r}{caught.value}"


# -- what is no host ---------------------------------------------------------------------------------------------


class Says:
    """Says that it is a str, and looks like a secret."""

    @property
    def __class__(self) -> Any:
        return str

    def __repr__(self) -> str:
        return SECRET


NO_HOSTS: list[tuple[Any, type[Exception], str]] = [
    (None, TypeError, "host must be a str, not NoneType: pass a URL such as 'https://host.com'"),
    (5, TypeError, "not int: "),
    (True, TypeError, "not bool: "),
    (SECRET.encode(), TypeError, "not bytes: "),
    ([SECRET], TypeError, "not list: "),
    (Says(), TypeError, "not Says: "),
    ("", URLError, "host is an empty str: pass a URL such as 'https://host.com', or a name that a hook knows"),
    ("  ", URLError, "host is a blank str: "),
    ("\t\n", URLError, "host is a blank str: "),
    ("//", URLError, "host is a blank str: "),
]
CALLS: dict[str, Callable[[ConnectionManager, Any], Any]] = {
    "find": lambda manager, host: manager.find(host, ("u", SECRET)),
    "add": lambda manager, host: manager.add(host, None, "thing"),
    "evict": lambda manager, host: manager.evict(host),
    "evict with auth": lambda manager, host: manager.evict(host, None),
    "isolate": lambda manager, host: manager.isolate(host),
    "restore": lambda manager, host: manager.restore(host),
    "forget": lambda manager, host: manager.forget(host),
    "reset_circuit": lambda manager, host: manager.reset_circuit(host),
    "is_current": lambda manager, host: manager.is_current("thing", host),
    "health": lambda manager, host: manager.health(host),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("host", "kind", "says"), NO_HOSTS, ids=repr)
def test_what_is_no_host_is_refused_before_anything_is_done(host: Any, kind: Any, says: str, call: str) -> None:
    bed = Bed()
    if call == "health" and host is None:
        assert CALLS[call](bed.manager, host) == {}  # of all hosts
        return
    with pytest.raises(kind) as caught:
        CALLS[call](bed.manager, host)
    assert says in str(caught.value)
    assert SECRET not in str(caught.value)
    assert bed.hook.asked == []
    assert bed.events == []
    assert bed.manager.health() == {}
    assert len(bed.manager) == 0
    assert (host, None) not in bed.manager.conns
    with pytest.raises(KeyError):
        bed.manager.conns[host, None]
