"""A real nginx: keep-alive, static JSON, compression, real error pages, TLS and client certificates."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sleepwalker import Connection

from .tls import TlsMaterial

#: The exact sizes of the files served, in bytes.
FILES = {"100b.json": 100, "10kb.json": 10_000, "1mb.json": 1_000_000}
#: A connection that last asked for something under /short/ is closed after so many seconds of idleness.
SHORT_KEEPALIVE = 0.1
STATUSES = (400, 401, 403, 404, 409, 429, 500, 501, 502, 503, 504)
_dice = random.SystemRandom()  # one that cannot be seeded

_CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    types {{ application/json json; }}
    default_type application/octet-stream;
    log_format lines '$connection $connection_requests $request_method $request_uri $status';
    access_log {dir}/access.log lines;
    keepalive_timeout 65; keepalive_requests 1000000; tcp_nodelay on;
    client_max_body_size 1m;
    gzip on; gzip_types application/json; gzip_min_length 1000;
    root {dir}/files;
    add_header X-Connection $connection always;
    add_header X-Client-Name $ssl_client_s_dn always;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate {server.cert}; ssl_certificate_key {server.key};
    server {{ listen 127.0.0.1:{ports[0]}; include {dir}/site.conf; }}
    server {{ listen 127.0.0.1:{ports[1]} ssl; include {dir}/site.conf; }}
    server {{
        listen 127.0.0.1:{ports[2]} ssl; include {dir}/site.conf;
        ssl_client_certificate {ca}; ssl_verify_client on;
    }}
    server {{
        listen 127.0.0.1:{ports[3]} ssl; include {dir}/site.conf;
        ssl_certificate {expired.cert}; ssl_certificate_key {expired.key};
    }}
    server {{
        listen 127.0.0.1:{ports[4]} ssl; include {dir}/site.conf;
        ssl_certificate {wrong_host.cert}; ssl_certificate_key {wrong_host.key};
    }}
}}
"""

_SITE = """
error_page 404 /errors/404.json;
location /errors/ {{ internal; }}
location /short/ {{ alias {dir}/files/; keepalive_timeout {short}ms; }}
location = /bad-gateway {{ proxy_pass http://127.0.0.1:1; }}
location = /moved {{ return 302 /100b.json; }}
location = /empty {{ return 204; }}
"""


@dataclass(frozen=True)
class Nginx:
    """A running nginx. All servers have the same site.

    Files: /100b.json, /10kb.json, /1mb.json, and the same under /short/ (`SHORT_KEEPALIVE`). Answers without a
    file: /status/<code> (`STATUSES`), /empty (204), /moved (302), /bad-gateway (a real 502), anything else (404,
    JSON). POST to a file is 405. Every answer has X-Connection, which tells whether a socket was reused.
    """

    http: str
    https: str
    """TLSv1.2 and 1.3 only."""
    mtls: str
    """Answers 400 to clients that show no certificate; X-Client-Name has the name of the one shown."""
    expired: str
    """With a certificate that ended in 2020."""
    wrong_host: str
    """With a certificate for another name."""
    ca: str
    """Path of the authority's certificate, for `verify=`."""
    cert: tuple[str, str]
    """Paths of a client's certificate and key, for `cert=`."""
    access_log: Path
    """A line per request: connection, number in it, method, URI, status."""


@contextlib.contextmanager
def run_nginx(folder: Path, tls: TlsMaterial, program: str | Path = "nginx") -> Iterator[Nginx]:
    """Run it in an empty folder. RuntimeError with its log if it does not come up."""
    _write_site(folder)
    process, ports = _start(folder, tls, program)
    http, https, mtls, expired, wrong_host = ports
    try:
        yield Nginx(
            http=f"http://127.0.0.1:{http}",
            https=f"https://127.0.0.1:{https}",
            mtls=f"https://127.0.0.1:{mtls}",
            expired=f"https://127.0.0.1:{expired}",
            wrong_host=f"https://127.0.0.1:{wrong_host}",
            ca=str(tls.ca),
            cert=(str(tls.client.cert), str(tls.client.key)),
            access_log=folder / "access.log",
        )
    finally:
        process.terminate()
        process.wait(60)


def _write_site(folder: Path) -> None:
    statuses = "".join(f"location = /status/{code} {{ return {code}; }}\n" for code in STATUSES)
    (folder / "site.conf").write_text(_SITE.format(dir=folder, short=int(SHORT_KEEPALIVE * 1000)) + statuses)
    (folder / "files" / "errors").mkdir(parents=True)
    (folder / "files" / "errors" / "404.json").write_text('{"error": "no such file"}')
    for name, size in FILES.items():
        frame = len(json.dumps({"name": name, "fill": ""}))
        (folder / "files" / name).write_text(json.dumps({"name": name, "fill": "x" * (size - frame)}))


def wait_until_closed(conn: Connection) -> None:
    """Wait until nginx, which has a clock of its own, has closed the one socket that the connection keeps."""
    if (until_closed := getattr(conn, "until_its_sockets_are_closed", None)) is not None:  # see tests/on_a_loop.py
        until_closed()
        return
    (pool,) = conn.conn.get_adapter(conn.origin.text)._pools.values()  # type: ignore[attr-defined]
    (kept,) = [idle.sock for idle in pool.pool._idle]
    assert select.select([kept], [], [], 20)[0], "nginx did not close it"


def _free_ports(count: int) -> list[int]:
    """Ports below those that the kernel hands out by itself, which another run of the tests could get before nginx.

    Its server would be taken for nginx, and would count the connection that checks whether nginx is up.
    """
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            sock, port = stack.enter_context(socket.socket()), _dice.randrange(20_000, 32_768)
            with contextlib.suppress(OSError):  # it is in use
                sock.bind(("127.0.0.1", port))
                ports.append(port)
    return ports


def _start(
    folder: Path, tls: TlsMaterial, program: str | Path, tries: int = 3
) -> tuple[subprocess.Popen[bytes], list[int]]:
    ports = _free_ports(5)
    # Started by root, nginx would serve as "nobody", who may not enter a test's temporary folder.
    user = "user root;" if os.geteuid() == 0 else ""
    parts = {"server": tls.server, "expired": tls.expired, "wrong_host": tls.wrong_host, "ca": tls.ca}
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(dir=folder, user=user, ports=ports, **parts))
    log = folder / "error.log"
    log.write_text("")
    with (folder / "stderr.log").open("wb") as output:
        process = subprocess.Popen(
            [program, "-p", folder, "-c", config, "-e", log], stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            for port in ports:
                socket.create_connection(("127.0.0.1", port), 1).close()
            return process, ports
        time.sleep(0.01)
    process.kill()
    process.wait()
    said = log.read_text() + (folder / "stderr.log").read_text()
    # nginx cannot choose free ports itself, so another program may be faster to take one.
    if "already in use" in said and tries > 1:
        return _start(folder, tls, program, tries - 1)
    raise RuntimeError(f"nginx did not start:\n{said}")
