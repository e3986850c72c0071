# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at the kernel's tables, now and then and when there is reason to: what is there is brought in line with the registry."""

from __future__ import annotations

import asyncio
import concurrent.futures

from .._kernel.dynamic_rows import DynamicRows
from .._model.errors import FabricError
from .groups import wanted

AGAIN = 1.0  # seconds until a look that failed is tried again
REST = 20  # looks are followed by so many times the time that they took without one
PAUSE = 0.05  # and at least by this


class Looks:
    """Of an agent. `soon` and `sooner` may be called at any time once its loop runs."""

    def __init__(self, agent):
        self._agent = agent
        # One thread, since the sockets of `_rows` are one's alone.
        self.reader = concurrent.futures.ThreadPoolExecutor(1, "tables")
        self._rows = None
        self._due, self._full = set(), 0.0  # indexes of devices; when all are due
        self._wake = asyncio.Event()

    def open(self):
        self._rows = DynamicRows()

    def close(self):
        if self._rows:
            self.reader.submit(self._rows.close)
        self.reader.shutdown(wait=False)

    # When

    def soon(self, indexes):
        self._due.update(indexes)
        if self._due:
            self._wake.set()

    def known(self):
        """The registry has told what it has."""
        if not self._full:
            self._wake.set()

    def sooner(self):
        """Settings, or devices, may leave less time from one look to the next."""
        self._full = min(self._full, self._agent.now() + self._period())
        self._wake.set()

    def _ageing(self):
        return min((device.ageing for device in self._agent.devices.values()), default=300.0)

    def _period(self):
        """Rows that are used must not get old from one look to the next."""
        return min(self._agent.settings.sweep, self._ageing() / 4)

    def rest(self, took):
        """Seconds from looks that took so long to the next. However long it was, nothing may get old meanwhile."""
        return max(PAUSE, min(REST * took, self._ageing() / 8))

    async def run(self):
        """Look at the tables of all devices now and then, and of those that are due soon. Not before the registry has told what it
        has, since what it does not have is removed.
        """
        agent = self._agent
        while True:
            now, known = agent.now(), agent.registry.known
            if known and now >= self._full:
                self._full = now + self._period()
                self._due.update(agent.devices)
                agent.access.tick(now)
            due, self._due = (self._due, set()) if known else (set(), self._due)
            self._wake.clear()
            for index in sorted(due):
                try:
                    await self._look_at(index)
                except Exception as error:  # the other devices go on
                    agent.fault(error)
                    agent.later(AGAIN, self.soon, [index])
            if known and not self._due:
                agent.tell_ready()
            await asyncio.sleep(self.rest(agent.now() - now) if due else 0)
            left = max(0.0, self._full - agent.now()) if agent.registry.known else None
            woken = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait([woken], timeout=left)
            finally:
                woken.cancel()

    async def _look_at(self, index):
        agent = self._agent
        device = agent.devices.get(index)
        if device is None:
            return
        began = agent.now()
        try:
            fdb, neighbors, there, want = await self.read(device, keep=True)
        except FabricError:
            if index in agent.devices:
                raise
            return
        if agent.devices.get(index) != device:
            self.soon([index])
            return
        agent.counters["sweeps"] += 1
        agent.write(agent.resolver.adopt(index, fdb, neighbors, agent.now(), since=began))
        agent.take_alarms()
        if agent.groups.review(device, want, there):
            self.soon([index])

    # Reading, beside the loop

    async def read(self, device, keep=False):
        """(FDB rows, neighbours, groups that are there, groups that are wanted) of a device. keep: rows that were used since the last time
        are to live on.
        """
        # Of the MACs that are known to have rows none is to be left out.
        macs = self._agent.resolver.macs(device.index)
        return await asyncio.get_running_loop().run_in_executor(self.reader, self._read, device, macs, keep)

    def _read(self, device, macs, keep):
        try:
            return self._tables(device, macs, keep)
        except (OSError, FabricError):
            self._rows.renew()
            raise

    def _tables(self, device, macs, keep):
        agent, index = self._agent, device.index
        fdb = [row[:3] for row in all_rows(self._rows, index, macs, keep)]
        neighbors = [row[:2] for row in self._rows.neighbors(index)]
        self._rows.failures()  # rows that went before they could be kept
        if not agent.settings.groups:
            return fdb, neighbors, self._rows.groups(index) if index in agent.groups.ours else {}, {}
        return fdb, neighbors, self._rows.groups(index), wanted(device, agent.directory.of_vni(device.vni))


def all_rows(rows, index, macs, keep=False):
    """The FDB rows of a device. When rows go during a dump, it may leave out others; those are asked for by their MACs."""
    found = rows.fdb(index, keep)
    there = {row[0] for row in found}
    return found + rows.of(index, [mac for mac in macs if mac not in there])
