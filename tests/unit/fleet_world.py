"""Workers of a fleet in virtual time: each has a record of the host and a client, and all share a store."""

from __future__ import annotations

from sleepwalker.events import Event, Level
from sleepwalker.fleet import Fleet
from sleepwalker.fleet.client import Client
from sleepwalker.fleet.store import Heard, Order, Overview, Said
from sleepwalker.hosts import HostTable
from sleepwalker.policy import Policy
from tests.fleet_model import Model
from tests.unit.virtual import VirtualClock, World

HOST = "https://h.test"


class ModelStore:
    """The store as its rules say it, without a file: the real ones are held to the same model."""

    shown = "the model"

    def __init__(self, model: Model, clock: VirtualClock) -> None:
        self._model, self._clock = model, clock
        self.syncs = self.asked = 0

    def version(self) -> tuple[str, int] | None:
        self.asked += 1
        return ("model", self._model.version) if self._model.workers else None

    def sync(self, said: Said) -> Heard:
        model, now = self._model, self._clock.wall()
        self.syncs += 1
        model.age(now)
        model.workers[said.worker] = now + said.ttl
        late = {host for host, view in said.views.items() if model.view(said.worker, host, view, now)}
        granted = []
        for host, seconds in said.looks.items():
            kept = model.hosts.get(host)
            if kept and kept.accusers() and now >= kept.look_at:
                granted.append(host)
                kept.look_at = now + seconds
        everything = said.store != "model" or said.since > model.version
        told = {
            host: kept.tally()
            for host, kept in model.hosts.items()
            if host in late or (kept.accusers() > 0 if everything else kept.changed > said.since)
        }
        return Heard(
            "model", model.version, now, len(model.workers), told, granted=tuple(granted), everything=everything
        )

    def order(self, name: str, order: Order) -> int:
        raise NotImplementedError

    def overview(self) -> Overview:
        raise NotImplementedError

    def leave(self, worker: str) -> None:
        self._model.remove(worker)

    def close(self) -> None:
        pass

    abandon = close


class FleetWorld(World):
    """A world whose processes are workers of one fleet, or each alone."""

    def __init__(
        self, seed: int, processes: int, policy: Policy | None = None, *, fleet: bool, interval: float = 1.0
    ) -> None:
        super().__init__(seed, policy, processes)
        self.tables = [HostTable(policy=self.policy, clock=self.clock) for _ in range(processes)]
        self.hosts = [table.host(HOST) for table in self.tables]
        self.events: list[tuple[float, int, Event]] = []
        """When, in which process."""
        self.clients: list[Client] = []
        self.model = Model()
        self.stores: list[ModelStore] = []
        if fleet:
            self._join(Fleet("file:///nowhere/h.fleet", interval=interval))

    def _join(self, fleet: Fleet) -> None:
        for process, table in enumerate(self.tables):

            def observe(event: Event, level: Level | None = None, /, *, process: int = process) -> None:
                self.observe(event)
                self.events.append((self.now, process, event))

            self.clients.append(Client(fleet, table, lambda name, order: (), observe))
            self.stores.append(ModelStore(self.model, self.clock))

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
