"""Event logs of any size, as a service that calls ten hosts would write them, and the truth about what is in them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

#: When the log begins: a date like any other, for a log that is made again must be the same.
START = 1_763_769_600.0

#: What the hosts are: origin, share of the traffic, median latency in seconds, share of attempts that fail.
HOSTS = (
    ("https://catalogue.shop.example.net", 0.30, 0.018, 0.0004),
    ("https://stock.shop.example.net:8443", 0.20, 0.009, 0.0002),
    ("https://prices.shop.example.net", 0.15, 0.012, 0.0010),
    ("https://search.shop.example.net", 0.10, 0.060, 0.0040),
    ("https://payments.bank.example.com", 0.08, 0.140, 0.0060),
    ("https://orders.shop.example.net", 0.06, 0.025, 0.0005),
    ("https://images.cdn.example.org", 0.04, 0.007, 0.0001),
    ("http://10.20.0.17:9200", 0.03, 0.004, 0.0300),
    ("https://mail.relay.example.org", 0.02, 0.210, 0.0100),
    ("https://ratings.partner.example.com", 0.02, 0.090, 0.2500),
)
_PATHS = ("/v1/items", "/v1/items/{}", "/v2/customers/{}/basket", "/search", "/v1/orders/{}", "/health", "/a/{}/b/{}")
_ATTEMPTS = 3
_CONSECUTIVE = 5


@dataclass
class Truth:
    """What is in a log: numbers that a reader of it has to find."""

    events: int = 0
    answered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    """Rejected calls included."""
    rejected: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    """Sends after a call's first."""
    saved_by: Counter[int] = field(default_factory=Counter)
    """Answered calls by the number of the attempt that was answered, from the second on."""
    opened: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    """Failed attempts, by status or name of the error."""
    broken_at_end: set[str] = field(default_factory=set)

    def hosts(self) -> set[str]:
        """Those that were called."""
        return {*self.answered, *self.failed}


class _Circuit:
    """A breaker as simple as can be: consecutive failures open it, one success closes it."""

    def __init__(self) -> None:
        self.failures = 0
        self.open_until = 0.0
        self.open_for = 5.0
        self.opened_at: float | None = None
        self.half_open = False


