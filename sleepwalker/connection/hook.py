"""What makes connections for a manager."""

from __future__ import annotations

from typing import Any


class ConnectionHook:
    """Subclass it, and register an instance with `ConnectionManager.add_conn_hook`."""

    def connect(self, host: str, auth: Any) -> Any:
        """A connection to `host`, exactly as it was asked for, with `auth`; None if this hook does not know the host.

        Any object will do as a connection; a `Connection` brings policies and health along.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement connect(host, auth)")
