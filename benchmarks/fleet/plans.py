"""All that is measured: which settings, by section."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.fleet.setting import Kind, Setting

KINDS: tuple[Kind, ...] = ("503", "refuse", "hang")
RATES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
LENGTHS = (20.0, 60.0, 120.0)
WORKERS = (24, 4)

OUTAGES = [
    Setting(kind, rate, outage, workers)
    for kind in KINDS
    for workers in WORKERS
    for outage in LENGTHS
    for rate in RATES
]
#: The network of one or two workers is cut for so long, and the host is well.
CUT = [Setting("none", 2.0, 20.0, beside="cut", cut=cut) for cut in (1, 2)]
FROZEN = Setting("none", 5.0, 30.0, before=20.0, after=20.0, beside="frozen", sides=("alone", "redis"))
ISOLATED = Setting("none", 1.0, 21.0, before=4.0, after=2.0, beside="isolate", sides=("redis", "file"))

#: Workers that call 1,000 hosts each, by how many of those are broken.
HOSTS, BROKEN = 1000, (0, 10, 1000)
#: Simulated workers: how many, the hosts that are broken, and how many times slower they live than in earnest.
SIMULATED = ((24, 1000, 1.0), (400, 0, 1.0), (400, 10, 1.0), (400, 1000, 8.0))
#: Seconds for which a store is watched.
WATCHED = 8.0

#: Rounds and calls in each, of what a call costs.
ROUNDS, CALLS = 40, 500


def quick(setting: Setting) -> Setting:
    """The same in seconds: to see whether it runs."""
    outage = setting.outage if setting.beside == "isolate" else 6.0
    return replace(setting, workers=4, outage=outage, before=3.0, after=6.0, rate=max(setting.rate, 2.0))


def find(settings: list[Setting], name: str) -> Setting | None:
    """The one of that name."""
    return next((setting for setting in settings if setting.name == name), None)
