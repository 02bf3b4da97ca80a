"""Hooks that fail or hang: callers wait for them, but no host breaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sleepwalker.eventlog.columns import literal
from sleepwalker.inspect.moves import seconds
from sleepwalker.inspect.session import Session
from sleepwalker.inspect.spans import Process
from sleepwalker.inspect.trouble import Episode

__all__ = ["hook_episodes"]

#: This many failures in a row, without a connection, are trouble. After fewer, the next hook may give one.
_FEWEST = 3


@dataclass(slots=True)
class _Run:
    """What failed for one name in one process since a hook last gave a connection."""

    begin: float
    last: float = 0.0
    failures: int = 0
    hangs: int = 0
    hooks: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def hook_episodes(session: Session, of: Mapping[tuple[int, int | None], Process], dated: str) -> list[Episode]:
    """The episodes in which hooks failed or hung, by the name that was asked for."""
    failed_or_slow = f"""
        SELECT DISTINCT host FROM events
        WHERE event IN ('connection.hook_failed', 'connection.hook_slow') AND {dated}"""
    names = [name for (name,) in session.rows(failed_or_slow, "connection.hook_failed", "connection.hook_slow")]
    if not names:
        return []
    runs: dict[tuple[str, int], _Run] = {}
    found: list[Episode] = []
    for time, name, event, file, pid, hook, error, duration in session.rows(f"""
            SELECT {seconds("time")}, host, event, file, pid, hook, error, duration FROM events
            WHERE event IN ('connection.hooked', 'connection.hook_failed', 'connection.hook_slow') AND {dated}
                AND host IN ({", ".join(map(literal, names))}) ORDER BY time, line"""):
        key = name, of[file, pid].number
        if event == "connection.hooked":
            if run := runs.pop(key, None):
                found += _episode(name, run, time)
            continue
        run = runs.setdefault(key, _Run(time - (duration or 0.0)))
        run.last = time
        run.failures += event == "connection.hook_failed"
        run.hangs += event == "connection.hook_slow"
        run.hooks += [hook] if hook else []
        run.errors += [error] if error else []
    for (name, _), run in runs.items():
        found += _episode(name, run, None)
    return _merged(found)


def _episode(name: str, run: _Run, end: float | None) -> list[Episode]:
    if run.failures < _FEWEST and not run.hangs:
        return []
    most = max(run.errors, key=run.errors.count) if run.errors else None
    hook = max(run.hooks, key=run.hooks.count) if run.hooks else None
    one = Episode(name, "hooks", run.begin, end, error=most, hook=hook)
    one.hook_failures, one.hook_hangs, one.processes = run.failures, run.hangs, 1
    return [one]


def _merged(found: list[Episode]) -> list[Episode]:
    """Merge episodes of the same name that overlap, in several processes."""
    made: list[Episode] = []
    for one in sorted(found, key=lambda episode: (episode.host, episode.begin)):
        last = made[-1] if made and made[-1].host == one.host else None
        if last is None or (last.end is not None and last.end < one.begin):
            made.append(one)
            continue
        last.end = None if last.end is None or one.end is None else max(last.end, one.end)
        last.hook_failures += one.hook_failures
        last.hook_hangs += one.hook_hangs
        last.processes += 1
    return made
