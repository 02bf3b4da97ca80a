"""Everything that is shared for one host, or for a part of one."""

from sleepwalker.engine.host.host import Host

__all__ = ["Host"]
