"""The clients, each written as its own documentation suggests, with settings as alike as they allow.

Each function gets the URL to ask and a file for its log, and returns what makes one call: it returns the decoded
answer or raises. Three attempts where there are any; about 0.1 s and 0.2 s between them, at random; 3.05 s to connect
and 10 s between two bytes; a breaker opens on 5 failures in a row and looks again after 5 s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import elastic_transport
import httpx
import httpx_retries
import interlock
import pybreaker
import requests
import stamina
import structlog
import tenacity
from interlock.integrations.requests import CircuitBreakerAdapter
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

import sleepwalker

Call = Callable[[], object]
Client = Callable[[str, Path], Call]

ATTEMPTS = 3
WAIT, WAIT_MAX = 0.1, 5.0
CONNECT, READ, TOTAL = 3.05, 10.0, 30.0
STATUSES = (408, 429, 502, 503, 504)
FAILURES, OPEN_FOR = 5, 5.0
PATIENT, PATIENT_WAIT, PATIENT_MAX, PATIENT_TOTAL = 8, 1.0, 60.0, 900.0
POOL = 32
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=POOL)


def bare_requests(url: str, log: Path) -> Call:
    """`Session.get` with a timeout."""
    return _through(HTTPAdapter(pool_maxsize=POOL), url)


def urllib3_retry(url: str, log: Path) -> Call:
    """`Retry` in the session's adapter. urllib3 makes the first retry at once, without any wait."""
    return _through(HTTPAdapter(pool_maxsize=POOL, max_retries=_retry()), url)


def patient_urllib3_retry(url: str, log: Path) -> Call:
    """The same with the attempts and waits of the `batch` policy: eight attempts, waits of up to a minute."""
    retry = _retry(total=PATIENT - 1, backoff_factor=PATIENT_WAIT, backoff_jitter=PATIENT_WAIT, backoff_max=PATIENT_MAX)
    return _through(HTTPAdapter(pool_maxsize=POOL, max_retries=retry), url)


def interlock_around_retry(url: str, log: Path) -> Call:
    """interlock-cb's adapter with such a `Retry` inside: its breaker judges calls, and opens where half of them fail.

    That is of its last hundred, and of at least ten.
    """
    config = interlock.Config(wait_duration_in_open=OPEN_FOR)
    return _through(CircuitBreakerAdapter(config=config, pool_maxsize=POOL, max_retries=_retry()), url)


def tenacity_pybreaker(url: str, log: Path) -> Call:
    """tenacity around pybreaker around requests, each call and each change of the breaker logged by structlog.

    What the breaker refuses is not retried.
    """
    _structlog_to(log)
    logger = structlog.get_logger()

    class Watch(pybreaker.CircuitBreakerListener):
        def state_change(
            self,
            cb: pybreaker.CircuitBreaker,
            old_state: pybreaker.CircuitBreakerState | None,
            new_state: pybreaker.CircuitBreakerState,
        ) -> None:
            logger.warning("breaker", state=new_state.name)

    breaker = pybreaker.CircuitBreaker(fail_max=FAILURES, reset_timeout=OPEN_FOR, listeners=[Watch()])
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=POOL))

    @tenacity.retry(
        stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(TOTAL),
        wait=tenacity.wait_random_exponential(multiplier=WAIT, max=WAIT_MAX),
        retry=tenacity.retry_if_exception_type(requests.RequestException),
        reraise=True,
    )
    @breaker
    def get() -> object:
        response = session.get(url, timeout=(CONNECT, READ))
        response.raise_for_status()
        return response.json()

    def call() -> object:
        try:
            answer = get()
        except Exception as error:
            logger.error("request failed", url=url, error=type(error).__name__)
            raise
        logger.info("request finished", url=url)
        return answer

    return call


def bare_httpx(url: str, log: Path) -> Call:
    """`Client.get`, without httpx's limit of 100 connections, since the others have none."""
    client = httpx.Client(timeout=httpx.Timeout(READ, connect=CONNECT), limits=LIMITS)

    def call() -> object:
        return client.get(url).raise_for_status().json()

    return call


def httpx_stamina(url: str, log: Path) -> Call:
    """stamina's decorator around httpx; it logs retries through structlog by itself."""
    return _stamina(url, log, ATTEMPTS, TOTAL, WAIT, WAIT_MAX)


def patient_stamina(url: str, log: Path) -> Call:
    """The same with the attempts and waits of the `batch` policy: eight attempts, waits of up to a minute."""
    return _stamina(url, log, PATIENT, PATIENT_TOTAL, PATIENT_WAIT, PATIENT_MAX)


def httpx_and_retries(url: str, log: Path) -> Call:
    """httpx-retries' transport inside httpx."""
    retry = httpx_retries.Retry(
        total=ATTEMPTS - 1, backoff_factor=WAIT, max_backoff_wait=WAIT_MAX, status_forcelist=STATUSES
    )
    transport = httpx_retries.RetryTransport(httpx.HTTPTransport(limits=LIMITS), retry=retry)
    client = httpx.Client(timeout=httpx.Timeout(READ, connect=CONNECT), transport=transport)

    def call() -> object:
        return client.get(url).raise_for_status().json()

    return call


def elastic(url: str, log: Path) -> Call:
    """elastic-transport with one node. It knows one timeout only, and callers wait for one of its 32 connections."""
    parts = urlsplit(url)
    node = elastic_transport.NodeConfig(
        "http", parts.hostname or "", parts.port or 80, connections_per_node=POOL, request_timeout=READ
    )
    transport = elastic_transport.Transport(
        [node],
        max_retries=ATTEMPTS - 1,
        retry_on_status=STATUSES,
        retry_on_timeout=True,
        retry_backoff_base=WAIT,
        retry_backoff_cap=WAIT_MAX,
    )

    def call() -> object:
        meta, body = transport.perform_request("GET", parts.path)
        if not 200 <= meta.status < 300:
            raise _StatusError(meta.status)
        return body

    return call


