"""Where a mock stands in for aiohttp's session, as aioresponses does, its errors are told as a server's would be."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

import sleepwalker
from sleepwalker import ANONYMOUS, Policy
from sleepwalker.aio import AsyncConnection

AT_ONCE = Policy(retry={"wait_initial": 0})
KEY = ConnectionKey("host.test", 443, True, True, None, None, None)


@pytest.fixture
def raises(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Has the sessions of aiohttp raise this instead of asking a server."""

    def raise_it(error: Exception) -> None:
        async def mocked(*_: Any, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(aiohttp.ClientSession, "_request", mocked)

    return raise_it


async def _failed(method: str, **options: Any) -> sleepwalker.ConnectionError:
    async with AsyncConnection("https://host.test", ANONYMOUS, policy=AT_ONCE) as conn:
        with pytest.raises(sleepwalker.ConnectionError) as caught:
            await conn.request(method, "/", **options)
    return caught.value


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (aiohttp.ServerDisconnectedError(), sleepwalker.ReadError),
        (aiohttp.ClientConnectionError("Connection refused: GET /"), sleepwalker.ReadError),  # not mocked
        (ConnectionResetError(errno.ECONNRESET, "reset"), sleepwalker.ReadError),
        (TimeoutError("Connection timeout test"), sleepwalker.DeadlineExceeded),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_post_that_a_mock_breaks_off_is_not_sent_again(
    raises: Callable[[Exception], None], raised: Exception, expected: type[Exception]
) -> None:
    """It was taken for one that never left, so that a test saw three of them where a server sees one."""
    raises(raised)
    error = asyncio.run(_failed("POST", data=b"x"))
    assert type(error) is expected
    assert (len(error.attempts), error.never_sent) == (1, False)


def test_a_get_that_a_mock_breaks_off_is_sent_again(raises: Callable[[Exception], None]) -> None:
    raises(aiohttp.ServerDisconnectedError())
    assert len(asyncio.run(_failed("GET")).attempts) == 3


def test_a_mock_that_refuses_the_connection_has_received_nothing(raises: Callable[[Exception], None]) -> None:
    raises(aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "refused")))
    error = asyncio.run(_failed("POST", data=b"x"))
    assert type(error) is sleepwalker.ConnectError
    assert (len(error.attempts), error.never_sent) == (3, True)


def test_a_mock_that_hangs_has_received_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohttp.ClientSession, "_request", hangs)
    error = asyncio.run(_failed("POST", data=b"x", total=0.5))
    assert isinstance(error, sleepwalker.DeadlineExceeded)
    assert (error.phase, error.never_sent) == ("head", False)
