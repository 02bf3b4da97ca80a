"""The store of a fleet on several machines: Redis or Valkey, alone, behind Sentinel or as a cluster."""

from sleepwalker.fleet.redis.store import RedisStore

__all__ = ["RedisStore"]
