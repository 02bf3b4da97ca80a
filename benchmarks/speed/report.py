"""The result as pages for people: tables, targets, and the blocks of the documentation that repeat them."""

from __future__ import annotations

import contextlib
import re
import statistics
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.report import Target, aims, table, words
from benchmarks.speed.cases import ENVIRONMENTS, FIND, GROUPS, HOSTS, PARTS, REJECTED, SIZES, TLS
from benchmarks.speed.peers import BARE, HTTPX, LOGGED, POOL, SILENT, STACK, WORDS
from benchmarks.speed.processes import ratio_of_imports

Result = Mapping[str, Any]

_NOTES = """\
nginx on loopback, connections that stay open, responses decoded from JSON. sleepwalker runs its `standard` policy:
deadlines, retries with a budget, breaker, bulkhead.

Ratios are computed within each round; the tables show their medians. Less is faster. p99 is what one call of a hundred
exceeds, over all rounds. Wall time includes the wait for nginx and for a free core. CPU is that of the client's
process, with the kernel's work for it, and varies less. Function calls are counted by cProfile.

The environment holds two variables, but for one table. That is the best case for bare requests, which reads all of them
at every call."""


def row(result: Result, group: str, name: str) -> Mapping[str, Any]:
    """One row. KeyError where it was not measured."""
    for found in result["rows"]:
        if (found["group"], found["name"]) == (group, name):
            return dict(found)
    raise KeyError(f"{group}, {name}")


def ratio(result: Result, kind: str, group: str, name: str = LOGGED, of: str = BARE) -> float:
    """`kind` is wall, cpu or p99."""
    found = row(result, group, name)[f"{kind}_ratios"][of]
    return float(found if kind == "p99" else found["median"])


def throughput(result: Result, threads: int, name: str) -> Mapping[str, list[float]]:
    """Calls per second and CPU per call, a figure for each round."""
    for found in result["threads"]:
        if (found["threads"], found["name"]) == (threads, name):
            return dict(found)
    raise KeyError(name)


def times(result: Result, threads: int, name: str = LOGGED, of: str = BARE) -> float:
    """How many times the calls per second of another client, the median of the rounds' quotients."""
    mine, its = throughput(result, threads, name), throughput(result, threads, of)
    return statistics.median(a / b for a, b in zip(mine["per_second"], its["per_second"], strict=True))


def _worst_of_a_megabyte(result: Result) -> float:
    groups = ["1 MB", f"1 MB{TLS}"]
    return max(ratio(result, kind, group) for group in groups for kind in ("wall", "cpu", "p99"))


#: The calls of a process as a shell starts it.
_USUAL = ENVIRONMENTS[35]

TARGETS = (
    Target(
        f"{_USUAL}: CPU with no log, as a share of bare requests",
        0.32,
        lambda result: ratio(result, "cpu", _USUAL, SILENT),
    ),
    Target(
        f"{_USUAL}: CPU with no log, as a share of urllib3's PoolManager",
        1.0,
        lambda result: ratio(result, "cpu", _USUAL, SILENT, of=POOL),
    ),
    Target("100 B: CPU, as a share of bare requests", 0.5, lambda result: ratio(result, "cpu", "100 B")),
    Target("100 B: wall time, as a share of bare requests", 0.5, lambda result: ratio(result, "wall", "100 B")),
    Target("100 B: CPU, as a share of httpx", 1.0, lambda result: ratio(result, "cpu", "100 B", of=HTTPX)),
    Target("100 B: wall time, as a share of httpx", 1.0, lambda result: ratio(result, "wall", "100 B", of=HTTPX)),
    Target(
        "100 B: CPU, as a share of urllib3's PoolManager", 1.2, lambda result: ratio(result, "cpu", "100 B", of=POOL)
    ),
    Target(
        "100 B: wall time, as a share of urllib3's PoolManager",
        1.2,
        lambda result: ratio(result, "wall", "100 B", of=POOL),
    ),
    Target(
        "calls per second of 8 threads, as a multiple of bare requests",
        1.8,
        lambda result: times(result, 8),
        least=True,
    ),
    Target(
        "calls per second of 32 threads, as a multiple of bare requests",
        1.8,
        lambda result: times(result, 32),
        least=True,
    ),
    Target(
        "1 MB: the worst of wall, CPU and p99, plain and TLS, as a share of bare requests", 1.0, _worst_of_a_megabyte
    ),
    Target(
        "a call that an open circuit rejects, with event log: µs of CPU",
        60,
        lambda result: float(row(result, REJECTED, LOGGED)["cpu"]["median"]),
    ),
    Target(
        "`find`: µs of CPU",
        3,
        lambda result: float(next(r for r in result["rows"] if r["group"] == FIND)["cpu"]["median"]),
    ),
    Target(
        "`import sleepwalker`: CPU, as a share of importing its four core libraries and pydantic",
        1.5,
        lambda result: ratio_of_imports(result["imports"], "sleepwalker", "its four core libraries and pydantic"),
    ),
)


