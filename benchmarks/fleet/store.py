"""A real Redis on loopback, alone, for as long as it is wanted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class MissingProgramError(Exception):
    """redis-server is not on this machine."""


@dataclass(frozen=True, slots=True)
class Redis:
    """A running server that keeps nothing on the disk."""

    port: int
    pid: int
    version: str

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def info(self) -> dict[str, str]:
        """What INFO says, by name. Asking is a command, too."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as sock, sock.makefile("rb") as answer:
            sock.sendall(b"*2\r\n$4\r\nINFO\r\n$3\r\nall\r\n")
            length = int(answer.readline()[1:])
            lines = answer.read(length).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


@contextlib.contextmanager
def run_redis() -> Iterator[Redis]:
    """Raises `MissingProgramError` without redis-server, and `RuntimeError` where it does not start."""
    program = shutil.which("redis-server")
    if program is None:
        raise MissingProgramError("found no redis-server; scripts/system-packages installs it where it may")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = next((word[2:] for word in said.split() if word.startswith("v=")), "unknown")
    with tempfile.TemporaryDirectory(prefix="sleepwalker-redis-") as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen([program, *settings], stdout=output, stderr=output)
        try:
            _wait(process, port, log)
            yield Redis(port, process.pid, version)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.sendall(b"PING\r\n")
            if sock.recv(16).startswith(b"+PONG"):
                return
        time.sleep(0.02)
    raise RuntimeError(f"redis-server did not start:\n{log.read_text(errors='replace')}")
