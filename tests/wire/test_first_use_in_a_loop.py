"""What first use needs is loaded with `sleepwalker.aio`: an import in a running loop would stop all its tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers import Exchange, FaultServer, Step, json_reply, redirect, reply, stall

from tests.ranges import whole

ROOT = Path(__file__).parents[2]

#: Does each thing for the first time in a loop, and says which modules came with it, and who asked for them.
_PROGRAM = """
import asyncio, json, logging, sys, threading

{setting}
import sleepwalker
import sleepwalker.aio
from sleepwalker import ANONYMOUS, Policy, RetryPolicy, HedgePolicy, status
from sleepwalker.aio import AsyncConnection, AsyncConnectionHook, AsyncConnectionManager, follow, pages

url, loaded, asked = sys.argv[1], {{}}, []
mine = threading.get_ident()

def hook(event, args):
    if event == "import" and threading.get_ident() == mine and args[0] not in sys.modules:
        asked.append(args[0])

sys.addaudithook(hook)

class Hook(AsyncConnectionHook):
    async def connect(self, host, auth):
        return AsyncConnection(url, ANONYMOUS) if host == "shop" else None

async def first(name, call):
    before = len(asked)
    result = None
    try:
        result = await call()
    except sleepwalker.SleepwalkerException as error:
        result = type(error).__name__
    loaded[name] = asked[before:]
    return result

async def main():
    async def made():
        return AsyncConnection(url, ANONYMOUS, policy=Policy(breaker={{"consecutive_for": 0}}))

    conn = await first("connection", made)
    page = await first("call", lambda: conn.get("/"))
    await first("json", lambda: conn.json_request("POST", "/", {{"a": 1}}))
    await first("upload", lambda: conn.post("/", files={{"a": b"b"}}))
    await first("redirect", lambda: conn.get("/moved"))
    await first("not found", lambda: conn.get("/404"))

    async def streamed():
        async with conn.stream("GET", "/") as response:
            return await response.aread()

    await first("stream", streamed)
    assert (await first("follow", lambda: follow(page, "next"))).status_code == 200
    await first("scope", lambda: conn.scope("eu").get("/"))
    hedged = AsyncConnection(url, ANONYMOUS, policy=Policy(hedge={{"delay": 0.05}}))
    await first("hedge", lambda: hedged.get("/slow", total=0.3))
    manager = AsyncConnectionManager()
    manager.add_conn_hook(Hook())
    await first("find", lambda: manager.find("shop"))
    await first("no host", lambda: manager.find("shopp"))
    assert await first("failure", lambda: conn.get("/503")) == "HTTPServiceUnavailable"
    assert await first("deadline", lambda: conn.get("/slow", total=0.2)) == "DeadlineExceeded"
    nobody = AsyncConnection("http://127.0.0.1:1", ANONYMOUS)
    assert await first("refused", lambda: nobody.get("/")) == "ConnectError"
    while await first("open", lambda: conn.get("/503")) != "CircuitOpenError":
        pass

    async def cancelled():
        task = asyncio.ensure_future(hedged.get("/slow"))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

    await first("cancelled", cancelled)

    async def health():
        return manager.health(), conn.health.to_dict()

    await first("health", health)
    await first("close", lambda: asyncio.gather(conn.close(), hedged.close(), nobody.close(), manager.close()))

asyncio.run(main())
print(json.dumps(loaded))
"""

_SETTINGS = {
    "no logging": "",
    "stdlib": "logging.basicConfig(level=logging.DEBUG, filename='/dev/null')",
    "json lines": "import sleepwalker; sleepwalker.logging.configure(sys.argv[2])",
    "structlog": (
        "import structlog, io; structlog.configure(processors=[structlog.contextvars.merge_contextvars, "
        "structlog.processors.JSONRenderer()], logger_factory=structlog.PrintLoggerFactory(io.StringIO()))"
    ),
}


def _answer(exchange: Exchange) -> Step:
    assert exchange.request is not None
    path = exchange.request.path
    if path == "/moved":
        return redirect("/")
    if path in ("/404", "/503"):
        return reply(int(path[1:]))
    return stall() if path == "/slow" else json_reply({}, headers={"Link": '</2>; rel="next"'})


@pytest.mark.parametrize(
    "setting", [name if name in ("stdlib", "json lines") else whole(name, with_each=True) for name in _SETTINGS]
)
def test_nothing_is_imported_while_a_loop_runs(server: FaultServer, tmp_path: Path, setting: str) -> None:
    server.default = _answer
    program = _PROGRAM.format(setting=_SETTINGS[setting])
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-W", "error", "-c", program, server.url, str(tmp_path / "events.jsonl")]
    run = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert run.stderr == ""
    loaded = json.loads(run.stdout)
    assert len(loaded) == 19
    assert {name: modules for name, modules in loaded.items() if modules} == {}
