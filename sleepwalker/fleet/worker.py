"""What one worker reports about hosts, and what it does with what it hears. Pure: no I/O, no thread, no clock.

The worker's moments (`now`) are on its monotonic clock; those of a `Tally` are on the store's. They are never compared:
the age of a report is the time that has passed here since it was heard.
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
#: With more workers each asks less often, so that a store serves any number of them: so many take their full share.
FULL_PACE = 80
#: And with more than these all together make so many syncs in an interval: in trouble one costs some fifteen commands.
_SYNCS = 125
#: So many hosts are told and heard at once, by all workers together within a tick; and by one at the least, and most.
_HOSTS, _LEAST, _MOST = 6400, 16, 256
#: Intervals after which a worker that is not heard of any more counts as gone.
_GONE = 5
#: All workers together look at a broken host as often as this share of its outage so far, in intervals at the soonest
#: and at the latest: so an outage ends for them later by hardly more than that.
_LOOK_AFTER, _SOONEST, _LATEST = 0.2, 0.4, 1.8
#: After a failed probe, calls are held back for so many intervals at most. A probe that hangs counts for ten.
_FRESH = 12.0
#: For so many intervals after an answered probe no call is held back, whatever failed since: a host that answers some
#: attempts and not others is not down, and each worker judges by its own.
_ANSWERS = 10.0
#: A worker is held back for so many ticks at a time: when nothing is heard any more, it goes on alone after them.
_HELD = 3.0
#: Seconds: however long the interval is, a look is due and a worker held back no longer than a circuit is open alone;
#: and it goes by what others find again.
_LATEST_LOOK, _LONGEST_HOLD, _LONGEST_FRESH, _LONGEST_ANSWERS = 5.0, 5.0, 12.0, 30.0
#: All have heard of a host's trouble after a tick, and have answered at once.
_HEARING = 1.2
#: Seconds after which what a store keeps for longer is renewed.
_RENEW = 3600.0
#: Seconds over which it is counted how many calls a second are refused.
_REMEMBERED = 10.0
#: Of fewer refused calls a second none comes soon enough to look.
_RARE = 0.01


@dataclass(slots=True)
class Worker:
    """One worker's part in the fleet.

    A tick is: `note` the state of hosts here. If a sync `is_due`, send the store what `says` returns, and pass its
    answer to `hears`. Then do what `decides` returns.
    """

    id: str
    label: str
    quorum: Quorum
    interval: float
    store: str | None = None
    version: int = -1
    """Of the store, as it was heard last."""
    workers: int = 1
    """How many there are, this one included, as it was heard last."""
    least: float = 0.0
    """Seconds from one look at the store to the next at the least, as long as a look takes long here."""
    _hosts: dict[str, Known] = field(default_factory=dict)
    _news: dict[str, View] = field(default_factory=dict)
    """What is to be told."""
    _asks: dict[str, float] = field(default_factory=dict)
    """The hosts to probe, with the seconds until the next probe is allowed."""
    _telling: dict[str, View] = field(default_factory=dict)
    """What the sync under way tells."""
    _granted: list[str] = field(default_factory=list)
    _unseen: set[str] | None = None
    """While everything is heard anew: the hosts that have not come up in it."""
    _offset: float = 0.0
    """The store's clock less the worker's, as of the last answer."""
    _synced_at: float = -math.inf
    _renewed_at: float = -math.inf
    _counts_until: float = math.inf
    """When what this worker said ends, by the store's clock, if it says nothing more."""
    _counted_at: float | None = None
    _more: bool = False

    # -- how often

    @property
    def tick(self) -> float:
        """Seconds between two checks of the store."""
        return max(self.interval / TICKS * max(1.0, self.workers / FULL_PACE), self.least)

    @property
    def _sync_every(self) -> float:
        """Seconds from one sync to the next, if there is nothing to say and nothing new to hear."""
        return max(self.interval, 2 * self.tick)

    @property
    def _ttl(self) -> float:
        """Seconds after which this worker counts as gone if it is not heard of."""
        return _GONE * self._sync_every

    @property
    def _gap(self) -> float:
        """Seconds from one sync to the next at the least."""
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
        """Whether the store has something that was not heard here."""
        return version != (self.store, self.version)

    # -- what is so here

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
            known.here, known.word = True, False  # what was decided before there was a record is decided again for it
        if known.bad_since is None and (standing.broken or known.word):
            known.bad_since, known.answered_at = now, standing.answered_at
        view = new_view(known, standing, self._offset)
        if view is not None:
            self._news[host] = joined(self._news.get(host), view)
            if view.failed:
                known.look_until = -math.inf  # it was used
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
        """The host's record is no longer there: it was forgotten, or this worker never had one."""
        known.here = False
        if known.said is not None:
            self._news[host] = View(None, known.tally.round)
        elif not known.tally.accusers:
            del self._hosts[host]

    def _ask(self, host: str, known: Known, standing: Standing, now: float, passed: float) -> None:
        """Ask leave to look at a host, if calls come that would."""
        if standing.waiting:
            known.wanted = math.inf
        else:
            rate = (standing.demand - known.refused) / passed
            weight = passed / max(passed, min(now - (known.bad_since or now), _REMEMBERED))
            known.wanted = rate if known.wanted == math.inf else known.wanted + (rate - known.wanted) * weight
        if known.wanted < _RARE or now < known.look_until:
            return
        # A worker whose calls are rare may not use its leave in time: then the next one gets it so much sooner. All
        # together they send as many.
        used = 1 - math.exp(-min(known.wanted * self._look_for, 50.0))
        lasted = self.store_now(now) - known.tally.since
        every = min(max(_LOOK_AFTER * lasted, _SOONEST * self.interval), _LATEST * self.interval, _LATEST_LOOK)
        self._asks[host] = every * max(used, 0.05)

    @property
    def _look_for(self) -> float:
        """Seconds for which leave to look holds."""
        return 2 * self.interval

    # -- what the store is told, and answers

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
                known.returned = True  # also where the store knew it by then
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
        """All that was said is to be said again, and all is heard again."""
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
        # What was said in an earlier round does not count any more; nor does what was said against an earlier trouble.
        outdated = known.said == "fine" and tally.since != known.trouble[1]
        if tally.round != known.trouble[0] or not tally.accusers or outdated:
            known.said = None
        known.returned = known.returned or (known.word and tally.round != known.tally.round)
        if (tally.accusers and tally.failed_at == -math.inf) or tally.round != known.tally.round:
            known.answers_until = now + min(_ANSWERS * self.interval, _LONGEST_ANSWERS)
        known.tally = tally

    # -- what is to be done

    def decides(self, now: float) -> list[Action]:
        """The actions for the records of hosts."""
        actions: list[Action] = []
        # All must have had the time to hear of it and to say something.
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
                continue  # or it has not been seen yet how the host stands here: who knows better is not told
            held = now >= known.answers_until
            if broken and not known.word and not known.knows_better and held:
                known.word, known.bad_since = True, now if known.bad_since is None else known.bad_since
                actions.append(Action("broken", host, until, tally.cause))
            elif known.word and not broken:
                known.word = False
                actions.append(Action("withdraw", host))
            if known.word and tally.failed_at == -math.inf:
                actions.append(Action("look", host))  # another's was answered
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
        """Whether a look failed a short while ago; by a store's clock that was set back since, hence."""
        return abs(store_now - tally.failed_at) <= min(_FRESH * self.interval, _LONGEST_FRESH)

    def lost(self) -> list[Action]:
        """The store cannot be used: this worker works alone, and earlier answers no longer count."""
        actions = [Action("withdraw", host) for host, known in self._hosts.items() if known.word]
        self._hosts, self._news, self._asks, self._granted = {}, {}, {}, []
        self.store, self.version, self._unseen, self._more = None, -1, None, False
        self._counts_until = math.inf
        return actions

    def store_now(self, now: float) -> float:
        """That moment on the store's clock, as far as it is known."""
        return now + self._offset

    # -- what people are shown

    def words(self, now: float) -> dict[str, str | None]:
        """The reports that apply to a new host: which are broken for all, and why."""
        hosts = self._hosts.items()
        return {host: known.tally.cause for host, known in hosts if known.verdict and now >= known.answers_until}

    def tallies(self) -> dict[str, tuple[Tally, bool]]:
        """The last report on each host in trouble, and whether it is broken for all."""
        return {host: (known.tally, known.verdict) for host, known in self._hosts.items() if known.tally.accusers}
