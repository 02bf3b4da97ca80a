"""A storm: hundreds of tasks call hosts that fail in every way, and some of them are cancelled at random moments.

Each request has a nonce, which its answer must tell. At the end nothing may be there of calls that are over: no task,
future, timer or socket, and no permit. `python -m benchmarks.aio.chaos` is the process that calls: it reads what to do
as a line of JSON and prints what it saw; `faults` is empty where all is well.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import gc
import json
import random
import stat
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sleepwalker
from benchmarks.aio.gaps import TICK
from benchmarks.children import started
from benchmarks.environment import leave_out_the_environment
from sleepwalker.aio import AsyncConnection
from sleepwalker.engine import Host

SECONDS, TASKS, SEED = 60.0, 200, 20261130
#: Seconds after its deadline, or after its task was cancelled, by which a call must have ended.
GRACE = 0.1
#: Seconds before a deadline in which the process waited for a core, so that it had more to do at the deadline.
JUST_BEFORE = 0.2
_SCHEDULED = Path("/proc/self/schedstat")
#: Of the calls, and within how many seconds at most.
CANCELLED, TIMED, WITHIN = 0.15, 0.05, 0.6
#: Seconds that a task waits between two calls, at most.
PAUSE = 0.6
TOTALS = (0.3, 1.0, 3.0)
#: So many faults of a kind are told.
_TOLD = 5

_TIMEOUTS = {"connect": 1, "read": 1, "attempt": 1.5, "total": 3}
_RETRIES: dict[str, Any] = {"attempts": 3, "wait_initial": 0.02, "wait_max": 0.2, "budget": None}
#: The host of each has an address of its own.
POLICIES: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "hedged": {"hedge": {"delay": 0.03, "max_extra": 1}},
    "narrow": {
        "bulkhead": {"max_concurrent": 15, "max_wait": 0.5},
        "rate_limit": {"rate": 150, "burst": 10, "max_wait": 0.5},
        "pool": {"size": 10, "block": True},
    },
    "jumpy": {
        "breaker": {
            "consecutive": 3,
            "consecutive_for": 0,
            "open_for": 0.05,
            "open_max": 0.2,
            "max_wait": 0.3,
            "ramp": 0.5,
        }
    },
}


def measure(seconds: float = SECONDS, tasks: int = TASKS, seed: int = SEED) -> dict[str, Any]:
    """What the callers saw, what the host saw, and all that went wrong."""
    with started("benchmarks.aio.flaky") as host, started("benchmarks.aio.chaos") as caller:
        port = host.ask(seed)
        caller.say({"port": port, "seconds": seconds, "tasks": tasks, "seed": seed})
        seen = caller.hear()
        time.sleep(0.2)  # until the host has heard of the last sockets' end
        reached = host.ask("look")
    faults = [*seen.pop("faults")]
    faults += [f"done twice: {nonce}" for nonce in reached["twice"]]
    faults += [f"the body of another request: {nonce}" for nonce in reached["mixed"]]
    if reached["open"]:
        faults.append(f"left behind: {reached['open']} sockets that the host still has")
    return {"seconds": seconds, "tasks": tasks, "seed": seed, "seen": seen, "reached": reached, "faults": faults}


# -- in the process that calls ---------------------------------------------------------------------


@dataclass(slots=True)
class Lag:
    """How late the loop came, and how long the machine had this process wait for a core meanwhile."""

    moments: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    """Seconds that the process has waited for a core in all, by each of the moments."""
    longest: float = 0.0
    """Seconds by which a tick came too late."""

    async def watch(self) -> None:
        while True:
            before = time.monotonic()
            self.moments.append(before)
            self.waited.append(_waited_for_a_core())
            await asyncio.sleep(TICK)
            self.longest = max(self.longest, time.monotonic() - before - TICK)

    def since(self, moment: float) -> float:
        """Seconds that the process waited for a core since that moment, and just before it: that work waits, too."""
        at = bisect.bisect(self.moments, moment - JUST_BEFORE) - 1
        return _waited_for_a_core() - self.waited[at] if at >= 0 else 0.0


def _waited_for_a_core() -> float:
    """Seconds that the process was ready to run, and others ran; 0 where the system does not say."""
    try:
        return int(_SCHEDULED.read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


class Storm:
    """Makes the calls, cancels some, and looks at each answer."""

    def __init__(self, conns: Mapping[str, AsyncConnection], tasks: int, dice: random.Random) -> None:
        self.conns = conns
        self.tasks = tasks
        self.dice = dice
        self.outcomes: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.told: list[str] = []
        self.lag = Lag()
        self.lateness: list[float] = []
        """Seconds by which calls that ended after their deadline did so."""
        self.cuts: list[float] = []
        """Seconds that cancelled calls took to end."""
        self.excused = 0

    def fault(self, kind: str, text: object) -> None:
        self.faults[kind] += 1
        if self.faults[kind] <= _TOLD:
            self.told.append(f"{kind}: {text}")

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        watching = asyncio.create_task(self.lag.watch())
        async with asyncio.TaskGroup() as group:
            for number in range(self.tasks):
                group.create_task(self.some(number, end))
        watching.cancel()
        await asyncio.wait([watching])

    async def some(self, number: int, end: float) -> None:
        """One task's calls, one after the other."""
        made = 0
        while time.monotonic() < end:
            await asyncio.sleep(self.dice.random() * PAUSE)
            made += 1
            nonce = f"n{number}-{made}"
            roll, within = self.dice.random(), WITHIN * self.dice.random() ** 2
            try:
                if roll < CANCELLED:
                    await self.cancelled(nonce, within)
                elif roll < CANCELLED + TIMED:
                    await self.timed(nonce, within)
                else:
                    self.outcomes[await self.call(nonce)] += 1
            except Exception as error:
                self.fault("not an error of ours", repr(error))

    async def cancelled(self, nonce: str, within: float) -> None:
        """A call whose task is cancelled, if it takes as long."""
        task = asyncio.create_task(self.call(nonce))
        done, _ = await asyncio.wait([task], timeout=within)
        if done:
            self.outcomes[task.result()] += 1
            return
        task.cancel()
        begun = time.monotonic()
        await asyncio.wait([task])
        self.ended("cut late", begun, self.cuts, nonce)
        self.outcomes["cancelled" if task.cancelled() else f"cancelled too late: {task.result()}"] += 1

    async def timed(self, nonce: str, within: float) -> None:
        """A call within `asyncio.timeout`."""
        due = time.monotonic() + within
        try:
            async with asyncio.timeout(within) as limit:
                outcome = await self.call(nonce)
        except TimeoutError:
            self.ended("cut late", due, self.cuts, nonce)
            self.outcomes["timed out from outside"] += 1
            return
        if limit.expired():
            self.fault("a time limit was swallowed", nonce)
        self.outcomes[outcome] += 1

    def ended(self, kind: str, due: float, figures: list[float], nonce: str) -> None:
        """A call has ended that should have by `due`."""
        if (late := time.monotonic() - due) <= 0:
            return
        figures.append(late)
        if late > GRACE:
            if late - self.lag.since(due) > GRACE:
                self.fault(kind, f"{nonce}: {late:.3f} s; {self.lag.since(due):.3f} s waited for a core")
            else:
                self.excused += 1

    async def call(self, nonce: str) -> str:
        """One call: how it ended."""
        dice = self.dice
        name = dice.choice(list(self.conns))
        conn = self.conns[name]
        if dice.random() < 0.1:
            conn = conn.scope("part")
        total = dice.choice(TOTALS)
        due = time.monotonic() + total
        path = f"/chaos/{nonce}"
        body = (nonce * (1 + int(3000 * dice.random() ** 4))).encode()
        roll = dice.random()
        try:
            if roll < 0.15:
                return await self.stream(conn, path, nonce, total, due)
            if roll < 0.4:
                response = await conn.post(path, data=body, total=total)
            elif roll < 0.5:
                response = await conn.put(path, data=body, total=total)
            else:
                response = await conn.get(path, total=total)
            self.ended("later than its deadline", due, self.lateness, nonce)
            self.look(nonce, response.content)
            return "answered"
        except sleepwalker.HTTPError as error:
            self.ended("later than its deadline", due, self.lateness, nonce)
            if error.response is not None:
                self.look(nonce, error.response.content)
            return f"{type(error).__name__}"
        except sleepwalker.SleepwalkerException as error:
            self.ended("later than its deadline", due, self.lateness, nonce)
            return type(error).__name__

    async def stream(self, conn: AsyncConnection, path: str, nonce: str, total: float, due: float) -> str:
        async with conn.stream("GET", path, total=total) as response:
            self.ended("later than its deadline", due, self.lateness, nonce)
            try:
                chunks = [chunk async for chunk in response.aiter_bytes()]
            except sleepwalker.SleepwalkerException as error:  # `total` ended with the head
                return f"{type(error).__name__} in a stream's body"
        self.look(nonce, b"".join(chunks))
        return "streamed"

    def look(self, nonce: str, content: bytes) -> None:
        """The answer must be whole, and that of this request."""
        try:
            told = json.loads(content)["nonce"]
        except (ValueError, KeyError):
            self.fault("half an answer", f"{nonce}: {content[:60]!r}")
            return
        if told != nonce:
            self.fault("a wrong answer", f"{nonce} got that of {told}")

    def permits(self) -> None:
        """What the hosts' records hold of calls that are over."""
        for name, conn in self.conns.items():
            for part in (conn, conn.scope("part")):
                for what, number in _held(part._record).items():
                    if number:
                        self.fault("left behind", f"{name}: {what} {number}")

    async def afterwards(self) -> None:
        """Each host is answered again, by as many calls at once as it allows."""
        for name, conn in self.conns.items():
            conn.reset_circuit()
            await asyncio.sleep(0.4)
            calls = [conn.get(f"/plain/after{number}") for number in range(10)]
            for number, answer in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
                if isinstance(answer, BaseException):
                    self.fault("not answered afterwards", f"{name}: {answer!r}")
                else:
                    self.look(f"after{number}", answer.content)


