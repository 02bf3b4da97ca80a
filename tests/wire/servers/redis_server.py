"""A real Redis: alone, as a replica, as a node of a cluster, or a Sentinel."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import redis

_dice = random.SystemRandom()  # one that cannot be seeded


@dataclass
class RedisServer:
    """A running server, on a socket and, where it was given one, on a port."""

    program: Path
    folder: Path
    port: int = 0
    tls_port: int = 0
    options: tuple[str, ...] = ()
    sentinel_config: str | None = None
    """It is a Sentinel, with this configuration."""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def socket(self) -> str:
        return str(self.folder / "redis.sock")

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def client(self, **options: object) -> redis.Redis:
        """One of redis-py's own, to look and to meddle; `with` closes it."""
        return redis.Redis(unix_socket_path=self.socket, socket_timeout=20, **options)  # type: ignore[arg-type]

    def start(self) -> None:
        """Without persistence: started again, it is empty. RuntimeError with its log if it does not come up."""
        command: list[str | Path] = [self.program]
        if self.sentinel_config is not None:
            config = self.folder / "sentinel.conf"
            config.write_text(self.sentinel_config)
            command.append(config)
        else:
            command += ["--save", "", "--appendonly", "no"]
        command += ["--port", str(self.port), "--unixsocket", self.socket, "--dir", str(self.folder)]
        command += ["--bind", "127.0.0.1", *self.options]
        log = self.folder / "redis.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(self.socket)
                return
            time.sleep(0.005)
        self.stop()
        raise RuntimeError(f"{self.program} did not start:\n{log.read_text()}")

    def freeze(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """At once, as a machine that fails; a frozen one as well."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)
            self.process = None
        with contextlib.suppress(FileNotFoundError):
            Path(self.socket).unlink()


def free_ports(count: int, *, also_above: int = 0) -> list[int]:
    """Ports below those that the kernel hands out by itself; `also_above` each, another one is free as well."""
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            port = _dice.randrange(20_000, 21_500)
            with contextlib.suppress(OSError):  # it is in use
                for one in {port, port + also_above}:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", one))
                ports.append(port)
    return ports


@contextlib.contextmanager
def run_redis(
    folder: Path, program: Path, *options: str, port: int = 0, sentinel_config: str | None = None
) -> Iterator[RedisServer]:
    """Run it in a folder of its own, which is made."""
    folder.mkdir(exist_ok=True)
    server = RedisServer(program, folder, port=port, options=options, sentinel_config=sentinel_config)
    server.start()
    try:
        yield server
    finally:
        server.stop()
