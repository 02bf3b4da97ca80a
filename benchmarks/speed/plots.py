"""The plots of a result: bars beside bare requests, and throughput by threads."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.outage import svg

_WIDTH, _LEFT, _RIGHT = 820, 330, 720
_TOP, _STEP, _BAR = 84, 34, 20


def plots(result: Mapping[str, Any]) -> dict[str, str]:
    """SVG files by name: those of which the result has the figures."""
    drawn = {}
    if rows := [row for row in result["rows"] if row["group"] == "100 B"]:
        drawn["cpu"] = _bars(
            "What a GET of 100 bytes of JSON costs",
            "CPU per call, microseconds; one thread, loopback, the connection open",
            [(row["name"], row["cpu"]["median"]) for row in rows],
        )
    for threads in (8, 32):
        if found := [its for its in result.get("threads", ()) if its["threads"] == threads]:
            drawn[f"threads-{threads}"] = _bars(
                f"Calls per second of {threads} threads",
                "GET of 100 bytes of JSON, loopback; requests with a session for each thread",
                [(its["name"], statistics.median(its["per_second"])) for its in found],
            )
    return drawn


def _bars(title: str, subtitle: str, figures: Sequence[tuple[str, float]]) -> str:
    most = max(figure for _, figure in figures)
    parts = [svg.text(24, 34, title, "title"), svg.text(24, 56, subtitle, "soft")]
    for number, (name, figure) in enumerate(figures):
        top = _TOP + number * _STEP
        own = name.startswith("sleepwalker")
        width = figure / most * (_RIGHT - _LEFT)
        parts.append(svg.text(_LEFT - 12, top + 15, name, "ink bold" if own else "ink", "end"))
        parts.append(svg.rectangle((_LEFT, top), width, _BAR, "own" if own else "other"))
        parts.append(svg.text(_LEFT + width + 8, top + 15, f"{figure:,.0f}", "soft small"))
    notes = "; ".join(f"{name}: {figure:,.0f}" for name, figure in figures)
    return svg.document(_WIDTH, _TOP + len(figures) * _STEP + 12, title, f"{subtitle}. {notes}.", parts)