def standard(url: str, log: Path) -> Call:
    """A `Connection` under the `standard` policy, its events written to a file."""
    return _sleepwalker(url, log, sleepwalker.Policy())


def probing(url: str, log: Path) -> Call:
    """A `ConnectionManager` under `standard` with `health.probe`: probes in the background find when a host is back."""
    sleepwalker.logging.configure(log)
    parts = urlsplit(url)
    host = f"{parts.scheme}://{parts.netloc}"
    policy = sleepwalker.Policy(health=sleepwalker.HealthPolicy(probe="/health"))

    class Hook(sleepwalker.ConnectionHook):
        def connect(self, host: str, auth: Any) -> sleepwalker.Connection:
            return sleepwalker.Connection(host, auth)

    manager = sleepwalker.ConnectionManager(policy=policy)
    manager.add_conn_hook(Hook())

    def call() -> object:
        return manager.find(host, sleepwalker.ANONYMOUS).json_request("GET", parts.path)

    return call


def looking_often(url: str, log: Path) -> Call:
    """`standard` with `open_max=2`: it tries a host that is down every 2 s, however long the outage lasts."""
    return _sleepwalker(url, log, sleepwalker.Policy(breaker=sleepwalker.BreakerPolicy(open_max=2)))


def without_breaker(url: str, log: Path) -> Call:
    """`standard` with `breaker=False`, to show what the retry budget alone does."""
    return _sleepwalker(url, log, sleepwalker.Policy(breaker=False))


def hedging(url: str, log: Path) -> Call:
    """`standard`, and a call that is slower than 95 of 100 is sent a second time."""
    return _sleepwalker(url, log, sleepwalker.Policy(hedge=sleepwalker.HedgePolicy(percentile=95)))


def watching_slow_calls(url: str, log: Path) -> Call:
    """`standard` with `slow_ratio=0.5, slow_call=1`: the circuit also opens when half of the calls take over 1 s."""
    breaker = sleepwalker.BreakerPolicy(slow_ratio=0.5, slow_call=1)
    return _sleepwalker(url, log, sleepwalker.Policy(breaker=breaker))


def interactive(url: str, log: Path) -> Call:
    """A `Connection` under the `interactive` policy: 2 s for an attempt, two of them."""
    return _sleepwalker(url, log, sleepwalker.Policy.load("interactive"))


def batch(url: str, log: Path) -> Call:
    """A `Connection` under the `batch` policy, which all workers share."""
    return _sleepwalker(url, log, sleepwalker.Policy.load("batch"))


CLIENTS: Mapping[str, Client] = {
    "requests": bare_requests,
    "requests + urllib3.Retry": urllib3_retry,
    "requests + urllib3.Retry, patient": patient_urllib3_retry,
    "requests + urllib3.Retry + interlock-cb": interlock_around_retry,
    "requests + tenacity + pybreaker": tenacity_pybreaker,
    "httpx": bare_httpx,
    "httpx + stamina": httpx_stamina,
    "httpx + stamina, patient": patient_stamina,
    "httpx-retries": httpx_and_retries,
    "elastic-transport": elastic,
    "sleepwalker": standard,
    "sleepwalker, probing": probing,
    "sleepwalker, open_max=2": looking_often,
    "sleepwalker, without its breaker": without_breaker,
    "sleepwalker, hedging": hedging,
    "sleepwalker, slow_call=1": watching_slow_calls,
    "sleepwalker, interactive": interactive,
    "sleepwalker, batch": batch,
}


class _StatusError(Exception):
    """An answer that is no success, from a client that leaves it to its user to look."""

    def __init__(self, status_code: int) -> None:
        super().__init__(f"the server answered {status_code}")
        self.status_code = status_code

    @property
    def response(self) -> _StatusError:
        return self


def _retry(
    total: int = ATTEMPTS - 1,
    backoff_factor: float = WAIT,
    backoff_jitter: float = WAIT,
    backoff_max: float = WAIT_MAX,
) -> Retry:
    return Retry(
        total=total,
        backoff_factor=backoff_factor,
        backoff_jitter=backoff_jitter,
        backoff_max=backoff_max,
        status_forcelist=STATUSES,
    )


def _through(adapter: HTTPAdapter, url: str) -> Call:
    session = requests.Session()
    session.mount("http://", adapter)

    def call() -> object:
        response = session.get(url, timeout=(CONNECT, READ))
        response.raise_for_status()
        return response.json()

    return call


def _stamina(url: str, log: Path, attempts: int, total: float, wait: float, longest: float) -> Call:
    _structlog_to(log)
    client = httpx.Client(timeout=httpx.Timeout(READ, connect=CONNECT), limits=LIMITS)

    @stamina.retry(
        on=httpx.HTTPError, attempts=attempts, timeout=total, wait_initial=wait, wait_max=longest, wait_jitter=wait
    )
    def call() -> object:
        return client.get(url).raise_for_status().json()

    return call


def _sleepwalker(url: str, log: Path, policy: sleepwalker.Policy) -> Call:
    sleepwalker.logging.configure(log)
    parts = urlsplit(url)
    connection = sleepwalker.Connection(f"{parts.scheme}://{parts.netloc}", auth=sleepwalker.ANONYMOUS, policy=policy)

    def call() -> object:
        return connection.json_request("GET", parts.path)

    return call


def _structlog_to(log: Path) -> None:
    """JSON lines into the file, at the same level as sleepwalker writes its own."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(log.open("a", encoding="utf-8")),
        cache_logger_on_first_use=True,
    )
