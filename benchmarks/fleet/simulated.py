"""What a store has to do for more workers than fit onto one machine: `python -m benchmarks.fleet.simulated`.

Be some of the workers: threads with the worker of a fleet and a connection to the store each, as a manager has them,
and standings that are made up in place of calls. All hosts that they tell of are broken, and are looked at in vain.

Where even that is too much for the machine, everybody lives so many times slower: a store in between stretches all that
the workers say of time, and shortens all that they hear.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.children import started
from benchmarks.fleet.store import run_redis
from benchmarks.fleet.thousand import RATE, watched
from sleepwalker.engine import Standing
from sleepwalker.fleet import Fleet
from sleepwalker.fleet.store import Heard, Said, Store, StoreError
from sleepwalker.fleet.worker import Worker

#: Processes that the workers are divided among: one does not use two cores.
PROCESSES = 4
#: Syncs in one turn at most, as the client of a manager does them.
_SYNCS = 4
_BROKEN = Standing(
    broken=True,
    told=False,
    healthy=False,
    failing=True,
    run=9,
    lasted=1.0,
    cause="503",
    failed_looks=0,
    answered_at=None,
    demand=0,
    waiting=False,
)


def measure(workers: int, broken: int, seconds: float, slower: float = 1.0) -> dict[str, float]:
    """What the store did per second of the workers' time, `broken` hosts being in trouble."""
    with contextlib.ExitStack() as running:
        redis = running.enter_context(run_redis())
        children = [running.enter_context(started("benchmarks.fleet.simulated")) for _ in range(PROCESSES)]
        for place, child in enumerate(children):
            mine = workers // PROCESSES + (place < workers % PROCESSES)
            plan = {"workers": mine, "broken": broken, "slower": slower, "seed": place}
            child.say({**plan, "fleet": {"url": redis.url, "service": "bench"}})
        for child in children:
            child.hear()
        time.sleep(seconds / 2)
        found = watched(redis, seconds, slower)
        ends = [child.done() for child in children]
    late = max(end["late"] for end in ends)
    return {**found, "workers": ends[0]["workers"], "known": ends[0]["known"], "late": late, "slower": slower}


@dataclass(frozen=True, slots=True)
class _Slowed:
    """A store for workers that live so many times slower than it does."""

    store: Store
    times: float

    def version(self) -> tuple[str, int] | None:
        return self.store.version()

    def sync(self, said: Said) -> Heard:
        views = {host: replace(view, lasted=view.lasted * self.times) for host, view in said.views.items()}
        looks = {host: seconds * self.times for host, seconds in said.looks.items()}
        heard = self.store.sync(replace(said, ttl=said.ttl * self.times, views=views, looks=looks))
        tallies = {
            host: replace(
                tally,
                since=tally.since / self.times,
                began=tally.began / self.times,
                failed_at=tally.failed_at / self.times,
            )
            for host, tally in heard.tallies.items()
        }
        return replace(heard, now=heard.now / self.times, tallies=tallies)


class _One:
    """A worker, and what its calls would come to."""

    def __init__(self, fleet: Fleet, name: str, broken: int, slower: float) -> None:
        self._store = fleet.opened()
        self._slowed = _Slowed(self._store, slower)
        self.worker = Worker(name, name, fleet.verdicts(), fleet.interval)
        self._hosts = [f"https://host-{number}.example.net" for number in range(broken)]
        self._standings = dict.fromkeys(self._hosts, _BROKEN)
        self._chance = random.Random(name)
        self._slower = slower
        self._noted = self._now()
        self.late = 0.0

    def run(self, ended: threading.Event) -> None:
        """Take turns until it is over."""
        due = time.monotonic() + self._chance.uniform(0, self.worker.tick * self._slower)
        while not ended.wait(max(0.0, due - time.monotonic())):
            self.late = max(self.late, (time.monotonic() - due) / self._slower)
            with contextlib.suppress(StoreError):
                self._turn()
            due = max(due + self.worker.tick * self._slower, time.monotonic())
        self._store.close()

    def _now(self) -> float:
        return time.monotonic() / self._slower

    def _turn(self) -> None:
        now = self._now()
        self._call(now - self._noted)
        self._noted = now
        for number in range(_SYNCS):
            now = self._now()
            if not self.worker.may_sync(now):
                break
            self.worker.note(self._standings, now)
            if not self.worker.is_due(now) and (number > 0 or not self.worker.is_news(self._slowed.version())):
                break
            said = replace(self.worker.says(), renew=self.worker.renews(now))
            self.worker.hears(self._slowed.sync(said), self._now())
        for action in self.worker.decides(self._now()):
            if action.kind == "look":
                found = self._standings[action.host]
                self._standings[action.host] = replace(found, failed_looks=found.failed_looks + 1)

    def _call(self, seconds: float) -> None:
        """Calls to hosts at random, which the circuits refuse."""
        for host in self._chance.choices(self._hosts, k=round(RATE * seconds)) if self._hosts else ():
            found = self._standings[host]
            self._standings[host] = replace(found, demand=found.demand + 1)


def _be(plan: dict[str, Any]) -> Sequence[_One]:
    fleet = Fleet(**plan["fleet"])
    return [
        _One(fleet, f"{plan['seed']:x}-{number:x}-{os.getpid():x}", plan["broken"], plan["slower"])
        for number in range(plan["workers"])
    ]


def main() -> None:
    threading.stack_size(256 * 1024)
    ones, ended = _be(json.loads(sys.stdin.readline())), threading.Event()
    threads = [threading.Thread(target=one.run, args=(ended,), daemon=True) for one in ones]
    for thread in threads:
        thread.start()
    print('"ready"', flush=True)
    sys.stdin.read()
    ended.set()
    known = sum(verdict for _, verdict in ones[0].worker.tallies().values())
    late = max((one.late for one in ones), default=math.nan)
    print(json.dumps({"workers": ones[0].worker.workers, "known": known, "late": round(late, 2)}), flush=True)


if __name__ == "__main__":
    main()
