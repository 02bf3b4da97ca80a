"""Workers that learn from each other: what some of them find out about a host, all know within a moment.

`ConnectionManager(fleet="file:///run/billing.fleet")` joins the workers of one machine, `"redis://host:6379/0"` those
of many. A `Fleet` says more: which service they belong to, how many make a verdict, and how often they report.
"""

from sleepwalker.engine import Fellows
from sleepwalker.fleet.options import Fleet
from sleepwalker.hosts.fleet import FleetHealth

__all__ = ["Fellows", "Fleet", "FleetHealth"]
