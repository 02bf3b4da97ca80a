"""The result as a page for people: what was aimed for, and a table for each section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.fleet import calls
from benchmarks.fleet.figures import AFTER, Side
from benchmarks.fleet.setting import ALONE, Kind, Setting, from_dict
from benchmarks.report import table
from benchmarks.report import words as fact

#: What was aimed for.
MOST_SENT, KNOW_WITHIN, BACK_WITHIN, MOST_PROBES = 0.25, 2.0, 3.0, 5
ISOLATED_WITHIN, MOST_COMMANDS, MOST_BYTES = 1.0, 2000.0, 5e6
#: Of 24 workers; where there are fewer, fewer can be spared.
AIMED = 24
STORES = ("redis", "file")

_KINDS: Mapping[Kind, str] = {
    "503": "A host that answers 503",
    "refuse": "A host that refuses connections",
    "hang": "A host that accepts and never answers",
}
_NOTES = """\
Each worker is a process with a `ConnectionManager` of its own under the policy `standard`, and calls a host on loopback
at random moments, whether earlier calls have ended or not. The host dies, and comes back. Workers that are *alone*
know nothing of each other; the others share a real Redis, or a file. All three sides of a setting run at the same time,
each with a host of its own that meets the same fate, and their calls come at the same moments."""
_OUTAGES = f"""\
- *sent*: what came to the host between its death and its return: requests, counted by the host; where it refuses
  connections connects, counted by the workers' interpreters. Retries and looks (half-open probes) are in it.
- *finding*, *looking*: of that, what workers sent until their own circuit was open, and after it.
- *all knew*: from the death until the last worker's circuit was open. *all back*: from the return until the last one's
  was closed. `-`: at least one worker's never was, of those that this counts, before the run was over.
- *looks*: most of what came to the host within a second: after the last worker knew, while the host was down; and after
  its return, when looks are answered, until the first worker's circuit was closed.
- *answered*: the share of calls that were answered in the {AFTER:g} s after the host's return."""


@dataclass(frozen=True, slots=True)
class _Row:
    setting: Setting
    sides: Mapping[str, Side]

    def share(self, store: str) -> float:
        """What came to the host with that store, as a share of what came without one."""
        return self.sides[store].reached / max(1, self.sides[ALONE].reached)


def rows(result: Mapping[str, Any], section: Literal["outages", "cut", "frozen"]) -> list[_Row]:
    """The settings of a section, with their sides."""
    found = result["sections"].get(section, {}).get("found", [])
    return [
        _Row(from_dict(row["setting"]), {name: Side(**side) for name, side in row["sides"].items()}) for row in found
    ]


def page(result: Mapping[str, Any]) -> str:
    """The whole result in Markdown."""
    parts = ["# What a fleet of workers spares a host, and what it costs", _NOTES]
    if aims := _aims(result):
        parts += ["## What was aimed for", table(["", "aim", "measured", ""], aims)]
    outages = rows(result, "outages")
    if outages:
        parts += ["## A host that dies", _OUTAGES]
    for kind, heading in _KINDS.items():
        mine = [row for row in outages if row.setting.kind == kind]
        if mine:
            parts += [f"### {heading}", _REMARKS[kind], _outages(mine)]
    for section, (heading, text) in _SECTIONS.items():
        if section in result["sections"]:
            parts += [f"## {heading}", text(result)]
    parts += ["## How it was measured", _facts(result)]
    return "\n\n".join(part for part in parts if part) + "\n"


# -- outages -------------------------------------------------------------------------------------

_REMARKS: Mapping[Kind, str] = {
    "503": """\
A fleet spares most where calls are few: a worker alone would send five failed attempts at least before it knows. One
that calls five times a second or more knows by itself about half a second after the host's death, which is as soon as
the others can tell it; there the fleet spares its looks, and little of its finding. Few workers are spared less than
many: together they look about as often, and each of the few looks seldom when it is alone.""",
    "refuse": "Each retry of a refused connect is another connect.",
    "hang": """\
Nothing has failed before the first attempts are given up after 10 s, so nobody can know earlier: *all knew* counts from
the moment when the first worker's circuit was open. Until then everything is sent, with a fleet or without one.""",
}


