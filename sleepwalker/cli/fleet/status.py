"""`sleepwalker fleet status`: the hosts in trouble, and the workers that say so; once, or until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

from sleepwalker.cli import signals
from sleepwalker.cli.fleet.opening import Unusable, named, nobody, store_of
from sleepwalker.cli.fleet.trouble import Picture, document, picture
from sleepwalker.cli.fleet.words import moment_of
from sleepwalker.cli.text import safe_line, told
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK
from sleepwalker.fleet.store import Store, StoreError
from sleepwalker.fleet.verdicts import Quorum

#: Seconds between two looks at the store.
_LOOK_EVERY = 1.0
_TROUBLE = 3


def run(args: argparse.Namespace) -> int:
    """0: no trouble; 1: the store cannot be used, or no worker is there; 3: trouble."""
    quorum = Quorum(args.quorum, args.min_reporters)
    try:
        with signals.as_exits(), store_of(args) as store:
            if not args.json:
                from sleepwalker.cli import display  # noqa: F401, PLC0415 - its import says what it needs
            shown = picture(store.overview(), quorum)
            if args.watch:
                shown = _watch(store, shown, args, quorum)
            else:
                _show(shown, store, args, quorum)
    except Unusable as error:
        _say(str(error))
        return 1
    if shown.trouble:
        return _TROUBLE
    if not shown.workers:
        _say(nobody(args.service))
        return 1
    return 0


def _watch(store: Store, first: Picture, args: argparse.Namespace, quorum: Quorum) -> Picture:
    """Look again and again, until Ctrl-C. The last picture stays, and is returned.

    On a terminal it is redrawn; elsewhere it is shown again when it changes. If the store goes away, wait for it.
    """
    shown, last, lost = first, None, ""

    def state() -> tuple[Picture, str]:
        return shown, lost

    with contextlib.suppress(KeyboardInterrupt), _moving(state, store, args) as moving:
        while True:
            if not moving and _what(shown, store, args, quorum) != last:
                _show(shown, store, args, quorum)
                last = _what(shown, store, args, quorum)
            BLOCKING_CLOCK.sleep(_LOOK_EVERY)
            try:
                shown, was, lost = picture(store.overview(), quorum), lost, ""
            except StoreError as error:
                was, lost = lost, named(store, error)
            if not moving and bool(lost) != bool(was):  # the error's text may change with each try
                _say(lost or f"{store.shown} answers again")
    if last is None or _what(shown, store, args, quorum) != last:
        _show(shown, store, args, quorum)
    return shown


@contextlib.contextmanager
def _moving(state: Any, store: Store, args: argparse.Namespace) -> Iterator[bool]:
    """A context in which a terminal shows the current picture. Yields whether there is one."""
    if args.json:
        yield False
        return
    from sleepwalker.cli import display  # noqa: PLC0415 - this needs rich
    from sleepwalker.cli.fleet import view  # noqa: PLC0415

    screen = display.console()

    def drawn() -> display.RenderableType:
        shown, lost = state()
        note = (f"as of {moment_of(shown.now)}: {lost}", "bold red") if lost else "watching, Ctrl-C ends it"
        picture = view.render(shown, store.shown, args.service, screen.width, screen.height)
        return display.stacked(display.folded(note), "", picture)

    with display.live(screen, drawn):
        yield display.can_move(screen)


def _what(shown: Picture, store: Store, args: argparse.Namespace, quorum: Quorum) -> dict[str, Any]:
    """What counts as a change: not the current time, and not the ends that are calculated from it."""
    whole = document(shown, store.shown, args.service, quorum)
    isolated = [{**one, "until": bool(one["until"])} for one in whole["isolated"]]
    return {**whole, "now": None, "isolated": isolated}


def _show(shown: Picture, store: Store, args: argparse.Namespace, quorum: Quorum) -> None:
    if args.json:
        whole = document(shown, store.shown, args.service, quorum)
        print(json.dumps(whole, indent=None if args.watch else 2), flush=True)
        return
    from sleepwalker.cli import display  # noqa: PLC0415
    from sleepwalker.cli.fleet import view  # noqa: PLC0415

    screen = display.console()
    screen.print(view.render(shown, store.shown, args.service, screen.width))


def _say(text: str) -> None:
    told(f"sleepwalker: {safe_line(text)}", sys.stderr, indent="  ")
