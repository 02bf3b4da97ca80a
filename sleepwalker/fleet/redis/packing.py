"""Packs the script's arguments into compact bytes, and unpacks its results."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from sleepwalker.fleet.store import (
    CAUSE,
    LABEL,
    NAME,
    REASON,
    VIEWS,
    Heard,
    Order,
    Overview,
    Said,
    StoreError,
    View,
)
from sleepwalker.fleet.verdicts import Opinion, Tally

_VIEW = struct.Struct(">cBId")  # opinion, flags, round, lasted; then the cause
_FAILED, _BACK, _ANSWERED = 1, 2, 4
_TALLY = struct.Struct(">IIIIddd")  # accusers, failing of them, fine, round, since, began, failed_at; then the cause
_SAID = struct.Struct(">cdd")  # opinion, since, moment; then the cause
_ORDER = struct.Struct(">cdd")  # kind, number, left; then the lengths of `reason` and `by`, and their texts
_LENGTH = struct.Struct(">HH")
_NONE = 0xFFFF
_KINDS: dict[bytes, Literal["isolate", "restore", "reset"]] = {b"i": "isolate", b"r": "restore", b"x": "reset"}
_CODES = {kind: code for code, kind in _KINDS.items()}
_OPINIONS: dict[bytes, Opinion] = {b"b": "broken", b"g": "failing", b"f": "fine"}
_LETTERS: dict[Opinion, bytes] = {opinion: letter for letter, opinion in _OPINIONS.items()}
_MOST = 2**32 - 1


def raw(text: str) -> bytes:
    """The text as bytes. A lone surrogate, as in a file name, can be stored like any other character."""
    return text.encode("utf-8", "surrogatepass")


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def fits(name: str) -> bool:
    return 0 < len(name) <= NAME


def arguments(said: Said) -> list[bytes]:
    """The script's arguments for a sync."""
    if len(said.views) > VIEWS:
        raise StoreError(f"a worker may send at most {VIEWS} views at once, and this one sent {len(said.views)}")
    known = said.store is not None and said.store.isalnum()
    given = [
        b"sync",
        raw(said.worker),
        raw(said.label[:LABEL]),
        b"%.3f" % said.ttl,
        b"%d" % max(said.since, -1),
        raw(said.store or "") if known else b"-",
        b"%d" % max(said.most, 1),
        b"1" if said.renew else b"0",
    ]
    _add(given, ((name, _view(view)) for name, view in said.views.items() if fits(name)))
    _add(given, ((name, b"%.3f" % seconds) for name, seconds in said.looks.items() if fits(name)))
    by = said.label[:LABEL]
    orders = ((name, order if order.by is not None else replace(order, by=by)) for name, order in said.orders.items())
    _add(given, ((name, pack_order(order)) for name, order in orders if fits(name)))
    return given


def _add(given: list[bytes], members: Iterable[tuple[str, bytes]]) -> None:
    packed = list(members)
    given.append(b"%d" % len(packed))
    for name, value in packed:
        given += (raw(name), value)


def _view(view: View) -> bytes:
    opinion = b"-" if view.opinion is None else _LETTERS[view.opinion]
    flags = _FAILED * view.failed | _BACK * view.back | _ANSWERED * view.answered
    return _VIEW.pack(opinion, flags, min(max(view.round, 0), _MOST), view.lasted) + _cause(view.cause)


def _cause(cause: str | None) -> bytes:
    """The cause as bytes. A leading `=` tells an empty text from None."""
    return b"" if cause is None else b"=" + raw(cause[:CAUSE])


def _read_cause(data: bytes) -> str | None:
    return text(data[1:]) if data else None


def pack_order(order: Order) -> bytes:
    texts = [None if one is None else raw(one) for one in (_cut(order.reason, REASON), _cut(order.by, LABEL))]
    lengths = _LENGTH.pack(*(_NONE if one is None else len(one) for one in texts))
    left = -1.0 if order.left is None else max(order.left, 0.0)
    return _ORDER.pack(_CODES[order.kind], max(order.number, 0), left) + lengths + b"".join(one or b"" for one in texts)


def _cut(given: str | None, most: int) -> str | None:
    return given if given is None else given[:most]


def _read_order(data: bytes) -> Order:
    kind, number, left = _ORDER.unpack_from(data)
    at = _ORDER.size
    lengths = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    texts: list[str | None] = []
    for length in lengths:
        if length == _NONE:
            texts.append(None)
        else:
            texts.append(text(data[at : at + length]))
            at += length
    reason, by = texts
    return Order(_KINDS[kind], int(number), reason, None if left < 0 else left, by)


def _read_tally(data: bytes) -> Tally:
    accusers, failing, fine, round_, since, began, failed_at = _TALLY.unpack_from(data)
    cause = _read_cause(data[_TALLY.size :])
    return Tally(accusers - failing, fine, since, began, round_, failed_at, cause, failing)


def heard(answer: Sequence[Any]) -> Heard:
    head, rest = answer[0], answer[1:]
    store, version, now, workers, more, everything, hosts, orders = head.decode("ascii").split(" ")
    tallies, rest = _pairs(rest, int(hosts))
    given, rest = _pairs(rest, int(orders))
    return Heard(
        store=store,
        version=int(version),
        now=float(now),
        workers=int(workers),
        tallies={text(name): _read_tally(data) for name, data in tallies},
        orders={text(name): _read_order(data) for name, data in given},
        granted=tuple(text(name) for name in rest),
        more=more == "1",
        everything=everything == "1",
    )


def version(state: bytes) -> tuple[str, int]:
    """The store's id and version, from the value of the key `state`."""
    store, number, _ = state.decode("ascii").split(" ", 2)
    return store, int(number)


def overview(answer: Sequence[Any]) -> Overview:
    """Everything except the views, which are read one worker at a time."""
    head, rest = answer[0], answer[1:]
    now, hosts, orders = head.decode("ascii").split(" ")
    tallies, rest = _pairs(rest, int(hosts))
    given, rest = _pairs(rest, int(orders))
    workers, _ = _pairs(rest, len(rest) // 2)
    return Overview(
        now=float(now),
        workers={text(worker): text(label) for worker, label in workers},
        tallies={text(name): _read_tally(data) for name, data in tallies},
        orders={text(name): _read_order(data) for name, data in given},
    )


def views(seen: Overview, said: Mapping[str, Sequence[bytes]]) -> dict[str, dict[str, View]]:
    """The views of each worker, by origin, without those of past trouble or an earlier round."""
    found: dict[str, dict[str, View]] = {name: {} for name in seen.tallies}
    for worker, rows in said.items():
        for name, data in _pairs(rows, len(rows) // 2)[0]:
            if not name:
                continue
            tally = seen.tallies.get(text(name))
            opinion, since, moment = _SAID.unpack_from(data)
            if tally is None or since != tally.since:
                continue
            cause = _read_cause(data[_SAID.size :])
            lasted = max(seen.now - moment, 0.0) if opinion != b"f" else 0.0
            found[text(name)][worker] = View(_OPINIONS[opinion], tally.round, cause, lasted)
    return found


def _pairs(rows: Sequence[bytes], count: int) -> tuple[list[tuple[bytes, bytes]], Sequence[bytes]]:
    if len(rows) < 2 * count:
        raise ValueError("an answer is shorter than it says")
    return list(zip(rows[: 2 * count : 2], rows[1 : 2 * count : 2], strict=True)), rows[2 * count :]
