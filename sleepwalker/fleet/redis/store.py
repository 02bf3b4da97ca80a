"""`RedisStore`: the reports of a service's workers, stored in Redis or Valkey."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import resources
from typing import Any, TypeVar
from urllib.parse import quote

from sleepwalker.clock import SYSTEM_CLOCK, Clock
from sleepwalker.fleet.redis import address, packing
from sleepwalker.fleet.store import KEPT_FOR, NAME, RESET_FOR, RESTORED_FOR, Heard, Order, Overview, Said, StoreError
from sleepwalker.frames import without_locals

_T = TypeVar("_T")

#: The most hosts in trouble that an overview shows.
_HOSTS_SHOWN = 10_000
#: The script's parts, in order: together they are one chunk of Lua.
_PARTS = ("reading.lua", "rules.lua", "commands.lua")
#: How many workers' views are requested at once. Each is a command, and between commands the server serves others.
_AT_ONCE = 50


@functools.cache
def _script() -> tuple[bytes, bytes]:
    """The script, and its SHA-1, by which servers identify it."""
    constants = f"local KEPT, RESTORED, RESET = {KEPT_FOR:.0f}, {RESTORED_FOR:.0f}, {RESET_FOR:.0f}\n"
    constants += f"local ALL_HOSTS = {_HOSTS_SHOWN}\n"
    folder = resources.files("sleepwalker.fleet.redis")
    text = constants + "".join(folder.joinpath(part).read_text("utf-8") for part in _PARTS)
    code = text.encode()
    return code, hashlib.sha1(code, usedforsecurity=False).hexdigest().encode()


class RedisStore:
    """A store for a fleet on several machines, in Redis (6.2 or later) or Valkey. It needs the extra `fleet`.

    URLs may have `USER:PASSWORD@` before the first host, escaped as in any URL (`%2F` for a slash):

    - `redis://HOST:PORT/DATABASE`: one server; the defaults are 6379 and 0
    - `unix:///PATH`: a server on this machine; `?db=1` for another database
    - `redis+sentinel://HOST1:26379,HOST2:26379/NAME/DATABASE`: the servers that these Sentinels monitor under that
      name; `?sentinel_username=…&sentinel_password=…` if the Sentinels have their own password
    - `redis+cluster://HOST1:PORT,HOST2:PORT`: a cluster, by some of its nodes

    `rediss` instead of `redis` means TLS, to Sentinels too. The certificate is checked against the system's
    authorities; `?ssl_ca_certs=FILE` or `ssl_ca_path=FOLDER` name others, and `ssl_certfile` and `ssl_keyfile` the
    client's own. `ssl_cert_reqs` (none, optional, required) and `ssl_check_hostname` are as in redis-py.

    Keys are `sleepwalker:{SERVICE}:…`, all in one slot of a cluster, and expire 30 days after their last use. The
    server should not evict them (`maxmemory-policy noeviction`): workers start again if one is missing.

    `timeout` is the limit for a whole call in seconds, including connecting. Only the look-up of the server's name may
    take longer, as long as the system allows. If a name has several addresses, each is tried within `timeout`.

    Raises ValueError for an invalid URL, service or timeout, and ModuleNotFoundError without redis-py. Creating one
    does not connect. Each other method raises `StoreError`.
    """

    @without_locals
    def __init__(self, url: str, service: str, *, timeout: float, clock: Clock = SYSTEM_CLOCK) -> None:
        where = address.read(url)
        if not service or not packing.fits(service):
            raise ValueError(f"service must have 1 to {NAME} characters")
        if not 0 < timeout < 3600:
            raise ValueError(f"timeout must be a number of seconds above 0 and below 3600, not {timeout!r}")
        self.shown: str = where.shown
        # Braces would end the part of the key that determines its slot.
        service = quote(service, safe="/:@ -_.~", errors="replace")
        self._prefix = b"sleepwalker:{%s}:" % service.encode()
        self._state = self._prefix + b"state"
        try:
            from sleepwalker.fleet.redis.wire import Wire  # noqa: PLC0415 - it imports redis-py
        except ModuleNotFoundError as error:
            if error.name != "redis":
                raise
        else:
            self._wire = Wire(where, service, timeout, clock)
            return
        raise ModuleNotFoundError(
            "a fleet in Redis needs the package redis: pip install 'sleepwalker[fleet]'", name="redis"
        )

    def __repr__(self) -> str:
        return f"RedisStore({self.shown!r})"

    @without_locals
    def version(self) -> tuple[str, int] | None:
        (state,) = self._wire.ask((b"GET", self._state))
        if state is None:
            return None
        return self._read(packing.version, state)

    @without_locals
    def sync(self, said: Said) -> Heard:
        return self._read(packing.heard, self._run(packing.arguments(said)))

    @without_locals
    def order(self, name: str, order: Order) -> int:
        if not packing.fits(name):
            raise StoreError(f"the name of a host must have 1 to {NAME} characters, and this one has {len(name)}")
        number = self._run([b"order", packing.raw(name), packing.pack_order(order)])
        return self._read(int, number)

    @without_locals
    def overview(self) -> Overview:
        """Takes several round trips if hosts are in trouble, so that no long step blocks the server."""
        seen = self._read(packing.overview, self._run([b"overview"]))
        if not seen.tallies:
            return seen
        workers = list(seen.workers)
        said: dict[str, Sequence[bytes]] = {}
        for at in range(0, len(workers), _AT_ONCE):
            part = workers[at : at + _AT_ONCE]
            rows = self._wire.ask(*((b"HGETALL", self._prefix + b"said:" + packing.raw(one)) for one in part))
            said.update(zip(part, rows, strict=True))
        views = self._read(packing.views, seen, said)
        return replace(seen, views=views)

    @without_locals
    def leave(self, worker: str) -> None:
        self._run([b"leave", packing.raw(worker)])

    def close(self) -> None:
        self._wire.close()

    def abandon(self) -> None:
        # Safe in a child: redis-py shuts a connection down only in the process that made it.
        self._wire.close()

    def _run(self, arguments: Sequence[bytes]) -> Any:
        code, sha = _script()
        rest = (b"1", self._state, *arguments)
        (answer,) = self._wire.ask((b"EVALSHA", sha, *rest), instead=(b"EVAL", code, *rest))
        return answer

    def _read(self, read: Callable[..., _T], *answer: Any) -> _T:
        """The unpacked answer. Raises `StoreError` for unreadable data, which another program must have written."""
        with contextlib.suppress(Exception):  # garbage fails in many ways
            return read(*answer)
        self._wire.close()
        raise StoreError(
            f"{self.shown}: other data is stored under the fleet's keys ({self._prefix.decode()}*): "
            "find these keys and delete them"
        )
