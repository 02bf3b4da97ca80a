"""The demo's flaky fleet: real HTTP/1.1 servers on loopback, in a process of their own.

Runs as a script (`python -I fleet.py`) and needs only the standard library. It prints one line of JSON with its ports,
starts its clock at the first line that it reads from stdin, and ends when its stdin does: so it cannot outlive the
process that started it, however that ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import IO, Self, cast

#: The servers, in the order in which they are shown.
NAMES = ("healthy", "flaky", "dies", "reboots", "drips", "moves")
#: Those that go down and come back.
MORTAL = ("dies", "reboots")
#: One more server, which answers any request with the current addresses of the others, as one JSON object.
DIRECTORY = "directory"
#: The share of its requests that `flaky` answers with 503.
FLAKY_SHARE = 0.3
#: `drips` sends one of this many bodies byte by byte, with this many seconds between two bytes. It is one at random of
#: each ten, because a short run would often have none if each body were drawn by itself.
DRIP_ONE_IN = 10
DRIP_INTERVAL = 0.25
#: How long a response takes if nothing goes wrong, in seconds.
LATENCY = (0.005, 0.020)

_BODY = b'{"status": "fine"}\n'

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]
#: Holds the whole conversation over one connection.
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _head(status: str, length: int) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()


class Fleet:
    """The fleet's process, seen from the one that starts it."""

    def __init__(self, *, sets: int, seed: int, down_at: float, down_for: float, move_at: float, drip: float) -> None:
        """Start the servers. Raises `RuntimeError` if they do not come up."""
        options = {
            "sets": sets,
            "seed": seed,
            "down-at": down_at,
            "down-for": down_for,
            "move-at": move_at,
            "drip": drip,
        }
        # Isolated (-I): no environment variable and no file in the working folder affects the imports.
        command = [sys.executable, "-I", __file__, *(f"--{name}={value}" for name, value in options.items())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own file
        self._stdin, self._stdout = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        line = self._stdout.readline()
        if not line:
            self.close()
            raise RuntimeError(f"their process ended with code {self._process.returncode}")
        self.ports: list[dict[str, int]] = json.loads(line)
        """By set and name, as at the start."""

    def go(self) -> None:
        """Start the fleet's clock: from now on, servers die and come back on time."""
        self._stdin.write(b"go\n")
        self._stdin.flush()

    def close(self) -> None:
        """End the process, and with it every connection to it."""
        self._stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Server:
    """One server that can be taken down and brought back on the same port, or on another one."""

    def __init__(self, talk: Talk, port: int = 0, *, limit: int = 2**16) -> None:
        """`limit` is the most bytes of a read up to a separator. Raises `OSError` if the port is taken."""
        self._talk = talk
        self._limit = limit
        self._socket = _bound(port)
        self.port: int = self._socket.getsockname()[1]
        self._left: list[socket.socket] = []
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def listening(self) -> bool:
        return self._server is not None

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, sock=self._socket, limit=self._limit)

    def down(self) -> None:
        """Close the listener and cut every connection.

        The port stays bound, without listening: connects are refused, and no other program gets the port meanwhile.
        """
        self.close()
        self._socket = _bound(self.port)

    def close(self) -> None:
        """Close the listener, cut every connection and give the port back."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.close()
        for writer in tuple(self._open):
            writer.transport.abort()

    async def move(self) -> None:
        """Continue at another port. The old one stays bound, without listening, as for a server that is down."""
        self.down()
        self._left.append(self._socket)
        self._socket = _bound(0)
        self.port = self._socket.getsockname()[1]
        await self.up()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            await self._talk(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away, or it does not speak HTTP
        except asyncio.CancelledError:
            pass  # the server ends; raised, it would be printed
        finally:
            self._open.discard(writer)
            writer.close()


async def _answer_all(respond: Respond, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request of a connection in the same way."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0].strip()
        await reader.readexactly(int(length or 0))
        await respond(writer)
        await writer.drain()
        if b"\r\nconnection: close\r\n" in head:
            break


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere this option would let others take the port
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock


def _servers(seed: int, drip: float) -> dict[str, Server]:
    """One set of servers. Sets with the same seed give the same response to their n-th request."""
    dice = {name: random.Random(f"{seed} {name}") for name in NAMES}

    async def fine(name: str, writer: asyncio.StreamWriter) -> None:
        unwell = name == "flaky" and dice[name].random() < FLAKY_SHARE
        await asyncio.sleep(dice[name].uniform(*LATENCY))
        writer.write(_head("503 Service Unavailable" if unwell else "200 OK", len(_BODY)) + _BODY)

    def picks(chance: random.Random) -> Iterator[bool]:
        while True:
            picked = chance.randrange(DRIP_ONE_IN)
            yield from (number == picked for number in range(DRIP_ONE_IN))

    dripping = picks(random.Random(f"{seed} which drip"))

    async def drips(name: str, writer: asyncio.StreamWriter) -> None:
        if not next(dripping):
            await fine(name, writer)
            return
        count = max(1, round(drip / DRIP_INTERVAL))
        writer.write(_head("200 OK", count))
        for _ in range(count):
            await asyncio.sleep(DRIP_INTERVAL)
            writer.write(b".")
            await writer.drain()

    async def tell(writer: asyncio.StreamWriter) -> None:
        body = json.dumps({name: f"http://127.0.0.1:{servers[name].port}" for name in NAMES}).encode()
        writer.write(_head("200 OK", len(body)) + body)

    def server(respond: Respond) -> Server:
        return Server(partial(_answer_all, respond))

    servers = {name: server(partial(drips if name == "drips" else fine, name)) for name in NAMES}
    return {**servers, DIRECTORY: server(tell)}


async def _run(sets: int, seed: int, down_at: float, down_for: float, move_at: float, drip: float) -> None:
    fleet = [_servers(seed, drip) for _ in range(sets)]
    everyone = [server for servers in fleet for server in servers.values()]
    for server in everyone:
        await server.up()
    print(json.dumps([{name: server.port for name, server in servers.items()} for servers in fleet]), flush=True)

    begun, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def watch_stdin() -> None:
        for _ in sys.stdin.buffer:
            loop.call_soon_threadsafe(begun.set)
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch_stdin, daemon=True).start()

    async def die_and_come_back() -> None:
        await begun.wait()
        await asyncio.sleep(down_at)
        mortal = [servers[name] for servers in fleet for name in MORTAL]
        for server in mortal:
            server.down()
        await asyncio.sleep(down_for)
        for server in mortal:
            await server.up()

    async def move() -> None:
        await begun.wait()
        await asyncio.sleep(move_at)
        for servers in fleet:
            await servers["moves"].move()

    acts = [asyncio.create_task(act) for act in (die_and_come_back(), move())]
    await ended.wait()
    for act in acts:
        act.cancel()
    for server in everyone:
        server.down()


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description="The embedded fleet of `sleepwalker demo`.")
    parser.add_argument("--sets", type=int, default=1, help="how many sets of servers that behave alike (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="what chance follows (%(default)s)")
    parser.add_argument("--down-at", type=float, default=3.0, help="when the mortal ones go, seconds (%(default)s)")
    parser.add_argument("--down-for", type=float, default=4.5, help="how long they are gone, seconds (%(default)s)")
    parser.add_argument("--move-at", type=float, default=5.0, help="when one takes another port (%(default)s)")
    parser.add_argument("--drip", type=float, default=12.0, help="how long a dripping body takes (%(default)s)")
    args = parser.parse_args()
    # Ctrl-C reaches the whole process group; the parent decides, and closes our stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(_run(args.sets, args.seed, args.down_at, args.down_for, args.move_at, args.drip))


if __name__ == "__main__":
    main()
