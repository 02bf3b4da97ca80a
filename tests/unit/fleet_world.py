"""Workers of a fleet in virtual time: each has a record of the host and a client, and all share a store in a file."""

from __future__ import annotations

from pathlib import Path

from sleepwalker.events import Event, Level
from sleepwalker.fleet import Fleet
from sleepwalker.fleet.client import Client
from sleepwalker.fleet.local import FileStore
from sleepwalker.hosts import HostTable
from sleepwalker.policy import Policy
from tests.unit.virtual import World

HOST = "https://h.test"


class FleetWorld(World):
    """A world whose processes are workers of one fleet, or each alone."""

    def __init__(
        self, seed: int, processes: int, folder: Path | None, policy: Policy | None = None, *, interval: float = 1.0
    ) -> None:
        super().__init__(seed, policy, processes)
        self.tables = [HostTable(policy=self.policy, clock=self.clock) for _ in range(processes)]
        self.hosts = [table.host(HOST) for table in self.tables]
        self.events: list[tuple[float, int, Event]] = []
        """When, in which process."""
        self.clients: list[Client] = []
        self.stores: list[FileStore] = []
        if folder is not None:
            self._join(folder / "h.fleet", interval)

    def _join(self, path: Path, interval: float) -> None:
        fleet = Fleet(f"file://{path}", interval=interval)
        for process, table in enumerate(self.tables):

            def observe(event: Event, level: Level | None = None, /, *, process: int = process) -> None:
                self.observe(event)
                self.events.append((self.now, process, event))

            self.clients.append(Client(fleet, table, lambda name, order: (), observe))
            self.stores.append(FileStore(path, fleet.service, timeout=1, wall=self.clock.wall))

    def run_fleet(self, until: float) -> None:
        """Have the workers take their turns until then."""
        for process in range(len(self.clients)):
            self._turn(process, self.clock.random() * 0.25, until)

    def _turn(self, process: int, when: float, until: float) -> None:
        if when < until:

            def turn() -> None:
                pause = self.clients[process].turn(self.stores[process])
                self._turn(process, self.now + pause, until)

            self.at(when, turn)

    def close(self) -> None:
        """Close the stores."""
        for store in self.stores:
            store.close()
