"""`Connection`: authentication and communication with one remote machine, under a policy."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, NoReturn, Self, TypedDict, Unpack
from urllib.parse import urljoin

import requests
from requests.structures import CaseInsensitiveDict

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.connection.came_from import CameFrom
from sleepwalker.connection.decoder import decoded
from sleepwalker.connection.drive import drive
from sleepwalker.connection.encoder import JsonEncoder
from sleepwalker.connection.in_force import default_policy
from sleepwalker.connection.keys import sent_mark
from sleepwalker.connection.race import Outbox, race
from sleepwalker.connection.retry_if import RetryIf, asking, check_retry_if
from sleepwalker.connection.scopes import Scopes, check_scope, seen_again
from sleepwalker.connection.settings import (
    Timeout,
    check_max_body,
    check_session,
    check_timeout,
    check_total,
    load_policy,
)
from sleepwalker.connection.usage import Usage
from sleepwalker.connection.waits import Waits
from sleepwalker.engine.breaker import Permit
from sleepwalker.engine.call import Final, Request, Send, run
from sleepwalker.engine.health import HostHealth
from sleepwalker.engine.host import Host
from sleepwalker.engine.outcome import Outcome, failed
from sleepwalker.engine.rules import Rules, passes_rate_limit
from sleepwalker.events import AnyObserver, Observer, PolicyIgnored
from sleepwalker.exceptions import ConnectionError, HTTPError, SleepwalkerException
from sleepwalker.fork import renewed_after_fork
from sleepwalker.frames import without_locals
from sleepwalker.policy import Policy, PoolPolicy
from sleepwalker.policy.shared import OF_A_SCOPE, unlike
from sleepwalker.telemetry import tracing
from sleepwalker.telemetry.log import observing
from sleepwalker.transport.credentials import (
    Anonymous,
    Auth,
    basic_header,
    check_authorization,
    check_tls,
    missing_credentials,
    netrc_auth,
    normalise_auth,
    travels_in_the_clear,
)
from sleepwalker.transport.deadline import Limits
from sleepwalker.transport.errors import Scene, translate
from sleepwalker.transport.exchange import Exchange, attempt, discard, guard_stream
from sleepwalker.transport.grip import Grip
from sleepwalker.transport.headers import Headers, checked_headers, merged
from sleepwalker.transport.line import Line
from sleepwalker.transport.prepare import check_method, prepare
from sleepwalker.transport.sockets import AGE_JITTER
from sleepwalker.transport.url import Origin, parse_hostname, safe_path

_JSON_HEADERS: Headers = CaseInsensitiveDict({"Accept": "application/json", "Content-Type": "application/json"})
_JSON_MAX_BODY = 100_000_000
_PROBE_MAX_BODY = 1_000_000
_MAX_OTHER_RULES = 64
#: What a copy or a pickle of an answer holds, which requests reads from the answer itself.
_KEPT = [*requests.Response.__attrs__, "attempts", "__attrs__"]


class CallOptions(TypedDict, total=False):
    """The keyword arguments of `Connection.request` and its verbs."""

    params: Any
    data: Any
    json: Any
    files: Any
    headers: Mapping[str, Any] | None
    timeout: Timeout | None
    stream: bool
    policy: Policy | str | os.PathLike[str] | None
    total: float | None
    retry_if: RetryIf | None
    idempotent: bool | None
    raise_for_status: bool


class Connection:
    """Authentication and communication with one remote machine.

    Args:
        hostname: Where to, with the protocol: `https://host.com`, perhaps with a base path.
        auth: `(user, password)` for HTTP Basic, any requests auth object or callable, or `ANONYMOUS` for none.
            None looks the host up in the user's netrc file at the first request.
        port: Appended to a hostname that has none.
        verify: True, False, the path of a CA bundle, or an `ssl.SSLContext`.
        timeout: Seconds to connect and to wait for each next byte, or a pair `(connect, read)`; stands in for
            the policy's, whose deadlines are lifted to fit.
        policy: A `Policy`, the name of a shipped one, or the path of a TOML file; where it has tables for single hosts,
            the one for this host counts. None: the one that `defaults` chose, `standard` if none was.
        cert: Path of a client certificate with its key, or a pair of paths (certificate, key).
        proxies: Proxy URLs by scheme, before those of the environment.
        headers: Sent with every request.
        session: A `requests.Session` to send through, such as a caching one. It stays its owner's to close.
        max_body: Bytes of decoded body above which `json_request` refuses an answer.
        retry_if: Called with what an attempt came to, an answer of any status or an error, where the policy would not
            retry that. True sends again, within all other limits of the policy; `json_request` included.
        observer: Called with each event and its level, or with the event alone, besides the log.
        clock: Where time and chance come from; for tests.

    Raises:
        URLError: for a hostname or port that cannot be, and with it `InsecureAuthError` for credentials that
            would travel in the clear.
        ValueError, TypeError: for other arguments that cannot be; `PolicyError` is a ValueError.

    It may be shared between threads, and used on both sides of a fork.
    """

    # What differs between a connection and its scopes stands in slots. All else is in the one dict that they share.
    __slots__ = ("__dict__", "__weakref__", "_came_from", "_host", "_policy", "_rules", "_scope", "_whole")

    JsonEncoder: ClassVar[type[JsonEncoder]] = JsonEncoder

    _scopes: Scopes[Self] | None = None
    """Made with the first one: most connections have none, and a manager may have thousands of connections."""

    @without_locals
    def __init__(
        self,
        hostname: str,
        auth: Any = None,
        port: int | str | None = None,
        verify: Any = True,
        timeout: Timeout | None = None,
        *,
        policy: Policy | str | os.PathLike[str] | None = None,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
        headers: Mapping[str, Any] | None = None,
        session: requests.Session | None = None,
        max_body: int = _JSON_MAX_BODY,
        retry_if: RetryIf | None = None,
        observer: AnyObserver | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._whole: Self | None = None
        """Of a scope, the connection that it is a scope of."""
        self._scope: str | None = None
        self.hostname, self._origin, self._prefix = parse_hostname(hostname, port)
        self.given_policy = None if policy is None else load_policy(policy)
        """The policy that it was told to follow, None where it follows the default. For a manager."""
        self._policy = self._for_its_host(self.given_policy or default_policy())
        self._clock = clock
        self._timeout = check_timeout(timeout)
        self._rules = Rules(self._policy, clock, self._timeout)
        self._other_rules: dict[tuple[Policy, bool, tuple[float, float] | None], Rules] = {}
        self._headers = checked_headers(headers)
        self._max_body = check_max_body(max_body)
        self._retry_if = check_retry_if(retry_if)
        self._observe = observing(observer)
        self._host = Host(self._origin.text, self._policy, clock)
        self._attached = False
        self._line = Line(
            self._origin,
            check_session(session),
            _pool_of(self._policy),
            clock,
            verify=verify,
            cert=cert,
            proxies=proxies,
        )
        self._auth = normalise_auth(auth if auth is not None else self._line.session.auth)
        check_tls(self._origin, self._auth, self._line.proxied)
        self._exposed = travels_in_the_clear(self._origin, self._line.proxied)
        for given in (self._line.session.headers, self._headers):
            check_authorization(self._origin, given, self._line.proxied)
        self._netrc: Auth | None = None
        self._line.mount()  # last, for nothing may go wrong after it: the session may be the caller's
        self._encoder = self.JsonEncoder(allow_nan=False)
        self._latest = threading.local()
        self.usage = Usage(clock.monotonic())
        """What its calls came to, and whether it is retired. For a manager."""
        self._came_from = CameFrom(self, self._origin, self.usage)
        """What its answers tell of it, for whoever follows their links."""
        self._closed = False
        self._waits = Waits(clock)
        _connections.add(self)

    @without_locals
    def add_headers(self, headers: Mapping[str, Any]) -> None:
        """Send these with all later requests. URLError for a header that cannot be sent, or not in the clear."""
        checked = checked_headers(headers)
        check_authorization(self._origin, checked, self._line.proxied)
        both = self._headers.copy()
        both.update(checked)
        self._headers = both  # in one step: another thread may be reading it

    @without_locals
    def get_url(self, uri: str) -> str:
        """The fully qualified URL of a URI, joined as `urllib.parse.urljoin` joins."""
        return urljoin(self.hostname, uri)

    @without_locals
    def json_request(
        self,
        method: str,
        uri: str,
        body: Any = None,
        params: Any = None,
        extra_headers: Mapping[str, Any] | None = None,
    ) -> Any:
        """Send `body` as JSON; returns the decoded JSON of the answer, None for 204 or an empty body.

        It is bounded by `max_body`, which `request` is not, so a subclass's own `request` is not asked: override both.

        Raises what `request` raises; DecodeError, with the response, for a body that is not JSON or is
        larger than `max_body`; TypeError or ValueError for a body that JSON cannot hold.
        """
        response = self._call(
            method,
            uri,
            params=params,
            json_bytes=None if body is None else self._encoder.encode(body).encode(),
            headers=merged(_JSON_HEADERS, checked_headers(extra_headers)) if extra_headers else _JSON_HEADERS,
            max_body=self._max_body,
        )
        return decoded(response, self._origin)

    @without_locals
    def request(
        self,
        method: str,
        uri: str,
        *,
        params: Any = None,
        data: Any = None,
        json: Any = None,
        files: Any = None,
        headers: Mapping[str, Any] | None = None,
        timeout: Timeout | None = None,
        stream: bool = False,
        policy: Policy | str | os.PathLike[str] | None = None,
        total: float | None = None,
        retry_if: RetryIf | None = None,
        idempotent: bool | None = None,
        raise_for_status: bool = True,
    ) -> requests.Response:
        """Send a request under the policy; returns the answer, whose `attempts` list what was tried.

        `data` may also be a callable that makes the body anew for each attempt. An iterator is sent once,
        so such a call is never retried. `policy` replaces the timeouts, retries and log settings for this
        call, and may switch the breaker, the bulkhead or the budget off for it. `total` bounds the whole call, in
        seconds, whatever `policy` and `timeout` say: longer timeouts are cut to fit, and a longer `total` lifts none of
        them. `retry_if` gets what an attempt came to, an answer of any status or an error, where neither the policy nor
        the connection's own `retry_if` would retry that. If it says True the request is sent again, within the policy's
        other limits, a POST only where it is idempotent; what it raises ends the call. `idempotent` says whether the
        request may be sent twice once it may have been processed; by default its method says so, and an
        `Idempotency-Key` header does. With `stream` the attempt ends with the answer's head, which is all that
        `retry_if` gets then, and each read of the body is bounded by `timeout.read` alone.

        Raises the status's HTTPError for 400 and above unless `raise_for_status` is False; the ConnectionError
        of the last attempt where no answer came; URLError, before anything is sent, for what may not be sent.
        """
        return self._call(
            method,
            uri,
            params=params,
            data=data,
            json_bytes=None if json is None else self._encoder.encode(json).encode(),
            files=files,
            headers=checked_headers(headers) if headers else None,
            timeout=timeout,
            stream=stream,
            policy=policy,
            total=total,
            retry_if=retry_if,
            idempotent=idempotent,
            raise_for_status=raise_for_status,
        )

    @without_locals
    def get(self, uri: str, **kwargs: Unpack[CallOptions]) -> requests.Response:
        """`request` with GET."""
        return self._requested("GET", uri, kwargs)

    @without_locals
    def head(self, uri: str, **kwargs: Unpack[CallOptions]) -> requests.Response:
        """`request` with HEAD."""
        return self._requested("HEAD", uri, kwargs)

    @without_locals
    def post(self, uri: str, **kwargs: Unpack[CallOptions]) -> requests.Response:
        """`request` with POST."""
        return self._requested("POST", uri, kwargs)

    @without_locals
    def put(self, uri: str, **kwargs: Unpack[CallOptions]) -> requests.Response:
        """`request` with PUT."""
        return self._requested("PUT", uri, kwargs)

    @without_locals
    def patch(self, uri: str, **kwargs: Unpack[CallOptions]) -> requests.Response:
        """`request` with PATCH."""
        return self._requested("PATCH", uri, kwargs)

    @without_locals
    def delete(self, uri: str, **kwargs: Unpack[CallOptions]) -> requests.Response:
        """`request` with DELETE."""
        return self._requested("DELETE", uri, kwargs)

    @without_locals
    def options(self, uri: str, **kwargs: Unpack[CallOptions]) -> requests.Response:
        """`request` with OPTIONS."""
        return self._requested("OPTIONS", uri, kwargs)

    def _requested(self, method: str, uri: str, kwargs: CallOptions) -> requests.Response:
        """What `request` returns. If a Ctrl-C comes as it does, an answer that nobody will have is closed."""
        before = getattr(self._latest, "response", None)
        try:
            return self.request(method, uri, **kwargs)
        except BaseException:
            if (latest := self.response) is not before:
                discard(latest)
            raise

    @without_locals
    def scope(self, name: str, policy: Policy | str | os.PathLike[str] | None = None) -> Self:
        """This connection, seen as a part of the host with a record of its own.

        For a route, a tenant or an urgency that must not share its fate with the rest. Breaker, retry budget, bulkhead,
        rate limit, counts and health are the scope's, and its record is called `https://host#name`; session, sockets,
        credentials and headers are the connection's. The same object for as long as somebody has it. A manager's
        connections to one host share the records of its scopes, too.

        `policy` is the scope's own, for its calls as for its record; without one it goes by the connection's. The first
        that is given for a scope of a host holds. To change it, set the scope's `policy`.

        While the host is isolated, so are its scopes; and failures to connect count for the host as well, whose health
        then says that it is broken, and so does that of its scopes. Closing a scope changes nothing: close the
        connection.

        Raises ValueError for a name that is blank, not printable, longer than 100 characters or has a `#`, and where
        this is a scope itself; TypeError for what is no str.
        """
        if self._whole is not None:
            raise ValueError(
                f"this is the scope {self._scope!r} of a connection, and scopes have none of their own: ask the "
                "connection for one; a name for both will do, such as 'reports/eu'"
            )
        name = check_scope(name)
        if policy is not None:
            self._give(name, self._for_its_host(load_policy(policy)))
        return self._scoped(name)

    def _give(self, name: str, policy: Policy) -> None:
        """Have a part of the host follow a policy, unless it has another one, which is told once."""
        part, heeded, news = self._host.part(name, policy)
        for event in news:
            self._observe(event)
        if heeded or part.told_ignored:
            return
        if ignored := unlike(policy, part.policy, OF_A_SCOPE):
            part.told_ignored = True
            self._observe(PolicyIgnored(part.origin, ignored=", ".join(ignored), followed="scope"))

    def _scoped(self, name: str) -> Self:
        """The scope of that name; for one that is a scope itself, that of its connection."""
        if self._whole is not None:
            return self._whole._scoped(name)
        scopes = self._scopes
        if scopes is None:
            scopes = self.__dict__.setdefault("_scopes", Scopes())  # in one step: another thread may be here, too
        return scopes.get(name, self._seen_as)

    def _seen_as(self, name: str) -> Self:
        scope = seen_again(self)
        scope._whole, scope._scope = self, name
        scope._came_from = CameFrom(self, self._origin, self.usage, name)
        scope._catch_up()
        return scope

    def _catch_up(self) -> None:
        """Of a scope: go by what the connection goes by now, and by the record that its host has for this part now.

        Each call looks, for a manager may give the connection another record, and forget the part.
        """
        whole = self._whole
        if whole is None or self._scope is None:
            return
        host, _, _ = whole._host.part(self._scope)
        # The record was forgotten, and is new. What the program said of this part holds all the same.
        if host is not self._host and host.own_policy is None and (given := self._host.own_policy) is not None:
            whole._give(self._scope, given)
        own = host.own_policy
        if own is None:
            self._policy, self._rules = whole._policy, whole._rules
        elif own is not self._policy:
            self._policy, self._rules = own, Rules(own, self._clock, self._timeout)
        self._host = host

    @property
    def response(self) -> requests.Response | None:
        """The last response in this thread."""
        return getattr(self._latest, "response", None)

    @property
    def conn(self) -> requests.Session:
        """The session underneath."""
        return self._line.session

    @property
    def origin(self) -> Origin:
        """Scheme, host and port that it goes to, normalised."""
        return self._origin

    @property
    def policy(self) -> Policy:
        """The policy that calls follow.

        Another one may be set: a `Policy`, the name of a shipped one, or a path. Later calls follow it, and calls
        under way end as they began. What is known of the host stays: its circuit, counts and permits go on with the
        new numbers. In a manager only its `reload` changes what they follow. The pool of sockets keeps its own.
        """
        self._catch_up()
        return self._policy

    @policy.setter
    def policy(self, policy: Policy | str | os.PathLike[str]) -> None:
        given = load_policy(policy)
        new = self._for_its_host(given)
        if self._whole is not None:
            self._catch_up()
            news = self._host.give(new)
        else:
            self.given_policy = given
            self._policy, self._rules = new, Rules(new, self._clock, self._timeout)
            news = () if self._attached else self._host.follow(new)
        for event in news:
            self._observe(event)

    @property
    def health(self) -> HostHealth:
        """How the host does, or this part of it, as of now."""
        record = self._record
        return record.snapshot(connections=record.connections or (0 if self._closed else 1))

    @property
    def _record(self) -> Host:
        """What is counted and known of the host, or of this part of it. For a manager, and for metrics."""
        self._catch_up()
        return self._host

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def retired(self) -> bool:
        """Whether it keeps no sockets any more: a manager gave it up, or it is closed."""
        return self._closed or self.usage.retired

    def reset_circuit(self) -> None:
        """Take the host for well from now on: its circuit closes at once, also a half-open one, and admits all.

        For a fault that is known to be repaired. What was sent before says nothing any more; counts and latencies stay.
        The circuits of the host's scopes close as well; that of a scope is its own alone.
        A manager's `reset_circuit` also has the hooks asked that are held off.
        """
        self._catch_up()
        for event in self._host.reset_circuit():
            self._observe(event)

    def attach(self, host: Host) -> None:
        """Share `host`, the record of this connection's origin, with others. A manager does that.

        The policies that its scopes were given hold there as well, unless others were given before.
        """
        whole = self if self._whole is None else self._whole
        before, whole._host, self._attached = whole._host, host, True
        if before is not host:
            for part in before.parts():
                if part.own_policy is not None:
                    whole._give(part.origin.partition("#")[2], part.own_policy)

    def probe(self, path: str, seconds: float) -> Outcome:
        """Ask for `path` once within `seconds`, outside every policy and count; also once closed. For a manager."""
        now = self._clock.monotonic()
        auth, authorization = self._credentials((self._headers,))
        prepared, body = prepare(
            self._line.session,
            self.hostname,
            self._prefix,
            self._origin,
            method="GET",
            uri=path,
            params=None,
            data=None,
            files=None,
            json_bytes=None,
            headers=(self._headers,),
        )
        if authorization is not None:
            prepared.headers["Authorization"] = authorization
        elif self._exposed:  # the call's own headers and the session's: those may have changed since it was made
            check_authorization(self._origin, prepared.headers, self._line.proxied)
        exchange = Exchange(
            prepared,
            body,
            auth,
            stream=False,
            max_body=_PROBE_MAX_BODY,
            raise_for_status=False,
            failures=self._host.failures,
        )
        rules = self._rules
        seconds = min(rules.attempt, seconds)
        try:
            return attempt(
                self._line.wire,
                exchange,
                Send(now + seconds, "attempt", seconds, proven_since=math.inf),
                rules.connect,
                rules.read,
            )
        finally:
            if self.retired:
                self._line.close()

    def retire(self) -> None:
        """Close idle sockets, and keep none from now on. A manager does that with a connection that it replaces.

        All calls go on to their end, those that wait for a turn or a retry, and later ones too: whoever has the
        connection cannot know that another thread gave it up meanwhile. Each call's socket is closed after it.
        """
        self.usage.retired = True
        self._line.close()

    def close(self) -> None:
        """Close idle sockets and end waits for a turn or a retry. Requests in flight finish; later ones raise.

        That closes its scopes. Closing a scope does nothing, for others are at work with the same connection.
        """
        if self._whole is not None:
            return
        self._closed = True
        try:
            self._waits.end()
        finally:
            try:
                self._waits.end()  # again, for a Ctrl-C may have come before all had been woken
            finally:
                self._line.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Connection cannot be pickled: it holds sockets and locks; make one in each process")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._whole is None:  # asked here, for a subclass may log out as it closes
            self.close()

    def __repr__(self) -> str:
        if "_closed" not in vars(self):  # a traceback with locals, of a constructor that failed
            return f"<{type(self).__name__}, not made>"
        auth = "netrc" if self._auth is None else _kind(self._auth)
        scope = "" if self._scope is None else f" scope={self._scope!r}"
        return f"<{type(self).__name__} {self.hostname!r} auth={auth}{scope}{' closed' if self._closed else ''}>"

    def _call(
        self,
        method: str,
        uri: str,
        *,
        params: Any = None,
        data: Any = None,
        json_bytes: bytes | None = None,
        files: Any = None,
        headers: Headers | None = None,
        timeout: Timeout | None = None,
        stream: bool = False,
        policy: Policy | str | os.PathLike[str] | None = None,
        total: float | None = None,
        retry_if: RetryIf | None = None,
        idempotent: bool | None = None,
        raise_for_status: bool = True,
        max_body: int | None = None,
    ) -> requests.Response:
        if self._closed:
            closed = ConnectionError(f"{self._origin}: this connection is closed; make a new one")
            closed.never_sent, closed.retryable = True, False
            raise closed
        if self._whole is not None:
            self._catch_up()
        method = check_method(method)
        if retry_if is not None:
            retry_if = check_retry_if(retry_if)
        rules = self._rules if policy is None and timeout is None else self._rules_of(policy, timeout)
        if total is not None:  # not kept as those are: what is left of a caller's own time is another number each time
            rules = rules.within(check_total(total))
        layers = (self._headers, headers)
        auth, authorization = self._credentials(layers)
        prepared, body = prepare(
            self._line.session,
            self.hostname,
            self._prefix,
            self._origin,
            method=method,
            uri=uri,
            params=params,
            data=data,
            files=files,
            json_bytes=json_bytes,
            headers=layers,
        )
        if authorization is not None:
            prepared.headers["Authorization"] = authorization
        elif self._exposed:  # the call's own headers and the session's: those may have changed since it was made
            check_authorization(self._origin, prepared.headers, self._line.proxied)
        if idempotent is None:
            idempotent = method in rules.methods or "Idempotency-Key" in prepared.headers
        exchange = Exchange(prepared, body, auth, stream, max_body, raise_for_status, self._host.failures)
        if rules.propagate is not None and rules.propagate not in prepared.headers:  # the caller knows better
            exchange.deadline_header = rules.propagate
        request = Request(method, safe_path(prepared.url or ""), idempotent, body.replayable, body.concurrent)
        request.credentials = partial(sent_mark, auth, prepared.headers)
        if retry_if is not None or self._retry_if is not None:
            request.retry_if = asking(self._retry_if, retry_if)
        tracer = tracing.current()
        try:
            # Handed on without a name: this frame would keep the error alive that it raises, and the error this frame.
            return self._handed_over(
                self._driven(rules, request, exchange, self._observe)
                if tracer is None
                else tracer(self._traced(rules, request, exchange)),
                exchange,
                rules,
                request,
            )
        except BaseException:
            # A Ctrl-C may have come after an attempt was over: nobody will have its answer, which may hold a socket.
            for limits in exchange.limits:
                limits.let_go()
            raise

    def _traced(self, rules: Rules, request: Request, exchange: Exchange) -> tracing.TracedCall:
        """The call, for whoever wants to stand around it."""
        origin = self._origin
        return tracing.TracedCall(
            scheme=origin.scheme,
            server=origin.host,
            port=origin.port,
            method=request.method,
            url=f"{origin}{request.path}",
            headers=exchange.prepared.headers,
            clock=self._clock,
            observe=self._observe,
            work=lambda observe: self._driven(rules, request, exchange, observe),
        )

    def _driven(self, rules: Rules, request: Request, exchange: Exchange, observe: Observer) -> Final:
        """What the call comes to."""
        try:
            return self._drive(rules, request, exchange, observe)
        finally:
            if self._closed or self.usage.retired:  # the socket just used must not stay open
                self._line.close()

    def _drive(self, rules: Rules, request: Request, exchange: Exchange, observe: Observer) -> Final:
        """Perform the steps of a call until it says what it came to."""
        wire, waits = self._line.wire, self._waits
        send = partial(attempt, wire, exchange, connect=rules.connect, read=rules.read)
        if rules.hedge is None:
            return drive(run(self._host, rules, request, self._clock, observe), waits, send, discard)

        def prepare(step: Send, copy: bool) -> tuple[Limits, Callable[[], Outcome]]:
            times = {"connect": rules.connect, "read": rules.read}
            proven_since = step.proven_since
            limits = Limits(self._clock, **times, deadline=step.deadline, grip=Grip(), proven_since=proven_since)
            if not copy:
                return limits, partial(attempt, wire, exchange, step, **times, limits=limits)
            its_own = exchange.copy()

            def send_copy() -> Outcome:
                outcome = attempt(wire, its_own, step, **times, limits=limits)
                exchange.limits += (limits,)  # now: before, its sockets were another thread's, which alone closes them
                return outcome

            return limits, send_copy

        outbox = Outbox(observe)
        steps = run(self._host, rules, request, self._clock, outbox)
        hedged = partial(race, outbox=outbox, prepare=prepare, let_go=discard, waits=waits, clock=self._clock)
        return drive(steps, waits, send, discard, hedged)

    def _handed_over(self, final: Final, exchange: Exchange, rules: Rules, request: Request) -> requests.Response:
        """The answer to return, or the error to raise."""
        self.usage.last_used = self._clock.monotonic()
        error = final.outcome.error
        if error is not None:
            # One that has its attempts is of another call: of an auth object or a body of the caller's.
            if isinstance(error, SleepwalkerException) and error is not exchange.body.error and not error.attempts:
                error.attempts = final.attempts
                error.__cause__ = error.__context__ = None  # requests' own errors quote the URL
                error.add_note(self._described(request, final))
                if isinstance(error, ConnectionError):
                    error.request = exchange.prepared  # as requests' own errors have it
            try:
                raise error
            finally:
                del error, final  # or the error would hold itself, by this frame, until the garbage collector comes
        response: requests.Response = final.outcome.response
        response.attempts = final.attempts  # type: ignore[attr-defined]
        response.__attrs__ = _KEPT
        response._sleepwalker = self._came_from  # type: ignore[attr-defined]
        self._latest.response = response
        if response.status_code == 401:
            self.usage.unauthorized = True
        else:
            self.usage.accepted = True
        if raise_for_status := exchange.raise_for_status and response.status_code >= 400:
            failure = HTTPError.of(response)
            failure.attempts = final.attempts
            failure.retry_after = final.outcome.retry_after
            failure.add_note(self._described(request, final, response.status_code))
            try:
                raise failure
            finally:
                del failure, final, response
        if exchange.stream and not raise_for_status:
            guard_stream(response, self._on_break(final.permit, rules))
        return response

    def _described(self, request: Request, final: Final, status: int | None = None) -> str:
        """What a traceback says below an error: an HTTPError's own text is the server's, and may be one word."""
        count = len(final.attempts)
        if count == 0:
            attempts = "not sent"
        else:
            attempts = "after 1 attempt" if count == 1 else f"after {count} attempts"
        answer = f"{status} " if status is not None else ""
        return f"{request.method} {self._origin.text}{request.path}: {answer}{attempts}"

    def _on_break(self, permit: Permit, rules: Rules) -> Callable[[Exception, BaseException | None], BaseException]:
        """What to make of whatever breaks a streamed body: an error of ours, which counts against the host."""
        host = self._host

        def broken(error: Exception, handled: BaseException | None) -> BaseException:
            times = (rules.attempt, rules.connect, rules.read)
            scene = Scene(self._origin.text, "body", False, "attempt", *times, handled)
            raised = translate(error, scene)
            if isinstance(raised, SleepwalkerException):
                for event in host.settle_body(permit, failed(raised), self._clock.monotonic()):
                    self._observe(event)
            return raised

        return broken

    def _credentials(self, headers: tuple[Headers | None, ...]) -> tuple[Auth | None, str | None]:
        """The auth object to apply to each attempt, or the header that it always comes to."""
        auth = self._auth
        if auth is None:
            # Looked at for each call: what netrc says must not stand in for a header that the caller gives.
            if any(layer and layer.get("Authorization") is not None for layer in (*headers, self.conn.headers)):
                return None, None
            auth = self._netrc or (netrc_auth(self._origin) if self.conn.trust_env else None)
            if auth is None:
                raise missing_credentials(self._origin)
            check_tls(self._origin, auth, self._line.proxied)
            self._netrc = auth
        if isinstance(auth, Anonymous):
            return None, None
        header = basic_header(auth)
        return (auth, None) if header is None else (None, header)

    def _for_its_host(self, policy: Policy) -> Policy:
        return policy.for_host(self._origin.text, self.hostname)

    def _rules_of(self, policy: Policy | str | os.PathLike[str] | None, timeout: Timeout | None) -> Rules:
        """The rules of a call with a policy or timeout of its own, made once for each such pair."""
        chosen = self._policy if policy is None else self._for_its_host(load_policy(policy))
        key = (chosen, passes_rate_limit(chosen), check_timeout(timeout))  # equal policies may differ in what they say
        rules = self._other_rules.get(key)
        if rules is None:
            rules = Rules(chosen, self._clock, key[2]).beside(self._rules)
            if len(self._other_rules) >= _MAX_OTHER_RULES:
                self._other_rules = {}
            self._other_rules[key] = rules
        return rules

    def _renew_after_fork(self) -> None:
        if self._scopes is not None:
            self._scopes.renew_after_fork()
        self._line.renew()
        self._waits = Waits(self._clock)
        if self._closed:
            self._waits.end()


_connections = renewed_after_fork("connections", Connection._renew_after_fork)


def _kind(auth: Any) -> str:
    return repr(auth) if isinstance(auth, Anonymous) else type(auth).__name__


def _pool_of(policy: Policy) -> PoolPolicy:
    """The policy of its sockets: none is much older than a connection may become, nor closed before that is retired."""
    pool, oldest = policy.pool, policy.health.max_age
    if oldest is None or oldest >= (pool.max_age or math.inf):
        return pool
    return pool.replace(max_age=oldest / (1 - AGE_JITTER))
