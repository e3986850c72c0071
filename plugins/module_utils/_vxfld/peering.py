# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service node asks and tells its peers by SYNC: whom, and when again. The caller does the TCP."""

from __future__ import annotations

import math

from .config import Server
from .messages import STATIC
from .registrations import FOREVER, LONGEST

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 10.0  # seconds until the next attempt; they double
PATIENCE = 30.0  # seconds after which a caller that never said how it went is taken for a failure
MOST_UNTOLD = 10_000  # entries that wait for a peer


class _Untold:
    """What a peer is still to be told."""

    def __init__(self):
        self.entries = {}  # (vni, address, identifier) -> expiry; 0: a removal
        self.sent = {}  # the same, of the push under way
        self.since = 0.0
        self.due = 0.0
        self.backoff = FIRST_BACKOFF

    def failed(self, now):
        # What came meanwhile is newer than what is under way.
        self.entries = {**self.sent, **self.entries}
        self.sent = {}
        self.due = now + self.backoff
        self.backoff = min(2 * self.backoff, LONGEST_BACKOFF)


class Peering:
    """At start the databases of some peers are asked for, until that many have answered; then, once a holdtime, that of one,
    so that what got lost, or parted while the network was cut, comes together again."""

    def __init__(self, counters, alarms, random):
        self.peers = ()
        self.synced = False  # whether as many peers as wanted have answered since the start
        self._counters, self._alarms, self._random = counters, alarms, random
        self._candidates = ()
        self._preferred = ()  # candidates of this round to try before all others
        self._untold = {}
        self._missing = 0  # answers of this round
        self._answered, self._failed = set(), set()  # in this round
        self._asked = {}  # peer -> when
        self._due = math.inf
        self._backoff = FIRST_BACKOFF
        self._period = 90.0
        self._started = False

    def configure(self, peers, proxies, settings, now):
        """Take in peers and settings; may be done at any time. New peers are asked at once."""
        new = [peer for peer in peers if peer not in self.peers]
        self.peers = tuple(peers)
        proxies = tuple(proxies) if settings.sync_from_proxy else ()
        self._candidates = (*proxies, *(peer for peer in peers if peer not in proxies))
        self._period = settings.holdtime
        self._untold = {peer: self._untold.get(peer) or _Untold() for peer in peers}
        self._asked = {peer: when for peer, when in self._asked.items() if peer in self._candidates}
        if not self._started:
            self._started = True
            self._round(settings.sync_targets, now, proxies or self.peers)
        elif new:
            self._round(len(new), now, new)
        # Who was asked may be gone, and nobody left who could answer.
        self._missing = min(self._missing, len({*self._candidates} - self._answered))
        if not self._asked and self._due == math.inf:
            self._due = now if self._missing else now + self._period
        self.synced = self.synced or not self._missing

    def _round(self, targets, now, preferred):
        self._missing = min(targets, len(self._candidates))
        self._preferred = preferred
        self._answered, self._failed = set(), set()
        self._due = now if self._missing else now + self._period
        self._backoff = FIRST_BACKOFF

    # -- Asking

    def ask(self, now):
        """The peers to ask for their databases now."""
        for peer, when in list(self._asked.items()):
            if now - when >= PATIENCE:
                self.failed(peer, now, "no answer")
        if now < self._due or not self._candidates:
            return []
        if not self._missing:
            self._round(1, now, self.peers)
        untried = [peer for peer in self._candidates if peer not in {*self._answered, *self._failed, *self._asked}]
        if not untried and not self._asked:
            untried = [peer for peer in self._candidates if peer not in self._answered]
            self._failed = set()
        self._random.shuffle(untried)
        untried.sort(key=lambda peer: peer not in self._preferred)
        chosen = untried[: max(0, self._missing - len(self._asked))]
        for peer in chosen:
            self._asked[peer] = now
        self._due = math.inf
        return chosen

    def answered(self, peer, now):
        if self._asked.pop(peer, None) is None:
            return
        self._answered.add(peer)
        self._missing = max(0, self._missing - 1)
        self._backoff = FIRST_BACKOFF
        if not self._missing:
            self.synced = True
            # Not all service nodes at the same time.
            self._due = now + self._period * self._random.uniform(0.8, 1.2)
        elif not self._asked:
            self._due = now

    def failed(self, peer, now, reason):
        if self._asked.pop(peer, None) is None:
            return
        self._failed.add(peer)
        self._counters["syncs failed"] += 1
        self._alarms.append((("sync", peer), f"service node {Server(*peer)} did not give its database: {reason}"))
        self._due = min(self._due, now + self._backoff)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF)

    # -- Telling

    def tell(self, vteps, now):
        """Entries {vni: [(address, holdtime, identifier)]} for all peers."""
        for peer, untold in self._untold.items():
            for vni, entries in vteps.items():
                for address, holdtime, identifier in entries:
                    key = vni, address, identifier
                    untold.entries.pop(key, None)
                    untold.entries[key] = FOREVER if holdtime == STATIC else now + holdtime if holdtime else 0
            if len(untold.entries) > MOST_UNTOLD:
                for key in list(untold.entries)[: len(untold.entries) - MOST_UNTOLD]:
                    del untold.entries[key]
                    self._counters["untold"] += 1
                self._alarms.append(
                    (
                        ("untold", peer),
                        f"service node {Server(*peer)} took in nothing for {MOST_UNTOLD} changes and more",
                    )
                )

    def pushes(self, now):
        """[(peer, {vni: [entry]})] to send now."""
        found = []
        for peer, untold in self._untold.items():
            if untold.sent and now - untold.since >= PATIENCE:
                self.push_failed(peer, now, "no end of the connection")
            # One at a time: two connections may overtake one another.
            if not untold.entries or untold.sent or now < untold.due:
                continue
            vteps = {}
            for (vni, address, identifier), expiry in untold.entries.items():
                left = STATIC if expiry == FOREVER else min(int(expiry - now), LONGEST) if expiry else 0
                if left > 0 or not expiry:
                    vteps.setdefault(vni, []).append((address, left, identifier))
            untold.sent, untold.entries, untold.since = untold.entries, {}, now
            if vteps:
                found.append((peer, vteps))
            else:
                untold.sent = {}
        return found

    def pushed(self, peer):
        untold = self._untold.get(peer)
        if untold:
            untold.sent = {}
            untold.backoff = FIRST_BACKOFF

    def push_failed(self, peer, now, reason):
        untold = self._untold.get(peer)
        if untold and untold.sent:
            untold.failed(now)
            self._counters["pushes failed"] += 1
            self._alarms.append((("push", peer), f"service node {Server(*peer)} did not take in changes: {reason}"))

    # -- Time

    def next(self):
        """When something will be due, unless the caller reports first."""
        times = [when + PATIENCE for when in self._asked.values()]
        if self._candidates:
            times.append(self._due)
        for untold in self._untold.values():
            if untold.sent:
                times.append(untold.since + PATIENCE)
            elif untold.entries:
                times.append(untold.due)
        return min(times, default=math.inf)
