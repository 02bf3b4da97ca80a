"""An operator's actions on the hosts of a manager; with a fleet, they reach all workers."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from sleepwalker.connection.settings import check_isolation
from sleepwalker.frames import without_locals
from sleepwalker.hosts.fleet import FleetHealth
from sleepwalker.hosts.names import checked_record_key
from sleepwalker.lookup import change
from sleepwalker.lookup.state import Lookup

if TYPE_CHECKING:
    from sleepwalker.connection.finding import FinderBase
    from sleepwalker.hosts import HostTable


class Operated:
    """The part of a manager that is for operators."""

    _finder: FinderBase
    _hosts: HostTable
    _lookup: Lookup

    @without_locals
    def isolate(self, host: str, *, reason: str | None = None, until: datetime | float | None = None) -> None:
        """Take a host out of use: `find` and requests to it raise `HostIsolatedError` until `restore`.

        `reason` is a short text. Errors, events, logs, health and the status page show it to everybody, so put no
        secrets in it. (Userinfo of a URL in it, `user:password@`, is shown as `***@`.)

        `until` is when the isolation ends by itself: a datetime with a time zone, or a number of seconds from now. A
        number of seconds is not affected when the machine's clock is set. Isolating a host again replaces both.

        A name that hooks understand stands for the hosts that its connections lead to. If a host is isolated in several
        ways, the latest end applies. The scopes of a host are isolated with it. To isolate one scope, pass
        `https://host#name`; `find` ignores that isolation, requests of the scope do not.

        Raises ValueError for a reason that is blank, unprintable or longer than 200 characters, and for an `until`
        without a time zone, in the past or more than a year ahead. TypeError for other types.
        """
        name, origin, scope = checked_record_key(host)
        isolation = check_isolation(reason, until, self._hosts.clock)
        make = partial(change.isolate_host, self._lookup, name, origin, isolation, scope)
        self._finder.order("isolate", (name, origin, scope), make, isolation)

    @without_locals
    def restore(self, host: str) -> None:
        """End an isolation. Does nothing if there is none.

        A name ends only the isolation that was made by this name: a host that is also isolated by its URL or another
        name stays isolated. A URL ends all isolations of the host, except those of single scopes.
        """
        key = checked_record_key(host)
        self._finder.order("restore", key, partial(change.restore, self._lookup, *key))

    @without_locals
    def reset_circuit(self, host: str) -> None:
        """Treat a host as healthy from now on: its circuit closes at once, and the next `find` may call the hooks.

        Call this after a fault was repaired. An open, half-open or slow-starting circuit admits all calls. A host that
        failed to connect no longer counts as broken, and back-offs end. Attempts sent before no longer count. Counters,
        latencies and isolations stay. A name that hooks understand stands for the hosts that it leads to. An unknown
        host is ignored. The circuits of the host's scopes close too; `https://host#name` closes only that of one scope.
        """
        key = checked_record_key(host)
        self._finder.order("reset", key, partial(change.reset_circuit, self._lookup, *key))

    @property
    def fleet(self) -> FleetHealth | None:
        """How this worker sees its fleet, as of its last exchange with the store. None without `fleet=`."""
        return None if (fleet := self._hosts.fleet) is None else fleet.health()