def page(result: Result) -> str:
    """The whole result in Markdown."""
    parts = ["# What a call costs", _NOTES]
    if made := aims(TARGETS, result):
        parts += ["## Aims", made]
    groups = dict.fromkeys(found["group"] for found in result["rows"])
    for group in groups:
        if group in GROUPS or group == REJECTED:
            parts += [f"## {group}", group_table(result, group)]
    if made := environments_table(result):
        parts += ["## 100 B, by the number of environment variables", made]
    if "threads" in result:
        parts += ["## Threads, 100 B", threads_table(result)]
    for group, words_ in ((PARTS, "more than `off`, µs"), (HOSTS, "more than one host, µs"), (FIND, "")):
        if group in groups:
            parts += [f"## {group}", _costs(result, group, words_)]
    if "memory" in result:
        parts += ["## Memory of a connection with an open socket", memory_table(result)]
    if "imports" in result:
        parts += ["## Time to import", imports_table(result)]
    parts += ["## The rows", "\n".join(f"- {name}: {text}" for name, text in WORDS.items())]
    facts = {
        name: value
        for name, value in result.items()
        if name not in ("benchmark", "rows", "threads", "memory", "imports")
    }
    parts += ["## How it was measured", "\n".join(f"- {name}: {words(value)}" for name, value in facts.items())]
    return "\n\n".join(parts) + "\n"


def group_table(result: Result, group: str) -> str:
    """All rows of a group, each beside bare requests and urllib3."""
    found = [its for its in result["rows"] if its["group"] == group]
    of = [name for name in found[0]["wall_ratios"] if name.partition(",")[0] in (BARE, POOL)]
    lines = []
    for its in found:
        line = [its["name"], f"{its['wall']['median']:.1f}"]
        line += [f"{its['wall_ratios'][name]['median']:.2f}" for name in of]
        line += [f"{its['cpu']['median']:.1f}", *(f"{its['cpu_ratios'][name]['median']:.2f}" for name in of)]
        line += [f"{its['p99']:.0f}", *(f"{its['p99_ratios'][name]:.2f}" for name in of[:1])]
        lines.append([*line, f"{its['function_calls']:.0f}"])
    compared = [f"of {name}" for name in of]
    header = ["", "wall, µs", *compared, "CPU, µs", *compared, "p99, µs", *compared[:1], "function calls"]
    return table(header, lines)


def environments_table(result: Result) -> str:
    """CPU of bare requests, and what share of it the others take; empty where it was not measured."""
    lines = []
    for number, group in ENVIRONMENTS.items():
        with contextlib.suppress(KeyError):
            bare = row(result, group, BARE)["cpu"]["median"]
            shares = [f"{ratio(result, 'cpu', group, name):.2f}" for name in (POOL, HTTPX, LOGGED, SILENT)]
            lines.append([str(number), f"{bare:.0f}", *shares])
    header = ["variables", f"{BARE}: CPU, µs", *(f"{name}: share of that" for name in (POOL, HTTPX, LOGGED, SILENT))]
    return table(header, lines, left=()) if lines else ""


def threads_table(result: Result) -> str:
    """Calls per second, how many times those of bare requests with a session per thread, and CPU."""
    lines = []
    for its in result["threads"]:
        reference = times(result, its["threads"], its["name"])
        lines.append(
            [
                f"{its['threads']}",
                its["name"] + (", one session per thread" if its["name"] == BARE else ""),
                f"{statistics.median(its['per_second']):,.0f}",
                f"{reference:.2f}",
                f"{statistics.median(its['cpu']):.0f}",
            ]
        )
    return table(["threads", "", "calls per second", f"times {BARE}", "CPU per call, µs"], lines, left=(0, 1))