def _held(host: Host) -> dict[str, int]:
    gauges, counters = host.gauges(), host.counters
    ended = counters.answered + counters.failed + counters.rejected + counters.cancelled
    return {
        "in flight": gauges.in_flight,
        "queued": gauges.queued,
        "places at the circuit": 0 if host.breaker is None else len(host.breaker.circuit.places.out),
        "calls without an end": counters.calls - ended,
    }


def _sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += stat.S_ISSOCK(path.stat().st_mode)
    return found


def _futures() -> list[str]:
    """Futures and tasks that nothing has ended, but the one that asks."""
    gc.collect()
    here = asyncio.current_task()
    waiting = [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Future) and thing is not here]
    return [repr(future)[:200] for future in waiting if not future.done()]


@contextlib.contextmanager
def _complaints(storm: Storm) -> Iterator[None]:
    """Whatever asyncio, the garbage collector or a warning says is a fault."""
    loop = asyncio.get_running_loop()

    def told_by_asyncio(_: object, told: Mapping[str, Any]) -> None:
        storm.fault("told by asyncio", f"{told['message']} {told.get('exception')!r}")

    loop.set_exception_handler(told_by_asyncio)
    before, sys.unraisablehook = sys.unraisablehook, lambda told: storm.fault("unraisable", repr(told.exc_value))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            yield
            gc.collect()
        finally:
            sys.unraisablehook = before
            loop.set_exception_handler(None)
    for warning in told:
        storm.fault("warned", f"{warning.category.__name__}: {warning.message}")


