"""Real servers with real faults, for the tests that use real sockets."""

from .dns import SlowName, slow_dns
from .fault import Exchange, FaultServer, Handler, Moment, Step
from .httpbin_server import run_httpbin
from .nginx_server import FILES, SHORT_KEEPALIVE, STATUSES, Nginx, run_nginx, wait_until_closed
from .ports import refused_port, unanswered_port
from .proxy import forward_proxy
from .ranged import CuttingProxy, RangedFile, open_below
from .redis_server import RedisServer, free_ports, run_redis
from .request import Request
from .steps import (
    at,
    cookies,
    drip,
    drip_body,
    drip_chunk_line,
    drip_handshake,
    drip_head,
    drip_header,
    endless_headers,
    endless_interim,
    garbage,
    gzip_bomb,
    hang_up,
    huge_body,
    json_reply,
    redirect,
    reply,
    reset,
    stall,
    truncated,
)
from .timing import Elapsed, TooLate, elapsed, in_time, timing_test
from .tls import Pair, TlsMaterial, make_tls

__all__ = [
    "FILES",
    "SHORT_KEEPALIVE",
    "STATUSES",
    "CuttingProxy",
    "Elapsed",
    "Exchange",
    "FaultServer",
    "Handler",
    "Moment",
    "Nginx",
    "Pair",
    "RangedFile",
    "RedisServer",
    "Request",
    "SlowName",
    "Step",
    "TlsMaterial",
    "TooLate",
    "at",
    "cookies",
    "drip",
    "drip_body",
    "drip_chunk_line",
    "drip_handshake",
    "drip_head",
    "drip_header",
    "elapsed",
    "endless_headers",
    "endless_interim",
    "forward_proxy",
    "free_ports",
    "garbage",
    "gzip_bomb",
    "hang_up",
    "huge_body",
    "in_time",
    "json_reply",
    "make_tls",
    "open_below",
    "redirect",
    "refused_port",
    "reply",
    "reset",
    "run_httpbin",
    "run_nginx",
    "run_redis",
    "slow_dns",
    "stall",
    "timing_test",
    "truncated",
    "unanswered_port",
    "wait_until_closed",
]
