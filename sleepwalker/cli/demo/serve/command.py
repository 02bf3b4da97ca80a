"""`sleepwalker demo --serve`: runs the server until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

from sleepwalker.cli.demo.end import command

# Importing each of these adds rows to the table.
from sleepwalker.cli.demo.serve import answers, faults, hand, things  # noqa: F401
from sleepwalker.cli.demo.serve.routes import table
from sleepwalker.cli.demo.serve.site import Site
from sleepwalker.cli.demo.serve.state import Seen
from sleepwalker.cli.text import say, width_of

#: Columns, if the output has no known width.
_WIDTH = 80

Show = Callable[[Seen], None]


class _Taken(Exception):
    """A port cannot be used. The text says what to do."""


def run(port: int, hosts: int, seed: int | None, fail: float, *, quiet: bool) -> int:
    """Serve until Ctrl-C, which is the intended end: 0. If a port cannot be used: 1."""
    show = _show if sys.stdout.isatty() and not quiet else None
    try:
        asyncio.run(_serve(port, hosts, seed, fail, show))
    except KeyboardInterrupt:
        say("ended", sys.stdout)
    except _Taken as taken:
        say(f"sleepwalker: {taken}")
        return 1
    return 0


async def _serve(port: int, hosts: int, seed: int | None, fail: float, show: Show | None) -> None:
    async with _up(port, hosts, seed=seed, fail=fail, show=show) as urls:
        say(introduction(urls, width_of(sys.stdout) or _WIDTH), sys.stdout)
        await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _up(
    port: int, hosts: int, *, seed: int | None = None, fail: float = 0.0, show: Show | None = None
) -> AsyncIterator[list[str]]:
    """A context in which the server answers at these URLs. Raises `_Taken` if it cannot get a port."""
    with contextlib.ExitStack() as stack:
        sites: list[Site] = []
        for at in range(hosts):
            wanted = port + at if port else 0
            try:
                site = Site(wanted, at + 1, seed=seed, fail=fail, show=show)
                stack.callback(site.close)
                await site.up()
            except (OSError, OverflowError) as error:
                raise _Taken(_way_out(wanted, error)) from None
            sites.append(site)
        for site in sites:
            site.know(sites)
        yield [site.url for site in sites]


def _way_out(port: int, error: OSError | OverflowError) -> str:
    reason = (error.strerror or "").lower() if isinstance(error, OSError) else "there is no such port"
    return (
        f"port {port} of 127.0.0.1 cannot be used: {reason}. Is another `sleepwalker demo --serve` running? "
        "`--port 9000` takes another port, `--port 0` one that is free."
    )


@contextlib.contextmanager
def serving(hosts: int = 1, *, seed: int | None = None, fail: float = 0.0) -> Iterator[list[str]]:
    """A context in which the server answers at these URLs, on free ports, from a thread of this process. For tests."""
    loop = asyncio.new_event_loop()
    urls: list[str] = []
    is_up, ending = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with _up(0, hosts, seed=seed, fail=fail) as found:
            urls.extend(found)
            is_up.set()
            await ending.wait()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=work, name="sleepwalker-demo-serve", daemon=True)
    thread.start()
    is_up.wait()
    try:
        yield urls
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()


def introduction(urls: Sequence[str], width: int) -> str:
    """What the terminal shows first. The lines to be copied come last."""
    return "\n".join(
        [
            table(width),
            "",
            "Serving on this machine only, at",
            *(f"  {url}" for url in urls),
            "In Python:",
            "  from sleepwalker import ANONYMOUS, Connection",
            f'  conn = Connection("{urls[0]}", auth=ANONYMOUS)',
            '  print(conn.get("/flaky").attempts)',
            "In another terminal:",
            f"  {command()} get {urls[0]}/flaky",
            "Ctrl-C ends it.",
            "",
        ]
    )


def _show(seen: Seen) -> None:
    """Print a line for a finished request."""
    status = "-" if seen.status is None else seen.status
    say(f"{status:>3} {seen.method:6} {seen.path}{f'  ({seen.note})' if seen.note else ''}", sys.stdout)
