"""One address of the server: it reads requests, adds faults to some, answers, and reports each request."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from sleepwalker.cli.demo.fleet import Server
from sleepwalker.cli.demo.serve.echo import echo
from sleepwalker.cli.demo.serve.faults import by_chance, with_fault
from sleepwalker.cli.demo.serve.http import HEAD_LIMIT, Answer, Refused, Request, read_request, write_answer
from sleepwalker.cli.demo.serve.routes import answered, by_hand, shown_path
from sleepwalker.cli.demo.serve.state import Seen, State

#: Seconds between two checks whether the client is still there, and seconds for which the rest of a refused request is
#: read.
_LOOK, _LINGER = 0.05, 1.0


class Site(Server):
    """A server with a memory. Raises `OSError` if the port is taken."""

    def __init__(
        self, port: int, number: int, *, seed: int | None, fail: float, show: Callable[[Seen], None] | None
    ) -> None:
        super().__init__(self._talk, port, limit=HEAD_LIMIT)
        self.url = f"http://127.0.0.1:{self.port}"
        self._state = State(self.url, random.Random(None if seed is None else f"{seed} {number}"), fail)
        self._show = show

    def know(self, sites: Sequence[Site]) -> None:
        """Set the server's addresses, including this one."""
        self._state.neighbours = sites

    async def up(self) -> None:
        if not self.listening:
            await super().up()

    def down(self) -> None:
        if self.listening:
            super().down()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first request to its last."""
        again = True
        while again:
            try:
                request = await read_request(reader, writer)
            except Refused as refused:  # where the next request begins is unknown
                await self._send(writer, Request("?", "?", (), persistent=False), refused.answer, Seen("?", "?"))
                writer.write_eof()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LINGER):  # closing with unread bytes would send a reset
                        while await reader.read(HEAD_LIMIT):
                            pass
                return
            if request is None:
                return
            seen = Seen(request.method, shown_path(request))
            if not by_hand(request):
                self._state.seen.append(seen)
            again = await self._attended(reader, seen, self._respond(writer, request, seen))
            if self._show is not None:
                self._show(seen)

    async def _attended(self, reader: asyncio.StreamReader, seen: Seen, work: Coroutine[Any, Any, bool]) -> bool:
        """Do the work while the client is there. False if the connection is not to be used again."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK))[0]:
                if reader.at_eof() or reader.exception() is not None:
                    seen.note = "client hung up"
                    return False
            return task.result()
        except OSError:
            seen.note = "client hung up"
            return False
        finally:
            task.cancel()

    async def _respond(self, writer: asyncio.StreamWriter, request: Request, seen: Seen) -> bool:
        try:
            return await self._send(writer, request, await self._answer(request), seen)
        except Refused as refused:
            return await self._send(writer, request, refused.answer, seen)

    async def _answer(self, request: Request) -> Answer:
        async def sound() -> Answer:
            if request.method in ("GET", "HEAD") and (kept := self._state.kept.get(request.path)) is not None:
                return Answer(body=kept, headers=(("Content-Type", "application/json"),))
            return await answered(self._state, request, echo)

        if by_hand(request):
            return await sound()
        if self._state.script:
            return await with_fault(self._state.script.popleft(), sound)
        return by_chance(self._state, self._state.fail, "--fail") or await sound()

    async def _send(self, writer: asyncio.StreamWriter, request: Request, answer: Answer, seen: Seen) -> bool:
        seen.status, seen.note = None if answer.reset else answer.status, answer.note
        again = await write_answer(writer, request, answer)
        if answer.then is not None:
            answer.then()
        return again
