"""Policies for clients that other code owns, such as an SDK's session.

Mount a `RequestsAdapter` on a `requests.Session`. For clients of httpx2 and httpx, use the transports in
`sleepwalker.adapters.httpx2` and `sleepwalker.adapters.httpx`, which need these libraries.
"""

from sleepwalker.adapters.places import Idempotent
from sleepwalker.adapters.requests import RequestsAdapter

__all__ = ["Idempotent", "RequestsAdapter"]
