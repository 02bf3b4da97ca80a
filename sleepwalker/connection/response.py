"""The type of the response that calls return: requests' own, with the attempts of its call. For type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests

from sleepwalker.attempt import Attempt

__all__ = ["Response"]

if TYPE_CHECKING:

    class Response(requests.Response):
        """What a call of a `Connection` returns: a `requests.Response` that knows what was tried for it.

        For annotations. At run time it is `requests.Response` itself, for a caching session and tests make responses of
        classes of their own.

        Example:
            ```python
            def waited(response: Response) -> float:
                return sum(attempt.wait for attempt in response.attempts)
            ```
        """

        attempts: tuple[Attempt, ...]
        """What was sent for this call, in order: number, start, duration, status or error, and the wait before it."""

else:
    Response = requests.Response
