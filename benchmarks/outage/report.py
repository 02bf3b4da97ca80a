"""The result as pages for people: tables, targets, and the blocks of the documentation that repeat them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.outage import words
from benchmarks.outage.clients import CLIENTS
from benchmarks.outage.figures import FAST, RECOVERED, WINDOW, Found, Run, repeated, runs
from benchmarks.outage.groups import HEADINGS, TABLES, answered, faulty_machine, outages, recovered
from benchmarks.outage.scenario import VARIED, Scenario
from benchmarks.outage.server import COLD, SLOW, WARM_AFTER
from benchmarks.outage.targets import DEADLINE, TARGETS
from benchmarks.report import table
from benchmarks.report import words as fact

Column = tuple[str, Callable[[Run], str]]
Block = Callable[[Mapping[str, Any]], str]

_NOTES = f"""\
Calls come at a fixed rate. They do not wait for earlier calls, and their durations count from when they were due.
Every client gets the same plan: the n-th request that reaches the server meets the same fate. Each client runs in a
process of its own, and so does its server. Between them are real sockets on loopback that stay open.

- *requests per call*: requests that reached the server during the outage, divided by the calls that were due then.
  Where there is no outage, the whole run counts.
- *first fast failure*: from the start of the outage until a call failed within {FAST * 1000:.0f} ms.
- *recovered after*: from the end of the outage to the first {WINDOW:g} s in which {100 * RECOVERED:g} % of the calls
  were answered well.
- *failed meanwhile*: calls that were due after the end of the outage and failed."""

_REMARKS = {
    "outage": f"""\
Clients without a breaker recover with the first call after the outage. Retries without a budget triple the load on a
server that is down. sleepwalker's budget, shown here without the breaker, allows retries for a fifth of the calls of
the last 10 s (so for calls from before the outage, too), and one more per second. A breaker takes nearly all load
off the server. The price is time: it must find out that the server is back. How soon it does is chance in a single
run. Ten runs each of outages of three lengths are
[below](#{HEADINGS["outages"].lower().replace(",", "").replace(" ", "-")}).""",
    "errors": "With three attempts, each client gets a response to nearly all calls.",
    "tail": """\
pybreaker holds a lock for as long as a call lasts, so one slow response delays all callers behind it. A hedge is sent
only for a call that is slower than 95 of 100, so hedging costs one request in twenty.""",
    "hang": """\
Nothing has failed before the first deadline is over. So a breaker that counts failures reacts late: after 10 s here,
after 2 s under `interactive`. With `slow_call`, calls that are still waiting count as well. pybreaker's callers
queue for its lock, so its breaker sees one failure in 10 s.""",
    "partial": """\
160 calls per second, 3,200 in all, to each client. A response takes 1 ms. Attempts fail at random. If a share *f* of
the attempts fails, three attempts can answer 1 - *f*³ of the calls, with 1 + *f* + *f*² requests each.""",
    "machines": f"""\
100 calls per second: 3 s while all machines are well, then 20 s while one is faulty. The tables are about these 20
s. Each connection belongs to one machine for good, in turn, as behind a load balancer of layer 4. A healthy machine
takes 0.1 s, a slow one {SLOW[0]:g} to {SLOW[1]:g} s. Only stamina treats a 404 as a failure, because it is told to
retry every `httpx.HTTPError`. For the others, the column shows whether a machine attracts calls by being fast.
pybreaker is left out: it would let through one call at a time, ten a second.""",
    "outages": f"""\
Each line is of several runs. The lengths of their outages differ by up to {100 * VARIED:.0f} % up and down, so that
they end at different moments between two trial calls of a circuit. 50 calls per second; 20 where the host hangs or
the outage takes 120 s. A host that hangs is not known to fail until a deadline is over, {DEADLINE:g} s after it
began under `standard`: until then every call is sent. A cold host answers {100 * COLD:.0f} % of the load at first,
and all of it {WARM_AFTER:g} s after its first response. The rest gets 503.""",
    "exact": """\
A circuit that opens 0.5 s after the start sends trial calls after about 1.5, 3, 5.3, 8.6, 13.7 and 21.3 s, then every
10 s, each wait 10 % longer or shorter. These outages end shortly before a trial call, those above at any moment.""",
    "batch": """\
All workers share one client. The job does not repeat an item that failed. Refused connections are seen by the client
alone. sleepwalker's log has their number; that of the other clients is not known.""",
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
    for group, drawn in TABLES.items():
        if mine := _of_group(found, group):
            parts += [f"## {HEADINGS[group]}", _REMARKS[group], drawn(mine), _targets(found, group)]
    if targets := _targets(found, ""):
        parts += ["## What was aimed for", targets]
    return "\n\n".join(part for part in parts if part)


def aims(result: Mapping[str, Any]) -> str:
    """How many aims are met, and the others."""
    found = repeated(result)
    measured = [(target, figure) for target in TARGETS if (figure := target.measured(found)) is not None]
    missed = [(target, figure) for target, figure in measured if not target.met(figure)]
    lines = [f"| {target.words} | {target.limit:g} | {figure:.4g} |" for target, figure in missed]
    said = f"{len(measured) - len(missed)} of {len(measured)} aims are met."
    if not missed:
        return said
    return "\n".join([f"{said} These are missed:\n", "| | aim | measured |", "| --- | ---: | ---: |", *lines])


def _alone(name: str) -> Block:
    """The table of one scenario, without its remarks."""

    def table(result: Mapping[str, Any]) -> str:
        clients = runs(result).get(name, {})
        return _table(_COLUMNS[name], list(clients.values())) if clients else ""

    return table


def _grouped(group: str, table: Callable[[Found], str]) -> Block:
    """One table of a group of scenarios."""

    def one(result: Mapping[str, Any]) -> str:
        mine = _of_group(repeated(result), group)
        return table(mine) if mine else ""

    return one


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
    for name, block in BLOCKS.items():
        begin, end = f"<!-- outage: {name} -->", f"<!-- /outage: {name} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = f"{before}{begin}\n\n{block(result)}\n\n{end}{after}"
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
    lines = [[row.client, *(figure(row) for _, figure in columns)] for row in rows]
    return table(["", *(name for name, _ in columns)], lines)


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


#: What a page of the documentation may repeat between two comments, by the name in them.
BLOCKS: Mapping[str, Block] = {
    "summary": summary,
    "partial": _grouped("partial", answered),
    "machines": _grouped("machines", faulty_machine),
    "outages": _grouped("outages", outages),
    "outage": _alone("outage"),
    "tail": _alone("tail"),
    "hang": _alone("hang"),
    "aims": aims,
}


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
