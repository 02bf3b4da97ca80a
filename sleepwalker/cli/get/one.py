"""One call: its attempts on stderr as they happen, its body on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import sleepwalker
from sleepwalker.cli.get.target import Target
from sleepwalker.cli.parser import UsageError
from sleepwalker.cli.text import count, safe_line, safe_text, say, seconds, told
from sleepwalker.cli.traffic import Response
from sleepwalker.clock import SYSTEM_CLOCK
from sleepwalker.events import AttemptFailed, BreakerOpened, Event, HedgeSent, Level, RetryAbandoned, RetryScheduled


def run(connection: sleepwalker.Connection, target: Target, *, output: Path | None, as_json: bool) -> int:
    """Make the call and show it. Returns the exit code."""
    begin = SYSTEM_CLOCK.monotonic()
    response: Response | None = None
    error: sleepwalker.SleepwalkerException | None = None
    try:
        response = target.request(connection)
    except sleepwalker.SleepwalkerException as failed:
        error = failed
    took = SYSTEM_CLOCK.monotonic() - begin
    answered = response is not None and response.status_code < 400
    if response is not None:
        _deliver(response.content, response.encoding, output, quiet=as_json)
    if as_json:
        came = None if response is None else len(response.content)
        print(json.dumps(to_dict(target, response, error, took, came), indent=2))
    else:
        received = "" if response is None else count(len(response.content), "byte")
        told(summary(target, response, error, took, received), sys.stderr, indent="  ")
    if isinstance(error, sleepwalker.URLError):  # nothing could be sent
        return 2
    return 0 if answered else 1


def show_event(event: Event, _level: Level | None = None, /) -> None:
    """Write the events of the call to stderr as they happen."""
    match event:
        case AttemptFailed():
            what = event.detail or event.error or str(event.status)
            told(f"attempt {event.attempt}: {safe_line(what)} ({seconds(event.duration)})", sys.stderr, indent="  ")
        case RetryScheduled():
            why = ", as the server asked" if event.server_directed else ""
            say(f"  again in {seconds(event.wait)}{why}")
        case RetryAbandoned():
            say(f"  no further attempt: {event.reason}")
        case HedgeSent():
            say(f"attempt {event.attempt}: sent beside one that is slow, after {seconds(event.delay)}")
        case BreakerOpened():
            say(f"  circuit opened for {seconds(event.open_for)}: {event.rule}")


def _deliver(body: bytes, encoding: str | None, output: Path | None, *, quiet: bool) -> None:
    """Write the body to `output` or stdout. A terminal gets safe text, anything else the bytes as they are."""
    if output is not None:
        try:
            output.write_bytes(body)
        except OSError as error:
            raise UsageError(f"--output: {error}") from None
    elif quiet or not body:
        return
    elif not sys.stdout.isatty():
        rest = memoryview(body)
        while rest:  # with PYTHONUNBUFFERED this is a raw file, whose writes may be short
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
    elif b"\0" in body:
        say(f"({count(len(body), 'byte')} of binary data, not shown on a terminal; -o FILE keeps them)")
    else:
        try:
            text = body.decode(encoding or "utf-8", "replace")
        except LookupError:  # an encoding that only the server knows
            text = body.decode("utf-8", "replace")
        say(safe_text(text).removesuffix("\n"), sys.stdout)


def summary(
    target: Target,
    response: Response | sleepwalker.Response | None,
    error: sleepwalker.SleepwalkerException | None,
    took: float,
    received: str,
) -> str:
    """A line about how the call ended. `received` describes the body."""
    if response is not None:
        came = f"{response.status_code} {response.reason or ''}".strip()
        tail = f"{count(len(response.attempts), 'attempt')}, {seconds(took)}, {received}"
        return safe_line(f"{target.shown}: {came}, {tail}")
    attempts = len(error.attempts) if error else 0
    return safe_line(f"{target.shown}: {type(error).__name__}: {error}; {count(attempts, 'attempt')}, {seconds(took)}")


def to_dict(
    target: Target,
    response: Response | sleepwalker.Response | None,
    error: sleepwalker.SleepwalkerException | None,
    took: float,
    size: int | None,
) -> dict[str, Any]:
    """The same for programs. `size`: how many bytes were received."""
    attempts = response.attempts if response is not None else error.attempts if error is not None else ()
    return {
        "request": target.shown,
        "answered": response is not None and response.status_code < 400,
        "status": response.status_code if response is not None else None,
        "reason": response.reason if response is not None else None,
        "error": type(error).__name__ if error is not None else None,
        "detail": str(error) if error is not None else None,
        "retry_after": _rounded(getattr(error, "retry_after", None)),
        "bytes": size,
        "duration": round(took, 4),
        "attempts": [{name: _rounded(value) for name, value in attempt.to_dict().items()} for attempt in attempts],
    }


def _rounded(value: Any) -> Any:
    """Seconds to a tenth of a millisecond; anything else as it is."""
    return round(value, 4) if isinstance(value, float) else value
