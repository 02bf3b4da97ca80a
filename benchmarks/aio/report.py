"""The result as a page for people: aims, tables, and how it was measured."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.aio import chaos, contenders, crowd, gaps
from benchmarks.aio.contenders import AIOHTTP, HTTPX2, OURS, REQUESTS
from benchmarks.figures import Spread, ratio
from benchmarks.report import Target, aims, table, words

Result = Mapping[str, Any]

_NOTES = """\
asyncio through sleepwalker beside aiohttp, which sends for it, and beside what else people use. All hosts are on
loopback. Ratios are medians over the rounds of the quotients within each round, in which all rows meet the same machine
within seconds; less is faster. CPU is that of the calling process alone, the kernel's work for it included."""


def _found(result: Result, section: str) -> Mapping[str, Any]:
    """KeyError where the section was not measured."""
    return dict(result["sections"][section]["found"])


def samples(result: Result, row: str, at_once: int) -> Mapping[str, Any]:
    """The figures of one row with so many calls at once. KeyError where they were not measured."""
    for its in _found(result, "cost")["samples"]:
        if (its["row"], its["at_once"]) == (row, at_once):
            return dict(its)
    raise KeyError(f"{row}, {at_once}")


def of(result: Result, row: str, other: str, at_once: int, kind: str = "cpu") -> Spread:
    """A row's figures as a share of another's, both with so many calls at once."""
    return ratio(samples(result, row, at_once)[kind], samples(result, other, at_once)[kind])


def _share(row: str, other: str, at_once: int) -> Callable[[Result], float]:
    return lambda result: of(result, row, other, at_once).median


def _cost_targets() -> list[Target]:
    made = []
    for at_once in (1, 64):
        many = "alone" if at_once == 1 else f"{at_once} tasks"
        for other, limit in ((AIOHTTP, 1.6), (REQUESTS, 0.45), (HTTPX2, 1.0)):
            made.append(Target(f"CPU of a call, {many}, of {other}", limit, _share(OURS, other, at_once)))
    return made


def longest(result: Result, situation: str, client: str) -> list[float]:
    """Milliseconds of the longest gap of each run."""
    return [run["gap"] for run in _found(result, "gaps")["situations"][situation][client]]


def _gap(situation: str) -> Callable[[Result], float]:
    return lambda result: statistics.median(longest(result, situation, gaps.OURS))


def _busiest(result: Result) -> float:
    """Milliseconds of CPU of the longest callback of all runs of ours."""
    situations = _found(result, "gaps")["situations"].values()
    return max(float(run["busiest"]) for clients in situations for run in clients[gaps.OURS])


TARGETS = (
    *_cost_targets(),
    *(
        Target(f"the loop stands still, {situation}: the longest gap of a run, ms, median", gaps.LIMIT, _gap(situation))
        for situation in gaps.WORDS
    ),
    Target("CPU of the loop's longest callback, in any run of any of these, ms", gaps.LIMIT, _busiest),
    Target("faults in the storm", 0, lambda result: len(_found(result, "chaos")["faults"])),
)


def page(result: Result) -> str:
    """The whole result in Markdown."""
    parts = ["# asyncio", _NOTES]
    if made := aims(TARGETS, result):
        parts += ["## Aims", made]
    sections = {"cost": _cost, "crowd": _crowd, "gaps": _gaps, "chaos": _chaos}
    for name, section in sections.items():
        if name in result["sections"]:
            parts += section(_found(result, name), result)
    parts += ["## How it was measured", _facts(result)]
    return "\n\n".join(parts) + "\n"


