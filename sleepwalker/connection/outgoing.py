"""Turns the options of a call into a request to send, and into the facts that the policies need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sleepwalker.connection.arguments import HeaderValues
from sleepwalker.connection.authentication import Authentication
from sleepwalker.connection.came_from import CameFrom
from sleepwalker.connection.json import HEADERS
from sleepwalker.connection.options import CallOptions
from sleepwalker.connection.part import Part
from sleepwalker.connection.retry_if import RetryIf, asking
from sleepwalker.engine import CompiledPolicy, Host, Request
from sleepwalker.lookup.keys import sent_mark
from sleepwalker.transport.body import NO_BODY, Body
from sleepwalker.transport.credentials import check_authorization
from sleepwalker.transport.headers import Headers, checked_headers
from sleepwalker.transport.outgoing import OutgoingRequest
from sleepwalker.transport.prepare import METHODS, Base, Remembered, check_method, prepare
from sleepwalker.transport.route import Route
from sleepwalker.transport.url import Origin, safe_path


@dataclass(slots=True, eq=False, repr=False)
class SendableCall:
    """A call that can be sent, as each lower layer gets it."""

    request: Request
    """For the engine."""
    outgoing: OutgoingRequest
    """For the transport."""
    compiled: CompiledPolicy
    host: Host


@dataclass(slots=True, eq=False, repr=False)
class PreparedCall(SendableCall):
    """A call of a connection."""

    came_from: CameFrom


class RequestMaker:
    """Prepares the requests of one connection: URL, headers, credentials and body, checked before anything is sent."""

    __slots__ = ("_authentication", "_base", "_origin", "_remembered", "_retry_if", "_route", "headers")

    def __init__(
        self,
        hostname: str,
        prefix: str,
        origin: Origin,
        route: Route,
        authentication: Authentication,
        headers: HeaderValues | None,
        retry_if: RetryIf | None,
    ) -> None:
        self._base = Base(route.session, hostname, prefix, origin, route.awaits)
        self._origin = origin
        self._route = route
        self._authentication = authentication
        self._retry_if = retry_if
        self._remembered = Remembered(route.session) if route.awaits else None
        self.headers: Headers = checked_headers(headers)
        """Sent with every request."""
        for given in (route.session.headers, self.headers):
            check_authorization(origin, given, route.proxied)

    def add_headers(self, headers: HeaderValues) -> None:
        """Send these headers with all later requests. URLError if one is invalid, or would be sent unencrypted."""
        checked = checked_headers(headers)
        check_authorization(self._origin, checked, self._route.proxied)
        both = self.headers.copy()
        both.update(checked)
        self.headers = both  # in one step: another thread may be reading it

    def outgoing(self, method: str, uri: str, options: CallOptions, host: Host) -> OutgoingRequest:
        """A request that can be sent, and how to read its response. URLError for a request that must not be sent."""
        layers = (self.headers, options.headers)
        credentials = self._authentication
        auth, authorization = (None, None) if credentials.anonymous else credentials.of(layers)
        if type(method) is not str or method not in METHODS:
            method = check_method(method)
        remembered = self._remembered
        if remembered is not None and not _is_plain(options):
            remembered = None
        prepared = None if remembered is None else remembered.request(method, uri, self.headers, options.headers)
        body: Body = NO_BODY
        if prepared is None:
            prepared, body = prepare(self._base, method, uri, options, layers)
            if remembered is not None:
                remembered.keep(method, uri, prepared, options.headers)
        self._route.make_ready(prepared)
        if authorization is not None:
            prepared.headers["Authorization"] = authorization
        elif credentials.exposed:  # the headers of call and session may have changed meanwhile
            check_authorization(self._origin, prepared.headers, self._route.proxied)
        return OutgoingRequest(
            prepared, body, auth, options.stream, options.max_body, options.raise_for_status, host.failures
        )

    def call(self, part: Part, method: str, uri: str, options: CallOptions) -> PreparedCall:
        """A call through a connection or a scope, ready to be sent."""
        compiled, host = part.compiled, part.host
        if options.policy is not None or options.timeout is not None or options.total is not None:
            compiled = part.compiled_for(options)
        outgoing = self.outgoing(method, uri, options, host)
        prepared, body = outgoing.prepared, outgoing.body
        headers, method = prepared.headers, prepared.method or ""
        idempotent = options.idempotent
        if idempotent is None:
            idempotent = method in compiled.methods or "Idempotency-Key" in headers
        if compiled.propagate is not None and compiled.propagate not in headers:  # the caller knows better
            outgoing.deadline_header = compiled.propagate
        request = Request(method, safe_path(prepared.url or ""), idempotent, body.replayable, body.concurrent)
        request.credentials = partial(sent_mark, outgoing.auth, headers)
        if (usage := part.came_from.usage) is not None and usage.held:
            request.name = usage.asked_for(self._origin.text)
        if options.retry_if is not None or self._retry_if is not None:
            request.retry_if = asking(self._retry_if, options.retry_if)
        return PreparedCall(request, outgoing, compiled, host, part.came_from)


def _is_plain(options: CallOptions) -> bool:
    """Whether the request follows from its method and URI, or is that of a `json_request` without a body."""
    params, data, json_bytes, files, headers, *_ = options
    without = params is None and data is None and json_bytes is None and files is None
    return without and (headers is None or headers is HEADERS)
