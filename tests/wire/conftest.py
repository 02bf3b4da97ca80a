"""Fixtures of the wire tests: servers that run for a test or for the whole session."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

# The helpers must be importable whatever pytest's import mode is.
if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from browser import Browser
    from selenium.webdriver import Chrome
    from status_site import Site

from servers import (
    FaultServer,
    Nginx,
    RedisServer,
    TlsMaterial,
    forward_proxy,
    make_tls,
    run_httpbin,
    run_nginx,
    run_redis,
)

from tests.event_guard import events_are_what_the_catalogue_says

__all__ = ["events_are_what_the_catalogue_says"]


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is tried in a browser is tried once."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.once)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A scripted server of the test's own."""
    with FaultServer() as running:
        yield running


@pytest.fixture
def site() -> Iterator[Callable[[Any], Site]]:
    """`site(app)` is a running Site of the app."""
    from status_site import Site

    with contextlib.ExitStack() as stack:

        def run(app: Any) -> Site:
            running = Site(app)
            stack.callback(running.stop)
            return running

        yield run


@pytest.fixture
def proxy() -> Iterator[FaultServer]:
    """A forward proxy of the test's own that demands nothing."""
    with forward_proxy() as running:
        yield running


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], Path]) -> TlsMaterial:
    """Certificates made by openssl; a test that asks for them needs no mark of its own."""
    return make_tls(tmp_path_factory.mktemp("tls"), program("openssl"))


@pytest.fixture(scope="session")
def tls_server(tls: TlsMaterial) -> Iterator[FaultServer]:
    """Answers 200 over TLS with the good certificate; not for scripts, since the whole session shares it."""
    with FaultServer(tls=tls.server_context()) as running:
        yield running


@pytest.fixture(scope="session")
def httpbin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of an httpbin."""
    with run_httpbin(tmp_path_factory.mktemp("httpbin")) as url:
        yield url


@pytest.fixture(scope="session")
def nginx(
    tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], Path], request: pytest.FixtureRequest
) -> Iterator[Nginx]:
    """A running nginx; a test that asks for it needs no mark of its own."""
    path = program("nginx")  # before the certificates: where both programs are missing, both shall be named
    tls: TlsMaterial = request.getfixturevalue("tls")
    with run_nginx(tmp_path_factory.mktemp("nginx"), tls, path) as running:
        yield running


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], Path]) -> Iterator[RedisServer]:
    """A running Redis for all tests; a test that asks for it needs no mark of its own."""
    with run_redis(tmp_path_factory.mktemp("redis"), program("redis-server")) as running:
        yield running


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> RedisServer:
    """The Redis of all tests, which is empty."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory, program: Callable[[str], Path]) -> Iterator[Chrome]:
    """A running Chromium, for `browser` to open its tabs in."""
    chromium, driver = program("chromium"), program("chromedriver")
    from browser import run_chromium

    with run_chromium(chromium, driver, tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def browser(chromium: Chrome) -> Iterator[Browser]:
    """The tab of a real browser, as if it were new; a test that asks for it needs no mark of its own.

    A tab for each test would cost a process each: a third of a second of CPU.
    """
    from browser import Browser

    tab = Browser(chromium)
    tab.complaints()  # of the tests before
    yield tab
    tab.leave()
