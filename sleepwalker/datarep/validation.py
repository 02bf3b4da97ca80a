"""Whether requests and responses are checked against the schema: set by the service, its manager, or globally."""

from __future__ import annotations

import sys
from typing import Any, Literal


def validates(service: Any, what: Literal["request", "response"]) -> bool:
    """Whether `what` is validated for this service now.

    The first value that is True or False counts: `validate_request` (or `validate_response`) of the service, that of
    its manager, `VALIDATE_REQUEST` (or `VALIDATE_RESPONSE`) of `sleepwalker.datarep`.
    """
    for owner in (service, getattr(service, "service_manager", None)):
        own = getattr(owner, f"validate_{what}", None)
        if isinstance(own, bool):
            return own
    # Looked up by name at each call: the package imports this module, and users assign to its globals.
    return bool(getattr(sys.modules[__package__], f"VALIDATE_{what.upper()}"))
