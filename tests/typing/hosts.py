"""How a table of hosts is used, for the type checker to read."""

from __future__ import annotations

from typing import assert_type

from sleepwalker import ConnectionManager, HostHealth, Policy
from sleepwalker.hosts import HostTable

hosts = HostTable(policy=Policy(), policies={"https://*.example.com": "batch"}, max_hosts=100)
manager = ConnectionManager(hosts=hosts, max_connections=10)
assert_type(manager.hosts, HostTable)
assert_type(hosts.health("https://api.example.com"), HostHealth)
assert_type(hosts.health(), dict[str, HostHealth])
assert_type(hosts.policy, Policy)
assert_type(len(hosts), int)
