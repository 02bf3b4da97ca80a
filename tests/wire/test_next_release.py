"""The next release of requests or urllib3 costs speed at most: never a response, never the import.

Each release is one that is there, its source changed as it is loaded, in a process of its own. Renamed is what the
libraries keep to themselves, everywhere they use it: they work on, and who named it is out of date.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.ranges import some

PROGRAM = """
import importlib.abc, importlib.machinery, json, logging, re, socket, sys, threading

CHANGES = json.loads(sys.argv[1])


class Changing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


class Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, name):
        source = self.get_source(name)
        for pattern, text in CHANGES[name]:
            source, count = re.subn(pattern, text, source)
            assert count, f"{name} has no {pattern}"
        return compile(source, self.path, "exec")


sys.meta_path.insert(0, Changing())

REPLIES = {
    "/plain": b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 8\\r\\n\\r\\n{"a": 1}',
    "/chunked": b"HTTP/1.1 200 OK\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\n\\r\\n",
    "/cookies": b"HTTP/1.1 200 OK\\r\\nContent-Length: 5\\r\\nSet-Cookie: a=1\\r\\nSet-Cookie: b=2\\r\\n\\r\\nhello",
    "/missing": b"HTTP/1.1 404 Not Found\\r\\nContent-Length: 4\\r\\n\\r\\ngone",
    "/moved": b"HTTP/1.1 302 Found\\r\\nLocation: /plain\\r\\nContent-Length: 3\\r\\n\\r\\nout",
}


def serve(sock):
    unread = b""
    while True:
        while b"\\r\\n\\r\\n" not in unread:
            if not (data := sock.recv(65536)):
                return
            unread += data
        head, _, unread = unread.partition(b"\\r\\n\\r\\n")
        if length := re.search(rb"(?i)content-length: (\\d+)", head):
            while len(unread) < int(length[1]):
                unread += sock.recv(65536)
            unread = unread[int(length[1]):]
        sock.sendall(REPLIES[head.split()[1].partition(b"?")[0].decode()])


def accept():
    while True:
        threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


server = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, daemon=True).start()

told = []


class Handler(logging.Handler):
    def emit(self, record):
        told.append(record.getMessage())


logging.getLogger("sleepwalker").addHandler(Handler())

from sleepwalker import ANONYMOUS, Connection
from sleepwalker.transport.blocking import fast_path

found = []
with Connection(f"http://127.0.0.1:{server.getsockname()[1]}", ANONYMOUS) as conn:
    for _ in range(2):
        found.append([conn.get("/plain", params={"q": "1"}) for _ in range(3)])
        found[-1] += [conn.get(uri) for uri in ("/chunked", "/cookies", "/cookies", "/moved")]
        found[-1] += [conn.post("/plain", data=b"body"), conn.get("/missing", raise_for_status=False)]
        streamed = conn.get("/chunked", stream=True)
        assert b"".join(streamed.iter_content(3)) == b"hello"
        assert conn.json_request("GET", "/plain") == {"a": 1}
first, second = found[1][1:3]
shared = [
    name
    for one, other in ((first, second), (first.request, second.request), (first.raw, second.raw))
    for name in NEW
    if name in vars(one) and vars(one)[name] is vars(other)[name]
]
print(json.dumps({
    "contents": [[response.content.decode() for response in responses] for responses in found],
    "statuses": sorted({response.status_code for responses in found for response in responses}),
    "cookies": [found[1][4].cookies.get_dict(), found[1][0].cookies.get_dict()],
    "headers": [dict(found[1][0].headers), found[1][0].headers.get("content-LENGTH")],
    "told": [line for line in told if "transport." in line],
    "fast": fast_path.proven,
    "shared": shared,
}))
"""

POOL, RAW, CONNECTION = "urllib3.connectionpool", "urllib3.response", "urllib3.connection"
MODELS, COOKIES, STRUCTURES = "requests.models", "requests.cookies", "requests.structures"
NEW = ("novelty",)


Change = dict[str, list[tuple[str, str]]]


def renamed(name: str, *modules: str) -> Change:
    return {module: [(rf"\b{name}\b", f"_a_better{name}")] for module in modules}


def added(module: str, owner: str) -> Change:
    """One more attribute of each new object of a class, at the beginning of its `__init__`."""
    beginning = rf"(?s)(\nclass {owner}\b.*?\n    def __init__\(.*?\) *(?:-> None)?:\n)"
    return {module: [(beginning, r"\1        self.novelty = []\n")]}


def together(*changes: Change) -> Change:
    return {module: [step for change in changes for step in change.get(module, ())] for module in set().union(*changes)}


#: What changes, and whether the fast path still gives what the ordinary path gives.
RELEASES: dict[str, tuple[Change, bool]] = {
    "a pool's way to connections and back is renamed": (
        together(renamed("_get_conn", POOL), renamed("_put_conn", POOL, RAW), renamed("_new_conn", POOL)),
        False,
    ),
    "a pool's making of requests is renamed": (renamed("_make_request", POOL), False),
    "a connection's parts are renamed": (
        together(renamed("_new_conn", CONNECTION), renamed("_dns_host", CONNECTION)),
        True,
    ),
    "a response's parts are renamed": (
        together(
            renamed("BytesQueueBuffer", RAW),
            renamed("_original_response", RAW, COOKIES),
            renamed("_connection", RAW, POOL),
        ),
        True,
    ),
    "where requests keeps headers, bodies and cookies is renamed": (
        together(
            renamed("_store", STRUCTURES),
            renamed("_content", MODELS),
            renamed("_cookies", MODELS, "requests.sessions", "requests.auth"),
        ),
        False,
    ),
    "whether a body was read is renamed": (renamed("_content_consumed", MODELS), True),
    "objects have one more attribute": (
        together(
            added(RAW, "HTTPResponse"),
            added(MODELS, "Response"),
            added(MODELS, "PreparedRequest"),
        ),
        True,
    ),
    "headers have one more attribute": (added(STRUCTURES, "CaseInsensitiveDict"), False),
    "urllib3 puts one more attribute on a response": (
        {CONNECTION: [(r"(?m)^(        return response\n)", r"        response.informational = [103]\n\1")]},
        False,
    ),
    "a response takes one argument less": (
        {
            RAW: [(r"version_string: str = .*\n", ""), ("version_string=version_string", 'version_string=""')],
            CONNECTION: [(r"version_string=.*\n", "")],
        },
        False,
    ),
    "requests passes one more option": (
        {
            "requests.adapters": [("chunked=chunked,", "chunked=chunked, option=None,")],
            POOL: [("chunked: bool = False,", "chunked: bool = False, option: object = None,")],
        },
        False,
    ),
}


@pytest.mark.parametrize("release", some([*RELEASES][::3], [*RELEASES], with_each=True))
def test_a_release_costs_speed_at_most(release: str) -> None:
    changes, fast = RELEASES[release]
    command = [sys.executable, "-c", f"NEW = {NEW}\n{PROGRAM}", json.dumps(changes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    whole = '{"a": 1}'
    assert found["contents"] == [[whole] * 3 + ["hello"] * 3 + [whole, whole, "gone"]] * 2
    assert found["statuses"] == [200, 404]
    assert found["cookies"] == [{"a": "1", "b": "2"}, {}]
    assert found["headers"] == [{"Content-Type": "application/json", "Content-Length": "8"}, "8"]
    assert found["shared"] == []
    assert (found["fast"], len(found["told"])) == (fast, 0 if fast else 1)
