"""Policies where calls already are: for clients that are not ours, such as an SDK's session.

`RequestsAdapter` is mounted on a `requests.Session`. `sleepwalker.adapters.httpx2` and `sleepwalker.adapters.httpx`,
which need these libraries, have transports for their clients.
"""

from sleepwalker.adapters.places import Idempotent
from sleepwalker.adapters.requests import RequestsAdapter

__all__ = ["Idempotent", "RequestsAdapter"]
