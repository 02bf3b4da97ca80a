"""For how long a socket may be reused: by the server's Keep-Alive header, and by its age."""

from __future__ import annotations

import functools
import math

#: Seconds before the server's timeout in which a socket is not used: the server counts from when it sent its response,
#: we from when it arrived, and the next request needs time, too. A round trip around the world takes half a second, and
#: common servers count in whole seconds. A request sent while the server closes is lost.
MARGIN = 1.0
#: Share of `pool.max_age` by which the age limit of a socket varies, so that a fleet's do not all end at once.
AGE_JITTER = 0.1
#: Characters of the value, and digits of a number in it, above which it is ignored.
_LONGEST = 200
_MOST_DIGITS = 9


def keep_alive_seconds(values: list[str] | None) -> float:
    """Seconds for which a socket may be idle after a response with these Keep-Alive headers; infinity without any.

    0 or less: it must not be reused.
    """
    return math.inf if values is None else _parsed(",".join(values)[: _LONGEST + 1])


@functools.lru_cache(maxsize=256)  # some servers count it down
def _parsed(value: str) -> float:
    """Parse `timeout=5, max=100` (RFC 2068, section 19.7.1). Anything else is ignored."""
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
        elif name == "max" and int(text) == 0:  # the last response; before it `max` counts down
            seconds = 0.0
    return seconds
