"""The tables of scenarios that belong together: a client against the fault, or each outage with all of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.outage import words
from benchmarks.outage.figures import Found, Run, amplification
from benchmarks.outage.load import OK
from benchmarks.outage.scenario import Scenario
from benchmarks.outage.targets import DEADLINE

Cell = Callable[[Run], str]


def partial(found: Found) -> str:
    """For each kind of failure, by client and share: what was answered, what that took, and how long."""
    parts = []
    for error, heading in {"503": "503", "reset": "The connection is reset"}.items():
        clients = _matrix(found, lambda run, error=error: run.scenario.error == error)  # type: ignore[misc]
        columns = [f"{100 * scenario.error_share:.0f} %" for scenario in _scenarios(clients)]
        for what, cell in _PARTIAL.items():
            parts += [f"{heading}: {what}, while this share of the attempts fails:", _crossed(clients, columns, cell)]
    return "\n\n".join(parts)


def answered(found: Found) -> str:
    """One table of partial faults: answered calls with 503, and requests per call."""
    clients = _matrix(found, lambda run: run.scenario.error == "503")
    columns = [f"{100 * scenario.error_share:.0f} %" for scenario in _scenarios(clients)]
    return _crossed(clients, columns, lambda run: f"{words.share(run.success)} · {run.amplification:.2f}")


def faulty_machine(found: Found) -> str:
    """One table of a faulty machine: answered calls, and its share of the requests."""
    clients = _matrix(found, lambda run: True)
    columns = [_SHORT[scenario.phases[-1].kind] for scenario in _scenarios(clients)]
    return _crossed(clients, columns, lambda run: f"{words.share(run.success_during)} · {100 * run.ill_share:.1f} %")


def machines(found: Found) -> str:
    """By client and by what is wrong with one of the machines."""
    clients = _matrix(found, lambda run: True)
    columns = [_SHORT[scenario.phases[-1].kind] for scenario in _scenarios(clients)]
    return "\n\n".join(
        part
        for what, cell in _MACHINES.items()
        for part in (f"{what[:1].upper()}{what[1:]}, while one of four machines", _crossed(clients, columns, cell))
    )


def outages(found: Found) -> str:
    """A line for each outage and client, over all its runs."""
    header = ["", "client", "runs", "recovered after, median", "at worst", "failed meanwhile, at worst"]
    header += ["requests per call", f"after the first {DEADLINE:g} s", "opened again, at worst"]
    lines = [header, ["---", "---", *("---:" for _ in header[2:])]]
    for clients in found.values():
        for client, several in clients.items():
            lines.append(
                [
                    several[0].scenario.title,
                    client,
                    str(len(several)),
                    words.seconds(_median([run.recovery for run in several])),
                    words.seconds(_worst([run.recovery for run in several])),
                    str(max(run.failed_after for run in several)),
                    _sent(several, 0),
                    _sent(several, DEADLINE) if several[0].scenario.fault[1] > DEADLINE else "",
                    _again(several) if client.startswith("sleepwalker") else "",
                ]
            )
    return _lines(lines)


def recovered(several: Sequence[Run]) -> str:
    """How soon after an outage, over all its runs."""
    times = [run.recovery for run in several]
    return f"{words.seconds(_median(times))}, at worst {words.seconds(_worst(times))}"


def batch(found: Found) -> str:
    """A line for each restart and client."""
    header = ["12 s of", "client", "items done", "whole job", "failed attempts in the first second"]
    header += ["per second after that", "in the worst second"]
    lines = [header, ["---", "---", *("---:" for _ in header[2:])]]
    for clients in found.values():
        for client, (run, *_) in clients.items():
            vain = run.vain() if run.counted else []
            lines.append(
                [
                    run.scenario.title,
                    client,
                    f"{run.outcomes.count(OK):,} of {run.calls:,}",
                    f"{run.took:.0f} s",
                    f"{vain[0]:.0f}" if vain else "not known",
                    f"{statistics.mean(vain[1:]):.1f}" if vain else "",
                    f"{max(vain[1:]):.0f}" if vain else "",
                ]
            )
    return _lines(lines)


TABLES: Mapping[str, Callable[[Found], str]] = {
    "partial": partial,
    "machines": machines,
    "outages": outages,
    "exact": outages,
    "batch": batch,
}
HEADINGS = {
    "partial": "A share of the attempts fails",
    "machines": "Four machines behind one address, one of them faulty",
    "outages": "Outages of about 2, 20 and 120 s, and how they end",
    "exact": "Outages of exactly 2, 20 and 120 s",
    "batch": "A job of 3,000 items through a restart of 12 s",
}

_PARTIAL: Mapping[str, Cell] = {
    "calls answered": lambda run: words.share(run.success),
    "requests per call": lambda run: f"{run.amplification:.2f}",
    "durations, p50 / p99": lambda run: f"{words.duration(run.duration(50))} / {words.duration(run.duration(99))}",
}
_MACHINES: Mapping[str, Cell] = {
    "calls answered": lambda run: words.share(run.success_during),
    "the faulty machine's share of the requests": lambda run: f"{100 * run.ill_share:.1f} %",
    "requests per call": lambda run: f"{run.amplification:.2f}",
    "durations, p50 / p99": lambda run: f"{words.duration(run.duration(50))} / {words.duration(run.duration(99))}",
}
_SHORT = {
    "503": "answers 503 at once",
    "reset": "resets",
    "404": "answers 404 at once",
    "slow": "is slow",
    "refused": "is dead",
    "hang": "hangs",
}


def _matrix(found: Found, wanted: Callable[[Run], bool]) -> dict[str, list[Run]]:
    """Each client's first runs, in the scenarios' order."""
    clients: dict[str, list[Run]] = {}
    for of in found.values():
        for client, (run, *_) in of.items():
            if wanted(run):
                clients.setdefault(client, []).append(run)
    return clients


def _scenarios(clients: Mapping[str, Sequence[Run]]) -> list[Scenario]:
    """All that any of the clients took part in, in their order."""
    return list({run.scenario.name: run.scenario for runs in clients.values() for run in runs}.values())


def _crossed(clients: Mapping[str, Sequence[Run]], columns: Sequence[str], cell: Cell) -> str:
    names = [scenario.name for scenario in _scenarios(clients)]
    lines = [["", *columns], ["---", *("---:" for _ in columns)]]
    for client, several in clients.items():
        cells = {run.scenario.name: cell(run) for run in several}
        lines.append([client, *(cells.get(name, "") for name in names)])
    return _lines(lines)


def _lines(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _median(figures: Sequence[float | None]) -> float | None:
    """Where half of them never came to an end, neither does the median."""
    found = statistics.median(float("inf") if figure is None else figure for figure in figures)
    return None if found == float("inf") else found


def _worst(figures: Sequence[float | None]) -> float | None:
    return None if None in figures else max(figure for figure in figures if figure is not None)


def _sent(several: Sequence[Run], after: float) -> str:
    """Requests per call in all runs together, but for the fault's first seconds."""
    if not all(run.counted for run in several):
        return "not known"
    return f"{amplification(several, after):.3f}"


def _again(several: Sequence[Run]) -> str:
    times = [run.opened_again for run in several]
    return "never closed" if None in times else str(max(number for number in times if number is not None))
