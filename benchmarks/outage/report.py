"""The result as pages for people: tables, targets, and the blocks of the documentation that repeat them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.figures import FAST, RECOVERED, TARGETS, WINDOW, Run, runs
from benchmarks.report import words

Column = tuple[str, Callable[[Run], str]]

_NOTES = f"""\
Calls come by the clock, whether earlier ones have ended or not, and their durations count from when they were due.
Every client gets the same plan: the n-th request that reaches the server meets the same fate. Each runs in a process
of its own, and so does its server; between them are real sockets on loopback that stay open.

- *requests per call*: what reached the server during the outage, for each call that was due then (where there is no
  outage: during the whole run).
- *first fast failure*: from the outage's begin until a call failed within {FAST * 1000:.0f} ms.
- *recovered after*: from the server's recovery to the first {WINDOW:g} s in which {100 * RECOVERED:g} % of the calls
  were answered well; *failed meanwhile*: the calls that failed although they were due after it."""

_REMARKS = {
    "outage": """\
A client that just fails is fast, and knows at once when the server is back. Retries without a budget triple the load of
a server that is down; sleepwalker's budget, here without its breaker, is a fifth of the calls of the last 10 s, those
before the outage included, and one more per second.
A breaker takes nearly all load off the server and pays with time, for it has to find out that the server is back.
`standard` looks after 5 s, 10 s, 20 s, and then lets the load grow for 5 s (`ramp`); with `open_max=5` it looks every
5 s. pybreaker's `reset_timeout` is 5 s here, so its fourth look falls just behind the end of these 20 s: that is luck,
and up to 5 s later would be as likely. It lets the whole load in at once.""",
    "errors": "Three attempts cure it, whoever makes them.",
    "tail": """\
pybreaker holds a lock for as long as a call lasts, so one slow answer delays all callers behind it. A hedge is sent for
a call that is slower than 95 of 100, so it costs requests only there.""",
    "hang": """\
Nothing has failed before the first deadline is over, so a breaker that counts failures learns of it late: after 10 s
here. With `slow_call` calls that are still waiting count as well. Under `interactive` the deadline is 2 s.
pybreaker's callers wait in line for its lock, so its breaker learns of one failure in 10 s.""",
}


def page(result: Mapping[str, Any]) -> str:
    """The whole result in Markdown."""
    found = runs(result)
    parts = ["# How clients take a server's failures", _NOTES, full(result), "## The clients"]
    shown = dict.fromkeys(client for clients in found.values() for client in clients)
    parts.append("\n".join(f"- {client}: {_first_paragraph(CLIENTS[client].__doc__)}" for client in shown))
    parts.append("## How it was measured")
    facts = {name: value for name, value in result.items() if name not in ("benchmark", "scenarios", "runs")}
    late = [run["started late, ms"] for run in result["runs"]]
    most, worst = max(p99 for p99, _ in late), max(latest for _, latest in late)
    facts["calls begun late"] = (
        f"in every run 99 of 100 by less than {most:.1f} ms, and none by more than {worst:.0f} ms;"
        " that is in the durations above"
    )
    parts.append("\n".join(f"- {name}: {words(value)}" for name, value in facts.items()))
    return "\n\n".join(parts) + "\n"


def full(result: Mapping[str, Any]) -> str:
    """A table for each scenario, and the targets."""
    parts = []
    for name, clients in runs(result).items():
        scenario = next(iter(clients.values())).scenario
        parts += [f"## {scenario.title}", _load(scenario.rate, scenario.calls, name)]
        parts += [_table(_COLUMNS[name], list(clients.values())), _REMARKS[name]]
    if targets := _targets(result):
        parts += ["## What was aimed for", targets]
    return "\n\n".join(part for part in parts if part)


def summary(result: Mapping[str, Any]) -> str:
    """One short table of the outage: what the README shows."""
    clients = runs(result).get("outage", {})
    return _table(_SUMMARY, [clients[name] for name in _SUMMARY_CLIENTS if name in clients])


def fill(path: Path, result: Mapping[str, Any]) -> str:
    """The page's text with each block between `outage: NAME` comments written anew."""
    text = path.read_text(encoding="utf-8")
    for name, block in {"tables": full, "summary": summary}.items():
        begin, end = f"<!-- outage: {name} -->", f"<!-- /outage: {name} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            made = re.sub(r"^## ", "### ", block(result), flags=re.MULTILINE)
            text = f"{before}{begin}\n\n{made}\n\n{end}{after}"
    return text


def _load(rate: float, calls: int, name: str) -> str:
    return f"{rate:g} calls per second, {calls} in all, to each."


def _targets(result: Mapping[str, Any]) -> str:
    found = runs(result)
    lines = []
    for target in TARGETS:
        clients = found.get(target.scenario, {})
        if not {target.client, "sleepwalker"} <= clients.keys():
            continue
        verdict = "met" if target.met(clients) else "**missed**"
        lines.append(f"| {target.words} | {target.limit:g} | {target.figure(clients):.4g} | {verdict} |")
    return "\n".join(["| | aim | measured | |", "| --- | ---: | ---: | --- |", *lines]) if lines else ""


def _table(columns: Sequence[Column], rows: Sequence[Run]) -> str:
    cells = [["", *(name for name, _ in columns)], ["---", *("---:" for _ in columns)]]
    cells += [[row.client, *(figure(row) for _, figure in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "none"
    if seconds < 0.0995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 9.995 else f"{seconds:.1f} s"


def _recovery(run: Run) -> str:
    return _seconds(run.recovery, "not in time")


def _seconds(seconds: float | None, never: str) -> str:
    return never if seconds is None else f"{seconds:.1f} s"


def _share(share: float) -> str:
    return f"{100 * share:.2f} %" if 0.99 < share < 1 else f"{100 * share:.3g} %"


_AMPLIFICATION: Column = ("requests per call", lambda run: f"{run.amplification:.2f}")
_FAILING: tuple[Column, ...] = (
    ("failing call, p50", lambda run: _duration(run.failing(50))),
    ("p99", lambda run: _duration(run.failing(99))),
)
_RECOVERY: tuple[Column, ...] = (
    ("recovered after", _recovery),
    ("failed meanwhile", lambda run: str(run.failed_after)),
)
_FIRST: Column = ("first fast failure", lambda run: _duration(run.first_fast_failure))
_DURATIONS: tuple[Column, ...] = (
    ("p50", lambda run: _duration(run.duration(50))),
    ("p99", lambda run: _duration(run.duration(99))),
    ("p99.9", lambda run: _duration(run.duration(99.9))),
)
_ANSWERED: Column = ("answered", lambda run: _share(run.success))
_COLUMNS: dict[str, tuple[Column, ...]] = {
    "outage": (_AMPLIFICATION, _FIRST, *_FAILING, *_RECOVERY),
    "errors": (_ANSWERED, _AMPLIFICATION, *_DURATIONS),
    "tail": (_ANSWERED, _AMPLIFICATION, *_DURATIONS),
    "hang": (
        _AMPLIFICATION,
        ("most calls waiting at once", lambda run: str(run.most_in_flight)),
        _FIRST,
        *_FAILING,
        *_RECOVERY,
    ),
}
_SUMMARY = (_AMPLIFICATION, ("a failing call takes, p50", _FAILING[0][1]), _FAILING[1], _RECOVERY[0])
_SUMMARY_CLIENTS = (
    "requests",
    "requests + urllib3.Retry",
    "requests + tenacity + pybreaker",
    "httpx + stamina",
    "sleepwalker",
    "sleepwalker, open_max=5",
    "sleepwalker, probing",
)


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
