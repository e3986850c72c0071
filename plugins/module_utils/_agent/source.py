# SPDX-License-Identifier: GPL-3.0-or-later
"""What all sources of claims are and share. A source runs in the daemon's loop and tells its sink what its registry says.

The sink has snapshot(claims, grace=0.0), put(claim), drop(vni, mac, vtep), fault(key, text) and state(); all are called in the
loop's thread and none waits. state() is called when `ok` or `why` has changed.
"""

from __future__ import annotations

import collections
import random
import time

FIRST_BACKOFF, LONGEST_BACKOFF = 0.2, 5.0  # seconds until the next attempt; they double
JITTER = 0.2  # of it, so that not all VTEPs come at once when a registry is back
MOST_FAULTS = 100  # entries of one snapshot that are named


class Source:
    """`ok`: whether what is known is what the registry says now; `why` not, in words. What is known stays known meanwhile."""

    name = "registry"
    publishes = False  # whether there is publish(claims, local, learned=())

    def __init__(self, settings, sink, log):
        self.settings, self.sink, self.log = settings, sink, log
        self.ok, self.why = False, "it has not been asked yet"
        self.lag = None  # seconds that what is known is behind, where that can be told
        self.heard = None  # when it last answered, by the monotonic clock
        self.counters = collections.Counter({"contacts lost": 0, "entries refused": 0, "snapshots": 0})
        self._since = time.monotonic()  # when `ok` changed last

    async def run(self):
        """Until cancelled. Raises nothing else: whatever goes wrong is told and tried again."""
        raise NotImplementedError

    async def close(self):
        """Give back what is held, once run() has ended."""

    def reached(self):
        """It has answered."""
        self.heard = time.monotonic()

    def good(self):
        """What is known is what it says now."""
        self.reached()
        if not self.ok:
            self.ok, self.why = True, ""
            self.log.info("%s: in contact%s", self.name, self._after())
            self._since = self.heard
            self.sink.state()

    def lost(self, why):
        """It cannot be told what the registry says now."""
        if not self.ok and self.why == why:
            return
        if self.ok:
            self.counters["contacts lost"] += 1
            self._since = time.monotonic()
        self.ok, self.why = False, why
        self.log.warning("%s: no contact, what is known is kept: %s", self.name, why)
        self.sink.state()

    def _after(self):
        away = time.monotonic() - self._since
        return f" again after {away:.1f} s" if self.counters["contacts lost"] else ""


class Backoff:
    """How long to wait before each next attempt."""

    def __init__(self, first=FIRST_BACKOFF, longest=LONGEST_BACKOFF, chance=random.random):
        self._first, self._longest, self._chance = first, longest, chance
        self._next = first

    def reset(self):
        self._next = self._first

    def next(self):
        now = self._next
        self._next = min(2 * now, self._longest)
        return min(now * (1 + JITTER * (2 * self._chance() - 1)), self._longest)


class Faults:
    """Entries of one snapshot that are refused: the first ones are told, the others only counted."""

    def __init__(self, source):
        self._source, self._count = source, 0

    def add(self, key, text):
        self._count += 1
        self._source.counters["entries refused"] += 1
        if self._count <= MOST_FAULTS:
            self._source.sink.fault(key, text)

    def end(self):
        if self._count > MOST_FAULTS:
            more = self._count - MOST_FAULTS
            self._source.sink.fault(
                (self._source.name, "more"), f"{self._source.name}: and {more} more entries refused"
            )
