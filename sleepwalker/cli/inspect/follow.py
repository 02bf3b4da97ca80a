"""`sleepwalker inspect --follow`: the report, renewed as the files grow."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from sleepwalker.cli.parser import UsageError
from sleepwalker.drivers.threads.clock import BLOCKING_CLOCK

if TYPE_CHECKING:
    from sleepwalker.inspect import Report, Session, Source

#: Seconds between two looks at the files.
_LOOK_EVERY = 1.0


def check(args: argparse.Namespace) -> None:
    """Raise `UsageError` for options that do not work with a report that changes."""
    for option in ("sql", "html"):
        if getattr(args, option) is not None:
            raise UsageError(f"--follow shows a changing report; leave out --{option} or --follow")
    if "-" in args.files:
        raise UsageError("--follow works with files, not with standard input")


def follow(
    session: Session,
    sources: Sequence[Source],
    args: argparse.Namespace,
    make: Callable[[], Report | None],
    show: Callable[[Report], None],
) -> Report | None:
    """Show the report anew whenever events were added, until Ctrl-C. The last one stays, and is returned.

    On a terminal it is redrawn; elsewhere `show` is called for each.
    """
    if zipped := [source.name for source in sources if source.zipped]:
        raise UsageError(f"--follow: {', '.join(zipped)} is compressed and will not grow; name the file that does")
    from sleepwalker.inspect import Follower  # noqa: PLC0415 - only this needs it

    report: Report | None = None
    shown: Report | None = None

    with (
        contextlib.closing(Follower(sources, session.folder)) as follower,
        contextlib.suppress(KeyboardInterrupt),
        contextlib.nullcontext(enter_result=False) if args.json else _moving(lambda: report, args) as moving,
    ):
        while True:
            came = False
            for piece in follower.news():
                session.load([piece])
                came = True
            # With `--since 15m`, what the report covers changes even if nothing was added.
            if came or (args.since and moving):
                report = make()
            if came and not moving and report is not None:
                show(report)
                shown = report
            BLOCKING_CLOCK.sleep(_LOOK_EVERY)
    if report is not None and report is not shown:
        show(report)
    return report


@contextlib.contextmanager
def _moving(report: Callable[[], Report | None], args: argparse.Namespace) -> Iterator[bool]:
    """A context in which a terminal shows the current report. Yields whether there is one. Needs rich."""
    from sleepwalker.cli import display  # noqa: PLC0415
    from sleepwalker.cli.inspect import view  # noqa: PLC0415

    screen = display.console()

    def picture() -> display.RenderableType:
        note = f"{', '.join(args.files)}: following, Ctrl-C ends it"
        now = report()
        return display.stacked(note, "", view.render(now, screen) if now else "no event yet")

    with display.live(screen, picture):
        yield display.can_move(screen)
