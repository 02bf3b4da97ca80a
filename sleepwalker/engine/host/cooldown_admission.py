"""The part of the admission that handles cooldowns."""

from __future__ import annotations

from typing import Literal

from sleepwalker.engine.host.cooldown import Cooldown, Cooldowns
from sleepwalker.engine.host.holdings import Holdings
from sleepwalker.engine.host.lock import HostLock
from sleepwalker.events import CooldownBegan, Event


class CooldownAdmission:
    """Its methods are thread-safe."""

    __slots__ = ("_lock", "_origin", "cooldowns")

    def __init__(self, origin: str, lock: HostLock) -> None:
        self._origin = origin
        self._lock = lock
        self.cooldowns: Cooldowns | None = None
        """None unless the host asked calls to stay away. Read without the lock, once for each attempt."""

    def begin_cooldown(self, cooldown: Cooldown) -> tuple[Event, ...]:
        """Begin a cooldown for all calls, or those with some credentials, unless a longer one is active; the events."""
        with self._lock.mutex:
            if self.cooldowns is None:
                self.cooldowns = Cooldowns()
            if not self.cooldowns.begin(cooldown):
                return ()
        binds: Literal["pair", "host"] = "host" if cooldown.whose is None else "pair"
        return (CooldownBegan(self._origin, cooldown.cause, binds, cooldown.until - cooldown.began),)

    def cooldowns_on(self, whose: str, now: float) -> tuple[Cooldown, ...]:
        """The cooldowns that may hold back a call with the credentials of this mark."""
        with self._lock.mutex:
            if (cooldowns := self.cooldowns) is None:
                return ()
            if cooldowns.needless(now):
                self.cooldowns = None
                return ()
            return cooldowns.on(whose, now)

    def wait_for_cooldown(self, call: Holdings, came: float) -> None:
        """Add a call that came at that time to those that wait for a cooldown. It must `leave`."""
        with self._lock.mutex:
            if self.cooldowns is not None:
                self.cooldowns.wait(call, came)

    def stop_waiting_for_cooldown(self, call: Holdings) -> None:
        """Remove a call from the waiting ones."""
        with self._lock.mutex:
            if self.cooldowns is not None:
                self.cooldowns.stop_waiting(call)

    @property
    def none_waits_for_cooldown(self) -> bool:
        """Whether no call waits, so that later calls need not go behind any."""
        cooldowns = self.cooldowns
        return cooldowns is None or cooldowns.waiting == 0

    def place_after_cooldown(self, call: Holdings, came: float, draw: float) -> float:
        """A call's place in the time after a cooldown, from 0 for its begin to 1 for its end."""
        with self._lock.mutex:
            return 0.0 if self.cooldowns is None else self.cooldowns.place(call, came, draw)