def memory_table(result: Result) -> str:
    names = list(result["memory"]["plain"])
    lines = [[name, *(f"{kind[name] / 1000:.0f}" for kind in result["memory"].values())] for name in names]
    return "Resident memory of one more client with a socket of its own, after one response.\n\n" + table(
        ["", *(f"{kind}, kB" for kind in result["memory"])], lines
    )


def imports_table(result: Result) -> str:
    found = result["imports"]
    core = "its four core libraries and pydantic"
    lines = [
        [
            name,
            f"{statistics.median(its['wall']):.0f}",
            f"{statistics.median(its['cpu']):.0f}",
            "" if name == "nothing" else f"{ratio_of_imports(found, name, core):.2f}",
        ]
        for name, its in found.items()
    ]
    text = "Each in a new interpreter. The ratio is of CPU time, without Python's own start (`nothing`).\n\n"
    return text + table(["", "wall, ms", "CPU, ms", "of the core libraries"], lines)


def _costs(result: Result, group: str, difference: str) -> str:
    found = [its for its in result["rows"] if its["group"] == group]
    header, lines = ["", "CPU, µs", "wall, µs", "function calls"], []
    for its in found:
        line = [
            its["name"],
            f"{its['cpu']['median']:.1f}",
            f"{its['wall']['median']:.1f}",
            f"{its['function_calls']:.0f}",
        ]
        if difference:
            pairs = zip(its["samples"]["cpu"], found[0]["samples"]["cpu"], strict=True)
            line.insert(2, f"{statistics.median(a - b for a, b in pairs):+.1f}" if its is not found[0] else "")
        lines.append(line)
    if difference:
        header.insert(2, difference)
    return table(header, lines)


def summary(result: Result) -> str:
    """The short table of the README: what is faster than sleepwalker, and what is slower."""
    lines = []
    for name in (BARE, STACK, HTTPX, POOL, LOGGED, SILENT):
        line = [name, f"{ratio(result, 'wall', '100 B', name):.2f}", f"{ratio(result, 'cpu', '100 B', name):.2f}"]
        try:
            line.append(f"{ratio(result, 'cpu', '1 MB', name):.2f}")
        except KeyError:
            line.append("")
        known = {BARE, HTTPX, POOL, LOGGED}
        line.append(f"{times(result, 8, name):.2f}" if name in known else "")
        lines.append(line)
    header = ["", "wall, 100 B", "CPU, 100 B", "CPU, 1 MB", "throughput, 8 threads"]
    return table(header, lines)


def sizes_table(result: Result) -> str:
    """sleepwalker beside bare requests, urllib3 and httpx at every size, plain and over TLS."""
    lines = []
    for group in (*SIZES, *(size + TLS for size in SIZES)):
        kinds = ("wall", "cpu", "p99")
        lines.append(
            [group, *(f"{ratio(result, kind, group, of=of):.2f}" for of in (BARE, POOL, HTTPX) for kind in kinds)]
        )
    header = [
        "",
        *(f"{kind} of {of}" for of in ("requests", "PoolManager", "httpx") for kind in ("wall", "CPU", "p99")),
    ]
    return table(header, lines)


#: The blocks that a page may have between `<!-- speed: NAME -->` and `<!-- /speed: NAME -->`.
BLOCKS: Mapping[str, Callable[[Result], str]] = {
    "summary": summary,
    "targets": lambda result: aims(TARGETS, result),
    "100 B": lambda result: group_table(result, "100 B"),
    "sizes": sizes_table,
    "environments": environments_table,
    "threads": threads_table,
    "parts": lambda result: _costs(result, PARTS, "more than `off`, µs"),
    "hosts": lambda result: _costs(result, HOSTS, "more than one host, µs"),
    "rejected": lambda result: group_table(result, REJECTED),
    "memory": memory_table,
    "imports": imports_table,
    "machine": lambda result: (
        f"Measured on {result['date'][:10]} with {result['machine']['python']}, {result['machine']['cores']} cores of "
        f"{result['machine']['cpu']}, sleepwalker {result['versions']['sleepwalker']} "
        f"({result['versions'].get('commit', 'no commit')}); load {result['load'].partition(':')[0]}."
    ),
}


def fill(text: str, result: Result) -> str:
    """The page's text with each block written anew."""
    for name, block in BLOCKS.items():
        begin, end = f"<!-- speed: {name} -->", f"<!-- /speed: {name} -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = f"{before}{begin}\n\n{re.sub(r'^## ', '### ', block(result), flags=re.MULTILINE)}\n\n{end}{after}"
    return text
