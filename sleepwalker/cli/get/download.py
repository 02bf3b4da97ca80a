"""One call whose body goes to a file: it resumes a part that is there, and shows its progress as a bar."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path
from typing import cast

import sleepwalker
from sleepwalker.cli import display
from sleepwalker.cli.get import one
from sleepwalker.cli.get.target import Target
from sleepwalker.cli.parser import UsageError
from sleepwalker.cli.text import count, safe_line, say, seconds, size, told
from sleepwalker.clock import SYSTEM_CLOCK

#: Errors that are not usage errors: the disk is full or broken, or a limit was reached.
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def run(
    connection: sleepwalker.Connection, target: Target, *, output: Path, checksum: str | None, as_json: bool
) -> int:
    """Download and show the result. Returns the exit code."""
    begin = SYSTEM_CLOCK.monotonic()
    bar = _Bar(begin)
    done: sleepwalker.Download | None = None
    error: sleepwalker.SleepwalkerException | None = None
    try:
        with display.live(display.console(sys.stderr), bar.shown):
            done = connection.download(
                target.url, output, progress=bar.reached, checksum=checksum, headers=target.headers
            )
    except sleepwalker.SleepwalkerException as failed:
        error = failed
    except (OSError, ValueError) as failed:
        if getattr(failed, "errno", None) not in _OF_THE_DISK:
            raise UsageError(f"--output: {failed}") from None
        say(f"sleepwalker: --output: {failed}; the part is kept: run the command again to go on")
        return 1
    except KeyboardInterrupt:
        say("  the part is kept: run the command again to go on")
        raise
    took = SYSTEM_CLOCK.monotonic() - begin
    response = None if done is None else cast(sleepwalker.Response, done.response)
    if as_json:
        told_of = one.to_dict(target, response, error, took, None if done is None else done.size)
        told_of |= {
            "path": str(output),
            "resumed": None if done is None else done.resumed,
            "checksum": checksum if done is not None else None,
        }
        print(json.dumps(told_of, indent=2))
    else:
        told(one.summary(target, response, error, took, _written(done, checksum)), sys.stderr, indent="  ")
    if isinstance(error, sleepwalker.URLError):  # nothing could be sent
        return 2
    return 0 if done is not None else 1


def _written(done: sleepwalker.Download | None, checksum: str | None) -> str:
    if done is None:
        return ""
    resumed = f", {size(done.resumed)} of them from before" if done.resumed else ""
    proven = f", {checksum.partition(':')[0]} as given" if checksum else ""
    return f"{count(done.size, 'byte')} in {safe_line(str(done.path))}{resumed}{proven}"


class _Bar:
    """The progress of the file, as the terminal shows it."""

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._first: int | None = None
        self._done = 0
        self._total: int | None = None

    def reached(self, done: int, total: int | None) -> None:
        """Note that `done` bytes of `total` are there."""
        if self._first is None or done < self._first:
            self._first = done
        self._done, self._total = done, total

    def shown(self) -> display.RenderableType:
        """The line and the bar."""
        took = SYSTEM_CLOCK.monotonic() - self._begin
        came = self._done - (self._first or 0)
        speed = f", {size(round(came / took))}/s" if came and took > 0 else ""
        if self._total is None:
            return display.line(f"{size(self._done)}{speed}, {seconds(took)}")
        # The bytes from before took no time of this call.
        elapsed = took * self._done / came if came else 0.0
        return display.progress(f"{size(self._done)} of {size(self._total)}{speed}", self._done, self._total, elapsed)
