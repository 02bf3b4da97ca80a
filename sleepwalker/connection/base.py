"""What blocking and asyncio connections share: arguments, policy, scopes, health and record."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self
from urllib.parse import urljoin
from weakref import WeakSet

from sleepwalker.clock import Clock
from sleepwalker.connection.arguments import Credentials, HeaderValues, Path
from sleepwalker.connection.authentication import Authentication
from sleepwalker.connection.came_from import CameFrom
from sleepwalker.connection.handover import Handover, Streams
from sleepwalker.connection.in_force import default_policy
from sleepwalker.connection.json import JsonEncoder
from sleepwalker.connection.managed import Managed
from sleepwalker.connection.outgoing import RequestMaker
from sleepwalker.connection.part import Compiler, Part
from sleepwalker.connection.response import Response
from sleepwalker.connection.retry_if import RetryIf, check_retry_if
from sleepwalker.connection.settings import Timeout, check_timeout
from sleepwalker.connection.usage import Usage
from sleepwalker.engine import Host, HostHealth
from sleepwalker.events import AnyObserver, Observer
from sleepwalker.fork import renewed_after_fork
from sleepwalker.frames import without_locals
from sleepwalker.hosts.policies import load_policy
from sleepwalker.policy import Policy
from sleepwalker.telemetry.log import observing
from sleepwalker.transport.route import Route
from sleepwalker.transport.url import Origin, parse_hostname


class ConnectionBase(Managed):
    """Base of `Connection` and `AsyncConnection`: arguments, policy, and the state of the host."""

    __slots__ = ("__dict__", "__weakref__")

    hostname: str

    JsonEncoder: ClassVar[type[JsonEncoder]] = JsonEncoder

    def _read(
        self, hostname: str, port: int | str | None, timeout: Timeout | None, policy: Policy | Path | None, clock: Clock
    ) -> tuple[Origin, Policy]:
        """Check the arguments about host and policy. Returns the origin, and the policy that applies to it."""
        self._whole: Self | None = None
        self.hostname, origin, self._prefix = parse_hostname(hostname, port)
        self._origin = origin
        self.given_policy = None if policy is None else load_policy(policy)
        self._compiler = Compiler(origin.text, self.hostname, clock, check_timeout(timeout))
        return origin, self._compiler.for_host(self.given_policy or default_policy())

    def _set_up(
        self,
        route: Route,
        followed: Policy,
        auth: Credentials | None,
        headers: HeaderValues | None,
        retry_if: RetryIf | None,
        observer: AnyObserver | None,
        clock: Clock,
        latest: Any,
        streams: Streams,
    ) -> Observer:
        """Check the other arguments of the constructor. Returns the observer that events go to."""
        origin, compiled = self._origin, self._compiler.own(followed)
        observe, retry_if = observing(observer), check_retry_if(retry_if)
        host = Host(origin.text, followed, clock)
        self._route = route
        self._authentication = Authentication(origin, auth, route)
        self._maker = RequestMaker(self.hostname, self._prefix, origin, route, self._authentication, headers, retry_if)
        self._encoder = self.JsonEncoder(allow_nan=False)
        self.usage: Usage = Usage(clock.monotonic())
        self._part = Part(self._compiler, observe, CameFrom(self, origin, self.usage), host, compiled)
        self._handover = Handover(origin.text, clock, observe, self.usage, latest, streams)
        return observe

    @without_locals
    def add_headers(self, headers: HeaderValues) -> None:
        """Send these headers with all later requests. URLError if one is invalid, or would be sent unencrypted."""
        self._maker.add_headers(headers)

    @without_locals
    def get_url(self, uri: str) -> str:
        """The fully qualified URL of a URI, joined as `urllib.parse.urljoin` joins."""
        return urljoin(self.hostname, uri)

    @property
    def response(self) -> Response | None:
        """The last response in this thread (for an `AsyncConnection`, in this task). None before the first one."""
        return self._handover.latest

    @property
    def origin(self) -> Origin:
        """The scheme, host and port, normalised."""
        return self._origin

    @property
    def policy(self) -> Policy:
        """The policy for calls.

        Assign a `Policy`, the name of a shipped one, or a path to change it. Later calls use the new policy; calls in
        flight keep the old one. The host's record stays: circuit, counts and permits continue with the new numbers. In
        a manager, only the manager's `reload` changes those. The socket pool keeps its settings.
        """
        self._part.catch_up()
        return self._part.compiled.policy

    @policy.setter
    def policy(self, policy: Policy | Path) -> None:
        given = load_policy(policy)
        if self._whole is None:
            self.given_policy = given
        self._part.follow(self._compiler.for_host(given))

    @property
    def health(self) -> HostHealth:
        """A snapshot of the health of the host. On a scope, the health of that scope."""
        record = self._record
        return record.snapshot(connections=record.connections or (0 if self.closed else 1))

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._calls.closed

    def reset_circuit(self) -> None:
        """Treat the host as healthy from now on. An open or half-open circuit closes at once and admits all calls.

        Call this after a fault was repaired. Attempts sent before no longer count. Counters and latencies stay. The
        circuits of the host's scopes close too; on a scope, only its own circuit closes. `reset_circuit` of a manager
        also ends the back-off of the hooks.
        """
        self._part.reset_circuit()

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"a {kind} cannot be pickled: it holds sockets and locks; make one in each process")

    def __repr__(self) -> str:
        if "_calls" not in vars(self):  # a traceback with locals, of a constructor that failed
            return f"<{type(self).__name__}, not made>"
        scope = "" if self._part.name is None else f" scope={self._part.name!r}"
        auth, closed = self._authentication.describe(), " closed" if self.closed else ""
        return f"<{type(self).__name__} {self.hostname!r} auth={auth}{scope}{closed}>"


#: All connections in use.
connections: WeakSet[ConnectionBase] = renewed_after_fork("connections", ConnectionBase._renew_after_fork)
