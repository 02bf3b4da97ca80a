"""The fast path of `find`: slots by the exact arguments of `find`, read without a lock or a step."""

from __future__ import annotations

from typing import Any

from sleepwalker.hosts.names import check_host
from sleepwalker.lookup.foreign import EMPTY, says_closed
from sleepwalker.lookup.keys import Asked, AuthKey, fast_key
from sleepwalker.lookup.state import Lookup
from sleepwalker.lookup.steps import Remember

FastKey = tuple[Any, ...]


def at_hand(lookup: Lookup, host: str, auth: Any) -> tuple[Any, FastKey]:
    """A slot's connection if nothing is wrong with it, else EMPTY; and the key.

    Needs no lock. It may run code of credentials and of connections.
    """
    key = fast_key(host, auth)
    try:
        slot = lookup.fast.get(key)
    except TypeError:  # credentials that cannot be hashed
        check_host(host)
        key = (host, AuthKey, AuthKey(auth))
        slot = lookup.fast.get(key)
    if slot is not None:
        conn, now = slot.conn, lookup.clock.monotonic()
        if now < lookup.sweep_at and conn is not EMPTY and slot.fault(now, says_closed(conn)) is None:
            slot.used = now
            if slot.conn is conn:  # and was therefore what looked good
                return conn, key
    return EMPTY, key


def asked_for(host: str, auth: Any, key: FastKey) -> Asked:
    """The request, if the fast path has no entry for it."""
    return Asked(host, auth, key[2] if key[1] is AuthKey else None, key)


def remember(step: Remember) -> None:
    """Make the fast path find the slot by the same arguments. It hashes and compares credentials: hold no lock.

    If the table was replaced meanwhile, for example by an isolation, no call reads the entry.
    """
    asked = step.asked
    try:
        step.fast[asked.fast or fast_key(asked.host, asked.auth)] = step.slot
    except TypeError:
        step.fast[asked.host, AuthKey, asked.key] = step.slot
