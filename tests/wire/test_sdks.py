"""SDKs from the package index, unchanged, through a server that fails 30 % of what it is asked, in four ways.

With an adapter every call is answered; without one, each fault is the caller's to see: that is the control. The SDKs'
own retries are off.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import httpx2
import hvac
import hvac.exceptions
import openai
import pytest
import requests
from servers import Exchange, FaultServer, Step, TlsMaterial, json_reply, reply, reset, stall, truncated

from sleepwalker import ConnectionManager, HostHealth, Policy
from sleepwalker.adapters import RequestsAdapter
from sleepwalker.adapters import httpx as adapters_for_httpx
from sleepwalker.adapters import httpx2 as adapters_for_httpx2
from sleepwalker.hosts import HostTable
from tests.docs_page import blocks

#: What is tried is the SDKs; the adapters' own tests run with each interpreter.
pytestmark = [pytest.mark.once, pytest.mark.long]

CALLS = 40
SHARE = 0.3
#: As the shipped `standard`, but that a test does not wait as long for a server that is silent.
POLICY = Policy(
    timeout={"connect": 0.5, "read": 0.5, "attempt": 1, "total": 10},
    retry={"attempts": 6, "wait_initial": 0.01, "wait_max": 0.1},
)
#: What the SDKs give up after by themselves, in seconds.
PATIENCE = 0.5
KINDS = ("503", "reset", "truncated", "slow")


class Flaky:
    """A handler for a server: faults at random, the same ones each time, and else what the SDK expects."""

    def __init__(self, answer: Callable[[Exchange], Step], body: bytes) -> None:
        self._answer = answer
        self._body = body
        self._dice = random.Random(7)
        self._lock = threading.Lock()
        self.came: Counter[str] = Counter()

    def __call__(self, exchange: Exchange) -> Step:
        with self._lock:
            kind = self._dice.choice(KINDS) if self._dice.random() < SHARE else "ok"
            self.came[kind] += 1
        if kind == "503":
            return reply(503, b"down")
        if kind == "reset":
            return reset()
        if kind == "truncated":
            return truncated(self._body, len(self._body) // 2, headers=[("Content-Type", "application/json")])
        return stall() if kind == "slow" else self._answer(exchange)

    @property
    def faults(self) -> int:
        return sum(self.came[kind] for kind in KINDS)


def counted(call: Callable[[int], bool]) -> Counter[str]:
    """How the calls came out: answered, wrong, or the name of an error."""
    outcomes: Counter[str] = Counter()
    for number in range(CALLS):
        try:
            outcomes["answered" if call(number) else "wrong"] += 1
        except Exception as error:
            outcomes[type(error).__name__] += 1
    return outcomes


def check(outcomes: Counter[str], flaky: Flaky, health: HostHealth | None) -> None:
    """With an adapter all are answered, and what failed below is on record; without one each fault shows."""
    assert all(flaky.came[kind] for kind in KINDS), flaky.came
    if health is None:
        assert sum(flaky.came.values()) == CALLS
        assert outcomes["answered"] == CALLS - flaky.faults
        assert outcomes["wrong"] == 0
        return
    assert outcomes == {"answered": CALLS}
    # On a busy machine one more attempt may run out of time before the server has seen it.
    assert 0 <= health.failures - flaky.faults <= 1
    assert (health.calls, health.attempts) == (CALLS, CALLS + health.failures)
    assert (health.in_flight, health.breaker) == (0, "closed")


# -- hvac, built on requests


SECRET = {"data": {"data": {"password": "correct horse"}, "metadata": {"version": 3}}}


@pytest.fixture
def vault() -> Iterator[tuple[FaultServer, Flaky]]:
    flaky = Flaky(lambda _: json_reply(SECRET), json.dumps(SECRET).encode())
    with FaultServer(default=flaky) as server:
        yield server, flaky


def hvac_call(client: hvac.Client, number: int) -> bool:
    kv = client.secrets.kv.v2
    if number % 2:
        written = kv.create_or_update_secret(path=f"app/{number}", secret={"password": "correct horse"})
        return bool(written == SECRET)
    return bool(kv.read_secret_version(path=f"app/{number}", raise_on_deleted_version=True) == SECRET)


@pytest.mark.parametrize("protected", [True, False])
def test_hvac(vault: tuple[FaultServer, Flaky], protected: bool) -> None:
    server, flaky = vault
    session = requests.Session()
    manager = ConnectionManager()
    if protected:  # a write to a key/value store may come twice
        session.mount("http://", RequestsAdapter(POLICY, hosts=manager.hosts, idempotent=True))
    with session:
        client = hvac.Client(url=server.url, token="canary-token", session=session, timeout=PATIENCE)
        outcomes = counted(lambda number: hvac_call(client, number))
    check(outcomes, flaky, manager.health(server.url) if protected else None)


# -- openai, built on httpx2; it takes a client of httpx as well


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Good night.", "refusal": None},
        }
    ],
}
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "created": 1, "owned_by": "us"}]}
QUESTION: Any = {"model": "m", "messages": [{"role": "user", "content": "Say good night."}]}


def _answer(exchange: Exchange) -> Step:
    assert exchange.request is not None
    if exchange.request.path.endswith("/models"):
        return json_reply(MODELS)
    assert json.loads(exchange.request.body)["messages"] == QUESTION["messages"]
    return json_reply(COMPLETION)


@pytest.fixture
def llm() -> Iterator[tuple[FaultServer, Flaky]]:
    flaky = Flaky(_answer, json.dumps(COMPLETION).encode())
    with FaultServer(default=flaky) as server:
        yield server, flaky


def _options(server: FaultServer) -> dict[str, Any]:
    return {"api_key": "canary-key", "base_url": f"{server.url}/v1", "max_retries": 0, "timeout": PATIENCE}


@pytest.mark.filterwarnings("ignore::DeprecationWarning:openai")  # openai's, of clients of httpx
@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
@pytest.mark.parametrize("protected", [True, False])
def test_openai(llm: tuple[FaultServer, Flaky], protected: bool, library: Any) -> None:
    server, flaky = llm
    hosts = HostTable()
    adapters: Any = adapters_for_httpx2 if library is httpx2 else adapters_for_httpx
    transport = adapters.Transport(POLICY, hosts=hosts, idempotent=True) if protected else None
    with library.Client(transport=transport, timeout=PATIENCE) as http_client:
        client = openai.OpenAI(http_client=http_client, **_options(server))

        def call(number: int) -> bool:
            if number % 2:
                return bool(client.models.list().data[0].id == "m")
            return client.chat.completions.create(**QUESTION).choices[0].message.content == "Good night."

        outcomes = counted(call)
    check(outcomes, flaky, hosts.health(server.url) if protected else None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:openai")
@pytest.mark.parametrize("library", [httpx2, httpx], ids=["httpx2", "httpx"])
@pytest.mark.parametrize("protected", [True, False])
def test_openai_in_asyncio(llm: tuple[FaultServer, Flaky], protected: bool, library: Any) -> None:
    server, flaky = llm
    hosts = HostTable()
    adapters: Any = adapters_for_httpx2 if library is httpx2 else adapters_for_httpx

    async def main() -> Counter[str]:
        outcomes: Counter[str] = Counter()
        transport = adapters.AsyncTransport(POLICY, hosts=hosts, idempotent=True) if protected else None
        async with library.AsyncClient(transport=transport, timeout=PATIENCE) as http_client:
            client = openai.AsyncOpenAI(http_client=http_client, **_options(server))
            for number in range(CALLS):
                try:
                    if number % 2:
                        right = (await client.models.list()).data[0].id == "m"
                    else:
                        completion = await client.chat.completions.create(**QUESTION)
                        right = completion.choices[0].message.content == "Good night."
                    outcomes["answered" if right else "wrong"] += 1
                except Exception as error:
                    outcomes[type(error).__name__] += 1
        return outcomes

    check(asyncio.run(main()), flaky, hosts.health(server.url) if protected else None)


def test_openai_streams_its_events_as_they_come(server: FaultServer) -> None:
    """The attempt ends with the head: the first event is there while the server still holds the second one back."""
    chunk: dict[str, Any] = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [{**chunk, "choices": [{"index": 0, "delta": {"content": word}}]} for word in ("Good ", "night.")]
    first_was_read = threading.Event()

    def stream(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        exchange.send(f"data: {json.dumps(events[0])}\n\n".encode())
        assert first_was_read.wait(10)
        exchange.send(f"data: {json.dumps(events[1])}\n\ndata: [DONE]\n\n".encode())
        exchange.keep = False

    server.script(reply(503), stream)
    transport = adapters_for_httpx2.Transport(POLICY, idempotent=True)
    with httpx2.Client(transport=transport) as http_client:
        client = openai.OpenAI(http_client=http_client, **_options(server) | {"timeout": 20})
        words = []
        for part in client.chat.completions.create(**QUESTION, stream=True):
            words.append(part.choices[0].delta.content)
            first_was_read.set()
    assert words == ["Good ", "night."]
    health = transport.hosts.health(server.url)
    assert (health.calls, health.attempts, health.failures) == (1, 2, 1)


def test_the_recipe_for_boto3_sends_an_upload_again_over_tls(tls: TlsMaterial, tls_server: FaultServer) -> None:
    """There botocore makes the body while it is sent, with a checksum at its end, and cannot tell where it is in it."""
    recipe: dict[str, Any] = {}
    for block in blocks(Path(__file__).parents[2] / "docs" / "recipes" / "sdks.md"):
        if "Cloud" in block.text:
            break
        exec(block.text, recipe)
    through = recipe["Through"]("standard")
    through.session.verify = str(tls.ca)
    s3 = recipe["client"](
        "s3", through, endpoint_url=tls_server.url, region_name="eu-central-1",
        aws_access_key_id="AKIA0000", aws_secret_access_key="secret",
    )  # fmt: skip
    tls_server.script(reply(503), reply(200))
    s3.put_object(Bucket="photos", Key="lamp", Body=b"a picture")
    first, second = tls_server.requests
    assert first.header("Content-Encoding") == "aws-chunked"
    assert first.body == second.body
    assert b"a picture" in first.body
