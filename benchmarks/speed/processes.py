"""What takes a process of its own to measure: the time to import, and the memory of connections."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

CORE = "import requests, tenacity, pybreaker, structlog, pydantic"
IMPORTS = {
    "nothing": "pass",
    "its four core libraries and pydantic": CORE,
    "the same, and one pydantic model made": f"{CORE}\nclass Model(pydantic.BaseModel): number: int = 1\nModel()",
    "sleepwalker": "import sleepwalker",
    "sleepwalker, and one connection made": "import sleepwalker; "
    "sleepwalker.Connection('https://example.net', sleepwalker.ANONYMOUS)",
    "requests": "import requests",
    "httpx": "import httpx",
}
#: One client per connection, as for hosts of their own, each after one request.
_CLIENTS = {
    "requests": "requests.Session()",
    "urllib3.PoolManager": "urllib3.PoolManager(ca_certs=ca)",
    "httpx": "httpx.Client(verify=ca or True)",
    "sleepwalker": "sleepwalker.Connection(url, sleepwalker.ANONYMOUS, verify=ca or True)",
}
_GET = {
    "requests": "client.get(url + path, verify=ca or True).content",
    "urllib3.PoolManager": "client.request('GET', url + path).data",
    "httpx": "client.get(url + path).content",
    "sleepwalker": "client.get(path).content",
}
_MEMORY = """\
import gc, sys, warnings
warnings.simplefilter("ignore")
import {module}
url, ca, count, path = sys.argv[1], sys.argv[2] or None, int(sys.argv[3]), "/100.json"
def make():
    client = {client}
    {get}
    return client
def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
kept = [make() for _ in range(5)]  # what is made once for all
before = resident()
kept += [make() for _ in range(count)]
print((resident() - before) / count)
"""


def import_times(rounds: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of wall and CPU time, one of each per round, by what is imported; Python's own start included."""
    found: dict[str, dict[str, list[float]]] = {name: {"wall": [], "cpu": []} for name in IMPORTS}
    for number in range(rounds):
        names = list(IMPORTS)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            wall, cpu = _time(IMPORTS[name])
            found[name]["wall"].append(wall)
            found[name]["cpu"].append(cpu)
    return found


def ratio_of_imports(found: dict[str, dict[str, list[float]]], name: str, reference: str, kind: str = "cpu") -> float:
    """The median, over the rounds, of how much longer one takes than the other, Python's own start left out."""
    start = found["nothing"][kind]
    mine, its = found[name][kind], found[reference][kind]
    return statistics.median((a - zero) / (b - zero) for a, b, zero in zip(mine, its, start, strict=True))


def memory(url: str, ca: str, count: int, times: int = 3) -> dict[str, float]:
    """Bytes of resident memory for each connection with an open socket, the median of so many processes."""
    found = {}
    for name, client in _CLIENTS.items():
        code = _MEMORY.format(module=name.partition(".")[0], client=client, get=_GET[name])
        command = [sys.executable, "-c", code, url, ca, str(count)]
        runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(times)]
        found[name] = statistics.median(map(float, runs))
    return found


def _time(code: str) -> tuple[float, float]:
    begun = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    _, status, used = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"{code!r} failed")
    return (time.perf_counter() - begun) * 1e3, (used.ru_utime + used.ru_stime) * 1e3
