"""A real nginx on loopback that serves small JSON files over connections that stay open."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: Debian keeps servers here, which is not on every user's PATH.
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")

# Idle and long-lived connections are never closed, and no line is written per request: the server must not be
# what is measured. Its own folders are inside the scratch folder, so that it needs no privilege.
_CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    default_type application/json;
    access_log off;
    keepalive_timeout 1h; keepalive_requests 1000000000; tcp_nodelay on;
    open_file_cache max=16 inactive=1h;
    server {{
        listen 0.0.0.0:{port}; {tls}
        location / {{ root {folder}/files; }}
        location = /status {{ stub_status; }}
    }}
}}
"""


_REQUEST = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
_REQUEST += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]


class MissingProgramError(Exception):
    """nginx or openssl is not on this machine."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running nginx."""

    url: str
    version: str
    """As it names itself: `nginx/1.22.1`."""
    tls_url: str = ""
    """The same files over TLS, where that was asked for."""
    ca: str = ""
    """The path of the certificate to trust there."""

    def connections(self) -> int:
        """How many connections it accepted so far, the one that asks now included."""
        host = self.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=10)) as connection:
            connection.request("GET", "/status", headers={"Connection": "close"})
            lines = connection.getresponse().read().decode("ascii").splitlines()
        return int(lines[2].split()[0])  # below the heading "server accepts handled requests"


def document(size: int) -> dict[str, object]:
    """A JSON object of records that is exactly `size` bytes (at least 80) as `json.dumps` writes it."""
    records: list[dict[str, object]] = []
    made: dict[str, object] = {"records": records, "pad": ""}
    left = size - len(json.dumps(made))
    while True:
        number = len(records)
        record = {"id": number, "name": f"host-{number}", "up": True, "load": 0.25}
        left -= len(json.dumps(record)) + (2 if records else 0)  # the comma and the space before it
        if left < 0:
            break
        records.append(record)
    made["pad"] = "x" * (size - len(json.dumps(made)))
    return made


@contextlib.contextmanager
def run_nginx(files: Mapping[str, dict[str, object]], *, tls: bool = False) -> Iterator[Server]:
    """Serve `files`, by name, out of a scratch folder; with `tls` also over TLS, which takes openssl.

    It answers at every address of 127.0.0.0/8, which makes it as many hosts as anybody wants.
    Raises `MissingProgramError` without nginx or openssl, and `RuntimeError` with what nginx said where it does not
    start.
    """
    program = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS]))
    if program is None:
        raise MissingProgramError("found no nginx; scripts/system-packages installs it where it may")
    said = subprocess.run([program, "-v"], capture_output=True, text=True, check=False).stderr
    with tempfile.TemporaryDirectory(prefix="sleepwalker-nginx-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        (folder / "files").mkdir()
        for file, content in files.items():
            (folder / "files" / file).write_text(json.dumps(content), encoding="ascii")
        ca = _certificate(folder) if tls else ""
        port, tls_port = _start(program, folder, running, ca)
        yield Server(f"http://127.0.0.1:{port}", said.rpartition(": ")[2].strip(), f"https://127.0.0.1:{tls_port}", ca)


def _certificate(folder: Path) -> str:
    """The path of a certificate for 127.0.0.1, its key beside it."""
    program = shutil.which("openssl")
    if program is None:
        raise MissingProgramError("found no openssl; scripts/system-packages installs it where it may")
    path = str(folder / "tls.pem")
    subprocess.run(
        [program, *_REQUEST, "-keyout", f"{path}.key", "-out", path],
        check=True,
        capture_output=True,
    )
    return path


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _start(program: str, folder: Path, running: contextlib.ExitStack, ca: str, tries: int = 3) -> tuple[int, int]:
    """The ports (plain, TLS) of an nginx that answers, and that ends with `running`."""
    port, tls_port = _free_ports()
    config, log = folder / "nginx.conf", folder / "error.log"
    tls = f"listen 0.0.0.0:{tls_port} ssl; ssl_certificate {ca}; ssl_certificate_key {ca}.key;" if ca else ""
    # Started by root, nginx would read the files as a user who may not enter the scratch folder.
    user = "user root;" if os.geteuid() == 0 else ""
    config.write_text(_CONFIG.format(user=user, folder=folder, port=port, tls=tls), encoding="utf-8")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(config), "-e", str(log)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    running.callback(_stop, process)  # at once, so that an interrupt of the wait below does not leave it running
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return port, tls_port
        time.sleep(0.01)
    _stop(process)
    said = log.read_text(encoding="utf-8", errors="replace")
    # nginx cannot choose a free port itself, so another program may be faster to take it.
    if "already in use" in said and tries > 1:
        return _start(program, folder, running, ca, tries - 1)
    raise RuntimeError(f"nginx did not start:\n{said}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
