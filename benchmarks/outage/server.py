"""A server that fails by plan, in a process of its own: `python -m benchmarks.outage.server`.

It reads the scenario as a line of JSON and prints its port; it reads on which second of the machine's monotonic clock
the plan begins; and where its input ends it prints what reached it, and ends.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

from benchmarks.outage.scenario import Kind, Scenario, from_dict

_REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}
_BODIES = {
    200: b'{"order": 4711, "state": "shipped"}',
    404: b'{"error": "no such order"}',
    503: b'{"error": "down for a moment"}',
}
_HEAD = "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_ANSWERS = {status: (_HEAD % (status, _REASONS[status], len(body))).encode() + body for status, body in _BODIES.items()}
#: Stand for a status: of a request that never gets a response, and of one whose connection is reset.
UNANSWERED, RESET = 0, -1
_STATUSES: dict[Kind, int] = {"503": 503, "404": 404, "reset": RESET, "hang": UNANSWERED, "refused": RESET}

#: Seconds that an answer of the slow machine takes at least and at most.
SLOW = 0.2, 1.0
#: A cold server answers this share of the load at first, and all of it this many seconds after its first answer.
COLD, WARM_AFTER = 0.2, 4.0
#: Seconds for which it may save up what it could have answered.
_SAVED = 0.25


@dataclass
class Plan:
    """The scenario, and what has reached the server so far."""

    scenario: Scenario
    begins: float = float("inf")
    arrivals: list[tuple[float, int, int]] = field(default_factory=list)
    """Seconds since the plan began, the status that the request is answered with, and the machine's number."""
    connections: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.scenario.seed)
        self._slowness = random.Random(self.scenario.seed)
        self._warmth = _Warmth(self.scenario.rate)

    def receive(self, now: float, machine: int = 0) -> tuple[int, float]:
        """Which status the request that arrives now gets, and after how many seconds."""
        scenario, since = self.scenario, now - self.begins
        # Both are drawn for every request, so that the n-th one meets the same fate whatever the client.
        fails, slow = self._chance.random() < scenario.error_share, self._chance.random() < scenario.slow_share
        kind = self.kind(since) if self.is_planned(machine) else "healthy"
        seconds = scenario.answer
        if kind == "cold":
            status = 200 if self._warmth.answers(now) else 503
        elif kind == "slow":
            status, seconds = 200, self._slowness.uniform(*SLOW)
        elif kind == "healthy":
            status = _STATUSES[scenario.error] if fails else 200
            seconds *= scenario.slow_factor if slow else 1
        else:
            status = _STATUSES[kind]
            seconds = seconds if scenario.machines == 1 else 0.0
        self.arrivals.append((since, status, machine))
        return status, seconds

    def kind(self, since: float) -> Kind:
        """What the plan says for so many seconds after its begin."""
        for phase in self.scenario.phases[:-1]:
            if since < phase.seconds:
                return phase.kind
            since -= phase.seconds
        return self.scenario.phases[-1].kind

    def is_planned(self, machine: int) -> bool:
        """Whether the machine does what the phases say: of several only the last."""
        return machine == self.scenario.machines - 1


class _Warmth:
    """How much a server answers whose caches are empty: they fill from its first answer on."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._begun: float | None = None
        self._then = 0.0
        self._saved = 1.0

    def answers(self, now: float) -> bool:
        if self._begun is None:
            self._begun = self._then = now
        share = COLD + (1 - COLD) * (now - self._begun) / WARM_AFTER
        if share >= 1:
            return True
        able = share * self._rate
        self._saved = min(max(1.0, _SAVED * able), self._saved + able * (now - self._then))
        self._then = now
        if self._saved < 1:
            return False
        self._saved -= 1
        return True


class _Connection(asyncio.Protocol):
    """One client's keep-alive connection to one machine. Only requests without a body are understood."""

    def __init__(self, host: _Host, machine: int) -> None:
        self._host, self._machine = host, machine
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        plan, now = self._host.plan, time.monotonic()
        plan.connections += 1
        if plan.is_planned(self._machine):
            if plan.kind(now - plan.begins) == "refused":
                plan.receive(now, self._machine)
                self._reset()
                return
            self._host.planned.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._host.planned.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            _, _, self._received = self._received.partition(b"\r\n\r\n")
            status, seconds = self._host.plan.receive(time.monotonic(), self._machine)
            if status == RESET:
                asyncio.get_running_loop().call_later(seconds, self._reset)
            elif status != UNANSWERED:
                asyncio.get_running_loop().call_later(seconds, self._answer, status)

    def _answer(self, status: int) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_ANSWERS[status])

    def _reset(self) -> None:
        """End it with an RST, which a plain close does not send."""
        if self._transport is not None and not self._transport.is_closing():
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()


class _Host:
    """One address, and the machines behind it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.planned: set[asyncio.Transport] = set()
        """The connections to the machine that does what the phases say."""
        self._turns = itertools.cycle(range(plan.scenario.machines))
        self._server: asyncio.Server | None = None
        # Bound and never listening: the port stays ours, and refuses connections unless the server listens.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]

    async def listen(self) -> None:
        if self._server is None:
            listener = _bound(self.port)
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self, next(self._turns)), sock=listener, backlog=4096
            )

    async def keep_to_the_plan(self) -> None:
        """Refuse connections while the plan says so, and end those that there are."""
        begins = self.plan.begins
        for phase in self.plan.scenario.phases:
            await asyncio.sleep(begins - time.monotonic())
            begins += phase.seconds
            if phase.kind != "refused":
                await self.listen()
                continue
            if self.plan.scenario.machines == 1 and self._server is not None:
                self._server.close()
                self._server = None
            for transport in list(self.planned):
                transport.abort()


def _bound(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind(("127.0.0.1", port))
    return found


async def _serve() -> Plan:
    plan = Plan(from_dict(json.loads(sys.stdin.readline())))
    host = _Host(plan)
    await host.listen()
    print(host.port, flush=True)
    plan.begins = float(await asyncio.to_thread(sys.stdin.readline) or "inf")
    keeping = asyncio.create_task(host.keep_to_the_plan())
    await asyncio.to_thread(sys.stdin.read)
    keeping.cancel()
    return plan


if __name__ == "__main__":
    done = asyncio.run(_serve())
    json.dump({"arrivals": done.arrivals, "connections": done.connections}, sys.stdout)