def _outages(found: Sequence[_Row]) -> str:
    header = ["workers, outage", "calls/s each", "alone: sent", "finding + looking", "all knew", "all back", "answered"]
    for store in STORES:
        header += [f"{store}: sent", "of alone", "all knew", "all back", "looks", "answered"]
    lines = []
    for row in found:
        setting, alone = row.setting, row.sides[ALONE]
        line = [f"{setting.workers}, {setting.outage:g} s", f"{setting.rate:g}", str(alone.reached)]
        line += [f"{alone.finding} + {alone.probing}", _last(knew(setting, alone)), _last(alone.back)]
        line.append(_percent(alone.answered[2]))
        for store in STORES:
            if store in row.sides:
                side = row.sides[store]
                line += [f"{side.finding} + {side.probing}", _percent(row.share(store)), _last(knew(setting, side))]
                line += [_last(side.back), f"{side.most_probes}, {side.most_after}", _percent(side.answered[2])]
            else:
                line += [""] * 6
        lines.append(line)
    return table(header, lines)


def knew(setting: Setting, side: Side) -> list[float | None]:
    """When each worker knew: seconds since the death; of a host that hangs, since the first worker did."""
    first = min((moment for moment in side.knew if moment is not None), default=0.0) if setting.kind == "hang" else 0.0
    return [None if moment is None else moment - first for moment in side.knew]


# -- the other sections --------------------------------------------------------------------------


def _cut(result: Mapping[str, Any]) -> str:
    header = ["workers cut off", "side", "answered before", "meanwhile", "after", "calls that failed meanwhile"]
    header += ["circuits opened"]
    lines = [
        [
            f"{row.setting.cut} of {row.setting.workers}",
            name,
            *(_percent(share, 2) for share in side.answered),
            str(side.failed[1]),
            str(side.opened),
        ]
        for row in rows(result, "cut")
        for name, side in row.sides.items()
    ]
    (first, *_) = rows(result, "cut")
    text = f"""\
The host is well. For {first.setting.outage:g} s every connect of these workers to it fails, and the connections that
they had are cut; the store they still reach. The figures are of the other workers, {first.setting.rate:g} calls a
second each."""
    return f"{text}\n\n{table(header, lines)}"


def _frozen(result: Mapping[str, Any]) -> str:
    header = ["side", "", "p50, ms", "p99, ms", "calls that failed"]
    lines = [
        [name if place == 0 else "", phase, f"{1e3 * p50:.2f}", f"{1e3 * p99:.2f}", str(failed)]
        for row in rows(result, "frozen")
        for name, side in row.sides.items()
        for place, (phase, (p50, p99), failed) in enumerate(
            zip(("before", "meanwhile", "after"), side.durations, side.failed, strict=True)
        )
    ]
    (first,) = rows(result, "frozen")
    text = f"""\
Redis is stopped by SIGSTOP for {first.setting.outage:g} s and goes on, while {first.setting.workers} workers make
{first.setting.rate:g} calls a second each to a host that is well, which answers after 2 ms. Beside them, at the same
time, as many workers that have no fleet. Durations count from when a call was due."""
    return f"{text}\n\n{table(header, lines)}"


def _isolate(result: Mapping[str, Any]) -> str:
    how = {
        "store": "put into the store, by code",
        "command": "`sleepwalker fleet isolate`, from its start on",
        "worker": "`isolate` of one worker's manager",
    }
    found = result["sections"]["isolate"]["found"]
    lines = []
    for side, orders in found["sides"].items():
        for name, its in orders.items():
            reached = its["reached"]
            there = sorted(moment for moment in reached if moment is not None)
            middle = f"{there[len(there) // 2]:.2f} s" if there else "-"
            lines.append([side, how[name], str(len(there)), middle, _last(reached), str(its["let through"])])
    header = ["side", "ordered", "workers reached", "median", "the last one", "calls let through after that"]
    return f"From the order until a worker refuses calls.\n\n{table(header, lines)}"


def _call(result: Mapping[str, Any]) -> str:
    found = result["sections"]["call"]["found"]
    header = ["", "wall, µs", "of no fleet", "CPU, µs", "of no fleet", "function calls"]
    lines = [
        [
            name,
            f"{its['wall']['median']:.1f}",
            _spread(its["wall_ratio"]),
            f"{its['cpu']['median']:.1f}",
            _spread(its["cpu_ratio"]),
            f"{found['function_calls'][name]:.0f}",
        ]
        for name, its in found["rows"].items()
    ]
    text = f"""\
`find` and a GET of {calls.SIZE} bytes of JSON from nginx, one call after another, {found["rounds"]} rounds of
{found["calls"]} calls, each row in a process of its own. CPU is of the whole process, the fleet's thread included.
Ratios are taken within a round; in brackets the quartiles."""
    return f"{text}\n\n{table(header, lines)}"


