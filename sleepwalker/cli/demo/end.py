"""What the demo leaves: a log, how to inspect it, and a page with charts where one was asked for."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sleepwalker import files


def again(seed: int, *, quick: bool) -> tuple[str, str]:
    """How to have the same luck again. What the callers draw, their waits, differs all the same."""
    return "repeat these faults:", f"  {command()} demo{' --quick' if quick else ''} --seed {seed}"


def command() -> str:
    """How this process was started, to be typed again: a script by its path where the shell would not find it."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m sleepwalker"
    found = shutil.which(script.name)
    return script.name if found and Path(found).absolute() == script.absolute() else shlex.quote(str(script))


def write_page(log: Path, target: Path) -> None:
    """Write what `inspect --html` would. Raises `InspectError` for a log that cannot be read or a missing package."""
    from sleepwalker import inspect  # noqa: PLC0415 - only this needs it

    with inspect.Session() as session:
        session.load(session.find([str(log)], sys.stdin.buffer))
        report = inspect.make(session, inspect.Filter())
    if report is not None:
        files.write_report(target, inspect.page(report))


def closing_lines(log: Path, target: Path | None) -> Iterator[str]:
    """The last lines; the page is written for one of them."""
    from sleepwalker import inspect  # noqa: PLC0415

    yield f"event log (JSON lines): {log}"
    if (missing := inspect.missing()) is not None:
        yield missing
        return
    yield "what happened, from this log:"
    yield f"  {command()} inspect {shlex.quote(str(log))}"
    if target is not None:
        try:
            write_page(log, target)
        except (inspect.InspectError, OSError) as error:
            yield str(error)
        else:
            yield f"with charts, for a browser: {target}"
