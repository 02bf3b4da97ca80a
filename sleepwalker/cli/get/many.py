"""Many calls of one request: progress while they run, then their numbers."""

from __future__ import annotations

import json
import sys
from typing import Any

import sleepwalker
from sleepwalker.cli import display
from sleepwalker.cli.get.target import Target
from sleepwalker.cli.summary import Summary, summarise
from sleepwalker.cli.text import count, seconds
from sleepwalker.cli.traffic import Lane, measured
from sleepwalker.clock import SYSTEM_CLOCK


def run(
    connection: sleepwalker.Connection,
    target: Target,
    *,
    number: int,
    concurrency: int,
    as_json: bool,
) -> int:
    """Make the calls and show their results. Returns the exit code."""
    lane = Lane(lambda: measured(lambda: target.request(connection)), total=number, workers=concurrency)
    screen = display.console(sys.stderr)
    begin = SYSTEM_CLOCK.monotonic()

    def render() -> display.RenderableType:
        now = summarise(lane.calls)
        note = f"{now.answered} answered, {now.failed} failed, {now.rejected} rejected of {number}"
        return display.progress(note, now.calls, number, SYSTEM_CLOCK.monotonic() - begin)

    with display.live(screen, render):
        lane.start()
        try:
            while lane.running():
                lane.join(0.2)
        except KeyboardInterrupt:
            lane.stop()
            connection.close()  # ends waits between attempts
            raise
    if lane.crash is not None:
        raise lane.crash
    numbers, took = summarise(lane.calls), SYSTEM_CLOCK.monotonic() - begin
    breaker = connection.health.breaker
    if as_json:
        print(json.dumps(_to_dict(target, numbers, took, min(concurrency, number), breaker), indent=2))
    else:
        _show(target, numbers, took, breaker)
    return 0 if numbers.answered == numbers.calls else 1


def _show(target: Target, numbers: Summary, took: float, breaker: str) -> None:
    page = display.console()
    page.print(f"{target.shown}: {count(numbers.calls, 'call')} in {seconds(took)}", soft_wrap=True)
    page.print()
    page.print(
        display.table(
            ("calls", "answered", "failed", "rejected", "retries", "p50", "p95", "p99"),
            [
                (
                    str(numbers.calls),
                    (str(numbers.answered), "green"),
                    (str(numbers.failed), "red" if numbers.failed else ""),
                    (str(numbers.rejected), "yellow" if numbers.rejected else ""),
                    str(numbers.retries),
                    seconds(numbers.p50),
                    seconds(numbers.p95),
                    seconds(numbers.p99),
                )
            ],
            keys=0,
        )
    )
    page.print()
    page.print(
        display.table(
            ("result", "calls"), [(what, str(often)) for what, often in numbers.results.items()], words=("result",)
        )
    )
    if breaker != "closed":
        page.print(f"\nthe circuit is {breaker} now", style="yellow")


def _to_dict(target: Target, numbers: Summary, took: float, concurrency: int, breaker: str) -> dict[str, Any]:
    return {
        "request": target.shown,
        "concurrency": concurrency,
        "duration": round(took, 4),
        **numbers.to_dict(),
        "breaker": breaker,
    }