def _store(result: Mapping[str, Any]) -> str:
    found = result["sections"]["store"]["found"]
    header = ["workers", "broken hosts", "commands/s", "of them scripts/s", "KB/s in", "KB/s out", "Redis' CPU"]
    header += ["Redis' memory"]

    def line(row: Mapping[str, Any], workers: str, broken: str) -> list[str]:
        return [
            workers,
            broken,
            f"{row['commands']:,.0f}",
            f"{row['scripts']:,.0f}",
            f"{row['bytes in'] / 1e3:,.0f}",
            f"{row['bytes out'] / 1e3:,.0f}",
            _percent(row["cpu"]),
            f"{row['memory'] / 1e6:.1f} MB",
        ]

    real = [line(row, str(row["workers"]), f"{row['broken']:,} of {row['hosts']:,}") for row in found["real"]]
    made = [line(row, f"{row['of']} simulated", f"{row['broken']:,}") for row in found["simulated"]]
    notes = [
        f"- {row['of']} simulated workers, {row['broken']:,} hosts: the first one counted {row['workers']} workers and"
        f" {row['known']:,} hosts that are broken for all{_still(row)}; turns began {row['late']:.2f} s late at most"
        + (
            f"; everybody lived {row['slower']:g} times slower, and the figures are so many times as high."
            if row["slower"] > 1
            else "."
        )
        for row in found["simulated"]
    ]
    peaks = [
        f"- {row['workers']} workers, {row['broken']:,} of {row['hosts']:,} hosts broken: as they came into step, at"
        f" most {row['commands at most']:,.0f} commands and {row['bytes at most'] / 1e3:,.0f} KB in a second; in the"
        f" end {row['broken for all']:,.0f} hosts counted as broken for all."
        for row in found["real"]
    ]
    text = """\
By Redis' own count (`INFO`: a script counts as one command, and each command in it as another). Real workers make 20
calls a second each, to all of their hosts at random. Simulated ones are threads in a few processes, each with its own
connection, that do what a manager's client does in its thread; their calls are made up: 20 a second each, to broken
hosts, all refused or failed."""
    return "\n\n".join([text, table(header, [*real, *made]), "\n".join([*peaks, *notes])])


def _still(row: Mapping[str, Any]) -> str:
    """Where not all was heard of by then: what is told and heard at once is bounded, and this is the most there is."""
    return "" if row["known"] == row["broken"] else ", and was still hearing of the others, as often as it may"


_SECTIONS: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "cut": ("A worker whose own network is cut", _cut),
    "call": ("What a call costs", _call),
    "frozen": ("A store that stands still", _frozen),
    "isolate": ("An operator isolates a host", _isolate),
    "store": ("What Redis has to do", _store),
}


# -- aims ----------------------------------------------------------------------------------------


