"""One connection to a Redis at a time, and its errors as one line without credentials.

redis-py speaks to the server, but its pool, retries, Sentinel and cluster client are not used: they wait and retry
several times as long as the timeout allows. All our keys are in one slot of a cluster, so one connection, to that
slot's node, is enough.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

import redis
from redis.exceptions import RedisError

from sleepwalker.clock import Clock
from sleepwalker.fleet.redis.address import Address, Node
from sleepwalker.fleet.store import StoreError

#: The most attempts in one call, as a cluster may redirect us to another node each time.
_HOPS = 4
#: The most nodes of a cluster that are remembered, including those of the URL.
_MOST_NODES = 64

#: The meaning of a server's error, by the name of redis-py's class or by its first word. SERVICE is replaced.
_MEANINGS = {
    "AuthenticationError": "it refused the user or the password",
    "AuthenticationWrongNumberOfArgsError": "it refused the user or the password",
    "AuthorizationError": "it refused the user or the password",
    "NoPermissionError": "the user may not run the script or touch the keys: allow evalsha, eval, get, hgetall, what "
    "the script uses, and the keys sleepwalker:{SERVICE}:*; is SERVICE the right service?",
    "OutOfMemoryError": "it is full (maxmemory)",
    "ReadOnlyError": "it is a replica, which accepts no writes",
    "BusyLoadingError": "it is still loading its data",
    "ClusterDownError": "the cluster is down",
    "MasterDownError": "it is a replica that has lost its master",
    "TryAgainError": "the cluster is moving the keys",
    "AskError": "the cluster is moving the keys",
    "MovedError": "it is a node of a cluster: write redis+cluster:// in the URL",
    "MISCONF": "it cannot save its data, and accepts no writes",
    "NOREPLICAS": "it has too few replicas, and accepts no writes",
    "BUSY": "a long-running script keeps it busy",
    "WRONGTYPE": "other data is stored under the fleet's keys",
    "InvalidResponse": "the server that answers is not Redis",
}
#: Errors without a class or first word of their own, by a part of their text.
_TEXTS = {
    "The user executing the script": "NoPermissionError",
    "unauthenticated": "AuthenticationError",  # the answer to a long command before any login
    "OOM command not allowed": "OutOfMemoryError",  # raised within the script by Redis before 7, like those below
    "READONLY ": "ReadOnlyError",
    "MISCONF ": "MISCONF",
    "WRONGTYPE ": "WRONGTYPE",
}
_SYSTEM = {
    ConnectionRefusedError: "the connection was refused",
    FileNotFoundError: "there is no such socket or file",
    PermissionError: "permission to use the socket or a file is denied",
    socket.gaierror: "the name was not found",
    ConnectionResetError: "the connection was reset",
}


class Deadline:
    """How much time a call has left, by a monotonic clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._at = clock.monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than zero. Raises TimeoutError."""
        left = self._at - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Bounded:
    """A socket on which every wait ends with the call's deadline, so that many short waits do not add up to more."""

    def __init__(self, sock: Any, left: Callable[[], float]) -> None:
        self._sock = sock
        self._left = left

    def recv(self, *args: Any) -> bytes:
        self._sock.settimeout(self._left())
        data: bytes = self._sock.recv(*args)
        return data

    def recv_into(self, *args: Any) -> int:
        self._sock.settimeout(self._left())
        size: int = self._sock.recv_into(*args)
        return size

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(self._left())
        self._sock.sendall(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class Wire:
    """Sends commands to a server. Each call connects if there is no connection, and ends by its deadline. After an
    error, the next call connects anew."""

    def __init__(self, address: Address, service: str, timeout: float, clock: Clock) -> None:
        self._address = address
        self._service = service
        """The service as it is written in the keys."""
        self._timeout = timeout
        self._clock = clock
        self._deadline = Deadline(clock, timeout)
        self._connection: Any = None
        self._pid = os.getpid()
        #: In the order in which to try them: the node or Sentinel that answered last, then the others.
        self._nodes = list(address.nodes)

    def ask(self, *commands: Sequence[bytes], instead: Sequence[bytes] | None = None) -> list[Any]:
        """The answers to commands that are sent together. If the server does not know the script of the first one,
        `instead` is sent in its place. Raises StoreError."""
        self._deadline = Deadline(self._clock, self._timeout)
        failure = ""
        done = False
        try:
            answers = self._asked(commands, instead)
            done = True
            return answers
        except StoreError as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001 - a library may raise anything for what a server sends
            failure = self._meaning(error)
        finally:
            if not done:
                self.close()
        raise StoreError(f"{self._address.shown}: {failure}")

    def close(self) -> None:
        """Close the connection, without waiting. A forked child closes its copy of the socket, not the parent's."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _asked(self, commands: Sequence[Sequence[bytes]], instead: Sequence[bytes] | None) -> list[Any]:
        if self._pid != os.getpid():
            self.close()
            self._pid = os.getpid()
        for _ in range(_HOPS):
            if self._connection is None:
                self._connect()
            try:
                return self._answers(commands, instead)
            except RedisError as error:
                if type(error).__name__ != "MovedError" or self._address.kind != "cluster":
                    raise
                # A node without a host name is at the current host, at another port.
                node = (getattr(error, "host", "") or self._nodes[0][0], int(getattr(error, "port", 0)))
            self.close()
            self._nodes = [node, *(other for other in self._nodes if other != node)][:_MOST_NODES]
        raise StoreError("the nodes of the cluster disagree about where the keys are")

    def _answers(self, commands: Sequence[Sequence[bytes]], instead: Sequence[bytes] | None) -> list[Any]:
        for command in commands:
            self._connection.send_command(*command)
        answers: list[Any] = []
        for command in commands:
            try:
                answers.append(self._connection.read_response())
            except RedisError as error:
                if type(error).__name__ != "NoScriptError" or instead is None or command is not commands[0]:
                    raise
                answers.append(None)
        if instead is not None and answers[0] is None:
            self._connection.send_command(*instead)
            answers[0] = self._connection.read_response()
        return answers

    # -- connecting ---------------------------------------------------------------------------------------------------

    def _connect(self) -> None:
        address = self._address
        if address.kind == "one":
            self._connection = self._opened(address.nodes[0] if address.nodes else None, self._deadline.left())
        elif address.kind == "sentinel":
            self._connection = self._opened(self._ask_sentinels(), self._deadline.left())
            self._connection.send_command(b"ROLE")
            if self._connection.read_response()[0] != b"master":
                raise StoreError("the Sentinel names a server that is a replica: it is failing over")
        else:
            self._connection = self._first_of(self._opened)
            self._learn_nodes()

    def _first_of(self, attempt: Callable[[Node, float], Any]) -> Any:
        """The result of the first node that gives one. It is tried first from then on. A silent node must leave time
        for the others."""
        failure: Exception = StoreError("none was tried")
        for at, node in enumerate(list(self._nodes)):
            try:
                given = attempt(node, self._deadline.left() / min(len(self._nodes) - at + 1, 4))
            except (RedisError, OSError, StoreError) as error:
                failure = error
                continue
            self._nodes = [node, *(other for other in self._nodes if other != node)]
            return given
        raise failure

    def _ask_sentinels(self) -> Node:
        """The node that is the master now."""

        def ask(node: Node, seconds: float) -> Node:
            connection = self._opened(node, seconds, of_sentinel=True)
            try:
                connection.send_command(b"SENTINEL", b"get-master-addr-by-name", self._address.master)
                found = connection.read_response()
            finally:
                connection.disconnect()
            if not found:
                raise StoreError("the Sentinel monitors no master with the name in the URL")
            return found[0].decode(), int(found[1])

        master: Node = self._first_of(ask)
        return master

    def _learn_nodes(self) -> None:
        """Remember the cluster's nodes, so that it is found if those of the URL are gone."""
        try:
            self._connection.send_command(b"CLUSTER", b"SLOTS")
            rows = self._connection.read_response()
        except redis.ResponseError:  # an ACL may forbid it
            return
        for row in rows:
            for host, port, *_ in row[2:]:
                if host and (node := (host.decode(), int(port))) not in self._nodes:
                    self._nodes.append(node)
        del self._nodes[_MOST_NODES:]

    def _opened(self, node: Node | None, seconds: float, *, of_sentinel: bool = False) -> Any:
        """A connection with user, password and database set. `seconds` limits each step of connecting."""
        address = self._address
        user, password = address.sentinel_login if of_sentinel else address.login
        options: dict[str, Any] = {
            "db": 0 if of_sentinel else address.db,
            "username": user,
            "password": password,
            "protocol": 2,
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
        }
        kind: type[redis.Connection] = redis.Connection
        if node is None:
            kind = redis.UnixDomainSocketConnection  # type: ignore[assignment]
            options["path"] = address.path
        else:
            options["host"], options["port"] = node
            if address.tls:
                kind = redis.SSLConnection
                options |= address.tls_options
        connection = _bounded(kind)(**options)
        connection.bound = lambda: min(self._deadline.left(), seconds) if of_sentinel else self._deadline.left()
        del options, user, password
        connection.connect()
        return connection

    # -- what went wrong ----------------------------------------------------------------------------------------------

    def _meaning(self, error: Exception) -> str:
        """The error in one line of ours. Of the server's words, only those that cannot quote what it was sent."""
        seen: set[int] = set()
        link: BaseException | None = error
        while link is not None and id(link) not in seen:
            seen.add(id(link))
            if isinstance(link, ssl.SSLCertVerificationError):
                return f"its certificate is not trusted: {link.verify_message}"
            if isinstance(link, ssl.SSLError):
                return f"TLS failed: {link.reason or 'no handshake'}"
            if isinstance(link, TimeoutError | redis.TimeoutError):
                # A server without TLS takes the handshake for a command, and waits in silence for the rest of it.
                doubt = ", or it does not speak TLS" if self._address.tls and self._connection is None else ""
                return f"no answer in time ({self._timeout:g} s){doubt}"
            for kind, meaning in _SYSTEM.items():
                if isinstance(link, kind):
                    return meaning
            link = link.__context__
        said = str(error)
        for text, key in _TEXTS.items():
            if text in said:
                return _MEANINGS[key].replace("SERVICE", self._service)
        for key in (*(kind.__name__ for kind in type(error).__mro__), said.partition(" ")[0]):
            if key in _MEANINGS:
                return _MEANINGS[key].replace("SERVICE", self._service)
        if "FOREIGN" in said or "user_script" in said:
            keys = f"sleepwalker:{{{self._service}}}:*"
            return f"other data is stored under the fleet's keys ({keys}): find these keys and delete them"
        if isinstance(error, redis.ConnectionError):
            return "the connection was closed"
        if isinstance(error, redis.ResponseError):
            return f"it answered with an error: {self._harmless(said)}"
        return f"its answer cannot be read ({type(error).__name__})"

    def _harmless(self, said: str) -> str:
        told = said.partition(", with args")[0][:100]
        secrets = [one for login in (self._address.login, self._address.sentinel_login) for one in login if one]
        return told if told.isprintable() and not any(one in told for one in secrets) else "not shown"


def _bounded(kind: type[redis.Connection]) -> type[Any]:
    """redis-py's class, with a socket whose waits end with the call's deadline. If a later release makes its socket
    elsewhere, each single wait still has its timeout."""

    class Connection(kind):  # type: ignore[valid-type,misc]
        bound: Callable[[], float]

        def _connect(self) -> Any:
            return _Bounded(super()._connect(), self.bound)

    return Connection
