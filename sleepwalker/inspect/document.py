"""The report as JSON-ready values, for `--json`."""

from __future__ import annotations

from typing import Any

from sleepwalker.inspect.model import Alone, FleetFacts, HostFacts, Report
from sleepwalker.inspect.trouble import Episode, Together
from sleepwalker.inspect.window import iso

__all__ = ["VERSION", "document"]

#: Grows when a name is removed or changes its meaning. 2: findings have lists of times, and hosts have episodes.
VERSION = 2

_COUNTED = ("calls", "answered", "failed", "rejected", "attempts", "retries")
_TIMES_OF_A_HOST = (
    "first_failure",
    "last_failure",
    "last_answer",
    "recovered_at",
    "ramp_until",
    "next_try",
    "moved_at",
    "moved_back_at",
)


def document(report: Report) -> dict[str, Any]:
    """The report: times are ISO 8601 in UTC, durations seconds, ratios from 0 to 1, None is "nothing to measure"."""
    calls = report.total("calls")
    chosen = report.chosen
    return {
        "version": VERSION,
        "period": {"from": iso(report.begin), "until": iso(report.end), "seconds": round(report.end - report.begin, 3)},
        "filter": {"since": _when(chosen.since), "until": _when(chosen.until), "hosts": list(chosen.hosts)},
        "trouble": report.trouble,
        "interval": report.interval,
        "findings": [_plain(finding) for finding in report.findings],
        "episodes": [_episode(one) for one in report.episodes],
        "together": [_together(one) for one in report.together],
        "fleets": [_fleet(one) for one in report.fleets],
        "summary": {
            "events": report.events,
            "misdated": report.misdated,
            "processes": report.processes,
            **{name: report.total(name) for name in _COUNTED},
            "success_ratio": report.total("answered") / calls if calls else None,
            "sampled": report.sampled,
            "answers_logged": report.answers_logged,
            "rejected_by": report.rejections,
            "latency": dict(zip(("p50", "p95", "p99", "longest"), report.latency, strict=True)),
        },
        "hosts": [_host(host) for host in report.hosts],
        "problems": [
            {**_plain(problem), "first": iso(problem.first), "last": iso(problem.last)} for problem in report.problems
        ],
        "retries": _plain(report.retries),
        "slow": [{**_plain(call), "time": iso(call.time)} for call in report.slow],
        "series": {
            "from": iso(report.begin),
            "step": report.step,
            "hosts": [_plain(series) for series in report.series],
        },
        "files": [_plain(file) for file in report.files],
        "malformed": [_plain(line) for line in report.bad_lines],
        "misdated": [{**_plain(line), "time": iso(line.time)} for line in report.misdated_lines],
    }


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else iso(seconds)


def _episode(one: Episode) -> dict[str, Any]:
    plain = _plain(one)
    begin, end = plain.pop("begin"), plain.pop("end")
    for name in ("moved_at", "moved_back_at", "last_good", "last_stray", "isolated_until"):
        plain[name] = _when(plain[name])
    return {"from": iso(begin), "until": _when(end), "share": one.share, "trouble": one.trouble, **plain}


def _together(one: Together) -> dict[str, Any]:
    return {
        "from": iso(one.begin),
        "until": _when(one.end),
        "hosts": list(one.hosts),
        "of_hosts": one.of_hosts,
        "episodes": list(one.episodes),
    }


def _fleet(facts: FleetFacts) -> dict[str, Any]:
    return {**_plain(facts), "alone": [_alone(one) for one in facts.alone]}


def _alone(one: Alone) -> dict[str, Any]:
    plain = _plain(one)
    begin, end = plain.pop("begin"), plain.pop("end")
    return {"from": iso(begin), "until": _when(end), **plain}


def _host(facts: HostFacts) -> dict[str, Any]:
    plain = _plain(facts)
    for name in _TIMES_OF_A_HOST:
        plain[name] = _when(plain[name])
    plain["latency"] = {name: plain.pop(name) for name in ("p50", "p95", "p99", "longest")}
    plain["success_ratio"] = facts.success_ratio
    plain["outages"] = [
        {"from": iso(one.since), "until": _when(one.until), "why": one.why, "cause": one.cause} for one in facts.outages
    ]
    for name in ("host_spans", "circuit_spans"):
        plain[name] = [{"state": span.state, "from": iso(span.since), "until": iso(span.until)} for span in plain[name]]
    return plain
