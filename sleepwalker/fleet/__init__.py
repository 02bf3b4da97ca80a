"""Fleets: workers of a service share what they find out about hosts, within a moment.

`ConnectionManager(fleet="file:///run/billing.fleet")` joins the workers of one machine, `"redis://host:6379/0"` those
of many machines. A `Fleet` object also sets the service, the quorum and the reporting interval.
"""

from sleepwalker.engine import Fellows
from sleepwalker.fleet.options import Fleet
from sleepwalker.hosts.fleet import FleetHealth

__all__ = ["Fellows", "Fleet", "FleetHealth"]
