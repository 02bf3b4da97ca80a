"""The result as pages for people: tables, targets, and the blocks of the documentation that repeat them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.outage import words
from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.figures import FAST, RECOVERED, WINDOW, Found, Run, repeated, runs
from benchmarks.outage.groups import HEADINGS, TABLES, answered, recovered
from benchmarks.outage.scenario import VARIED, Scenario
from benchmarks.outage.server import COLD, SLOW, WARM_AFTER
from benchmarks.outage.targets import DEADLINE, TARGETS
from benchmarks.report import words as fact

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
    "outage": f"""\
A client that just fails is fast, and knows at once when the server is back. Retries without a budget triple the load of
a server that is down; sleepwalker's budget, here without its breaker, is a fifth of the calls of the last 10 s, those
before the outage included, and one more per second.
A breaker takes nearly all load off the server and pays with time, for it has to find out that the server is back. When
it looks, and so how soon it does, is luck in a single run; ten runs of outages of three lengths are
[below](#{HEADINGS["outages"].lower().replace(",", "").replace(" ", "-")}).""",
    "errors": "Three attempts cure it, with any of the clients.",
    "tail": """\
pybreaker holds a lock for as long as a call lasts, so one slow response delays all callers behind it. A hedge is sent
for a call that is slower than 95 of 100, so it costs requests only there.""",
    "hang": """\
Nothing has failed before the first deadline is over, so a breaker that counts failures learns of it late: after 10 s
here. With `slow_call` calls that are still waiting count as well. Under `interactive` the deadline is 2 s.
pybreaker's callers wait in line for its lock, so its breaker learns of one failure in 10 s.""",
    "partial": """\
160 calls per second, 3,200 in all, to each; a response takes 1 ms. Which attempts fail is left to chance.
With a share of *f* failing, three attempts can answer 1 - *f*³ of the calls, for 1 + *f* + *f*² requests each.""",
    "machines": f"""\
100 calls per second, for 3 s while all are well and for 20 s while one is ill, of which the tables are. Each connection
belongs to one machine for good, in turn, as behind a balancer of layer 4. The well ones take 0.1 s, a slow one
{SLOW[0]:g} to {SLOW[1]:g} s. A 404 is a response to all but stamina, which is told to retry every `httpx.HTTPError`;
what can be seen there is whether a machine attracts callers by being fast. pybreaker would let one call through at a
time, ten a second, and so is not among them.""",
    "outages": f"""\
Each line is of several runs, whose outages differ in length by up to {100 * VARIED:.0f} % up and down, so that they end
at different moments for a circuit that looks now and then. 50 calls per second, 20 where the host is silent or the
outage takes 120 s. Silence is known for what it is only when a deadline is over, {DEADLINE:g} s after it began under
`standard`: until then every call is sent. A cold host answers {100 * COLD:.0f} % of the load at first and all of it
{WARM_AFTER:g} s after its first response; the rest gets 503.""",
    "exact": """\
A circuit that a failure opens after 0.5 s looks after about 1.5, 3, 5.3, 8.6, 13.7 and 21.3 s, and then every 10 s,
each wait 10 % longer or shorter. These lengths end shortly before a look, those above anywhere.""",
    "batch": """\
All workers share one client. An item that failed is not tried again by the job. Requests that a host refuses are known
to the client alone, and so of sleepwalker only, by its log.""",
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
    parts.append("\n".join(f"- {name}: {fact(value)}" for name, value in facts.items()))
    return "\n\n".join(parts) + "\n"


def full(result: Mapping[str, Any]) -> str:
    """A table for each scenario or group of them, and the targets."""
    parts = []
    for name, clients in runs(result).items():
        scenario = next(iter(clients.values())).scenario
        if scenario.group:
            continue
        parts += [f"## {scenario.title}", _load(scenario)]
        parts += [_table(_COLUMNS[name], list(clients.values())), _REMARKS[name]]
    found = repeated(result)
    for group, table in TABLES.items():
        if mine := _of_group(found, group):
            parts += [f"## {HEADINGS[group]}", _REMARKS[group], table(mine), _targets(found, group)]
    if targets := _targets(found, ""):
        parts += ["## What was aimed for", targets]
    return "\n\n".join(part for part in parts if part)


def partial(result: Mapping[str, Any]) -> str:
    """One table of partial faults."""
    mine = _of_group(repeated(result), "partial")
    return answered(mine) if mine else ""


def _of_group(found: Found, group: str) -> Found:
    return {name: clients for name, clients in found.items() if next(iter(clients.values()))[0].scenario.group == group}


def summary(result: Mapping[str, Any]) -> str:
    """One short table of the outage: what the README shows. Where ten runs tell how soon a client is back, they do."""
    clients = runs(result).get("outage", {})
    several = repeated(result).get("outages-503-20", {})

    def back(run: Run) -> str:
        return recovered(several[run.client]) if run.client in several else words.seconds(run.recovery)

    columns = (*_SUMMARY, ("recovered after", back))
    return _table(columns, [clients[name] for name in _SUMMARY_CLIENTS if name in clients])


def fill(path: Path, result: Mapping[str, Any]) -> str:
    """The page's text with each block between `outage: NAME` comments written anew."""
    text = path.read_text(encoding="utf-8")
    for name, block in {"tables": full, "summary": summary, "partial": partial}.items():
        begin, end = f"<!-- outage: {name} -->", f"<!-- /outage: {name} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            made = re.sub(r"^## ", "### ", block(result), flags=re.MULTILINE)
            text = f"{before}{begin}\n\n{made}\n\n{end}{after}"
    return text


def _load(scenario: Scenario) -> str:
    return f"{scenario.rate:g} calls per second, {scenario.calls} in all, to each."


def _targets(found: Found, group: str) -> str:
    lines = []
    for target in TARGETS:
        figure = target.measured(found) if target.group == group else None
        if figure is not None:
            verdict = "met" if target.met(figure) else "**missed**"
            lines.append(f"| {target.words} | {target.limit:g} | {figure:.4g} | {verdict} |")
    return "\n".join(["| | aim | measured | |", "| --- | ---: | ---: | --- |", *lines]) if lines else ""


def _table(columns: Sequence[Column], rows: Sequence[Run]) -> str:
    cells = [["", *(name for name, _ in columns)], ["---", *("---:" for _ in columns)]]
    cells += [[row.client, *(figure(row) for _, figure in columns)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


_AMPLIFICATION: Column = ("requests per call", lambda run: f"{run.amplification:.2f}")
_FAILING: tuple[Column, ...] = (
    ("failing call, p50", lambda run: words.duration(run.failing(50))),
    ("p99", lambda run: words.duration(run.failing(99))),
)
_RECOVERY: tuple[Column, ...] = (
    ("recovered after", lambda run: words.seconds(run.recovery)),
    ("failed meanwhile", lambda run: str(run.failed_after)),
)
_FIRST: Column = ("first fast failure", lambda run: words.duration(run.first_fast_failure))
_DURATIONS: tuple[Column, ...] = (
    ("p50", lambda run: words.duration(run.duration(50))),
    ("p99", lambda run: words.duration(run.duration(99))),
    ("p99.9", lambda run: words.duration(run.duration(99.9))),
)
_ANSWERED: Column = ("answered", lambda run: words.share(run.success))
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
_SUMMARY = (_AMPLIFICATION, ("a failing call takes, p50", _FAILING[0][1]), _FAILING[1])
_SUMMARY_CLIENTS = (
    "requests",
    "requests + urllib3.Retry",
    "httpx + stamina",
    "requests + tenacity + pybreaker",
    "requests + urllib3.Retry + interlock-cb",
    "sleepwalker",
)


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
