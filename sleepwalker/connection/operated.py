"""What an operator does with the hosts of a manager: by hand, and where it has a fleet for all workers."""

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

        `reason` is a short text that is shown to all: in errors, events, logs, health and on the status page. Of a URL
        in it, what stands before the host (`user:password@`) is shown as `***@`; keep other secrets out of it.
        `until` is when it ends by itself: a datetime with a time zone, or a number of seconds from now, which setting
        the machine's clock does not change. Isolating a host again replaces both.
        For a name that hooks understand, all that goes for the hosts that its connections lead to; of several
        isolations of one host the latest end counts. The scopes of a host are isolated with it; one alone is as
        `https://host#name`, which `find` does not heed.

        Raises ValueError for a reason that is blank, not printable or longer than 200 characters, and for an `until`
        without a time zone, in the past or more than a year from now; TypeError for what is neither.
        """
        name, origin, scope = checked_record_key(host)
        isolation = check_isolation(reason, until, self._hosts.clock)
        make = partial(change.isolate_host, self._lookup, name, origin, isolation, scope)
        self._finder.order("isolate", (name, origin, scope), make, isolation)

    @without_locals
    def restore(self, host: str) -> None:
        """End an isolation; without one nothing happens.

        For a name, that ends what was said of the name: a host that is isolated by its URL or by another name, too,
        stays so. For a URL, it ends all that there is of that host, but for its scopes that are isolated themselves.
        """
        key = checked_record_key(host)
        self._finder.order("restore", key, partial(change.restore, self._lookup, *key))

    @without_locals
    def reset_circuit(self, host: str) -> None:
        """Count a host as healthy from now on: its circuit closes at once, and the next `find` may ask the hooks.

        Use it when a fault was repaired. A circuit that is half-open or admits only a part of the calls admits all, a
        host whose connects failed no longer counts as broken, and back-offs end. Attempts sent before no longer count.
        Counts and latencies stay, and so does an isolation. For a name that hooks understand, that goes for the hosts
        that it leads to; for a host that is not known, nothing happens. Circuits of the host's scopes close as well, or
        that of one alone: `https://host#name`.
        """
        key = checked_record_key(host)
        self._finder.order("reset", key, partial(change.reset_circuit, self._lookup, *key))

    @property
    def fleet(self) -> FleetHealth | None:
        """How this worker stands to the others of its service, as it was heard last; None without `fleet=`."""
        return None if (fleet := self._hosts.fleet) is None else fleet.health()
