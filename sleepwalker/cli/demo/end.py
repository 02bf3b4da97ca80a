"""What the demo leaves: a log, the command to inspect it and, on request, a page with charts."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from sleepwalker import files


def again(seed: int, *, quick: bool) -> tuple[str, str]:
    """How to repeat the random faults. The callers' random waits still differ."""
    return "repeat these faults:", f"  {command()} demo{' --quick' if quick else ''} --seed {seed}"


def command() -> str:
    """The command that started this process, to be typed again. With its path if the shell would not find it."""
    script = Path(sys.argv[0])
    if script.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m sleepwalker"
    found = shutil.which(script.name)
    return script.name if found and Path(found).absolute() == script.absolute() else shlex.quote(str(script))


def write_page(log: Path, target: Path) -> None:
    """Write the page of `inspect --html`. Raises `InspectError` for an unreadable log or a missing package."""
    from sleepwalker import inspect  # noqa: PLC0415 - only this needs it

    with inspect.Session() as session:
        session.load(session.find([str(log)], sys.stdin.buffer))
        report = inspect.make(session, inspect.Filter())
    if report is not None:
        files.write_report(target, inspect.page(report))


def closing_lines(log: Path, target: Path | None) -> Iterator[str]:
    """The last lines. Writes the page when it comes to its line."""
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