def _cost(found: Mapping[str, Any], result: Result) -> list[str]:
    parts = ["## What a call of 100 B costs"]
    rows = list(dict.fromkeys(its["row"] for its in found["samples"]))
    for at_once in dict.fromkeys(its["at_once"] for its in found["samples"]):
        lines = []
        for row in rows:
            its = samples(result, row, at_once)
            shares = [of(result, row, other, at_once) for other in (AIOHTTP, REQUESTS, HTTPX2)]
            line = [row, f"{statistics.median(its['cpu']):.1f}"]
            line += [f"{shares[0].median:.2f} ({shares[0].low:.2f} to {shares[0].high:.2f})"]
            line += [f"{one.median:.2f}" for one in shares[1:]]
            line += [f"{statistics.median(its['wall']):.1f}", f"{of(result, row, AIOHTTP, at_once, 'wall').median:.2f}"]
            line += [f"{statistics.median(its['p99']):,.0f}", str(its["opened"])]
            lines.append([*line, f"{found['function_calls'][row]:.0f}"] if at_once == 1 else line)
        header = ["", "CPU, µs", f"of {AIOHTTP}", f"of {REQUESTS}", f"of {HTTPX2}", "wall, µs", f"of {AIOHTTP}"]
        header += ["p99, µs", "connections opened", *(["function calls"] if at_once == 1 else [])]
        many = f"{at_once} tasks at once; {at_once} threads where a call blocks:"
        alone = "One call at a time:" if at_once == 1 else many
        parts += [alone, table(header, lines)]
    return [*parts, _words(contenders.WORDS)]


def _crowd(found: Mapping[str, Any], result: Result) -> list[str]:
    rows = found["rows"]
    text = f"""\
{found["tasks"]:,} tasks on {found["hosts"]} hosts. Memory is what the process grows by for each task while all of them
wait for an answer, its socket and request included, the kernel's part not. Paced: calls come at random moments,
{found["rate"]:.0f} a second in all. Full: each task calls as often as it can, so that a call waits for those of all
others."""
    header = ["", "memory, kB", "paced: p50, ms", "p99, ms", f"of {crowd.ONE}", "full: calls a second", "CPU, µs"]
    header += ["p99, ms", f"of {crowd.ONE}"]
    lines = []
    for row, its in rows.items():
        paced, full = its["paced"], its["full"]
        line = [row, f"{statistics.median(its['memory']) / 1000:.1f}", f"{_median(paced, 'p50'):.2f}"]
        line += [f"{_median(paced, 'p99'):.2f}", f"{_quotient(paced, rows[crowd.ONE]['paced'], 'p99'):.2f}"]
        line += [f"{_median(full, 'per_second'):,.0f}", f"{_median(full, 'cpu'):.0f}"]
        lines.append([*line, f"{_median(full, 'p99'):.0f}", f"{_quotient(full, rows[crowd.ONE]['full'], 'p99'):.2f}"])
    return ["## A thousand tasks", text, table(header, lines), _words(crowd.WORDS)]


def _median(rounds: Sequence[Mapping[str, float]], kind: str) -> float:
    return statistics.median(one[kind] for one in rounds)


def _quotient(mine: Sequence[Mapping[str, float]], its: Sequence[Mapping[str, float]], kind: str) -> float:
    return ratio([one[kind] for one in mine], [one[kind] for one in its]).median


