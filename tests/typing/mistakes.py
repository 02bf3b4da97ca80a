"""Usual mistakes, one in each line that ends in `# mistake`: `test_checkers.py` counts which ones the checkers find.

It is never run, and is no example of anything. What a line does wrong is said before the mark.
"""

# ruff: noqa: I001
from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

import sleepwalker
import sleepwalker.connection
from sleepwalker import ANONYMOUS, BreakerPolicy, Connection, ConnectionHook, ConnectionManager, Policy, RetryPolicy
from sleepwalker.aio import AsyncConnection, AsyncConnectionManager
from sleepwalker import Conection  # a misspelt name  # mistake
from sleepwalker import TimeoutPolicy, TimoutPolicy  # likewise, beside a right one  # mistake
from sleepwalker.events import BreakerOpen, Event  # an event that has another name  # mistake
from sleepwalker.links import follow


# --- Names


def names(conn: Connection) -> None:
    sleepwalker.connection.ConectionManager()  # a misspelt name of a submodule  # mistake
    try:
        conn.get("/")
    except sleepwalker.HTTPNotfound:  # an exception by a wrong name  # mistake
        pass
    except sleepwalker.exceptions.CircuitOpen:  # likewise  # mistake
        pass
    except sleepwalker.HTTPError as error:
        print(error.status)  # it is error.http_code  # mistake
    except sleepwalker.CircuitOpenError as error:
        print(error.retry_in)  # it is error.retry_after  # mistake


# --- Arguments


def constructors(manager: ConnectionManager) -> None:
    Connection("https://host.com", timeout="5")  # a str for a number  # mistake
    Connection("https://host.com", polcy="batch")  # a misspelt keyword  # mistake
    Connection("https://host.com", ("user", "password"), policy=5)  # a number for a policy  # mistake
    Connection("https://host.com", auth=("user",))  # a password is missing  # mistake
    Connection("https://host.com", auth="token")  # a str is no way to log in  # mistake
    Connection("https://host.com", headers=["X-A: 1"])  # a list for a dict  # mistake
    Connection("https://host.com", verify=None)  # neither True nor False nor a path  # mistake
    Connection(Path("host.com"))  # a path for a URL  # mistake
    ConnectionManager("batch")  # the policy is keyword-only  # mistake
    ConnectionManager(max_connections="many")  # a str for a number  # mistake
    manager.isolate("https://host.com", "maintenance")  # the reason is keyword-only  # mistake
    manager.add("https://host.com", Connection("https://host.com"))  # auth was left out  # mistake


def calls(conn: Connection) -> None:
    conn.gett("/")  # a misspelt method  # mistake
    conn.get("/", timout=5)  # a misspelt option  # mistake
    conn.download("/", "file", cheksum="sha256:00")  # likewise  # mistake
    conn.get("/", stream="yes")  # a str for a bool  # mistake
    conn.post("/", jsn={"a": 1})  # a misspelt option  # mistake
    conn.get("/", total=(1, 2))  # a pair for a number  # mistake
    conn.get("/", retry_if=503)  # a number for a function  # mistake


# --- Results


def results(conn: Connection, manager: ConnectionManager) -> None:
    response = conn.get("/")
    print(response.attemps)  # a misspelt attribute  # mistake
    print(response.attempts[0].seconds)  # it is `duration`  # mistake
    response.attempts[0].duration = 0.0  # attempts are frozen  # mistake
    print(conn.health.stat)  # it is `state`  # mistake
    print(conn.health.state == "heathy")  # a state that there is not  # mistake
    print(manager.health("https://host.com").latency.p999)  # a percentile that there is not  # mistake
    print(manager.health().state)  # a dict of hosts, not one of them  # mistake
    print(manager.find("https://host.com", ANONYMOUS).json("/"))  # a method that a connection does not have  # mistake
    wrong: requests.Session = manager.find("https://host.com")  # a Connection is no Session  # mistake
    print(wrong, follow(response, "next").attempt)  # a misspelt attribute  # mistake
    conn.health.calls = 0  # a snapshot is read-only  # mistake


# --- Policies


def policies(policy: Policy) -> None:
    policy.timeout.read = 5  # policies are frozen  # mistake
    Policy(timout=TimeoutPolicy())  # a misspelt part  # mistake
    TimeoutPolicy(reed=5)  # a field that there is not  # mistake
    Policy(timeout={"reed": 5})  # likewise, in a dict  # mistake
    RetryPolicy(attempts="3")  # a str for a number  # mistake
    RetryPolicy(jitter="fulll")  # a word that there is not  # mistake
    BreakerPolicy(mode="observing")  # likewise  # mistake
    print(policy.retry.attempts)  # None where retries are off  # mistake
    policy.replace(retrys=False)  # a misspelt part  # mistake


# --- Hooks and observers


class WithoutConnect(ConnectionHook):
    pass


class WithoutAuth(ConnectionHook):
    def connect(self, host: str) -> Connection:  # `auth` is missing  # mistake
        return Connection(host)


class NoHook:
    def conect(self, host: str, auth: Any) -> Connection:
        return Connection(host, auth)


class OfTexts(ConnectionHook):
    def connect(self, host: str, auth: Any) -> str:
        return host


def hooks_and_observers(manager: ConnectionManager) -> None:
    manager.add_conn_hook(WithoutConnect())  # it has no connect of its own  # mistake
    manager.add_conn_hook(NoHook())  # connect is misspelt  # mistake
    manager.add_conn_hook(WithoutAuth)  # the class for an object of it  # mistake
    manager.add_conn_hook(OfTexts())  # it connects to nothing  # mistake
    ConnectionManager(observer="events.jsonl")  # an observer that cannot be called  # mistake
    ConnectionManager(observer=takes_text)  # an observer of something else  # mistake
    print(Conection, TimoutPolicy, BreakerOpen)


def takes_text(event: str) -> None:
    print(event)


def takes_one(event: Event) -> None:
    print(event.nam)  # a misspelt attribute  # mistake
    event.host = ""  # events are frozen  # mistake


# --- asyncio


async def awaits(conn: AsyncConnection, manager: AsyncConnectionManager) -> None:
    conn.get("/").json()  # `await` is missing  # mistake
    manager.find("https://host.com").get("/")  # likewise  # mistake
    await conn.get("/", stream=True)  # there it is `conn.stream`  # mistake
    print(conn.download("/big", "big").size)  # `await` is missing  # mistake
    with conn.stream("GET", "/") as response:  # it is `async with`  # mistake
        print(response)
    async with conn.stream("GET", "/") as stream:
        for piece in stream.aiter_bytes():  # it is `async for`  # mistake
            print(piece)
    AsyncConnection("https://host.com", session=requests.Session())  # a session of aiohttp is wanted  # mistake
    await manager.isolate("https://host.com")  # it waits for nothing  # mistake
