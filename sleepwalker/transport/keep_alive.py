"""What a server says of how long it keeps an idle socket: the Keep-Alive header of its answers."""

from __future__ import annotations

import functools
import http.client
import math

#: Seconds before the server's time is over in which a socket is not used: the server counts from when it sent its
#: answer, we from when it came, and the next request is on its way as long again. Both ways across the world take half
#: a second, and common servers count in whole seconds. What is sent as the server hangs up is lost.
MARGIN = 1.0
#: Characters of the value, and digits of a number in it, above which it is not looked at.
_LONGEST = 200
_MOST_DIGITS = 9


def kept_for(headers: http.client.HTTPMessage) -> float:
    """Seconds for which a socket may lie idle after an answer with these headers; infinity where they do not say so.

    0 or less: it is not to be used again.
    """
    values = headers.get_all("Keep-Alive")
    return math.inf if values is None else _parsed(",".join(values)[: _LONGEST + 1])


@functools.lru_cache(maxsize=256)  # some servers count down in it
def _parsed(value: str) -> float:
    """`timeout=5, max=100` (RFC 2068, section 19.7.1). What is not of this form says nothing."""
    seconds = math.inf
    if len(value) > _LONGEST:
        return seconds
    for part in value.split(","):
        name, _, text = part.partition("=")
        name, text = name.strip().lower(), text.strip()
        if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS):
            continue
        if name == "timeout":
            seconds = min(seconds, int(text) - min(MARGIN, int(text) / 2))
        elif name == "max" and int(text) == 0:  # servers count down to it; above, they say themselves which is the last
            seconds = 0.0
    return seconds