async def _storm(wanted: Mapping[str, Any]) -> dict[str, Any]:
    sockets = _sockets()
    conns = {}
    for number, (name, parts) in enumerate(POLICIES.items()):
        policy = sleepwalker.Policy(timeout=_TIMEOUTS, retry=_RETRIES, **parts)
        conns[name] = AsyncConnection(
            f"http://127.0.0.{number + 1}:{wanted['port']}", sleepwalker.ANONYMOUS, policy=policy
        )
    storm = Storm(conns, wanted["tasks"], random.Random(wanted["seed"]))
    cpu, wall, waited = time.process_time(), time.monotonic(), _waited_for_a_core()
    with _complaints(storm):
        await storm.run(wanted["seconds"])
        took, used, waited = time.monotonic() - wall, time.process_time() - cpu, _waited_for_a_core() - waited
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            storm.fault("left behind", f"a task, before closing: {task!r}"[:300])
        storm.permits()
        await storm.afterwards()
        storm.permits()
        attempts = sum(part.health.attempts for conn in conns.values() for part in (conn, conn.scope("part")))
        for conn in conns.values():
            await conn.close()
        await asyncio.sleep(0.05)
        for future in _futures():
            storm.fault("left behind", future)
        if (left := _sockets() - sockets) > 0:
            storm.fault("left behind", f"{left} sockets")
    return {
        "calls": storm.outcomes.total(),
        "attempts": attempts,
        "outcomes": dict(storm.outcomes.most_common()),
        "late": _figures(storm.lateness),
        "cut": _figures(storm.cuts),
        "excused": storm.excused,
        "lag": round(storm.lag.longest * 1e3, 1),
        "waited": round(waited, 2),
        "took": round(took, 2),
        "cpu": round(used, 2),
        "faults": storm.told + [f"{kind}: {number} in all" for kind, number in storm.faults.items() if number > _TOLD],
    }


def _figures(seconds: list[float]) -> dict[str, float]:
    """How many, and milliseconds: of the middle one and of the largest."""
    ordered = sorted(seconds) or [0.0]
    return {
        "number": len(seconds),
        "median": round(ordered[len(ordered) // 2] * 1e3, 1),
        "most": round(ordered[-1] * 1e3, 1),
    }


def main() -> None:
    wanted = json.loads(sys.stdin.readline())
    with tempfile.TemporaryDirectory(prefix="sleepwalker-aio-") as home:
        leave_out_the_environment(Path(home))
        print(json.dumps(asyncio.run(_storm(wanted))), flush=True)


if __name__ == "__main__":
    main()