def _gaps(found: Mapping[str, Any], result: Result) -> list[str]:
    text = f"""\
A task ticks every {gaps.TICK * 1e3:g} ms. The longest gap is how much later than that the worst tick of a run came: the
median of {found["runs"]} runs, each a new process, and the worst of them. Beside it: the CPU time of the longest single
callback of the loop in any run, which a busy machine does not lengthen, and which callback that was. By what a gap is
longer than that, and than the idle loop's, other processes kept this one waiting, or threads that decompress did."""
    header = ["", "", "longest gap, ms", "worst", "longest callback, CPU ms", "in", "answered"]
    idle = [run["gap"] for run in found["idle"]]
    lines = [["nothing", "an idle loop", f"{statistics.median(idle):.1f}", f"{max(idle):.1f}", "", "", ""]]
    for situation, clients in found["situations"].items():
        for client, runs in clients.items():
            figures, worst = longest(result, situation, client), max(runs, key=lambda run: run["busiest"])
            line = [situation, client, f"{statistics.median(figures):.1f}", f"{max(figures):.1f}"]
            line += [f"{worst['busiest']:.1f}", f"`{worst['name']}`"]
            lines.append([*line, f"{statistics.median(run['answered'] for run in runs):,.0f}"])
    lasted = {
        client: max(run["waited"] for run in runs)
        for client, runs in found["situations"].get(gaps.LOOKUP, {}).items()
        if runs
    }
    hung = "; ".join(f"{client}: {seconds:.2f} s" for client, seconds in lasted.items())
    rows = table(header, lines, left=(0, 1, 5))
    return [
        "## How long the loop stands still",
        text,
        rows,
        _words(gaps.WORDS),
        f"The call whose look-up hung took, at most: {hung}.",
    ]


def _chaos(found: Mapping[str, Any], result: Result) -> list[str]:
    seen, reached = found["seen"], found["reached"]
    faults = "\n".join(f"- {fault}" for fault in found["faults"]) or "- none"
    text = f"""\
{found["tasks"]} tasks called {len(chaos.POLICIES)} hosts for {found["seconds"]:g} s, each with a policy of its own
({", ".join(chaos.POLICIES)}), while the hosts failed in {len(reached["happened"]) - 1} ways. Of the calls
{chaos.CANCELLED:.0%} were cancelled, if they took as long, and {chaos.TIMED:.0%} put within an `asyncio.timeout`. Each
answer has to tell the nonce of its request; each POST may reach the host once; each call must have ended
{chaos.GRACE * 1e3:.0f} ms after its deadline, or after it was cancelled, less the time for which the machine had the
callers' process wait for a core, then and {chaos.JUST_BEFORE:g} s before; and at the end no task, future, socket or
permit may be left."""
    late, cut = seen["late"], seen["cut"]
    lines = [
        ["calls", f"{seen['calls']:,}"],
        ["attempts", f"{seen['attempts']:,}"],
        ["requests that reached the hosts", f"{reached['requests']:,}"],
        ["connections that the hosts accepted", f"{reached['connections']:,}"],
        ["POSTs that reached the hosts", f"{reached['posted']:,}"],
        ["of these, more than once", f"{len(reached['twice'])}"],
        [
            "calls that ended after their deadline",
            f"{late['number']:,}; by {late['median']:g} ms (median), {late['most']:g} ms (most)",
        ],
        [
            "calls that were cut from outside",
            f"{cut['number']:,}; ended {cut['median']:g} ms later (median), {cut['most']:g} ms (most)",
        ],
        ["of both, later than allowed, for want of a core", f"{seen['excused']}"],
        ["the loop's longest lag", f"{seen['lag']:g} ms"],
        ["the callers' process waited for a core", f"{seen['waited']:g} s"],
        ["CPU of the callers", f"{seen['cpu']:g} s of {seen['took']:g} s"],
    ]
    outcomes = [[name, f"{number:,}"] for name, number in seen["outcomes"].items()]
    happened = [[name, f"{number:,}"] for name, number in reached["happened"].items()]
    return [
        "## A storm",
        text,
        table(["", ""], lines),
        f"Faults:\n\n{faults}",
        table(["how a call ended", "calls"], outcomes),
        table(["what the hosts did", "requests"], happened),
    ]


def _facts(result: Result) -> str:
    lines = [f"- machine: {words(result['machine'])}"]
    for name, section in result["sections"].items():
        found = section["found"]
        facts = {key: value for key, value in section.items() if key != "found"}
        facts |= {key: found[key] for key in ("nginx", "rounds", "calls", "runs", "seconds", "seed") if key in found}
        lines.append(f"- {name}: {words(facts)}")
    return "\n".join(lines)


def _words(rows: Mapping[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in rows.items())
