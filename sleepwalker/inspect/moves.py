"""Names, moves and isolations: by which names hosts were asked for, where hooks sent callers, what an operator said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sleepwalker.inspect.session import Session
from sleepwalker.inspect.spans import Process
from sleepwalker.inspect.trouble import Episode

__all__ = ["Move", "away", "back", "moves", "names", "note_isolations", "seconds"]

#: Seconds within which all workers of a fleet carry out an order that one of them gave.
_ORDERED = 5.0
_HOOKED = "event = 'connection.hooked' AND target IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Move:
    """A hook gave the callers of a name another host than the one before."""

    time: float
    name: str
    process: int
    before: tuple[str, ...]
    """The host before; if the log has no earlier hook, the name itself and the hosts that were called by it."""
    to: str


def seconds(time: str) -> str:
    """A time in SQL as seconds since 1970."""
    return f"epoch_us({time}) / 1e6"


def names(session: Session) -> dict[str, list[str]]:
    """The names by which each host was asked for, most frequent first, without its own address."""
    found: dict[str, dict[str, int]] = {}
    for host, name, count in session.rows(f"""
            SELECT host, name, count(*) FROM calls WHERE name IS NOT NULL GROUP BY ALL
            UNION ALL SELECT target, host, 0 FROM events WHERE {_HOOKED} GROUP BY ALL"""):
        if not name.startswith(host):
            mine = found.setdefault(host, {})
            mine[name] = mine.get(name, 0) + count
    return {host: sorted(mine, key=lambda name: (-mine[name], name)) for host, mine in found.items()}


def moves(
    session: Session,
    known: Mapping[str, Sequence[str]],
    processes: Mapping[tuple[int, int | None], Process],
    dated: str,
) -> list[Move]:
    """Every change of target, by time. A hook that gives the same target again is no change."""
    if not session.has("connection.hooked"):
        return []
    called: dict[str, set[str]] = {}
    for host, by in known.items():
        for name in by:
            called.setdefault(name, set()).add(host)
    found = []
    for time, name, file, pid, before, target in session.rows(f"""
            SELECT * FROM (
                SELECT {seconds("time")} AS moment, host, file, pid,
                    lag(target) OVER (PARTITION BY host, file, pid ORDER BY time, line) AS before, target
                FROM events WHERE {_HOOKED} AND {dated})
            WHERE before IS DISTINCT FROM target ORDER BY moment"""):
        earlier = (before,) if before is not None else tuple(sorted({name, *called.get(name, ())} - {target}))
        found.append(Move(time, name, processes[file, pid].number, earlier, target))
    return found


def away(host: str, found: Sequence[Move], begin: float, end: float, before: float) -> list[Move]:
    """Each process's first move away from the host, from `before` seconds before `begin` until `end`.

    A process that was back by `begin` has not left.
    """
    first: dict[tuple[str, int], Move] = {}
    for one in found:
        if not begin - before <= one.time <= end:
            continue
        if host in one.before and one.to != host:
            first.setdefault((one.name, one.process), one)
        elif one.to == host and one.time <= begin:
            first.pop((one.name, one.process), None)
    return list(first.values())


def back(host: str, found: Sequence[Move], after: float) -> Move | None:
    """The first move back to the host after that time, if there was one."""
    return next((one for one in found if one.time > after and one.to == host), None)


def note_isolations(session: Session, episodes: Sequence[Episode], end: float, dated: str) -> None:
    """Note what the operator said of each isolation, even if that was before the period, and what ended it.

    The last event counts.
    """
    found = [one for one in episodes if one.kind == "isolated"]
    if not found:
        return
    said: dict[str, list[tuple[Any, ...]]] = {}
    for host, *words in session.rows(f"""
            SELECT host, {seconds("time")} AS moment, event = 'host.restored', "by", reason, "until" FROM everything
            WHERE event IN ('host.isolated', 'host.restored') AND {dated} ORDER BY moment"""):
        said.setdefault(host, []).append(tuple(words))
    for one in found:
        until = end if one.end is None else one.end
        _note_words(one, [words for words in said.get(one.host, ()) if words[0] <= until])


def _note_words(one: Episode, said: Sequence[tuple[Any, ...]]) -> None:
    """Each entry of `said` is a time, whether it is that of a `host.restored`, `by`, the reason and until when."""
    by_hand, here = float("-inf"), False
    for moment, restored, by, reason, until in said:
        if not restored:
            one.isolated_reason, one.isolated_until = reason, until
            # After one order, the worker that gave it logs no `by`, and the others log `fleet`.
            one.isolated_by = "fleet" if by == "fleet" or (here and one.isolated_by == "fleet") else "hand"
            here = moment >= one.begin
        elif one.end is not None and moment >= one.begin and by in ("fleet", "hand", "time"):
            by_hand = moment if by == "hand" else by_hand
            # A restore by hand in one worker is an order to the others, which log `fleet` soon after.
            one.restored_by = "hand" if by == "fleet" and moment - by_hand <= _ORDERED else by