class Traffic:
    """Calls one after the other, some at the same time, without end."""

    def __init__(self, seed: int = 1, rate: float = 60.0, days: float = 1.0, outages: int = 4) -> None:
        """`rate` is calls per second; `outages` is how many each of the last hosts has in `days`."""
        self.truth = Truth()
        self._random = random.Random(seed)
        self._rate = rate
        span = days * 86_400
        self._down = {
            host: sorted(
                (START + self._random.uniform(0.05, 0.9) * span, self._random.uniform(20, 240)) for _ in range(outages)
            )
            for host, *_ in HOSTS[3:9:2]
        }
        self._circuits = {host: _Circuit() for host, *_ in HOSTS}
        self._now = START

    def lines(self, events: int) -> Iterator[str]:
        """At least `events` lines, without their ends; a call's lines are all there."""
        names = [host for host, *_ in HOSTS]
        weights = [share for _, share, *_ in HOSTS]
        about = {host: (latency, failing) for host, _, latency, failing in HOSTS}
        while self.truth.events < events:
            for host in self._random.choices(names, weights, k=1_000):
                self._now += self._random.expovariate(self._rate)
                made = self._call(host, *about[host])
                self.truth.events += len(made)
                yield from made
                if self.truth.events >= events:
                    break
        self.truth.broken_at_end = {host for host, circuit in self._circuits.items() if circuit.opened_at is not None}

    def _call(self, host: str, latency: float, failing: float) -> list[str]:
        dice, truth, circuit = self._random.random, self.truth, self._circuits[host]
        path = _PATHS[int(dice() * len(_PATHS))].format(int(dice() * 90_000), int(dice() * 9))
        method = "GET" if dice() < 0.85 else "POST" if dice() < 0.5 else "PUT"
        about = f'"host":"{host}","method":"{method}","path":"{path}"'
        lines: list[str] = []
        at = self._now

        def write(level: str, event: str, rest: str) -> None:
            lines.append(f'{{"timestamp":"{_stamp(at)}","level":"{level}","event":"{event}",{rest}}}')

        if circuit.opened_at is not None:
            if at < circuit.open_until:
                wait = round(circuit.open_until - at, 4)
                write("warning", "request.rejected", f'{about},"by":"breaker","retry_after":{wait}')
                text = f"the circuit of {host} is open after ConnectError; next try in {wait} s"
                ends = '"attempts":0,"duration":0.0001,"waited":0.0'
                write("error", "request.failed", f'{about},"error":"CircuitOpenError","detail":"{text}",{ends}')
                truth.failed[host] += 1
                truth.rejected[host] += 1
                return lines
            circuit.half_open = True
            write("info", "breaker.half_opened", f'"host":"{host}"')
        down = any(begin <= at < begin + length for begin, length in self._down.get(host, ()))
        waited, spent, which = 0.0, 0.0, ""
        for number in range(1, _ATTEMPTS + 1):
            took = 0.001 + dice() * 0.002 if down else self._random.lognormvariate(0, 0.5) * latency
            spent += took
            at += took
            if not down and dice() >= failing:
                circuit.failures = 0
                if circuit.opened_at is not None:
                    circuit.half_open = False
                    write("info", "breaker.closed", f'"host":"{host}","ramp":5.0')
                    write("info", "host.recovered", f'"host":"{host}","broken_for":{at - circuit.opened_at:.3f}')
                    circuit.opened_at, circuit.open_for = None, 5.0
                status = 200 if dice() < 0.97 else 404
                ends = f'"status":{status},"attempts":{number},"duration":{spent:.6f},"waited":{waited:.6f}'
                write("info", "request.finished", f"{about},{ends}")
                truth.answered[host] += 1
                truth.retries[host] += number - 1
                if number > 1:
                    truth.saved_by[number] += 1
                return lines
            what, says = ("ConnectError", "connection refused") if down else _failure(dice())
            truth.errors[what] += 1
            which = f'"status":{what}' if what.isdigit() else f'"error":"{what}","detail":"{host}: {says}"'
            write("warning", "attempt.failed", f'{about},"attempt":{number},{which},"duration":{took:.6f}')
            circuit.failures += 1
            if circuit.half_open or (circuit.failures >= _CONSECUTIVE and circuit.opened_at is None):
                self._open(circuit, host, at, what, write)
            if number < _ATTEMPTS and circuit.opened_at is None:
                wait = 0.02 + dice() * 0.1 * 2**number
                reason = "status" if what.isdigit() else "error"
                rest = f'{about},"attempt":{number + 1},"wait":{wait:.6f},"server_directed":false,"reason":"{reason}"'
                write("info", "retry.scheduled", rest)
                waited, spent, at = waited + wait, spent + wait, at + wait
            elif number < _ATTEMPTS:
                write("warning", "retry.abandoned", f'{about},"attempt":{number},"reason":"breaker"')
                break
        ends = f'"attempts":{number},"duration":{spent:.6f},"waited":{waited:.6f}'
        write("error", "request.failed", f"{about},{which},{ends}")
        truth.failed[host] += 1
        truth.retries[host] += number - 1
        return lines

    def _open(self, circuit: _Circuit, host: str, at: float, what: str, write: Callable[[str, str, str], None]) -> None:
        rule = "probe" if circuit.half_open else "consecutive"
        rest = f'"host":"{host}","rule":"{rule}","open_for":{circuit.open_for},"cause":"{what}"'
        write("warning", "breaker.opened", rest)
        self.truth.opened[host] += 1
        if circuit.opened_at is None:
            circuit.opened_at = at
            failures = f'"failures":{circuit.failures},"cause":"{what}"'
            write("error", "host.broken", f'"host":"{host}","reason":"breaker",{failures}')
        circuit.half_open = False
        circuit.open_until = at + circuit.open_for
        circuit.open_for = min(60.0, circuit.open_for * 2)


def write_log(path: Path, size: int, seed: int = 1) -> Truth:
    """Write about `size` bytes, and say what is in them."""
    traffic = Traffic(seed)
    written = 0
    with path.open("w", encoding="ascii") as file:
        for line in traffic.lines(2**62):
            written += file.write(line + "\n")
            if written >= size:
                break
    return traffic.truth


def _failure(luck: float) -> tuple[str, str]:
    if luck < 0.6:
        return "503", ""
    if luck < 0.8:
        return "ReadTimeout", "no byte for 10 s"
    return ("ReadError", "the connection was reset") if luck < 0.95 else ("502", "")


_second = (0, "")


def _stamp(at: float) -> str:
    global _second
    whole = int(at)
    if _second[0] != whole:
        _second = (whole, datetime.fromtimestamp(whole, UTC).isoformat()[:19])
    return f"{_second[1]}.{int((at - whole) * 1000):03d}Z"
