"""What one worker reports about hosts, and what it does with what it hears. Pure: no I/O, no thread, no clock.

The worker's times (`now`) are on its monotonic clock, those of a `Tally` on the store's. To compare them, one is
converted by the difference between the clocks at the last answer (`store_now`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from sleepwalker.engine import Standing
from sleepwalker.fleet.action import Action
from sleepwalker.fleet.known import RUN, Known, fails, joined, new_view
from sleepwalker.fleet.store import Heard, Said, View
from sleepwalker.fleet.verdicts import Quorum, Tally

#: The parts of an interval: a worker asks the store this often whether anything changed.
TICKS = 4
#: With more workers than this, each asks less often, so that a store can serve any number of them.
FULL_PACE = 80
#: With more than that, all together make this many syncs in an interval: in trouble, one costs some fifteen commands.
_SYNCS = 125
#: Hosts in one sync: all workers together report this many within a tick; the least and the most of one worker.
_HOSTS, _LEAST, _MOST = 6400, 16, 256
#: A worker counts as gone after this many sync intervals without a report.
_GONE = 5
#: All workers together probe a broken host once in this share of its outage so far, but at least and at most this many
#: intervals apart: so they notice the end of an outage hardly later than that.
_LOOK_AFTER, _SOONEST, _LATEST = 0.2, 0.4, 1.8
#: After a failed probe, calls are held back for at most this many intervals. A probe that hangs counts for ten.
_FRESH = 12.0
#: For this many intervals after an answered probe, no call is held back, whatever fails: a host that answers some
#: attempts is not down, and each worker judges by its own.
_ANSWERS = 10.0
#: A worker is held back for this many ticks at a time. If it hears nothing more, it goes on alone after that.
_HELD = 3.0
#: Upper limits in seconds, however long the interval: between two probes, of a hold, and of the times after a failed
#: and after an answered probe.
_LATEST_LOOK, _LONGEST_HOLD, _LONGEST_FRESH, _LONGEST_ANSWERS = 5.0, 5.0, 12.0, 30.0
#: Ticks after which all workers have heard of a host's trouble and reported on it.
_HEARING = 1.2
#: Seconds between two renewals of what a store keeps without a worker's end.
_RENEW = 3600.0
#: Seconds over which the rate of refused calls is averaged.
_REMEMBERED = 10.0
#: With fewer refused calls a second, the next call would come too late to probe.
_RARE = 0.01


@dataclass(slots=True)
class Worker:
    """One worker's part in the fleet.

    In each tick, `note` the state of hosts here. If a sync `is_due`, send the store what `says` returns, and pass its
    answer to `hears`. Then do what `decides` returns.
    """

    id: str
    label: str
    quorum: Quorum
    interval: float
    store: str | None = None
    version: int = -1
    """The store's version that was heard last."""
    workers: int = 1
    """How many workers there are, this one included, as of the last answer."""
    least: float = 0.0
    """The least seconds of a tick: more if a turn takes long here."""
    _hosts: dict[str, Known] = field(default_factory=dict)
    _news: dict[str, View] = field(default_factory=dict)
    """The reports to send."""
    _asks: dict[str, float] = field(default_factory=dict)
    """The hosts to probe, with the seconds until the next probe is allowed."""
    _telling: dict[str, View] = field(default_factory=dict)
    """The reports in the current sync."""
    _granted: list[str] = field(default_factory=list)
    _unseen: set[str] | None = None
    """While everything is heard again: the hosts that it has not covered yet."""
    _offset: float = 0.0
    """The store's clock minus the worker's, as of the last answer."""
    _synced_at: float = -math.inf
    _renewed_at: float = -math.inf
    _counts_until: float = math.inf
    """When this worker's reports expire, by the store's clock, without another sync."""
    _counted_at: float | None = None
    _more: bool = False

    # -- how often

    @property
    def tick(self) -> float:
        """Seconds between two checks of the store."""
        return max(self.interval / TICKS * max(1.0, self.workers / FULL_PACE), self.least)

    @property
    def _sync_every(self) -> float:
        """Seconds from one sync to the next, if there is nothing to report and nothing new to hear."""
        return max(self.interval, 2 * self.tick)

    @property
    def _ttl(self) -> float:
        """Seconds after which this worker counts as gone without another sync."""
        return _GONE * self._sync_every

    @property
    def _gap(self) -> float:
        """The least seconds from one sync to the next."""
        return 0.0 if self.workers <= FULL_PACE else self.interval * self.workers / _SYNCS

    def may_sync(self, now: float) -> bool:
        """Whether it is time for a sync, if there is anything to report or hear."""
        return now - self._synced_at >= self._gap

    def is_due(self, now: float) -> bool:
        """Whether to sync now, without checking for changes."""
        return bool(self._news or self._asks or self._more) or now - self._synced_at >= self._sync_every - self.tick / 2

    def renews(self, now: float) -> bool:
        """Whether this sync must renew the expiry of the store's data."""
        if now - self._renewed_at < _RENEW:
            return False
        self._renewed_at = now
        return True

    @property
    def held_for(self) -> float:
        """Seconds for which a worker is held back at a time."""
        return min(_HELD * self.tick, _LONGEST_HOLD)

    def is_news(self, version: tuple[str, int] | None) -> bool:
        """Whether the store has something that was not heard here yet."""
        return version != (self.store, self.version)

    # -- the state of hosts here

    @property
    def watched(self) -> Iterable[str]:
        """The hosts whose state is needed, in addition to those that are not healthy here."""
        return self._hosts

    def note(self, standings: Mapping[str, Standing], now: float, *, others: bool = True) -> None:
        """Note the state of hosts here, and compute what to report. With `others`, the rest have no record here."""
        passed = math.inf if self._counted_at is None else now - self._counted_at
        if passed < self.tick / 4:
            passed = 0.0  # it is the same tick
        else:
            self._counted_at = now
        if others:
            self._asks = {}
        for host, standing in standings.items():
            known = self._hosts.get(host)
            if known is None:
                if not (standing.broken or fails(standing)):
                    continue
                known = self._hosts[host] = Known(failed_looks=standing.failed_looks, refused=standing.demand)
            self._note(host, known, standing, now, passed)
        for host in [host for host in self._hosts if host not in standings] if others else ():
            self._note_gone(host, self._hosts[host])

    def _note(self, host: str, known: Known, standing: Standing, now: float, passed: float) -> None:
        if not known.here:
            known.here, known.word = True, False  # a decision from before the record existed is made again for it
        if known.bad_since is None and (standing.broken or known.word):
            known.bad_since, known.answered_at = now, standing.answered_at
        view = new_view(known, standing, self._offset)
        if view is not None:
            self._news[host] = joined(self._news.get(host), view)
            if view.failed:
                known.look_until = -math.inf  # the probe was used
        if known.word and passed > 0:
            self._ask(host, known, standing, now, passed)
        known.failed_looks, known.answered_at = standing.failed_looks, standing.answered_at
        if passed > 0:
            known.refused = standing.demand
        known.knows_better = standing.run < RUN and known.has_answered(standing, self._offset)
        if standing.healthy and not known.word:
            known.bad_since = None
            if known.said is None and not known.tally.accusers and host not in self._news:
                del self._hosts[host]

    def _note_gone(self, host: str, known: Known) -> None:
        """Note that this worker has no record of the host: it was forgotten, or never existed."""
        known.here = False
        if known.said is not None:
            self._news[host] = View(None, known.tally.round)
        elif not known.tally.accusers:
            del self._hosts[host]

    def _ask(self, host: str, known: Known, standing: Standing, now: float, passed: float) -> None:
        """Ask to probe a host, if calls come that would."""
        if standing.waiting:
            known.wanted = math.inf
        else:
            rate = (standing.demand - known.refused) / passed
            weight = passed / max(passed, min(now - (known.bad_since or now), _REMEMBERED))
            known.wanted = rate if known.wanted == math.inf else known.wanted + (rate - known.wanted) * weight
        if known.wanted < _RARE or now < known.look_until:
            return
        # A worker with rare calls may not probe in time. So the next worker may probe that much sooner, and the number
        # of probes of all together stays the same.
        used = 1 - math.exp(-min(known.wanted * self._look_for, 50.0))
        lasted = self.store_now(now) - known.tally.since
        every = min(max(_LOOK_AFTER * lasted, _SOONEST * self.interval), _LATEST * self.interval, _LATEST_LOOK)
        self._asks[host] = every * max(used, 0.05)

    @property
    def _look_for(self) -> float:
        """Seconds for which a worker may use a granted probe."""
        return 2 * self.interval

    # -- reports to the store, and its answers

    def says(self) -> Said:
        """What to report to the store now. The owner adds orders."""
        most = int(min(max(_HOSTS / self.workers, _LEAST), _MOST))
        # Workers that find a host broken report first, so that they are not outvoted before they are heard.
        first = sorted(self._news.items(), key=lambda item: item[1].opinion != "broken")[:most]
        self._telling = dict(first)
        return Said(
            worker=self.id,
            label=self.label,
            ttl=self._ttl,
            since=self.version,
            store=self.store,
            views=self._telling,
            looks=dict(list(self._asks.items())[:most]),
            most=most,
        )

    def hears(self, heard: Heard, now: float) -> None:
        """Process the store's answer to the last report."""
        if heard.everything:  # it is heard for the first time, was flushed, or went back to an older state
            self._anew()
        elif heard.now >= self._counts_until:  # it was away for so long that it counted as gone
            self._say_again()
        self._offset = heard.now - now
        self._counts_until = heard.now + self._ttl
        self._synced_at, self._more = now, heard.more
        self.store, self.version, self.workers = heard.store, heard.version, max(heard.workers, 1)
        self._granted += heard.granted
        for host, tally in heard.tallies.items():
            if self._unseen is not None:
                self._unseen.discard(host)
            self._hear(host, tally, now)
        for host, view in self._telling.items():
            known = self._hosts.get(host)
            if known is None:
                continue
            if view.back:
                known.returned = True  # even if the store knew that already
            elif view.round == known.tally.round:
                known.said = view.opinion
                known.trouble = (known.tally.round, known.tally.since)
        self._news = {host: view for host, view in self._news.items() if host not in self._telling}
        self._telling, self._asks = {}, {}
        if self._unseen is not None and not heard.more:
            for host in self._unseen:
                if (known := self._hosts.get(host)) is not None:
                    self._hear(host, Tally(0, 0, math.inf, math.inf, known.tally.round), now)
            self._unseen = None

    def _anew(self) -> None:
        """Report everything again, and hear everything again."""
        self._unseen = set(self._hosts)
        self._say_again()

    def _say_again(self) -> None:
        for known in self._hosts.values():
            known.said = None

    def _hear(self, host: str, tally: Tally, now: float) -> None:
        known = self._hosts.get(host)
        if known is None:
            if not tally.accusers:
                return
            known = self._hosts[host] = Known(tally)
        # Reports on an earlier round no longer count, and neither does `fine` about an earlier trouble.
        outdated = known.said == "fine" and tally.since != known.trouble[1]
        if tally.round != known.trouble[0] or not tally.accusers or outdated:
            known.said = None
        known.returned = known.returned or (known.word and tally.round != known.tally.round)
        if (tally.accusers and tally.failed_at == -math.inf) or tally.round != known.tally.round:
            known.answers_until = now + min(_ANSWERS * self.interval, _LONGEST_ANSWERS)
        known.tally = tally

    # -- actions

    def decides(self, now: float) -> list[Action]:
        """The actions for the records of hosts."""
        actions: list[Action] = []
        # All must have had time to hear of it and to report.
        quorum = replace(self.quorum, hearing=max(self.quorum.hearing, _HEARING * self.tick + self._gap))
        store_now = self.store_now(now)
        until = now + self.held_for
        for host, known in self._hosts.items():
            tally = known.tally
            broken = quorum.is_broken(tally, store_now)
            if known.returned:
                known.word, known.returned, known.look_until, known.bad_since = False, False, -math.inf, None
                actions.append(Action("back", host))
            known.verdict = broken
            if not known.here:
                continue  # there is no record, or its state was not noted yet, so `knows_better` is not known
            held = now >= known.answers_until
            if broken and not known.word and not known.knows_better and held:
                known.word, known.bad_since = True, now if known.bad_since is None else known.bad_since
                actions.append(Action("broken", host, until, tally.cause))
            elif known.word and not broken:
                known.word = False
                actions.append(Action("withdraw", host))
            if known.word and tally.failed_at == -math.inf:
                actions.append(Action("look", host))  # another worker's probe was answered
            elif known.word and held and now >= known.look_until and self._is_fresh(tally, store_now):
                actions.append(Action("hold", host, until))
        for host in self._granted:
            granted = self._hosts.get(host)
            if granted is not None and granted.word:
                granted.look_until = now + self._look_for
                actions.append(Action("look", host))
        self._granted = []
        return actions

    def _is_fresh(self, tally: Tally, store_now: float) -> bool:
        """Whether a probe failed recently. The difference is absolute in case the store's clock was set back since."""
        return abs(store_now - tally.failed_at) <= min(_FRESH * self.interval, _LONGEST_FRESH)

    def lost(self) -> list[Action]:
        """Forget all that was heard, because the store cannot be used: this worker goes on alone."""
        actions = [Action("withdraw", host) for host, known in self._hosts.items() if known.word]
        self._hosts, self._news, self._asks, self._granted = {}, {}, {}, []
        self.store, self.version, self._unseen, self._more = None, -1, None, False
        self._counts_until = math.inf
        return actions

    def store_now(self, now: float) -> float:
        """The same time on the store's clock, as far as it is known."""
        return now + self._offset

    # -- for new records, and for people

    def words(self, now: float) -> dict[str, str | None]:
        """What applies to a new record: the hosts that are broken for all, with the cause."""
        hosts = self._hosts.items()
        return {host: known.tally.cause for host, known in hosts if known.verdict and now >= known.answers_until}

    def tallies(self) -> dict[str, tuple[Tally, bool]]:
        """The last tally of each host in trouble, and whether it is broken for all."""
        return {host: (known.tally, known.verdict) for host, known in self._hosts.items() if known.tally.accusers}
