# SPDX-License-Identifier: GPL-3.0-or-later
"""Datagrams in pages, so that no burst overruns the buffer of a receiver, or takes the sender's whole time."""

from __future__ import annotations

import math
from collections import deque

PAUSE = 0.05  # seconds that a page lasts
LEAST = 1500  # octets that a datagram counts for at least: small ones take time and buffers too
PAGE = 32 * LEAST  # octets to one destination; they fit a socket's buffer of any kernel's default
PAGE_OF_ALL = 1000 * LEAST  # octets to all destinations
MOST = 8 << 20  # octets that wait for one destination
MOST_OF_ALL = 64 << 20
OBJECT = 100  # octets that keeping a datagram takes, beside its own
BUSY = MOST_OF_ALL // 8  # octets waiting for all, from which on whatever can wait is better not begun


class Pacer:
    """Passes datagrams to the outbox at once as far as the page allows, and the others in order, page by page."""

    def __init__(self, outbox):
        self.waiting = 0  # octets
        self._outbox = outbox
        self._queues = {}  # destination -> deque; the one whose turn it is first
        self._held = {}  # destination -> octets in its queue
        self._sent = {}  # destination -> octets on this page
        self._all = 0
        self._ends = -math.inf  # this page

    @property
    def busy(self):
        return self.waiting > BUSY

    def add(self, destination, datagrams, now):
        """(octets taken, datagrams left out since too many wait)."""
        self._turn(now)
        queue = self._queues.get(destination)
        octets = left_out = 0
        for data in datagrams:
            if queue is None and self._fits(destination, data):
                self._send(destination, data)
            else:
                size = len(data) + OBJECT
                if self._held.get(destination, 0) + size > MOST or self.waiting + size > MOST_OF_ALL:
                    left_out += 1
                    continue
                if queue is None:
                    queue = self._queues[destination] = deque()
                queue.append(data)
                self._held[destination] = self._held.get(destination, 0) + size
                self.waiting += size
            octets += len(data)
        return octets, left_out

    def waits(self, destination):
        """Whether something waits for a destination."""
        return destination in self._queues

    def tick(self, now):
        """Send what this page still takes. When there will be a next one, or infinity."""
        self._turn(now)
        for destination in list(self._queues):
            if self._all >= PAGE_OF_ALL:
                break
            queue = self._queues.pop(destination)
            while queue and self._fits(destination, queue[0]):
                data = queue.popleft()
                self._send(destination, data)
                self._held[destination] -= len(data) + OBJECT
                self.waiting -= len(data) + OBJECT
            if queue:
                self._queues[destination] = queue
            else:
                del self._held[destination]
        return self._ends if self._queues else math.inf

    def _turn(self, now):
        if now >= self._ends:
            self._ends = now + PAUSE
            self._sent, self._all = {}, 0

    def _fits(self, destination, data):
        """Whether the page takes it; an empty page takes anything."""
        sent, size = self._sent.get(destination, 0), max(len(data), LEAST)
        return self._all + size <= PAGE_OF_ALL and (not sent or sent + size <= PAGE)

    def _send(self, destination, data):
        size = max(len(data), LEAST)
        self._sent[destination] = self._sent.get(destination, 0) + size
        self._all += size
        self._outbox.append((data, destination))
