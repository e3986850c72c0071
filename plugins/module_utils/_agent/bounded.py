# SPDX-License-Identifier: GPL-3.0-or-later
"""A table by device and key, of bounded size, from which goes first what was used longest ago."""

from __future__ import annotations

from collections import OrderedDict
from operator import attrgetter

ROOM = 256  # a full table is cut down by one row in so many at once, since to find out whose turn it is looks at every device


class Bounded:
    """limit: of all devices together. each: of one device.

    Where all together have too many, those that have the most lose the excess. So whatever is asked for at one device, another loses
    nothing as long as it has no more than an equal share.

    Rows have an attribute `used`. Whoever gives a row another `used` than the latest one of its device puts the device into `unsorted`.
    """

    def __init__(self, limit, each=None):
        self.limit, self.each = limit, each
        self.count = 0
        self.devices = {}  # index: {key: row}, ordered by `used` unless in `unsorted`
        self.unsorted = set()

    def add(self, index):
        """The rows of a new device: to be read by callers, and changed with `put` and `pop`."""
        return self.devices.setdefault(index, OrderedDict())

    def remove(self, index):
        """Forget a device. Its rows."""
        rows = self.devices.pop(index, {})
        self.count -= len(rows)
        self.unsorted.discard(index)
        return rows

    def put(self, index, key, row):
        """Put in a row that is used now, in the place of what is there."""
        rows = self.devices[index]
        if key in rows:
            rows.move_to_end(key)
        else:
            while self.each is not None and len(rows) >= self.each:
                rows.popitem(last=False)
                self.count -= 1
            self.count += 1
        rows[key] = row

    def pop(self, index, key):
        """Take out a row: the row, or None."""
        row = self.devices[index].pop(key, None)
        if row is not None:
            self.count -= 1
        return row

    def trim(self):
        """Cut down to the limit: [(index, key, row)] that went."""
        if self.count <= self.limit:
            return []
        gone = []
        share = _share(map(len, self.devices.values()), self.limit - self.limit // ROOM)
        for index, rows in self.devices.items():
            if len(rows) > share:
                self._sort(index, rows)
                while len(rows) > share:
                    gone.append((index, *rows.popitem(last=False)))
        self.count -= len(gone)
        return gone

    def _sort(self, index, rows):
        if index in self.unsorted:
            self.unsorted.discard(index)
            ordered = sorted(rows.items(), key=lambda item: _used(item[1]))
            rows.clear()
            rows.update(ordered)


_used = attrgetter("used")


def _share(sizes, limit):
    """How much each may have at most, so that all together have no more than the limit."""
    sizes = sorted(sizes)
    for place, size in enumerate(sizes):
        share = limit // (len(sizes) - place)
        if size > share:
            return share
        limit -= size
    return max(sizes, default=0)
