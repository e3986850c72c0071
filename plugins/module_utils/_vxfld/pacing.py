# SPDX-License-Identifier: GPL-3.0-or-later
"""Datagrams in pages, so that no burst overruns the buffer of a receiver, or takes the sender's whole time."""

from __future__ import annotations

import math
from collections import deque

PAUSE = 0.05  # seconds that a page lasts
PAGE = 32  # datagrams to one destination; of 1500 octets they fit a socket's buffer of any kernel's default
PAGE_OF_ALL = 1000  # datagrams to all destinations
MOST = 4096  # datagrams that wait for one destination
MOST_OF_ALL = 200_000


class Pacer:
    """Passes datagrams to the outbox at once as far as the page allows, and the others in order, page by page."""

    def __init__(self, outbox):
        self.waiting = 0
        self._outbox = outbox
        self._queues = {}  # destination -> deque; the one whose turn it is first
        self._sent = {}  # destination -> datagrams on this page
        self._all = 0
        self._ends = -math.inf  # this page

    def add(self, destination, datagrams, now):
        """The number of datagrams left out since too many wait."""
        self._turn(now)
        queue = self._queues.get(destination)
        left_out = 0
        for data in datagrams:
            if queue is None and self._all < PAGE_OF_ALL and self._sent.get(destination, 0) < PAGE:
                self._send(destination, data)
                continue
            if queue is None:
                queue = self._queues[destination] = deque()
            if len(queue) < MOST and self.waiting < MOST_OF_ALL:
                queue.append(data)
                self.waiting += 1
            else:
                left_out += 1
        if queue is not None and not queue:
            del self._queues[destination]
        return left_out

    def waits(self, destination):
        return destination in self._queues

    def tick(self, now):
        """Send what this page still takes. When there will be a next one, or infinity."""
        self._turn(now)
        for destination in list(self._queues):
            if self._all >= PAGE_OF_ALL:
                break
            queue = self._queues.pop(destination)
            while queue and self._all < PAGE_OF_ALL and self._sent.get(destination, 0) < PAGE:
                self._send(destination, queue.popleft())
                self.waiting -= 1
            if queue:
                self._queues[destination] = queue
        return self._ends if self._queues else math.inf

    def _turn(self, now):
        if now >= self._ends:
            self._ends = now + PAUSE
            self._sent, self._all = {}, 0

    def _send(self, destination, data):
        self._sent[destination] = self._sent.get(destination, 0) + 1
        self._all += 1
        self._outbox.append((data, destination))