def _aims(result: Mapping[str, Any]) -> list[list[str]]:
    """A line for each aim that something was measured for."""
    lines: list[list[str]] = []

    def add(what: str, aim: str, measured: str, met: bool | None) -> None:
        verdict = {True: "met", False: "**missed**", None: "met in part"}[met]
        lines.append([what, aim, measured, verdict])

    outages = [row for row in rows(result, "outages") if row.setting.workers == AIMED]
    for store in STORES:
        mine = [row for row in outages if store in row.sides]
        for kind in _KINDS:
            its = [row for row in mine if row.setting.kind == kind]
            if not its:
                continue
            what = f"{kind}, {store}: "
            shares = [row.share(store) for row in its]
            kept = sum(share <= MOST_SENT for share in shares)
            said = f"{_percent(min(shares))} to {_percent(max(shares))}; within it in {kept} of {len(its)} settings"
            add(f"{what}sent, of what workers alone send", f"{MOST_SENT:.0%}", said, _part(kept, len(its)))
            for words, limit, moments in (
                ("all know", KNOW_WITHIN, [knew(row.setting, row.sides[store]) for row in its]),
                ("all back", BACK_WITHIN, [row.sides[store].back for row in its]),
            ):
                worst = [_worst(its) for its in moments]
                kept = sum(moment <= limit for moment in worst)
                ends = [moment for moment in worst if moment < float("inf")]
                said = f"{min(ends):.1f} to {max(ends):.1f} s" if ends else "never"
                said += f"; within it in {kept} of {len(worst)}"
                add(f"{what}{words}", f"{limit:g} s", said, _part(kept, len(worst)))
            probes = [row.sides[store].most_probes for row in its]
            kept = sum(most <= MOST_PROBES for most in probes)
            said = f"{min(probes)} to {max(probes)}; within it in {kept} of {len(its)}"
            add(f"{what}looks in a second, in all", str(MOST_PROBES), said, _part(kept, len(its)))
    for row in rows(result, "cut"):
        for store in STORES:
            if store in row.sides:
                side = row.sides[store]
                said = f"{_percent(side.answered[1], 2)} answered, {side.opened} circuits opened"
                met = side.opened == 0 and side.failed[1] == 0
                add(f"{row.setting.cut} of {row.setting.workers} cut off, {store}: the rest", "100 %, 0", said, met)
    if "call" in result["sections"]:
        found = result["sections"]["call"]["found"]
        for store in STORES:
            more = found["rows"][store]["cpu_ratio"]["median"] - 1
            add(f"a call, {store}: CPU time more", f"{calls.PROMISE:.0%}", f"{100 * more:.1f} %", more <= calls.PROMISE)
            counts = found["function_calls"]
            more = counts[store] / counts[calls.ALONE] - 1
            said = f"{100 * more:.1f} %"
            add(f"a call, {store}: function calls more", f"{calls.PROMISE:.0%}", said, more <= calls.PROMISE)
    for row in rows(result, "frozen"):
        redis, alone = row.sides["redis"], row.sides[ALONE]
        said = f"{1e3 * redis.durations[1][1]:.1f} ms ({1e3 * alone.durations[1][1]:.1f} ms alone)"
        met = redis.durations[1][1] <= NOISE * max(alone.durations[1][1], redis.durations[0][1])
        add("Redis stopped: p99 of calls", f"within {NOISE - 1:.0%} of alone, or before", said, met)
        add("Redis stopped: calls that fail", "0", str(redis.failed[1]), redis.failed[1] == 0)
    if "isolate" in result["sections"]:
        for side, orders in result["sections"]["isolate"]["found"]["sides"].items():
            for how in ("store", "worker"):  # what a command takes is its interpreter's start, for the most part
                reached = orders[how]["reached"]
                what = f"isolate, {side}, by {how}: the last worker"
                add(what, f"{ISOLATED_WITHIN:g} s", _last(reached), _worst(reached) <= ISOLATED_WITHIN)
    if "store" in result["sections"]:
        found = result["sections"]["store"]["found"]
        largest = [*found["real"], *found["simulated"]]
        commands, sent = (max(row[name] for row in largest) for name in ("commands", "bytes out"))
        sent = max(row["bytes in"] + row["bytes out"] for row in largest)
        add("Redis: commands a second, at most", f"{MOST_COMMANDS:,.0f}", f"{commands:,.0f}", commands < MOST_COMMANDS)
        add("Redis: megabytes a second, at most", f"{MOST_BYTES / 1e6:g}", f"{sent / 1e6:.2f}", sent < MOST_BYTES)
    return lines


#: A p99 that is so many times another is not told from noise: two cores, and dozens of processes.
NOISE = 1.25


def _part(kept: int, of: int) -> bool | None:
    return True if kept == of else None if kept else False


def _worst(moments: Sequence[float | None]) -> float:
    return max((float("inf") if moment is None else moment for moment in moments), default=0.0)


def _last(moments: Sequence[float | None]) -> str:
    return "-" if None in moments or not moments else f"{_worst(moments):.1f} s"


def _percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def _spread(of: Mapping[str, float]) -> str:
    return f"{of['median']:.3f} ({of['low']:.3f} to {of['high']:.3f})"


def _facts(result: Mapping[str, Any]) -> str:
    lines = [f"- machine: {fact(result['machine'])}"]
    for name, section in result["sections"].items():
        facts = {key: value for key, value in section.items() if key != "found"}
        lines.append(f"- {name}: {fact(facts)}")
    late = [
        side.late
        for section in ("outages", "cut", "frozen")
        for row in rows(result, section)
        for side in row.sides.values()
    ]  # type: ignore[arg-type]
    if late:
        lines.append(
            f"- calls begun late: in half of the sides none by more than {sorted(late)[len(late) // 2]:.2f} s,"
            f" in none by more than {max(late):.2f} s"
        )
    return "\n".join(lines)
